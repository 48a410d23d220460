"""What is told of a score is decided once, when its evaluation ends, and written down with it.

Policies such as a ladder decide by what the team was told before. So of two submissions of a team that end at the same
moment, one is decided on after the other: a decision is prepared outside of any transaction, because comparing takes
time, and written in the one that ends the evaluation, if the team was told nothing else meanwhile; else it is prepared
again.

- By the current version of the scorer, submissions are told in the order in which they end.
- By another one, when a stage is scored again, in the order in which they were submitted: whoever came first then comes
  first now. These are told by the job that makes the ranges of ranks, and at the latest when the version is switched.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from palladion.challenge import (
    Feedback,
    Metric,
    Told,
    decide_telling,
    part_masks,
    private_masks,
    tell,
    tell_again,
    tell_concluded,
    tells_all,
)
from palladion.challenge.feedback import Decision
from palladion.errors import ScoringError
from palladion.jobs.context import TEST, Service, StageInfo
from palladion.jobs.points import points_of
from palladion.models import RoundDirectory
from palladion.scoring import PointScores, improvement_p_value, metric_interval, metric_value
from palladion.scoring.point_scores import RankScore
from palladion.storage import evaluations, stages, tellings
from palladion.storage.evaluations import NewScore
from palladion.storage.tellings import FINAL, OPEN, NewTelling

__all__ = [
    "Moved",
    "Prepared",
    "Subject",
    "catch_up",
    "is_told",
    "point_names",
    "prepare",
    "rank_score",
    "told_part",
    "write",
]

_TRIES: Final = 20
_ALWAYS: Final = ("exact", "rounded")

Key = tuple[str, str]
"""(task, metric); the task is empty of the whole."""


class Moved(Exception):  # noqa: N818 - no fault of anybody
    """The team was told something else meanwhile: prepare it again."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be told of.

    Attributes:
        info: the stage.
        team_id: whose submission it is.
        evaluation_id: of which evaluation.
        scorer: by which version of the scorer.
        scores: all that it has.
        points: what each data point scored; None: nobody knows.
        score: what the overall score of a language track is made of.
    """

    info: StageInfo
    team_id: str
    evaluation_id: str
    scorer: str
    scores: tuple[NewScore, ...]
    points: PointScores | None
    score: RankScore = "geometric"


@dataclass(frozen=True, slots=True)
class _Before:
    """What the team was told before.

    Attributes:
        asked: how many submissions were decided on.
        best: what was told last; None: nothing yet.
        source: the evaluation whose values these are.
    """

    asked: int
    best: float | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be written.

    Attributes:
        subject: of what.
        found: the rows.
        before: what they were decided by.
    """

    subject: Subject
    found: tuple[NewTelling, ...]
    before: _Before | None


def is_told(info: StageInfo, split: str) -> bool:
    """Whether what is known of scores on a split is rationed at all, before the stage is concluded.

    Nothing is told of the holdout before, and everything of a dry run at once.
    """
    return split == TEST and not info.stage.dry_run


def prepare(service: Service, subject: Subject) -> Prepared:
    """Decide what is told of an evaluation. No transaction is open meanwhile.

    Raises:
        PalladionError: the data of the stage cannot be read.
    """
    info = subject.info
    metric, feedback = info.track.metric, info.track.feedback
    with service.database.read() as tx:
        before = _before(tx, subject)
        earlier = {} if before.source is None else _told_of(tx, before.source)
    names = point_names(info)
    values, private = _values(subject, names)
    value = values.get(("", metric.name), (None, None))[0]
    p_value = None
    if feedback.policy == "bootstrap_ladder" and subject.points is not None and value is not None:
        best = None
        if before.source is not None:
            best = points_of(service, info, TEST, [before.source]).get(before.source)
        if before.source is None or best is not None:
            p_value = _p_value(subject, best, names)
    decision = decide_telling(feedback, metric, value, before.best, p_value, before.asked)
    if value is None and feedback.policy in _ALWAYS:
        # Nothing is decided by the value that ranks: the others are told all the same.
        decision = Decision(True)
    found = []
    for key, (number, interval) in values.items():
        ranks = key == ("", metric.name)
        if decision.told or not (ranks or tells_all(feedback)):
            told = tell(feedback, _metric(info, key), number, interval, ranks=ranks)
            source = subject.evaluation_id
        else:
            told = tell_again(earlier.get(key), decision)
            source = subject.evaluation_id if told.value is None or before.source is None else before.source
        found.append(_row(key, told, source, OPEN))
    for key, (number, interval) in private.items():
        told = tell_concluded(feedback, _metric(info, key), number, interval)
        found.append(_row(key, told, subject.evaluation_id, FINAL))
    return Prepared(subject, tuple(found), before)


def write(tx: Session, prepared: Prepared) -> None:
    """Write it down, in the transaction that ends the evaluation, or in one that has locked the stage.

    Raises:
        Moved: the team was told something else meanwhile; the transaction must not go on.
    """
    if _before(tx, prepared.subject) != prepared.before:
        raise Moved
    tellings.add(tx, prepared.subject.evaluation_id, prepared.found)


def catch_up(service: Service, stage_id: str, scorer: str, *, asked: Callable[[], bool] = lambda: False) -> int:
    """Tell of what was scored by a version of the scorer and not told yet, in the order of the submissions.

    Args:
        service: the service.
        stage_id: the stage.
        scorer: the version.
        asked: whether to stop before all of it is done.

    Returns:
        How many evaluations are told of that were not.

    Raises:
        PalladionError: the data of the stage cannot be read.
    """
    count = 0
    with service.database.read() as tx:
        info = service.stage(tx, stage_id)
        waiting = tellings.untold(tx, stage_id, scorer, TEST) if is_told(info, TEST) else []
    for team_id, _, evaluation_id in waiting:
        if asked():
            break
        for _ in range(_TRIES):
            prepared = prepare(service, _subject(service, info, team_id, evaluation_id, scorer))
            try:
                count += service.database.run(_write_alone, prepared)
            except Moved:
                continue
            break
    return count


def _write_alone(tx: Session, prepared: Prepared) -> bool:
    # Locked first: of two that tell of the same, the second sees what the first has written.
    stages.touch(tx, prepared.subject.info.row.id)
    if tellings.of(tx, [prepared.subject.evaluation_id]):
        return False
    write(tx, prepared)
    return True


def _subject(service: Service, info: StageInfo, team_id: str, evaluation_id: str, scorer: str) -> Subject:
    with service.database.read() as tx:
        scores = tuple(
            NewScore(row.metric, row.value, row.task, row.low, row.high)
            for row in evaluations.scores(tx, evaluation_id)
        )
        report = evaluations.by_id(tx, evaluation_id).report
    points = points_of(service, info, TEST, [evaluation_id]).get(evaluation_id)
    return Subject(info, team_id, evaluation_id, scorer, scores, points, rank_score(report))


def rank_score(report: Mapping[str, Any]) -> RankScore:
    """What the overall score of a language track is made of, as the report of an evaluation says."""
    return "difference" if report.get("ranked_by") == "difference_score" else "geometric"


# --- values -----------------------------------------------------------------------------------------------------------

_Found = dict[Key, tuple[float | None, tuple[float, float] | None]]


def _values(subject: Subject, names: list[str] | None) -> tuple[_Found, _Found]:
    """(what may be told while the stage is open, what is told then): by key, value and interval.

    The latter is empty where it is the scores themselves.
    """
    info = subject.info
    known = {metric.name for metric in info.track.all_metrics}
    scored: _Found = {("", metric.name): (None, None) for metric in info.track.all_metrics}
    for score in subject.scores:
        if score.metric in known:
            interval = None if score.low is None or score.high is None else (score.low, score.high)
            scored[score.task, score.metric] = (score.value, interval)
    share = info.track.feedback.public
    if share is None:
        return scored, {}
    if subject.points is None:
        return dict.fromkeys(scored, (None, None)), {}
    masks = part_masks(subject.points, share=share, salt=info.row.salt.encode(), names=names)
    if masks is None:
        return scored, {}
    clipped = subject.points.clipped(info.track.feedback.clip)
    public, private = clipped.part(masks), clipped.part(private_masks(masks))
    return (
        {key: _part_value(public, key, subject.score) for key in scored},
        {key: _part_value(private, key, subject.score) for key in scored},
    )


def _part_value(points: PointScores, key: Key, score: RankScore) -> tuple[float | None, tuple[float, float] | None]:
    task, metric = key
    if task:
        found = {name: array for name, array in points.arrays.items() if name.rpartition("/")[0] == task}
        if not found:
            return None, None
        points = PointScores(points.task, found)
    value = metric_value(points, metric, score=score)
    interval = None if value is None else metric_interval(points, metric, score=score)
    return value, None if interval is None else (interval.low, interval.high)


def _p_value(subject: Subject, best: PointScores | None, names: list[str] | None) -> float | None:
    info = subject.info
    metric = info.track.metric
    assert subject.points is not None
    try:
        return improvement_p_value(
            told_part(subject.points, info, names),
            None if best is None else told_part(best, info, names),
            metric.name,
            higher_is_better=metric.higher_is_better,
            score=subject.score,
        )
    except ScoringError:
        # They are not of the same data points: the data of the stage is another than it was.
        return None


def told_part(points: PointScores, info: StageInfo, names: list[str] | None, *, final: bool = False) -> PointScores:
    """The data points that told values are computed on, as they are scored.

    Args:
        points: all of them, as they were answered.
        info: the stage.
        names: of the data points of a detection split; see :func:`point_names`.
        final: those that final values are computed on.
    """
    feedback: Feedback = info.track.feedback
    clipped = points.clipped(feedback.clip)
    masks = part_masks(points, share=feedback.public, salt=info.row.salt.encode(), names=names)
    if masks is None:
        return clipped
    return clipped.part(private_masks(masks) if final else masks)


def point_names(info: StageInfo, split: str = TEST) -> list[str] | None:
    """The names of the data points of a detection split, where its parts are made by them."""
    if info.track.feedback.public is None or not info.detection:
        return None
    return [entry.name for entry in RoundDirectory.open(info.data).split(split).models()]


# --- rows -------------------------------------------------------------------------------------------------------------


def _before(tx: Session, subject: Subject) -> _Before:
    info = subject.info
    metric = info.track.metric
    told = tellings.of_team(tx, info.row.id, subject.team_id, subject.scorer, TEST, metric.name)
    told = [one for one in told if one.evaluation_id != subject.evaluation_id]
    best: tuple[float, str] | None = None
    for one in told:
        if one.value is not None and (best is None or metric.is_better(one.value, best[0])):
            best = (one.value, one.source)
    return _Before(len(told), None if best is None else best[0], None if best is None else best[1])


def _told_of(tx: Session, evaluation_id: str) -> dict[Key, Told]:
    return {
        (row.task, row.metric): Told(row.value, row.text, row.note, row.low, row.high)
        for row in tellings.of(tx, [evaluation_id]).get(evaluation_id, [])
        if row.moment == OPEN
    }


def _metric(info: StageInfo, key: Key) -> Metric:
    return next(metric for metric in info.track.all_metrics if metric.name == key[1])


def _row(key: Key, told: Told, source: str, moment: str) -> NewTelling:
    return NewTelling(
        metric=key[1],
        task=key[0],
        value=told.value,
        low=told.low,
        high=told.high,
        text=told.text,
        note=told.note,
        source=source,
        moment=moment,
    )
