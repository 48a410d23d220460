import logging
import math
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from palladion.execution.outcome import Failure
from palladion.jobs import detecting
from palladion.jobs.worker import Worker, do
from palladion.storage import evaluations, queue
from palladion.storage.evaluations import NewOutcome
from palladion.storage.tables import Base
from tests.jobs.conftest import ended, wait_for
from tests.jobs.world import LABELS, NOW, RUNNING, World, claim, detector, do_all, make_round, make_world, packed

MARK = "sealed-9f31"
"""Stands in models of sealed splits, and must stand nowhere else."""

LEARNER = """
from palladion.detectors import Detector

class Share(Detector):
    def configure(self, train_split):
        self.share_ = sum(train_split.poisoned) / len(train_split)

    def probability(self, model_dir, examples_dir):
        return self.share_
"""


pytestmark = pytest.mark.usefixtures("own_cache")


def cross_entropy(*right: float) -> float:
    return -sum(math.log(p) for p in right) / len(right)


def test_a_detector_is_run_and_scored(either: World) -> None:
    either.open("round-0")
    submission = either.submit(detector(), "round-0")
    assert do_all(either) == 1
    assert either.submission(submission.id).state == "scored", either.submission(submission.id).reason
    found = either.scores(submission.id)
    assert found["", "cross_entropy"] == pytest.approx(cross_entropy(0.9, 0.9, 0.9, 0.9))
    assert found["", "roc_auc"] == 1.0
    with either.database.read() as tx:
        outcomes = evaluations.outcomes(tx, either.evaluation(submission.id).id)
    assert [row.answer for row in outcomes] == [0.9, 0.1, 0.9, 0.1]
    assert all((row.seconds or 0) > 0 for row in outcomes)


def behaving(tmp_path: Path, behaviour: dict[str, str]) -> World:
    """A world whose Round 1, with a sealed test split, is open."""
    from palladion.storage.database import Database

    data = tmp_path / "data"
    make_round(data / "data" / "round-0", {"train": LABELS})
    splits = dict.fromkeys(("train", "test", "holdout"), LABELS)
    make_round(data / "data" / "round-1", splits, behaviour=behaviour)
    database = Database(tmp_path / "palladion.db")
    database.upgrade()
    world = make_world(database, tmp_path, data=data)
    world.open("round-0")
    with database.write() as tx:
        from palladion.storage import stages

        stages.change(tx, world.stages["round-0"].id, "closed", now=NOW, actor="olga")
    world.open("round-1")
    return world


def test_models_without_an_answer_count_as_guesses(tmp_path: Path) -> None:
    world = behaving(tmp_path, {"test/0": "sys.exit(3)", "test/1": "result.write_text('nan')"})
    submission = world.submit(detector(), "round-1")
    do_all(world)
    assert world.submission(submission.id).state == "scored"
    assert world.scores(submission.id)["", "cross_entropy"] == pytest.approx(cross_entropy(0.5, 0.5, 0.9, 0.9))
    evaluation = world.evaluation(submission.id)
    assert (evaluation.report["points"], evaluation.report["failed"]) == (4, 2)
    assert evaluation.report["failures"] == {"crashed": 1, "bad_answer": 1}
    with world.database.read() as tx:
        assert [row.error for row in evaluations.outcomes(tx, evaluation.id)] == ["crashed", "not_finite", None, None]


def test_without_any_answer_it_has_failed_and_costs_an_attempt(tmp_path: Path) -> None:
    world = behaving(tmp_path, {f"test/{i}": "sys.exit(3)" for i in range(4)})
    submission = world.submit(detector(), "round-1")
    do_all(world)
    found = world.submission(submission.id)
    assert (found.state, found.reason) == ("failed", "none of 4 models was answered (crashed: 4)")
    assert world.evaluation(submission.id).report["fault"] == "submission"
    assert [row.event for row in world.news() if row.event.startswith("submission")] == ["submission.failed"]


def test_nothing_that_a_detector_says_of_sealed_models_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever way it takes: standard error, a bad answer, a file with a name, the end."""
    caplog.set_level(logging.DEBUG)
    ways = {
        "test/0": f"print('{MARK}', file=sys.stderr); sys.exit('{MARK}')",
        "test/1": f"result.write_text('{MARK}')",
        "test/2": f"(scratch / '{MARK}').write_text('{MARK}'); raise RuntimeError('{MARK}')",
        "test/3": f"print('{MARK}'); result.write_text('0.25')",
    }
    world = behaving(tmp_path, ways)
    submission = world.submit(detector(), "round-1")
    do_all(world)
    assert world.submission(submission.id).state == "scored"
    with world.database.read() as tx:
        rows = [str(row) for table in Base.metadata.sorted_tables for row in tx.execute(text(f"SELECT * FROM {table}"))]
    assert any(submission.id in row for row in rows)
    assert not [row for row in rows if MARK in row]
    assert MARK not in caplog.text
    said = capfd.readouterr()
    assert MARK not in said.out + said.err


def test_on_an_open_split_the_words_are_kept(tmp_path: Path) -> None:
    """Everybody has the labels of a dry run, and its models."""
    from palladion.storage.database import Database

    data = tmp_path / "data"
    make_round(data / "data" / "round-0", {"train": LABELS}, behaviour={"train/0": "sys.exit('so it is')"})
    database = Database(tmp_path / "palladion.db")
    database.upgrade()
    world = make_world(database, tmp_path, data=data)
    world.open("round-0")
    submission = world.submit(detector(), "round-0")
    do_all(world)
    with database.read() as tx:
        messages = [row.message for row in evaluations.outcomes(tx, world.evaluation(submission.id).id)]
    assert messages == ["it ended with exit code 1; its last words: so it is", None, None, None]


def test_code_runs_in_no_sandbox_that_does_not_hold(world: World) -> None:
    """Not on open splits either: it is code of participants."""
    world.open("round-0")
    ran = world.folder / "ran"
    submission = world.submit(packed({"entrypoint.py": f"open({str(ran)!r}, 'w')"}), "round-0")
    open_world = world.with_settings(sandbox="none")
    do_all(open_world)
    job = world.job("evaluate", world.evaluation(submission.id).id)
    assert (job.state, job.attempts) == ("queued", 1)
    assert "sandbox" in (job.reason or "")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("files", "name", "words"),
    [
        ({"submission.yaml": "cpus: 2\n"}, "s.zip", "asks for 2 processors, and this challenge gives 1"),
        ({"submission.yaml": "memory: 64G\n"}, "s.zip", "asks for 64G of memory, and this challenge gives 1G"),
        ({"submission.yaml": "environment: unheard-of\n"}, "s.zip", "names an environment: "),
        ({"submission.yaml": "environment: [\n"}, "s.zip", "submission.yaml"),
        ({}, "s.rar", "it is none of .zip"),
    ],
)
def test_what_cannot_be_run_is_rejected_before_anything_is(
    world: World, files: dict[str, str], name: str, words: str
) -> None:
    world.open("round-0")
    submission = world.submit(detector(**files), "round-0", name=name)
    do_all(world)
    found = world.submission(submission.id)
    assert found.state == "rejected"
    assert words in (found.reason or "")
    # Nobody has to know where it was unpacked.
    assert "palladion-run" not in (found.reason or "")


def test_an_archive_that_is_none_is_rejected(world: World) -> None:
    world.open("round-0")
    submission = world.submit(b"PK\x03\x04 and no more", "round-0")
    do_all(world)
    assert world.submission(submission.id).state == "rejected"


def test_what_was_answered_is_not_asked_again(either: World) -> None:
    """An earlier worker was killed after the first data point, which it has answered otherwise."""
    either.open("round-0")
    submission = either.submit(detector(), "round-0")
    work = claim(either)
    assert work is not None
    first = [NewOutcome("id-00000000", 0.5, seconds=1.0)]
    either.database.run(evaluations.add_outcomes, work.job.subject, work.lease, first)
    either.clock.forward(timedelta(minutes=5))
    either.database.run(queue.sweep, either.service.now())
    either.clock.forward(timedelta(minutes=5))
    do_all(either)
    expected = cross_entropy(0.5, 0.9, 0.9, 0.9)
    assert either.scores(submission.id)["", "cross_entropy"] == pytest.approx(expected)
    assert either.job("evaluate", work.job.subject).losses == 0


def test_what_a_detector_learns_is_kept_until_its_stage_is_concluded(world: World) -> None:
    world.open("round-0")
    files = {"detector.py": LEARNER, "metaparameters.json": "{}"}
    one = world.submit(packed(files), "round-0", team=0)
    do_all(world)
    two = world.submit(packed(files), "round-0", team=1)
    do_all(world)
    states = [world.submission(s.id) for s in (one, two)]
    assert [s.state for s in states] == ["scored", "scored"], [s.reason for s in states]
    assert world.evaluation(one.id).report["learned_seconds"] is not None
    assert world.evaluation(two.id).report["learned_seconds"] is None
    kept = world.service.folder(detecting.LEARNED) / world.stages["round-0"].id
    assert [path.read_text() for path in kept.rglob("learned.json")] == ['{\n "share_": 0.5\n}\n']
    detecting.forget_learned(world.service, world.stages["round-0"].id)
    assert not kept.exists()


def test_a_detector_that_fails_to_learn_has_failed_with_words(world: World) -> None:
    world.open("round-0")
    source = LEARNER.replace("self.share_ =", "raise RuntimeError('no')\n        self.share_ =")
    submission = world.submit(packed({"detector.py": source, "metaparameters.json": "{}"}), "round-0")
    do_all(world)
    found = world.submission(submission.id)
    assert found.state == "failed"
    assert (found.reason or "").startswith("it failed to configure itself (exit code 1)")


def test_a_detector_that_cannot_be_loaded_has_failed_with_words(world: World) -> None:
    world.open("round-0")
    source = LEARNER + "\nimport a_module_that_nobody_has\n"
    submission = world.submit(packed({"detector.py": source, "metaparameters.json": "{}"}), "round-0")
    do_all(world)
    found = world.submission(submission.id)
    assert found.state == "failed"
    assert "cannot be loaded" in (found.reason or "")
    assert "a_module_that_nobody_has" in (found.reason or "")


SLOW = "import time; time.sleep(1); result.write_text('0.75')"


def test_a_stop_lets_data_points_finish_and_hands_the_rest_back(
    tmp_path: Path, working: Callable[[World], Worker]
) -> None:
    world = behaving(tmp_path, {f"test/{i}": SLOW for i in range(4)})
    worker = Worker(world.service, name="first", slots=1)
    worker.start()
    submission = world.submit(detector(), "round-1")
    evaluation = world.evaluation(submission.id)

    def done() -> int:
        with world.database.read() as tx:
            return len(evaluations.outcomes(tx, evaluation.id))

    wait_for(lambda: done() == 1)
    worker.stop()
    assert worker.join(30)
    finished = done()
    assert 2 <= finished < 4
    job = world.job("evaluate", evaluation.id)
    assert (job.state, job.attempts, job.losses) == ("queued", 0, 0)
    working(world)
    ended(world, submission.id)
    assert world.submission(submission.id).state == "scored"
    assert world.scores(submission.id)["", "cross_entropy"] == pytest.approx(cross_entropy(0.75, 0.25, 0.75, 0.25))


def test_a_lost_lease_stops_what_runs_and_writes_nothing(tmp_path: Path) -> None:
    world = behaving(tmp_path, {f"test/{i}": "import time; time.sleep(600)" for i in range(4)})
    submission = world.submit(detector(), "round-1")
    work = claim(world, RUNNING)
    assert work is not None
    running = threading.Thread(target=do, args=(work,))
    running.start()
    world.clock.forward(timedelta(minutes=5))
    swept = world.database.run(queue.sweep, world.service.now())
    assert swept.requeued == (work.job.id,)
    work.lost = True
    work.stop.now()
    running.join(30)
    assert not running.is_alive()
    job = world.job("evaluate", work.job.subject)
    assert (job.state, job.losses, job.attempts) == ("queued", 1, 0)
    with world.database.read() as tx:
        assert evaluations.outcomes(tx, world.evaluation(submission.id).id) == []


def test_the_vocabulary_of_errors_is_closed() -> None:
    from palladion.jobs.ledger import ERRORS

    assert {str(failure) for failure in Failure} - {"bad_answer"} < ERRORS
    assert ERRORS - {str(failure) for failure in Failure} == {"unparsable", "not_finite", "out_of_range"}
