"""What the service answers, as typed objects.

What a newer server adds is left out; what is missing, or of another kind, is a fault of the server. Text in them is as
the server sent it: whoever prints it makes it printable first (:mod:`palladion.client.words`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from palladion.client.errors import ServerFault

__all__ = [
    "Account",
    "AccountMade",
    "Board",
    "BoardMetric",
    "BoardRow",
    "Challenge",
    "ChallengeSummary",
    "Evaluation",
    "Goal",
    "GoalReached",
    "Invitation",
    "Job",
    "LoggedIn",
    "Me",
    "Member",
    "Membership",
    "Metric",
    "PublishedFile",
    "QuotaReport",
    "Rescoring",
    "ServerInfo",
    "Stage",
    "Step",
    "Submission",
    "SubmissionRule",
    "Team",
    "TeamName",
    "Track",
    "TrackQuota",
    "TrackSummary",
    "Upload",
    "UploadRule",
    "Use",
    "UseOf",
    "Value",
    "read_answer",
    "to_document",
]

Answer = TypeVar("Answer")
_MOST_FAULTS: Final = 3


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("has no zone")
    return instant


Instant = Annotated[datetime, AfterValidator(_aware)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0, le=1 << 60)]
Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Account:
    """An account; ``state`` is pending, active or disabled."""

    id: Id
    name: str
    role: str
    state: str
    email: str | None = None
    created: Instant | None = None


@dataclass(frozen=True, slots=True)
class AccountMade:
    """A new account, and in words what happens next."""

    account: Account
    message: str = ""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A new token; not part of what is printed of this object."""

    account: Account
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TeamName:
    """A team, by its name."""

    id: Id
    name: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A team that an account is in."""

    challenge: Name
    id: Id
    name: str
    state: str = "approved"
    captain: bool = False


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks, and the teams of that account."""

    account: Account
    teams: tuple[Membership, ...] = ()


@dataclass(frozen=True, slots=True)
class UploadRule:
    """How files are sent: how large one may be, and a part of it that is sent at a time."""

    most_bytes: Bytes | None = None
    chunk_bytes: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """Who else people can log in with: in a browser, beginning at ``start``."""

    title: str
    start: str


@dataclass(frozen=True, slots=True)
class LoginRule:
    """How people log in."""

    password: bool = True
    oidc: Provider | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a client needs to know of a server."""

    name: str
    version: str = ""
    login: LoginRule = LoginRule()
    uploads: UploadRule = UploadRule()


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; ``unit`` is nats, fraction or percent."""

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class BoardMetric(Metric):
    """A column of a leaderboard; ``digits`` after the point."""

    digits: Annotated[int, Field(ge=0, le=17)] = 4


@dataclass(frozen=True, slots=True)
class SubmissionRule:
    """What a submission to a track is: ``code`` or ``outputs``, files that it must hold, most bytes when unpacked."""

    kind: str
    files: tuple[str, ...] = ()
    bytes: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """The value of a metric that a stage asks for."""

    metric: str
    value: Number


@dataclass(frozen=True, slots=True)
class GoalReached:
    """Who reached it first, and when."""

    at: Instant
    team: TeamName
    submission: Id | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the conclusion of a stage; ``waits``: what it waits for, in words."""

    name: str
    title: str = ""
    started: Instant | None = None
    finished: Instant | None = None
    waits: str | None = None
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage; ``state`` is planned, open, closed or concluded. ``steps`` are the organiser's to see."""

    challenge: Name
    track: Name
    name: Name
    title: str
    state: str
    opens: Instant | None = None
    closes: Instant | None = None
    opened: Instant | None = None
    closed: Instant | None = None
    concluded: Instant | None = None
    phase: Name | None = None
    code_required: bool = False
    goal: Goal | None = None
    goal_reached: GoalReached | None = None
    current: bool = False
    scorer: str = ""
    steps: tuple[Step, ...] | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A track; the first of its metrics ranks."""

    name: Name
    title: str
    task: str
    submission: SubmissionRule
    metrics: tuple[Metric, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge with its tracks and their stages."""

    name: Name
    title: str
    tracks: tuple[Track, ...]
    stage_word: str = "stage"


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """A track in a list; ``current`` is the stage that takes submissions."""

    name: Name
    title: str
    task: str
    current: str | None = None


@dataclass(frozen=True, slots=True)
class ChallengeSummary:
    """A challenge in a list."""

    name: Name
    title: str
    tracks: tuple[TrackSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a team."""

    name: str
    captain: bool = False
    joined: Instant | None = None


@dataclass(frozen=True, slots=True)
class Team:
    """A team; ``state`` is pending, approved or refused."""

    id: Id
    name: str
    state: str = "approved"
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Invitation:
    """A code with which others join a team."""

    code: str
    expires: Instant | None = None
    uses: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is used; None is no limit."""

    used: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class UseOf:
    """Use of the limits of any 24 hours, and in total."""

    day: Use
    total: Use


@dataclass(frozen=True, slots=True)
class TrackQuota:
    """What a team has left in a track; where nothing, ``reason`` says why, and ``next_slot`` when it has."""

    track: Name
    scored: UseOf
    attempted: UseOf
    concurrent: Use
    stage: str | None = None
    open: bool = True
    allowed: bool = True
    reason: str | None = None
    next_slot: Instant | None = None


@dataclass(frozen=True, slots=True)
class QuotaReport:
    """What a team has left."""

    team: TeamName
    tracks: tuple[TrackQuota, ...] = ()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way; ``offset`` bytes of it have arrived."""

    id: Id
    sha256: Digest
    bytes: Bytes
    offset: Bytes
    complete: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A score as it may be shown, ``text`` as a table shows it, with its interval where it has one."""

    value: Number
    text: str = ""
    low: Number | None = None
    high: Number | None = None
    note: str = ""


Scores = Mapping[str, Value | None]


@dataclass(frozen=True, slots=True)
class Progress:
    """Data points that are done."""

    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One submission on one split."""

    split: str
    state: str
    scorer: str = ""
    current: bool = True
    reason: str | None = None
    created: Instant | None = None
    finished: Instant | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission; ``state`` is pending, scored, failed, rejected or cancelled.

    ``progress`` is queued or running, of a pending one; ``hidden`` says why scores are not shown.
    """

    id: Id
    challenge: Name
    track: Name
    stage: Name
    team: TeamName
    filename: str
    state: str
    created: Instant
    ordinal: int = 0
    kind: str = ""
    sha256: Digest | None = None
    account: str = ""
    progress: str | None = None
    progress_points: Progress | None = None
    reason: str | None = None
    started: Instant | None = None
    finished: Instant | None = None
    goal_reached: bool = False
    scores: Scores | None = None
    tasks: Mapping[str, Scores] = field(default_factory=dict)
    hidden: str | None = None
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more by itself."""
        return self.state != "pending"


@dataclass(frozen=True, slots=True)
class Failures:
    """Data points, and how many of them failed."""

    points: int
    failed: int


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One row of a leaderboard."""

    rank: int | None
    team: TeamName
    scores: Scores
    mine: bool = False
    submission: Id | None = None
    ordinal: int = 0
    created: Instant | None = None
    tasks: Mapping[str, Scores] = field(default_factory=dict)
    holdout: Scores | None = None
    failed: Failures | None = None
    goal_reached: bool = False
    rank_low: int | None = None
    rank_high: int | None = None
    tied: bool = False
    baseline: bool = False
    distance: Number | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """A leaderboard; ``hidden`` says why scores are not shown, ``policy`` what is told of them."""

    challenge: Name
    track: Name
    stage: Name
    title: str
    state: str
    metrics: tuple[BoardMetric, ...]
    rows: tuple[BoardRow, ...]
    all: bool = False
    final: bool = False
    ranked_by: str = "test"
    hidden: str | None = None
    goal: Goal | None = None
    goal_reached: GoalReached | None = None
    made: Instant | None = None
    split: str = "test"
    policy: str = ""
    ranges_made: Instant | None = None


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a stage's open data. ``path`` is the server's word: it may say anything."""

    path: str
    bytes: Bytes
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a server has to do."""

    id: Id
    kind: str
    state: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Rescoring:
    """Evaluations that a new version of the scorer does again."""

    scorer: str
    evaluations: int = 0


def to_document(answer: object) -> Any:
    """An object as JSON has it, with the names that the server uses."""
    return _reader(cast("Any", type(answer))).dump_python(answer, mode="json")


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_answer(kind: type[Answer], document: object) -> Answer:
    """A document of the server as an object.

    Raises:
        ServerFault: it is none of this kind.
    """
    try:
        answer: Answer = _reader(cast("Any", kind)).validate_python(document)
    except (ValidationError, RecursionError) as error:
        raise ServerFault(f"the server's answer is not what was asked for: {_faults(error)}") from None
    return answer


def _faults(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    faults: Sequence[Any] = error.errors(include_url=False, include_input=False)
    shown = [f"{'.'.join(map(str, fault['loc'])) or 'all of it'}: {fault['msg']}" for fault in faults[:_MOST_FAULTS]]
    return "; ".join(shown)
