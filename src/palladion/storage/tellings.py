"""What was told of scores: written once, in the transaction that writes the scores, and read by everything that shows
them.

What is told may depend on what was told before, and on a policy that may change; so it is never decided again.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.storage.database import insert
from palladion.storage.tables import MOMENTS, Evaluation, Submission, Telling
from palladion.storage.texts import check_word, plain

__all__ = ["FINAL", "OPEN", "NewTelling", "Told", "add", "of", "of_stage", "of_team", "untold"]

OPEN, FINAL = MOMENTS

_CHUNK = 5000
_TEXT, _NOTE = 100, 500


@dataclass(frozen=True, slots=True)
class NewTelling:
    """What is told of one metric of an evaluation; the attributes are those of the table."""

    metric: str
    value: float | None
    text: str
    source: str
    task: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    moment: str = OPEN


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of one metric of one submission.

    Attributes:
        team_id, evaluation_id, scorer: of what, by which version of the scorer.
        task: empty where it is of the whole.
        metric: its name.
        value: None: nothing was told.
        low, high: the interval that was told.
        source: the evaluation whose value it is.
    """

    team_id: str
    evaluation_id: str
    scorer: str
    task: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    source: str


def add(tx: Session, evaluation_id: str, found: Iterable[NewTelling]) -> None:
    """Write down what is told of an evaluation.

    Raises:
        InputError: a value is not finite, or there twice.
        Conflict: something was told of it before (when the transaction ends).
    """
    found = list(found)
    for telling in found:
        check_word(telling.metric, "the name of a metric")
    rows = [
        {
            "evaluation_id": evaluation_id,
            "moment": telling.moment,
            "task": telling.task,
            "metric": telling.metric,
            "value": _finite(telling.value),
            "low": _finite(telling.low),
            "high": _finite(telling.high),
            "text": plain(telling.text, _TEXT),
            "note": plain(telling.note, _NOTE),
            "source": telling.source,
        }
        for telling in found
    ]
    if len({(row["moment"], row["task"], row["metric"]) for row in rows}) != len(rows):
        raise InputError("the same is told twice")
    if rows:
        tx.execute(insert(tx, Telling), rows)


def of(tx: Session, evaluation_ids: Collection[str]) -> dict[str, list[Telling]]:
    """What was told of these evaluations, by evaluation."""
    wanted = sorted(set(evaluation_ids))
    found: dict[str, list[Telling]] = {}
    for start in range(0, len(wanted), _CHUNK):
        statement = select(Telling).where(Telling.evaluation_id.in_(wanted[start : start + _CHUNK]))
        for row in tx.execute(statement.order_by(Telling.moment, Telling.task, Telling.metric)).scalars():
            found.setdefault(row.evaluation_id, []).append(row)
    return found


def of_team(tx: Session, stage_id: str, team_id: str, scorer: str, split: str, metric: str) -> list[Told]:
    """What a team was told of one metric of the whole while a stage is open, the first first.

    Of submissions that were cancelled as well: what somebody was told, they know.
    """
    statement = _told(stage_id, split).where(
        Submission.team_id == team_id, Evaluation.scorer == scorer, Telling.task == "", Telling.metric == metric
    )
    return [Told(*row) for row in tx.execute(statement)]


def of_stage(tx: Session, stage_id: str, split: str) -> list[Told]:
    """All that all teams were told while a stage is open, by each version of the scorer, in the order of the
    submissions; what belongs to one evaluation stands together.
    """
    return [Told(*row) for row in tx.execute(_told(stage_id, split))]


def _told(stage_id: str, split: str) -> Any:
    return (
        select(
            Submission.team_id,
            Telling.evaluation_id,
            Evaluation.scorer,
            Telling.task,
            Telling.metric,
            Telling.value,
            Telling.low,
            Telling.high,
            Telling.source,
        )
        .join(Evaluation, Evaluation.submission_id == Submission.id)
        .join(Telling, Telling.evaluation_id == Evaluation.id)
        .where(Submission.stage_id == stage_id, Evaluation.split == split, Telling.moment == OPEN)
        .order_by(
            Evaluation.scorer, Submission.created, Submission.ordinal, Submission.id, Telling.task, Telling.metric
        )
    )


def untold(tx: Session, stage_id: str, scorer: str, split: str) -> list[tuple[str, str, str]]:
    """(team, submission, evaluation) of what was scored by a version of the scorer and of which nothing was told, in
    the order of the submissions of each team; what is to be told before it must have ended.
    """
    known = select(Telling.evaluation_id).where(Telling.evaluation_id == Evaluation.id).exists()
    rows = tx.execute(
        select(Submission.team_id, Submission.id, Evaluation.id, Evaluation.state)
        .join(Evaluation, Evaluation.submission_id == Submission.id)
        .where(Submission.stage_id == stage_id, Evaluation.scorer == scorer, Evaluation.split == split, ~known)
        .order_by(Submission.team_id, Submission.created, Submission.ordinal, Submission.id)
    )
    found = []
    held = None
    for team_id, submission_id, evaluation_id, state in rows:
        if team_id == held:
            continue
        if state == "pending":
            # What comes after it waits for it.
            held = team_id
        elif state == "done":
            found.append((team_id, submission_id, evaluation_id))
    return found


def _finite(value: float | None) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value) or abs(value) > 1.7e308:
        raise InputError(f"{value} is not a finite number")
    return float(value) + 0.0
