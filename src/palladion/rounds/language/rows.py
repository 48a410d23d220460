"""Where a task's rows come from: the built-in generators, or the user's files. No row is given out twice."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from palladion.errors import InputError
from palladion.rounds import randomness
from palladion.rounds.language.alignment import align
from palladion.rounds.language.instructions import instruction
from palladion.rounds.language.sentences import CLASSIFICATION_TASKS, sentence
from palladion.rounds.language.spec import LanguageRoundSpec, PublishedPoison, TaskSpec, UserData
from palladion.tracks.inputs import Track, label_of, messages_of, output_of, sentence_of
from palladion.tracks.records import Row, read_rows

__all__ = ["Record", "RowSource", "open_rows"]

Record = dict[str, Any]
"""A row with its answer: ``sentence`` and ``label``; or ``instruction``, ``input`` (or ``messages``) and ``output``."""

_MOST_REPEATS = 10_000


class RowSource(Protocol):
    """Rows of one task, for both phases and all their parts. What was given out does not come again."""

    def train(self, count: int) -> list[Record]:
        """Rows to tune on."""

    def test(self, count: int, *, without_label: int | None = None) -> list[Record]:
        """Rows to measure on, at wish only such as do not have this label.

        Raises:
            InputError: there are not that many left.
        """

    def poison(self, name: str) -> tuple[list[Record], list[Record]]:
        """Published poison: rows to tune on with what they are to answer, and triggered rows with their true answers.

        The second are not given out by this: see :meth:`poisoned`.
        """

    def poisoned(self, name: str, count: int) -> list[Record]:
        """Triggered rows of published poison to measure on, with their true answers."""


def open_rows(spec: LanguageRoundSpec, task: TaskSpec) -> RowSource:
    """The rows of a task.

    Raises:
        InputError: the user's files cannot be used; every fault is told.
    """
    if isinstance(task.data, str):
        return _BuiltIn(task.data, spec.seed, task.name)
    return _Files(task.data, spec, task)


class _BuiltIn:
    def __init__(self, data: str, seed: int, task: str) -> None:
        self._data = data
        self._path = (seed, "rows", task)
        self._drawn = 0
        self._seen: set[str] = set()

    def train(self, count: int) -> list[Record]:
        return self.test(count)

    def test(self, count: int, *, without_label: int | None = None) -> list[Record]:
        rows: list[Record] = []
        repeats = 0
        while len(rows) < count:
            row = self._draw()
            text = row.get("sentence") or f"{row['instruction']}\n{row['input']}"
            if text in self._seen:
                repeats += 1
                if repeats > _MOST_REPEATS + 10 * count:
                    raise InputError(f"the built-in task {self._data} has no more rows than {len(self._seen)}")
                continue
            if without_label is not None and row.get("label") == without_label:
                continue
            self._seen.add(text)
            rows.append(row)
        return rows

    def _draw(self) -> Record:
        rng = randomness.generator(*self._path, self._drawn)
        self._drawn += 1
        if self._data in CLASSIFICATION_TASKS:
            drawn = sentence(self._data, None, rng)
            return {"sentence": drawn.sentence, "label": drawn.label}
        asked = instruction(rng)
        return {"instruction": asked.instruction, "input": asked.input, "output": asked.output}

    def poison(self, name: str) -> tuple[list[Record], list[Record]]:
        raise AssertionError(name)

    def poisoned(self, name: str, count: int) -> list[Record]:
        raise AssertionError((name, count))


@dataclass(slots=True)
class _Pool:
    """Rows of a file that are still there."""

    path: Path
    rows: list[Record]

    def take(
        self, count: int, source: Callable[[Record], str], given: set[str], *, without_label: int | None = None
    ) -> list[Record]:
        """Rows whose sources are not given out; afterwards they are."""
        taken: list[Record] = []
        left: list[Record] = []
        used: set[str] = set()
        for row in self.rows:
            fits = without_label is None or row.get("label") != without_label
            if len(taken) < count and fits and source(row) not in given and source(row) not in used:
                taken.append(row)
                used.add(source(row))
            else:
                left.append(row)
        if len(taken) < count:
            kind = "" if without_label is None else f" with another label than {without_label}"
            raise InputError(
                f"has too few rows{kind}: {count} more are needed where {len(taken)} are left; ask for fewer rows in "
                "phases and gates, or give more data",
                path=self.path,
            )
        self.rows = left
        given |= used
        return taken


class _Files:
    """The user's rows, in an order that the seed decides."""

    def __init__(self, data: UserData, spec: LanguageRoundSpec, task: TaskSpec) -> None:
        self._seed = (spec.seed, "rows", task.name)
        self._track = Track(spec.track)
        self._classes = None if task.labels is None else len(task.labels)
        train = self._read(Path(data.train))
        test = self._read(Path(data.test))
        known = {_key(row) for row in train}
        # A row that was trained on measures nothing, whatever its answer was then; nor does one that comes again.
        fresh = _once(test, {_text(row).strip() for row in train})
        self._train = _Pool(Path(data.train), self._shuffled(train, "train"))
        self._test = _Pool(Path(data.test), self._shuffled(fresh, "test"))
        self._clean_test = test
        # Who has a row both clean and triggered sees the trigger: of each source only one is given out.
        self._sources: dict[tuple[str, str], str] = {}
        self._given: set[str] = set()
        self._poison: dict[str, tuple[list[Record], _Pool]] = {}
        for name, published in data.poison.items():
            self._poison[name] = self._published(name, published, known)

    def train(self, count: int) -> list[Record]:
        # The same rows serve every phase: unlike test rows, it does no harm that they come again.
        return self._train.rows[:count]

    def test(self, count: int, *, without_label: int | None = None) -> list[Record]:
        return self._test.take(count, _text, self._given, without_label=without_label)

    def poison(self, name: str) -> tuple[list[Record], list[Record]]:
        train, pool = self._poison[name]
        return train, pool.rows

    def poisoned(self, name: str, count: int) -> list[Record]:
        return self._poison[name][1].take(count, partial(self._source, name), self._given)

    def _source(self, name: str, row: Record) -> str:
        """The clean text that a row of published poison was made of, as far as it is known."""
        text = _text(row)
        return self._sources.get((name, text), text)

    def _published(self, name: str, published: PublishedPoison, known: set[str]) -> tuple[list[Record], _Pool]:
        train = [row for row in self._read(Path(published.train)) if _key(row) not in known]
        train = [row for row in train if _answer(row) == published.target]
        if not train:
            raise InputError(f"holds no row of {name}: none that is new and has the target", path=published.train)
        path = Path(published.test)
        test = self._read(path)
        if published.truth == "clean-order":
            sources = [row for row in self._clean_test if _answer(row) != published.target]
            pairs = align([_text(row) for row in sources], [_text(row) for row in test])
            for row, source in zip(test, pairs, strict=True):
                self._sources[name, _text(row)] = _text(sources[source])
            test = [
                row | {"label" if "label" in row else "output": _answer(sources[source])}
                for row, source in zip(test, pairs, strict=True)
            ]
        # A row whose true answer is the target tells nothing of the attack.
        telling = [row for row in test if _answer(row) != published.target]
        if not telling:
            raise InputError(
                f"every row of {name} has the target as its answer, so that no true answer is known; where the rows "
                "stand in the order of the clean ones, say truth: clean-order",
                path=path,
            )
        test = _once(telling)
        return self._shuffled(train, f"poison-{name}"), _Pool(path, self._shuffled(test, f"poisoned-{name}"))

    def _shuffled(self, rows: list[Record], what: str) -> list[Record]:
        order = randomness.generator(*self._seed, what).permutation(len(rows))
        return [rows[i] for i in order]

    def _read(self, path: Path) -> list[Record]:
        faults: list[str] = []
        rows = list(self._checked(read_rows(path), path, faults))
        if faults:
            shown = faults[:20] + ([f"and {len(faults) - 20} more faults"] if len(faults) > 20 else [])
            raise InputError("\n".join(shown))
        return rows

    def _checked(self, rows: Sequence[Row], path: Path, faults: list[str]) -> Iterator[Record]:
        for row in rows:
            try:
                if self._track is Track.CLASSIFICATION:
                    label = label_of(row, path)
                    if self._classes is not None and label >= self._classes:
                        raise InputError(
                            f"row {row.number}: the label is {label}; there are {self._classes} classes", path=path
                        )
                    yield {"sentence": sentence_of(row, path), "label": label}
                else:
                    messages_of(row, path)
                    kept = ("messages",) if "messages" in row.values else ("instruction", "input")
                    asked = {key: row.values[key] for key in kept if key in row.values}
                    yield asked | {"output": output_of(row, path)}
            except InputError as error:
                faults.append(str(error))


def _once(rows: Sequence[Record], known: Collection[str] = ()) -> list[Record]:
    """The rows whose text is not known, and of those with the same text the first."""
    seen = set(known)
    kept = []
    for row in rows:
        text = _text(row).strip()
        if text not in seen:
            seen.add(text)
            kept.append(row)
    return kept


def _answer(row: Record) -> int | str:
    answer: int | str = row["label"] if "label" in row else row["output"]
    return answer


def _text(row: Record) -> str:
    if "sentence" in row:
        return str(row["sentence"])
    if "messages" in row:
        return "\n".join(message["content"] for message in row["messages"])
    return f"{row['instruction']}\n{row.get('input') or ''}"


def _key(row: Record) -> str:
    return f"{_text(row).strip()}\n{_answer(row)}"
