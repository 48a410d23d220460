"""What a figure is: something for plotly to draw, and the same as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Cell", "Column", "Figure", "rounded"]

Cell = str | int | float | None
"""What stands in a table; None is shown as nothing."""

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a figure's table.

    Attributes:
        name: for programs: the head of a CSV file, the key in JSON.
        title: for people, with the unit.
        kind: text, a count, or a number, which pages show with so many ``digits``.
        digits: after the point.
    """

    name: str
    title: str
    kind: Literal["text", "count", "number"] = "number"
    digits: int = 4

    def text(self, cell: Cell) -> str:
        """A cell as a page shows it; a dash where there is nothing."""
        if cell is None:
            return "–"
        return f"{cell:.{self.digits}f}" if self.kind == "number" and isinstance(cell, float | int) else str(cell)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure.

    Attributes:
        name: for addresses and ids, such as ``roc``.
        title: for people.
        notes: sentences about what is seen, each for itself; the numbers in them are those of the figure.
        drawing: ``data`` and ``layout`` as plotly takes them, JSON without NaN; None where there is nothing to draw.
        columns: of the table.
        rows: by the names of the columns.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    drawing: dict[str, Any] | None
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Cell], ...]


def rounded(values: Any) -> list[float | None]:
    """Numbers for a drawing: six digits are more than a screen has, and a third of the bytes. NaN becomes None."""
    return [None if value != value else float(f"{float(value):.{_DIGITS}g}") for value in values]
