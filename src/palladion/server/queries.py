"""What the routes look up: reads of several tables at once, a page or a stage at a time, never a row at a time.

Nothing here decides who may see it; that is :mod:`palladion.server.views`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from palladion.storage import challenges, stages, teams, tokens
from palladion.storage.errors import NotFound
from palladion.storage.evaluations import EVALUATE
from palladion.storage.ids import ID
from palladion.storage.tables import (
    Account,
    Artifact,
    Audit,
    Challenge,
    Delivery,
    Evaluation,
    Job,
    Membership,
    Outcome,
    Stage,
    Submission,
    Team,
    Token,
    Upload,
    Webhook,
)

__all__ = [
    "Points",
    "SubmissionFilter",
    "approved_by_hand",
    "challenge_named",
    "confirmed_address",
    "details_of",
    "failing_submissions",
    "handed_in",
    "job_counts",
    "jobs_of",
    "outcome_counts",
    "row_id",
    "same_bytes",
    "stage_named",
    "stuck_jobs",
    "submissions_page",
    "teams_of_account",
    "upload_of",
    "uploaded_bytes",
    "usable_tokens",
    "waiting_accounts",
    "waiting_teams",
]

_LONG_WAIT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Points:
    """Data points of an evaluation.

    Attributes:
        done: that have ended.
        failed: of these, in an error.
    """

    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class SubmissionFilter:
    """Which submissions are asked for; None: whatever it is.

    Attributes:
        challenge_id: of which challenge.
        team_id: of which team.
        stage_ids: of which stages.
        state: in which state.
    """

    challenge_id: str
    team_id: str | None = None
    stage_ids: Collection[str] | None = None
    state: str | None = None


def row_id(text: str, what: str) -> str:
    """An id from an address.

    Raises:
        NotFound: it is none, so that nothing has it.
    """
    if not ID.fullmatch(text):
        raise NotFound(f"there is no {what} {text[:40]!a}")
    return text


def challenge_named(tx: Session, name: str) -> Challenge:
    """The challenge. Raises NotFound."""
    _storable(name, "challenge")
    return challenges.by_name(tx, name)


def stage_named(tx: Session, challenge: Challenge, track: str, name: str) -> Stage:
    """The stage. Raises NotFound."""
    _storable(track, "track")
    _storable(name, "stage")
    return stages.by_name(tx, challenge.id, track, name)


def _storable(name: str, what: str) -> None:
    # PostgreSQL refuses some texts instead of not finding them.
    if not (name.isascii() and name.isprintable()):
        raise NotFound(f"there is no {what} {name[:80]!a}")


def outcome_counts(tx: Session, evaluation_ids: Collection[str]) -> dict[str, Points]:
    """How many data points of each evaluation have ended, and how many of them in an error."""
    rows = tx.execute(
        select(Outcome.evaluation_id, func.count(), func.count(Outcome.error))
        .where(Outcome.evaluation_id.in_(sorted(evaluation_ids)))
        .group_by(Outcome.evaluation_id)
    )
    return {evaluation_id: Points(done, failed) for evaluation_id, done, failed in rows}


def submissions_page(
    tx: Session, wanted: SubmissionFilter, *, after: str | None, most: int
) -> tuple[list[Submission], str | None]:
    """Submissions, the last first.

    Args:
        tx: a transaction.
        wanted: which.
        after: id of the last one of the page before; one that is not there begins at the first.
        most: of a page.

    Returns:
        The page, and what to give as ``after`` for the next; None: there is no more.
    """
    statement = select(Submission).where(Submission.challenge_id == wanted.challenge_id)
    if wanted.team_id is not None:
        statement = statement.where(Submission.team_id == wanted.team_id)
    if wanted.stage_ids is not None:
        statement = statement.where(Submission.stage_id.in_(sorted(wanted.stage_ids)))
    if wanted.state is not None:
        statement = statement.where(Submission.state == wanted.state)
    last = None if after is None or not ID.fullmatch(after) else tx.get(Submission, after)
    if last is not None:
        statement = statement.where(
            or_(Submission.created < last.created, and_(Submission.created == last.created, Submission.id > last.id))
        )
    rows = list(tx.execute(statement.order_by(Submission.created.desc(), Submission.id).limit(most + 1)).scalars())
    return rows[:most], rows[most - 1].id if len(rows) > most else None


@dataclass(frozen=True, slots=True)
class Details:
    """What belongs to some submissions.

    Attributes:
        teams, accounts: names by id.
        bytes: of files by SHA-256.
        evaluations: by submission.
        jobs: by evaluation.
        points: by evaluation, of those that have not ended.
    """

    teams: dict[str, str]
    accounts: dict[str, str]
    bytes: dict[str, int]
    evaluations: dict[str, list[Evaluation]]
    jobs: dict[str, Job]
    points: dict[str, Points]


def details_of(tx: Session, submissions: Sequence[Submission]) -> Details:
    """What belongs to some submissions, in one statement a table."""

    def names(column: Any, key: Any, wanted: set[str]) -> dict[str, Any]:
        return {row[0]: row[1] for row in tx.execute(select(key, column).where(key.in_(sorted(wanted))))}

    evaluations: dict[str, list[Evaluation]] = {submission.id: [] for submission in submissions}
    rows = tx.execute(
        select(Evaluation)
        .where(Evaluation.submission_id.in_(sorted(evaluations)))
        .order_by(Evaluation.split.desc(), Evaluation.created, Evaluation.id)
    ).scalars()
    for row in rows:
        evaluations[row.submission_id].append(row)
    ids = sorted(row.id for found in evaluations.values() for row in found)
    jobs = tx.execute(select(Job).where(Job.kind == EVALUATE, Job.subject.in_(ids))).scalars()
    running = [row.id for found in evaluations.values() for row in found if row.state == "pending"]
    return Details(
        names(Team.name, Team.id, {row.team_id for row in submissions}),
        names(Account.name, Account.id, {row.account_id for row in submissions}),
        names(Artifact.bytes, Artifact.sha256, {row.artifact for row in submissions}),
        evaluations,
        {job.subject: job for job in jobs},
        outcome_counts(tx, running),
    )


def handed_in(tx: Session, account_id: str, team_id: str, sha256: str) -> bool:
    """Whether a file came from this account, or from this team: a checksum is no secret, and no proof of having it."""
    uploaded = select(Upload.id).where(
        Upload.account_id == account_id, Upload.sha256 == sha256, Upload.completed.is_not(None)
    )
    before = select(Submission.id).where(Submission.team_id == team_id, Submission.artifact == sha256)
    return any(tx.execute(statement.limit(1)).first() is not None for statement in (uploaded, before))


def same_bytes(tx: Session, stage_id: str, team_id: str, sha256: str) -> Submission | None:
    """The last submission of a team to a stage that holds this file."""
    return tx.execute(
        select(Submission)
        .where(Submission.stage_id == stage_id, Submission.team_id == team_id, Submission.artifact == sha256)
        .order_by(Submission.repeat.desc())
        .limit(1)
    ).scalar_one_or_none()


def teams_of_account(tx: Session, account_id: str) -> list[tuple[str, Team, bool]]:
    """(name of the challenge, team, whether its captain) of every team of an account."""
    rows = tx.execute(
        select(Challenge.name, Team, Membership.captain)
        .join(Team, Team.id == Membership.team_id)
        .join(Challenge, Challenge.id == Membership.challenge_id)
        .where(Membership.account_id == account_id)
        .order_by(Challenge.name)
    )
    return [(name, team, captain) for name, team, captain in rows]


def approved_by_hand(tx: Session, account_id: str) -> bool:
    """Whether an organiser has approved this account."""
    organisers = select(Account.name).where(Account.role == "organiser")
    statement = select(Audit.number).where(
        Audit.subject == f"account:{account_id}", Audit.action == "account.approve", Audit.actor.in_(organisers)
    )
    return tx.execute(statement.limit(1)).first() is not None


CONFIRMED = "account.confirm"
"""In the audit log: the owner of an account has shown that an address is theirs."""


def confirmed_address(tx: Session, account: Account) -> str | None:
    """The address of an account, if its owner has confirmed this one; it may have been changed since."""
    line = tx.execute(
        select(Audit)
        .where(Audit.subject == f"account:{account.id}", Audit.action == CONFIRMED)
        .order_by(Audit.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    if line is None or account.email is None or line.detail.get("email") != account.email:
        return None
    return account.email


def _of_challenge(challenge_id: str) -> Any:
    """That a job is about something of this challenge."""
    evaluation = (
        select(Evaluation.id)
        .join(Submission, Submission.id == Evaluation.submission_id)
        .where(Submission.challenge_id == challenge_id, Evaluation.id == Job.subject)
    )
    stage = select(Stage.id).where(Stage.challenge_id == challenge_id, Stage.id == Job.subject)
    return or_(evaluation.exists(), stage.exists())


def jobs_of(
    tx: Session, challenge_id: str, *, state: str | None, after: str | None, most: int
) -> tuple[list[Job], str | None]:
    """Jobs about submissions and stages of a challenge, the last first; paged as :func:`submissions_page`."""
    statement = select(Job).where(_of_challenge(challenge_id))
    if state is not None:
        statement = statement.where(Job.state == state)
    last = None if after is None or not ID.fullmatch(after) else tx.get(Job, after)
    if last is not None:
        statement = statement.where(
            or_(Job.created < last.created, and_(Job.created == last.created, Job.id > last.id))
        )
    rows = list(tx.execute(statement.order_by(Job.created.desc(), Job.id).limit(most + 1)).scalars())
    return rows[:most], rows[most - 1].id if len(rows) > most else None


def job_counts(tx: Session, challenge_id: str) -> dict[str, dict[str, int]]:
    """How many jobs of a challenge there are, by kind and state."""
    rows = tx.execute(
        select(Job.kind, Job.state, func.count()).where(_of_challenge(challenge_id)).group_by(Job.kind, Job.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for kind, state, number in rows:
        counts.setdefault(kind, {})[state] = number
    return counts


def stuck_jobs(tx: Session, challenge_id: str, now: datetime, *, most: int) -> list[Job]:
    """Jobs of a challenge, and those that tell of it, that an organiser should look at; the latest first.

    See :func:`is_stuck`.
    """
    late = or_(Job.attempts > 0, Job.losses > 0, and_(Job.state == "queued", Job.due < now - _LONG_WAIT))
    delivery = (
        select(Delivery.id)
        .outerjoin(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.id == Job.subject, or_(Webhook.id.is_(None), Webhook.challenge_id == challenge_id))
    )
    statement = select(Job).where(
        or_(Job.state == "failed", and_(Job.state.in_(("queued", "running")), late)),
        or_(_of_challenge(challenge_id), delivery.exists()),
    )
    return list(tx.execute(statement.order_by(Job.created.desc(), Job.id).limit(most)).scalars())


def failing_submissions(tx: Session, challenge_id: str, *, most: int) -> list[Submission]:
    """The latest submissions of a challenge that have failed."""
    statement = select(Submission).where(Submission.challenge_id == challenge_id, Submission.state == "failed")
    return list(tx.execute(statement.order_by(Submission.created.desc(), Submission.id).limit(most)).scalars())


def usable_tokens(tx: Session, account_id: str, now: datetime) -> list[Token]:
    """The tokens of an account that can be used, the last first: neither revoked nor past their time."""
    return [
        row
        for row in tokens.of_account(tx, account_id)
        if row.revoked is None and (row.expires is None or row.expires > now)
    ]


def waiting_accounts(tx: Session, *, most: int) -> list[Account]:
    """The accounts that wait for approval, the first first."""
    statement = select(Account).where(Account.state == "pending")
    return list(tx.execute(statement.order_by(Account.created, Account.id).limit(most)).scalars())


def waiting_teams(tx: Session, challenge_id: str, *, most: int) -> list[Team]:
    """The teams of a challenge that wait for approval, the first first."""
    statement = select(Team).where(Team.challenge_id == challenge_id, Team.state == "pending")
    return list(tx.execute(statement.order_by(Team.created, Team.id).limit(most)).scalars())


def submissions_of_jobs(tx: Session, jobs: Collection[Job]) -> dict[str, str]:
    """The submission that each of these jobs is about, by job, where it is about one."""
    subjects = {job.subject: job.id for job in jobs if job.kind == EVALUATE}
    rows = tx.execute(select(Evaluation.id, Evaluation.submission_id).where(Evaluation.id.in_(sorted(subjects))))
    return {subjects[evaluation_id]: submission_id for evaluation_id, submission_id in rows}


def is_stuck(job: Job, now: datetime) -> bool:
    """Whether an organiser should look at a job: it has failed, was tried before, or waits for long."""
    if job.state == "failed":
        return True
    if job.state in ("done", "cancelled"):
        return False
    return job.attempts > 0 or job.losses > 0 or (job.state == "queued" and now - job.due > _LONG_WAIT)


def challenge_of_job(tx: Session, job: Job) -> str | None:
    """The challenge that a job belongs to; None: nobody knows."""
    if job.kind == EVALUATE:
        return tx.execute(
            select(Submission.challenge_id)
            .join(Evaluation, Evaluation.submission_id == Submission.id)
            .where(Evaluation.id == job.subject)
        ).scalar_one_or_none()
    stage = tx.get(Stage, job.subject)
    if stage is not None:
        return stage.challenge_id
    return None if tx.get(Delivery, job.subject) is None else ""


def team_named(tx: Session, challenge: Challenge, team_id: str) -> Team:
    """A team of a challenge. Raises NotFound."""
    team = teams.by_id(tx, row_id(team_id, "team"))
    if team.challenge_id != challenge.id:
        raise NotFound(f"there is no team {team_id!a}")
    return team


def upload_of(tx: Session, account_id: str, sha256: str, length: int, now: datetime) -> Upload | None:
    """The upload that an account has begun, or ended, of a file."""
    return tx.execute(
        select(Upload)
        .where(Upload.account_id == account_id, Upload.sha256 == sha256, Upload.bytes == length, Upload.expires > now)
        .limit(1)
    ).scalar_one_or_none()


def uploaded_bytes(tx: Session, account_id: str, now: datetime) -> tuple[int, datetime | None]:
    """How much an account has announced that is still kept for it, and when the first of it is forgotten."""
    used, frees = tx.execute(
        select(func.sum(Upload.bytes), func.min(Upload.expires)).where(
            Upload.account_id == account_id, Upload.expires > now
        )
    ).one()
    return int(used or 0), frees
