"""Sizes, times and strangers' texts, as people read them."""

from datetime import datetime

from palladion.challenge.instants import in_words
from palladion.submissions.checks import printable

__all__ = [
    "clock",
    "duration",
    "filename_to_tell",
    "name_in_words",
    "past",
    "quantity",
    "size_in_words",
    "text_in_words",
]

_MOST_CHARACTERS = 2000


def name_in_words(text: str, most: int = 80) -> str:
    """A name that a stranger chose, on one line and without what a terminal would obey."""
    return printable(text, most)


def filename_to_tell(name: str, most: int = 200) -> str:
    """The name of a file as others are told it: printable, and with its end, which says what it is."""
    return printable(name, len(name))[-most:]


def text_in_words(text: str, most: int | None = 2 * _MOST_CHARACTERS) -> str:
    """A stranger's text of several lines, without what a terminal would obey but the line breaks.

    Args:
        text: of the stranger.
        most: characters that are shown; None: all of them.
    """
    lines = text[:most].splitlines()
    return "\n".join(printable(line, _MOST_CHARACTERS if most is not None else len(line)) for line in lines)


def size_in_words(size: int) -> str:
    """Bytes in the largest unit that leaves at least 1: ``512 bytes``, ``1.5 MiB``, ``34 MiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    if unit == "bytes":
        return f"{size} byte{'' if size == 1 else 's'}"
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def quantity(count: int, word: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """How long, in its two largest units, rounded up to the smaller: ``3 h 12 min``, ``2 d 5 h``, ``40 s``."""
    whole = max(0, -int(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    minutes = -(-whole // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        hours += minutes > 0
        days, hours = days + hours // 24, hours % 24
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def past(instant: datetime) -> str:
    """When something was, in UTC: ``Mon 5 Jan 2026, 09:00 UTC``. Seconds are left out."""
    # What is still to come is told by the minute that follows; what has been was not later than it was.
    return in_words(instant.replace(second=0, microsecond=0))


def clock(instant: datetime, now: datetime) -> str:
    """The time of day in UTC, with the day where it is another: ``14:05 UTC``, ``6 Jan 2026, 14:05 UTC``.

    What is to come and not on a full minute is told by the minute that follows, so that at the time told it is over.
    """
    told = in_words(instant) if instant > now else past(instant)
    today = past(now).partition(",")[0]
    return told.partition(", ")[2] if told.startswith(f"{today},") else told.partition(" ")[2]
