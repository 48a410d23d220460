"""No hostile submission gets what it is after, and the honest one beside it is scored as if it were alone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.arena import LIMITS, Arena
from tests.hostile.catalogue import ATTACKS, PREAMBLE, Aim, Attack
from tests.hostile.recognition import FEATURES, leaks

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

_BOUTS = [
    pytest.param(
        attack,
        mode,
        id=f"{attack.name}-{mode}",
        marks=[] if attack.hole is None else [pytest.mark.xfail(strict=True, reason=attack.hole)],
    )
    for attack in ATTACKS
    for mode in attack.modes
]
# Only what reads can be run on the host itself, to see that it would find something there.
_READING = ("labels-by-path", "sealed-beside-open", "names-in-proc")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    for path in (folder, *folder.parents):
        if path.owner() == Path(tmp_path_factory.getbasetemp()).owner() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
        if path == tmp_path_factory.getbasetemp().parent:
            break
    with Arena(folder) as arena:
        yield arena


@pytest.mark.parametrize(("attack", "mode"), _BOUTS)
def test_attack_gets_nothing(arena: Arena, attack: Attack, mode: str) -> None:
    bout = arena.fight(attack, mode)
    assert bout.faults == []
    assert bout.honest_beside, "the honest submission ran beside it"
    assert set(bout.honest_beside) == {arena.alone}


def test_the_catalogue_is_complete() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names) >= 40
    assert {attack.aim for attack in ATTACKS} == set(Aim)
    for attack in ATTACKS:
        compile(PREAMBLE + attack.source, attack.name, "exec")


@pytest.mark.parametrize("name", _READING)
def test_attack_would_succeed_on_the_host(arena: Arena, name: str, tmp_path: Path) -> None:
    """These attacks look in the right places: where nothing keeps them from it, they find what they are after."""
    attack = next(attack for attack in ATTACKS if attack.name == name)
    entry = arena.rounds[attack.models].split("test").models()[0]
    program = tmp_path / "entrypoint.py"
    program.write_text(arena.program(attack))
    arguments = {
        "model_filepath": entry.open / "model",
        "result_filepath": tmp_path / "result.txt",
        "scratch_dirpath": tmp_path,
        "examples_dirpath": entry.examples,
    }
    command = [sys.executable, str(program), *(word for k, v in arguments.items() for word in (f"--{k}", str(v)))]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "result.txt").read_text() == "1.0"


def test_models_cannot_be_told_apart(arena: Arena) -> None:
    """What a submission can measure of its surroundings does not depend on which model it has been given."""
    round_directory = arena.build(8, alike=True)
    ids = [entry.name for entry in round_directory.split("test").models()]
    forbidden = [*ids, str(round_directory.path), round_directory.path.name, arena.secret, "poisoned"]
    submission = arena.submission(f"WORDS = {forbidden}\n{PREAMBLE}{FEATURES}", "recognition")
    for warm in (True, False):
        runs = []
        for _ in range(3 if warm else 2):
            _, recorded, _ = arena.evaluate(submission, round_directory, warm=warm)
            assert [r.ended.exit_code for r in recorded] == [0] * 8, recorded[0].ended.stderr
            runs.append({Path(r.data).parent.name: r.ended.stdout for r in recorded})
        assert leaks(runs, poisoned={name for name in runs[0] if int(name[-1]) % 2}, forbidden=forbidden) == []


def test_recognisers_recognise(arena: Arena) -> None:
    """What is asserted above can fail: on the round's own folders, the same features tell the models apart."""
    round_directory = arena.build(8, alike=True)
    ids = [entry.name for entry in round_directory.split("test").models()]
    program = arena.submission(f"WORDS = {ids}\n{PREAMBLE}{FEATURES}", "recognition").directory
    assert program is not None
    runs = []
    for _ in range(2):
        said = {}
        for entry in round_directory.split("test").models():
            command = [sys.executable, str(program / "entrypoint.py"), "--model_filepath", str(entry.open / "model")]
            command += ["--result_filepath", str(arena.folder / "result.txt"), "--scratch_dirpath", str(arena.folder)]
            said[entry.name] = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        runs.append(said)
    found = leaks(runs, poisoned={name for name in runs[0] if int(name[-1]) % 2}, forbidden=ids)
    assert any("inode" in line or "st_ino" in line for line in found)
    assert any("names id-" in line for line in found)


def test_honest_submission_answers_alike_every_time(arena: Arena) -> None:
    assert arena.honest() == arena.alone
    assert None not in arena.alone
    assert len(set(arena.alone)) == len(arena.alone)


def test_limits_of_the_arena_are_those_of_a_small_machine() -> None:
    assert LIMITS.memory_bytes <= 512 << 20
