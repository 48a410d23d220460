"""Reliability diagram: whether of the data points answered with 80 % about 80 % are poisoned."""

from typing import Final

from palladion.reports.figures.figure import Cell, Column, Figure, rounded
from palladion.reports.figures.points import Points
from palladion.reports.figures.style import BLUE, GREY, axis, error_bars, layout, straight
from palladion.scoring import expected_calibration_error, reliability_table, wilson_interval

__all__ = ["reliability_figure"]

_COLUMNS: Final = (
    Column("from", "probability from", digits=2),
    Column("to", "to", digits=2),
    Column("count", "data points", "count"),
    Column("mean_probability", "mean probability"),
    Column("fraction_poisoned", "share poisoned"),
    Column("low", "95 % from"),
    Column("high", "to"),
)


def reliability_figure(points: Points, *, bins: int = 10) -> Figure:
    """The share of poisoned data points in bins of the probability, with Wilson's intervals and the counts below."""
    rows: list[dict[str, Cell]] = []
    for found in reliability_table(points.probability, points.poisoned, bins=bins):
        low = high = None
        if found.fraction_poisoned is not None:
            poisoned = round(found.fraction_poisoned * found.count)
            low, high = (end / 100 for end in wilson_interval(poisoned, found.count))
        rows.append(
            {
                "from": found.lower,
                "to": found.upper,
                "count": found.count,
                "mean_probability": found.mean_probability,
                "fraction_poisoned": found.fraction_poisoned,
                "low": low,
                "high": high,
            }
        )
    used = [row for row in rows if row["count"]]
    x = rounded([row["mean_probability"] for row in used])
    y = rounded([row["fraction_poisoned"] for row in used])
    bars = error_bars(
        [float(row["fraction_poisoned"] or 0) for row in used],
        [_number(row["low"]) for row in used],
        [_number(row["high"]) for row in used],
    )
    error = expected_calibration_error(points.probability, points.poisoned, bins=bins)
    drawing = {
        "data": [
            straight([0, 1], [0, 1], name="perfectly calibrated"),
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": "share poisoned, 95 % interval (Wilson)",
                "x": x,
                "y": y,
                "error_y": {**bars, "color": BLUE},
                "line": {"color": BLUE, "width": 1.5},
                "marker": {"color": BLUE, "size": 8},
                "customdata": [row["count"] for row in used],
                "hovertemplate": "answered %{x:.3f}: %{y:.3f} poisoned (%{customdata} data points)<extra></extra>",
            },
            {
                "type": "bar",
                "name": "data points",
                "x": [(float(row["from"] or 0) + float(row["to"] or 0)) / 2 for row in rows],
                "y": [row["count"] for row in rows],
                "width": [0.9 / bins] * len(rows),
                "marker": {"color": GREY},
                "yaxis": "y2",
                "showlegend": False,
                "hovertemplate": "%{y} data points<extra></extra>",
            },
        ],
        "layout": layout(
            height=520,
            xaxis=axis("probability answered", range=[-0.02, 1.02], anchor="y2"),
            yaxis=axis("share poisoned", range=[-0.02, 1.02], domain=[0.3, 1]),
            yaxis2=axis("data points", domain=[0, 0.22], rangemode="tozero"),
        ),
    }
    notes = (
        "On the dashed line, answers are what they say: of those answered with 0.8, 80 % are poisoned. "
        "Below it they are too high, above it too low.",
        f"Calibration error over {bins} bins: {error:.4f}.",
    )
    return Figure("reliability", "Reliability diagram", notes, drawing, _COLUMNS, tuple(rows))


def _number(cell: Cell) -> float | None:
    return cell if isinstance(cell, float) else None
