"""ROC curve, with the band in which it lies when the data points are drawn anew."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palladion.reports.figures.figure import Column, Figure, rounded
from palladion.reports.figures.points import Points
from palladion.reports.figures.style import BLUE, axis, band, layout, straight
from palladion.scoring import Bootstrap, delong_interval, roc_auc, roc_curve

__all__ = ["RocBand", "roc_band", "roc_figure"]

Floats = NDArray[np.float64]

_COLUMNS: Final = (
    Column("threshold", "poisoned from a probability of"),
    Column("false_positive_rate", "false positive rate"),
    Column("true_positive_rate", "true positive rate"),
)
_CONFIDENCE: Final = 0.95
# More points than this are not seen on a screen: the curve is then drawn, not listed, through every so manieth.
_MOST_DRAWN: Final = 1000


class RocBand(NamedTuple):
    """The band of a ROC curve: at each false positive rate the interval of the true positive rate, shape (k,) each."""

    false_positive_rate: Floats
    low: Floats
    high: Floats


def roc_band(points: Points, *, steps: int = 100, replicates: int = 1000, seed: int = 0) -> RocBand | None:
    """The 95 % band of the ROC curve; None where a class is absent.

    It holds point by point, at each false positive rate for itself: the 2.5 % and 97.5 % quantiles of the true
    positive rate over resamples of data points, or of clusters (Macskassy and Provost, "Confidence bands for ROC
    curves", 2004: vertical averaging). Where a curve is vertical, its upper end counts.

    Args:
        points: the data points.
        steps: between a false positive rate of 0 and 1.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    if not points.both_classes:
        return None
    plan = Bootstrap(points.poisoned, clusters=points.clusters, replicates=replicates, seed=seed)
    order = np.argsort(-points.probability, kind="stable")
    descending, poisoned = points.probability[order], points.poisoned[order]
    # Equal answers make one step: the curve has a corner behind the last of each run.
    corner = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    grid = np.linspace(0, 1, steps + 1)
    rates = np.empty((replicates, grid.size))
    for replicate in range(replicates):
        weights = plan.weights(replicate)[order]
        true = np.concatenate(([0], np.cumsum(weights * poisoned)[corner]))
        false = np.concatenate(([0], np.cumsum(weights * ~poisoned)[corner]))
        # Both classes are in every resample: of what is drawn, units of one class are drawn among themselves.
        rates[replicate] = np.interp(grid, false / false[-1], true / true[-1])
    low, high = np.quantile(rates, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], axis=0)
    return RocBand(grid, low, high)


def roc_figure(points: Points, *, seed: int = 0) -> Figure:
    """The ROC curve with its band; one point a distinct answer in the table."""
    curve = roc_curve(points.probability, points.poisoned)
    found = roc_band(points, seed=seed)
    if curve is None or found is None:
        nothing = ("There is no ROC curve: it takes poisoned and clean data points.",)
        return Figure("roc", "ROC curve", nothing, None, _COLUMNS, ())
    auc = roc_auc(points.probability, points.poisoned)
    interval = delong_interval(points.probability, points.poisoned)
    assert auc is not None
    assert interval is not None
    rows = tuple(
        {
            "threshold": None if not np.isfinite(threshold) else float(threshold),
            "false_positive_rate": float(false),
            "true_positive_rate": float(true),
        }
        for threshold, false, true in zip(*curve, strict=True)
    )
    step = -(-len(rows) // _MOST_DRAWN)
    drawn = sorted({*range(0, len(rows), step), len(rows) - 1})
    drawing = {
        "data": [
            straight([0, 1], [0, 1], name="guessing"),
            *band(
                rounded(found.false_positive_rate),
                rounded(found.low),
                rounded(found.high),
                name="95 % band",
                color=BLUE,
            ),
            {
                "type": "scatter",
                "mode": "lines",
                "name": "ROC curve",
                "x": rounded(curve.false_positive_rate[drawn]),
                "y": rounded(curve.true_positive_rate[drawn]),
                "customdata": rounded(np.minimum(curve.thresholds[drawn], 1.0)),
                "line": {"color": BLUE, "width": 2.5},
                "hovertemplate": "from %{customdata:.3f}: %{y:.3f} of the poisoned, %{x:.3f} of the clean"
                "<extra></extra>",
            },
        ],
        "layout": layout(
            xaxis=axis("false positive rate", range=[-0.02, 1.02]),
            yaxis=axis("true positive rate", range=[-0.02, 1.02]),
        ),
    }
    what = "clusters" if points.clusters is not None else "data points"
    notes = (
        f"Area under the curve: {auc:.4f}, 95 % interval {interval.low:.4f} to {interval.high:.4f} (DeLong).",
        f"In the band the curve lies, at each false positive rate, in 95 % of resamples of {what}.",
    )
    return Figure("roc", "ROC curve", notes, drawing, _COLUMNS, rows)
