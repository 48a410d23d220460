"""The rows of one evaluation of a language track, and subsets of them by task, kind and attack."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from palladion.errors import InputError
from palladion.scoring import PointScores, metric_interval, metric_value
from palladion.scoring.intervals import Interval
from palladion.scoring.point_scores import RankScore

__all__ = ["CLEAN", "COLUMNS", "NO_ATTACK", "POISONED", "Level", "RowTable", "Rows", "TaskRows"]

CLEAN: Final = "clean"
POISONED: Final = "poisoned"
NO_ATTACK: Final = "(clean)"
"""The level that clean rows have of the attack: with it, what an attack does can be held against what is useful."""
COLUMNS: Final = ("task", "kind", "row", "attack", "utility", "success")
"""What rows can be sorted by."""

Booleans = NDArray[np.bool_]
Measure = Literal["utility", "asr", "overall"]
_MEASURES: Final[tuple[Measure, ...]] = ("overall", "utility", "asr")
Scored = tuple[float, Interval | None]


@dataclass(frozen=True, slots=True)
class Level:
    """What can be chosen of a factor: ``task``, ``kind`` or ``attack``."""

    factor: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskRows:
    """What is left of one task.

    Attributes:
        task: its name.
        clean, poisoned: how many rows are left.
        answered: whether the submission has answers to the task; without, its utility counts 0 and its attacks 100.
        scores: by measure, the value in percent and its 95 % interval where there is one; None where nothing is left
            that it could be of.
    """

    task: str
    clean: int
    poisoned: int
    answered: bool
    scores: Mapping[Measure, Scored | None]


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """n rows, in an order.

    Attributes:
        task: name of the task of each.
        poisoned: shape (n,).
        row: the place of each among the rows of its kind in its task, from 1, shape (n,): of clean rows all of them in
            the order of the sealed file, of poisoned ones those that count.
        attack: of each; None of clean ones.
        value: shape (n,), percent: the utility of a clean row, 100 of a poisoned one whose attack succeeded, else 0.
    """

    task: tuple[str, ...]
    poisoned: Booleans
    row: NDArray[np.int64]
    attack: tuple[str | None, ...]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.task)

    def take(self, chosen: NDArray[np.intp]) -> "RowTable":
        """Some of them, by their numbers, in that order."""
        return RowTable(
            tuple(self.task[i] for i in chosen),
            self.poisoned[chosen],
            self.row[chosen],
            tuple(self.attack[i] for i in chosen),
            self.value[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What came of the rows of a language split.

    Attributes:
        points: of all rows.
        attacks: of each task the names of its attacks, by the numbers that ``points`` has.
        score: what the overall score of a task is made of.
        masks: by group of ``points``, which rows are looked at.
        whole: tasks without answers that are looked at, each with the kinds of rows that would be.
    """

    points: PointScores
    attacks: Mapping[str, tuple[str, ...]]
    score: RankScore
    masks: Mapping[str, Booleans]
    whole: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, points: PointScores, attacks: Mapping[str, Sequence[str]], *, score: RankScore = "geometric") -> "Rows":
        """All rows.

        Args:
            points: of a language task.
            attacks: names by task, in the order of their numbers; an attack without a name is called by its number.
            score: what the overall score of a task is made of.
        """
        if points.task == "detection":
            raise InputError("detection has data points, and no rows")
        names = {}
        for task in points.tasks:
            known = list(attacks.get(task, ()))
            there = points.arrays[f"{task}/attack"]
            count = int(there.max()) + 1 if there.size else 0
            names[task] = tuple(known[i] if i < len(known) else f"attack {i + 1}" for i in range(count))
        masks = {group: np.ones(size, dtype=np.bool_) for group, size in points.groups.items()}
        missing = {task: frozenset((CLEAN, POISONED)) for task in points.tasks if not _answered(points, task)}
        return cls(points, names, score, masks, missing)

    def __len__(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def poisoned(self) -> int:
        """How many of them are poisoned."""
        return sum(int(mask.sum()) for group, mask in self.masks.items() if group.endswith(f"/{POISONED}"))

    @property
    def factors(self) -> tuple[Level, ...]:
        """What rows can be chosen by, whatever was chosen."""
        attacks = dict.fromkeys(name for task in self.points.tasks for name in self.attacks[task])
        return (
            Level("task", self.points.tasks),
            Level("kind", (CLEAN, POISONED)),
            Level("attack", (NO_ATTACK, *(name for name in attacks if name != NO_ATTACK))),
        )

    def where(self, wanted: Mapping[str, Collection[str]]) -> "Rows":
        """Those that have one of the wanted levels of every factor that is named.

        Of a task without answers nobody knows the attacks: a condition on attacks leaves it out.

        Raises:
            InputError: there is no such factor, no such level, or no such row.
        """
        known = {factor.factor: factor.levels for factor in self.factors}
        for name, levels in wanted.items():
            if name not in known:
                raise InputError(f"there is no factor {name[:80]!a}; there are {', '.join(known)}")
            strange = next((level for level in levels if level not in known[name]), None)
            if strange is not None:
                raise InputError(f"the factor {name} has no level {strange[:80]!a}; it has {', '.join(known[name])}")
        attacks = wanted.get("attack")
        kinds = set(wanted.get("kind", (CLEAN, POISONED)))
        if attacks is not None and NO_ATTACK not in attacks:
            kinds.discard(CLEAN)
        masks: dict[str, Booleans] = {}
        whole: dict[str, frozenset[str]] = {}
        for task in self.points.tasks:
            there = task in wanted.get("task", (task,))
            clean, poisoned = self.masks[f"{task}/{CLEAN}"], self.masks[f"{task}/{POISONED}"]
            masks[f"{task}/{CLEAN}"] = clean & (there and CLEAN in kinds)
            masks[f"{task}/{POISONED}"] = poisoned & (there and POISONED in kinds)
            if attacks is not None:
                numbers = [i for i, name in enumerate(self.attacks[task]) if name in attacks]
                masks[f"{task}/{POISONED}"] &= np.isin(self.points.arrays[f"{task}/attack"], numbers)
            if there and task in self.whole and attacks is None and self.whole[task] & kinds:
                whole[task] = self.whole[task] & kinds
        if not whole and not any(mask.any() for mask in masks.values()):
            raise InputError("no row has all of these levels")
        return replace(self, masks=masks, whole=whole)

    def scores(self) -> dict[Measure, Scored | None]:
        """Each measure of the rows that are left, in percent, with its 95 % interval: the mean over the tasks that
        have it. Of all rows it is what the submission scored.
        """
        return {measure: self._scored(measure, self.points.tasks) for measure in _MEASURES}

    def by_task(self) -> list[TaskRows]:
        """The same of each task of which something is left."""
        found = []
        for task in self.points.tasks:
            clean, poisoned = (int(self.masks[f"{task}/{kind}"].sum()) for kind in (CLEAN, POISONED))
            if clean or poisoned or task in self.whole:
                scores = {measure: self._scored(measure, (task,)) for measure in _MEASURES}
                found.append(TaskRows(task, clean, poisoned, task not in self.whole, scores))
        return found

    def table(self, sort: str = "") -> RowTable:
        """The rows that are left.

        Args:
            sort: one of :data:`COLUMNS`, with ``-`` before it from the highest; rows that have nothing there stand
                last. Empty: task by task, the clean ones first. Equal ones stay in this order.
        """
        tasks: list[str] = []
        attacks: list[str | None] = []
        rows, values, kinds = [], [], []
        for task in self.points.tasks:
            for kind, name in ((CLEAN, "utility"), (POISONED, "success")):
                chosen = np.flatnonzero(self.masks[f"{task}/{kind}"])
                tasks += [task] * chosen.size
                rows.append(chosen + 1)
                values.append(self.points.arrays[f"{task}/{name}"][chosen])
                kinds.append(np.full(chosen.size, kind == POISONED))
                if kind == CLEAN:
                    attacks += [None] * chosen.size
                else:
                    numbers = self.points.arrays[f"{task}/attack"][chosen]
                    attacks += [self.attacks[task][number] for number in numbers]
        table = RowTable(
            tuple(tasks), np.concatenate(kinds), np.concatenate(rows), tuple(attacks), np.concatenate(values)
        )
        return table.take(_order(table, sort)) if sort else table

    def _scored(self, measure: Measure, tasks: Sequence[str]) -> Scored | None:
        kinds = {"utility": (CLEAN,), "asr": (POISONED,), "overall": (CLEAN, POISONED)}[measure]
        having = [
            task
            for task in tasks
            if self.whole.get(task, frozenset()).issuperset(kinds)
            or all(self.masks[f"{task}/{kind}"].any() for kind in kinds)
        ]
        if not having:
            return None
        # The other kind of rows has no say in a measure of one kind, and is left whole.
        masks = {
            group: mask if group.rpartition("/")[2] in kinds else np.ones(mask.size, dtype=np.bool_)
            for group, mask in self.masks.items()
        }
        part = self.points.part(masks).only(having)
        metric = measure if measure != "utility" or part.task == "generation" else "cacc"
        value = metric_value(part, metric, score=self.score)
        return None if value is None else (value, metric_interval(part, metric, score=self.score))


def _answered(points: PointScores, task: str) -> bool:
    return bool(points.arrays[f"{task}/utility"].size or points.arrays[f"{task}/success"].size)


def _order(table: RowTable, sort: str) -> NDArray[np.intp]:
    """The numbers of the rows in an order; see :meth:`Rows.table`."""
    key, backwards = sort.removeprefix("-"), sort.startswith("-")
    if key not in COLUMNS:
        raise InputError(f"rows cannot be sorted by {key[:80]!a}; they can be by {', '.join(COLUMNS)}")
    there = {"utility": ~table.poisoned, "success": table.poisoned, "attack": table.poisoned}.get(
        key, np.ones(len(table), dtype=np.bool_)
    )
    chosen = np.flatnonzero(there)
    if key in ("task", "attack"):
        words = table.task if key == "task" else table.attack
        found = np.array([words[i] or "" for i in chosen])
        values = np.unique(found, return_inverse=True)[1] if found.size else np.zeros(0)
    else:
        values = {"kind": table.poisoned, "row": table.row}.get(key, table.value)[chosen].astype(np.float64)
    order = np.argsort(-values if backwards else values, kind="stable")
    return np.concatenate([chosen[order], np.flatnonzero(~there)])
