"""Histogram of the cross-entropy of single data points, on a logarithmic axis: it shows the confident mistakes.

One data point that is answered wrongly with certainty costs 27.6 nats, as much as forty guesses; on a linear axis such
points are lost beside all the others, which lie near zero.
"""

import math
from typing import Final

import numpy as np

from palladion.reports.figures.figure import Cell, Column, Figure, rounded
from palladion.reports.figures.points import Points
from palladion.reports.figures.style import BLUE, GREY, VERMILLION, axis, layout
from palladion.scoring import EPSILON

__all__ = ["CONFIDENT", "cross_entropy_figure", "mistakes_figure"]

CONFIDENT: Final = 0.9
"""A mistake is confident where the probability given to the wrong answer is higher."""
_LOWEST: Final = 1e-4
_A_DECADE: Final = 4
_GUESS: Final = math.log(2)
_WORST: Final = -math.log(EPSILON)
_MOST_MISTAKES: Final = 20

_COLUMNS: Final = (
    Column("from", "cross-entropy from (nats)", digits=5),
    Column("to", "to", digits=5),
    Column("clean", "clean", "count"),
    Column("poisoned", "poisoned", "count"),
)
_MISTAKES: Final = (
    Column("data_point", "data point", "text"),
    Column("truth", "truth", "text"),
    Column("probability", "probability answered"),
    Column("cross_entropy", "cross-entropy (nats)"),
)


def cross_entropy_figure(points: Points) -> Figure:
    """How many data points have which cross-entropy, clean and poisoned ones; what is below 0.0001 is in one bin."""
    edges = _edges()
    entropies = points.cross_entropy
    place = np.clip(np.searchsorted(edges, entropies, side="right") - 1, 0, edges.size - 2)
    counts = {
        name: np.bincount(place[mask], minlength=edges.size - 1)
        for name, mask in (("clean", ~points.poisoned), ("poisoned", points.poisoned))
    }
    rows = tuple(
        {
            "from": 0.0 if i == 0 else float(edges[i]),
            "to": float(edges[i + 1]),
            "clean": int(counts["clean"][i]),
            "poisoned": int(counts["poisoned"][i]),
        }
        for i in range(edges.size - 1)
    )
    centre = rounded(np.sqrt(edges[:-1] * edges[1:]))
    width = rounded(np.diff(edges) * 0.96)
    between = [f"{row['from']:.4g} to {row['to']:.4g} nats" for row in rows]
    drawing = {
        "data": [
            {
                "type": "bar",
                "name": name,
                "x": centre,
                "y": counts[name].tolist(),
                "width": width,
                "customdata": between,
                "marker": {"color": color, "pattern": {"shape": shape, "fillmode": "overlay"}},
                "hovertemplate": "%{y} " + name + ", %{customdata}<extra></extra>",
            }
            for name, color, shape in (("clean", BLUE, ""), ("poisoned", VERMILLION, "/"))
        ],
        "layout": layout(
            barmode="stack",
            xaxis=axis(
                "cross-entropy (nats, logarithmic)",
                type="log",
                range=[math.log10(edges[0]), math.log10(40)],
                tickvals=[1e-4, 1e-3, 1e-2, 1e-1, 1, 10],
                ticktext=["≤ 0.0001", "0.001", "0.01", "0.1", "1", "10"],
            ),
            yaxis=axis("data points", rangemode="tozero"),
            shapes=[
                {
                    "type": "line",
                    "x0": at,
                    "x1": at,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "line": {"color": GREY, "width": 1.5, "dash": dash},
                }
                for at, dash in ((_GUESS, "dash"), (_confident(), "dot"))
            ],
            annotations=[
                {
                    # Of a logarithmic axis, annotations take the logarithm, shapes do not.
                    "x": math.log10(at),
                    "y": 1,
                    "yref": "paper",
                    "text": text,
                    "showarrow": False,
                    "xanchor": anchor,
                    "yanchor": "bottom",
                    "font": {"size": 12},
                }
                for at, text, anchor in (
                    (_GUESS, "0.5 answered ", "right"),
                    (_confident(), " confident mistakes", "left"),
                )
            ],
        ),
    }
    return Figure("cross-entropy", "Cross-entropy of the data points", _notes(points), drawing, _COLUMNS, rows)


def mistakes_figure(points: Points) -> Figure:
    """The data points that cost most, as a table alone."""
    entropies = points.cross_entropy
    worst = np.argsort(-entropies, kind="stable")[:_MOST_MISTAKES]
    rows: list[dict[str, Cell]] = [
        {
            "data_point": points.names[i],
            "truth": "poisoned" if points.poisoned[i] else "clean",
            "probability": None if points.missing[i] else float(points.probability[i]),
            "cross_entropy": float(entropies[i]),
        }
        for i in worst
        if entropies[i] > _GUESS or points.missing[i]
    ]
    notes = (f"At most {_MOST_MISTAKES}, the costliest first. What was not answered counts as it is scored.",)
    if not rows:
        notes = ("No data point was answered wrongly.",)
    return Figure("mistakes", "The costliest answers", notes, None, _MISTAKES, tuple(rows))


def _notes(points: Points) -> tuple[str, ...]:
    entropies = points.cross_entropy
    confident = entropies > _confident()
    count, sure = int(confident.sum()), f"more than {100 * CONFIDENT:.0f} % confidence"
    wrong = int((entropies > _GUESS).sum())
    share = 100 * float(entropies[confident].sum()) / float(entropies.sum()) if count else 0.0
    told = f"No data point was answered wrongly with {sure}."
    if count:
        told = (
            f"{count} of {len(points)} data points were answered wrongly with {sure}; they make {share:.0f} % of the "
            "whole cross-entropy."
        )
    return (
        told,
        f"Right of the dashed line, which is an answer of 0.5, are the {wrong} that were answered wrongly; right of "
        f"the dotted one those with {sure}. The worst answer there is costs {_WORST:.2f} nats, as much as "
        f"{_WORST / _GUESS:.0f} guesses.",
    )


def _confident() -> float:
    return -math.log(1 - CONFIDENT)


def _edges() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Four bins a decade, from below 0.0001 to the worst there is."""
    decades = math.log10(_WORST) - math.log10(_LOWEST)
    inner = _LOWEST * 10 ** (np.arange(int(decades * _A_DECADE) + 1) / _A_DECADE)
    return np.concatenate(([_LOWEST * 10 ** (-1 / _A_DECADE)], inner, [_WORST * (1 + 1e-9)]))
