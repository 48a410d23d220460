"""The submissions of a stage as an audience knows them: by which value each of them ranks.

Boards and the ranges of ranks are made of the same entries, so that neither shows an order that the other does not.
One statement, which touches neither outcomes nor reports, and little work for each row: a stage may have twenty
thousand submissions, and whenever one of them ends its board is another.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, null, select
from sqlalchemy.orm import Session, aliased

from palladion.challenge import Asked, Ending, Entry, Full, Kind, Role, Shown, Told, Viewer, visibility
from palladion.challenge.lifecycle import Step
from palladion.challenge.ranking import best_of_each_team, is_scored
from palladion.jobs.context import TEST, StageInfo
from palladion.storage.tables import Evaluation, Score, StageStep, Submission, Team, Telling
from palladion.storage.tellings import FINAL, OPEN

__all__ = ["ANYBODY", "ORGANISERS", "Placed", "best_of_teams", "chosen", "entries"]

ANYBODY = Viewer(Role.ANONYMOUS)
"""Whoever is not an organiser: all of them are told the same of scores."""
ORGANISERS = Viewer(Role.ORGANISER)


class Placed(NamedTuple):
    """One submission, with what an audience knows of the metric that ranks.

    Attributes:
        team_id, team: whose.
        baseline: whether it is the organisers' own, and competes with nobody.
        submission_id, ordinal, created: which.
        finished: when it was scored first.
        goal: whether it was the first of its team to reach the goal.
        evaluation_id: by which evaluation.
        value: None: none is told.
        source: the evaluation whose data points made the value; another one where the team's best is told again.
    """

    team_id: str
    team: str
    baseline: bool
    submission_id: str
    ordinal: int
    created: datetime
    finished: datetime
    goal: bool
    evaluation_id: str
    value: float | None
    source: str


def entries(tx: Session, info: StageInfo, split: str, viewer: Viewer, now: datetime) -> list[Placed]:
    """Every scored submission of a stage on a split, in no order.

    Args:
        tx: a transaction.
        info: the stage.
        split: the split.
        viewer: the audience: :data:`ANYBODY` or :data:`ORGANISERS`.
        now: the time.
    """
    # What rules one submission of a stage rules all of them: it is asked once, of a score that has everything.
    told, final = Told(2.0, ""), Told(3.0, "")
    seen = visibility(_asked(info, split, 1.0, told, final), viewer, now)
    if isinstance(seen, Full):
        rows = _rows(tx, info, split, Score.value, Evaluation.id, Score)
    elif isinstance(seen, Shown) and seen.told is told:
        rows = _rows(tx, info, split, Telling.value, Telling.source, Telling)
    elif isinstance(seen, Shown):
        rows = _concluded(tx, info, split, viewer, now)
    else:
        rows = _rows(tx, info, split, null(), Evaluation.id, None)
    return _placed(tx, info, rows)


def _placed(tx: Session, info: StageInfo, rows: Iterable[Any]) -> list[Placed]:
    """With what there is to say of the teams."""
    names = select(Team.id, Team.name, Team.baseline).where(Team.challenge_id == info.challenge.id)
    known = {team_id: (name, baseline) for team_id, name, baseline in tx.execute(names)}
    return [
        Placed(
            team, *known[team], submission, ordinal, created, finished, goal, evaluation, value, source or evaluation
        )
        for team, submission, ordinal, created, finished, goal, evaluation, value, source in rows
    ]


def _rows(tx: Session, info: StageInfo, split: str, value: Any, source: Any, of: Any) -> Iterable[Any]:
    """The columns of :class:`Placed` without those of the team; the value is that of a table of values by metric."""
    statement = _statement(info, split, value, source)
    if of is not None:
        statement = statement.outerjoin(of, _of(of, info))
    return tx.execute(statement)


def _statement(info: StageInfo, split: str, *more: Any) -> Any:
    return (
        select(
            Submission.team_id,
            Submission.id,
            Submission.ordinal,
            Submission.created,
            Submission.finished,
            Submission.goal.is_not(None),
            Evaluation.id,
            *more,
        )
        .join(Evaluation, Evaluation.submission_id == Submission.id)
        .where(
            Submission.stage_id == info.row.id,
            Submission.state == "scored",
            Evaluation.scorer == info.row.scorer,
            Evaluation.split == split,
            Evaluation.state == "done",
        )
    )


def _of(table: Any, info: StageInfo, moment: str = OPEN) -> Any:
    found = and_(table.evaluation_id == Evaluation.id, table.task == "", table.metric == info.track.metric.name)
    return found if table is Score else and_(found, table.moment == moment)


def _concluded(tx: Session, info: StageInfo, split: str, viewer: Viewer, now: datetime) -> list[tuple[Any, ...]]:
    """What is told when a stage is concluded depends on each value, and is asked for each; it changes no more."""
    final = aliased(Telling)
    statement = _statement(info, split, Score.value, final.value, final.source).outerjoin(Score, _of(Score, info))
    found = []
    for *what, value, final_value, known in tx.execute(statement.outerjoin(final, _of(final, info, FINAL))):
        said = None if known is None else Told(final_value, "")
        seen = visibility(_asked(info, split, value, None, said), viewer, now)
        found.append((*what, seen.told.value if isinstance(seen, Shown) else None, None))
    return found


def _asked(info: StageInfo, split: str, value: float | None, told: Told | None, final: Told | None) -> Asked:
    return Asked(
        Kind.SCORE,
        None,
        Ending.SCORED,
        split,
        dry_run=info.stage.dry_run,
        concluded=info.row.concluded,
        feedback=info.track.feedback,
        metric=info.track.metric,
        value=value,
        told=told,
        final=final,
    )


def best_of_teams(
    tx: Session, info: StageInfo, split: str, found: Iterable[Placed], now: datetime
) -> list[Entry[Placed]]:
    """The submission of each team that stands for it, in their order.

    While a stage is open it is the team's best, as the audience knows it; of equals the earliest. When it is concluded
    it is the one that was chosen before: values that are told only then had no say in it.

    Args:
        tx: a transaction.
        info: the stage.
        split: the split.
        found: of :func:`entries`.
        now: the time.
    """
    found = list(found)
    if split != TEST or info.row.concluded is None or info.row.concluded > now:
        return _best(found, info)
    wanted = {one.team_id: one.submission_id for one in chosen(tx, info, now)}
    there = {one.submission_id for one in found}
    return best_of_each_team(
        (
            _entry(one)
            for one in found
            if one.submission_id == wanted.get(one.team_id) or wanted.get(one.team_id) not in there
        ),
        info.track.metric,
    )


def chosen(tx: Session, info: StageInfo, now: datetime) -> list[Placed]:
    """The submission of each team that stands for it at the conclusion: what its conclusion has recorded, and before
    that its best on test.

    It is the best by the score; where the split has a public part by what was told of that, so that the other part
    chooses nobody.
    """
    scored = entries(tx, info, TEST, ORGANISERS, now)
    step = tx.get(StageStep, (info.row.id, Step.CHOOSE))
    recorded = set() if step is None or step.finished is None else set(step.detail.get("best", []))
    if recorded:
        found = [one for one in scored if one.submission_id in recorded]
        known = {one.team_id for one in found}
        scored = [*found, *(one for one in scored if one.team_id not in known)]
    elif info.track.feedback.public is not None:
        told = _placed(tx, info, _rows(tx, info, TEST, Telling.value, Telling.source, Telling))
        known = {one.team_id for one in told if one.value is not None}
        # Of whom nothing was told, the score decides.
        scored = [
            *(one for one in told if one.team_id in known),
            *(one for one in scored if one.team_id not in known),
        ]
    return [entry.item for entry in _best(scored, info)]


def _best(found: Iterable[Placed], info: StageInfo) -> list[Entry[Placed]]:
    """The best of each team; of equals the earliest."""
    metric = info.track.metric
    found = list(found)
    best: dict[str, float] = {}
    for one in found:
        if one.value is not None and is_scored(one.value):
            merit = metric.merit(one.value)
            if merit > best.get(one.team_id, -float("inf")):
                best[one.team_id] = merit
    # Only those that may be it are put in order: most of twenty thousand are not.
    may_be = (
        one
        for one in found
        if one.team_id not in best or (one.value is not None and metric.merit(one.value) == best[one.team_id])
    )
    return best_of_each_team((_entry(one) for one in may_be), metric)


def _entry(one: Placed) -> Entry[Placed]:
    return Entry(one.team_id, one.submission_id, one.value, one.created, one)
