"""What goes in and out as JSON: one model for each noun, so that OpenAPI, answers and checks are the same thing.

Of what comes in, unknown keys are refused. What goes out is made in :mod:`palladion.server.views` alone.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr

from palladion.challenge.permissions import SCOPES
from palladion.storage import tables
from palladion.storage.texts import plain

__all__ = ["NAME_PATTERN"]

NAME_PATTERN: Final = "^[a-z0-9][a-z0-9-]{0,63}$"
ID_PATTERN: Final = "^[a-z2-7]{20}$"
SHA256_PATTERN: Final = "^[0-9a-f]{64}$"
_ID: Final = "k2vuxz5r3wqpc7mjhd4a"
_TIME: Final = "2026-01-05T09:00:00Z"

T = TypeVar("T")


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _visible(text: str) -> str:
    if plain(text, len(text)) != text or "\n" in text or "\t" in text:
        raise ValueError("must be one line of characters that can be seen")
    return text


def _sayable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("must be text")
    return text


Time = Annotated[datetime, PlainSerializer(_utc, return_type=str), Field(examples=[_TIME])]
Id = Annotated[str, Field(pattern=ID_PATTERN, examples=[_ID])]
Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["detection"])]
Sha256 = Annotated[
    str, Field(pattern=SHA256_PATTERN, examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
]
Line = Annotated[str, AfterValidator(_visible)]
"""One line from outside."""
Said = Annotated[str, AfterValidator(_sayable)]
"""Text from outside that something else looks at closely."""
Password = Annotated[SecretStr, Field(max_length=1024)]
ScopeName = Literal["read", "submit", "organise"]


def _one_of(values: tuple[str, ...]) -> Any:
    """Says in the schema what a word can be; the tables see to it that it is."""
    return Field(json_schema_extra={"enum": list(values)})


Scope = Annotated[str, _one_of(tuple(SCOPES))]
Role = Annotated[str, _one_of(tables.ROLES)]
AccountState = Annotated[str, _one_of(tables.ACCOUNT_STATES)]
TeamState = Annotated[str, _one_of(tables.TEAM_STATES)]
StageState = Annotated[str, _one_of(tables.STAGE_STATES)]
SubmissionState = Annotated[str, _one_of(tables.SUBMISSION_STATES)]
EvaluationState = Annotated[str, _one_of(tables.EVALUATION_STATES)]
JobState = Annotated[str, _one_of(tables.JOB_STATES)]
SubmissionKind = Annotated[str, _one_of(("code", "outputs"))]
Split = Annotated[str, _one_of(("test", "holdout"))]
Policy = Literal["exact", "rounded", "ladder", "bootstrap_ladder", "none"]


class _In(BaseModel):
    """Of what comes in."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Out(BaseModel):
    """Of what goes out."""

    model_config = ConfigDict(frozen=True)


# --- Errors and lists -------------------------------------------------------------------------------------------------


class FaultAnswer(_Out):
    """One thing that is wrong."""

    where: str | None = Field(description="A key of the request, or a file of a submission.")
    message: str
    level: Literal["error", "warning"]


class ErrorDetail(_Out):
    """What went wrong."""

    code: str = Field(description="For programs; the list is in the documentation.")
    message: str = Field(description="For people.")
    faults: list[FaultAnswer] | None = None
    next_slot: Time | None = Field(default=None, description="When the same would be accepted, if time alone can tell.")
    retry_after: int | None = Field(default=None, description="Seconds after which to try again.")
    offset: int | None = Field(default=None, description="Of an upload: which byte comes next.")
    most: int | None = Field(default=None, description="The limit, in bytes.")
    id: str | None = Field(default=None, description="What the log of the service calls it.")


class ErrorAnswer(_Out):
    """Every answer that says no."""

    error: ErrorDetail


class Page(_Out, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(default=None, description="Give it as `after` to go on; null at the end.")


# --- The service ------------------------------------------------------------------------------------------------------


class OidcInfo(_Out):
    """A login at an OpenID provider."""

    issuer: str
    title: str
    start: str = Field(description="The address where a browser begins.")


class LoginInfo(_Out):
    """How to log in."""

    password: bool
    oidc: OidcInfo | None


class UploadInfo(_Out):
    """What uploads may be."""

    most_bytes: int = Field(description="Of a file.")
    chunk_bytes: int = Field(description="Of one request.")


class ServiceInfo(_Out):
    """What a client needs to know of this service."""

    name: Literal["palladion"] = "palladion"
    version: str
    sign_up: Literal["open", "manual", "domain", "closed"]
    login: LoginInfo
    uploads: UploadInfo


class Alive(_Out):
    """The process answers."""

    status: Literal["alive"] = "alive"
    version: str


class Check(_Out):
    """One thing that the service needs."""

    ok: bool
    message: str


class Readiness(_Out):
    """Whether the service can do its work."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Check]


# --- Accounts and tokens ----------------------------------------------------------------------------------------------


class SignUpRequest(_In):
    """A new account."""

    name: Said = Field(max_length=100, description="2 to 64 of a-z, 0-9, '.', '_' and '-'.", examples=["ada"])
    email: Said | None = Field(default=None, max_length=254, examples=["ada@example.org"])
    password: Password = Field(description="10 to 1024 characters.", examples=["correct horse battery"])


class ConfirmRequest(_In):
    """The code from an e-mail."""

    code: str = Field(max_length=1000)


class CodeRequest(_In):
    """Where a code is to be sent."""

    email: Said = Field(min_length=3, max_length=254, examples=["ada@example.org"])


class LoginRequest(_In):
    """Name and password."""

    name: Said = Field(max_length=100, examples=["ada"])
    password: Password = Field(examples=["correct horse battery"])
    scopes: list[ScopeName] | None = Field(
        default=None, max_length=3, description="What the token is for; by default all that the account may do."
    )
    token_name: Line = Field(default="login", max_length=100, description="What the list of tokens calls it.")


class Account(_Out):
    """Somebody who can log in."""

    id: Id
    name: str
    role: Role
    state: AccountState
    email: str | None
    mail: bool = Field(description="Whether it wants e-mail.")
    created: Time


class Token(_Out):
    """A token, without its secret."""

    id: Id
    name: str
    scopes: list[Scope]
    created: Time
    expires: Time | None
    used: Time | None = Field(description="Last use, to the minute.")
    revoked: Time | None


class SignedUp(_Out):
    """What has become of a new account."""

    account: Account
    message: str = Field(description="What happens next.")


class LoggedIn(_Out):
    """A new token and what it stands for."""

    token: str = Field(description="Told once; keep it secret.", examples=[f"pld_{_ID}_5f4dcc3b..."])
    details: Token
    account: Account


class IssuedToken(_Out):
    """A new token."""

    token: str = Field(description="Told once; keep it secret.")
    details: Token


class TeamOfMine(_Out):
    """A team that the account is in."""

    challenge: Name
    id: Id
    name: str
    state: TeamState
    captain: bool


class Me(_Out):
    """Who asks."""

    account: Account
    token: Token
    teams: list[TeamOfMine]


class AccountPage(_Out):
    """Who somebody is here, and what may act in their name."""

    account: Account
    current: Id | None = Field(description="The token of this very browser.")
    tokens: list[Token] = Field(description="That can be used, the last first; those of browsers are without scopes.")
    teams: list[TeamOfMine]


class AccountChange(_In):
    """What to change of one's own account; what is left out stays."""

    email: Said | None = Field(default=None, max_length=254)
    mail: bool | None = None


class AccountAnswer(_Out):
    """An account after a change."""

    account: Account


class PasswordChange(_In):
    """A new password. Every token of the account is revoked."""

    old: Password
    new: Password


class TokenRequest(_In):
    """A new token. It takes the password: a token that was stolen cannot make others."""

    password: Password
    name: Line = Field(min_length=1, max_length=100, examples=["laptop"])
    scopes: list[ScopeName] = Field(min_length=1, max_length=3, examples=[["read", "submit"]])
    days: int | None = Field(default=90, ge=1, le=3650, description="For how long; null: until it is revoked.")


class RoleChange(_In):
    """What an account is to be."""

    role: Literal["organiser", "participant", "observer"]


# --- Challenges -------------------------------------------------------------------------------------------------------


class Metric(_Out):
    """What submissions are measured by; the first of a track ranks."""

    name: str
    title: str
    unit: Literal["nats", "fraction", "percent"]
    higher_is_better: bool


class TeamName(_Out):
    """A team as others see it."""

    id: Id
    name: str


class Goal(_Out):
    """What a stage asks for."""

    metric: str
    value: float


class GoalReached(_Out):
    """Who reached the goal of a stage first."""

    at: Time
    team: TeamName
    submission: Id | None


class Step(_Out):
    """A step of a conclusion."""

    name: str
    title: str
    started: Time | None
    finished: Time | None
    waits: str | None = Field(description="What it waits for, in words.")
    detail: dict[str, Any] | None


class Stage(_Out):
    """A round or a phase."""

    challenge: Name
    track: Name
    name: Name
    title: str
    ordinal: int
    state: StageState
    current: bool = Field(description="The one of its track that takes submissions now.")
    opens: Time | None
    closes: Time | None
    opened: Time | None
    closed: Time | None
    concluded: Time | None
    dry_run: bool
    phase: str | None
    code_required: bool
    prevalence: float | None = Field(description="Share of poisoned models; null of a language track.")
    goal: Goal | None
    goal_reached: GoalReached | None
    scorer: str = Field(description="The version of the scorer that the leaderboard shows.")
    steps: list[Step] | None = Field(description="How far its conclusion is; told to organisers alone.")


class SubmissionRule(_Out):
    """What a submission is."""

    kind: Literal["code", "outputs"]
    files: list[str]
    bytes: int


class Quota(_Out):
    """How many there may be; null is no limit."""

    per_day: int | None
    total: int | None


class Quotas(_Out):
    """What a team may submit."""

    scored: Quota
    attempted: Quota
    concurrent: int | None


class Feedback(_Out):
    """What is told of a score before a stage is concluded."""

    policy: Policy
    digits: int | None
    step: float | None
    level: float | None = Field(
        default=None, description="Of the bootstrap ladder: chance of any false 'better' over all that a team submits."
    )
    public: float | None = Field(
        default=None, description="Share of the data points that scores are told of before the end; null: all."
    )
    clip: float | None = Field(default=None, description="Probabilities are scored within [clip, 1 - clip].")
    words: str


class CodeLimits(_Out):
    """What code may use."""

    seconds: float
    memory: int
    processes: int
    scratch: int
    cpus: int
    gpus: int
    total_seconds: float | None


class Advance(_Out):
    """What concludes a stage and opens the next."""

    when: Literal["command", "date", "goal"]
    teams: int | None


class Track(_Out):
    """One kind of work."""

    name: Name
    title: str
    task: Literal["detection", "classification", "generation"]
    metrics: list[Metric]
    submission: SubmissionRule
    quotas: Quotas
    feedback: Feedback
    limits: CodeLimits
    advance: Advance
    stages: list[Stage]


class Registration(_Out):
    """Who may take part."""

    approval: Literal["open", "manual", "domain"]
    domains: list[str]


class TeamRules(_Out):
    """Rules of teams."""

    most_members: int


class Challenge(_Out):
    """A challenge."""

    name: Name
    title: str
    description: str = Field(description="Markdown.")
    stage_word: Literal["round", "phase"]
    registration: Registration
    teams: TeamRules
    tracks: list[Track]
    created: Time
    changed: Time


class TrackSummary(_Out):
    """A track in a list."""

    name: Name
    title: str
    task: Literal["detection", "classification", "generation"]
    current: Name | None = Field(description="The stage that takes submissions now.")


class ChallengeSummary(_Out):
    """A challenge in a list."""

    name: Name
    title: str
    stage_word: Literal["round", "phase"]
    tracks: list[TrackSummary]


class ConcludeRequest(_In):
    """How to conclude a stage."""

    submissions: list[Id] = Field(
        default=[], max_length=1000, description="Submissions to run on the holdout beside the best of each team."
    )


class RescoreRequest(_In):
    """By which version of the scorer."""

    scorer: Said | None = Field(default=None, min_length=1, max_length=64, description="By default the latest.")


class SwitchRequest(_In):
    """Which version of the scorer the leaderboard is to show."""

    scorer: Said = Field(min_length=1, max_length=64, examples=["2"])


class Rescored(_Out):
    """What was enqueued."""

    scorer: str
    evaluations: int


class StageCheck(_Out):
    """Whether a stage could open."""

    faults: list[str] = Field(description="Why it cannot; empty: it can.")


# --- Files and leaderboards -------------------------------------------------------------------------------------------


class File(_Out):
    """A published file."""

    path: str = Field(examples=["train/models/id-00000000/open/model.safetensors"])
    bytes: int
    sha256: Sha256


class Files(Page[File]):
    """Published files."""

    bytes: int = Field(description="Of all of them.")


class Value(_Out):
    """A score as far as it may be shown."""

    value: float
    text: str = Field(description="As a table shows it.")
    low: float | None = Field(default=None, description="The 95 % interval, where there is one and it may be shown.")
    high: float | None = None
    note: str = Field(default="", description="What there is to say of it: that it is the team's best, told again.")


Values = dict[str, Value | None]
"""By metric; null: there is none, or it may not be shown."""


class Failed(_Out):
    """Data points without an answer."""

    points: int
    failed: int


class HistoryPoint(_Out):
    """The best that was told of a team by some time."""

    at: Time
    value: float = Field(description="Of the metric that ranks.")


class LeakTeam(_Out):
    """What one team was told of the labels of a stage, at most."""

    team: TeamName
    submissions: int = Field(description="Of which it was decided whether anything is told.")
    tellings: int = Field(description="How often new values were told.")
    bits: float = Field(description="Told so far, at most.")
    share: float = Field(description="Of the bits of all labels; 1 is all of them.")


class LeakBudget(_Out):
    """How much of the labels of a stage the scores that were told may give away, at most: for organisers."""

    bits: float = Field(description="Told so far, to all teams together.")
    labels: float = Field(description="Bits of all labels of the split.")
    share: float = Field(description="Of these, what the team that was told most was told; 1 is all of them.")
    over: bool = Field(default=False, description="A team was told more than an organiser should be at ease with.")
    words: str
    teams: list[LeakTeam] = Field(default=[], description="Who was told most first.")


class Row(_Out):
    """One submission on a leaderboard."""

    rank: int | None = Field(description="Equal values share one; null: without a value, and last.")
    rank_low: int | None = Field(
        default=None, description="The best rank that it may have, by chance of the data points; null: not made yet."
    )
    rank_high: int | None = Field(default=None, description="The worst rank that it may have.")
    tied: bool = Field(default=False, description="It cannot be told apart from the best.")
    baseline: bool = Field(default=False, description="The organisers' own, for comparison.")
    team: TeamName
    mine: bool
    submission: Id | None = Field(description="Told to its team and to organisers.")
    ordinal: int
    created: Time
    scores: Values
    tasks: dict[str, Values]
    hidden: str | None = Field(default=None, description="Why none of its scores is shown, where none is.")
    holdout: Values | None = Field(description="When the stage is concluded, of those that were run on it.")
    failed: Failed | None
    missing: int | None = Field(default=None, description="Data points without an answer that can be scored.")
    seconds: float | None = Field(
        default=None, description="Of all data points together, where whoever asks may know how long they took."
    )
    distance: float | None = Field(
        default=None, description="Share of the way from guessing to the goal, 0 to 1, of the value that ranks."
    )
    history: list[HistoryPoint] = Field(default=[], description="How the best of its team came to be, oldest first.")
    goal_reached: bool


class BoardMetric(Metric):
    """A column of a leaderboard."""

    digits: int = Field(description="After the point.")


class Leaderboard(_Out):
    """A leaderboard as whoever asks may see it."""

    challenge: Name
    track: Name
    stage: Name
    title: str
    state: StageState
    all: bool = Field(description="Whether every submission is there, or the best of each team.")
    final: bool
    split: str = Field(default="test", description="That the scores are of.")
    splits: list[str] = Field(default=["test"], description="That there is something to be seen of.")
    ranked_by: Split
    hidden: str | None = Field(description="Why scores are not shown, where they are not.")
    policy: str = Field(default="", description="What is told of a score, in words.")
    metrics: list[BoardMetric]
    goal: Goal | None
    guess: float | None = Field(default=None, description="What guessing is worth, of the metric that ranks.")
    goal_reached: GoalReached | None
    leak: LeakBudget | None = Field(default=None, description="Told to organisers alone.")
    ranges_made: Time | None = Field(default=None, description="When the ranges of ranks were made.")
    revision: int = Field(default=0, description="Counts what changes a board; the same number is the same board.")
    made: Time
    rows: list[Row]


# --- Teams ------------------------------------------------------------------------------------------------------------


class TeamRequest(_In):
    """A new team."""

    name: Line = Field(min_length=1, max_length=80, examples=["The Weight Watchers"])


class BaselineRequest(_In):
    """Whether a team is the organisers' own, for comparison: it competes with nobody."""

    baseline: bool


class Member(_Out):
    """Somebody in a team."""

    id: Id
    name: str
    captain: bool
    joined: Time


class Team(_Out):
    """A team."""

    id: Id
    name: str
    state: TeamState
    created: Time
    mine: bool
    baseline: bool = Field(default=False, description="The organisers' own, which competes with nobody.")
    members: list[Member] = Field(description="Of one's own team, and for organisers; otherwise empty.")


class InvitationRequest(_In):
    """A new invitation."""

    uses: int = Field(default=1, ge=1, le=50, description="How many may join with it.")
    days: int = Field(default=7, ge=1, le=30)


class Invitation(_Out):
    """A code that lets whoever has it join."""

    code: str
    expires: Time
    uses: int


class JoinRequest(_In):
    """An invitation that was received."""

    code: Said = Field(min_length=1, max_length=100)


class DayUse(_Out):
    """What is used; a limit of null is none."""

    used: int
    limit: int | None


class Use(_Out):
    """What is used of a quota."""

    day: DayUse
    total: DayUse


class TrackQuota(_Out):
    """What a team may still submit to a track."""

    track: Name
    stage: Name | None = Field(description="The one that is open.")
    open: bool
    allowed: bool
    reason: str | None
    next_slot: Time | None
    scored: Use
    attempted: Use
    concurrent: DayUse


class QuotaAnswer(_Out):
    """What a team may still submit."""

    team: TeamName
    tracks: list[TrackQuota]


# --- Uploads and submissions ------------------------------------------------------------------------------------------


class UploadRequest(_In):
    """A file that is about to be sent."""

    sha256: Sha256
    bytes: int = Field(ge=1, le=1 << 50, examples=[4096])


class Upload(_Out):
    """A file that is on its way."""

    id: Id
    sha256: Sha256
    bytes: int
    offset: int = Field(description="Which byte comes next.")
    complete: bool
    expires: Time


class SubmissionRequest(_In):
    """A submission of a file that was uploaded before."""

    track: Said = Field(max_length=64, examples=["detection"])
    stage: Said | None = Field(default=None, max_length=64, description="By default the one that is open.")
    sha256: Sha256
    filename: Line = Field(min_length=1, max_length=200, examples=["detector.zip"])
    again: bool = Field(
        default=False, description="Accept the same bytes once more; otherwise they are the submission that is there."
    )


class Points(_Out):
    """How far an evaluation is."""

    done: int
    total: int | None


class Evaluation(_Out):
    """One submission on one split by one version of the scorer."""

    id: Id
    split: str
    scorer: str
    current: bool = Field(description="Whether it is by the version that the leaderboard shows.")
    state: EvaluationState
    reason: str | None
    created: Time
    finished: Time | None
    scores: Values | None
    tasks: dict[str, Values]
    points_shown: bool = Field(default=False, description="Whether whoever asks may see its single data points.")
    points: int | None = Field(default=None, description="Data points that it has.")
    missing: int | None = Field(default=None, description="Data points without an answer that can be scored.")
    seconds: float | None = Field(
        default=None, description="Of all data points together, where whoever asks may know how long they took."
    )


class Submission(_Out):
    """A submission."""

    id: Id
    challenge: Name
    track: Name
    stage: Name
    team: TeamName
    account: str
    ordinal: int
    kind: SubmissionKind
    filename: str
    sha256: Sha256
    bytes: int
    state: SubmissionState
    progress: Literal["queued", "running"] | None
    progress_points: Points | None
    reason: str | None
    created: Time
    started: Time | None
    finished: Time | None
    goal_reached: bool
    scores: Values | None
    tasks: dict[str, Values]
    hidden: str | None = Field(description="Why scores are not shown, where they are not.")
    evaluations: list[Evaluation]
    command: str | None = Field(default=None, description="What does the same on one's own machine.")
    failures: dict[str, int] = Field(
        default={}, description="Data points without an answer, by why, where whoever asks may know it."
    )
    job: Id | None = Field(default=None, description="What can be tried again, where it can: told to organisers.")
    worker: str | None = Field(default=None, description="What runs it just now: told to organisers.")


class DataPoint(_Out):
    """What came of one data point of an evaluation."""

    name: str
    poisoned: bool
    probability: float | None = Field(description="Null: there is none, and it is scored as a guess.")
    missing: bool
    error: str | None
    seconds: float | None
    factors: dict[str, str] = Field(default={}, description="What the data point was made with.")


class DataPoints(_Out):
    """What came of each data point of an evaluation."""

    submission: Id
    evaluation: Id
    split: str
    points: list[DataPoint]


class TeamPage(_Out):
    """What a team needs to know of itself."""

    challenge: Name
    title: str
    team: Team | None = Field(description="Null: whoever asks is in none.")
    quotas: list[TrackQuota]
    submissions: list[Submission] = Field(description="The latest first.")
    next: str | None = Field(default=None, description="More of them: `after` of the list of submissions.")
    tokens: list[Token] = Field(default=[], description="Of the account that asks, those that can be used.")
    made: Time


# --- What organisers see ----------------------------------------------------------------------------------------------


class WebhookRequest(_In):
    """A new webhook."""

    url: Said = Field(min_length=1, max_length=2000, examples=["https://example.org/hook"])
    events: list[Said] = Field(default=["*"], min_length=1, max_length=50, examples=[["submission.scored"]])
    all: bool = Field(
        default=False, description="Every event of the challenge, not those of one's team: for organisers."
    )


class Webhook(_Out):
    """Where events are posted."""

    id: Id
    url: str
    events: list[str]
    team: Id | None
    created: Time


class NewWebhook(Webhook):
    """A new webhook."""

    secret: str = Field(description="Signs what is posted; told once.")


class AuditLine(_Out):
    """Who did what to what, and when."""

    number: int
    at: Time
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class Job(_Out):
    """Something that is due."""

    id: Id
    kind: str
    subject: str
    state: JobState
    stuck: bool = Field(description="It has failed, waits for longer than it should, or was given up and tried again.")
    submission: Id | None
    worker: str | None
    due: Time
    lease_until: Time | None
    attempts: int
    losses: int
    reason: str | None
    created: Time
    started: Time | None
    finished: Time | None


class Jobs(Page[Job]):
    """Jobs of a challenge."""

    counts: dict[str, dict[str, int]] = Field(description="How many there are, by kind and state.")


class Worker(_Out):
    """A process that does jobs."""

    name: str
    kinds: list[str]
    host: str
    process: int
    started: Time
    seen: Time
    stopped: Time | None


class StageLeak(_Out):
    """What the scores of a stage may have given away."""

    track: Name
    stage: Name
    title: str
    leak: LeakBudget


class Organising(_Out):
    """Everything that an organiser should look at, and where to do something about it."""

    challenge: Name
    title: str
    stuck: list[Job] = Field(description="Jobs that have failed, are late or were given up; the latest first.")
    counts: dict[str, dict[str, int]] = Field(default={}, description="How many jobs there are, by kind and state.")
    failing: list[Submission] = Field(default=[], description="The latest submissions that have failed.")
    waiting_accounts: list[Account] = Field(description="That wait for approval.")
    waiting_teams: list[Team] = Field(description="That wait for approval.")
    stages: list[Stage]
    leaks: list[StageLeak] = Field(default=[], description="Of stages that were opened.")
    audit: list[AuditLine] = Field(description="The latest lines, the last first.")
    workers: list[Worker]
    made: Time
