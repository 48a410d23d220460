"""Open a stage: only with data that is there and as it must be, and on which known answers rank as they should.

Looking at the data takes time and is done outside of transactions; what is known by then is recorded with the change of
the stage: the identity of the data, a digest of all of it.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.jobs import news
from palladion.jobs.claiming import OPEN
from palladion.jobs.context import Service, StageInfo
from palladion.jobs.work import Later, Work
from palladion.storage import audit, queue, stages
from palladion.storage.errors import Conflict, LeaseLost, Refused
from palladion.storage.tables import Job

__all__ = [
    "DATA",
    "Data",
    "close_stage",
    "enqueue_opening",
    "faults",
    "is_enqueued",
    "look",
    "note_closed",
    "note_opened",
    "note_waiting",
    "open_by_job",
    "open_stage",
]

_log = logging.getLogger(__name__)

DATA: Final = "data"
"""Step of a stage that holds the identity of the data that it was opened with."""
WAITS: Final = "stage.waits"
"""Action in the audit log, and event: a stage waits for something that an organiser has to do."""
_LOOK_AGAIN: Final = timedelta(seconds=30)
_SERVICE: Final = "service"


@dataclass(frozen=True, slots=True)
class Data:
    """What a look at the data of a stage found.

    Attributes:
        faults: why the stage cannot open with it, in words; none: it can.
        identity: what the data is known by; None where there are faults.
    """

    faults: tuple[str, ...]
    identity: str | None = None


def look(info: StageInfo) -> Data:
    """Look at the data of a stage, and score known answers on it. Reads every byte."""
    # Here and not above: rounds bring much along that a server needs only now.
    from palladion.rounds.stage_data import check_stage, open_stage_data

    found = check_stage(Path(info.challenge.folder).absolute(), info.track, info.stage)
    if not found.found:
        return Data(found.notes)
    if found.faults:
        return Data(found.faults)
    try:
        data = open_stage_data(info.data, info.track.task, info.stage.phase, dry_run=info.stage.dry_run)
        return Data((), data.identity())
    except InputError as error:
        return Data((str(error),))


def faults(service: Service, stage_id: str) -> list[str]:
    """Why a stage cannot open now, in words; none: it can. Reads its data, so it takes time.

    Raises:
        NotFound: there is no such stage.
    """
    with service.database.read() as tx:
        info = service.stage(tx, stage_id)
        refusal = _refusal(tx, info)
    return [refusal] if refusal is not None else list(look(info).faults)


def open_stage(service: Service, stage_id: str, *, actor: str) -> bool:
    """Open a stage. Reads its data, so it takes time.

    Returns:
        Whether it has opened; False: it was open.

    Raises:
        NotFound: there is no such stage.
        Refused: it cannot open now; why, in words, a line each.
    """
    with service.database.read() as tx:
        info = service.stage(tx, stage_id)
        refusal = _refusal(tx, info)
    if info.row.state == "open":
        return False
    if refusal is not None:
        raise Refused(refusal)
    data = look(info)
    if data.faults:
        raise Refused("\n".join(data.faults))
    try:
        opened = service.database.run(note_opened, service, stage_id, data.identity, actor=actor, now=service.now())
    except Conflict as error:
        raise Refused(str(error)) from None
    service.notify()
    return opened


def close_stage(service: Service, stage_id: str, *, actor: str) -> bool:
    """Close a stage: it takes no more submissions, and those that it has run to their end.

    Returns:
        Whether it has closed; False: it was closed.

    Raises:
        NotFound: there is no such stage.
        Refused: it cannot close; why, in words.
    """
    try:
        closed = service.database.run(note_closed, service, stage_id, actor=actor, now=service.now())
    except Conflict as error:
        raise Refused(str(error)) from None
    service.notify()
    return closed


def enqueue_opening(tx: Session, stage_id: str, *, now: datetime) -> Job:
    """Let a worker open the stage, as soon as it can open."""
    return queue.enqueue(tx, OPEN, stage_id, now=now)


def is_enqueued(tx: Session, stage_id: str) -> bool:
    """Whether there is a job that opens the stage, in whatever state: one that has failed is for an organiser."""
    return queue.of(tx, OPEN, stage_id) is not None


def open_by_job(work: Work) -> None:
    """Do a job of the kind ``open``: its subject is a stage.

    Raises:
        Later: the stage cannot open yet; organisers are told why.
        LeaseLost: the job is somebody else's by now.
    """
    service, stage_id = work.service, work.job.subject
    with service.database.read() as tx:
        info = service.stage(tx, stage_id)
        refusal = _refusal(tx, info)
    if info.row.state == "planned":
        if refusal is not None:
            raise Later(_LOOK_AGAIN, refusal)
        data = look(info)
        if data.faults:
            words = "\n".join(data.faults)
            service.database.run(note_waiting, service, stage_id, words, now=service.now())
            service.notify()
            raise Later(_LOOK_AGAIN, "its data is not there, or not as it must be")
        identity = data.identity
    else:
        identity = None

    def done(tx: Session, now: datetime) -> None:
        if not queue.holds(tx, work.job.id, work.lease):
            raise LeaseLost(f"the job {work.job.id} is not held any more")
        if identity is not None:
            note_opened(tx, service, stage_id, identity, actor=_SERVICE, now=now)
        queue.finish(tx, work.job.id, work.lease, now=now)

    try:
        service.database.run(done, service.now())
    except Conflict as error:
        raise Later(_LOOK_AGAIN, str(error)) from None
    service.notify()


def note_opened(
    tx: Session, service: Service, stage_id: str, identity: str | None, *, actor: str, now: datetime
) -> bool:
    """Open a stage whose data was looked at; False: it was open.

    Raises:
        Conflict: the stages around it do not allow it.
    """
    if not stages.change(tx, stage_id, "open", now=now, actor=actor, detail={"data": identity}):
        return False
    stages.begin_step(tx, stage_id, DATA, now=now)
    stages.finish_step(tx, stage_id, DATA, now=now, detail={"identity": identity})
    news.stage_changed(tx, service, stage_id, now=now)
    _log.info("stage %s: open", stage_id)
    return True


def note_closed(
    tx: Session, service: Service, stage_id: str, *, actor: str, now: datetime, reason: str | None = None
) -> bool:
    """Close a stage; False: it was closed. Raises as :func:`note_opened`."""
    detail = None if reason is None else {"reason": reason}
    if not stages.change(tx, stage_id, "closed", now=now, actor=actor, detail=detail):
        return False
    news.stage_changed(tx, service, stage_id, now=now)
    _log.info("stage %s: closed", stage_id)
    return True


def note_waiting(tx: Session, service: Service, stage_id: str, why: str, *, now: datetime) -> bool:
    """Record, and tell the organisers, why a stage waits; False: they were told the same before."""
    subject = f"stage:{stage_id}"
    before = next((line for line in audit.listing(tx, subject=subject) if line.action == WAITS), None)
    if before is not None and before.detail.get("reason") == why:
        return False
    info = service.stage(tx, stage_id)
    detail = {"reason": why, "track": info.row.track, "stage": info.row.name}
    audit.add(tx, actor=_SERVICE, action=WAITS, subject=subject, detail=detail, challenge_id=info.challenge.id, now=now)
    news.stage_waits(tx, service, stage_id, why, now=now)
    _log.warning("stage %s: waits: %s", stage_id, " ".join(why.split()))
    return True


def _refusal(tx: Session, info: StageInfo) -> str | None:
    """Why the stages around it do not allow it to open; None also where it is open."""
    from palladion.challenge.lifecycle import opening_refusal

    if info.row.state == "open":
        return None
    return opening_refusal(stages.statuses(tx, info.challenge.id, info.row.track), info.row.name)
