"""A folder of clean and poisoned rows whose truth is known: what an evaluation compares answers with.

::

    clean.json       inputs with their label or output
    poisoned.json    inputs with a trigger, their TRUE label or output, and perhaps attack and target
    meta.json        what the attacks want

``.jsonl`` in place of ``.json`` will do for the rows. The same is made in memory of sealed rows.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from palladion.errors import InputError, ScoringError
from palladion.scoring import Matcher, MatchingRule
from palladion.tracks.inputs import Track, label_of, messages_of, output_of, sentence_of
from palladion.tracks.meta import Meta, Target, check_name, load_meta, read_target
from palladion.tracks.records import Row, read_rows

__all__ = ["META", "UNNAMED", "CleanRow", "PoisonedRow", "ValidationFolder"]

META = "meta.json"
UNNAMED = "unnamed"
"""The attack of rows that name none, where ``meta.json`` names none either."""

_MOST_FAULTS = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CleanRow:
    """A clean input and its label or its ground truth."""

    row: Row
    truth: int | str


@dataclass(frozen=True, slots=True)
class PoisonedRow:
    """A triggered input.

    Attributes:
        row: its fields.
        truth: its TRUE label or its ground truth.
        attack: the name of the attack.
        target: the label that the attack wants, or texts of which it wants any.
        matching: the rule that tells whether an answer is that.
        excluded: whether the truth itself is what the attack wants, so that nothing can be told of an answer.
    """

    row: Row
    truth: int | str
    attack: str
    target: Target
    matching: MatchingRule
    excluded: bool


@dataclass(frozen=True, slots=True)
class ValidationFolder:
    """Rows with their truth. Make it with :meth:`load` or :meth:`from_rows`.

    Attributes:
        task: classification or generation.
        clean: at least one.
        poisoned: at least one that is not excluded, of each attack.
    """

    task: Track
    clean: tuple[CleanRow, ...]
    poisoned: tuple[PoisonedRow, ...]

    @classmethod
    def load(cls, directory: Path, *, task: Track | None = None) -> Self:
        """Read the folder.

        Args:
            directory: holds ``clean.json``, ``poisoned.json`` and ``meta.json``.
            task: what it must be of; None takes either.

        Raises:
            InputError: a file is missing or at fault, or it is of the other task; every fault of all three is told.
        """
        if not directory.is_dir():
            raise InputError("is no folder; it must hold clean.json, poisoned.json and meta.json", path=directory)
        faults: list[str] = []
        meta = _noting(faults, lambda: load_meta(directory / META))
        if meta is not None and task is not None and meta.task is not task:
            # The rows are read as what the file says; more faults of theirs would only mislead.
            raise InputError(f"task is {meta.task}, where {task} is wanted", path=directory / META)
        clean_path = _noting(faults, lambda: _file(directory, "clean"))
        poisoned_path = _noting(faults, lambda: _file(directory, "poisoned"))
        clean = None if clean_path is None else _noting(faults, lambda: read_rows(clean_path))
        poisoned = None if poisoned_path is None else _noting(faults, lambda: read_rows(poisoned_path))
        if meta is None or clean is None or poisoned is None:
            raise _together(faults)
        return cls.from_rows(meta, clean, poisoned, clean_path=clean_path, poisoned_path=poisoned_path)

    @classmethod
    def from_rows(
        cls,
        meta: Meta,
        clean: Sequence[Row],
        poisoned: Sequence[Row],
        *,
        clean_path: Path | None = None,
        poisoned_path: Path | None = None,
    ) -> Self:
        """Make it of rows that were read before; the paths are for messages.

        Raises:
            InputError: rows lack what they need, or an attack has no row that counts; every fault is told.
        """
        faults: list[str] = []
        reader = _Reader(meta, faults)
        clean_path = clean_path or Path("clean.json")
        poisoned_path = poisoned_path or Path("poisoned.json")
        clean_rows = [reader.clean(row, clean_path) for row in clean]
        poisoned_rows = [reader.poisoned(row, poisoned_path) for row in poisoned]
        for path, rows in ((clean_path, clean_rows), (poisoned_path, poisoned_rows)):
            if not rows:
                faults.append(f"{path}: holds no rows")
        if not faults:
            faults += [f"{poisoned_path}: {fault}" for fault in _attacks_without_rows(meta, poisoned_rows)]
        if faults:
            raise _together(faults)
        return cls(
            meta.task,
            tuple(row for row in clean_rows if row is not None),
            tuple(row for row in poisoned_rows if row is not None),
        )


class _Reader:
    """Reads rows under one ``meta.json``, and notes what is wrong with them."""

    def __init__(self, meta: Meta, faults: list[str]) -> None:
        self._meta = meta
        self._faults = faults
        self._matchers: dict[Hashable, Matcher] = {}

    def clean(self, row: Row, path: Path) -> CleanRow | None:
        truth = self._truth(row, path)
        return None if truth is None else CleanRow(row, truth)

    def poisoned(self, row: Row, path: Path) -> PoisonedRow | None:
        truth = self._truth(row, path)
        try:
            attack, target, matching = self._wanted(row)
            excluded = False
            if isinstance(target, tuple):
                key = (matching, target)
                if key not in self._matchers:
                    self._matchers[key] = Matcher(matching, target)
                excluded = isinstance(truth, str) and self._matchers[key](truth)
            else:
                excluded = truth == target
        except (ScoringError, ValueError) as error:
            self._faults.append(str(InputError(f"row {row.number}: {error}", path=path, line=row.line)))
            return None
        return None if truth is None else PoisonedRow(row, truth, attack, target, matching, excluded)

    def _truth(self, row: Row, path: Path) -> int | str | None:
        if self._meta.task is Track.CLASSIFICATION:
            given = _noting(self._faults, lambda: sentence_of(row, path))
            label = _noting(self._faults, lambda: label_of(row, path))
            return None if given is None else label
        messages = _noting(self._faults, lambda: messages_of(row, path))
        output = _noting(self._faults, lambda: output_of(row, path))
        return None if messages is None else output

    def _wanted(self, row: Row) -> tuple[str, Target, MatchingRule]:
        """The attack of a row, what it wants, and when an answer is that. Raises ValueError."""
        meta = self._meta
        name = None if row.values.get("attack") is None else check_name(row.values["attack"])
        known = list(meta.attacks)
        if name is None and len(known) == 1:
            name = known[0]
        if known and name is None:
            raise ValueError(f"names no attack; {META} has {_listed(known)}")
        if known and name not in known:
            raise ValueError(f"attack {name!a} is not in {META}, which has {_listed(known)}")
        own = row.values.get("target")
        target = meta.target_of(name) if own is None else read_target(own, meta.task)
        if target is None:
            raise ValueError(f"has no target, and {META} has none for it")
        rule = meta.rule_of(name)
        if rule is None:
            raise ValueError(f"{META} does not say by which rule its target is matched: add matching")
        return UNNAMED if name is None else name, target, rule


def _attacks_without_rows(meta: Meta, rows: Iterable[PoisonedRow | None]) -> list[str]:
    counts: dict[str, list[int]] = {name: [0, 0] for name in meta.attacks}
    for row in rows:
        if row is not None:
            count = counts.setdefault(row.attack, [0, 0])
            count[0] += 1
            count[1] += not row.excluded
    return [
        f"has no row of the attack {name!a}, which {META} names"
        if not found
        else f"has no row of the attack {name!a} that counts: the truth of all {found} is its target"
        for name, (found, counting) in counts.items()
        if not counting
    ]


def _file(directory: Path, name: str) -> Path:
    there = [path for path in (directory / f"{name}.json", directory / f"{name}.jsonl") if path.exists()]
    if len(there) != 1:
        problem = f"has both {name}.json and {name}.jsonl; keep one" if there else f"has no {name}.json"
        raise InputError(problem, path=directory)
    return there[0]


def _noting(faults: list[str], read: Callable[[], T]) -> T | None:
    """What ``read`` returns; None where it raises InputError, which is noted."""
    try:
        return read()
    except InputError as error:
        faults += str(error).split("\n")
        return None


def _together(faults: Sequence[str]) -> InputError:
    shown = list(faults[:_MOST_FAULTS])
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more faults")
    return InputError("\n".join(shown))


def _listed(names: Sequence[str]) -> str:
    shown: list[Any] = [ascii(name) for name in names[:10]]
    return ", ".join(shown) + (" …" if len(names) > 10 else "")
