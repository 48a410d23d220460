import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from palladion.errors import InputError, PalladionError
from palladion.jobs import claiming
from palladion.jobs.claiming import MOST_LOSSES
from palladion.jobs.worker import Worker, sweep
from palladion.storage import evaluations, queue, submissions, workers
from palladion.storage.tables import Job
from tests.jobs.conftest import ended, wait_for
from tests.jobs.world import RUNNING, SCORING, World, claim, detector, do_all, outputs

pytestmark = pytest.mark.usefixtures("own_cache")

Start = Callable[..., Worker]


@pytest.mark.parametrize("name", ["", "Worker", "a/b", "../x", ".hidden", "a" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(world: World, name: str) -> None:
    with pytest.raises(InputError, match="is no name of a worker"):
        Worker(world.service, name=name)


def test_two_workers_cannot_have_one_name(world: World, working: Start) -> None:
    working(world, "one")
    with pytest.raises(PalladionError, match="a worker named one runs already"):
        Worker(world.service, name="one").start()
    working(world, "two")


def test_a_worker_says_who_it_is_and_that_it_has_stopped(world: World) -> None:
    worker = Worker(world.service, name="one")
    worker.start()
    with world.database.read() as tx:
        [row] = workers.listing(tx)
    assert (row.name, row.kinds, row.stopped) == ("one", ["conclude", "deliver", "evaluate", "open", "standing"], None)
    worker.stop()
    assert worker.join(30)
    with world.database.read() as tx:
        [row] = workers.listing(tx)
    assert row.stopped is not None
    # The name is free again.
    again = Worker(world.service, name="one")
    again.start()
    again.stop()
    assert again.join(30)


def test_what_is_enqueued_here_is_done_at_once(world: World, working: Start) -> None:
    """Even where nobody would look for an hour."""
    patient = world.with_settings(poll=3600.0)
    patient.open("development")
    working(patient)
    submission = patient.submit(outputs(), "development")
    ended(patient, submission.id)


def test_what_another_process_enqueues_is_found(world: World, working: Start) -> None:
    """It has a service of its own, of which the worker hears nothing."""
    world.open("development")
    working(world.with_settings(poll=0.2))
    submission = world.submit(outputs(), "development")
    ended(world, submission.id)


def test_a_worker_that_is_started_anew_gives_back_at_once_what_it_held(either: World, working: Start) -> None:
    either.open("development")
    submission = either.submit(outputs(), "development")
    now = either.service.now()
    held = either.database.run(claiming.claim, SCORING, worker="one", lease=timedelta(hours=1), now=now)
    assert held is not None
    working(either, "two")
    time.sleep(1)
    assert either.submission(submission.id).state == "pending"
    working(either, "one")
    ended(either, submission.id)
    assert either.submission(submission.id).state == "scored"


def test_a_running_detector_keeps_no_outputs_waiting(world: World, working: Start) -> None:
    """There is one slot, and what holds it never ends."""
    world.open("round-0")
    world.open("development")
    model = world.folder / "data" / "round-0" / "train" / "models" / "id-00000000" / "open" / "model"
    (model / "behaviour.py").write_text("import time; time.sleep(600)")
    worker = working(world, slots=1)
    held = [world.submit(detector(str(n)), "round-0") for n in range(3)]
    wait_for(lambda: [running.kind for running in worker.running].count("evaluate") == 1)
    submission = world.submit(outputs(), "development")
    ended(world, submission.id)
    assert {world.submission(one.id).state for one in held} == {"pending"}
    # Of the detectors one is held; the others are for whoever has a slot.
    states = [world.job("evaluate", world.evaluation(one.id).id).state for one in held]
    assert sorted(states) == ["queued", "queued", "running"]


def test_heartbeats_put_the_end_of_a_lease_off(world: World, working: Start) -> None:
    quick = world.with_settings(lease=timedelta(seconds=1.5), heartbeat=timedelta(seconds=0.2))
    quick.open("round-0")
    model = quick.folder / "data" / "round-0" / "train" / "models" / "id-00000000" / "open" / "model"
    (model / "behaviour.py").write_text("import time; time.sleep(4); result.write_text('0.9')")
    working(quick)
    submission = quick.submit(detector(), "round-0")
    ended(quick, submission.id)
    job = quick.job("evaluate", quick.evaluation(submission.id).id)
    assert (job.state, job.losses, job.attempts) == ("done", 0, 0)


def test_a_worker_that_was_thought_dead_stops_what_it_does(world: World) -> None:
    """Its lease was given to somebody else; it notices with the next heartbeat and writes nothing."""
    quick = world.with_settings(heartbeat=timedelta(seconds=0.2))
    quick.open("round-0")
    for path in (quick.folder / "data" / "round-0").rglob("behaviour.py"):
        path.write_text("import time; time.sleep(600)")
    worker = Worker(quick.service, name="one", slots=2)
    worker.start()
    submission = quick.submit(detector(), "round-0")
    wait_for(lambda: worker.running)
    job = quick.job("evaluate", quick.evaluation(submission.id).id)

    def take(tx: Session) -> Job:
        """In one transaction, so that the first cannot come between."""
        now = quick.service.now()
        queue.release_worker(tx, "one", now=now)
        taken = claiming.claim(tx, RUNNING, worker="two", lease=timedelta(hours=1), now=now)
        assert taken is not None
        return taken

    other = quick.database.run(take)
    assert other.id == job.id
    wait_for(lambda: not worker.running)
    assert quick.job("evaluate", job.subject).lease == other.lease
    with quick.database.read() as tx:
        assert evaluations.outcomes(tx, job.subject) == []
    worker.stop(at_once=True)
    assert worker.join(30)


def test_a_job_whose_worker_dies_every_time_comes_to_an_end(either: World) -> None:
    either.open("development")
    submission = either.submit(outputs(), "development")
    for _ in range(MOST_LOSSES):
        assert claim(either, SCORING) is not None
        either.clock.forward(timedelta(minutes=10))
        sweep(either.service)
        either.clock.forward(timedelta(minutes=10))
    assert claim(either, SCORING) is None
    found = either.submission(submission.id)
    assert found.state == "failed"
    assert f"loss {MOST_LOSSES} of {MOST_LOSSES}" in (found.reason or "")
    [told] = either.news("job.failed")
    assert told.body["kind"] == "evaluate"
    assert either.news("submission.failed")


def test_losses_before_some_progress_do_not_count(world: World) -> None:
    """A machine that is restarted all the time does not fail a detector that answers now and then."""
    world.open("round-0")
    submission = world.submit(detector(), "round-0")
    evaluation = world.evaluation(submission.id)
    for _ in range(MOST_LOSSES - 1):
        assert claim(world, RUNNING) is not None
        world.clock.forward(timedelta(minutes=10))
        sweep(world.service)
        world.clock.forward(timedelta(minutes=10))
    assert world.job("evaluate", evaluation.id).losses == MOST_LOSSES - 1
    work = claim(world, RUNNING)
    assert work is not None
    world.database.run(queue.progressed, work.job.id, "another lease")
    assert world.job("evaluate", evaluation.id).losses == MOST_LOSSES - 1
    world.database.run(queue.progressed, work.job.id, work.lease)
    assert world.job("evaluate", evaluation.id).losses == 0
    world.clock.forward(timedelta(minutes=10))
    do_all(world)
    assert world.submission(submission.id).state == "pending"
    sweep(world.service)
    world.clock.forward(timedelta(minutes=10))
    do_all(world)
    assert world.submission(submission.id).state == "scored"


def test_an_error_of_palladion_itself_ends_the_job_and_not_the_worker(
    world: World, working: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from palladion.jobs import worker as module

    def broken(_: object) -> None:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(module, "_HANDLERS", {**module._HANDLERS, "open": broken})
    working(world)
    world.database.run(queue.enqueue, "open", world.stages["round-0"].id, now=world.service.now())
    world.service.notify()
    wait_for(lambda: world.job("open", world.stages["round-0"].id).attempts)
    job = world.job("open", world.stages["round-0"].id)
    assert "an error of Palladion itself (ZeroDivisionError)" in (job.reason or "")
    assert "secret" not in (job.reason or "")
    world.open("development")
    ended(world, world.submit(outputs(), "development").id)


def test_a_stop_waits_no_longer_than_there_is_grace(world: World) -> None:
    hurried = world.with_settings(grace=0.5)
    hurried.open("round-0")
    for path in (hurried.folder / "data" / "round-0").rglob("behaviour.py"):
        path.write_text("import time; time.sleep(600)")
    worker = Worker(hurried.service, name="one", slots=2)
    worker.start()
    submission = hurried.submit(detector(), "round-0")
    wait_for(lambda: worker.running)
    worker.stop()
    assert worker.join(60)
    job = hurried.job("evaluate", hurried.evaluation(submission.id).id)
    assert (job.state, job.losses, job.attempts) == ("queued", 0, 0)


def test_what_is_cancelled_while_it_runs_is_stopped(world: World, working: Start) -> None:
    quick = world.with_settings(heartbeat=timedelta(seconds=0.2))
    quick.open("round-0")
    for path in (quick.folder / "data" / "round-0").rglob("behaviour.py"):
        path.write_text("import time; time.sleep(600)")
    worker = working(quick)
    submission = quick.submit(detector(), "round-0")
    wait_for(lambda: worker.running)
    quick.database.run(submissions.cancel, submission.id, "we want it back", now=quick.service.now(), actor="person-0")
    wait_for(lambda: not worker.running)
    found = quick.submission(submission.id)
    assert (found.state, found.reason) == ("cancelled", "we want it back")
