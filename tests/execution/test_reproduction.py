"""Code of submissions, run for real in a real sandbox on tracks of a few rows."""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.execution.outcome import Failure
from palladion.execution.reproduction import Reproduction, most_here, reproduce
from palladion.execution.slots import Stop, Stopped
from palladion.tracks.outputs import write_generations, write_labels
from tests.submissions.tracks import inputs_of, make_zip, write_track

# What a participant's code may look like: labels from the lengths of the sentences and a number that the model holds.
HONEST = """
import json, os
from pathlib import Path

phase, base, outputs = (Path(os.environ[f"PALLADION_{name}"]) for name in ("PHASE", "BASE", "OUTPUTS"))
rows = json.loads((phase / "test/task1/test.json").read_text())
offset = json.loads((phase / "models/task1/model1/config.json").read_text())["offset"]
offset += json.loads((base / "config.json").read_text())["offset"]
labels = [(len(row["sentence"]) + offset) % 3 for row in rows]
"""
WRITE = '(outputs / "cls_task1.csv").write_text("\\n".join(["label", *map(str, labels)]) + "\\n")\n'
RECIPE = {"command": ["python", "run.py"], "seconds": 30, "memory": "512M", "scratch": "64M"}
SENTENCES = [{"sentence": "x" * length} for length in (3, 7, 1, 5, 2, 9, 4, 4)]
# By hand: (length + 1 + 4) % 3.
LABELS = [2, 0, 0, 1, 1, 2, 0, 0]
MOST = replace(most_here(), seconds=60.0)


@pytest.fixture(autouse=True)
def _places(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    monkeypatch.setattr("tempfile.tempdir", environment["TMPDIR"])


class Phase:
    """A phase in a round, without anything sealed, and submissions to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "phases" / "test"
        write_track(self.folder, "tiny", "classification", {"cls_task1.csv": SENTENCES}, limits={"bytes": 32 << 20})
        for folder, offset in ((root / "base", 1), (self.folder / "models/task1/model1", 4)):
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps({"offset": offset}))
        self._count = 0

    def zip(self, code: str = HONEST + WRITE, labels: list[int] | None = None, **more: Any) -> Path:
        self._count += 1
        place = self.root.parent / f"submission{self._count}"
        write_labels(place / "cls_task1.csv", LABELS if labels is None else labels)
        contents = {
            "cls_task1.csv": (place / "cls_task1.csv").read_bytes(),
            "code/README.md": b"python run.py\n",
            "code/run.py": code.encode(),
            "code/reproduce.yaml": json.dumps({**RECIPE, **more}).encode(),
        }
        return make_zip(place.with_suffix(".zip"), contents)

    def run(self, path: Path, **options: Any) -> Reproduction:
        return reproduce(path, self.folder, **{"most": MOST, **options})


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    return Phase(tmp_path / "round")


@pytest.mark.parametrize("sandbox", ["bubblewrap", "none"])
def test_code_that_makes_its_outputs_again_is_told_so(phase: Phase, sandbox: str, temporary: Path) -> None:
    done = phase.run(phase.zip(), sandbox=sandbox)
    assert (done.reproduced, done.reason, done.error) == (True, None, None)
    (file,) = done.files
    assert (file.file, file.rows, file.equal, file.fault) == ("cls_task1.csv", 8, 8, None)
    assert 0 < done.seconds < 30
    assert 1 << 20 < (done.peak_memory_bytes or 0) < 512 << 20
    assert (done.environment, done.notes) == ("default", ())
    assert (done.limits.seconds, done.limits.memory_bytes, done.limits.scratch_bytes) == (30.0, 512 << 20, 64 << 20)
    json.dumps(done.to_dict(), allow_nan=False)
    assert not list(temporary.iterdir())


def test_rows_that_differ_are_counted_and_some_may(phase: Phase) -> None:
    path = phase.zip(labels=[*LABELS[:-1], 2])
    done = phase.run(path)
    assert not done.reproduced
    assert done.reason == "cls_task1.csv: not as submitted"
    assert [(row.row, row.submitted, row.made) for row in done.files[0].differing] == [(8, "2", "0")]
    assert not phase.run(path, allow=12.4).reproduced
    assert phase.run(path, allow=12.5).reproduced


def test_texts_are_compared_too(tmp_path: Path) -> None:
    folder = tmp_path / "phases" / "test"
    inputs = inputs_of("generation", 3)
    write_track(folder, "tiny", "generation", {"gen_task1.json": inputs})
    (folder / "models/task1/model1").mkdir(parents=True)
    write_generations(tmp_path / "gen_task1.json", inputs, ["Echo: message 0", "Echo: message 1", "else"])
    code = (
        "import json, os\nfrom pathlib import Path\nassert 'PALLADION_BASE' not in os.environ\n"
        "rows = json.loads(Path(os.environ['PALLADION_PHASE'], 'test/task1/test.json').read_text())\n"
        "made = [{**row, 'output': 'Echo: ' + row['messages'][0]['content']} for row in rows]\n"
        "Path(os.environ['PALLADION_OUTPUTS'], 'gen_task1.json').write_text(json.dumps(made))\n"
    )
    contents = {
        "gen_task1.json": (tmp_path / "gen_task1.json").read_bytes(),
        "code/README.txt": b"see run.py",
        "code/lib/run.py": code.encode(),
        "code/run.sh": b'cd lib && exec python "$1"\n',
        "code/reproduce.yaml": b"{command: [sh, run.sh, run.py], seconds: 30}",
    }
    done = reproduce(make_zip(tmp_path / "s.zip", contents), folder)
    assert done.error is None, done.reason
    assert [(file.rows, file.equal) for file in done.files] == [(3, 2)]
    assert [(row.submitted, row.made) for row in done.files[0].differing] == [("else", "Echo: message 2")]


# What code may do wrong, and what is said of it.
FAILURES: dict[str, tuple[str, dict[str, Any], Failure | None, str, str | None]] = {
    "crash": (
        "raise ValueError('no \\x1b idea')",
        {},
        Failure.CRASHED,
        "exit code 1; its last words: .*no  idea",
        None,
    ),
    "crash after writing": (WRITE + "raise SystemExit(3)", {}, Failure.CRASHED, "exit code 3", None),
    "signal": ("os.kill(os.getpid(), 11)", {}, Failure.CRASHED, "SIGSEGV", "was not written"),
    "time": (WRITE + "import time; time.sleep(60)", {"seconds": 1.5}, Failure.TIMEOUT, "longer than 1.5 s", None),
    "memory": ("x = bytearray(900 << 20); x[::4096] = x[::4096]", {}, Failure.MEMORY, "512 MiB of memory", None),
    "scratch": (
        "[(outputs / str(i)).write_bytes(bytes(10 << 20)) for i in range(9)]",
        {},
        Failure.SCRATCH,
        "64 MiB of scratch space",
        "was not written",
    ),
    "nothing": ("pass", {}, None, "cls_task1.csv: not as submitted", "was not written"),
    "rows": ("del labels[3]\n" + WRITE, {}, None, "not as submitted", "has 7 rows where there are 8 inputs"),
    "no CSV": ('(outputs / "cls_task1.csv").write_bytes(b"\\xff\\xfe")', {}, None, "not as submitted", "not UTF-8"),
    "pipe": ('os.mkfifo(outputs / "cls_task1.csv")', {}, None, "not as submitted", "a folder or a special file"),
    "folder": ('(outputs / "cls_task1.csv").mkdir()', {}, None, "not as submitted", "a folder or a special file"),
    "link": (
        '(outputs / "a").write_text("label\\n"); (outputs / "cls_task1.csv").symlink_to("a")',
        {},
        None,
        "not as submitted",
        "is a link",
    ),
    "too large": (
        '(outputs / "cls_task1.csv").open("wb").truncate(40 << 20)',
        {},
        None,
        "not as submitted",
        "is larger than a submission may be",
    ),
    "no rights": (WRITE + '(outputs / "cls_task1.csv").chmod(0); outputs.chmod(0)', {}, None, "", None),
    "no program": ("", {"command": ["no-such-program"]}, Failure.CRASHED, "exit code 127; .*no-such-program", None),
    "hangs on": (WRITE + "import subprocess; subprocess.Popen(['sleep', '60'])", {}, None, "", None),
}


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_the_code_does_is_told(phase: Phase, name: str, temporary: Path) -> None:
    code, more, error, words, fault = FAILURES[name]
    start = time.monotonic()
    done = phase.run(phase.zip(HONEST + code, **more))
    assert time.monotonic() - start < 20
    if name == "hangs on":  # what it leaves running dies
        assert done.reproduced
    elif name == "no rights":  # root may read it
        assert done.reproduced or "cannot be read" in str(done.files[0].fault)
    else:
        assert not done.reproduced
        assert done.error is error
        assert re.search(words, str(done.reason)), done.reason
        assert str(done.reason).isprintable()
    if fault is not None:
        assert fault in str(done.files[0].fault)
    assert not list(temporary.iterdir())


def test_the_code_sees_the_phase_as_participants_have_it_and_nothing_else(phase: Phase) -> None:
    # In what is published lies no more than the track file names.
    (phase.folder / "notes-of-the-organiser.txt").write_text("x")
    elsewhere = phase.root.parent / "large-disk" / "adapter"
    elsewhere.parent.mkdir()
    (phase.folder / "models/task1/model1").rename(elsewhere)
    (phase.folder / "models/task1/model1").symlink_to(elsewhere)
    code = HONEST + (
        "import socket, sys\n"
        "found = sorted(str(p.relative_to('/round')) for p in Path('/round').rglob('*') if not p.is_dir())\n"
        "problems = []\n"
        "if found != ['base/config.json', 'phases/test/models/task1/model1/config.json',"
        " 'phases/test/test/task1/test.json', 'phases/test/track.yaml']: problems.append(found)\n"
        # The way in which adapters name their base.
        "named = phase / 'models/task1/model1' / '../../../../../base/config.json'\n"
        "if not named.is_file(): problems.append('base')\n"
        "if sorted(os.listdir()) != ['README.md', 'reproduce.yaml', 'run.py']: problems.append(os.listdir())\n"
        "if os.getcwd() != '/code' or os.listdir(outputs): problems.append(os.getcwd())\n"
        "if list(Path(os.environ['PALLADION_SCRATCH']).iterdir()): problems.append('scratch')\n"
        "for path in (phase, base, Path('.'), phase / 'models/task1/model1', phase / 'test'):\n"
        "    try: (path / 'new').write_text('x')\n"
        "    except OSError: continue\n"
        "    problems.append(path)\n"
        "try: socket.socket(socket.AF_INET); problems.append('network')\n"
        "except OSError: pass\n"
        "copies = [p for p in Path('/').rglob('cls_task1.csv') if '/proc/' not in str(p)]\n"
        "if copies: problems.append(copies)\n"
        "if problems: raise SystemExit(str(problems))\n"
    )
    done = phase.run(phase.zip(code + WRITE))
    assert done.reproduced, done.reason


def test_validation_data_with_answers_is_published_and_shown(phase: Phase) -> None:
    track = phase.folder / "track.yaml"
    track.write_text(track.read_text().replace("  models:", "  validation: validation/task1\n  models:"))
    (phase.folder / "validation/task1").mkdir(parents=True)
    (phase.folder / "validation/task1/clean.json").write_text("[]")
    code = HONEST + 'assert (phase / "validation/task1/clean.json").read_text() == "[]"\n'
    done = phase.run(phase.zip(code + WRITE))
    assert done.reproduced, done.reason


# Looks for what is sealed everywhere: by name, by content, by the paths of the host, through /proc and by links; and
# lets links to it stand where its outputs are read. Each thing that it finds is a label of its own.
ATTACK = """
import os, re
from pathlib import Path

outputs = Path(os.environ["PALLADION_OUTPUTS"])
mark, host = b"sealed" + b"-truth", Path({host!r})
loot = 0
own = (Path("/code"), Path("/usr"), Path("/opt"), Path("/sys"))
for root, folders, files in os.walk("/", onerror=lambda error: None):
    at = Path(root)
    if any(at.is_relative_to(path) for path in own) or re.match("/proc/(?!self)", root):
        folders.clear()
        continue
    if "sealed" in folders or "sealed" in files:
        loot = max(loot, 1)
    for name in files:
        try:
            handle = os.open(at / name, os.O_RDONLY | os.O_NONBLOCK)
            if mark in os.read(handle, 1 << 20):
                loot = 2
            os.close(handle)
        except OSError:
            pass
phase = Path(os.environ["PALLADION_PHASE"])
tries = [host / "sealed", phase / "../../sealed", Path("/sealed"), Path("/round/sealed"), Path("/proc/1/root") / host]
tries += [Path(f"/proc/self/fd/{{number}}") / "sealed" for number in range(3, 64)]
tries += [Path(f"/proc/{{pid}}/root") / str(host)[1:] / "sealed" for pid in range(1, 50)]
for path in tries:
    try:
        if os.listdir(path):
            loot = 2
    except OSError:
        pass
if mark in open("/proc/self/mountinfo", "rb").read() or str(host) in open("/proc/self/mountinfo").read():
    loot = 2
(outputs / "cls_task1.csv").write_text("label\\n" + f"{{loot}}\\n" * 8)
{link}
"""
LINK = """
(outputs / "cls_task1.csv").unlink()
(outputs / "cls_task1.csv").symlink_to(host / "sealed/test/task1/labels.csv")
"""


@pytest.fixture
def sealed(phase: Phase) -> str:
    """Answers beside the phase; a word that is in all of them."""
    secret = f"sealed-truth-{secrets.token_hex(8)}"
    folder = phase.root / "sealed" / "test" / "task1"
    folder.mkdir(parents=True)
    (phase.root / "sealed" / "round.yaml").write_text(f"seed: {secret}\n")
    (folder / "clean.json").write_text(json.dumps([{"sentence": secret, "label": 1}]))
    (folder / "labels.csv").write_text("label\n" + "1\n" * 8)
    (folder / secret).write_text(secret)
    return secret


def test_what_is_sealed_cannot_be_reached(phase: Phase, sealed: str) -> None:
    attack = ATTACK.format(host=str(phase.root), link="")
    done = phase.run(phase.zip(attack, labels=[0] * 8))
    assert done.error is None, done.reason
    assert done.files[0].equal == 8, done.files[0].differing
    # A link to the sealed answers is not followed by whoever reads the outputs, who could.
    attack = ATTACK.format(host=str(phase.root), link=LINK)
    done = phase.run(phase.zip(attack, labels=[1] * 8))
    assert "is a link" in str(done.files[0].fault)
    assert not done.reproduced
    assert sealed not in json.dumps(done.to_dict())


def test_the_attack_finds_what_is_there_to_be_found(phase: Phase, sealed: str) -> None:
    """Else the test above would show nothing: the same program, with the sealed folder among what is published."""
    del sealed
    track = phase.folder / "track.yaml"
    track.write_text(track.read_text().replace("  models:", "  validation: sealed\n  models:"))
    (phase.root / "sealed").rename(phase.folder / "sealed")
    done = phase.run(phase.zip(ATTACK.format(host="/nowhere", link=""), labels=[0] * 8))
    assert done.error is None, done.reason
    assert [row.made for row in done.files[0].differing] == ["2"] * 5


def test_beside_sealed_answers_a_sandbox_is_needed(phase: Phase, sealed: str) -> None:
    del sealed
    with pytest.raises(InputError, match="the code needs a sandbox, and none was asked for"):
        phase.run(phase.zip("raise SystemExit"), sandbox="none")


@pytest.mark.parametrize("what", ["base", "model"])
def test_what_is_shown_may_not_hold_what_is_sealed_nor_lie_in_it(phase: Phase, sealed: str, what: str) -> None:
    del sealed
    if what == "base":
        with pytest.raises(InputError, match=r"which the submission sees \(round/base\); move the round"):
            phase.run(phase.zip(), base=phase.root.parent)
    else:
        model = phase.folder / "models/task1/model1"
        model.rename(phase.root / "sealed/clean-model")
        model.symlink_to(phase.root / "sealed/clean-model")
        with pytest.raises(InputError, match=r"is sealed, but track.yaml or --base names it"):
            phase.run(phase.zip())


def test_code_that_holds_its_answers_is_noted(phase: Phase) -> None:
    copying = "import os, shutil; shutil.copy('answers.csv', os.environ['PALLADION_OUTPUTS'] + '/cls_task1.csv')"
    path = phase.zip(copying)
    labels = ("label\n" + "".join(f"{label}\n" for label in LABELS)).encode()
    contents = {"cls_task1.csv": labels, "code/README.md": b"x", "code/answers.csv": labels}
    contents |= {"code/run.py": copying.encode(), "code/reproduce.yaml": json.dumps(RECIPE).encode()}
    done = phase.run(make_zip(path, contents))
    assert done.reproduced
    assert done.notes == (
        "code/answers.csv is the same file as cls_task1.csv: the code may hand it out instead of computing it",
    )


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"code/README.md": None}, r"error: code/: has no README.md at its top"),
        ({"code/reproduce.yaml": None}, r"^code/reproduce.yaml: there is no such file"),
        ({"code/reproduce.yaml": b"command: [x]\nseconds: 1\nnetwork: true\n"}, "line 3: there is no key 'network'"),
        ({"code/README.md": None, "code/run.py": None, "code/reproduce.yaml": None}, "error: code/: is missing"),
        ({"cls_task1.csv": b"label\n9\n"}, r"(?s)has 1 rows where there are 8 .*labels go from 0 to 2"),
        ({"cls_task1.csv": None}, "holds no output at all"),
        ({"notes.txt": b"x"}, "error: notes.txt: is no output"),
    ],
)
def test_a_submission_at_fault_is_told_before_anything_is_run(
    phase: Phase, contents: dict[str, bytes | None], words: str
) -> None:
    labels = ("label\n" + "".join(f"{label}\n" for label in LABELS)).encode()
    all_of_it: dict[str, bytes | None] = {
        "cls_task1.csv": labels,
        "code/README.md": b"x",
        "code/run.py": b"open('/dev/null')",
        "code/reproduce.yaml": json.dumps(RECIPE).encode(),
        **contents,
    }
    path = make_zip(phase.root / "s.zip", {name: data for name, data in all_of_it.items() if data is not None})
    with pytest.raises(InputError, match=words):
        phase.run(path)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"seconds": 61}, "seconds: 61 is more than the 60 that are allowed"),
        ({"memory": "2G"}, "memory: 2G is more than the 1G that are allowed"),
        ({"scratch": "65M"}, "scratch: 65M is more than the 64M that are allowed"),
        ({"cpus": 4096, "gpus": 3}, "cpus: 4096 is more than the 1 that are allowed; gpus: 3 is more than the 0"),
    ],
)
def test_code_may_not_declare_more_than_the_track_allows(phase: Phase, declared: dict[str, Any], words: str) -> None:
    most = replace(MOST, memory_bytes=1 << 30, scratch_bytes=64 << 20, cpus=1)
    with pytest.raises(InputError, match=words):
        phase.run(phase.zip(**declared), most=most, most_gpus=0)


def test_what_is_not_declared_fits_into_what_is_allowed(phase: Phase) -> None:
    labels = ("label\n" + "".join(f"{label}\n" for label in LABELS)).encode()
    contents = {"cls_task1.csv": labels, "code/README.md": b"x", "code/run.py": (HONEST + WRITE).encode()}
    contents["code/reproduce.yaml"] = b"{command: [python3, run.py], seconds: 20}"
    path = make_zip(phase.root / "s.zip", contents)
    done = phase.run(path, most=replace(MOST, memory_bytes=300 << 20, scratch_bytes=50 << 20))
    assert done.reproduced, done.reason
    assert (done.limits.memory_bytes, done.limits.scratch_bytes, done.limits.cpus) == (300 << 20, 50 << 20, 1)


def test_what_is_given_wrong_is_told(phase: Phase, tmp_path: Path) -> None:
    path = phase.zip()
    with pytest.raises(InputError, match="is a folder; pack it first"):
        phase.run(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        phase.run(tmp_path / "none.zip")
    with pytest.raises(InputError, match=r"is a whole round; name one of its phases.*\(there are test\)"):
        reproduce(path, phase.root)
    with pytest.raises(InputError, match="there is no such folder"):
        reproduce(path, tmp_path / "nowhere")
    with pytest.raises(InputError, match="there is no such folder"):
        phase.run(path, base=tmp_path / "nowhere")
    for allow in (-1.0, 100.5, float("nan")):
        with pytest.raises(InputError, match="of the rows cannot differ"):
            phase.run(path, allow=allow)
    with pytest.raises(InputError, match="there is no sandbox 'cage'"):
        phase.run(path, sandbox="cage")


SLOW = HONEST + WRITE + "import time\ntime.sleep(SECONDS)\n"


@pytest.fixture
def timer() -> Iterator[Callable[[float, Callable[[], None]], None]]:
    timers: list[threading.Timer] = []

    def start(seconds: float, action: Callable[[], None]) -> None:
        timers.append(threading.Timer(seconds, action))
        timers[-1].start()

    yield start
    for one in timers:
        one.join()


def test_it_can_be_stopped_from_another_thread(
    phase: Phase, temporary: Path, timer: Callable[[float, Callable[[], None]], None]
) -> None:
    stop = Stop()
    start = time.monotonic()
    timer(1.5, stop.now)
    with pytest.raises(Stopped, match="stopped while the code ran"):
        phase.run(phase.zip(SLOW.replace("SECONDS", "25")), stop=stop)
    assert time.monotonic() - start < 12
    assert not list(temporary.iterdir())
    with pytest.raises(Stopped, match="before the code was run"):
        phase.run(phase.zip(), stop=stop)


def test_asked_gracefully_what_runs_finishes(phase: Phase, timer: Callable[[float, Callable[[], None]], None]) -> None:
    stop = Stop()
    timer(1.0, stop.gracefully)
    assert phase.run(phase.zip(SLOW.replace("SECONDS", "2")), stop=stop).reproduced
    assert stop.asked
