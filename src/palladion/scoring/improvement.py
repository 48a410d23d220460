"""Whether a submission is better than another one on the same data points by more than chance.

There are two ways to be lucky, and the p-value is the larger one of two.

*Many changes, as many for the better as for the worse.* Somebody who does not know the labels gains on some data points
and loses on others. Where the metric is a mean, let d be the gains, and T = Σd / √Σd². Under random signs

    P(T ≥ t) ≤ c · Φ(−t),  c = 1 / (4 Φ(−√2)) ≈ 3.18,

for gains of every size, a large one among small ones too, and every n (Bentkus and Dzindzalieta, Bernoulli 21, 2015,
theorem 1.1). The p-value is this bound, or what is counted among random signs where that is less. A t-test would have
the variance around the mean in place of Σd², which vanishes where all gains are alike, by luck or not. An AUC, and a
score made of two means, has a standard error s instead, of DeLong's placements or of paired resamples: there T is
gain / √(s² + gain² / n), which for a mean is the same number, and the p-value is Φ(−T). That is an approximation: bets
on a few data points raise an AUC up to twice as often as it says.

*Changes that are probably right, and cost much where they are not.* Where one model in ten is poisoned, to say "clean"
with more confidence is right for ten models with a chance of 0.35, and a test of signs takes that for 2⁻¹⁰. So labels
are also drawn as the best submission has them: data point i is poisoned with the probability qᵢ that it was given there
(for an AUC, with what isotonic regression makes of it). Let Δ be the gain of a data point if it is poisoned less that
if it is clean. Who knows no more than the best submission gains as much as this with a chance of at most

    min over λ ≥ 0 of exp(−λ Σ yᵢΔᵢ) Π (1 − qᵢ + qᵢ exp(λΔᵢ)),

which is Chernoff's bound. The p-value is this, or what is counted among drawn labels where that is less.

The bounds are for p-values of 10⁻⁵, which no 10,000 resamples can count. Data points are not clustered here: random
changes know of no clusters, and few clusters would leave nothing to be told.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palladion.scoring.arrays import check_count
from palladion.scoring.paired import check_same_points, paired_draws, point_values
from palladion.scoring.point_scores import PointScores, RankScore, metric_value
from palladion.scoring.ranks import tie_borders, twice_wins

__all__ = ["improvement_p_value"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

_FACTOR: Final = 1 / (2 * math.erfc(1.0))
"""1 / (4 Φ(−√2)), where Φ(−x) = erfc(x / √2) / 2."""
# What two sums of the same numbers may differ by.
_ROUNDING: Final = 1e-12
# Signs and labels are drawn this many at a time (32 MiB as numbers).
_BLOCK_DRAWS: Final = 1 << 22
_HALVINGS: Final = 60


def improvement_p_value(
    new: PointScores,
    best: PointScores | None,
    metric: str,
    *,
    higher_is_better: bool,
    score: RankScore = "geometric",
    replicates: int = 10_000,
    seed: int = 0,
) -> float:
    """The chance that a submission which is no better than ``best`` seems so much better, or more: one-sided, paired.

    Args:
        new: what is asked about, clipped and cut to the public part as its told values are.
        best: the team's best submission so far: the one whose telling was the last that was ``told``; treated alike.
            None: guessing, which is always answering the base rate of these data points (detection). Language tracks
            have no guess: the first submission is better than nothing, and 0 is returned.
        metric: that ranks.
        higher_is_better: its direction.
        score: what ``overall`` is made of.
        replicates: how many random signs, or resamples of language tasks.
        seed: of these.

    Returns:
        From 0 to 1; 1 where the value is not better at all, or undefined.

    Raises:
        ScoringError: they are not of the same data points.
    """
    check_count(replicates, name="replicates", lowest=2)
    if best is None:
        if new.task != "detection":
            return 0.0
        best = _guess(new)
    check_same_points((new, best))
    values = [metric_value(one, metric, score=score) for one in (new, best)]
    if values[0] is None or values[1] is None:
        return 1.0
    direction = 1 if higher_is_better else -1
    gain = (values[0] - values[1]) * direction
    if gain < _ROUNDING:
        return 1.0
    if new.task != "detection":
        draws = paired_draws((new, best), metric, score=score, replicates=replicates, seed=seed)
        return _by_error(gain, float((draws[0] - draws[1]).var(ddof=1)), _least_rows(new))
    poisoned, before = new.arrays["poisoned"], best.arrays["probability"]
    if metric == "roc_auc":
        by_chance = _by_error(gain, _auc_variance(new, best), new.size)
        delta = _midranks(new.arrays["probability"]) - _midranks(before)
        chance, total = _isotonic(before, poisoned), float(delta[poisoned].sum())
        # The gain is this total, by the numbers of poisoned and of clean data points, which vary with the labels that
        # are drawn: there the mean over either is to be as large.
        shifts = (-total / int(poisoned.sum()), total / int((~poisoned).sum()))
        return max(by_chance, *(_by_labels(delta + by, poisoned, chance, replicates, seed) for by in shifts))
    by_chance = _by_signs((point_values(new, metric) - point_values(best, metric)) * direction, replicates, seed)
    gains = [
        (point_values(_as_if(new, label), metric) - point_values(_as_if(best, label), metric)) * direction
        for label in (False, True)
    ]
    return max(by_chance, _by_labels(gains[1] - gains[0], poisoned, before, replicates, seed))


def _guess(points: PointScores) -> PointScores:
    poisoned = points.arrays["poisoned"]
    rate = float(poisoned.mean()) if poisoned.size else 0.5
    return PointScores("detection", {**points.arrays, "probability": np.full(poisoned.size, rate)})


def _by_signs(gains: Floats, replicates: int, seed: int) -> float:
    """Of the sum of gains, shape (n,), among sums of the same gains with random signs."""
    bound = _FACTOR * _tail(float(gains.sum() / np.linalg.norm(gains)))
    generator = np.random.default_rng(seed)
    # Up to rounding: as much as all gains is as much.
    total = float(gains.sum()) * (1 - _ROUNDING)
    as_much = 0
    step = max(1, _BLOCK_DRAWS // gains.size)
    for start in range(0, replicates, step):
        signs = generator.integers(2, size=(min(step, replicates - start), gains.size), dtype=np.int8)
        as_much += int((2 * (signs @ gains) - gains.sum() >= total).sum())
    return min(1.0, bound, (1 + as_much) / (1 + replicates))


def _by_labels(delta: Floats, poisoned: Labels, chance: Floats, replicates: int, seed: int) -> float:
    """Of the sum of ``delta`` over the poisoned data points, where each is poisoned with its ``chance``."""
    total = float(delta[poisoned].sum())
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    as_much = 0
    step = max(1, _BLOCK_DRAWS // delta.size)
    least = total - _ROUNDING * float(np.abs(delta).sum())
    for start in range(0, replicates, step):
        drawn = generator.random((min(step, replicates - start), delta.size)) < chance
        as_much += int((drawn @ delta >= least).sum())
    return min(_chernoff(delta, chance, total), (1 + as_much) / (1 + replicates))


def _chernoff(delta: Floats, chance: Floats, total: float) -> float:
    """Chernoff's bound of the chance that such a sum is at least ``total``."""
    with np.errstate(divide="ignore"):  # the logarithm of a chance of 0 is what it should be
        poisoned, clean = np.log(chance), np.log1p(-chance)

    def slope(power: float) -> float:
        at = np.logaddexp(clean, poisoned + power * delta)
        return float((delta * np.exp(poisoned + power * delta - at)).sum()) - total

    if slope(0.0) >= 0:
        return 1.0
    # Of a convex function: its least value is where its slope is 0. A total that is the largest there is has no such
    # place, and is approached.
    low, high = 0.0, 1 / float(np.abs(delta).max())
    for _ in range(_HALVINGS):
        if slope(high) >= 0:
            break
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return min(1.0, math.exp(min(0.0, float(np.logaddexp(clean, poisoned + low * delta).sum()) - low * total)))


def _as_if(points: PointScores, label: bool) -> PointScores:
    """The same answers, if all data points had this label."""
    return PointScores("detection", {**points.arrays, "poisoned": np.full(points.size, label)})


def _midranks(probability: Floats) -> Floats:
    """The rank of each data point among all, from 1; equal ones share the mean of theirs."""
    order = np.argsort(probability)
    borders = tie_borders(probability[order])
    ranks = np.empty(probability.size)
    ranks[order] = np.repeat((borders[:-1] + borders[1:] + 1) / 2, np.diff(borders))
    return ranks


def _isotonic(probability: Floats, poisoned: Labels) -> Floats:
    """The share of poisoned data points as a function of the answer that never falls: the one that fits best (pool
    adjacent violators, Ayer and others, Annals of Mathematical Statistics 26, 1955).
    """
    order = np.argsort(probability)
    borders = tie_borders(probability[order])
    blocks: list[tuple[float, int]] = []
    counts = np.add.reduceat(poisoned[order].astype(np.float64), borders[:-1])
    for block in zip(counts.tolist(), np.diff(borders).tolist(), strict=True):
        blocks.append(block)
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            (one, few), (other, more) = blocks.pop(), blocks.pop()
            blocks.append((one + other, few + more))
    shares = np.empty(probability.size)
    shares[order] = np.repeat([positives / size for positives, size in blocks], [size for _, size in blocks])
    return shares


def _by_error(gain: float, variance: float, n: int) -> float:
    """Of a gain whose variance around itself is known."""
    return _tail(gain / math.sqrt(variance + gain**2 / n))


def _auc_variance(new: PointScores, best: PointScores) -> float:
    """DeLong's variance of a difference of two AUCs."""
    poisoned = new.arrays["poisoned"]
    wins = twice_wins(new.arrays["probability"], poisoned) - twice_wins(best.arrays["probability"], poisoned)
    sides = (wins[poisoned], wins[~poisoned])
    # The placements of either class are its wins out of the members of the other one. Alone in a class, there is none.
    return sum(
        float((wins / (2 * other.size)).var(ddof=1)) / wins.size if wins.size > 1 else 0.25
        for wins, other in (sides, sides[::-1])
    )


def _least_rows(points: PointScores) -> int:
    """How many rows the smaller of the means has that a score of a language track is made of."""
    return max(1, min(sum(n for name, n in points.groups.items() if name.endswith(kind)) for kind in _KINDS))


_KINDS: Final = ("/clean", "/poisoned")


def _tail(t: float) -> float:
    """Φ(−t)."""
    return math.erfc(t / math.sqrt(2)) / 2
