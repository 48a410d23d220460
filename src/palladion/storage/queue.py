"""The row is the queue: who does which job, until when, and what becomes of it if nothing is heard any more.

A job is queued, running, done, failed or cancelled. Whoever claims one gets a lease: a random word that is new with
each claim, good until a time that heartbeats put off. Every change that the holder makes names it, and fails with
:class:`LeaseLost` if the job has been given to somebody else, so that a worker that was thought dead can do no harm.

Every state has an exit. Queued: it is claimed once it is due. Running: it is finished, failed, handed back or, when its
lease has run out, swept. A job is swept and failed a bounded number of times; then it ends as failed, with the reason
in words, and what it was about ends with it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, literal_column, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from palladion.storage.database import insert
from palladion.storage.endings import end_subject
from palladion.storage.errors import Conflict, LeaseLost, NotFound
from palladion.storage.ids import new_id
from palladion.storage.tables import Evaluation, Job, Submission, Words
from palladion.storage.texts import plain

__all__ = [
    "MOST_ATTEMPTS",
    "MOST_LOSSES",
    "Swept",
    "by_id",
    "cancel",
    "claim",
    "counts",
    "due",
    "enqueue",
    "expired",
    "fail",
    "finish",
    "hand_back",
    "heartbeat",
    "holds",
    "next_due",
    "of",
    "progressed",
    "release_worker",
    "renew",
    "retry",
    "sweep",
]

MOST_ATTEMPTS = 5
"""How often the work itself may end in an error before the job is given up."""
MOST_LOSSES = 10
"""How often whoever held it may fall silent before it is given up. More than of attempts: it is rarely its fault."""

_LONGEST_DELAY = timedelta(minutes=5)
_FREE: dict[str, Any] = {"lease": None, "worker": None, "lease_until": None}
_REASON = 2000
# Written out in the statement: the indexes of these states are of no use for a state that is only a parameter.
_QUEUED, _RUNNING = literal_column("'queued'", Words()), literal_column("'running'", Words())
# Rows as they are now, also those that this transaction has seen before.
_FRESH: dict[str, Any] = {"populate_existing": True}
_CHANGED: dict[str, Any] = {"synchronize_session": False, "populate_existing": True}


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of the jobs that nothing was heard of.

    Attributes:
        requeued: ids of those that wait for another worker.
        failed: ids of those that were given up.
    """

    requeued: tuple[str, ...]
    failed: tuple[str, ...]


def enqueue(
    tx: Session, kind: str, subject: str, *, now: datetime, priority: int = 0, due: datetime | None = None
) -> Job:
    """The job of this kind about this subject: a new one, or the one there is, in whatever state.

    Args:
        tx: a write transaction.
        kind: what to do.
        subject: id of what to do it with.
        now: the time.
        priority: greater comes first.
        due: not to be claimed before; None: at once.
    """
    values = {
        "id": new_id(),
        "kind": kind,
        "subject": subject,
        "state": "queued",
        "priority": priority,
        "due": due or now,
        "attempts": 0,
        "losses": 0,
        "created": now,
    }
    tx.execute(insert(tx, Job).values(values).on_conflict_do_nothing(index_elements=["kind", "subject"]))
    found = of(tx, kind, subject)
    assert found is not None
    return found


def renew(tx: Session, kind: str, subject: str, *, now: datetime, due: datetime, priority: int = 0) -> Job:
    """The job of this kind about this subject, which is to be done once more: a new one, the one that waits already,
    or the one that has ended, as if it were new.

    One that is running is left alone: whoever does it looks, in the transaction that ends it, whether there is more to
    do, and hands it back then. For neither to miss the other, both lock the same row before they look: that of what
    the job is about.

    Args:
        tx: a write transaction.
        kind: what to do.
        subject: id of what to do it with.
        now: the time.
        due: not to be claimed before, where it does not wait already.
        priority: greater comes first.
    """
    found = enqueue(tx, kind, subject, now=now, priority=priority, due=due)
    if found.state in ("queued", "running"):
        return found
    values = {"state": "queued", "attempts": 0, "losses": 0, "due": due, "reason": None, "finished": None}
    tx.execute(
        update(Job)
        .where(Job.id == found.id, Job.state.in_(("done", "failed", "cancelled")))
        .values(values)
        .returning(Job),
        execution_options=_CHANGED,
    ).scalar_one_or_none()
    return by_id(tx, found.id)


def claim(
    tx: Session,
    kinds: Collection[str],
    *,
    worker: str,
    lease: timedelta,
    now: datetime,
    submissions: str | None = None,
) -> Job | None:
    """Take the job that comes first, if one is due: the greatest priority, then the longest due.

    Args:
        tx: a write transaction.
        kinds: what this worker can do.
        worker: its name; see :func:`release_worker`.
        lease: for how long the job is held unless a heartbeat comes.
        now: the time.
        submissions: only evaluations of submissions of this kind, code or outputs; None: whatever the job is about.

    Returns:
        The job, whose ``lease`` is to be named in everything that is done about it.
    """
    other = aliased(Job)
    first = (
        select(other.id)
        .where(other.state == _QUEUED, other.due <= now, _fits(other, kinds, submissions))
        .order_by(other.priority.desc(), other.due, other.created, other.id)
        .limit(1)
        # On PostgreSQL, two workers that look at once find two different jobs.
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return tx.execute(
        update(Job)
        .where(Job.id == first, Job.state == "queued")
        .values(state="running", lease=new_id(), worker=worker, lease_until=now + lease, started=now)
        .returning(Job),
        execution_options=_CHANGED,
    ).scalar_one_or_none()


def due(tx: Session, kinds: Collection[str], *, now: datetime, submissions: str | None = None) -> bool:
    """Whether :func:`claim` would find something. It changes nothing and locks nothing: a read transaction will do."""
    waiting = select(Job.id).where(Job.state == _QUEUED, Job.due <= now, _fits(Job, kinds, submissions))
    return tx.execute(waiting.limit(1)).first() is not None


def expired(tx: Session, now: datetime) -> bool:
    """Whether :func:`sweep` would find something. It changes nothing and locks nothing."""
    lost = select(Job.id).where(Job.state == _RUNNING, Job.lease_until <= now)
    return tx.execute(lost.limit(1)).first() is not None


def heartbeat(tx: Session, job_id: str, lease: str, lifetime: timedelta, *, now: datetime) -> bool:
    """Put the end of the lease off to ``now + lifetime``; False: the job is not the caller's any more."""
    return _held(tx, job_id, lease, {"lease_until": now + lifetime}) is not None


def holds(tx: Session, job_id: str, lease: str) -> bool:
    """Whether this lease is the job's; if so it remains so to the end of the (write) transaction."""
    return tx.execute(select(Job.id).where(_mine(job_id, lease)).with_for_update()).first() is not None


def progressed(tx: Session, job_id: str, lease: str) -> bool:
    """Part of the work is done and kept: what the job has lost before does not count any more.

    Returns:
        Whether the job is the caller's.
    """
    return _held(tx, job_id, lease, {"losses": 0}) is not None


def hand_back(tx: Session, job_id: str, lease: str, *, now: datetime, due: datetime | None = None) -> None:
    """Give the job to whoever claims it next, at no cost: a worker that stops, or that has to wait for something.

    Args:
        tx: a write transaction.
        job_id: the job.
        lease: the lease that the caller holds.
        now: the time.
        due: not to be claimed before; None: it keeps its place in the queue.

    Raises:
        LeaseLost: the job is not the caller's.
    """
    values: dict[str, Any] = {"state": "queued", **_FREE}
    if due is not None:
        values["due"] = max(due, now)
    _must(_held(tx, job_id, lease, values), job_id)


def finish(tx: Session, job_id: str, lease: str, *, now: datetime) -> None:
    """The job is done.

    Raises:
        LeaseLost: the job is not the caller's.
    """
    _must(_held(tx, job_id, lease, {"state": "done", "finished": now, "reason": None, **_FREE}), job_id)


def fail(
    tx: Session, job_id: str, lease: str, reason: str, *, now: datetime, most_attempts: int = MOST_ATTEMPTS
) -> bool:
    """The work ended in an error of its own; it is tried again a little later, or given up.

    Args:
        tx: a write transaction.
        job_id: the job.
        lease: the lease that the caller holds.
        reason: what went wrong, in words.
        now: the time.
        most_attempts: how many failures the job may have; 1: this one is the last.

    Returns:
        Whether it will be tried again. If not, what it was about has failed as well.

    Raises:
        LeaseLost: the job is not the caller's.
    """
    job = _must(_held(tx, job_id, lease, {"attempts": Job.attempts + 1}), job_id)
    if job.attempts < most_attempts:
        delay = _delay(job.attempts)
        _set(tx, job, {"state": "queued", "due": now + delay, "reason": plain(reason, _REASON), **_FREE})
        return True
    told = plain(reason if most_attempts == 1 else f"{reason} (tried {job.attempts} times)", _REASON)
    _give_up(tx, job, "failed", told, now)
    return False


def sweep(tx: Session, now: datetime, *, most_losses: int = MOST_LOSSES) -> Swept:
    """Queue again, or give up, the running jobs whose lease has run out."""
    return _lost(tx, Job.lease_until <= now, now, most_losses, "was not heard of any more", wait=True)


def release_worker(tx: Session, worker: str, *, now: datetime, most_losses: int = MOST_LOSSES) -> Swept:
    """Queue again at once what a worker of this name held: it has been started anew, so its earlier self is dead.

    It counts as a loss, for a job may be what kills the worker.
    """
    return _lost(tx, Job.worker == worker, now, most_losses, "was started anew", wait=False)


def cancel(tx: Session, job_id: str, reason: str, *, now: datetime) -> bool:
    """End a job that has not ended, whoever holds it, and what it is about.

    Returns:
        Whether it had not ended; if it had, nothing has changed.

    Raises:
        NotFound: there is no such job.
    """
    job = tx.execute(
        select(Job).where(Job.id == job_id).with_for_update(), execution_options=_FRESH
    ).scalar_one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id!a}")
    if job.state not in ("queued", "running"):
        return False
    _give_up(tx, job, "cancelled", plain(reason, _REASON), now)
    return True


def retry(tx: Session, job_id: str, *, now: datetime) -> Job:
    """Queue a job again that has failed or was cancelled, as if it were new.

    What it is about is not touched; for evaluations see :func:`palladion.storage.evaluations.retry`.

    Raises:
        Conflict: the job has neither failed nor was it cancelled.
    """
    values = {"state": "queued", "attempts": 0, "losses": 0, "due": now, "reason": None, "finished": None}
    job = tx.execute(
        update(Job).where(Job.id == job_id, Job.state.in_(("failed", "cancelled"))).values(values).returning(Job),
        execution_options=_CHANGED,
    ).scalar_one_or_none()
    if job is None:
        raise Conflict(f"the job is {by_id(tx, job_id).state}; only one that failed or was cancelled can be retried")
    return job


def by_id(tx: Session, job_id: str) -> Job:
    """The job as it is now.

    Raises:
        NotFound: there is none.
    """
    job = tx.execute(select(Job).where(Job.id == job_id), execution_options=_FRESH).scalar_one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id!a}")
    return job


def of(tx: Session, kind: str, subject: str) -> Job | None:
    """The job of this kind about this subject as it is now."""
    return tx.execute(
        select(Job).where(Job.kind == kind, Job.subject == subject), execution_options=_FRESH
    ).scalar_one_or_none()


def counts(tx: Session) -> dict[tuple[str, str], int]:
    """How many jobs there are of each (kind, state)."""
    rows = tx.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state))
    return {(kind, state): number for kind, state, number in rows}


def next_due(tx: Session, kinds: Collection[str]) -> datetime | None:
    """When the first of the queued jobs of these kinds is due; None: there is none."""
    return tx.execute(
        select(func.min(Job.due)).where(Job.state == _QUEUED, _fits(Job, kinds, None))
    ).scalar_one_or_none()


def _fits(job: type[Job], kinds: Collection[str], submissions: str | None) -> ColumnElement[bool]:
    fits = _among(job.kind, kinds)
    if submissions is None:
        return fits
    return fits & exists().where(
        Evaluation.id == job.subject, Submission.id == Evaluation.submission_id, Submission.kind == submissions
    )


def _among(column: InstrumentedAttribute[str], kinds: Collection[str]) -> ColumnElement[bool]:
    # As an expression: SQLite would take the index of all jobs of these kinds, those that have ended as well.
    return (column + "").in_(sorted(kinds))


def _mine(job_id: str, lease: str) -> Any:
    return (Job.id == job_id) & (Job.lease == lease) & (Job.state == "running")


def _held(tx: Session, job_id: str, lease: str, values: dict[str, Any]) -> Job | None:
    """Change the job if the lease is its own: one statement, so that nothing comes between looking and changing."""
    return tx.execute(
        update(Job).where(_mine(job_id, lease)).values(values).returning(Job),
        execution_options=_CHANGED,
    ).scalar_one_or_none()


def _must(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise LeaseLost(f"the job {job_id!a} is not held by this lease any more")
    return job


def _lost(tx: Session, which: ColumnElement[bool], now: datetime, most_losses: int, how: str, *, wait: bool) -> Swept:
    requeued, failed = [], []
    # Ones that another transaction is about to finish are left to it.
    lost = select(Job).where(Job.state == _RUNNING, which).order_by(Job.lease_until, Job.id)
    for job in tx.execute(lost.with_for_update(skip_locked=True), execution_options=_FRESH).scalars().all():
        losses = job.losses + 1
        told = plain(f"the worker {job.worker} {how} (loss {losses} of {most_losses})", _REASON)
        if losses < most_losses:
            due = now + _delay(losses) if wait else now
            _set(tx, job, {"state": "queued", "losses": losses, "due": due, "reason": told, **_FREE})
            requeued.append(job.id)
        else:
            _set(tx, job, {"losses": losses})
            _give_up(tx, job, "failed", told, now)
            failed.append(job.id)
    return Swept(tuple(requeued), tuple(failed))


def _give_up(tx: Session, job: Job, state: str, reason: str, now: datetime) -> None:
    _set(tx, job, {"state": state, "reason": reason, "finished": now, **_FREE})
    end_subject(tx, job.kind, job.subject, state, reason, now=now)


def _set(tx: Session, job: Job, values: dict[str, Any]) -> None:
    """Change a row that is locked already."""
    tx.execute(
        update(Job).where(Job.id == job.id).values(values).returning(Job),
        execution_options=_CHANGED,
    ).scalar_one()


def _delay(times: int) -> timedelta:
    """1, 2, 4, ... seconds: a fault that passes is soon over, one that stays costs little."""
    return min(timedelta(seconds=2 ** min(times - 1, 20)), _LONGEST_DELAY)
