"""Submissions: accepted by one decision in one transaction, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, update
from sqlalchemy.orm import Session

from palladion.challenge import quotas as quota_rules
from palladion.challenge.lifecycle import STEPS, StageState, StageStatus, submission_refusal
from palladion.challenge.settings import Quotas
from palladion.errors import InputError
from palladion.storage import audit, evaluations, queue, stages
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.ids import new_id
from palladion.storage.tables import (
    Account,
    Artifact,
    Evaluation,
    Instant,
    Job,
    Membership,
    Stage,
    StageStep,
    Submission,
    Team,
    Upload,
)
from palladion.storage.texts import one_line, plain

__all__ = [
    "Accepted",
    "accept",
    "by_id",
    "cancel",
    "earlier",
    "of_artifact",
    "of_stage",
    "of_team",
    "reject",
]

_ENDINGS = {
    "pending": quota_rules.Ending.RUNNING,
    "scored": quota_rules.Ending.SCORED,
    "failed": quota_rules.Ending.FAILED,
    # It was accepted and may have been run: an attempt, but no score.
    "cancelled": quota_rules.Ending.FAILED,
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What has become of what was handed in.

    Attributes:
        submission: the new one, or the one that holds the same bytes.
        created: whether it is new.
    """

    submission: Submission
    created: bool


def accept(
    tx: Session,
    *,
    stage_id: str,
    team_id: str,
    account_id: str,
    artifact: str,
    kind: str,
    name: str,
    splits: Sequence[str],
    quotas: Quotas,
    now: datetime,
    again: bool = False,
    priority: int = 0,
) -> Accepted:
    """Accept a submission: the decision, the submission, its evaluations and their jobs, all or nothing.

    Submissions of one team are accepted one after the other, so that each is counted before the next is decided on.
    The same bytes from the same team in the same stage are the submission that is there, at any time and at no cost:
    whoever did not hear the answer asks again.

    Args:
        tx: a write transaction.
        stage_id: where.
        team_id: whose.
        account_id: who of the team.
        artifact: SHA-256 of the file, which this account has uploaded, or its team submitted before.
        kind: code or outputs.
        name: of the file, as its sender calls it.
        splits: which to evaluate it on.
        quotas: of the track.
        now: the time.
        again: accept the same bytes as another submission.
        priority: of the jobs.

    Raises:
        NotFound: there is no such stage, team or artifact.
        Refused: the account is not in the team, the team is not approved, the stage is not open, or a quota is used
            up; with the time of the next slot if there is one.
    """
    if not splits or len(set(splits)) != len(splits):
        raise InputError("a submission is evaluated on at least one split, and on none twice")
    # Locked against being closed, and against the scorer being switched, until this is committed.
    stage = tx.execute(
        select(Stage).where(Stage.id == stage_id).with_for_update(read=True),
        execution_options={"populate_existing": True},
    ).scalar_one_or_none()
    if stage is None:
        raise NotFound(f"there is no stage {stage_id[:40]!a}")
    # Locked against every other submission of the team.
    team = tx.execute(
        select(Team).where(Team.id == team_id).with_for_update(), execution_options={"populate_existing": True}
    ).scalar_one_or_none()
    if team is None or team.challenge_id != stage.challenge_id:
        raise NotFound(f"there is no team {team_id[:40]!a} in this challenge")
    account = tx.get(Account, account_id)
    if account is None or tx.get(Membership, (team_id, account_id)) is None:
        raise Refused("only members of a team submit for it")
    if team.state != "approved":
        raise Refused(f"the team {team.name} is {team.state}; only approved teams submit")
    same = tx.execute(
        select(Submission)
        .where(Submission.stage_id == stage_id, Submission.team_id == team_id, Submission.artifact == artifact)
        .order_by(Submission.repeat.desc())
        .limit(1)
    ).scalar_one_or_none()
    if same is not None and not again:
        return Accepted(same, created=False)
    if not _has_file(tx, account_id, team_id, artifact):
        raise NotFound(f"you have not uploaded a file {artifact[:64]!a}; upload it first")
    _stage_takes(tx, stage, now)
    decision = quota_rules.decide(quotas, earlier(tx, team_id, stage.challenge_id, stage.track), now)
    if isinstance(decision, quota_rules.Refused):
        raise Refused(decision.reason, decision.next_slot, told=True)
    last = tx.execute(
        select(func.max(Submission.ordinal)).where(Submission.stage_id == stage_id, Submission.team_id == team_id)
    ).scalar()
    submission = Submission(
        id=new_id(),
        challenge_id=stage.challenge_id,
        stage_id=stage_id,
        team_id=team_id,
        account_id=account_id,
        artifact=artifact,
        repeat=0 if same is None else same.repeat + 1,
        ordinal=(last or 0) + 1,
        kind=kind,
        name=one_line(name, 200),
        state="pending",
        created=now,
    )
    tx.add(submission)
    tx.flush()
    for split in splits:
        evaluations.add(tx, submission.id, split, scorer=stage.scorer, counts=True, priority=priority, now=now)
    _log(tx, submission, "submission.accept", account.name, now, artifact=artifact)
    return Accepted(submission, created=True)


def earlier(tx: Session, team_id: str, challenge_id: str, track: str) -> list[quota_rules.Earlier]:
    """What the team has submitted to the track, as the quotas count it: all but what was rejected."""
    rows = tx.execute(
        select(Submission.created, Submission.state)
        .join(Stage, Stage.id == Submission.stage_id)
        .where(Submission.team_id == team_id, Stage.challenge_id == challenge_id, Stage.track == track)
        .order_by(Submission.created, Submission.id)
    )
    return [quota_rules.Earlier(created, _ENDINGS[state]) for created, state in rows if state in _ENDINGS]


def by_id(tx: Session, submission_id: str) -> Submission:
    """The submission as it is now.

    Raises:
        NotFound: there is none.
    """
    submission = tx.get(Submission, submission_id, populate_existing=True)
    if submission is None:
        raise NotFound(f"there is no submission {submission_id[:40]!a}")
    return submission


def of_team(tx: Session, team_id: str, *, stage_id: str | None = None) -> list[Submission]:
    """What the team has submitted, the last first."""
    statement = select(Submission).where(Submission.team_id == team_id)
    if stage_id is not None:
        statement = statement.where(Submission.stage_id == stage_id)
    return list(
        tx.execute(statement.order_by(Submission.created.desc(), Submission.ordinal.desc(), Submission.id)).scalars()
    )


def of_stage(tx: Session, stage_id: str, *, state: str | None = None) -> list[Submission]:
    """What was submitted to the stage, the first first."""
    statement = select(Submission).where(Submission.stage_id == stage_id)
    if state is not None:
        statement = statement.where(Submission.state == state)
    return list(tx.execute(statement.order_by(Submission.created, Submission.ordinal, Submission.id)).scalars())


def of_artifact(tx: Session, sha256: str) -> list[Submission]:
    """The submissions that hold this file, the first first."""
    statement = select(Submission).where(Submission.artifact == sha256)
    return list(tx.execute(statement.order_by(Submission.created, Submission.id)).scalars())


def reject(
    tx: Session, submission_id: str, reason: str, *, now: datetime, evaluation_id: str, lease: str
) -> Submission:
    """The submission is invalid, as was found before anything of it was run; it costs its team nothing.

    Whatever was still to be evaluated of it is cancelled, with the job of the caller.

    Args:
        tx: a write transaction.
        submission_id: the submission.
        reason: what is wrong with it, in words.
        now: the time.
        evaluation_id: the evaluation in whose course it was found.
        lease: of that evaluation's job.

    Raises:
        LeaseLost: the job is not the caller's.
        NotFound: there is no such submission.
    """
    evaluations.must_hold(tx, evaluation_id, lease)
    submission = _end(tx, submission_id, "rejected", reason, now)
    _log(tx, submission, "submission.reject", "service", now, reason=submission.reason or "")
    return submission


def cancel(tx: Session, submission_id: str, reason: str, *, now: datetime, actor: str) -> Submission:
    """Cancel a submission, whether it has been scored or not; leaderboards show it no more.

    What it has cost stays spent as an attempt.

    Raises:
        NotFound: there is no such submission.
        Conflict: it has been rejected or cancelled before.
    """
    if (state := by_id(tx, submission_id).state) in ("rejected", "cancelled"):
        raise Conflict(f"the submission is {state} already")
    submission = _end(tx, submission_id, "cancelled", reason, now)
    _log(tx, submission, "submission.cancel", actor, now, reason=submission.reason or "")
    return submission


def _has_file(tx: Session, account_id: str, team_id: str, artifact: str) -> bool:
    """Whether the file is there, and came from this account or this team.

    A checksum is no secret: whoever knows that of another team's file could otherwise submit it without having it.
    """
    if tx.get(Artifact, artifact) is None:
        return False
    own = select(Upload.id).where(
        Upload.account_id == account_id, Upload.sha256 == artifact, Upload.completed.is_not(None)
    )
    before = select(Submission.id).where(Submission.team_id == team_id, Submission.artifact == artifact)
    return tx.execute(own.limit(1)).first() is not None or tx.execute(before.limit(1)).first() is not None


def _stage_takes(tx: Session, stage: Stage, now: datetime) -> None:
    """Raises Refused where the stage takes no submissions."""
    concluding = tx.execute(
        select(StageStep.name).where(StageStep.stage_id == stage.id, StageStep.name.in_(STEPS)).limit(1)
    ).first()
    status = StageStatus(
        name=stage.name,
        state=StageState(stage.state),
        opens=stage.opens,
        closes=stage.closes,
        concluding=concluding is not None,
    )
    refusal = submission_refusal(status, now)
    if refusal is not None:
        opens = stage.opens if stage.state == "planned" and stage.opens and stage.opens > now else None
        raise Refused(refusal, opens, told=True)


def _end(tx: Session, submission_id: str, state: str, reason: str, now: datetime) -> Submission:
    # Jobs first, then evaluations, then the submission: the order in which everybody locks them.
    jobs = tx.execute(
        select(Job.id)
        .join(Evaluation, Evaluation.id == Job.subject)
        .where(Job.kind == evaluations.EVALUATE, Evaluation.submission_id == submission_id)
        .order_by(Job.id)
    ).scalars()
    for job_id in jobs.all():
        queue.cancel(tx, job_id, f"the submission was {state}: {reason}", now=now)
    ended = tx.execute(
        update(Submission)
        .where(Submission.id == submission_id)
        .values(
            state=state,
            reason=plain(reason, 2000),
            finished=func.coalesce(Submission.finished, literal(now, Instant())),
        )
        .returning(Submission),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).scalar_one_or_none()
    if ended is None:
        raise NotFound(f"there is no submission {submission_id[:40]!a}")
    stages.touch(tx, ended.stage_id)
    return ended


def _log(tx: Session, submission: Submission, action: str, actor: str, now: datetime, **detail: str) -> None:
    audit.add(
        tx,
        actor=actor,
        action=action,
        subject=f"submission:{submission.id}",
        detail=detail,
        challenge_id=submission.challenge_id,
        now=now,
    )
