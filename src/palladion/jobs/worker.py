"""A worker: claims what is due, does it, and tells all the while that it is still there.

One thread claims, and gives each job a thread of its own in its lane; so an evaluation that runs for hours keeps nobody
waiting for the score of a file. Another thread puts off the ends of all leases, and notices those that are lost. What
another process enqueues is found within :attr:`JobSettings.poll` seconds, what this one enqueues at once.

Whatever happens to a worker, nothing is stuck: a lease ends where no heartbeat comes, and a worker that is started
anew under its name gives back at once what its earlier self held. Every write about a job names its lease, so that a
worker that was thought dead can do no harm.

How a job can end, beside well:

=====================  ================================================================================================
what is raised         what becomes of the job
=====================  ================================================================================================
``Faulty``             the submission's own fault: failed for good; or rejected, where nothing of it had been run
``Suspect``            perhaps its fault, perhaps a busy machine: tried three times, then failed with that reason
``Later``              it waits for something: handed back, at no cost
``Stopped``            the worker is stopped: handed back, at no cost
``LeaseLost``          it is somebody else's: nothing is written
another error          the service's fault: tried five times, then failed with words that say so; organisers are told
=====================  ================================================================================================
"""

import fcntl
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from palladion.errors import InputError, PalladionError
from palladion.execution.slots import Slots, Stop, Stopped
from palladion.execution.staging import remove_leftovers
from palladion.jobs import claiming, news, processes, standing
from palladion.jobs.claiming import CONCLUDE, DELIVER, EVALUATE, MOST_LOSSES, OPEN, STANDING, Lane
from palladion.jobs.conclusion import conclude
from palladion.jobs.context import Service
from palladion.jobs.deliveries import MOST_DELIVERY_ATTEMPTS, deliver
from palladion.jobs.detecting import try_sandbox
from palladion.jobs.evaluating import evaluate
from palladion.jobs.opening import open_by_job
from palladion.jobs.work import MOST_SUSPECT_ATTEMPTS, Handler, Later, Suspect, Work
from palladion.storage import challenges, queue, workers
from palladion.storage.errors import LeaseLost
from palladion.storage.queue import MOST_ATTEMPTS

__all__ = ["Running", "Worker", "default_name", "do", "lanes_for", "sweep"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HANDLERS: Final[Mapping[str, Handler]] = {
    EVALUATE: evaluate,
    DELIVER: deliver,
    OPEN: open_by_job,
    CONCLUDE: conclude,
    STANDING: standing.make,
}
_NOT_ITS_FAULT: Final = (
    "the service could not evaluate it; this is no fault of the submission, and the organisers have been told"
)
_MOST_SCORING, _MOST_RUNNING = 4, 8
# After an error of the database: it is asked again, but not all the time.
_PAUSE = 1.0
# From when all that runs was asked to end at once.
_MOST_ENDING = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a worker is doing.

    Attributes:
        job_id: the job.
        kind: what is done.
        subject: with what.
        since: when it was claimed.
    """

    job_id: str
    kind: str
    subject: str
    since: datetime


def lanes_for(slots: int) -> tuple[Lane, ...]:
    """The lanes of a worker with so many slots for data points."""
    cores = len(os.sched_getaffinity(0))
    return (
        Lane("scoring", (EVALUATE,), "outputs", min(max(2, cores), _MOST_SCORING)),
        # As many evaluations as there are slots share them; see palladion.execution.slots.
        Lane("running", (EVALUATE,), "code", min(slots, _MOST_RUNNING)),
        Lane("stages", (OPEN, CONCLUDE), None, 2),
        Lane("news", (DELIVER,), None, 2),
        Lane("standings", (STANDING,), None, 1),
    )


class Worker:
    """A worker of a service. It starts no thread before :meth:`start`.

    Args:
        service: whose jobs it does.
        name: its own; no other worker may have it at the same time.
        slots: data points of code that run at a time; by default as the settings say.

    Raises:
        InputError: the name is none, or there are no slots.
    """

    def __init__(self, service: Service, *, name: str, slots: int | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name[:80]!a} is no name of a worker: a-z, 0-9, '.', '_' and '-', at most 64, not a sign first"
            )
        self.service, self.name = service, name
        wanted = slots or service.settings.slots or len(os.sched_getaffinity(0))
        self._slots = Slots(wanted)
        self._lanes = lanes_for(wanted)
        self._lock = threading.Lock()
        # By lease: a job that was handed back may be claimed again while its thread still ends.
        self._works: dict[str, tuple[Work, Lane]] = {}
        self._wake = threading.Event()
        self._stopping = self._at_once = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._held: int | None = None

    @property
    def running(self) -> list[Running]:
        """What it is doing now."""
        with self._lock:
            works = [work for work, _ in self._works.values()]
        return [Running(work.job.id, work.job.kind, work.job.subject, work.since) for work in works]

    def start(self) -> None:
        """Begin, in threads of its own.

        Raises:
            PalladionError: another worker has this name, or the database cannot be used.
        """
        self._held = _hold(self.service, self.name)
        try:
            self.service.database.run(self._begin, now=self.service.now())
        except BaseException:
            os.close(self._held)
            raise
        self.service.wake(self._wake)
        kinds = ", ".join(f"{lane.name} {lane.width}" for lane in self._lanes)
        _log.info("worker %s: started, %s slots (%s)", self.name, self._slots.count, kinds)
        for target in (self._claim, self._beat, self._prepare):
            thread = threading.Thread(target=target, name=f"{self.name}-{target.__name__[1:]}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, *, at_once: bool = False) -> None:
        """Claim nothing more; what runs may go on for :attr:`JobSettings.grace` seconds, and is handed back then.

        Args:
            at_once: without these seconds. So is the second call.
        """
        at_once = at_once or self._stopping
        self._stopping = True
        self._at_once = self._at_once or at_once
        with self._lock:
            works = [work for work, _ in self._works.values()]
        for work in works:
            if self._at_once:
                work.stop.now()
            else:
                work.stop.gracefully()
        self._wake.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, after :meth:`stop`; False: it has not within ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def run(self) -> None:
        """Start, and wait for the end. Raises as :meth:`start`."""
        self.start()
        self.join()

    # --- claiming -----------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """The thread that claims; the last to end."""
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    self._claim_what_is_due()
                except PalladionError as error:
                    _log.error("worker %s: cannot claim: %s", self.name, error)
                    self._wake.wait(_PAUSE)
                except Exception:  # whatever it is, a worker goes on
                    _log.exception("worker %s: cannot claim", self.name)
                    self._wake.wait(_PAUSE)
                self._wake.wait(self.service.settings.poll)
            self._let_end()
        finally:
            self._end()

    def _claim_what_is_due(self) -> None:
        while not self._stopping:
            free = [lane for lane in self._lanes if self._room(lane)]
            if not free:
                return
            with self.service.database.read() as tx:
                due = claiming.due(tx, free, self.service.now())
            claimed = [self._claim_one(lane) for lane in free if lane.name in due]
            if not any(claimed):
                return

    def _claim_one(self, lane: Lane) -> bool:
        settings = self.service.settings
        now = self.service.now()
        job = self.service.database.run(claiming.claim, lane, worker=self.name, lease=settings.lease, now=now)
        if job is None:
            return False
        work = Work(self.service, job, Stop(), self._slots, now)
        with self._lock:
            self._works[work.lease] = (work, lane)
        if self._stopping:  # it was asked between claiming and noting
            work.stop.gracefully()
        _log.info("job %s: %s %s, by %s in lane %s", job.id, job.kind, job.subject, self.name, lane.name)
        threading.Thread(target=self._do, args=(work,), name=f"{self.name}-{job.kind}-{job.id}", daemon=True).start()
        return True

    def _room(self, lane: Lane) -> bool:
        with self._lock:
            return sum(other is lane for _, other in self._works.values()) < lane.width

    def _let_end(self) -> None:
        """Wait for what runs, and then no longer."""
        end = time.monotonic() + self.service.settings.grace
        last = None
        while self.running:
            if time.monotonic() >= end and not self._at_once:
                _log.warning("worker %s: its time is up; what still runs is handed back", self.name)
                self.stop(at_once=True)
            if self._at_once:
                last = last or time.monotonic() + _MOST_ENDING
                if time.monotonic() >= last:
                    # Its lease ends by itself, and the job is given to somebody else.
                    left = ", ".join(running.job_id for running in self.running)
                    _log.error("worker %s: does not wait any longer for jobs %s", self.name, left)
                    return
            self._wake.wait(0.1)
            self._wake.clear()

    def _end(self) -> None:
        self.service.forget(self._wake)
        try:
            self.service.database.run(workers.stopped, self.name, now=self.service.now())
        except PalladionError as error:
            _log.error("worker %s: cannot say that it has stopped: %s", self.name, error)
        if self._held is not None:
            os.close(self._held)
        _log.info("worker %s: stopped", self.name)
        self._ended.set()

    # --- telling that it is there -------------------------------------------------------------------------------------

    def _begin(self, tx: Session, *, now: datetime) -> None:
        swept = queue.release_worker(tx, self.name, now=now, most_losses=MOST_LOSSES)
        news.given_up(tx, self.service, swept.failed, now=now)
        kinds = sorted({kind for lane in self._lanes for kind in lane.kinds})
        workers.started(tx, name=self.name, kinds=kinds, host=socket.gethostname(), process=os.getpid(), now=now)
        if swept.requeued or swept.failed:
            given, failed = len(swept.requeued) + len(swept.failed), len(swept.failed)
            _log.warning("worker %s: its earlier self held %s jobs; %s were lost too often", self.name, given, failed)

    def _beat(self) -> None:
        """The thread of the heartbeats."""
        pause = self.service.settings.heartbeat.total_seconds()
        while not self._ended.wait(pause):
            with self._lock:
                works = [work for work, _ in self._works.values()]
            try:
                lost = self.service.database.run(self._tell, works, now=self.service.now())
            except PalladionError as error:
                _log.error("worker %s: no heartbeat: %s", self.name, error)
                continue
            except Exception:  # as in _claim
                _log.exception("worker %s: no heartbeat", self.name)
                continue
            for work in lost:
                self._lose(work)
            try:
                sweep(self.service)
            except PalladionError as error:
                _log.error("worker %s: cannot sweep: %s", self.name, error)

    def _tell(self, tx: Session, works: Sequence[Work], *, now: datetime) -> list[Work]:
        """Put the ends of the leases off; those that are lost."""
        lifetime = self.service.settings.lease
        workers.seen(tx, self.name, now)
        # In one order, as others lock rows of jobs as well.
        works = sorted(works, key=lambda work: work.job.id)
        return [work for work in works if not queue.heartbeat(tx, work.job.id, work.lease, lifetime, now=now)]

    def _lose(self, work: Work) -> None:
        with self._lock:
            # What ended between the heartbeat and now has not been lost.
            if work.lease not in self._works:
                return
            work.lost = True
        _log.warning("job %s: the lease is lost; it is stopped", work.job.id)
        work.stop.now()

    def _prepare(self) -> None:
        """What the first jobs would otherwise wait for."""
        try:
            remove_leftovers()
            processes.warm()
            if self._runs_code():
                try_sandbox(self.service)
        except (PalladionError, OSError) as error:
            _log.error("worker %s: not all can be done here: %s", self.name, _one_line(str(error)))
        except Exception:  # as in _claim
            _log.exception("worker %s: not all can be done here", self.name)

    def _runs_code(self) -> bool:
        with self.service.database.read() as tx:
            known = challenges.listing(tx)
        return any(track.submission.kind == "code" for row in known for track in self.service.definition(row).tracks)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _do(self, work: Work) -> None:
        """The thread of one job."""
        try:
            do(work)
        finally:
            with self._lock:
                del self._works[work.lease]
            self._wake.set()


def default_name() -> str:
    """The name of a worker whom nobody gives one: that of this machine, so that it is the same at every start."""
    return re.sub(r"[^a-z0-9._-]+", "-", socket.gethostname().lower()).strip("._-")[:64] or "worker"


def do(work: Work) -> None:
    """Do a job and write how it has ended. Nothing is raised: whatever goes wrong ends the job, and not the worker."""
    try:
        try:
            _HANDLERS[work.job.kind](work)
        except Exception as error:
            _end(work, error)
        else:
            _log.info("job %s: done", work.job.id)
    except LeaseLost:
        _log.warning("job %s: the lease was lost; nothing is written", work.job.id)
    except Exception:  # the database, most likely: the lease will end, and the job be given to somebody
        _log.exception("job %s: its end cannot be written", work.job.id)


def _end(work: Work, error: Exception) -> None:
    """Write what an error means for a job."""
    run, now = work.service.database.run, work.service.now()
    if work.lost or isinstance(error, LeaseLost):
        _log.warning("job %s: the lease was lost; nothing is written", work.job.id)
    elif isinstance(error, Stopped):
        run(queue.hand_back, work.job.id, work.lease, now=now)
        _log.info("job %s: handed back", work.job.id)
    elif isinstance(error, Later):
        run(queue.hand_back, work.job.id, work.lease, now=now, due=now + error.wait)
        _log.info("job %s: waits %s s: %s", work.job.id, error.wait.total_seconds(), _one_line(str(error)))
    elif isinstance(error, Suspect):
        run(_fail, work, str(error), str(error), MOST_SUSPECT_ATTEMPTS, now=now)
    else:
        if isinstance(error, PalladionError):
            words = str(error)
        else:
            _log.error("job %s: an error of Palladion", work.job.id, exc_info=error)
            words = f"an error of Palladion itself ({type(error).__name__}); the log of the service says more"
        told = _NOT_ITS_FAULT if work.job.kind == EVALUATE else words
        most = MOST_DELIVERY_ATTEMPTS if work.job.kind == DELIVER else MOST_ATTEMPTS
        run(_fail, work, words, told, most, now=now)


def _fail(tx: Session, work: Work, words: str, told: str, most: int, *, now: datetime) -> None:
    """The work ended in an error: it is tried again, or given up.

    Args:
        tx: a write transaction.
        work: the job.
        words: what went wrong, for organisers.
        told: the reason in the end, which its team may read.
        most: how often it is tried.
        now: the time.
    """
    last = work.job.attempts + 1 >= most
    again = queue.fail(tx, work.job.id, work.lease, told if last else words, most_attempts=most, now=now)
    _log.error("job %s: %s: %s", work.job.id, "failed, and is tried again" if again else "given up", _one_line(words))
    if not again:
        news.job_given_up(tx, work.service, queue.by_id(tx, work.job.id), words, now=now)


def _one_line(words: str) -> str:
    return " ".join(words.split())


def sweep(service: Service) -> None:
    """Give jobs whose lease has ended to others; organisers are told of those that are given up."""
    now = service.now()
    with service.database.read() as tx:
        # Looking locks nothing, and nearly always there is nothing.
        if not queue.expired(tx, now):
            return

    def swept(tx: Session) -> Any:
        found = queue.sweep(tx, now, most_losses=MOST_LOSSES)
        news.given_up(tx, service, found.failed, now=now)
        return found

    found = service.database.run(swept)
    if found.requeued or found.failed:
        _log.warning("swept: %s jobs are queued again, %s given up", len(found.requeued), len(found.failed))
        service.notify()


def _hold(service: Service, name: str) -> int:
    """Take the name, for as long as the descriptor is open.

    Raises:
        PalladionError: another worker has it.
    """
    path = service.folder("workers") / f"{name}.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise PalladionError(
            f"a worker named {name} runs already with this data folder; give this one another --name, or stop that one"
        ) from None
    return handle
