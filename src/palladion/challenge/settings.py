"""The parts of a challenge file that stand for themselves: who may take part, quotas, feedback, limits, advance."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from palladion.challenge.fields import Count, RelativePath, Size, Strict

__all__ = [
    "Advance",
    "Feedback",
    "Limits",
    "Quota",
    "Quotas",
    "Registration",
    "SubmissionRule",
    "Teams",
]

_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def _domain(text: str) -> str:
    if _DOMAIN.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!a} is no domain in lower-case letters, such as example.org")
    return text


Domain = Annotated[str, AfterValidator(_domain)]


class Registration(Strict):
    """Who may have an account.

    Attributes:
        approval: ``open``: everybody; ``manual``: who an organiser approves; ``domain``: at once whose mail is of one
            of the domains, others when an organiser approves.
        domains: of ``domain`` alone.
    """

    approval: Literal["open", "manual", "domain"] = "open"
    domains: tuple[Domain, ...] = Field(default=(), max_length=1000, validate_default=True)

    @field_validator("domains")
    @classmethod
    def _fit(cls, domains: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        approval = info.data.get("approval")
        if approval == "domain" and not domains:
            raise ValueError("approval by domain needs at least one, such as domains: [example.org]")
        if approval in ("open", "manual") and domains:
            raise ValueError(f"does not belong to approval: {approval}; leave it out, or write approval: domain")
        return domains


class Teams(Strict):
    """Rules of teams. An account is in one team of a challenge.

    Attributes:
        most_members: of a team.
    """

    most_members: Count = 6


class Quota(Strict):
    """How many submissions a team may have; None is no limit.

    Attributes:
        per_day: within any 24 hours.
        total: in the track.
    """

    per_day: Count | None = None
    total: Count | None = None


class Quotas(Strict):
    """What a team may submit to a track.

    Attributes:
        scored: submissions that got a score, or still may.
        attempted: all that were accepted, those that failed among them.
        concurrent: submissions that have not ended yet, at a time; None is no limit.
    """

    scored: Quota = Quota()
    attempted: Quota = Quota()
    concurrent: Count | None = None


class SubmissionRule(Strict):
    """What a submission is.

    Attributes:
        kind: ``code`` that is run here, or ``outputs`` that were made elsewhere.
        files: that it must hold, beside what its kind and its track ask for.
        bytes: most that it has, unpacked.
    """

    kind: Literal["code", "outputs"]
    files: tuple[RelativePath, ...] = Field(default=(), max_length=1000)
    bytes: Size = 512 << 20

    @field_validator("files")
    @classmethod
    def _once(cls, files: Sequence[str]) -> Sequence[str]:
        twice = next((file for i, file in enumerate(files) if file in files[:i]), None)
        if twice is not None:
            raise ValueError(f"{twice!a} is there twice")
        return files


_DECIMALS = {"exact": 4, "rounded": 3}
_LADDERS = ("ladder", "bootstrap_ladder")
_LEVEL = 0.05


class Feedback(Strict):
    """What participants are told of a sealed score before the stage is concluded.

    Attributes:
        policy: ``exact``: the value; ``rounded``: the value to so many digits, and nothing else ever; ``ladder``: a
            new value only where it is better than the team's best by a step; ``bootstrap_ladder``: only where it is
            better than the team's best, or at first than guessing, by more than chance; ``none``: nothing.
        digits: after the point: of ``exact`` those that tables show, 4 by default; of ``rounded`` those that there
            are, 3 by default. None of the others.
        step: that told values are rounded to, in the unit of the metrics. ``ladder`` needs one; of
            ``bootstrap_ladder`` None is 0.01, and of percentages 1. None of the others.
        level: of ``bootstrap_ladder`` alone: the chance that a team which makes no progress is ever told that it did,
            over all its submissions to a stage together, however many there are.
        public: the share of the data points that told values are computed on, the others being for the final values;
            None: all of them, for both.
        clip: probabilities are clipped to [clip, 1 − clip] before a sealed split is scored; None: as the metric does.
    """

    policy: Literal["exact", "rounded", "ladder", "bootstrap_ladder", "none"] = "bootstrap_ladder"
    digits: Annotated[int, Field(ge=0, le=12, strict=True)] | None = Field(default=None, validate_default=True)
    step: Annotated[float, Field(gt=0, le=1000, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, validate_default=True
    )
    level: Annotated[float, Field(gt=0, le=0.5, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, validate_default=True
    )
    public: Annotated[float, Field(gt=0, lt=1, strict=True, allow_inf_nan=False)] | None = None
    clip: Annotated[float, Field(ge=1e-12, lt=0.5, strict=True, allow_inf_nan=False)] | None = None

    @field_validator("digits")
    @classmethod
    def _digits_fit(cls, digits: int | None, info: ValidationInfo) -> int | None:
        policy = info.data.get("policy")
        if digits is None:
            return _DECIMALS.get(str(policy))
        if policy is not None and policy not in _DECIMALS:
            # Not taken for policy: rounded where none is named: that tells more than the default does.
            which = f"{policy}, which is the default" if policy == cls.model_fields["policy"].default else policy
            raise ValueError(
                f"does not belong to policy: {which}; leave it out, or write policy: rounded beside it, which tells "
                "the value to so many digits, or policy: exact, which shows so many"
            )
        return digits

    @field_validator("step")
    @classmethod
    def _step_fits(cls, step: float | None, info: ValidationInfo) -> float | None:
        policy = info.data.get("policy")
        if policy == "ladder" and step is None:
            raise ValueError("policy: ladder needs one, such as step: 0.01")
        if policy not in (None, *_LADDERS) and step is not None:
            raise ValueError(f"does not belong to policy: {policy}; leave it out")
        return step

    @field_validator("level")
    @classmethod
    def _level_fits(cls, level: float | None, info: ValidationInfo) -> float | None:
        policy = info.data.get("policy")
        if policy == "bootstrap_ladder":
            return _LEVEL if level is None else level
        if level is not None and policy is not None:
            raise ValueError(f"does not belong to policy: {policy}; leave it out, or write policy: bootstrap_ladder")
        return level


class Limits(Strict):
    """What code may use. A size is in bytes.

    Attributes:
        seconds: wall time of each data point.
        memory: of each data point.
        processes: processes and threads at a time.
        scratch: files that it may write for each data point.
        cpus: processors.
        gpus: graphics processors.
        total_seconds: wall time of all data points of a split together; None is no limit.
    """

    seconds: Annotated[float, Field(gt=0, le=604_800, strict=True, allow_inf_nan=False)] = 600.0
    memory: Size = 4 << 30
    processes: Count = 256
    scratch: Size = 2 << 30
    cpus: Annotated[int, Field(ge=1, le=4096, strict=True)] = 1
    gpus: Annotated[int, Field(ge=0, le=1024, strict=True)] = 0
    total_seconds: Annotated[float, Field(gt=0, le=31_536_000, strict=True, allow_inf_nan=False)] | None = None


class Advance(Strict):
    """What concludes a stage and opens the next.

    Attributes:
        when: ``command``: an organiser; ``date``: the day that it closes; ``goal``: enough teams that have reached it.
        teams: of ``goal`` alone: how many, 1 by default.
    """

    when: Literal["command", "date", "goal"] = "command"
    teams: Count | None = Field(default=None, validate_default=True)

    @field_validator("teams")
    @classmethod
    def _fits(cls, teams: int | None, info: ValidationInfo) -> int | None:
        when = info.data.get("when")
        if when == "goal":
            return 1 if teams is None else teams
        if teams is not None and when is not None:
            raise ValueError(f"does not belong to when: {when}; leave it out, or write when: goal")
        return teams
