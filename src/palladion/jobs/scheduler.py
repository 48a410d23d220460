"""What is due because time has passed: every second, in every process that serves.

Several may do it at once: everything here is a transaction that changes nothing where it was done before.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from palladion.challenge import Action, due
from palladion.errors import PalladionError
from palladion.jobs import conclusion, opening, standing
from palladion.jobs.context import Service
from palladion.jobs.worker import sweep
from palladion.storage import challenges, stages, standings, workers
from palladion.storage.artifacts import collect
from palladion.storage.tables import Challenge

__all__ = ["Scheduler", "Ticked", "tick", "tidy"]

_log = logging.getLogger(__name__)

_TICK: Final = 1.0
_TIDY: Final = 1800.0
"""Seconds between removals of what nobody needs any more."""
_UNUSED: Final = timedelta(days=2)
_SILENT: Final = timedelta(days=30)
_MOST_ACTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Ticked:
    """What was due.

    Attributes:
        actions: what was done, as ``open challenge/track/stage``.
    """

    actions: tuple[str, ...]


class Scheduler:
    """Does every second what is due.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False: it has not within ``timeout`` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        untidy = _TIDY
        while not self._stop.wait(_TICK):
            untidy += _TICK
            try:
                tick(self._service)
                if untidy >= _TIDY:
                    untidy = 0.0
                    tidy(self._service)
            except PalladionError as error:
                _log.error("scheduler: %s", error)
            except Exception:  # whatever it is, the next second comes
                _log.exception("scheduler: an error of Palladion")


def tick(service: Service) -> Ticked:
    """Do what is due now: sweep jobs nobody holds any more, open, close and conclude stages.

    Raises:
        PalladionError: the database cannot be used.
    """
    sweep(service)
    actions = []
    with service.database.read() as tx:
        known = challenges.listing(tx)
    for challenge in known:
        try:
            tracks = [track.name for track in service.definition(challenge).tracks]
        except PalladionError as error:
            _log.error("scheduler: the file of challenge %s: %s", challenge.name, error)
            continue
        for track in tracks:
            # Of a track, one thing after the other: a stage that closes by date may be concluded after that.
            for _ in range(_MOST_ACTIONS):
                done = _one(service, challenge, track)
                if done is None:
                    break
                actions.append(done)
    if actions:
        service.notify()
    return Ticked(tuple(actions))


def tidy(service: Service) -> None:
    """Remove what nobody needs any more: uploads that have expired, files without a submission, silent workers."""
    now = service.now()
    if service.uploads is not None:
        service.uploads.expire(now)
    collect(service.database, service.artifacts, older_than=_UNUSED, now=now)
    service.database.run(workers.forget, now - _SILENT)
    _forget_learned(service)
    _ask_for_ranges(service)


def _one(service: Service, challenge: Challenge, track: str) -> str | None:
    """Do one thing that is due for a track; None: nothing is."""
    with service.database.read() as tx:
        # Looking locks nothing, and nearly always there is nothing.
        if not _is_due(tx, service, challenge, track):
            return None
    done = service.database.run(_do, service, challenge, track)
    if done is not None:
        _log.info("scheduler: %s", done)
    return done


def _is_due(tx: Session, service: Service, challenge: Challenge, track: str) -> bool:
    definition = service.definition(challenge).track(track)
    found = due(stages.statuses(tx, challenge.id, track), definition.advance, service.now())
    if found is not None and found.action is Action.OPEN:
        # It is opened by a job, which may have to wait for the data.
        stage = stages.by_name(tx, challenge.id, track, found.stage)
        return not opening.is_enqueued(tx, stage.id)
    return found is not None


def _do(tx: Session, service: Service, challenge: Challenge, track: str) -> str | None:
    now = service.now()
    definition = service.definition(challenge).track(track)
    found = due(stages.statuses(tx, challenge.id, track), definition.advance, now)
    if found is None:
        return None
    stage = stages.by_name(tx, challenge.id, track, found.stage)
    if found.action is Action.OPEN:
        if opening.is_enqueued(tx, stage.id):
            return None
        opening.enqueue_opening(tx, stage.id, now=now)
    elif found.action is Action.CLOSE:
        opening.note_closed(tx, service, stage.id, actor="service", now=now, reason=found.reason)
    elif not conclusion.begin_if_due(tx, service, service.stage(tx, stage.id), now=now):
        return None
    return f"{found.action} {challenge.name}/{track}/{found.stage}: {found.reason}"


def _ask_for_ranges(service: Service) -> None:
    """Of stages that have scores and no ranges of ranks: they were imported, or come from an earlier version."""
    with service.database.read() as tx:
        waiting = standings.missing(tx)
    for stage_id in waiting:
        service.database.run(standing.request, stage_id, now=service.now())


def _forget_learned(service: Service) -> None:
    """What detectors have learned in stages that were concluded: by another worker, or while this one was killed."""
    from palladion.jobs.detecting import LEARNED, forget_learned

    there = [path.name for path in service.folder(LEARNED).iterdir() if path.is_dir()]
    if not there:
        return
    with service.database.read() as tx:
        concluded = {
            row.id
            for challenge in challenges.listing(tx)
            for row in stages.of_challenge(tx, challenge.id)
            if row.state == "concluded"
        }
    for name in there:
        if name in concluded:
            forget_learned(service, name)
