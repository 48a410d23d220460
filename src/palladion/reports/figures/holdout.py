"""Test against holdout: who was as good on what nobody had ever submitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palladion.reports.figures.figure import Cell, Column, Figure, rounded
from palladion.reports.figures.style import BLUE, MARKERS, axis, error_bars, escaped, layout, straight

__all__ = ["BothScores", "holdout_figure"]


@dataclass(frozen=True, slots=True)
class BothScores:
    """The scores of one team's submission, as far as they may be told.

    Attributes:
        team: its name.
        test: value on the test split.
        holdout: value on the holdout split.
        test_interval, holdout_interval: (low, high), where they are told.
    """

    team: str
    test: float
    holdout: float
    test_interval: tuple[float, float] | None = None
    holdout_interval: tuple[float, float] | None = None


_COLUMNS: Final = (
    Column("team", "team", "text"),
    Column("test", "test"),
    Column("holdout", "holdout"),
    Column("difference", "holdout less test"),
    Column("test_rank", "rank on test", "count"),
    Column("holdout_rank", "rank on holdout", "count"),
    Column("moved", "places won", "count"),
)


def holdout_figure(
    scores: Sequence[BothScores], *, metric: str, unit: str, higher_is_better: bool, goal: float | None = None
) -> Figure:
    """Each submission's score on both splits, and how the ranks changed.

    Args:
        scores: of each team.
        metric: its title.
        unit: nats, fraction or percent.
        higher_is_better: its direction.
        goal: the value to reach, where there is one.
    """
    first, last = (
        _ranks([s.test for s in scores], higher_is_better),
        _ranks([s.holdout for s in scores], higher_is_better),
    )
    rows: list[dict[str, Cell]] = [
        {
            "team": s.team,
            "test": s.test,
            "holdout": s.holdout,
            "difference": s.holdout - s.test,
            "test_rank": before,
            "holdout_rank": after,
            "moved": before - after,
        }
        for s, before, after in zip(scores, first, last, strict=True)
    ]
    rows.sort(key=lambda row: int(row["holdout_rank"] or 0))
    if not scores:
        nothing = ("No submission was run on the holdout split, or its scores are not told yet.",)
        return Figure("holdout", "Test against holdout", nothing, None, _COLUMNS, ())
    values = [value for s in scores for value in (s.test, s.holdout)] + ([] if goal is None else [goal])
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 0.05
    ends = [low - room, high + room]
    data = [
        straight(ends, ends, name="the same on both"),
        {
            "type": "scatter",
            "mode": "markers",
            "name": "submissions, 95 % intervals where they are told",
            "x": rounded([s.test for s in scores]),
            "y": rounded([s.holdout for s in scores]),
            "error_x": {**_bars([s.test for s in scores], [s.test_interval for s in scores]), "color": BLUE},
            "error_y": {**_bars([s.holdout for s in scores], [s.holdout_interval for s in scores]), "color": BLUE},
            "text": [escaped(s.team) for s in scores],
            "marker": {"color": BLUE, "size": 9, "symbol": MARKERS[0]},
            "hovertemplate": "%{text}: %{x:.4f} on test, %{y:.4f} on holdout<extra></extra>",
        },
    ]
    if goal is not None:
        data.append(straight(ends, [goal, goal], name="goal", dash="dot"))
    better = "higher" if higher_is_better else "lower"
    words = metric if unit == "fraction" else f"{metric} ({'%' if unit == 'percent' else unit})"
    worse = sum((s.holdout < s.test) == higher_is_better and s.holdout != s.test for s in scores)
    notes = (
        f"{worse} of {len(scores)} did worse on the holdout split than on test; {better} is better.",
        "On the dashed line both are the same. What was chosen because it did well on test lies beside it on average.",
    )
    drawing = {
        "data": data,
        "layout": layout(
            xaxis=axis(f"{words} on test", range=ends),
            yaxis=axis(f"{words} on holdout", range=ends),
        ),
    }
    return Figure("holdout", "Test against holdout", notes, drawing, _COLUMNS, tuple(rows))


def _ranks(values: Sequence[float], higher_is_better: bool) -> list[int]:
    """The rank of each: one more than there are better ones."""
    return [1 + sum((other > value) if higher_is_better else (other < value) for other in values) for value in values]


def _bars(values: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> dict[str, object]:
    low, high = ([None if interval is None else interval[end] for interval in intervals] for end in (0, 1))
    return error_bars(values, low, high)
