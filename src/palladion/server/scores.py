"""The scores of one evaluation as one audience may see them: every score goes through visibility here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.challenge import Asked, Ending, Hidden, Kind, Metric, Role, Shown, Track, Viewer, visibility
from palladion.challenge import Told as ToldValue
from palladion.jobs.context import StageInfo
from palladion.server import models
from palladion.storage.tables import Score, Telling
from palladion.storage.tellings import FINAL, OPEN

__all__ = ["Key", "Known", "Told", "digits_of", "known_scores", "published", "told"]

_DIGITS = 4
_CHUNK = 5000

Key = tuple[str, str]
"""(task, metric); the task is empty of the whole."""
Interval = tuple[float, float] | None


@dataclass(slots=True)
class Known:
    """What is known of the scores of an evaluation, before it is decided who may see it.

    Attributes:
        scores: value and interval, by key.
        told: what was told while the stage is open, by key.
        final: what is told when it is concluded, where that is not the score.
    """

    scores: dict[Key, tuple[float, Interval]]
    told: dict[Key, ToldValue]
    final: dict[Key, ToldValue]


@dataclass(frozen=True, slots=True)
class Told:
    """The scores of an evaluation as one audience may see them.

    Attributes:
        values: by (task, metric).
        hidden: why none of them is shown; None where one is.
    """

    values: dict[Key, models.Value | None]
    hidden: str | None

    def of(self, track: Track, task: str = "") -> dict[str, models.Value | None]:
        """The values of one task, or of the whole, by metric; of a task those alone that it has."""
        if task:
            return {metric: value for (part, metric), value in sorted(self.values.items()) if part == task}
        return {metric: self.values.get(("", metric)) for metric in track.metrics}

    def by_task(self, track: Track) -> dict[str, dict[str, models.Value | None]]:
        """The values of each task."""
        return {task: self.of(track, task) for task in sorted({task for task, _ in self.values if task})}


def known_scores(tx: Session, evaluation_ids: Collection[str]) -> dict[str, Known]:
    """What is known of the scores of these evaluations, in two statements."""
    wanted = sorted(set(evaluation_ids))
    found = {one: Known({}, {}, {}) for one in wanted}
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        scored = select(Score.evaluation_id, Score.task, Score.metric, Score.value, Score.low, Score.high)
        for evaluation_id, task, metric, value, low, high in tx.execute(scored.where(Score.evaluation_id.in_(some))):
            found[evaluation_id].scores[task, metric] = (value, None if low is None or high is None else (low, high))
        telling = select(
            Telling.evaluation_id,
            Telling.moment,
            Telling.task,
            Telling.metric,
            Telling.value,
            Telling.text,
            Telling.note,
            Telling.low,
            Telling.high,
        )
        for row in tx.execute(telling.where(Telling.evaluation_id.in_(some))):
            known = found[row.evaluation_id]
            assert row.moment in (OPEN, FINAL)
            kept = known.told if row.moment == OPEN else known.final
            kept[row.task, row.metric] = ToldValue(row.value, row.text, row.note, row.low, row.high)
    return found


def told(
    info: StageInfo,
    split: str,
    team_id: str,
    known: Known,
    viewer: Viewer,
    now: datetime,
    metrics: Mapping[str, Metric] | None = None,
) -> Told:
    """The scores of an evaluation that is done, as an audience may see them.

    Args:
        info: its stage.
        split: its split.
        team_id: whose submission it is of.
        known: what is known of it.
        viewer: the audience.
        now: the time.
        metrics: those of the track by name, where the caller has looked them up for many evaluations.
    """
    if metrics is None:
        metrics = {metric.name: metric for metric in info.track.all_metrics}
    values: dict[Key, models.Value | None] = {}
    reasons: list[str] = []
    # What was told of a task may be the best again, of which this submission has nothing; and nothing may be told.
    for key in [*known.scores, *(key for key in known.told if key not in known.scores)]:
        metric = metrics.get(key[1])
        if metric is not None:
            values[key], reason = _value(info, split, team_id, known, key, metric, viewer, now)
            reasons += [reason] if reason else []
    hidden = next(iter(reasons), None) if not any(values.values()) else None
    return Told(values, hidden)


def _value(
    info: StageInfo,
    split: str,
    team_id: str,
    known: Known,
    key: Key,
    metric: Metric,
    viewer: Viewer,
    now: datetime,
) -> tuple[models.Value | None, str | None]:
    value, interval = known.scores.get(key, (None, None))
    asked = Asked(
        Kind.SCORE,
        team_id,
        Ending.SCORED,
        split,
        dry_run=info.stage.dry_run,
        concluded=info.row.concluded,
        feedback=info.track.feedback,
        metric=metric,
        value=value,
        interval=interval,
        told=known.told.get(key),
        final=known.final.get(key),
    )
    seen = visibility(asked, viewer, now)
    if isinstance(seen, Hidden):
        return None, seen.reason
    if not isinstance(seen, Shown):
        if seen.value is None:
            return None, None
        low, high = seen.interval or (None, None)
        return models.Value(value=seen.value, text=f"{seen.value:.{_DIGITS}f}", low=low, high=high), None
    shown = seen.told
    if shown.value is None:
        return None, shown.note or None
    return models.Value(value=shown.value, text=shown.text, low=shown.low, high=shown.high, note=shown.note), None


def published(info: StageInfo, now: datetime) -> bool:
    """Whether the results of a stage are published."""
    return info.row.concluded is not None and info.row.concluded <= now


def goals_shown(info: StageInfo, viewer: Viewer, now: datetime) -> bool:
    """Whether it is told who has reached the goal: it says as much as a score."""
    if viewer.role is Role.ORGANISER or published(info, now):
        return True
    return info.track.feedback.policy != "none"


def seen(info: StageInfo, kind: Kind, team_id: str | None, split: str, viewer: Viewer, now: datetime) -> bool:
    """Whether an audience may see something of a submission that was scored on a split."""
    asked = Asked(kind, team_id, Ending.SCORED, split, dry_run=info.stage.dry_run, concluded=info.row.concluded)
    return not isinstance(visibility(asked, viewer, now), Hidden)


def digits_of(track: Track, metric: Metric) -> int:
    """Digits after the point that a table shows of a metric."""
    from palladion.challenge.feedback import step_of

    if track.feedback.digits is not None:
        return track.feedback.digits
    step = step_of(track.feedback, metric)
    if step is None:
        return _DIGITS
    return next((n for n in range(12) if abs(round(step, n) - step) < 1e-12), 12)


def failures(report: Mapping[str, object]) -> tuple[int, int] | None:
    """(data points, those without an answer), as the report of an evaluation of code has them."""
    points, failed = report.get("points"), report.get("failed")
    if isinstance(points, int) and isinstance(failed, int):
        return points, failed
    return None


def seconds(report: Mapping[str, object]) -> float | None:
    """Of all data points together, as the report of an evaluation of code has it."""
    value = report.get("seconds")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
