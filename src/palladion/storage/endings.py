"""How evaluations end, and submissions with them: in one place, for the queue ends them as well as the scorer.

Rows are locked in one order everywhere (job, evaluation, submission, stage), so that no two transactions wait for each
other.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from palladion.storage.errors import NotFound
from palladion.storage.tables import Evaluation, Stage, Submission

__all__ = ["EVALUATE", "end_evaluation", "end_subject", "settle"]

EVALUATE = "evaluate"
"""The kind of the jobs whose subject is an evaluation."""


def end_subject(tx: Session, kind: str, subject: str, state: str, reason: str, *, now: datetime) -> None:
    """What a job was about ends with it, where the job is given up: ``state`` is failed or cancelled."""
    if kind == EVALUATE:
        end_evaluation(tx, subject, state, reason, now=now)


def end_evaluation(
    tx: Session,
    evaluation_id: str,
    state: str,
    reason: str | None,
    *,
    now: datetime,
    report: Mapping[str, Any] | None = None,
) -> bool:
    """End a pending evaluation, and its submission if that waited for nothing else.

    Returns:
        Whether it was pending; if not, nothing has changed.
    """
    values: dict[str, Any] = {"state": state, "reason": reason, "finished": now}
    if report is not None:
        values["report"] = dict(report)
    ended = tx.execute(
        update(Evaluation)
        .where(Evaluation.id == evaluation_id, Evaluation.state == "pending")
        .values(values)
        .returning(Evaluation.submission_id),
        execution_options={"synchronize_session": False},
    ).scalar_one_or_none()
    if ended is None:
        return False
    settle(tx, ended, now=now)
    # What leaderboards show may have changed. As palladion.storage.stages.touch, which needs this module.
    of = select(Submission.stage_id).where(Submission.id == ended).scalar_subquery()
    tx.execute(
        update(Stage).where(Stage.id == of).values(revision=Stage.revision + 1),
        execution_options={"synchronize_session": "fetch"},
    )
    return True


def settle(tx: Session, submission_id: str, *, now: datetime) -> str:
    """Bring the submission's state up to date with the evaluations that count; one that has ended stays as it is.

    Returns:
        The state.

    Raises:
        NotFound: there is no such submission.
    """
    # The row is locked before the evaluations are looked at: of two that end at once, the second sees both.
    state = tx.execute(
        select(Submission.state).where(Submission.id == submission_id).with_for_update()
    ).scalar_one_or_none()
    if state is None:
        raise NotFound(f"there is no submission {submission_id!a}")
    if state != "pending":
        return state
    found = tx.execute(
        select(Evaluation.state, Evaluation.reason)
        .where(Evaluation.submission_id == submission_id, Evaluation.counts)
        .order_by(Evaluation.split, Evaluation.id)
    ).all()
    states = {row.state for row in found}
    if "pending" in states or not found:
        return state
    ended = "failed" if "failed" in states else "cancelled" if "cancelled" in states else "scored"
    reason = next((row.reason for row in found if row.state == ended), None)
    tx.execute(
        update(Submission).where(Submission.id == submission_id).values(state=ended, reason=reason, finished=now),
        execution_options={"synchronize_session": False},
    )
    return ended
