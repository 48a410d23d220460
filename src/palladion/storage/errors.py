"""What the storage refuses, in words.

::

    PalladionError
    ├── NotFound        there is no such row
    ├── Conflict        the change does not fit what is there: a name that is taken, a state that does not allow it
    ├── Refused         a rule says no: a quota, a stage that is not open; with the time at which to try again
    └── LeaseLost       the job is not this worker's any more: whatever it was about to write belongs to another now
"""

from datetime import datetime

from palladion.challenge.instants import in_words
from palladion.errors import PalladionError

__all__ = ["Conflict", "LeaseLost", "NotFound", "Refused"]


class NotFound(PalladionError):  # noqa: N818 - it is an answer as much as an error, and reads as one
    """There is no such row."""


class Conflict(PalladionError):  # noqa: N818
    """The change does not fit what is there."""


class Refused(PalladionError):  # noqa: N818
    """A rule says no.

    Args:
        reason: which rule, and what it counts, as a sentence without the full stop.
        next_slot: when the same would be accepted, if time alone can make it so.
        told: whether the reason tells that time already.
    """

    def __init__(self, reason: str, next_slot: datetime | None = None, *, told: bool = False) -> None:
        self.reason = reason
        self.next_slot = next_slot
        when = "" if next_slot is None or told else f"; try again from {in_words(next_slot)}"
        super().__init__(reason + when)


class LeaseLost(PalladionError):  # noqa: N818
    """The job is not this worker's any more."""
