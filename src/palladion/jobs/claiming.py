"""Which jobs a worker does beside each other, and how often one may be lost.

Evaluations of code and of outputs are jobs of one kind, and a worker whose slots are all in use must still score
outputs within seconds; so what a lane takes is said by kind and, of evaluations, by what is evaluated.

How often a job may be lost
---------------------------

A job is lost when its worker is not heard of any more. Nearly always that is nothing the job has to do with: machines
are restarted, processes are killed. But a job may also be what kills the worker, by using up the machine's memory for
example, and such a job must come to an end. So losses are bounded, by :data:`MOST_LOSSES`, and *progress sets them back
to none*: an outcome that is kept, a step of a conclusion that is done. Then

- a detector on a machine that is restarted every hour goes on for as long as it answers one data point an hour;
- what runs beside a submission that kills the worker is not failed along with it;
- a submission that kills its worker every time ends, after at most that many losses for each of its data points.

What makes no progress before its end - scoring outputs, which takes a second - is lost that many times in a row only if
the worker is killed in that very second every time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy.orm import Session

from palladion.storage import queue
from palladion.storage.deliveries import DELIVER
from palladion.storage.endings import EVALUATE
from palladion.storage.tables import Job

__all__ = ["CONCLUDE", "DELIVER", "EVALUATE", "MOST_LOSSES", "OPEN", "STANDING", "Lane", "claim", "due"]

OPEN: Final = "open"
"""Open a stage; the subject is its id."""
CONCLUDE: Final = "conclude"
"""Conclude a stage; the subject is its id."""
STANDING: Final = "standing"
"""Make the ranges of the ranks of a stage; the subject is its id."""

MOST_LOSSES: Final = 30
"""How often in a row, without any progress in between, a job may be lost before it is given up."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs that are done beside those of other lanes, so that none of them waits for one that takes long.

    Attributes:
        name: for logs.
        kinds: of jobs.
        submissions: of evaluations, whether of code or of outputs; None: of either.
        width: how many are done at a time.
    """

    name: str
    kinds: tuple[str, ...]
    submissions: Literal["code", "outputs"] | None
    width: int


def due(tx: Session, lanes: Collection[Lane], now: datetime) -> set[str]:
    """The names of those lanes for which something is due. Reads only: what is asked often locks nothing."""
    return {lane.name for lane in lanes if queue.due(tx, lane.kinds, now=now, submissions=lane.submissions)}


def claim(tx: Session, lane: Lane, *, worker: str, lease: timedelta, now: datetime) -> Job | None:
    """Take the job of a lane that comes first, if one is due. As :func:`palladion.storage.queue.claim`."""
    return queue.claim(tx, lane.kinds, worker=worker, lease=lease, now=now, submissions=lane.submissions)
