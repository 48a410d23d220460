"""``track.yaml``: what the participants of one phase of a language track need to know.

It stands beside the models and the inputs that it names::

    track.yaml
    models/task1/model1/      adapters, or whole models
    validation/task1/         with answers, where the phase has any
    test/task1/               inputs only

A track is of one kind, ``classification`` or ``generation``, and has tasks; a task has models and the output files that
a submission holds for it. Every path in the file is relative to its folder and stays in it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from palladion.challenge.fields import Name, RelativePath, Strict, Title, matching, one_line
from palladion.documents import load_document
from palladion.errors import InputError

__all__ = [
    "OUTPUT_SUFFIX",
    "TRACK_FILE",
    "ClassificationSettings",
    "GenerationSettings",
    "OutputFile",
    "SubmissionLimits",
    "Task",
    "TrackFile",
    "input_file",
    "load_track",
    "model_folders",
    "track_path",
    "track_schema",
    "validation_folder",
]

TRACK_FILE: Final = "track.yaml"
OUTPUT_SUFFIX: Final = {"classification": ".csv", "generation": ".json"}
"""How the names of a track's output files end."""

_TASK = r"[a-z0-9][a-z0-9_-]{0,63}"
_OUTPUT = r"[A-Za-z0-9][A-Za-z0-9_-]{0,90}\.(csv|json)"


def _at_least(least: int) -> tuple[AfterValidator, Any]:
    """Asks for so many parts, only once each of them is right, and makes them a tuple."""

    def check(parts: Sequence[Any]) -> tuple[Any, ...]:
        if len(parts) < least:
            raise ValueError(f"must hold at least {least}")
        return tuple(parts)

    return AfterValidator(check), Field(json_schema_extra={"minItems": least})


_TASK_RULE = matching(_TASK, "lower-case letters, digits, _ and -, at most 64")
_OUTPUT_RULE = matching(_OUTPUT, "a plain name of letters, digits, _ and - that ends in .csv or .json")

TaskName = Annotated[str, *_TASK_RULE]
OutputName = Annotated[str, *_OUTPUT_RULE]
LabelName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(one_line)]


class GenerationSettings(Strict):
    """How models of a generation track are asked, unless whoever asks them says otherwise.

    Attributes:
        max_new_tokens: most tokens of an answer.
    """

    max_new_tokens: int = Field(default=256, ge=1, le=65_536, strict=True)


class ClassificationSettings(Strict):
    """How models of a classification track are asked, unless whoever asks them says otherwise.

    Attributes:
        max_length: tokens of a sentence that the model sees; the rest is cut off.
    """

    max_length: int = Field(default=128, ge=1, le=1_048_576, strict=True)


class SubmissionLimits(Strict):
    """How large a submission may be.

    Attributes:
        bytes: size of all its files, unpacked.
    """

    bytes: int = Field(default=256 << 20, ge=1, le=1 << 40, strict=True)


class OutputFile(Strict):
    """One file of a submission.

    Attributes:
        file: its name, at the root of the submission.
        inputs: the file with the inputs that it answers, row by row.
        rows: how many they are.
    """

    file: OutputName
    inputs: RelativePath
    rows: int = Field(ge=1, le=10_000_000, strict=True)


class Task(Strict):
    """One task of a track.

    Attributes:
        name: such as ``task1``.
        title: one line for people.
        labels: names of the classes 0, 1, …; of classification only.
        models: folders with the task's models.
        validation: folder with inputs and answers; None where the phase has none.
        outputs: the files that a submission holds for the task; it counts 0 without them.
    """

    name: TaskName
    title: Title
    labels: Annotated[Sequence[LabelName], *_at_least(2)] | None = None
    models: Annotated[Sequence[RelativePath], *_at_least(1)]
    validation: RelativePath | None = None
    outputs: Annotated[Sequence[OutputFile], *_at_least(1)]

    @property
    def classes(self) -> int | None:
        """How many classes there are; None for generation."""
        return None if self.labels is None else len(self.labels)

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Task":
        for what, names in (("label", self.labels or ()), ("model", self.models)):
            if twice := _twice(names):
                raise ValueError(f"the {what} {twice[0]!a} is there twice")
        return self


class TrackFile(Strict):
    """What ``track.yaml`` says.

    Attributes:
        format: of the file itself.
        name: of the track, such as ``antibad-classification``.
        title: one line for people.
        track: what its models do.
        phase: of the challenge.
        score: by which submissions are ranked: ``geometric`` is sqrt(U·(100 - ASR)), ``difference`` U - ASR.
        utility: what U is; ``accuracy`` for classification and only there.
        generation: settings of a generation track.
        classification: settings of a classification track.
        code_required: a submission must hold ``code/`` with a README.
        limits: how large a submission may be.
        tasks: what is to be answered.
    """

    format: Literal["palladion-track/1"]
    name: Name
    title: Title
    track: Literal["classification", "generation"]
    phase: Literal["development", "test"]
    score: Literal["geometric", "difference"] = "geometric"
    utility: Literal["accuracy", "exact", "token_f1", "rouge_l", "chrf", "bleu"]
    generation: GenerationSettings | None = None
    classification: ClassificationSettings | None = None
    code_required: bool = Field(default=False, strict=True)
    limits: SubmissionLimits = SubmissionLimits()
    tasks: Annotated[Sequence[Task], *_at_least(1)]

    @property
    def outputs(self) -> list[tuple[Task, OutputFile]]:
        """All files of a whole submission, each with its task, in the tasks' order."""
        return [(task, output) for task in self.tasks for output in task.outputs]

    @property
    def max_new_tokens(self) -> int:
        """Most tokens of an answer, of a generation track."""
        return (self.generation or GenerationSettings()).max_new_tokens

    @property
    def max_length(self) -> int:
        """Tokens of a sentence that the model sees, of a classification track."""
        return (self.classification or ClassificationSettings()).max_length

    @model_validator(mode="after")
    def _one_kind(self) -> "TrackFile":
        faults = list(self._faults())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        other = "generation" if self.track == "classification" else "classification"
        if getattr(self, other) is not None:
            yield f"the settings {other!r} do not belong to a {self.track} track; leave them out"
        if (self.utility == "accuracy") is not (self.track == "classification"):
            choice = "accuracy" if self.track == "classification" else "exact, token_f1, rouge_l, chrf or bleu"
            yield f"the utility of a {self.track} track cannot be {self.utility!r}; use {choice}"
        for task in self.tasks:
            if self.track == "classification" and task.labels is None:
                yield f"{task.name} has no labels; a classification task names at least two"
            if self.track == "generation" and task.labels is not None:
                yield f"{task.name} has labels; a generation task has none"
            for output in task.outputs:
                if not output.file.endswith(OUTPUT_SUFFIX[self.track]):
                    yield f"{output.file} of {task.name} must end in {OUTPUT_SUFFIX[self.track]} ({self.track})"
        for name in _twice(task.name for task in self.tasks):
            yield f"there are two tasks {name}"
        # Some file systems take names that differ by case for one.
        for name in _twice(output.file.casefold() for _, output in self.outputs):
            yield f"two outputs are named {name}; every output needs a name of its own"


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def track_path(path: Path) -> Path:
    """The track file itself: ``path``, or the ``track.yaml`` in the folder ``path``."""
    return path / TRACK_FILE if path.is_dir() else path


def load_track(path: Path) -> TrackFile:
    """Read the track file ``path``, or the one in the folder ``path``.

    Raises:
        InputError: there is none, or it is not as it must be; every fault with its line.
    """
    path = track_path(path)
    try:
        return load_document(path, TrackFile)
    except ValueError as error:
        # YAML's own readers of dates and of numbers with thousands of digits.
        raise InputError(f"is not YAML: {str(error)[:100]!a}", path=path) from None


def input_file(folder: Path, output: OutputFile) -> Path:
    """The inputs that an output answers; ``folder`` is that of the track file.

    Raises:
        InputError: the file is not there, or a link leads out of the folder.
    """
    path = _resolve(folder, output.inputs)
    if not path.is_file():
        raise InputError(f"there is no such file; {TRACK_FILE} names it as the inputs of {output.file}", path=path)
    return path


def validation_folder(folder: Path, task: Task) -> Path | None:
    """The task's validation folder, None where it has none; ``folder`` is that of the track file.

    Raises:
        InputError: the folder is not there, or a link leads out of the track's.
    """
    if task.validation is None:
        return None
    path = _resolve(folder, task.validation)
    if not path.is_dir():
        raise InputError(f"there is no such folder; {TRACK_FILE} names it as the validation of {task.name}", path=path)
    return path


def model_folders(folder: Path, task: Task) -> list[Path]:
    """The task's models, in their order; ``folder`` is that of the track file.

    Models are large: unlike data, they may be links to where there is room for them.

    Raises:
        InputError: one of them is not there.
    """
    paths = [folder / model for model in task.models]
    for path in paths:
        if not path.is_dir():
            raise InputError(f"there is no such folder; {TRACK_FILE} names it as a model of {task.name}", path=path)
    return paths


def _resolve(folder: Path, relative: str) -> Path:
    path = folder / relative
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise InputError(f"a link leads out of the folder of {TRACK_FILE}", path=path)
    return path


def track_schema() -> dict[str, Any]:
    """JSON Schema of a track file, for editors and for other programs.

    What no schema can say stays with :func:`load_track`: that names are there once, and that settings, utility, labels
    and the outputs' suffixes fit the kind of track.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TrackFile.model_json_schema()}
