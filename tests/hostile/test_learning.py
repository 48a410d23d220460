"""While it learns, a submission may write to a folder of the host, and nothing limits its time: attacks by that way."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from palladion.errors import ExecutionError, InputError
from palladion.execution.evaluation import Evaluation
from palladion.submissions import Submission
from tests.hostile.arena import LIMITS, Arena

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

_PROGRAM = """
import argparse, os, sys
from pathlib import Path
parser = argparse.ArgumentParser()
modes = parser.add_subparsers(dest="mode")
infer, configure = modes.add_parser("infer"), modes.add_parser("configure")
for name in ("model_filepath", "result_filepath", "scratch_dirpath", "examples_dirpath", "learned_parameters_dirpath",
             "metaparameters_filepath", "schema_filepath"):
    infer.add_argument("--" + name, type=Path)
for name in ("scratch_dirpath", "configure_models_dirpath", "learned_parameters_dirpath", "metaparameters_filepath",
             "schema_filepath"):
    configure.add_argument("--" + name, type=Path)
options = parser.parse_args()
learned = options.learned_parameters_dirpath
if options.mode == "configure":
    scratch = options.scratch_dirpath
"""


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o011)
    with Arena(tmp_path / "arena-of-learning") as arena:
        yield arena


def _submission(arena: Arena, configure: str, infer: str) -> Submission:
    indented = "".join(f"    {line}\n" for line in configure.splitlines())
    folder = arena.submission("import argparse\nargparse.ArgumentParser().add_argument('--model_filepath')\n").directory
    assert folder is not None
    (folder / "learned_parameters" / "nothing.txt").unlink()
    (folder / "entrypoint.py").write_text(f"{_PROGRAM}{indented}else:\n    pass\n{_indented_infer(infer)}")
    return Submission.load(folder)


def _indented_infer(infer: str) -> str:
    body = "".join(f"    {line}\n" for line in infer.splitlines())
    return f'if options.mode == "infer":\n{body}'


def _run(arena: Arena, submission: Submission) -> Evaluation:
    # Not fresh: whoever tries again goes on with what the failed attempt has left.
    done, _, _ = arena.evaluate(submission, arena.rounds[2], fresh=False)
    return done


_HONEST_INFER = "options.result_filepath.write_text('0.5')"


def test_learned_parameters_that_are_a_link_lead_nowhere(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link in place of the folder would be followed on the host, and what it leads to be shown to the submission."""
    monkeypatch.chdir(arena.rounds[2].path)  # as an organiser's shell would be
    submission = _submission(
        arena,
        "learned.rmdir()\nos.symlink('/proc/self/cwd', learned)",
        "labels = learned / 'test' / 'METADATA.csv'\n"
        "options.result_filepath.write_text('1.0' if labels.exists() else '0.5')",
    )
    try:
        done = _run(arena, submission)
    except (ExecutionError, InputError):
        return  # refused, which is best
    assert [outcome.probability for outcome in done.outcomes] == [0.5, 0.5]


def test_failing_with_a_link_left_harms_nothing(arena: Arena) -> None:
    """What a failed attempt leaves is cleared up before the next one; the host's folders keep their permissions."""
    victim = arena.folder / "victim" / "inside"
    victim.mkdir(parents=True)
    victim.chmod(0o755)
    submission = _submission(
        arena,
        f"if learned.is_symlink() or not learned.is_dir(): sys.exit(2)\n"
        f"learned.rmdir()\nos.symlink({str(victim.parent)!r}, learned)\nsys.exit(1)",
        _HONEST_INFER,
    )
    for _ in range(2):
        with pytest.raises(ExecutionError):
            _run(arena, submission)
    assert victim.stat().st_mode & 0o777 == 0o755
    assert victim.stat().st_uid == os.geteuid()


def test_learning_cannot_fill_the_disk(arena: Arena) -> None:
    """Each file is held to the limit, but their sum must be as well."""
    count = 6
    submission = _submission(
        arena,
        f"for n in range({count}):\n    (scratch / str(n)).write_bytes(os.urandom(1 << 20) * 30)\n"
        "(learned / 'x').write_text('1')",
        _HONEST_INFER,
    )
    assert count * 30 << 20 > 5 * LIMITS.scratch_bytes
    with pytest.raises(ExecutionError):
        _run(arena, submission)


def test_what_it_says_while_learning_cannot_steer_the_terminal(arena: Arena, capfd: pytest.CaptureFixture[str]) -> None:
    submission = _submission(
        arena,
        "os.write(2, b'\\x1b]0;title\\x07\\x1b[2J\\x9b31m hello\\r\\n')\n(learned / 'x').write_text('1')",
        _HONEST_INFER,
    )
    _run(arena, submission)
    said = capfd.readouterr().err
    assert "hello" in said
    assert not set("\x1b\x07\x9b") & set(said)


def test_special_files_are_not_learned(arena: Arena) -> None:
    for i, trick in enumerate(("os.mkfifo(learned / 'p')", "os.symlink('/etc', learned / 'l')")):
        with pytest.raises((ExecutionError, InputError)):
            _run(arena, _submission(arena, f"number = {i}\n{trick}", _HONEST_INFER))


def test_learning_sees_open_labels_but_no_sealed_ones(arena: Arena) -> None:
    """Learning is for the train split; nothing of the test split may be there at that time either."""
    submission = _submission(
        arena,
        "(learned / 'x').write_text('1')\n"
        "found = [root for root, folders, files in os.walk('/') if not root.startswith(('/proc', '/usr', '/opt')) "
        f"and any({arena.secret.encode()!r} in Path(root, f).read_bytes() for f in files if Path(root, f).is_file() "
        "and not root.startswith(('/train', '/dataset', '/submission', '/dev')))]\n"
        f"sys.exit(bool(found) or os.path.exists({str(arena.rounds[2].path)!r}))",
        _HONEST_INFER,
    )
    done = _run(arena, submission)
    assert [outcome.probability for outcome in done.outcomes] == [0.5, 0.5]
