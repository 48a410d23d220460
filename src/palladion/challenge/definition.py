"""``challenge.yaml``: what a challenge is, in one file.

A file is checked as a whole: every fault is told at once, with its line. Unknown keys are refused. What is checked here
needs nothing but the file; whether the data of the stages is there, and whether it scores as it should, is the business
of :mod:`palladion.rounds.stage_data`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from palladion.challenge.fields import Fault, Name, Strict, Title, at_least_one, faults_of, nearest, together
from palladion.challenge.metrics import LANGUAGE_TASKS, Metric, Task, metric_of, metrics_of
from palladion.challenge.settings import Advance, Feedback, Limits, Quotas, Registration, SubmissionRule, Teams
from palladion.challenge.stages import Stage, drafts_of, stage_faults
from palladion.challenge.success import Criterion, goal_value
from palladion.documents import parse_document
from palladion.errors import InputError

__all__ = [
    "CHALLENGE_FILE",
    "Challenge",
    "Track",
    "challenge_path",
    "challenge_schema",
    "load_challenge",
    "parse_challenge",
]

CHALLENGE_FILE: Final = "challenge.yaml"
_MAXIMUM_BYTES: Final = 1 << 20


class Track(Strict):
    """One kind of work, and the stages that it goes through.

    Attributes:
        name: within the challenge.
        title: one line for people.
        task: what its submissions do.
        metrics: their names; the first ranks.
        submission: what one is.
        quotas: what a team may submit.
        feedback: what it is told before a stage is concluded.
        limits: what code may use.
        clusters: columns of the metadata of a detection round: models that share all their words in them fail together,
            and are drawn together wherever intervals and ranges of ranks are made.
        advance: what concludes a stage and opens the next.
        stages: in their order.
    """

    name: Name
    title: Title
    task: Task
    metrics: Annotated[Sequence[str], *at_least_one(20)]
    submission: SubmissionRule
    quotas: Quotas = Quotas()
    feedback: Feedback = Feedback()
    limits: Limits = Limits()
    clusters: Annotated[tuple[Title, ...], Field(max_length=10)] = ()
    advance: Advance = Advance()
    stages: Annotated[Sequence[Stage], *at_least_one(1000)]

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: Sequence[str], info: ValidationInfo) -> Sequence[str]:
        task = info.data.get("task")
        if task is not None and (faults := list(_metric_faults(task, metrics))):
            raise together(cls.__name__, faults)
        return metrics

    @field_validator("submission")
    @classmethod
    def _fits(cls, submission: SubmissionRule, info: ValidationInfo) -> SubmissionRule:
        task = info.data.get("task")
        wanted = "outputs" if task in LANGUAGE_TASKS else "code"
        if task is not None and submission.kind != wanted:
            message = f"a submission to a {task} track is {wanted}, not {submission.kind}"
            raise together(cls.__name__, [(("kind",), message)])
        return submission

    @field_validator("feedback")
    @classmethod
    def _clips_what_there_is(cls, feedback: Feedback, info: ValidationInfo) -> Feedback:
        task = info.data.get("task")
        if feedback.clip is not None and task in LANGUAGE_TASKS:
            message = f"the answers of a {task} track are no probabilities; leave it out"
            raise together(cls.__name__, [(("clip",), message)])
        return feedback

    @field_validator("clusters")
    @classmethod
    def _clusters_fit(cls, clusters: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        task = info.data.get("task")
        if clusters and task in LANGUAGE_TASKS:
            raise ValueError(f"does not belong to a {task} track, whose data points are rows; leave it out")
        twice = next((name for i, name in enumerate(clusters) if name in clusters[:i]), None)
        if twice is not None:
            raise ValueError(f"{twice!a} is there twice")
        return clusters

    @field_validator("stages", mode="wrap")
    @classmethod
    def _one_after_the_other(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        stages: Any = None
        others: list[Any] = []
        try:
            stages = handler(value)
        except ValidationError as error:
            others = faults_of(error)
        known = info.data
        metrics, task = known.get("metrics"), known.get("task")
        metric = metric_of(task, metrics[0]) if task is not None and metrics else None
        drafts = drafts_of(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
        faults = list(stage_faults(drafts, task, metric, known.get("advance")))
        if faults or others:
            raise together(cls.__name__, faults, others)
        return stages

    @property
    def metric(self) -> Metric:
        """The metric that ranks."""
        return metric_of(self.task, self.metrics[0])

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """The metrics in their order; the first ranks."""
        return tuple(metric_of(self.task, name) for name in self.metrics)

    def stage(self, name: str) -> Stage:
        """One stage.

        Raises:
            InputError: there is none of this name.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise InputError(
            f"track {self.name} has no stage {name[:80]!a}; {nearest(name, [stage.name for stage in self.stages])}"
        )

    def next_stage(self, name: str) -> Stage | None:
        """The stage that follows; None after the last. Raises as :meth:`stage`."""
        place = self.stages.index(self.stage(name)) + 1
        return self.stages[place] if place < len(self.stages) else None

    def criterion(self, stage: Stage) -> Criterion:
        """What a stage asks for: as its file says, or by default ``half``, and ``none`` of dry runs and languages."""
        if stage.dry_run:
            return "none"
        if stage.success is not None:
            return stage.success
        return "none" if self.task in LANGUAGE_TASKS else "half"

    def goal(self, stage: Stage) -> float | None:
        """The value of the metric that ranks which a stage asks for; None where it asks for none."""
        return goal_value(self.metric, stage.prevalence, self.criterion(stage))


class Challenge(Strict):
    """What ``challenge.yaml`` says.

    Attributes:
        format: of the file itself.
        name: for commands and addresses.
        title: one line for people.
        description: Markdown for people; may be empty.
        stage_word: what pages call a stage.
        registration: who may have an account.
        teams: their rules.
        tracks: at least one.
    """

    format: Literal["palladion-challenge/1"]
    name: Name
    title: Title
    description: str = Field(default="", max_length=50_000)
    stage_word: Literal["round", "phase"] = "round"
    registration: Registration = Registration()
    teams: Teams = Teams()
    tracks: Annotated[Sequence[Track], *at_least_one(100)]

    @field_validator("description")
    @classmethod
    def _text(cls, text: str) -> str:
        strange = next((sign for sign in text if not sign.isprintable() and sign not in "\n\t"), None)
        if strange is not None:
            raise ValueError(f"has the character {strange!a} in it, which is no text")
        return text

    @field_validator("tracks", mode="wrap")
    @classmethod
    def _own_names(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        tracks: Any = None
        others: list[Any] = []
        try:
            tracks = handler(value)
        except ValidationError as error:
            others = faults_of(error)
        faults = list(_same_tracks(value))
        if faults or others:
            raise together(cls.__name__, faults, others)
        return tracks

    def track(self, name: str) -> Track:
        """One track.

        Raises:
            InputError: there is none of this name.
        """
        for track in self.tracks:
            if track.name == name:
                return track
        raise InputError(
            f"challenge {self.name} has no track {name[:80]!a}; {nearest(name, [track.name for track in self.tracks])}"
        )


def _metric_faults(task: Task, metrics: Sequence[str]) -> Iterator[Fault]:
    known = metrics_of(task)
    for i, name in enumerate(metrics):
        if name not in known:
            yield (i,), f"there is no metric {name[:80]!a} of {task}; {nearest(name, known)}"
        elif name in metrics[:i]:
            yield (i,), f"{name} is there twice"
        elif i == 0 and not known[name].ranks:
            ranking = ", ".join(other for other, metric in known.items() if metric.ranks)
            yield (i,), f"{name} cannot be the first, which ranks: worthless answers do well in it; take {ranking}"


def _same_tracks(value: object) -> Iterator[Fault]:
    seen: set[str] = set()
    for i, track in enumerate(value if isinstance(value, list | tuple) else ()):
        name = track.get("name") if isinstance(track, dict) else getattr(track, "name", None)
        if isinstance(name, str):
            if name in seen:
                yield (i, "name"), f"there is another track {name[:80]!a} before; give each its own name"
            seen.add(name)


def challenge_path(path: Path) -> Path:
    """The challenge file itself: ``path``, or the ``challenge.yaml`` in the folder ``path``."""
    return path / CHALLENGE_FILE if path.is_dir() else path


def load_challenge(path: Path) -> Challenge:
    """Read the challenge file ``path``, or the one in the folder ``path``.

    Raises:
        InputError: there is none, or it is not as it must be; every fault with its line.
    """
    path = challenge_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES + 1)
        if len(content) > _MAXIMUM_BYTES:
            raise InputError("is larger than 1 MiB; this is not a file of settings", path=path)
        return parse_challenge(content.decode("utf-8"), path)
    except FileNotFoundError:
        raise InputError("there is no such file; palladion challenge new makes one", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None


def parse_challenge(text: str, path: Path | str = CHALLENGE_FILE) -> Challenge:
    """Read the text of a challenge file, which came from ``path``. Raises as :func:`load_challenge`."""
    path = Path(path)
    try:
        return parse_document(text, path, Challenge)
    except ValueError as error:
        # YAML's own readers of dates and of numbers with thousands of digits.
        raise InputError(f"cannot be read: {str(error)[:100]}", path=path, line=_unreadable_line(text)) from None


def _unreadable_line(text: str) -> int | None:
    """Line of the first value that YAML cannot make, such as the 30th of February."""
    constructor = yaml.SafeLoader("")
    waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    lines = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.ScalarNode):
            try:
                constructor.construct_object(node)
            except ValueError:
                lines.append(node.start_mark.line + 1)
    return min(lines, default=None)


def challenge_schema() -> dict[str, Any]:
    """JSON Schema of a challenge file, for editors and for other programs.

    What no schema can say stays with :func:`load_challenge`: what compares one key with another.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Challenge.model_json_schema()}
