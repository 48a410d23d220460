"""The tables. What must never be in the database is refused by the database, not only by the functions above it.

Ids are text (see :mod:`palladion.storage.ids`), times are text of fixed width in UTC, documents are JSON text with
sorted keys: each is the same bytes on SQLite and on PostgreSQL and sorts alike. No table has relationships: a row that
left its transaction can be read, and nothing is loaded behind one's back.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger

from palladion.storage.ids import new_id

__all__ = [
    "ACCOUNT_STATES",
    "EVALUATION_STATES",
    "JOB_STATES",
    "MOMENTS",
    "ROLES",
    "STAGE_STATES",
    "SUBMISSION_STATES",
    "TEAM_STATES",
    "Account",
    "Artifact",
    "Audit",
    "Base",
    "Challenge",
    "Delivery",
    "Evaluation",
    "Instant",
    "Invitation",
    "Job",
    "Json",
    "LoginFailure",
    "Membership",
    "Outcome",
    "PointScores",
    "Score",
    "Stage",
    "StageStep",
    "Standing",
    "Submission",
    "Team",
    "Telling",
    "Token",
    "Upload",
    "Webhook",
    "Words",
    "Worker",
    "instant_text",
    "json_text",
]

ROLES = ("organiser", "participant", "observer")
ACCOUNT_STATES = ("pending", "active", "disabled")
TEAM_STATES = ("pending", "approved", "refused")
STAGE_STATES = ("planned", "open", "closed", "concluded")
SUBMISSION_STATES = ("pending", "scored", "failed", "rejected", "cancelled")
EVALUATION_STATES = ("pending", "done", "failed", "cancelled")
JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
MOMENTS = ("open", "final")
"""When something is told: while the stage is open, or when it is concluded."""

# NUL, which PostgreSQL takes in no text, and halves of surrogate pairs, which are no UTF-8.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# SQLite has one integer; a file of more than 2 GiB needs PostgreSQL's larger one.
Large = BigInteger().with_variant(Integer(), "sqlite")


class Words(TypeDecorator[str]):
    """Text that sorts by its code points on either database, whatever the locale of the server is.

    What cannot be stored becomes U+FFFD: names to look for come from anywhere, and such a one names nothing.
    """

    impl = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002, D102
        return None if value is None else _UNSTORABLE.sub("\ufffd", value)


class Instant(TypeDecorator[datetime]):
    """An aware datetime <-> ``2026-01-05T09:00:00.000000Z``."""

    impl = String(27).with_variant(postgresql.VARCHAR(27, collation="C"), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002, D102
        return None if value is None else instant_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """A JSON document <-> its canonical text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002, D102
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any | None:  # noqa: ARG002, D102
        return None if value is None else json.loads(value)


def instant_text(value: datetime) -> str:
    """The text of an aware datetime, in UTC, 27 characters.

    Raises:
        ValueError: the datetime does not know its zone; a guess would be wrong half of the year.
    """
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_text(value: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, ASCII, no NaN.

    Raises:
        ValueError: it holds what JSON cannot say.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


class Base(DeclarativeBase):
    """Of every table."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Words(),
        datetime: Instant(),
        float: Double(),
        dict[str, Any]: Json(),
        list[str]: Json(),
    }


# --- People ---------------------------------------------------------------------------------------------------------


class Account(Base):
    """Somebody who can log in.

    Attributes:
        password: argon2 hash; None: this account cannot log in by password.
        email: lower-case; unique.
        issuer, subject: who the account is for an OpenID provider.
        mail: whether it wants e-mail about its submissions, or, as an organiser, about its challenges.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        _one_of("role", ROLES),
        _one_of("state", ACCOUNT_STATES),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="identity"),
        UniqueConstraint("issuer", "subject"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str | None] = mapped_column(unique=True)
    password: Mapped[str | None]
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    role: Mapped[str]
    state: Mapped[str]
    mail: Mapped[bool]
    created: Mapped[datetime]


class Token(Base):
    """A secret that stands for an account, for some scopes and some time.

    Attributes:
        digest: argon2 hash of the secret part.
        used: last use, to the minute.
    """

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    digest: Mapped[str]
    scopes: Mapped[list[str]]
    created: Mapped[datetime]
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]
    used: Mapped[datetime | None]


class LoginFailure(Base):
    """An attempt to log in that failed, or has not yet succeeded; ``key`` names an account or an address."""

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "key", "at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)


# --- Challenges -----------------------------------------------------------------------------------------------------


class Challenge(Base):
    """A challenge as it was installed.

    Attributes:
        definition: the text of challenge.yaml, verbatim.
        folder: what the paths in the definition are relative to, on the machine of the service.
    """

    __tablename__ = "challenges"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    definition: Mapped[str]
    folder: Mapped[str]
    created: Mapped[datetime]
    changed: Mapped[datetime]


class Stage(Base):
    """A round or a phase of one track.

    Attributes:
        track: name of the track in the definition.
        ordinal: place in the track, from 0.
        opens, closes: as planned in the definition.
        scorer: the version whose evaluations the leaderboard shows.
        opened, closed, concluded: when it came into these states.
        revision: counts every change that a leaderboard shows; see :func:`palladion.storage.stages.touch`.
        salt: secret; which data points are the public part depends on it.
    """

    __tablename__ = "stages"
    __table_args__ = (
        UniqueConstraint("challenge_id", "track", "name"),
        UniqueConstraint("challenge_id", "track", "ordinal"),
        # So that other tables can name a stage together with its challenge.
        UniqueConstraint("id", "challenge_id"),
        _one_of("state", STAGE_STATES),
        CheckConstraint("ordinal >= 0", name="ordinal"),
        CheckConstraint("state <> 'concluded' OR concluded IS NOT NULL", name="concluded"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    challenge_id: Mapped[str] = mapped_column(ForeignKey("challenges.id"))
    track: Mapped[str]
    name: Mapped[str]
    ordinal: Mapped[int]
    state: Mapped[str]
    scorer: Mapped[str]
    opens: Mapped[datetime | None]
    closes: Mapped[datetime | None]
    opened: Mapped[datetime | None]
    closed: Mapped[datetime | None]
    concluded: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(Large, default=0, server_default=text("0"))
    salt: Mapped[str] = mapped_column(default=new_id, server_default=text("''"))


class StageStep(Base):
    """One step of a resumable operation on a stage: begun, and perhaps finished."""

    __tablename__ = "stage_steps"
    __table_args__ = (CheckConstraint("finished IS NULL OR finished >= started", name="order"),)

    stage_id: Mapped[str] = mapped_column(ForeignKey("stages.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    detail: Mapped[dict[str, Any]]
    started: Mapped[datetime]
    finished: Mapped[datetime | None]


class Team(Base):
    """Who submits.

    Attributes:
        key: the name as it is compared: two names that look alike are one.
        baseline: it is the organisers' own, and competes with nobody.
    """

    __tablename__ = "teams"
    __table_args__ = (
        UniqueConstraint("challenge_id", "key"),
        UniqueConstraint("id", "challenge_id"),
        _one_of("state", TEAM_STATES),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    challenge_id: Mapped[str] = mapped_column(ForeignKey("challenges.id"))
    name: Mapped[str]
    key: Mapped[str]
    state: Mapped[str]
    baseline: Mapped[bool] = mapped_column(default=False, server_default=false())
    created: Mapped[datetime]


class Membership(Base):
    """An account in a team: in one team of a challenge at most."""

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("challenge_id", "account_id"),
        ForeignKeyConstraint(["team_id", "challenge_id"], ["teams.id", "teams.challenge_id"]),
    )

    team_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True, index=True)
    challenge_id: Mapped[str]
    captain: Mapped[bool]
    joined: Mapped[datetime]


class Invitation(Base):
    """A code that lets whoever has it join a team; ``digest`` is its SHA-256."""

    __tablename__ = "invitations"
    __table_args__ = (CheckConstraint("uses_left >= 0", name="uses_left"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    digest: Mapped[str] = mapped_column(unique=True)
    uses_left: Mapped[int]
    created: Mapped[datetime]
    expires: Mapped[datetime]


# --- Submissions ----------------------------------------------------------------------------------------------------


class Upload(Base):
    """A file that is on its way; its bytes lie in a local folder, and their number is how far it is.

    Attributes:
        completed: when all of it was there and was put into the store. It is kept after that, as the proof that this
            account has the file and does not only know its checksum.
    """

    __tablename__ = "uploads"
    __table_args__ = (CheckConstraint("bytes >= 0", name="bytes"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(Large)
    created: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    completed: Mapped[datetime | None]


class Artifact(Base):
    """A file that is in the store, named by what it holds."""

    __tablename__ = "artifacts"
    __table_args__ = (
        CheckConstraint("length(sha256) = 64", name="sha256"),
        CheckConstraint("bytes >= 0", name="bytes"),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(Large)
    created: Mapped[datetime]


class Submission(Base):
    """What a team handed in.

    Attributes:
        ordinal: the how-manieth of the team in the stage, from 1.
        repeat: 0, but 1, 2, ... where the same bytes were handed in again on purpose.
        kind: code or outputs.
        name: of the file, as its sender called it.
        state: pending until every evaluation that counts has ended; then scored, or failed if one of them did.
            rejected: found invalid before anything of it was run; it costs nothing.
        reason: why it failed, was rejected or cancelled.
        goal: when it was the first of its team to meet the stage's criterion of success.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("stage_id", "team_id", "ordinal"),
        UniqueConstraint("stage_id", "team_id", "artifact", "repeat"),
        ForeignKeyConstraint(["stage_id", "challenge_id"], ["stages.id", "stages.challenge_id"]),
        ForeignKeyConstraint(["team_id", "challenge_id"], ["teams.id", "teams.challenge_id"]),
        _one_of("state", SUBMISSION_STATES),
        _one_of("kind", ("code", "outputs")),
        CheckConstraint("ordinal >= 1", name="ordinal"),
        CheckConstraint("repeat >= 0", name="repeat"),
        CheckConstraint("(state = 'pending') = (finished IS NULL)", name="finished"),
        CheckConstraint("reason IS NOT NULL OR state IN ('pending', 'scored')", name="reason"),
        Index(None, "team_id", "created"),
        Index(None, "challenge_id", "created"),
        Index(
            "uq_submissions_goal",
            "stage_id",
            "team_id",
            unique=True,
            sqlite_where=text("goal IS NOT NULL"),
            postgresql_where=text("goal IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    challenge_id: Mapped[str]
    stage_id: Mapped[str]
    team_id: Mapped[str]
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    artifact: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"), index=True)
    repeat: Mapped[int]
    ordinal: Mapped[int]
    kind: Mapped[str]
    name: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str | None]
    created: Mapped[datetime]
    finished: Mapped[datetime | None]
    goal: Mapped[datetime | None]


class Evaluation(Base):
    """One submission on one split by one version of the scorer.

    Attributes:
        counts: whether the submission's own state depends on it: those that it was accepted with do.
        report: what the scorer says beside the scores.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("submission_id", "split", "scorer"),
        _one_of("state", EVALUATION_STATES),
        CheckConstraint("(state = 'pending') = (finished IS NULL)", name="finished"),
        CheckConstraint("reason IS NOT NULL OR state IN ('pending', 'done')", name="reason"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"))
    split: Mapped[str]
    scorer: Mapped[str]
    counts: Mapped[bool]
    state: Mapped[str]
    reason: Mapped[str | None]
    report: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    finished: Mapped[datetime | None]


class Outcome(Base):
    """What happened on one data point: an answer, or an error from a closed vocabulary.

    Attributes:
        answer: JSON.
        message: the error in words, where nothing is sealed.
        seconds: wall-clock time.
        processor_seconds: time of processors.
        memory: peak, in bytes.
    """

    __tablename__ = "outcomes"
    __table_args__ = (CheckConstraint("(answer IS NULL) <> (error IS NULL)", name="answer_or_error"),)

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    point: Mapped[str] = mapped_column(primary_key=True)
    answer: Mapped[Any | None] = mapped_column(Json, nullable=True)
    error: Mapped[str | None]
    message: Mapped[str | None]
    seconds: Mapped[float | None]
    processor_seconds: Mapped[float | None]
    memory: Mapped[int | None] = mapped_column(Large)


class Score(Base):
    """One metric of an evaluation; ``task`` is empty where the score is of the whole.

    Attributes:
        low, high: the interval, in the metric's unit.
    """

    __tablename__ = "scores"
    __table_args__ = (
        # Neither NaN nor an infinity is between these on either database.
        CheckConstraint("value BETWEEN -1.7e308 AND 1.7e308", name="value"),
        CheckConstraint("low BETWEEN -1.7e308 AND 1.7e308", name="low"),
        CheckConstraint("high BETWEEN -1.7e308 AND 1.7e308", name="high"),
    )

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]


class PointScores(Base):
    """What each data point of an evaluation scored, in one piece; see :mod:`palladion.scoring.point_scores`.

    Only for those who may see outcomes, and for statistics of more than one data point.
    """

    __tablename__ = "point_scores"

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Telling(Base):
    """What is told of a score of a sealed split, decided once and kept.

    Attributes:
        moment: open: of what everybody is told while the stage is not concluded. final: of what they are told then,
            where that is no score: the value on the data points that were not public.
        task: empty where it is of the whole.
        value: None: nothing is told.
        low, high: the interval, as it is told.
        text: as a table shows it.
        note: what there is to say about it; may be empty.
        source: the evaluation whose values these are: the team's best before, where that is told again.
    """

    __tablename__ = "tellings"
    __table_args__ = (
        _one_of("moment", MOMENTS),
        CheckConstraint("value BETWEEN -1.7e308 AND 1.7e308", name="value"),
        CheckConstraint("low BETWEEN -1.7e308 AND 1.7e308", name="low"),
        CheckConstraint("high BETWEEN -1.7e308 AND 1.7e308", name="high"),
    )

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    moment: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    text: Mapped[str]
    note: Mapped[str]
    source: Mapped[str] = mapped_column(ForeignKey("evaluations.id"))


class Standing(Base):
    """The ranges of the ranks of a stage on a split, as they were made last.

    Attributes:
        revision: of the stage when they were made.
        made: when.
        document: see :mod:`palladion.jobs.standing`.
    """

    __tablename__ = "standings"

    stage_id: Mapped[str] = mapped_column(ForeignKey("stages.id"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    scorer: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Large)
    made: Mapped[datetime]
    document: Mapped[dict[str, Any]]


# --- Work -----------------------------------------------------------------------------------------------------------


class Job(Base):
    """Something that is due: the row is the queue.

    Attributes:
        kind, subject: what to do, and the id of what to do it with.
        due: not before.
        lease: a new random word for each claim; whoever does not know it does not hold the job.
        attempts: how often the work itself ended in an error.
        losses: how often whoever held it was not heard of any more.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("kind", "subject"),
        _one_of("state", JOB_STATES),
        CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name="lease"),
        CheckConstraint("(state = 'running') = (worker IS NOT NULL)", name="worker"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_until"),
        CheckConstraint("(state IN ('queued', 'running')) = (finished IS NULL)", name="finished"),
        CheckConstraint("reason IS NOT NULL OR state NOT IN ('failed', 'cancelled')", name="reason"),
        CheckConstraint("attempts >= 0 AND losses >= 0", name="counts"),
        Index(
            "ix_jobs_queued",
            text("priority DESC"),
            "due",
            "created",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_running",
            "lease_until",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    state: Mapped[str]
    priority: Mapped[int]
    due: Mapped[datetime]
    lease: Mapped[str | None]
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int]
    losses: Mapped[int]
    reason: Mapped[str | None]
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]


class Worker(Base):
    """A process that does jobs, and when it was last heard of."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    kinds: Mapped[list[str]]
    host: Mapped[str]
    process: Mapped[int]
    started: Mapped[datetime]
    seen: Mapped[datetime]
    stopped: Mapped[datetime | None]


# --- News -----------------------------------------------------------------------------------------------------------


class Webhook(Base):
    """Where events are posted: those of a team, or, without one, all of a challenge.

    Attributes:
        events: names of events, or ``*``.
        secret: signs what is posted; it must be known in clear to do so.
    """

    __tablename__ = "webhooks"
    __table_args__ = (ForeignKeyConstraint(["team_id", "challenge_id"], ["teams.id", "teams.challenge_id"]),)

    id: Mapped[str] = mapped_column(primary_key=True)
    challenge_id: Mapped[str] = mapped_column(ForeignKey("challenges.id"), index=True)
    team_id: Mapped[str | None]
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[list[str]]
    created: Mapped[datetime]


class Delivery(Base):
    """One event for one recipient: a webhook or the e-mail address of an account.

    Attributes:
        event: name of what happened.
        key: which one of them: what happens once has one key.
        body: what is told.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event", "key", "webhook_id"),
        UniqueConstraint("event", "key", "account_id"),
        CheckConstraint("(webhook_id IS NULL) <> (account_id IS NULL)", name="recipient"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str]
    key: Mapped[str]
    webhook_id: Mapped[str | None] = mapped_column(ForeignKey("webhooks.id"), index=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    body: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    sent: Mapped[datetime | None]


class Audit(Base):
    """Who did what to what, and when. Rows are added, never changed.

    Attributes:
        number: the order.
        actor: name of an account, or of the part of the service that did it.
        subject: what it was done to: ``stage:<id>``, for example.
    """

    __tablename__ = "audit"
    __table_args__ = (Index(None, "challenge_id", "number"),)

    number: Mapped[int] = mapped_column(Large, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    challenge_id: Mapped[str | None] = mapped_column(ForeignKey("challenges.id"))
