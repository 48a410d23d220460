"""How far the rank of a submission is certain: from which to which place it may stand.

Two submissions are compared by the difference of their values over its standard error in the same resamples, with the
tail of the normal distribution: among 2,000 resamples no p-value below 0.0005 can be counted, and Holm's procedure
(Scandinavian Journal of Statistics 6, 1979) over the 124,750 pairs of 500 submissions asks for 4 · 10⁻⁷. The ranges
that the differences found leave open hold together (Al Mohamad, Goeman and van Zwet, Biometrics 78, 2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring.arrays import as_numbers, check_confidence

__all__ = ["RankRange", "rank_ranges"]

Floats = NDArray[np.float64]

# A variance that is left when two equal ones are subtracted is rounding, up to this share of them.
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class RankRange:
    """The place of one submission.

    Attributes:
        rank: from 1; equal values share it.
        low: the best place that it may have: 1 + how many are better beyond doubt.
        high: the worst place that it may have: how many there are, less those that are worse beyond doubt.
        tied: whether it cannot be told apart from the one at the top; of that one, whether there is another such.
    """

    rank: int
    low: int
    high: int
    tied: bool


def rank_ranges(
    values: Sequence[float] | Floats,
    draws: Floats,
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
) -> list[RankRange]:
    """The ranges of the ranks of all submissions, which hold all true ranks together with this confidence.

    Args:
        values: of the metric, shape (submissions,); finite.
        draws: of :func:`palladion.scoring.paired_draws`, shape (submissions, replicates), two replicates or more.
        higher_is_better: the metric's direction.
        confidence: of all ranges together.

    Returns:
        In the order of ``values``; none of none.
    """
    check_confidence(confidence)
    if not len(values):
        return []
    merits = as_numbers(values, name="values") * (1 if higher_is_better else -1)
    if draws.ndim != 2 or draws.shape[0] != merits.size or draws.shape[1] < 2:
        raise ScoringError(f"draws of shape {draws.shape} do not fit {merits.size} values")
    if not np.isfinite(draws).all():
        raise ScoringError("draws hold a value that is not finite")
    beats = _beats(merits, draws, 1 - confidence)
    rank = 1 + (merits > merits[:, None]).sum(axis=1)
    low = 1 + beats.sum(axis=0)
    high = merits.size - beats.sum(axis=1)
    tied = ~beats[rank == 1].any(axis=0)
    if tied.sum() == 1:
        tied[:] = False
    return [RankRange(*place) for place in zip(rank.tolist(), low.tolist(), high.tolist(), tied.tolist(), strict=True)]


def _beats(merits: Floats, draws: Floats, level: float) -> NDArray[np.bool_]:
    """Whether submission i is better than submission j beyond doubt, shape (submissions, submissions)."""
    beats = np.zeros((merits.size, merits.size), dtype=np.bool_)
    one, other = np.triu_indices(merits.size, k=1)
    if not one.size:
        return beats
    centred = draws - draws.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (draws.shape[1] - 1)
    alone = np.diagonal(covariance)
    both = alone[one] + alone[other]
    variance = both - 2 * covariance[one, other]
    variance[variance <= _ROUNDING * both] = 0.0
    difference = merits[one] - merits[other]
    z = np.zeros(one.size)
    differs = difference != 0
    with np.errstate(divide="ignore"):  # a difference that never varies is beyond all doubt
        z[differs] = np.abs(difference[differs]) / np.sqrt(variance[differs])
    found = _holm(z, level)
    first = difference[found] > 0
    beats[np.where(first, one[found], other[found]), np.where(first, other[found], one[found])] = True
    return beats


def _holm(z: Floats, level: float) -> NDArray[np.intp]:
    """Which two-sided tests are significant together."""
    order = np.argsort(-z, kind="stable")
    p = np.array([math.erfc(value / math.sqrt(2)) for value in z[order].tolist()])
    passed = p <= level / (z.size - np.arange(z.size))
    return order if passed.all() else order[: int(passed.argmin())]
