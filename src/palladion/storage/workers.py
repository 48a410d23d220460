"""Workers: which processes do jobs, and when each was last heard of. What they do stands with the jobs."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from palladion.storage.database import insert
from palladion.storage.tables import Worker
from palladion.storage.texts import check_word

__all__ = ["forget", "listing", "seen", "started", "stopped"]


def started(tx: Session, *, name: str, kinds: Iterable[str], host: str, process: int, now: datetime) -> None:
    """A worker has started; an earlier one of the same name is no more.

    What that one held is for :func:`palladion.storage.queue.release_worker`.

    Raises:
        InputError: the name is empty or longer than 200 characters.
    """
    check_word(name, "the name of a worker")
    values = {"kinds": sorted(set(kinds)), "host": host[:200], "process": process}
    values |= {"started": now, "seen": now, "stopped": None}
    tx.execute(
        insert(tx, Worker).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
    )


def seen(tx: Session, name: str, now: datetime) -> None:
    """The worker has been heard of."""
    tx.execute(update(Worker).where(Worker.name == name).values(seen=now))


def stopped(tx: Session, name: str, now: datetime) -> None:
    """The worker has stopped and holds nothing."""
    tx.execute(update(Worker).where(Worker.name == name).values(seen=now, stopped=now))


def forget(tx: Session, before: datetime) -> None:
    """Forget the workers that nothing was heard of since then."""
    tx.execute(delete(Worker).where(Worker.seen < before))


def listing(tx: Session) -> list[Worker]:
    """The workers, by name."""
    return list(
        tx.execute(select(Worker).order_by(Worker.name), execution_options={"populate_existing": True}).scalars()
    )
