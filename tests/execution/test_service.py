"""Evaluations as a service runs them: journals of its own, shared slots, asked to stop, watched."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from palladion.execution.environments import own_environment
from palladion.execution.evaluation import Evaluation, Options, evaluate
from palladion.execution.outcome import Outcome
from palladion.execution.sandbox.contract import Limits
from palladion.execution.slots import Slots, Stop, Stopped
from palladion.models import RoundDirectory
from palladion.scoring import AnswerStatus
from palladion.submissions import DEFAULT_FAMILY, Submission
from tests.conftest import MakeRound

WHERE: dict[str, dict[str, Any]] = {"none": {"sandbox": "none"}, "bubblewrap": {"sandbox": "bubblewrap"}}
everywhere = pytest.mark.parametrize("where", WHERE)


@pytest.fixture(autouse=True)
def _places(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    monkeypatch.setattr("tempfile.tempdir", environment["TMPDIR"])


class Ledger:
    """Keeps outcomes in memory, and how often each was added."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes: dict[str, Outcome] = {outcome.data_point: outcome for outcome in outcomes}
        self.added = Counter[str]()
        self.threads = set[int]()
        self.complete = False

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.data_point] = outcome
        self.added[outcome.data_point] += 1
        self.threads.add(threading.get_ident())

    def remove(self) -> None:
        self.complete = True


def run(submission: Path, root: Path, ledger: Ledger, **more: Any) -> Evaluation:
    given = Options(own_environment(), sandbox=more.pop("sandbox", "none"))
    # The train split: only that may be evaluated without a sandbox.
    return evaluate(
        Submission.load(submission),
        RoundDirectory.open(root),
        "train",
        DEFAULT_FAMILY,
        given,
        **{"journal": ledger, "slots": Slots(2), "watch": lambda done, total: None, **more},
    )


def outcome(name: str) -> Outcome:
    return Outcome(name, 0.125, None, None, 1.0, 0.1, 5, AnswerStatus.OK)


@everywhere
def test_a_journal_of_ones_own_is_gone_on_with_and_the_cache_holds_nothing(
    make_round: MakeRound, nist_submission: Path, where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_round([True] * 4, behaviour='result.write_text("0.5")')
    ledger, seen = Ledger(outcome("id-00000001"), outcome("of another split")), list[tuple[int, int]]()
    done = run(nist_submission, root, ledger, watch=lambda *at: seen.append(at), **WHERE[where])
    assert [o.probability for o in done.outcomes] == [0.5, 0.125, 0.5, 0.5]
    assert ledger.added == Counter([f"id-{number:08d}" for number in (0, 2, 3)])
    assert ledger.complete
    assert ledger.threads == {threading.get_ident()}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert capfd.readouterr().err == ""
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def test_where_all_is_done_nothing_is_run_or_learned(make_round: MakeRound, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "detector.py").write_text("raise RuntimeError('broken at the top')")
    ledger = Ledger(outcome("id-00000000"), outcome("id-00000001"))
    done = run(tmp_path / "broken", make_round([True] * 2), ledger)
    assert [o.probability for o in done.outcomes] == [0.125] * 2
    assert ledger.complete
    assert ledger.added == Counter()


LOGGING = """
with open({log!r}, "a") as file:
    file.write(f"{name} 1 {{time.monotonic()}}\\n")
time.sleep(0.15)
with open({log!r}, "a") as file:
    file.write(f"{name} -1 {{time.monotonic()}}\\n")
result.write_text("0.5")
"""


def test_several_evaluations_share_the_slots_of_one_process(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path
) -> None:
    log, slots, ledgers = tmp_path / "log", Slots(2), [Ledger(), Ledger(), Ledger()]
    roots = [
        make_round([True] * 5, behaviour=LOGGING.format(log=str(log), name=name), name=name) for name in ("a", "b", "c")
    ]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda at: run(nist_submission, roots[at], ledgers[at], slots=slots), range(3)))
    assert [[o.probability for o in evaluation.outcomes] for evaluation in done] == [[0.5] * 5] * 3
    assert all(set(ledger.added.values()) == {1} for ledger in ledgers)
    events = sorted((float(at), int(what), name) for name, what, at in map(str.split, log.read_text().splitlines()))
    running = peak = 0
    for _, what, _ in events:
        running += what
        peak = max(peak, running)
    assert peak == 2
    starts = [name for _, what, name in events if what == 1]
    # All three get on: none has ended before another has begun.
    assert max(starts.index(name) for name in "abc") < min(15 - starts[::-1].index(name) for name in "abc")
    with slots.share() as share:
        assert share.room == 2


def test_a_data_point_takes_a_slot_for_each_of_its_processors(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path
) -> None:
    log, slots = tmp_path / "log", Slots(3)
    root = make_round([True] * 4, behaviour=LOGGING.format(log=str(log), name="a"))
    evaluate(
        Submission.load(nist_submission),
        RoundDirectory.open(root),
        "train",
        DEFAULT_FAMILY,
        Options(own_environment(), sandbox="none", limits=Limits(cpus=2)),
        journal=Ledger(),
        slots=slots,
        watch=lambda done, total: None,
    )
    whats = [line.split()[1] for line in log.read_text().splitlines()]
    assert whats == ["1", "-1"] * 4


SLOW = """
with open({counter!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
time.sleep({seconds})
result.write_text("0.5")
"""


def gone(counter: Path) -> bool:
    """Whether no process of the submission runs any more."""
    pids = [int(line) for line in counter.read_text().split()]
    end = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_asked_gracefully_what_runs_finishes_and_the_rest_is_for_later(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path, temporary: Path
) -> None:
    counter = tmp_path / "runs"
    root = make_round([True] * 6, behaviour=SLOW.format(counter=str(counter), seconds=0.4))
    stop, ledger = Stop(), Ledger()

    def watch(done: int, total: int) -> None:
        assert total == 6
        if done == 1:
            stop.gracefully()

    with pytest.raises(Stopped, match=r"stopped; [23] of 6 data points are kept"):
        run(nist_submission, root, ledger, stop=stop, watch=watch)
    assert not ledger.complete
    runs = len(counter.read_text().split())
    assert runs == len(ledger.outcomes) in (2, 3)
    assert not list(temporary.iterdir())
    run(nist_submission, root, ledger)
    assert ledger.added == Counter(f"id-{number:08d}" for number in range(6))
    assert len(counter.read_text().split()) == 6


@everywhere
def test_asked_to_end_at_once_all_is_killed_and_it_goes_on_later(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path, temporary: Path, where: str
) -> None:
    counter = tmp_path / "runs" if where == "none" else Path("/tmp/runs")  # its own, inside
    behaviour = {0: 'result.write_text("0.5")'} | dict.fromkeys(
        range(1, 4), SLOW.format(counter=str(counter), seconds=60)
    )
    root = make_round([True] * 4, behaviour=behaviour)
    stop, ledger = Stop(), Ledger()
    timer = threading.Timer(2.0, stop.now)
    timer.start()
    start = time.monotonic()
    with pytest.raises(Stopped, match=r"stopped; [01] of 4 data points are kept"):
        run(nist_submission, root, ledger, stop=stop, **WHERE[where])
    assert time.monotonic() - start < 15
    timer.join()
    if where == "none":
        assert gone(counter)
    assert not list(temporary.iterdir())
    for number in range(1, 4):
        path = root / "train" / "models" / f"id-{number:08d}" / "open" / "model" / "behaviour.py"
        path.write_text('result.write_text("0.25")')
    done = run(nist_submission, root, ledger, **WHERE[where])
    assert [o.probability for o in done.outcomes] == [0.5, 0.25, 0.25, 0.25]
    assert set(ledger.added.values()) == {1}


def test_asked_before_it_begins_nothing_is_run(make_round: MakeRound, nist_submission: Path) -> None:
    stop, ledger = Stop(), Ledger()
    stop.gracefully()
    with pytest.raises(Stopped):
        run(nist_submission, make_round([True]), ledger, stop=stop)
    assert ledger.outcomes == {}


LEARNER = """
import os, time
from palladion.detectors import Detector

class Slow(Detector):
    def configure(self, train_split):
        self.names_ = train_split.map(self.features, "features")

    def features(self, model_dir, examples_dir):
        with open({counter!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        print("learning", file=__import__("sys").stderr, flush=True)
        time.sleep(0.4)
        return 1

    def probability(self, model_dir, examples_dir):
        return 0.5
"""


def learner(tmp_path: Path) -> tuple[Path, Path]:
    """A detector that learns for 0.4 s of each model, and where each of those is noted."""
    counter, folder = tmp_path / "runs", tmp_path / "own"
    folder.mkdir()
    (folder / "detector.py").write_text(LEARNER.format(counter=str(counter)))
    return folder, counter


def test_who_waits_for_slots_to_learn_can_be_stopped(make_round: MakeRound, tmp_path: Path) -> None:
    folder, counter = learner(tmp_path)
    stop, slots = Stop(), Slots(1)
    timer = threading.Timer(3.0, stop.gracefully)
    with slots.share() as share:
        assert share.take()
        timer.start()
        with pytest.raises(Stopped, match="stopped before it began"):
            run(folder, make_round([True]), Ledger(), slots=slots, stop=stop)
    timer.join()
    assert not counter.exists()


def test_what_learns_can_be_stopped_at_once_and_goes_on_later(
    make_round: MakeRound, tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, counter = learner(tmp_path)
    root, stop = make_round([True, False] * 3), Stop()

    def end() -> None:
        while not counter.exists() or len(counter.read_text().split()) < 3:
            time.sleep(0.02)
        stop.now()

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(Stopped, match="what it was learning is kept"):
        run(folder, root, Ledger(), stop=stop)
    ender.join()
    assert gone(counter)
    assert not list(temporary.iterdir())
    before = len(counter.read_text().split())
    assert before < 6
    done = run(folder, root, Ledger())
    assert [o.probability for o in done.outcomes] == [0.5] * 6
    assert len(counter.read_text().split()) in (6, 7)
    assert capfd.readouterr().err == ""


def test_asked_gracefully_what_learns_finishes_and_is_kept(make_round: MakeRound, tmp_path: Path) -> None:
    folder, counter = learner(tmp_path)
    root, stop, ledger = make_round([True, False]), Stop(), Ledger()

    def end() -> None:
        while not counter.exists():
            time.sleep(0.02)
        stop.gracefully()

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(Stopped, match="0 of 2"):
        run(folder, root, ledger, stop=stop)
    ender.join()
    assert len(counter.read_text().split()) == 2
    run(folder, root, ledger)
    assert len(counter.read_text().split()) == 2


def test_a_journal_that_cannot_keep_an_outcome_ends_it(
    make_round: MakeRound, nist_submission: Path, tmp_path: Path, temporary: Path
) -> None:
    class Lost(Ledger):
        def add(self, outcome: Outcome) -> None:
            raise RuntimeError("somebody else has the lease")

    counter = tmp_path / "runs"
    slow = SLOW.format(counter=str(counter), seconds=60)
    root = make_round([True] * 3, behaviour={1: slow, 2: slow})
    (root / "train/models/id-00000000/open/model/behaviour.py").write_text('time.sleep(1); result.write_text("0.5")')
    slots = Slots(3)
    with pytest.raises(RuntimeError, match="somebody else has the lease"):
        run(nist_submission, root, Lost(), slots=slots)
    assert gone(counter)
    assert not list(temporary.iterdir())
    with slots.share() as share:
        assert share.room == 3


# A worker whose ledger is a database, which other processes may open.
WORKER = """
import sqlite3, sys
from pathlib import Path
from palladion.execution.environments import own_environment
from palladion.execution.evaluation import Options, evaluate
from palladion.execution.outcome import Outcome
from palladion.execution.slots import Slots
from palladion.models import RoundDirectory
from palladion.submissions import DEFAULT_FAMILY, Submission
import json

class Ledger:
    def __init__(self, path):
        self.database = sqlite3.connect(path)
        rows = self.database.execute("SELECT body FROM outcomes").fetchall()
        self.outcomes = {o.data_point: o for o in (Outcome.from_dict(json.loads(body)) for body, in rows)}
    def add(self, outcome):
        with self.database:
            row = (outcome.data_point, json.dumps(outcome.to_dict()))
            self.database.execute("INSERT INTO outcomes VALUES (?, ?)", row)
        self.outcomes[outcome.data_point] = outcome
    def remove(self):
        pass

done = evaluate(
    Submission.load(sys.argv[1]), RoundDirectory.open(Path(sys.argv[2])), "train", DEFAULT_FAMILY,
    Options(own_environment(), sandbox="none"), journal=Ledger(sys.argv[3]), slots=Slots(2),
    watch=lambda done, total: print(done, flush=True),
)
print(*[outcome.probability for outcome in done.outcomes])
"""


def test_where_a_worker_was_killed_another_goes_on(
    make_round: MakeRound, nist_submission: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    counter, path = tmp_path / "runs", tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        # The second of the same data point would be refused.
        database.execute("CREATE TABLE outcomes (data_point TEXT PRIMARY KEY, body TEXT)")
    root = make_round([True] * 8, behaviour=SLOW.format(counter=str(counter), seconds=0.25))
    command = [sys.executable, "-c", WORKER, str(nist_submission), str(root), str(path)]
    for _ in range(2):
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        for _ in range(3):
            worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(10)
        worker.stdout.close()
        assert gone(counter)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == " ".join(["0.5"] * 8)
    (kept,) = sqlite3.connect(path).execute("SELECT count(*) FROM outcomes").fetchone()
    assert kept == 8
    # At most what ran when it was killed was run again: two data points, two times.
    assert 8 <= len(counter.read_text().split()) <= 12
