"""What somebody may see: one function in front of pages, API, CSV, logs, mail and exports.

===============  ==========================  =========================================  ==============================
what             own team                    other teams, observers, everybody          organisers
===============  ==========================  =========================================  ==============================
status           always                      of submissions that were scored            always
score            open split: the value       of submissions that were scored, the same  always, the value
                 test: as it was told
                 holdout: when concluded
outcome, log     open split                  never                                      always
artifact         always                      never                                      always
===============  ==========================  =========================================  ==============================

The test split of a dry run is its train split, whose labels everybody has: it is open.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from palladion.challenge.feedback import Told, tell_concluded
from palladion.challenge.metrics import Metric
from palladion.challenge.permissions import Role
from palladion.challenge.quotas import Ending
from palladion.challenge.settings import Feedback

__all__ = ["SEALED_SPLITS", "Asked", "Full", "Hidden", "Kind", "Shown", "Viewer", "Visibility", "visibility"]

SEALED_SPLITS: Final = frozenset({"test", "holdout"})
_OPEN_SPLITS: Final = frozenset({"train", "validation"})


class Kind(StrEnum):
    """What is asked for."""

    STATUS = "status"
    """What has become of a submission, and where it failed the reason in words."""
    SCORE = "score"
    """One value of one metric on one split."""
    OUTCOME = "outcome"
    """What came of each data point: answer, seconds, error."""
    LOG = "log"
    """What the submission printed."""
    ARTIFACT = "artifact"
    """The files that were handed in."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks.

    Attributes:
        role: what they are to the challenge.
        team: of a participant; None where there is none.
    """

    role: Role
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        kind: of thing.
        team: whose submission it is about.
        ending: what has become of that submission on that split.
        split: train, validation, test or holdout.
        dry_run: whether the stage is one.
        concluded: when the results of the stage were published; None while they are not.
        feedback: the policy of the track.
        metric: of a score.
        value: of a score; None is missing.
        interval: of that value.
        told: of a score of a sealed split: what was recorded when its evaluation ended; None where nothing was.
        final: the same for the time after the conclusion, where the split has a private part: its value is told then,
            and not ``value``, which is of all data points.
    """

    kind: Kind
    team: str | None
    ending: Ending
    split: str = "test"
    dry_run: bool = False
    concluded: datetime | None = None
    feedback: Feedback = field(default_factory=Feedback)
    metric: Metric | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    told: Told | None = None
    final: Told | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """All of it may be seen; ``value`` and ``interval`` are those of a score."""

    value: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A score of which so much is told."""

    told: Told


@dataclass(frozen=True, slots=True)
class Hidden:
    """Nothing of it may be seen.

    Attributes:
        reason: in words for whoever asked; it tells nothing of what is hidden.
    """

    reason: str


Visibility = Full | Shown | Hidden


def visibility(asked: Asked, viewer: Viewer, now: datetime) -> Visibility:
    """What somebody may see of something, now.

    Args:
        asked: what it is.
        viewer: who asks.
        now: the time; what is published later is not seen before.
    """
    if viewer.role is Role.ORGANISER:
        return Full(asked.value, asked.interval)
    own = viewer.role is Role.PARTICIPANT and viewer.team is not None and viewer.team == asked.team
    if not own and asked.kind in (Kind.OUTCOME, Kind.LOG, Kind.ARTIFACT):
        return Hidden("this belongs to another team")
    if not own and asked.ending is not Ending.SCORED:
        return Hidden("only submissions that were scored are shown to others")
    # That there was a run on the holdout is not told either, before all of it is.
    published = asked.concluded is not None and asked.concluded <= now
    if asked.split not in _OPEN_SPLITS | {"test"} and asked.kind is not Kind.ARTIFACT and not published:
        return Hidden("the holdout split is used, and its results are published, when the stage is concluded")
    if asked.kind in (Kind.STATUS, Kind.ARTIFACT):
        return Full()
    # What is no known split is sealed: a new one is not open because nobody thought of it here.
    is_open = asked.split in _OPEN_SPLITS or (asked.dry_run and asked.split == "test")
    if asked.kind in (Kind.OUTCOME, Kind.LOG):
        if is_open:
            return Full()
        return Hidden(f"the {asked.split} split is sealed: single data points and logs of it are never shown")
    return Full(asked.value, asked.interval) if is_open else _sealed_score(asked, published)


def _sealed_score(asked: Asked, published: bool) -> Visibility:
    if asked.ending is not Ending.SCORED:
        return Hidden("there is no score: the submission failed or has not ended")
    if asked.metric is None:
        # Without the metric nothing is known of what may be told.
        return Hidden("scores of the test split are told by metric")
    if published:
        final = asked.final
        return Shown(
            tell_concluded(asked.feedback, asked.metric, asked.value, asked.interval) if final is None else final
        )
    if asked.feedback.policy == "none":
        return Hidden("scores of the test split are told when the stage is concluded")
    if asked.told is None:
        return Hidden("nothing has been told of this score")
    return Shown(asked.told)
