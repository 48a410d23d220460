"""One job in the hands of a worker, and the ways in which it can end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from palladion.errors import PalladionError
from palladion.execution.slots import Slots, Stop
from palladion.jobs.context import Service
from palladion.storage.tables import Job

__all__ = ["MOST_SUSPECT_ATTEMPTS", "Faulty", "Handler", "Later", "Suspect", "Work"]

MOST_SUSPECT_ATTEMPTS: Final = 3
"""How often a job is tried that failed in a way that may be its submission's fault, and may be a busy machine's."""


@dataclass
class Work:
    """A job that a worker holds.

    Attributes:
        service: what everything is handed.
        job: as it was when it was claimed.
        stop: asks for its end: gracefully, or at once.
        slots: of the worker, for data points of code.
        since: when it was claimed.
        lost: the job is somebody else's by now: nothing may be written about it.
    """

    service: Service
    job: Job
    stop: Stop
    slots: Slots
    since: datetime
    lost: bool = field(default=False)

    @property
    def lease(self) -> str:
        """To be named in everything that is written about the job."""
        assert self.job.lease is not None
        return self.job.lease


Handler = Callable[[Work], None]
"""Does a job and ends it. Errors that leave it end it as well: see :mod:`palladion.jobs.worker`."""


class Later(Exception):  # noqa: N818 - no fault of anybody
    """The job waits for something; it is handed back, at no cost.

    Args:
        wait: until it is due again.
        why: for the log.
    """

    def __init__(self, wait: timedelta, why: str) -> None:
        super().__init__(why)
        self.wait = wait


class Faulty(Exception):  # noqa: N818 - the submission's, not ours
    """The submission itself is at fault: its evaluation has failed for good.

    Args:
        reason: in words, for its team.
        invalid: it was found invalid before anything of it was run, so that it costs nothing.
        report: what else there is to say.
    """

    def __init__(self, reason: str, *, invalid: bool = False, report: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason, self.invalid, self.report = reason, invalid, dict(report or {})


class Suspect(PalladionError):  # noqa: N818
    """It failed in a way that may be the submission's fault: it is tried a few times, and then the reason is told."""
