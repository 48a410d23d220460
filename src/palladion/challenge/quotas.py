"""Whether a team may submit once more, and when. One decision, for refusing and for showing what is left.

- *scored* counts what got a score or still may: a submission that failed gives it back;
- *attempted* counts all that was accepted, so that failing on purpose is not free;
- *concurrent* counts what has not ended yet.

A day is any 24 hours, not a date: a submission counts against its day up to, and not at, the moment 24 hours later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from palladion.challenge.instants import in_words, until
from palladion.challenge.settings import Quota, Quotas

__all__ = [
    "DAY",
    "Allowed",
    "Decision",
    "Earlier",
    "Ending",
    "Refused",
    "Spent",
    "Usage",
    "decide",
    "quota_words",
    "usage_words",
]

DAY: Final = timedelta(hours=24)


class Ending(StrEnum):
    """What has become of a submission that was accepted."""

    RUNNING = "running"
    """It has not ended: it waits, runs, or is being scored."""
    SCORED = "scored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A submission of the team to this track that was accepted before.

    Attributes:
        accepted: when.
        ending: what has become of it.
    """

    accepted: datetime
    ending: Ending


@dataclass(frozen=True, slots=True)
class Spent:
    """One quota and what is spent of it.

    Attributes:
        today: counted within the last 24 hours.
        per_day: how many there may be; None is no limit.
        total: counted in all.
        most: how many there may be in all; None is no limit.
        next_slot: when one more fits into the day, if nothing else happens; ``now`` where it fits already, None where
            the total is used up.
        frees: when the next one of ``today`` stops counting; None where there is none.
    """

    today: int
    per_day: int | None
    total: int
    most: int | None
    next_slot: datetime | None
    frees: datetime | None

    @property
    def left(self) -> int | None:
        """How many more fit at this moment; None is no limit."""
        rests = [limit - used for limit, used in ((self.per_day, self.today), (self.most, self.total)) if limit]
        return max(0, min(rests)) if rests else None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a team has spent.

    Attributes:
        scored: of the quota of scores.
        attempted: of the quota of attempts.
        running: submissions that have not ended.
        concurrent: how many of these there may be; None is no limit.
    """

    scored: Spent
    attempted: Spent
    running: int
    concurrent: int | None


@dataclass(frozen=True, slots=True)
class Allowed:
    """One more may be submitted; ``usage`` is that without it."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Refused:
    """None may be submitted.

    Attributes:
        reason: in words, with the time of the next slot.
        next_slot: when the next one will be accepted, if nothing else happens until then; None where no time will do:
            a total is used up, or one that runs must end first.
        usage: what is spent.
    """

    reason: str
    next_slot: datetime | None
    usage: Usage


Decision = Allowed | Refused


def decide(quotas: Quotas, earlier: Iterable[Earlier], now: datetime) -> Decision:
    """Whether a team may submit once more.

    Args:
        quotas: of the track.
        earlier: the team's submissions to the track that were accepted, of all its stages, in any order.
        now: the time.
    """
    submissions = sorted(earlier, key=lambda submission: submission.accepted)
    scored = _spent(quotas.scored, [s.accepted for s in submissions if s.ending is not Ending.FAILED], now)
    attempted = _spent(quotas.attempted, [s.accepted for s in submissions], now)
    running = sum(submission.ending is Ending.RUNNING for submission in submissions)
    usage = Usage(scored, attempted, running, quotas.concurrent)
    reasons: list[str] = []
    slots: list[datetime | None] = []
    for what, spent in (("scored", scored), ("attempted", attempted)):
        if spent.most is not None and spent.total >= spent.most:
            waiting = f"; {running} still running count until they fail" if running and what == "scored" else ""
            reasons.append(f"all {spent.most} {what} submissions are used up{waiting}")
            slots.append(None)
        elif spent.per_day is not None and spent.today >= spent.per_day:
            assert spent.next_slot is not None
            slot = f"next slot {in_words(spent.next_slot)} ({until(spent.next_slot, now)})"
            reasons.append(f"{spent.today} of {spent.per_day} {what} submissions in 24 hours are used; {slot}")
            slots.append(spent.next_slot)
    if quotas.concurrent is not None and running >= quotas.concurrent:
        reasons.append(f"{running} of {quotas.concurrent} submissions at a time are running; wait for one to end")
        slots.append(None)
    if not reasons:
        return Allowed(usage)
    known = [slot for slot in slots if slot is not None]
    return Refused("; ".join(reasons), max(known) if len(known) == len(slots) else None, usage)


def _spent(quota: Quota, accepted: Sequence[datetime], now: datetime) -> Spent:
    """What is spent of a quota by submissions at these times, which are sorted."""
    # Times ahead of now count as well: another server's clock may be a little fast.
    today = [instant for instant in accepted if instant > now - DAY]
    frees = today[0] + DAY if today else None
    next_slot: datetime | None = now
    if quota.total is not None and len(accepted) >= quota.total:
        next_slot = None
    elif quota.per_day is not None and len(today) >= quota.per_day:
        next_slot = today[len(today) - quota.per_day] + DAY
    return Spent(len(today), quota.per_day, len(accepted), quota.total, next_slot, frees)


def usage_words(usage: Usage, now: datetime) -> tuple[str, ...]:
    """What a team has spent, a line a quota that has a limit: ``scored: 2 of 5 in 24 hours, next slot now``."""
    lines = []
    for what, spent in (("scored", usage.scored), ("attempted", usage.attempted)):
        parts = []
        if spent.per_day is not None:
            parts.append(f"{spent.today} of {spent.per_day} in 24 hours")
        if spent.most is not None:
            parts.append(f"{spent.total} of {spent.most} in total")
        if not parts:
            continue
        if spent.next_slot is None:
            parts.append("used up")
        elif spent.per_day is not None:
            slot = "now" if spent.next_slot <= now else f"{in_words(spent.next_slot)} ({until(spent.next_slot, now)})"
            parts.append(f"next slot {slot}")
        lines.append(f"{what}: {', '.join(parts)}")
    if usage.concurrent is not None:
        lines.append(f"running: {usage.running} of {usage.concurrent} at a time")
    return tuple(lines)


def quota_words(quotas: Quotas) -> str:
    """The quotas of a track in one line: ``scored: 3 in 24 hours, 100 in total; attempted: 10 in 24 hours``."""
    lines = []
    for what, quota in (("scored", quotas.scored), ("attempted", quotas.attempted)):
        parts = []
        if quota.per_day is not None:
            parts.append(f"{quota.per_day} in 24 hours")
        if quota.total is not None:
            parts.append(f"{quota.total} in total")
        if parts:
            lines.append(f"{what}: {', '.join(parts)}")
    if quotas.concurrent is not None:
        lines.append(f"{quotas.concurrent} at a time")
    return "; ".join(lines) or "no limit"
