import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import ExecutionError, InputError
from palladion.execution.configuration import configure
from palladion.execution.data_points import Staged
from palladion.execution.environments import own_environment
from palladion.execution.evaluation import Options, evaluate, run_all
from palladion.execution.journal import FileJournal
from palladion.execution.outcome import Outcome
from palladion.execution.sandbox.contract import Limits
from palladion.models import ModelEntry, RoundDirectory
from palladion.scoring import AnswerStatus
from palladion.submissions import DEFAULT_FAMILY, Submission

MakeRound = Callable[..., Path]
Palladion = Callable[..., "subprocess.CompletedProcess[str]"]

ANSWER = 'result.write_text("0.9")'
# What a submission may do, and what becomes of it.
BEHAVIOURS: dict[str, tuple[str, float | None, str | None]] = {
    "well": ('result.write_text("0.25\\n")', 0.25, None),
    "crash": (f"{ANSWER}; raise ValueError('no idea')", None, "crashed"),
    "signal": (f"{ANSWER}; os.kill(os.getpid(), 11)", None, "crashed"),
    "timeout": (f"{ANSWER}; time.sleep(600)", None, "timeout"),
    "no answer": ("print('nothing to say')", None, "no_answer"),
    "nan": ('result.write_text("nan")', None, "bad_answer"),
    "too large a number": ('result.write_text("1e400")', None, "bad_answer"),
    "negative": ('result.write_text("-0.5")', None, "bad_answer"),
    "above one": ('result.write_text("2.0")', None, "bad_answer"),
    "text": ('result.write_text("poisoned")', None, "bad_answer"),
    "long": ('result.write_text("0" * (64 << 20))', None, "bad_answer"),
    "link": ('(scratch / "a").write_text("0.9"); result.symlink_to(scratch / "a")', None, "bad_answer"),
    "pipe": ("os.mkfifo(result)", None, "bad_answer"),
    "folder": ("result.mkdir()", None, "bad_answer"),
    "no folder": ("import shutil; shutil.rmtree(result.parent)", None, "crashed"),
    "ends its session": ("os.killpg(os.getpgid(0), 9)", None, "crashed"),
    "ends its watcher": ("os.kill(os.getppid(), 9); time.sleep(600)", None, "timeout"),
}
# Without a sandbox, it can do that.
WITHOUT_SANDBOX = {"ends its watcher": "crashed", "no folder": "no_answer"}
WHERE: dict[str, dict[str, Any]] = {
    "none": {"sandbox": "none"},
    "warm": {"sandbox": "bubblewrap", "warm": True},
    "cold": {"sandbox": "bubblewrap", "warm": False},
}
everywhere = pytest.mark.parametrize("where", WHERE)


@pytest.fixture(autouse=True)
def _cache(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    monkeypatch.setattr("tempfile.tempdir", environment["TMPDIR"])


def outcomes_of(submission: Path, root: Path, **options: Any) -> tuple[Outcome, ...]:
    given = Options(own_environment(), **{"slots": 2, **options})
    # The train split: only that may be evaluated without a sandbox.
    return evaluate(Submission.load(submission), RoundDirectory.open(root), "train", DEFAULT_FAMILY, given).outcomes


@pytest.mark.slow
@everywhere
def test_whatever_a_submission_does_is_an_outcome(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path, where: str, temporary: Path
) -> None:
    codes = dict(enumerate(code for code, _, _ in BEHAVIOURS.values()))
    root = make_round([False] * len(codes), behaviour=codes)
    outcomes = outcomes_of(nist_submission, root, limits=Limits(seconds=2.0), **WHERE[where])
    assert [outcome.data_point for outcome in outcomes] == [f"id-{i:08d}" for i in range(len(codes))]
    found = {name: (o.probability, o.error) for name, o in zip(BEHAVIOURS, outcomes, strict=True)}
    expected = {name: (probability, error) for name, (_, probability, error) in BEHAVIOURS.items()}
    if where == "none":
        expected |= {name: (None, error) for name, error in WITHOUT_SANDBOX.items()}
    assert found == expected
    by_name = dict(zip(BEHAVIOURS, outcomes, strict=True))
    assert "no idea" in str(by_name["crash"].message)
    assert "SIGSEGV" in str(by_name["signal"].message)
    assert "2.0" in str(by_name["above one"].message)
    assert by_name["above one"].status is AnswerStatus.OUT_OF_RANGE
    assert by_name["nan"].status is AnswerStatus.NOT_FINITE
    assert 2 <= by_name["timeout"].seconds < 4
    assert by_name["well"].message is None
    assert 1 << 20 < (by_name["well"].peak_memory_bytes or 0) < 200 << 20
    assert 0 < by_name["well"].overhead_seconds < 2
    # Nothing is left: neither what was staged, nor what was kept to go on after an interruption.
    assert not list(temporary.iterdir())
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@everywhere
def test_a_submission_learns_neither_name_nor_label(make_round: MakeRound, nist_submission: Path, where: str) -> None:
    behaviour = (
        "seen = [*sys.argv, *os.environ.values(), os.getcwd()]\n"
        "seen += [str(p) for p in model.parent.parent.rglob('*') if not str(p).startswith(('/proc', '/usr', '/opt'))]\n"
        "result.write_text('1' if any('id-000' in s or 'sealed' in s or 'ground' in s for s in seen) else '0')"
    )
    root = make_round([True], behaviour=behaviour)
    assert [o.probability for o in outcomes_of(nist_submission, root, **WHERE[where])] == [0.0]


@everywhere
def test_every_data_point_starts_on_empty_ground(make_round: MakeRound, nist_submission: Path, where: str) -> None:
    behaviour = (
        "left = list(scratch.iterdir()) + list(Path(os.environ['TMPDIR']).iterdir())\n"
        "(scratch / 'left').write_text('x')\n"
        "result.write_text('1' if left else '0')"
    )
    outcomes = outcomes_of(nist_submission, make_round([True] * 6, behaviour=behaviour), **WHERE[where])
    assert [outcome.probability for outcome in outcomes] == [0.0] * 6


@everywhere
def test_slots_run_at_the_same_time(make_round: MakeRound, nist_submission: Path, where: str) -> None:
    root = make_round([True] * 4, behaviour='time.sleep(2); result.write_text("0.5")')
    start = time.monotonic()
    outcomes_of(nist_submission, root, slots=4, **WHERE[where])
    assert time.monotonic() - start < 7


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"limits": Limits(seconds=0.0)},
        {"limits": Limits(seconds=float("nan"))},
        {"limits": Limits(processes=0)},
        {"budget": 0.0},
    ],
)
def test_senseless_options_are_refused(make_round: MakeRound, nist_submission: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be"):
        outcomes_of(nist_submission, make_round([True]), sandbox="none", **options)


@everywhere
def test_a_budget_ends_what_runs_and_the_rest_is_not_run(
    make_round: MakeRound, nist_submission: Path, where: str
) -> None:
    root = make_round([True] * 4, behaviour='time.sleep(0.8); result.write_text("0.5")')
    outcomes = outcomes_of(nist_submission, root, slots=1, budget=1.2, **WHERE[where])
    assert sorted(str(outcome.error) for outcome in outcomes) == ["None", "budget", "budget", "budget"]
    assert sorted(outcome.seconds > 0 for outcome in outcomes) == [False, False, True, True]
    messages = {outcome.message for outcome in outcomes if outcome.error}
    assert messages == {
        "it was killed when the 1.2 s for all models together were spent",
        "it was not run: the 1.2 s for all models together were spent",
    }


def test_a_sealed_round_may_not_lie_where_the_submission_looks(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path
) -> None:
    root = make_round([True])
    root.rename(nist_submission / "round")
    with pytest.raises(InputError, match=r"which the submission sees \(the submission's folder\); move the round"):
        evaluate(
            Submission.load(nist_submission),
            RoundDirectory.open(nist_submission / "round"),
            "test",
            DEFAULT_FAMILY,
            Options(own_environment()),
        )


@everywhere
def test_learning_ends_with_the_budget(
    make_round: MakeRound, detector_folder: Callable[[str], Path], where: str
) -> None:
    source = (
        "import time\nfrom palladion.detectors import Detector\nclass Slow(Detector):\n"
        "    def configure(self, train_split): time.sleep(60)\n"
        "    def probability(self, model_dir, examples_dir): return 0.5\n"
    )
    with pytest.raises(ExecutionError, match="at its limit of timeout"):
        outcomes_of(detector_folder(source), make_round([True]), budget=2.0, **WHERE[where])


def test_on_an_error_everything_is_stopped() -> None:
    class Failing:
        stopped = False

        def stage(self, entry: ModelEntry) -> Staged:
            if entry.name == "b":
                raise InputError("at fault")
            return Staged(entry, None, 0.0)  # type: ignore[arg-type]

        def run(self, staged: Staged, limits: Limits) -> Outcome:
            return Outcome(staged.entry.name, 0.5, None, None, 0.0, 0.0, None, AnswerStatus.OK)

        def stop(self) -> None:
            self.stopped = True

    runner = Failing()
    done: list[Outcome] = []
    entries = [ModelEntry(name, Path(name)) for name in "abc"]
    with pytest.raises(InputError, match="at fault"):
        run_all(runner, entries, 1, done.append)  # type: ignore[arg-type]
    assert "b" not in [outcome.data_point for outcome in done]
    assert runner.stopped


def test_a_journal_forgives_half_a_line_and_strangers(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, ["a", "b"])
    kept = Outcome("a", 0.5, None, None, 1.0, 0.1, 5, AnswerStatus.OK)
    journal.add(kept)
    journal.add(Outcome("c", 0.5, None, None, 1.0, 0.1, 5, AnswerStatus.OK))
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"data_point": "b", "proba')
    again = FileJournal(tmp_path, ["a", "b"])
    assert again.outcomes == {"a": kept}
    again.add(Outcome("b", 0.25, None, None, 1.0, 0.1, 5, AnswerStatus.OK))
    assert set(FileJournal(tmp_path, ["a", "b"]).outcomes) == {"a", "b"}


# What is counted here is counted in a file of this machine.
WITHOUT = ("--split", "train", "--sandbox", "none")
COUNTING = """
with open({counter!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
time.sleep(0.4)
result.write_text("0.5")
"""


def start_and_interrupt(
    environment: dict[str, str],
    tmp_path: Path,
    arguments: list[str],
    with_signal: signal.Signals,
    after: int,
    journal: str = "journal.jsonl",
) -> "subprocess.Popen[str]":
    """Start ``palladion evaluate`` and send it a signal once so many lines are in its journal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "palladion", "evaluate", *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.02)
        journals = list((tmp_path / "cache").rglob(journal))
        with contextlib.suppress(FileNotFoundError):
            if journals and journals[0].read_text().count("\n") >= after:
                process.send_signal(with_signal)
                break
    process.wait(timeout=30)
    return process


def alive(counter: Path) -> list[int]:
    """Processes of the submission that still run."""
    pids = [int(line) for line in counter.read_text().split()]
    end = time.monotonic() + 5
    left = pids
    while left and time.monotonic() < end:
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.02)
    return left


@pytest.mark.slow
def test_after_kill_9_only_what_is_missing_is_run(
    make_round: MakeRound,
    nist_submission: Path,
    palladion: Palladion,
    environment: dict[str, str],
    tmp_path: Path,
    temporary: Path,
) -> None:
    counter = tmp_path / "runs"
    root = make_round([False, True] * 4, behaviour=COUNTING.format(counter=str(counter)))
    arguments = [str(nist_submission), "--round", str(root), *WITHOUT, "--slots", "1", "--json", "scores.json"]
    process = start_and_interrupt(environment, tmp_path, arguments, signal.SIGKILL, after=3)
    assert process.returncode == -signal.SIGKILL
    assert alive(counter) == []
    before = len(counter.read_text().split())
    assert 3 <= before < 8
    assert not (tmp_path / "scores.json").exists()

    done = palladion("evaluate", *arguments)
    assert done.returncode == 0
    assert "data points were done before" in done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [o["probability"] for o in scores["outcomes"]] == [0.5] * 8
    # The one that was cut short is run again, no other.
    assert len(counter.read_text().split()) in (8, 9)
    assert not list(temporary.iterdir())


def test_ctrl_c_leaves_nothing_running_and_says_how_to_go_on(
    make_round: MakeRound,
    nist_submission: Path,
    palladion: Palladion,
    environment: dict[str, str],
    tmp_path: Path,
    temporary: Path,
) -> None:
    counter = tmp_path / "runs"
    root = make_round([False, True] * 3, behaviour=COUNTING.format(counter=str(counter)))
    arguments = [str(nist_submission), "--round", str(root), *WITHOUT, "--slots", "2"]
    process = start_and_interrupt(environment, tmp_path, arguments, signal.SIGINT, after=2)
    assert process.returncode == 130
    assert process.stderr is not None
    error = process.stderr.read()
    words = r"palladion: interrupted; (\d) of 6 data points are kept, and the same command goes on from there"
    kept = re.search(words, error)
    assert kept
    assert int(kept[1]) >= 2
    assert "Traceback" not in error
    assert alive(counter) == []
    assert not list(temporary.iterdir())

    runs = len(counter.read_text().split())
    assert palladion("evaluate", *arguments).returncode == 0
    assert len(counter.read_text().split()) - runs == 6 - int(kept[1])


@pytest.mark.slow
def test_fresh_starts_over(
    make_round: MakeRound, nist_submission: Path, palladion: Palladion, environment: dict[str, str], tmp_path: Path
) -> None:
    counter = tmp_path / "runs"
    root = make_round([False, True] * 2, behaviour=COUNTING.format(counter=str(counter)))
    arguments = [str(nist_submission), "--round", str(root), *WITHOUT, "--slots", "1"]
    start_and_interrupt(environment, tmp_path, arguments, signal.SIGKILL, after=2)
    runs = len(counter.read_text().split())
    assert palladion("evaluate", *arguments, "--fresh").returncode == 0
    assert len(counter.read_text().split()) - runs == 4


@pytest.mark.slow
def test_a_changed_submission_does_not_go_on_with_old_answers(
    make_round: MakeRound, nist_submission: Path, palladion: Palladion, environment: dict[str, str], tmp_path: Path
) -> None:
    counter = tmp_path / "runs"
    root = make_round([False, True] * 2, behaviour=COUNTING.format(counter=str(counter)))
    arguments = [str(nist_submission), "--round", str(root), *WITHOUT, "--slots", "1"]
    start_and_interrupt(environment, tmp_path, arguments, signal.SIGKILL, after=2)
    runs = len(counter.read_text().split())
    (nist_submission / "metaparameters.json").write_text('{"other": 1}')
    assert palladion("evaluate", *arguments).returncode == 0
    assert len(counter.read_text().split()) - runs == 4


LEARNING = """
from pathlib import Path
from palladion.detectors import Detector

class Prior(Detector):
    def __init__(self, weight=1.0):
        self.weight = weight

    def configure(self, train_split):
        with open({counter!r}, "a") as file:
            file.write(f"{{len(train_split)}}\\n")
        self.share_ = self.weight * sum(train_split.poisoned) / len(train_split)

    def probability(self, model_dir, examples_dir):
        return self.share_
"""


def test_a_detector_learns_from_the_train_split_first(
    make_round: MakeRound, detector_folder: Callable[[str], Path], palladion: Palladion, tmp_path: Path
) -> None:
    counter = tmp_path / "runs"
    root = make_round([True, False, False, False])
    folder = detector_folder(LEARNING.format(counter=str(counter)))
    done = palladion("evaluate", folder, "--round", root, *WITHOUT, "--json", "-")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert [o["probability"] for o in scores["outcomes"]] == [0.25] * 4
    assert scores["configuration_seconds"] > 0
    assert counter.read_text() == "4\n"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(path.name for path in folder.iterdir()) == ["detector.py"]


def test_learned_parameters_are_kept_and_used_again(
    make_round: MakeRound, detector_folder: Callable[[str], Path], palladion: Palladion, tmp_path: Path
) -> None:
    counter = tmp_path / "runs"
    root = make_round([True, False])
    folder = detector_folder(LEARNING.format(counter=str(counter)))
    first, second = (
        palladion("evaluate", folder, "--round", root, *WITHOUT, "--json", "-", "--learned", "kept") for _ in range(2)
    )
    assert (first.returncode, second.returncode) == (0, 0)
    assert counter.read_text() == "2\n"
    assert json.loads((tmp_path / "kept" / "learned.json").read_text()) == {"share_": 0.5}
    assert json.loads(first.stdout)["configuration_seconds"] > 0
    assert json.loads(second.stdout)["configuration_seconds"] is None
    assert json.loads(second.stdout)["metrics"] == json.loads(first.stdout)["metrics"]


def test_a_label_that_was_corrected_is_learned_anew(
    make_round: MakeRound, detector_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_round([True, False])
    submission = Submission.load(detector_folder(LEARNING.format(counter=str(tmp_path / "runs"))))

    def share() -> float:
        done = configure(
            submission,
            RoundDirectory.open(root),
            learned=None,
            jobs=1,
            limits=Limits(),
            budget=None,
            sandbox="none",
            environment=own_environment(),
            family=DEFAULT_FAMILY,
            fresh=False,
        )
        assert done.learned is not None
        return float(json.loads((done.learned / "learned.json").read_text())["share_"])

    assert (share(), share()) == (0.5, 0.5)
    assert (tmp_path / "runs").read_text() == "2\n"  # kept until the evaluation is complete
    table = root / "train" / "METADATA.csv"
    table.write_text(table.read_text().replace("True", "False"))
    assert share() == 0.0


def test_metaparameters_reach_the_constructor(
    make_round: MakeRound, detector_folder: Callable[[str], Path], palladion: Palladion, tmp_path: Path
) -> None:
    folder = detector_folder(LEARNING.format(counter=str(tmp_path / "runs")))
    (folder / "metaparameters.json").write_text('{"weight": 0.5, "technique": "none"}')
    done = palladion("evaluate", folder, "--round", make_round([True, False]), *WITHOUT, "--json", "-")
    assert [o["probability"] for o in json.loads(done.stdout)["outcomes"]] == [0.25] * 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('broken at the top')", "cannot be loaded.*broken at the top"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "exactly one class .* it holds none"),
        (f"{LEARNING.format(counter='x')}\nclass Other(Prior): pass", "it holds Prior, Other"),
        (
            "from palladion.detectors import Detector\nclass D(Detector):\n"
            "    def configure(self, train_split): raise ValueError('cannot learn')\n"
            "    def probability(self, model_dir, examples_dir): return 0.5\n",
            "failed to configure itself",
        ),
    ],
)
def test_a_detector_that_cannot_run_is_told_before_anything_is_evaluated(
    make_round: MakeRound, detector_folder: Callable[[str], Path], palladion: Palladion, source: str, words: str
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "palladion",
            "evaluate",
            str(detector_folder(source)),
            "--round",
            str(make_round([True])),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(words, done.stderr)


def test_two_of_the_same_evaluation_do_not_run_at_once(
    make_round: MakeRound, nist_submission: Path, palladion: Palladion, environment: dict[str, str], tmp_path: Path
) -> None:
    root = make_round([False, True], behaviour='time.sleep(3); result.write_text("0.5")')
    arguments = ["evaluate", str(nist_submission), "--round", str(root), *WITHOUT, "--slots", "1"]
    first = subprocess.Popen(
        [sys.executable, "-m", "palladion", *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list((tmp_path / "cache").rglob("journal.jsonl")):
            time.sleep(0.02)
            assert first.poll() is None
        second = palladion(*arguments)
        assert second.returncode == 1
        assert "another process is running this evaluation" in second.stderr
    finally:
        first.terminate()
        first.wait()


SLOW_LEARNER = """
import os, time
from palladion.detectors import Detector

class Slow(Detector):
    def configure(self, train_split):
        self.names_ = train_split.map(self.features, "features")

    def features(self, model_dir, examples_dir):
        with open({counter!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        time.sleep(0.4)
        return 1

    def probability(self, model_dir, examples_dir):
        return 0.5
"""


@pytest.mark.slow
def test_ctrl_c_while_it_learns_leaves_nothing_running_and_it_goes_on(
    make_round: MakeRound,
    detector_folder: Callable[[str], Path],
    palladion: Palladion,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    counter = tmp_path / "runs"
    folder = detector_folder(SLOW_LEARNER.format(counter=str(counter)))
    arguments = [str(folder), "--round", str(make_round([True, False] * 3)), *WITHOUT, "--slots", "1"]
    # The journal of the features has a header.
    process = start_and_interrupt(environment, tmp_path, arguments, signal.SIGINT, after=3, journal="features.jsonl")
    assert process.returncode == 130
    assert process.stderr is not None
    error = process.stderr.read()
    assert "palladion: interrupted while the detector learned; the same command goes on" in error
    assert "Traceback" not in error
    assert alive(counter) == []
    runs = len(counter.read_text().split())
    assert 2 <= runs < 6

    assert palladion("evaluate", *arguments).returncode == 0
    assert len(counter.read_text().split()) in (6, 7)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
