"""The single rows of a language track as a page lists them, some at a time, and what is left of each task.

Nothing here decides who may see them; see :mod:`palladion.server.pages.analysis`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from palladion.reports.figures.attacks import RowGroup
from palladion.reports.figures.rows import CLEAN, NO_ATTACK, POISONED, Rows, RowTable, TaskRows
from palladion.server import models
from palladion.storage.errors import NotFound

__all__ = [
    "PAGE",
    "LanguageRow",
    "RowList",
    "TaskScores",
    "groups_left",
    "metrics_of",
    "out",
    "row_list",
    "task_scores",
    "value",
]

PAGE: Final = 200
"""Rows of a page."""


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class LanguageRow(_Out):
    """What came of one row."""

    task: str
    kind: Literal["clean", "poisoned"]
    row: int = Field(
        description="Its place among the rows of its kind in its task, from 1; of poisoned rows those that count."
    )
    attack: str | None = Field(description="Whose trigger stands in it; null of a clean row.")
    utility: float | None = Field(description="Of a clean row, percent.")
    success: bool | None = Field(description="Of a poisoned row, whether its attack succeeded.")


class TaskScores(_Out):
    """What the rows that were chosen of one task score."""

    task: str
    clean: int
    poisoned: int
    answered: bool
    scores: dict[str, models.Value | None] = Field(description="By metric, percent.")


class RowList(_Out):
    """Some of the rows that were chosen."""

    sort: str
    page: int
    pages: int
    tasks: list[TaskScores]
    rows: list[LanguageRow]


def metrics_of(rows: Rows) -> dict[str, str]:
    """The metrics of a track by what rows call them."""
    return {
        "overall": "overall",
        "utility": "cacc" if rows.points.task == "classification" else "utility",
        "asr": "asr",
    }


def value(found: tuple[float, Sequence[float] | None] | None) -> models.Value | None:
    """A score as pages have it."""
    if found is None:
        return None
    low, high = (None, None) if found[1] is None else found[1]
    return models.Value(value=found[0], text=f"{found[0]:.2f}", low=low, high=high)


def task_scores(rows: Rows, found: Sequence[TaskRows]) -> list[TaskScores]:
    """What is left of each task."""
    names = metrics_of(rows)
    return [
        TaskScores(
            task=one.task,
            clean=one.clean,
            poisoned=one.poisoned,
            answered=one.answered,
            scores={names[measure]: value(scored) for measure, scored in one.scores.items()},
        )
        for one in found
    ]


def row_list(rows: Rows, tasks: list[TaskScores], sort: str, page: int) -> RowList:
    """A page of rows.

    Args:
        rows: that were chosen.
        tasks: what is left of each task.
        sort: see :meth:`palladion.reports.figures.rows.Rows.table`.
        page: from 1.

    Raises:
        NotFound: there are not so many pages.
    """
    pages = max(1, -(-len(rows) // PAGE))
    if page > pages:
        raise NotFound(f"there is no page {page} of these rows; there are {pages}")
    table = rows.table(sort)
    return RowList(sort=sort, page=page, pages=pages, tasks=tasks, rows=out(table, (page - 1) * PAGE, page * PAGE))


def out(table: RowTable, start: int = 0, end: int | None = None) -> list[LanguageRow]:
    """Rows as they are told."""
    return [
        LanguageRow(
            task=table.task[i],
            kind="poisoned" if table.poisoned[i] else "clean",
            row=int(table.row[i]),
            attack=table.attack[i],
            utility=None if table.poisoned[i] else float(table.value[i]),
            success=bool(table.value[i]) if table.poisoned[i] else None,
        )
        for i in range(start, min(len(table), len(table) if end is None else end))
    ]


def groups_left(groups: Sequence[RowGroup], wanted: Mapping[str, Sequence[str]]) -> list[RowGroup]:
    """The groups of rows that have one of the wanted levels of every factor that is named."""
    return [
        group
        for group in groups
        if group.task in wanted.get("task", (group.task,))
        and (CLEAN if group.attack is None else POISONED) in wanted.get("kind", (CLEAN, POISONED))
        and (attack := NO_ATTACK if group.attack is None else group.attack) in wanted.get("attack", (attack,))
    ]
