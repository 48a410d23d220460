"""Stages: what state each is in, and how far the operations on it have come."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from palladion.challenge.lifecycle import (
    STEPS,
    StageState,
    StageStatus,
    closing_refusal,
    conclusion_refusal,
    opening_refusal,
    transition_refusal,
)
from palladion.errors import InputError
from palladion.storage import audit
from palladion.storage.database import insert
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.tables import Stage, StageStep, Submission

__all__ = [
    "begin_step",
    "by_id",
    "by_name",
    "change",
    "finish_step",
    "goal_reached",
    "goals_of",
    "of_challenge",
    "statuses",
    "steps",
    "touch",
    "touch_all",
]

_RULES: dict[str, Callable[[Sequence[StageStatus], str], str | None]] = {
    "open": opening_refusal,
    "closed": closing_refusal,
    "concluded": conclusion_refusal,
}
_WHEN = {"open": "opened", "closed": "closed", "concluded": "concluded"}


def by_id(tx: Session, stage_id: str) -> Stage:
    """The stage.

    Raises:
        NotFound: there is none.
    """
    stage = tx.get(Stage, stage_id)
    if stage is None:
        raise NotFound(f"there is no stage {stage_id[:40]!a}")
    return stage


def by_name(tx: Session, challenge_id: str, track: str, name: str) -> Stage:
    """The stage of this name in a track.

    Raises:
        NotFound: there is none.
    """
    stage = tx.execute(
        select(Stage).where(Stage.challenge_id == challenge_id, Stage.track == track, Stage.name == name)
    ).scalar_one_or_none()
    if stage is None:
        raise NotFound(f"there is no stage {name[:80]!a} in the track {track[:80]!a}")
    return stage


def of_challenge(tx: Session, challenge_id: str, *, track: str | None = None) -> list[Stage]:
    """The stages of a challenge, track by track, in their order."""
    statement = select(Stage).where(Stage.challenge_id == challenge_id).order_by(Stage.track, Stage.ordinal)
    if track is not None:
        statement = statement.where(Stage.track == track)
    return list(tx.execute(statement).scalars())


def change(
    tx: Session, stage_id: str, to: str, *, now: datetime, actor: str, detail: Mapping[str, Any] | None = None
) -> bool:
    """Open, close or conclude the stage, if :mod:`palladion.challenge.lifecycle` allows it beside the others.

    Submissions that are being accepted at this moment are waited for: once a stage is closed, there are no new ones.

    Args:
        tx: a write transaction.
        stage_id: the stage.
        to: the new state.
        now: the time.
        actor: who does it.
        detail: for the audit log: why, for example.

    Returns:
        Whether it has changed; False: it was in this state already.

    Raises:
        NotFound: there is no such stage.
        Conflict: it does not allow it; in words.
        InputError: there is no such state, or it is planned, which none becomes.
    """
    if to not in _WHEN:
        raise InputError(f"a stage cannot become {to[:40]!a}; it becomes {', '.join(_WHEN)}")
    asked = by_id(tx, stage_id)
    # The whole track is locked: whether a stage may open depends on the others.
    track = list(
        tx.execute(
            select(Stage)
            .where(Stage.challenge_id == asked.challenge_id, Stage.track == asked.track)
            .order_by(Stage.ordinal)
            .with_for_update(),
            execution_options={"populate_existing": True},
        ).scalars()
    )
    stage = next(row for row in track if row.id == stage_id)
    if stage.state == to:
        return False
    refusal = _RULES[to](_statuses(tx, track), stage.name)
    if refusal is None and to == "concluded":
        refusal = transition_refusal(StageState(stage.state), StageState.CONCLUDED)
        refusal = refusal and f"{stage.name} {refusal}"
    if refusal is not None:
        raise Conflict(refusal)
    was = stage.state
    stage.state, stage.revision = to, stage.revision + 1
    setattr(stage, _WHEN[to], now)
    tx.flush()
    _log(tx, stage, f"stage.{to}", actor, now, {**(detail or {}), "from": was})
    return True


def statuses(tx: Session, challenge_id: str, track: str) -> list[StageStatus]:
    """The stages of a track, in their order, as :mod:`palladion.challenge.lifecycle` asks for them."""
    return _statuses(tx, of_challenge(tx, challenge_id, track=track))


def begin_step(tx: Session, stage_id: str, name: str, *, now: datetime) -> StageStep:
    """The step of this name, begun now or at some time before; one whose ``finished`` is set has nothing left to do."""
    values = {"stage_id": stage_id, "name": name, "detail": {}, "started": now}
    tx.execute(insert(tx, StageStep).values(values).on_conflict_do_nothing(index_elements=["stage_id", "name"]))
    return _step(tx, stage_id, name)


def finish_step(
    tx: Session, stage_id: str, name: str, *, now: datetime, detail: Mapping[str, Any] | None = None
) -> StageStep:
    """Record that a step is finished, and with what result; one that was finished before stays as it was.

    Raises:
        NotFound: it was never begun.
    """
    tx.execute(
        update(StageStep)
        .where(StageStep.stage_id == stage_id, StageStep.name == name, StageStep.finished.is_(None))
        .values(finished=now, detail=dict(detail or {})),
        execution_options={"synchronize_session": False},
    )
    return _step(tx, stage_id, name)


def steps(tx: Session, stage_id: str) -> list[StageStep]:
    """The steps that were begun, in that order."""
    statement = select(StageStep).where(StageStep.stage_id == stage_id).order_by(StageStep.started, StageStep.name)
    return list(tx.execute(statement, execution_options={"populate_existing": True}).scalars())


def goal_reached(tx: Session, submission_id: str, *, now: datetime, actor: str) -> int:
    """Mark the submission as the one with which its team reached the goal of the stage.

    Returns:
        The how-manieth team of the stage this is, from 1; 0: the team had reached the goal before, and nothing has
        changed.

    Raises:
        NotFound: there is no such submission.
    """
    submission = tx.get(Submission, submission_id)
    if submission is None:
        raise NotFound(f"there is no submission {submission_id[:40]!a}")
    stage = tx.execute(
        select(Stage).where(Stage.id == submission.stage_id).with_for_update(),
        execution_options={"populate_existing": True},
    ).scalar_one()
    before = goals_of(tx, stage.id)
    if any(other.team_id == submission.team_id for other in before):
        return 0
    tx.execute(
        update(Submission).where(Submission.id == submission_id).values(goal=now),
        execution_options={"synchronize_session": "fetch"},
    )
    touch(tx, stage.id)
    place = len(before) + 1
    detail = {"submission": submission_id, "team": submission.team_id, "place": place}
    _log(tx, stage, "stage.goal", actor, now, detail)
    return place


def goals_of(tx: Session, stage_id: str) -> list[Submission]:
    """The submissions with which teams reached the goal of the stage, one a team, the first first."""
    return list(
        tx.execute(
            select(Submission)
            .where(Submission.stage_id == stage_id, Submission.goal.is_not(None))
            .order_by(Submission.goal, Submission.created, Submission.id)
        ).scalars()
    )


def touch(tx: Session, stage_id: str) -> None:
    """Count a change that leaderboards of the stage show, in the transaction that makes it.

    The row of the stage stays locked to the end of the transaction. It is the last row of a submission's that is
    locked: after its job, its evaluation and the submission.
    """
    tx.execute(
        update(Stage).where(Stage.id == stage_id).values(revision=Stage.revision + 1),
        execution_options={"synchronize_session": "fetch"},
    )


def touch_all(tx: Session, challenge_id: str) -> None:
    """The same of every stage of a challenge: its definition, or a team, is another than before."""
    tx.execute(
        update(Stage).where(Stage.challenge_id == challenge_id).values(revision=Stage.revision + 1),
        execution_options={"synchronize_session": "fetch"},
    )


def _step(tx: Session, stage_id: str, name: str) -> StageStep:
    step = tx.get(StageStep, (stage_id, name), populate_existing=True)
    if step is None:
        raise NotFound(f"the step {name[:80]!a} was never begun")
    return step


def _log(tx: Session, stage: Stage, action: str, actor: str, now: datetime, detail: Mapping[str, Any]) -> None:
    subject = f"stage:{stage.id}"
    named = {**detail, "track": stage.track, "stage": stage.name}
    audit.add(tx, actor=actor, action=action, subject=subject, detail=named, challenge_id=stage.challenge_id, now=now)


def _statuses(tx: Session, rows: Sequence[Stage]) -> list[StageStatus]:
    ids = [row.id for row in rows]
    counted = tx.execute(
        select(Submission.stage_id, func.count())
        .where(Submission.stage_id.in_(ids), Submission.goal.is_not(None))
        .group_by(Submission.stage_id)
    )
    goals = {stage_id: number for stage_id, number in counted}  # noqa: C416 - rows are no tuples to every type checker
    concluding = set(
        tx.execute(select(StageStep.stage_id).where(StageStep.stage_id.in_(ids), StageStep.name.in_(STEPS))).scalars()
    )
    return [
        StageStatus(
            name=row.name,
            state=StageState(row.state),
            opens=row.opens,
            closes=row.closes,
            goal_teams=goals.get(row.id, 0),
            concluding=row.id in concluding,
        )
        for row in rows
    ]
