"""Confidence intervals in closed form: NIST's for a mean, DeLong's for the AUC.

The bootstrap is in :mod:`palladion.scoring.bootstrap`.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.scoring.arrays import as_labels, as_numbers, as_probabilities, check_confidence
from palladion.scoring.ranks import twice_wins

__all__ = ["Interval", "delong_interval", "delong_variance", "newcombe_interval", "normal_interval"]

# NIST's harness rounds to two decimals; its published half-widths are made with these.
_NIST_QUANTILE = {0.90: 1.64, 0.95: 1.96, 0.98: 2.33, 0.99: 2.58}


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def normal_interval(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean ± z·σ/√n of ``values``, shape (n,), with σ over n (not n − 1): NIST's interval for the
    cross-entropy.

    z is 1.64, 1.96, 2.33, 2.58 at 0.90, 0.95, 0.98, 0.99, as in NIST's CrossEntropyConfidenceInterval, and
    the normal quantile elsewhere. One value gives an interval of no width.
    """
    check_confidence(confidence)
    numbers = as_numbers(values, name="values")
    z = _NIST_QUANTILE.get(confidence) or _quantile(confidence)
    mean = float(numbers.mean())
    half = z * float(numbers.std()) / math.sqrt(numbers.size)
    return Interval(mean - half, mean + half)


def delong_variance(probability: ArrayLike, poisoned: ArrayLike) -> float | None:
    """Variance of the AUC by DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).

    The sample variances of the placement values of both classes, each over its count; computed in O(n log n)
    through midranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014). None where a class has fewer than
    two members, so that there is no sample variance.
    """
    p = as_probabilities(probability)
    y = as_labels(poisoned, length=p.size)
    if min(int(y.sum()), int((~y).sum())) < 2:
        return None
    return _variance(twice_wins(p, y), y)


def delong_interval(probability: ArrayLike, poisoned: ArrayLike, *, confidence: float = 0.95) -> Interval | None:
    """AUC ± z·√(DeLong's variance), clipped to [0, 1]; None where one class is absent.

    Where DeLong's variance is zero (perfect separation either way, or one constant answer) or undefined (a
    class with one member), that interval would be a point and claim certainty. There the interval holds every
    θ with |θ − AUC| ≤ z·√V(θ), where V is Hanley and McNeil's variance (Radiology 143, 1982) with both class
    counts replaced by their mean in the terms that depend on the shape: method 5 of Newcombe (Statistics in
    Medicine 25, 2006), which is to the AUC what Wilson's interval is to a proportion.
    """
    check_confidence(confidence)
    p = as_probabilities(probability)
    y = as_labels(poisoned, length=p.size)
    positives = int(y.sum())
    negatives = y.size - positives
    if not positives or not negatives:
        return None
    wins = twice_wins(p, y)
    auc = int(wins[y].sum()) / (2 * positives * negatives)
    z = _quantile(confidence)
    variance = _variance(wins, y) if min(positives, negatives) > 1 else 0.0
    if variance == 0:
        return newcombe_interval(auc, positives, negatives, z)
    half = z * math.sqrt(variance)
    return Interval(max(0.0, auc - half), min(1.0, auc + half))


def _variance(wins: NDArray[np.int64], poisoned: NDArray[np.bool_]) -> float:
    """DeLong's variance from twice the wins of each data point; both classes have two members or more."""
    positives, negatives = int(poisoned.sum()), int((~poisoned).sum())
    return (
        float(wins[poisoned].var(ddof=1)) / (2 * negatives) ** 2 / positives
        + float(wins[~poisoned].var(ddof=1)) / (2 * positives) ** 2 / negatives
    )


def newcombe_interval(auc: float, positives: int, negatives: int, z: float) -> Interval:
    """Every θ with |θ − AUC| ≤ z·√V(θ), V as in :func:`delong_interval`: never a point, at an AUC of 1 neither.

    V(½) is the variance of the AUC of untied numbers that do not depend on the label, (P + N + 1) / 12PN.
    """
    n = (positives + negatives) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + n * (1 - theta) / (2 - theta) + n * theta / (1 + theta)
        return abs(theta - auc) - z * math.sqrt(theta * (1 - theta) * shape / (positives * negatives))

    def root(inside: float, outside: float) -> float:
        # Bisection between a point of the interval and the end of [0, 1], where the excess is not negative.
        # Near an AUC of 1 the variance vanishes at 1 itself but not beside it, so the midpoint is judged, not
        # the end.
        for _ in range(100):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) < 0 else (inside, middle)
        return outside

    return Interval(root(auc, 0.0) if auc > 0 else 0.0, root(auc, 1.0) if auc < 1 else 1.0)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
