"""What came of each data point of an evaluation, beside what the data point was made with.

It is what a sealed split must not give away: it is reached through :class:`palladion.server.views.Views` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from palladion.errors import InputError, PalladionError
from palladion.jobs.context import StageInfo
from palladion.jobs.telling import rank_score
from palladion.models import RoundDirectory
from palladion.models.round_directory import read_columns, read_table
from palladion.reports.figures.attacks import RowGroup
from palladion.reports.figures.rows import Rows
from palladion.scoring import UNANSWERED_PROBABILITY, PointScores
from palladion.storage import evaluations
from palladion.storage.tables import Evaluation

__all__ = ["PointTable", "language_rows", "point_table", "row_groups"]

_NAME = "model_name"
_LONGEST = 200


@dataclass(frozen=True, slots=True, eq=False)
class PointTable:
    """The n data points of an evaluation, in the order of their names.

    Attributes:
        names: of the data points.
        poisoned: the truth, shape (n,).
        probability: as it was answered, shape (n,); where there is no answer, what it is scored as.
        missing: which have no answer, shape (n,).
        errors: why, one a data point; None where there is an answer.
        seconds: wall-clock time of each, shape (n,); NaN where it is not known.
        factors: the round's metadata, by column: one word a data point.
    """

    names: list[str]
    poisoned: NDArray[np.bool_]
    probability: NDArray[np.float64]
    missing: NDArray[np.bool_]
    errors: list[str | None]
    seconds: NDArray[np.float64]
    factors: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.names)


def point_table(tx: Session, info: StageInfo, evaluation: Evaluation) -> PointTable:
    """The data points of an evaluation of a detection stage.

    Args:
        tx: a transaction.
        info: the stage.
        evaluation: that is done.

    Raises:
        InputError: the data of the stage cannot be read, or is another than it was.
    """
    split = RoundDirectory.open(info.data).split(evaluation.split)
    found = {row.point: row for row in evaluations.outcomes(tx, evaluation.id)}
    columns = [name for name in read_columns(split.metadata) if name != _NAME]
    table = {name: row for name, (_, row) in read_table(split.metadata, columns=()).items()}
    labels = split.labels()
    names = [entry.name for entry in split.models()]
    strange = next((name for name in names if name not in found), None)
    if strange is not None:
        raise InputError(f"the data of the stage is another than it was: nothing came of {strange}", path=info.data)
    rows = [found[name] for name in names]
    answers = [_number(row.answer) for row in rows]
    return PointTable(
        names=names,
        poisoned=np.array([labels[name] for name in names], dtype=np.bool_),
        probability=np.array([UNANSWERED_PROBABILITY if answer is None else answer for answer in answers]),
        missing=np.array([answer is None for answer in answers], dtype=np.bool_),
        errors=[row.error for row in rows],
        seconds=np.array([np.nan if row.seconds is None else row.seconds for row in rows], dtype=np.float64),
        factors={column: [table[name].get(column, "") for name in names] for column in columns},
    )


def _number(answer: Any) -> float | None:
    return float(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else None


def row_groups(report: Mapping[str, Any]) -> list[RowGroup]:
    """What came of the rows of a language track, by task and attack, as the report of an evaluation has it.

    A report that came from elsewhere may hold anything: what is no such thing is left out.
    """
    found: list[RowGroup] = []
    tasks = report.get("tasks")
    for task, told in tasks.items() if isinstance(tasks, Mapping) else ():
        if not isinstance(told, Mapping):
            continue
        intervals = told.get("intervals")
        measure = "utility" if "utility" in told else "cacc"
        clean = intervals.get(measure) if isinstance(intervals, Mapping) else None
        found += _group(task, None, told.get("n_clean"), told.get(measure), clean)
        for one in told.get("attacks") or ():
            if isinstance(one, Mapping):
                found += _group(task, one.get("attack"), one.get("eligible"), one.get("asr"), one.get("interval"))
    return found


def language_rows(tx: Session, evaluation: Evaluation) -> Rows | None:
    """The rows of an evaluation of a language track; None where what each of them scored was not kept.

    Args:
        tx: a transaction.
        evaluation: that is done. Its report names the attacks.
    """
    data = evaluations.point_scores(tx, [evaluation.id]).get(evaluation.id)
    if data is None:
        return None
    try:
        points = PointScores.from_bytes(data)
        tasks = evaluation.report.get("tasks")
        known = tasks if isinstance(tasks, Mapping) else {}
        names = {task: _attack_names(known.get(task)) for task in points.tasks}
        return Rows.of(points, names, score=rank_score(evaluation.report))
    except PalladionError:
        # Bytes that are no scores are none that were kept.
        return None


def _attack_names(report: object) -> list[str]:
    """The attacks on a task by their numbers: a report lists them in the order in which they were numbered."""
    attacks = report.get("attacks") if isinstance(report, Mapping) else None
    found = attacks if isinstance(attacks, Sequence) and not isinstance(attacks, str) else ()
    return [
        str(one.get("attack", f"attack {number}"))[:_LONGEST] if isinstance(one, Mapping) else f"attack {number}"
        for number, one in enumerate(found, start=1)
    ]


def _group(task: object, attack: object, count: object, value: object, interval: object) -> list[RowGroup]:
    ends = interval if isinstance(interval, Sequence) and len(interval) == 2 else ()
    numbers = [_number(number) for number in (value, *ends)]
    if not isinstance(count, int) or len(numbers) != 3 or any(number is None for number in numbers):
        return []
    at, low, high = (float(number) for number in numbers if number is not None)
    return [RowGroup(str(task), None if attack is None else str(attack), count, at, low, high)]
