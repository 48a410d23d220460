"""Points in time: aware, in UTC, and never at an hour that nobody wrote."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

__all__ = ["in_words", "read_instant", "until"]

_EXAMPLE: Final = "2026-01-05T09:00:00Z"
_FORM = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ](?P<hours>[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_YEARS: Final = (2000, 2999)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def read_instant(value: object) -> datetime:
    """A date of a file, in UTC.

    A date without hours would mean midnight to one reader and the end of the day to another, and one without a zone is
    another instant for every reader; both are refused.

    Args:
        value: text in ISO 8601, or what a reader of YAML made of it.

    Raises:
        ValueError: it is no instant; the message says what is missing.
    """
    if isinstance(value, str):
        value = _read_text(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no zone; write it in UTC, as {_EXAMPLE}")
        if not _YEARS[0] <= value.year <= _YEARS[1]:
            raise ValueError(f"{value.year} is no year of a challenge")
        return value.astimezone(UTC)
    if isinstance(value, date):
        raise ValueError(
            f"{value.isoformat()} has no hours; a day alone would begin and end at an hour that nobody chose: "
            f"write it in UTC, as {_EXAMPLE}"
        )
    raise ValueError(f"must be a date with hours and zone, as {_EXAMPLE}")


def _read_text(text: str) -> datetime | date:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!a} must be a date with hours and zone, as {_EXAMPLE}")
    try:
        if match["hours"] is None:
            return date.fromisoformat(match["day"])
        zone = (match["zone"] or "").upper()
        return datetime.fromisoformat(f"{match['day']}T{match['hours']}{zone}")
    except ValueError as error:
        raise ValueError(f"{text[:40]!a} is no date: {error}") from None


def in_words(instant: datetime) -> str:
    """As people read it, whatever language the machine speaks: ``Mon 5 Jan 2026, 09:00 UTC``.

    Seconds are left out; what is not on a full minute is told by the minute that follows, so that at the time told it
    is over.
    """
    utc = instant.astimezone(UTC)
    if utc.second or utc.microsecond:
        utc = utc.replace(second=0, microsecond=0) + timedelta(minutes=1)
    day = f"{_DAYS[utc.weekday()]} {utc.day} {_MONTHS[utc.month - 1]} {utc.year}"
    return f"{day}, {utc.hour:02}:{utc.minute:02} UTC"


def until(instant: datetime, now: datetime) -> str:
    """How far away it is, in the largest unit that has at least two of it: ``in 3 days``, ``26 hours ago``, ``now``."""
    seconds = (instant - now).total_seconds()
    distance = abs(seconds)
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if distance >= 2 * length:
            text = f"{int(distance // length)} {unit}"
            return f"in {text}" if seconds > 0 else f"{text} ago"
    return "now"
