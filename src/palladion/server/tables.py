"""Leaderboards and data points as CSV, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from palladion.server.models import DataPoints, Leaderboard, Row, Value
from palladion.server.models import Values as ValuesByMetric

__all__ = ["leaderboard_lines", "points_csv", "safe_cell"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: one that begins like one gets an apostrophe before it."""
    # Some programs look behind white space and full-width signs as well.
    first = text.lstrip().replace("＝", "=").replace("＋", "+").replace("－", "-").replace("＠", "@")
    return f"'{text}" if text.startswith(_FORMULA) or first.startswith(_FORMULA) else text


def leaderboard_lines(board: Leaderboard) -> tuple[bytes, Callable[[Row], bytes]]:
    """A leaderboard as a table: one row a submission; what is missing or hidden is an empty cell.

    Returns:
        The line of heads, and what makes the line of a row. The columns are those of all of the board.
    """
    metrics = [metric.name for metric in board.metrics]
    tasks = sorted({task for row in board.rows for task in row.tasks})
    held = any(row.holdout is not None for row in board.rows)
    parts = {"": metrics}
    for task in tasks:
        found = {metric for row in board.rows for metric in row.tasks.get(task, {})}
        parts[task] = [metric for metric in metrics if metric in found]
    if held:
        parts["holdout"] = metrics
    heads = ["rank", "team", "ordinal", "created", "goal_reached", "failed", "points"]
    heads += ["rank_low", "rank_high", "tied", "baseline", "distance", "seconds"]
    for part, names in parts.items():
        for name in names:
            head = safe_cell(f"{part}_{name}" if part else name)
            heads += [head, f"{head}_low", f"{head}_high"]

    def line(row: Row) -> bytes:
        cells = list(_head(row))
        for part, names in parts.items():
            values = row.scores if not part else row.holdout if part == "holdout" else row.tasks.get(part, {})
            for name in names:
                cells += _cells(values, name)
        return _line(cells)

    return _line(heads), line


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()


def _head(row: Row) -> Iterator[str]:
    yield "" if row.rank is None else str(row.rank)
    yield safe_cell(row.team.name)
    yield str(row.ordinal)
    yield row.model_dump(mode="json")["created"]
    yield "yes" if row.goal_reached else "no"
    yield "" if row.failed is None else str(row.failed.failed)
    yield "" if row.failed is None else str(row.failed.points)
    yield "" if row.rank_low is None else str(row.rank_low)
    yield "" if row.rank_high is None else str(row.rank_high)
    yield "yes" if row.tied else "no"
    yield "yes" if row.baseline else "no"
    yield "" if row.distance is None else repr(row.distance)
    yield "" if row.seconds is None else repr(row.seconds)


def points_csv(found: DataPoints) -> str:
    """Data points as a table: one row each, its factors last."""
    factors = list(found.points[0].factors) if found.points else []
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\r\n")
    heads = ["data_point", "poisoned", "probability", "missing", "error", "seconds"]
    out.writerow([*heads, *(safe_cell(name) for name in factors)])
    for point in found.points:
        out.writerow(
            [
                safe_cell(point.name),
                "yes" if point.poisoned else "no",
                "" if point.probability is None else repr(point.probability),
                "yes" if point.missing else "no",
                point.error or "",
                "" if point.seconds is None else repr(point.seconds),
                *(safe_cell(point.factors.get(name, "")) for name in factors),
            ]
        )
    return text.getvalue()


def _cells(values: ValuesByMetric | None, name: str) -> list[str]:
    value: Value | None = None if values is None else values.get(name)
    if value is None:
        return ["", "", ""]
    # Numbers, and made here: a minus sign is one.
    return [repr(number) if number is not None else "" for number in (value.value, value.low, value.high)]
