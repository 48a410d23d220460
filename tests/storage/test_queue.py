"""No job is lost, done twice at once, or left without an end."""

import multiprocessing
import threading
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from palladion.storage import queue
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, LeaseLost, NotFound
from palladion.storage.tables import Job
from tests.storage.conftest import HOUR, MINUTE, NOW, SECOND, World, empty

KINDS = ["evaluate", "deliver"]


def _enqueue(database: Database, subject: str, *, kind: str = "deliver", priority: int = 0, due: datetime = NOW) -> Job:
    return database.run(queue.enqueue, kind, subject, priority=priority, due=due, now=NOW)


def _claim(
    database: Database, *, worker: str = "w", now: datetime = NOW, kinds: list[str] = KINDS, lease: timedelta = MINUTE
) -> Job | None:
    return database.run(queue.claim, kinds, worker=worker, lease=lease, now=now)


def _claimed(database: Database, *, worker: str = "w", now: datetime = NOW) -> tuple[Job, str]:
    job = _claim(database, worker=worker, now=now)
    assert job is not None
    assert job.lease is not None
    return job, job.lease


def _now(database: Database, job: Job) -> Job:
    with database.read() as tx:
        return queue.by_id(tx, job.id)


def test_a_job_is_there_once(database: Database) -> None:
    first, second = _enqueue(database, "a"), _enqueue(database, "a", priority=9)
    assert first.id == second.id
    assert second.priority == 0
    assert _enqueue(database, "a", kind="evaluate").id != first.id


def test_the_greatest_priority_comes_first_then_the_longest_due(database: Database) -> None:
    _enqueue(database, "late", due=NOW - SECOND)
    _enqueue(database, "early", due=NOW - MINUTE)
    _enqueue(database, "urgent", priority=1)
    _enqueue(database, "whenever", priority=-1, due=NOW - HOUR)
    order = []
    while (job := _claim(database)) is not None:
        order.append(job.subject)
    assert order == ["urgent", "early", "late", "whenever"]


def test_what_is_not_due_or_of_another_kind_is_not_claimed(database: Database) -> None:
    _enqueue(database, "later", due=NOW + MINUTE)
    _enqueue(database, "other", kind="evaluate", due=NOW)
    assert _claim(database, kinds=["deliver"]) is None
    assert _claim(database, kinds=[]) is None
    with database.read() as tx:
        assert queue.next_due(tx, ["deliver"]) == NOW + MINUTE
        assert queue.next_due(tx, ["nothing"]) is None
    job = _claim(database, kinds=["deliver"], now=NOW + MINUTE)
    assert job is not None
    assert job.subject == "later"


def test_looking_whether_something_is_due_changes_nothing(database: Database) -> None:
    def look(now: datetime, kinds: list[str] = KINDS) -> tuple[bool, bool]:
        with database.read() as tx:
            return queue.due(tx, kinds, now=now), queue.expired(tx, now)

    assert look(NOW) == (False, False)
    _enqueue(database, "a", due=NOW + SECOND)
    assert look(NOW) == (False, False)
    assert look(NOW + SECOND) == (True, False)
    assert look(NOW + SECOND, ["evaluate"]) == (False, False)
    assert _claim(database, now=NOW + SECOND) is not None
    assert look(NOW + MINUTE) == (False, False)
    assert look(NOW + SECOND + MINUTE) == (False, True)


def test_code_and_outputs_are_claimed_apart(world: World) -> None:
    world.hand_in(b"code")
    with world.database.write() as tx:
        assert not queue.due(tx, ["evaluate"], now=NOW, submissions="outputs")
        assert queue.claim(tx, ["evaluate"], worker="w", lease=MINUTE, now=NOW, submissions="outputs") is None
        assert queue.due(tx, ["evaluate"], now=NOW, submissions="code")
        assert queue.claim(tx, ["evaluate"], worker="w", lease=MINUTE, now=NOW, submissions="code") is not None


def test_progress_makes_up_for_losses(database: Database) -> None:
    _enqueue(database, "a")
    now = NOW
    for _ in range(5):
        job, lease = _claimed(database, now=now)
        assert database.run(queue.progressed, job.id, lease)
        now += HOUR
        assert database.run(queue.sweep, now, most_losses=2).failed == ()
        assert not database.run(queue.progressed, job.id, lease)
        now += HOUR
    assert _now(database, job).losses == 1


def test_a_claim_says_who_holds_the_job_and_until_when(database: Database) -> None:
    _enqueue(database, "a")
    job, _ = _claimed(database)
    assert (job.state, job.worker, job.lease_until, job.started) == ("running", "w", NOW + MINUTE, NOW)
    assert _claim(database) is None
    with database.read() as tx:
        assert queue.counts(tx) == {("deliver", "running"): 1}


def test_a_heartbeat_puts_the_end_off_and_tells_who_has_lost_the_job(database: Database) -> None:
    _enqueue(database, "a")
    job, lease = _claimed(database)
    assert database.run(queue.heartbeat, job.id, lease, MINUTE, now=NOW + 59 * SECOND)
    assert database.run(queue.sweep, NOW + 90 * SECOND) == queue.Swept((), ())
    # Too late, but nobody has taken it yet.
    assert database.run(queue.heartbeat, job.id, lease, MINUTE, now=NOW + HOUR)
    database.run(queue.sweep, NOW + 2 * HOUR)
    assert not database.run(queue.heartbeat, job.id, lease, MINUTE, now=NOW + 2 * HOUR)


def test_done_is_done(database: Database) -> None:
    _enqueue(database, "a")
    job, lease = _claimed(database)
    database.run(queue.finish, job.id, lease, now=NOW + SECOND)
    found = _now(database, job)
    assert (found.state, found.finished, found.lease, found.worker, found.reason) == (
        "done", NOW + SECOND, None, None, None
    )  # fmt: skip
    for again in (queue.finish, queue.hand_back):
        with pytest.raises(LeaseLost):
            database.run(again, job.id, lease, now=NOW)
    with pytest.raises(Conflict, match="is done; only one that failed"):
        database.run(queue.retry, job.id, now=NOW)
    assert not database.run(queue.cancel, job.id, "no", now=NOW)
    assert _enqueue(database, "a").state == "done"
    assert _claim(database, now=NOW + HOUR) is None


def test_handing_back_costs_nothing_and_keeps_the_place(database: Database) -> None:
    _enqueue(database, "a", due=NOW - MINUTE)
    _enqueue(database, "b")
    job, lease = _claimed(database)
    database.run(queue.hand_back, job.id, lease, now=NOW)
    found = _now(database, job)
    assert (found.state, found.attempts, found.losses, found.due) == ("queued", 0, 0, NOW - MINUTE)
    job, lease = _claimed(database)
    assert job.subject == "a"
    database.run(queue.hand_back, job.id, lease, now=NOW, due=NOW + MINUTE)
    job, lease = _claimed(database)
    assert job.subject == "b"


def test_a_failure_is_tried_again_later_and_later_and_then_given_up(database: Database) -> None:
    _enqueue(database, "a")
    now, delays = NOW, []
    for attempt in range(1, 5):
        job, lease = _claimed(database, now=now)
        assert database.run(queue.fail, job.id, lease, f"no answer {attempt}", now=now, most_attempts=4) == (
            attempt < 4
        )
        found = _now(database, job)
        delays.append(found.due - now)
        now = found.due
    assert delays[:3] == [SECOND, 2 * SECOND, 4 * SECOND]
    assert (found.state, found.attempts, found.finished) == ("failed", 4, found.finished)
    assert found.reason == "no answer 4 (tried 4 times)"
    again = database.run(queue.retry, job.id, now=now + HOUR)
    assert (again.state, again.attempts, again.losses, again.reason, again.finished) == ("queued", 0, 0, None, None)
    assert _claim(database, now=now + HOUR) is not None


def test_a_lease_that_ran_out_is_swept(database: Database) -> None:
    _enqueue(database, "a")
    job, lease = _claimed(database)
    assert database.run(queue.sweep, NOW + MINUTE - SECOND) == queue.Swept((), ())
    assert database.run(queue.sweep, NOW + MINUTE) == queue.Swept((job.id,), ())
    found = _now(database, job)
    assert (found.state, found.losses, found.attempts, found.due) == ("queued", 1, 0, NOW + MINUTE + SECOND)
    assert found.reason == "the worker w was not heard of any more (loss 1 of 10)"
    with pytest.raises(LeaseLost):
        database.run(queue.finish, job.id, lease, now=NOW)


def test_who_lost_a_job_can_do_nothing_to_it(database: Database) -> None:
    """Not even while somebody else holds it under the same name."""
    _enqueue(database, "a")
    job, old = _claimed(database)
    database.run(queue.sweep, NOW + MINUTE)
    job, new = _claimed(database, now=NOW + HOUR)
    assert old != new
    with pytest.raises(LeaseLost):
        database.run(queue.finish, job.id, old, now=NOW)
    with pytest.raises(LeaseLost):
        database.run(queue.hand_back, job.id, old, now=NOW)
    with pytest.raises(LeaseLost):
        database.run(queue.fail, job.id, old, "x", now=NOW)
    assert not database.run(queue.heartbeat, job.id, old, MINUTE, now=NOW)
    with database.write() as tx:
        assert not queue.holds(tx, job.id, old)
        assert queue.holds(tx, job.id, new)
    assert (_now(database, job).lease, _now(database, job).state) == (new, "running")


def test_a_job_that_is_lost_again_and_again_is_given_up(database: Database) -> None:
    _enqueue(database, "a")
    now = NOW
    for loss in range(1, 4):
        job, _ = _claimed(database, now=now, worker=f"w{loss}")
        now += HOUR
        swept = database.run(queue.sweep, now, most_losses=3)
        assert swept == (queue.Swept((job.id,), ()) if loss < 3 else queue.Swept((), (job.id,)))
        now += MINUTE
    found = _now(database, job)
    assert (found.state, found.reason) == ("failed", "the worker w3 was not heard of any more (loss 3 of 3)")


def test_a_worker_that_starts_anew_gives_free_what_its_earlier_self_held(database: Database) -> None:
    for subject in "abc":
        _enqueue(database, subject)
    mine = [_claimed(database, worker="w1")[0].id for _ in range(2)]
    other, lease = _claimed(database, worker="w2")
    assert sorted(database.run(queue.release_worker, "w1", now=NOW).requeued) == sorted(mine)
    job, _ = _claimed(database, worker="w1")
    assert job.id in mine
    assert job.losses == 1
    database.run(queue.finish, other.id, lease, now=NOW)


def test_a_cancelled_job_is_taken_from_its_holder(database: Database) -> None:
    _enqueue(database, "a")
    job, lease = _claimed(database)
    assert database.run(queue.cancel, job.id, "not wanted\x00 any more", now=NOW)
    found = _now(database, job)
    assert (found.state, found.reason) == ("cancelled", "not wanted? any more")
    with pytest.raises(LeaseLost):
        database.run(queue.finish, job.id, lease, now=NOW)
    with pytest.raises(NotFound):
        database.run(queue.cancel, "nothing", "x", now=NOW)


def _take_all(url: str, worker: str, taken: "multiprocessing.Queue[list[str]]") -> None:
    database = Database(url)
    found = []
    while (job := _claim(database, worker=worker)) is not None:
        found.append(job.subject)
    taken.put(found)
    database.close()


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_a_hundred_jobs_for_eight_at_once_are_each_claimed_once(database: Database, how: str) -> None:
    with database.write() as tx:
        for i in range(100):
            queue.enqueue(tx, "deliver", str(i), now=NOW)
    context = multiprocessing.get_context("fork")
    taken: multiprocessing.Queue[list[str]] = context.Queue()
    url = database._target.render_as_string(hide_password=False)
    make = threading.Thread if how == "threads" else context.Process
    workers = [make(target=_take_all, args=(url, f"w{i}", taken)) for i in range(8)]
    for worker in workers:
        worker.start()
    found = [taken.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(int(subject) for subjects in found for subject in subjects) == list(range(100))


class Ledger(RuleBasedStateMachine):
    """Workers that claim, do, fail, fall silent and wake up again, in any order, against what must always hold."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        empty(self.database)
        self.now = NOW
        # Every lease that was ever given out, with its job; the last of a job is the only good one.
        self.leases: list[tuple[str, str]] = []
        self.latest: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.subjects = 0

    @initialize()
    def begin(self) -> None:
        self.enqueue(0)
        self.enqueue(1)

    @rule(priority=st.integers(-1, 1))
    def enqueue(self, priority: int) -> None:
        self.subjects += 1
        _enqueue(self.database, str(self.subjects), priority=priority, due=self.now)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        job = _claim(self.database, worker=worker, now=self.now)
        if job is not None:
            assert job.id not in self.ended
            assert job.lease is not None
            assert job.lease not in dict(self.leases)
            self.leases.append((job.lease, job.id))
            self.latest[job.id] = job.lease

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    def _held(self, job_id: str, lease: str) -> bool:
        with self.database.write() as tx:
            return queue.holds(tx, job_id, lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), action=st.sampled_from(["finish", "fail", "hand_back", "heartbeat"]))
    def act(self, data: st.DataObject, action: str) -> None:
        """Whoever ever held a job does something about it, late or not."""
        lease, job_id = data.draw(st.sampled_from(self.leases))
        before = self._job(job_id)
        good = before.lease == lease
        assert not good or self.latest[job_id] == lease
        if action == "heartbeat":
            assert self.database.run(queue.heartbeat, job_id, lease, MINUTE, now=self.now) == good
            return
        try:
            if action == "finish":
                self.database.run(queue.finish, job_id, lease, now=self.now)
            elif action == "fail":
                self.database.run(queue.fail, job_id, lease, "x", now=self.now, most_attempts=3)
            else:
                self.database.run(queue.hand_back, job_id, lease, now=self.now)
        except LeaseLost:
            assert not good
            after = self._job(job_id)
            assert (before.state, before.lease, before.attempts) == (after.state, after.lease, after.attempts)
        else:
            assert good

    @rule()
    def sweep(self) -> None:
        self.database.run(queue.sweep, self.now, most_losses=3)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def restart(self, worker: str) -> None:
        self.database.run(queue.release_worker, worker, now=self.now, most_losses=3)
        assert not any(job.worker == worker for job in self._jobs())

    @precondition(lambda self: self.subjects)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self._jobs()))
        self.database.run(queue.cancel, job.id, "x", now=self.now)

    def _job(self, job_id: str) -> Job:
        with self.database.read() as tx:
            return queue.by_id(tx, job_id)

    def _jobs(self) -> list[Job]:
        with self.database.read() as tx:
            return list(tx.execute(select(Job).order_by(Job.created, Job.subject)).scalars())

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        jobs = {job.id: job for job in self._jobs()}
        assert len(jobs) == self.subjects
        for job_id, state in self.ended.items():
            assert jobs[job_id].state == state
        for job in jobs.values():
            if job.state in ("done", "failed", "cancelled"):
                self.ended[job.id] = job.state
                assert job.state == "done" or job.reason
            assert job.attempts <= 3
            assert job.losses <= 3

    def teardown(self) -> None:
        """Silence, and a worker that finishes nothing: every job comes to an end all the same."""
        for _ in range(100):
            self.now += HOUR
            self.database.run(queue.sweep, self.now, most_losses=3)
            while _claim(self.database, now=self.now) is not None:
                pass
            if all(job.state in ("done", "failed", "cancelled") for job in self._jobs()):
                return
        raise AssertionError("a job never ended")


@pytest.fixture
def ledger(database: Database) -> type[Ledger]:
    return type("LedgerOf", (Ledger,), {"database": database})


def test_whatever_happens_the_ledger_holds(ledger: type[Ledger], database: Database) -> None:
    run_state_machine_as_test(
        ledger,
        settings=settings(
            max_examples=12 if database.is_sqlite else 5,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
