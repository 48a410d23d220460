"""What the code of an outputs submission must hold so that it can be run again, and how its outputs are compared.

``code/reproduce.yaml`` says how the code is called and what it needs::

    command: [python, run.py]
    seconds: 3600
    memory: 8G

Nothing is run here; see :mod:`palladion.execution.reproduction`.
"""

import filecmp
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from palladion.documents import parse_document
from palladion.errors import InputError
from palladion.sizes import parse_size
from palladion.submissions.checks import printable
from palladion.submissions.outputs import CODE
from palladion.tracks.outputs import FATAL, read_generations, read_labels
from palladion.tracks.records import read_text
from palladion.tracks.track_file import TrackFile

__all__ = [
    "RECIPE",
    "ComparedFile",
    "DifferingRow",
    "Recipe",
    "compare_outputs",
    "copies_of_outputs",
    "load_recipe",
]

RECIPE: Final = "reproduce.yaml"
"""The file in ``code/`` that says how it is run."""

_MAXIMUM_BYTES = 64 << 10
_SHOWN_ROWS, _SHOWN_CHARACTERS, _SHOWN_BEFORE = 5, 60, 20


def _size(value: object) -> object:
    try:
        return None if value is None else parse_size(value)  # type: ignore[arg-type]
    except InputError as error:
        raise ValueError(str(error)) from None  # what pydantic understands


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("an argument cannot hold a zero byte")
    return text


Size = Annotated[int | None, BeforeValidator(_size)]
Argument = Annotated[str, Field(max_length=4096), AfterValidator(_argument)]


class Recipe(BaseModel):
    """What ``code/reproduce.yaml`` says.

    Attributes:
        command: the program and its arguments, called in the folder of the code; ``python`` is that of the environment.
        seconds: wall time that it takes at most.
        memory: bytes that it takes at most, with the files in memory; None for what is given by default.
        scratch: bytes of files that it writes; None for what is given by default.
        cpus: processor cores.
        gpus: graphics processors.
        environment: name of the Python environment that it runs in; None for the default one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[list[Argument], Field(min_length=1, max_length=256)]
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    memory: Size = None
    scratch: Size = None
    cpus: Annotated[int, Field(ge=1, le=4096, strict=True)] = 1
    gpus: Annotated[int, Field(ge=0, le=1024, strict=True)] = 0
    environment: Annotated[str, Field(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\z")] | None = None


def load_recipe(code: Path) -> Recipe:
    """What the ``reproduce.yaml`` in a folder of code says.

    Raises:
        InputError: there is none, or it is not as it must be; every fault with its line.
    """
    shown = Path(CODE, RECIPE)
    if not (code / RECIPE).is_file():
        raise InputError("there is no such file in the submission; it says how the code is run", path=shown)
    try:
        text = read_text(code / RECIPE, most=_MAXIMUM_BYTES)
    except InputError as error:
        raise InputError(error.problem, path=shown) from None
    try:
        return parse_document(text, shown, Recipe)
    except ValueError as error:
        # YAML's own readers of dates and of numbers with thousands of digits.
        raise InputError(f"is not YAML: {str(error)[:100]!a}", path=shown) from None


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """A row in which the outputs differ.

    Attributes:
        row: counted from 1, without a header.
        submitted: what was submitted, printable: of a long text the part where they begin to differ.
        made: the same of what the code made; None where that cannot be used.
    """

    row: int
    submitted: str
    made: str | None


@dataclass(frozen=True, slots=True)
class ComparedFile:
    """An output file beside what the code made of it.

    Attributes:
        file: its name.
        task: that it is for.
        rows: how many were submitted.
        equal: how many of them the code made again.
        differing: the first rows that differ.
        fault: why what the code made cannot be compared at all, printable; None where it was.
    """

    file: str
    task: str
    rows: int
    equal: int
    differing: tuple[DifferingRow, ...]
    fault: str | None

    @property
    def share(self) -> float:
        """Equal rows in PERCENT."""
        return 100 * self.equal / self.rows

    def within(self, allow: float) -> bool:
        """Whether no more than ``allow`` PERCENT of the rows differ."""
        # Exactly: 0.57 % of 10,000 rows are 57, though not as a product of floats.
        return self.fault is None and 100 * (self.rows - self.equal) <= Fraction(str(allow)) * self.rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "differing": [asdict(row) for row in self.differing], "share": self.share}


def compare_outputs(
    track: TrackFile, submitted: Path, made: Path, faults: Mapping[str, str] | None = None
) -> list[ComparedFile]:
    """Compare what the code of a submission made with what was submitted: labels and texts, row by row, exactly.

    Of texts, only the outputs count, not the inputs' fields beside them.

    Args:
        track: says which files there are.
        submitted: folder of the outputs that were submitted, without errors; those that are missing are not compared.
        made: folder of those that the code made: plain files.
        faults: of files that the code left and that are not in ``made``, by their names.
    """
    compared = []
    for task, output in track.outputs:
        if not (submitted / output.file).is_file():
            continue
        ours, _ = _read(track, submitted / output.file, output.rows, task.classes)
        fault = (faults or {}).get(output.file)
        theirs: Sequence[int | str | None] = ()
        if fault is None and not (made / output.file).is_file():
            fault = "was not written"
        if fault is None:
            theirs, fault = _read(track, made / output.file, output.rows, task.classes)
        if fault is not None:
            compared.append(ComparedFile(output.file, task.name, len(ours), 0, (), printable(fault, 400)))
            continue
        differing = [row for row, (a, b) in enumerate(zip(ours, theirs, strict=True), 1) if a is None or a != b]
        shown = tuple(_differing(row, ours[row - 1], theirs[row - 1]) for row in differing[:_SHOWN_ROWS])
        compared.append(ComparedFile(output.file, task.name, len(ours), len(ours) - len(differing), shown, None))
    return compared


def copies_of_outputs(track: TrackFile, submitted: Path, code: Path) -> list[tuple[str, str]]:
    """Files of the code that are the same, byte by byte, as outputs that were submitted; pairs of names.

    Code that holds its answers can hand them out without computing anything.
    """
    outputs = [submitted / output.file for _, output in track.outputs if (submitted / output.file).is_file()]
    found = []
    for path in sorted(code.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = printable(f"{CODE}/{path.relative_to(code).as_posix()}", 120)
        found += [(name, output.name) for output in outputs if filecmp.cmp(path, output, shallow=False)]
    return found


def _read(
    track: TrackFile, path: Path, rows: int, classes: int | None
) -> tuple[Sequence[int | str | None], str | None]:
    """The answers of a file, and why it cannot be used at all."""
    values: Sequence[int | str | None]
    if track.track == "classification":
        values, faults = read_labels(path, rows=rows, classes=classes)
    else:
        values, faults = read_generations(path, rows=rows, inputs=None)
    fatal = [fault.message for fault in faults if fault.code in FATAL]
    return values, "; ".join(fatal) or None


def _differing(row: int, submitted: int | str | None, made: int | str | None) -> DifferingRow:
    start = 0
    if isinstance(submitted, str) and isinstance(made, str):
        pairs = enumerate(zip(submitted, made, strict=False))
        first = next((at for at, (a, b) in pairs if a != b), min(len(submitted), len(made)))
        start = max(0, first - _SHOWN_BEFORE)
    return DifferingRow(row, _part(submitted, start) or "", _part(made, start))


def _part(value: int | str | None, start: int) -> str | None:
    if not isinstance(value, str):
        return None if value is None else str(value)
    # Further parts are cut by the same length, so that the two stand below each other.
    return ("…" if start else "") + printable(value[start:], _SHOWN_CHARACTERS)
