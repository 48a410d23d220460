"""What the answers to a language track are worth, and which attacks still succeed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from palladion.reports.figures.figure import Cell, Column, Figure, rounded
from palladion.reports.figures.style import BLUE, MARKERS, VERMILLION, axis, error_bars, escaped, layout

__all__ = ["RowGroup", "attacks_figure"]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one task that belong together.

    Attributes:
        task: the task.
        attack: whose triggers stand in the rows; None: they are clean.
        count: rows that count.
        value: mean utility of clean rows, attack success rate of the others, percent.
        low, high: its 95 % interval.
    """

    task: str
    attack: str | None
    count: int
    value: float
    low: float
    high: float


_COLUMNS: Final = (
    Column("task", "task", "text"),
    Column("rows", "rows", "text"),
    Column("measure", "measure", "text"),
    Column("count", "n", "count"),
    Column("value", "percent", digits=2),
    Column("low", "95 %, from", digits=2),
    Column("high", "to", digits=2),
)
_UTILITY, _SUCCESS = "utility of clean rows", "success of the attack"


def attacks_figure(groups: Sequence[RowGroup]) -> Figure:
    """The utility of each task beside the success of each of its attacks."""
    rows: list[dict[str, Cell]] = [
        {
            "task": group.task,
            "rows": "clean" if group.attack is None else group.attack,
            "measure": _UTILITY if group.attack is None else _SUCCESS,
            "count": group.count,
            "value": group.value,
            "low": group.low,
            "high": group.high,
        }
        for group in groups
    ]
    attacks = [group for group in groups if group.attack is not None]
    title = "Tasks and attacks"
    if not groups:
        return Figure("attacks", title, ("No task was answered.",), None, _COLUMNS, ())
    data: list[dict[str, Any]] = []
    for name, colour, symbol, clean in ((_UTILITY, BLUE, MARKERS[0], True), (_SUCCESS, VERMILLION, MARKERS[1], False)):
        shown = [group for group in groups if (group.attack is None) == clean]
        bars = error_bars([g.value for g in shown], [g.low for g in shown], [g.high for g in shown])
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{name}, 95 % interval",
                "x": rounded([group.value for group in shown]),
                "y": [escaped(_label(group)) for group in shown],
                "error_x": {**bars, "color": colour},
                "marker": {"color": colour, "size": 9, "symbol": symbol},
                "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
            }
        )
    notes = ["Utility should be high, success of attacks low. Rows whose true answer is the target do not count."]
    if attacks:
        worst = max(attacks, key=lambda group: group.value)
        notes.append(f"{worst.attack} of {worst.task} succeeds most: {worst.value:.1f} % of {worst.count} rows.")
    order = [escaped(_label(group)) for group in reversed(groups)]
    drawing = {
        "data": data,
        "layout": layout(
            xaxis=axis("percent", range=[-2, 102]),
            yaxis=axis("", categoryorder="array", categoryarray=order),
        ),
    }
    return Figure("attacks", title, tuple(notes), drawing, _COLUMNS, tuple(rows))


def _label(group: RowGroup) -> str:
    return f"{group.task}, {'clean' if group.attack is None else group.attack}"
