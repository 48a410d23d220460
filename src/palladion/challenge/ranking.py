"""The order of a leaderboard: a pure function of values, with the direction from the table of metrics."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from palladion.challenge.metrics import Metric

__all__ = ["Entry", "Ranked", "best_of_each_team", "is_scored", "rank"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One submission on a board.

    Attributes:
        team: whose it is.
        submission: its id, which settles what is left undecided.
        value: of the metric that ranks, as whoever reads the board may know it; None or not finite is missing.
        accepted: when it was accepted.
        item: whatever belongs to it.
    """

    team: str
    submission: str
    value: float | None
    accepted: datetime
    item: T


@dataclass(frozen=True, slots=True)
class Ranked(Generic[T]):
    """An entry at its place.

    Attributes:
        rank: from 1; equal values share it, and the next one counts all before it (1, 2, 2, 4). None of an entry
            without a value: it stands last and has no rank.
        entry: the entry.
    """

    rank: int | None
    entry: Entry[T]


def is_scored(value: float | None) -> bool:
    """Whether a value can be ranked: it is there and finite."""
    return value is not None and math.isfinite(value)


def rank(entries: Iterable[Entry[T]], metric: Metric) -> list[Ranked[T]]:
    """All entries in their order: the best first, what has no value last, whatever the metric's direction.

    Among equals the earlier one comes first, and of the same moment the one whose id sorts first, so that the order
    does not depend on that of the entries.
    """
    ordered = sorted(entries, key=lambda entry: _order(entry, metric))
    ranked: list[Ranked[T]] = []
    for place, entry in enumerate(ordered, 1):
        if not is_scored(entry.value):
            ranked.append(Ranked(None, entry))
        elif ranked and ranked[-1].entry.value == entry.value:
            ranked.append(Ranked(ranked[-1].rank, entry))
        else:
            ranked.append(Ranked(place, entry))
    return ranked


def best_of_each_team(entries: Iterable[Entry[T]], metric: Metric) -> list[Entry[T]]:
    """One entry of each team, in the order of the board: its best; of equals the earliest; one without a value only
    where it has no other.
    """
    best: dict[str, Entry[T]] = {}
    for ranked in rank(entries, metric):
        best.setdefault(ranked.entry.team, ranked.entry)
    return list(best.values())


def _order(entry: Entry[T], metric: Metric) -> tuple[bool, float, datetime, str]:
    if entry.value is None or not is_scored(entry.value):
        return True, 0.0, entry.accepted, entry.submission
    return False, -metric.merit(entry.value), entry.accepted, entry.submission
