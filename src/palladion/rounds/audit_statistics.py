"""Whether factors tell the label: pure statistics of arrays.

Labels are permuted within their splits, many times, and every factor is judged on the same permutations. That needs no
assumption on how a factor is distributed, holds for a dozen models as for a thousand, and knows by itself which factors
say the same thing twice and which are too coarse to say anything, so that neither costs power:

- A number's statistic is |AUC − ½|: a factor that is lower in poisoned models leaks as much as one that is higher. Only
  models of the same split are compared.
- Levels are put in the order of their observed shares of poisoned models. The AUC of that order is above ½ even where
  levels mean nothing, and only its excess over what permuted labels give counts. A design that gives every level equal
  labels lies below what chance gives, and is never blamed.
- All factors together predict each label from the others' by ridge regression. Its AUC is held against that of permuted
  labels as well, and finds what many factors tell a little of.
- For the verdict, the p-value of a factor is compared with the smallest p-values that each permutation gives over all
  factors (single-step minP of Westfall and Young, Resampling-Based Multiple Testing, 1993): of rounds without a leak,
  at most one in twenty fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palladion.scoring import Interval
from palladion.scoring.intervals import newcombe_interval
from palladion.scoring.ranks import tie_borders

__all__ = ["Association", "Factor", "associate", "together"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_DRAWS = 20_000
# Each factor is the most extreme in one permutation of its own: with fewer permutations a factor, a perfect leak would
# be no rarer among many factors than the wanted confidence allows.
_DRAWS_PER_FACTOR = 40
_CHUNK = 2_000  # bounds memory only


@dataclass(frozen=True, slots=True)
class Factor:
    """One value of each model.

    Attributes:
        name: what it is called.
        values: shape (n,): numbers, or the numbers 0 to ``levels`` − 1 of levels; NaN where a model has none. Or, of
            several factors :func:`together`, shape (n, features).
        levels: how many levels there are; None for a number.
    """

    name: str
    values: Floats
    levels: int | None = None


@dataclass(frozen=True, slots=True)
class Association:
    """What a factor says of the label.

    Attributes:
        name: the factor's.
        models: models that have a value.
        auc: at least ½. Of a number, the share of the pairs of a poisoned and a clean model of one split in which the
            poisoned one has the larger value (or the smaller, see ``lower``), ties counting one half. Of levels,
            ½ + ½·(A − E) / (1 − E), where A is the AUC of the order of the levels' shares of poisoned models and E its
            mean over permuted labels, and ½ where that is less. Of several factors together the same, where A is the
            AUC of the predictions of each model's label from the labels of all others.
        lower: whether poisoned models have the smaller numbers.
        interval: values of the AUC that a test at the wanted confidence would not reject. Its width at ½ is what
            permuted labels give; elsewhere it changes as that of Newcombe's interval does.
        corrected_interval: the same, corrected for the number of tries: it excludes ½ where the factor leaks.
        p_value: share of permutations with at least this association.
        adjusted_p_value: share of permutations in which any factor has a p-value as small.
        leaks: whether the adjusted p-value is at most one less the confidence.
    """

    name: str
    models: int
    auc: float
    lower: bool
    interval: Interval
    corrected_interval: Interval
    p_value: float
    adjusted_p_value: float
    leaks: bool


def together(name: str, factors: Sequence[Factor], split: Integers) -> Factor:
    """Several factors as one that predicts with all of them.

    Numbers count by their ranks within splits; a model without a value lies in the middle. NaN where a model has no
    value at all.

    Args:
        name: of the new factor.
        factors: each with n values.
        split: the number of each model's split, shape (n,).
    """
    columns = []
    for factor in factors:
        if factor.levels is None:
            rank = np.full(split.size, np.nan)
            for number in np.unique(split):
                part = split == number
                rank[part] = _twice_midranks(factor.values[part])
            features = np.where(np.isnan(factor.values), np.nan, rank)[:, None]
        else:
            features = (factor.values[:, None] == np.arange(factor.levels)).astype(np.float64)
            features[np.isnan(factor.values)] = np.nan
        for number in np.unique(split):
            part = split == number
            there = ~np.isnan(features[part, 0])
            if there.any():
                features[part] -= features[part][there].mean(axis=0)
        deviation = math.sqrt(np.nansum(np.square(features)) / split.size)
        if deviation > 0:
            columns.append(features / deviation)
    values = np.hstack(columns) if columns else np.zeros((split.size, 1))
    nothing = np.isnan(values).all(axis=1)
    values = np.nan_to_num(values, nan=0.0)
    values[nothing] = np.nan
    return Factor(name, values)


def associate(
    factors: Sequence[Factor],
    poisoned: Booleans,
    split: Integers,
    *,
    confidence: float = 0.95,
    draws: int | None = None,
    seed: int = 0,
) -> tuple[Association, ...]:
    """What each factor says of the label, with a correction for their number.

    Args:
        factors: each with n values.
        poisoned: labels, shape (n,).
        split: the number of each model's split, shape (n,); labels are permuted, and models compared, within splits.
        confidence: of the intervals; 1 − ``confidence`` is the share of rounds without a leak that may fail.
        draws: permutations, the observed labels among them; by default 20,000, and more for more than 500 factors.
        seed: of the permutations.

    Returns:
        One result for each factor, in their order.
    """
    if not factors:
        return ()
    draws = draws or max(_DRAWS, _DRAWS_PER_FACTOR * len(factors))
    members = [np.flatnonzero(split == number) for number in np.unique(split)]
    labels = _permutations(poisoned, members, draws, np.random.default_rng(seed))
    statistics = np.zeros((len(factors), draws))
    numbers = [i for i, factor in enumerate(factors) if factor.levels is None and factor.values.ndim == 1]
    if numbers:
        statistics[numbers] = _number_excesses(np.stack([factors[i].values for i in numbers]), labels, members)
    lower = statistics[:, 0] < 0
    np.abs(statistics, out=statistics)
    for i, factor in enumerate(factors):
        if factor.levels is not None:
            statistics[i] = _level_excesses(factor.values, factor.levels, labels, members)
            lower[i] = False
        elif factor.values.ndim == 2:
            statistics[i] = _joint_excesses(factor.values, labels, members)
            lower[i] = False

    observed = np.maximum(statistics[:, 0], 0.0)
    counts = np.empty(len(factors), dtype=np.int64)
    least = np.full(draws, draws, dtype=np.int64)
    for i, statistic in enumerate(statistics):
        # For each permutation, how many reach its statistic; then the row is sorted.
        order = np.argsort(statistic)
        statistic[:] = statistic[order]
        borders = tie_borders(statistic)
        reached = np.empty(draws, dtype=np.int64)
        reached[order] = np.repeat(draws - borders[:-1], np.diff(borders))
        counts[i] = reached[0]
        np.minimum(least, reached, out=least)
    least.sort()
    allowed = math.floor((1 - confidence) * draws + 1e-9)
    critical = _critical(least, allowed)

    found = []
    for i, factor in enumerate(factors):
        given = ~np.isnan(factor.values.reshape(poisoned.size, -1)[:, 0])
        positives, negatives = int((given & poisoned).sum()), int((given & ~poisoned).sum())
        excess = float(observed[i])
        found.append(
            Association(
                factor.name,
                int(given.sum()),
                0.5 + excess,
                bool(lower[i]),
                _interval(excess, statistics[i], allowed, positives, negatives),
                _interval(excess, statistics[i], critical, positives, negatives),
                int(counts[i]) / draws,
                int(np.searchsorted(least, counts[i], side="right")) / draws,
                bool(counts[i] <= critical),
            )
        )
    return tuple(found)


def _permutations(
    poisoned: Booleans, members: Sequence[NDArray[np.intp]], draws: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Labels permuted within splits, shape (draws, n); the first row is as it was observed."""
    labels = np.tile(poisoned, (draws, 1))
    for part in members:
        labels[1:, part] = rng.permuted(labels[1:, part], axis=1)
    return labels


def _number_excesses(values: Floats, labels: Booleans, members: Sequence[NDArray[np.intp]]) -> Floats:
    """AUC − ½ of each factor, values of shape (factors, n), under each row of labels: shape (factors, draws).

    Counted in whole numbers until the last division, so that equal associations are equal exactly. Where no pair can be
    compared the excess is zero.
    """
    given = (~np.isnan(values)).astype(np.float64)
    ranks = np.zeros_like(values)
    for part in members:
        for i in range(values.shape[0]):
            ranks[i, part] = _twice_midranks(values[i, part])
    excesses = np.empty((values.shape[0], labels.shape[0]))
    for low in range(0, labels.shape[0], _CHUNK):
        chunk = labels[low : low + _CHUNK].T.astype(np.float64)
        wins, pairs = np.zeros((2, values.shape[0], chunk.shape[1]))
        for part in members:
            positives = given[:, part] @ chunk[part]
            wins += ranks[:, part] @ chunk[part] - positives * (positives + 1)
            pairs += positives * (given[:, part].sum(axis=1, keepdims=True) - positives)
        excesses[:, low : low + _CHUNK] = (wins - pairs) / np.maximum(2 * pairs, 1)
    return excesses


def _twice_midranks(values: Floats) -> Floats:
    """Twice the midranks from 1 on of the values that are there, 0 for NaN, shape (n,)."""
    ranks = np.zeros(values.size)
    there = ~np.isnan(values)
    _, group, size = np.unique(values[there], return_inverse=True, return_counts=True)
    ranks[there] = (2 * np.cumsum(size) - size + 1)[group]
    return ranks


def _level_excesses(values: Floats, levels: int, labels: Booleans, members: Sequence[NDArray[np.intp]]) -> Floats:
    """Excess of the adjusted AUC over ½ under each row of labels, shape (draws,); see :class:`Association`."""
    belongs = (values == np.arange(levels)[:, None]).astype(np.float64)  # NaN belongs nowhere
    total = np.maximum(belongs.sum(axis=1, keepdims=True), 1)
    auc = np.empty(labels.shape[0])
    for low in range(0, labels.shape[0], _CHUNK):
        chunk = labels[low : low + _CHUNK].T.astype(np.float64)
        counted = []
        surplus = np.zeros((levels, chunk.shape[1]))
        for part in members:
            size = belongs[:, part].sum(axis=1, keepdims=True)
            positives = belongs[:, part] @ chunk[part]
            counted.append((positives, size - positives))
            surplus += positives - size * chunk[part].mean(axis=0)
        order = np.argsort(surplus / total, axis=0, kind="stable")
        wins, pairs = np.zeros((2, chunk.shape[1]))
        for counts in counted:
            positives, negatives = (np.take_along_axis(count, order, axis=0) for count in counts)
            wins += (positives * (2 * np.cumsum(negatives, axis=0) - negatives)).sum(axis=0)
            pairs += positives.sum(axis=0) * negatives.sum(axis=0)
        auc[low : low + _CHUNK] = np.where(pairs > 0, wins / np.maximum(2 * pairs, 1), 0.5)
    return _above_chance(auc)


def _joint_excesses(values: Floats, labels: Booleans, members: Sequence[NDArray[np.intp]]) -> Floats:
    """Excess of the adjusted AUC of ridge regression over ½ under each row of labels, shape (draws,).

    Every label is predicted from those of the other models: with predictions H·y, that of model i without its own label
    is ((H·y)ᵢ − hᵢᵢ·yᵢ) / (1 − hᵢᵢ), and H does not depend on the labels. The ridge is the mean square of a model's
    features. Labels count as their distance from their split's mean.
    """
    used = np.flatnonzero(~np.isnan(values[:, 0]))
    features = values[used]
    parts = [np.flatnonzero(np.isin(used, part)) for part in members]
    gram = features @ features.T
    mean_square = float(np.trace(gram)) / used.size
    if mean_square == 0:
        return np.zeros(labels.shape[0])
    gram /= mean_square
    hat = np.linalg.solve(gram + np.eye(used.size), gram)
    own = np.diag(hat)[:, None]
    auc = np.empty(labels.shape[0])
    for low in range(0, labels.shape[0], _CHUNK):
        chunk = labels[low : low + _CHUNK, used].T
        centred = chunk.astype(np.float64)
        for part in parts:
            centred[part] -= centred[part].mean(axis=0) if part.size else 0.0
        predicted = (hat @ centred - own * centred) / (1 - own)
        wins, pairs = np.zeros((2, chunk.shape[1]))
        for part in parts:
            order = np.argsort(predicted[part], axis=0)
            ranked = np.take_along_axis(chunk[part], order, axis=0)
            clean_below = np.cumsum(~ranked, axis=0)
            wins += np.where(ranked, clean_below, 0).sum(axis=0)
            positives = ranked.sum(axis=0)
            pairs += positives * (part.size - positives)
        auc[low : low + _CHUNK] = wins / np.maximum(pairs, 1)
    return _above_chance(auc)


def _above_chance(auc: Floats) -> Floats:
    """AUCs less what they are on average, scaled so that an AUC of 1 becomes an excess of ½."""
    expected = auc.mean()
    room = 1 - expected
    return (auc - expected) / (2 * room) if room > 1e-9 else np.zeros_like(auc)


def _critical(least: Integers, allowed: int) -> int:
    """The largest count that the smallest count of a permutation, sorted in ``least``, reaches at most so often."""
    if not allowed:
        return 0
    value = int(least[allowed - 1])
    # Where the next permutation has the same count, all of those with that count are too many.
    if allowed < least.size and int(least[allowed]) == value:
        value = int(least[int(np.searchsorted(least, value, side="left")) - 1]) if int(least[0]) < value else 0
    return value


def _interval(excess: float, ordered: Floats, allowed: int, positives: int, negatives: int) -> Interval:
    """Values of the AUC not rejected at a level of ``allowed`` permutations.

    Args:
        excess: the estimate less ½.
        ordered: statistics of the permutations, ascending.
        allowed: permutations that may be as extreme as what is rejected.
        positives: poisoned models that have a value.
        negatives: clean models that have a value.
    """
    if not positives or not negatives:
        return Interval(0.0, 1.0)
    kept = max(0.0, float(ordered[ordered.size - allowed - 1]))
    spread = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    low, high = newcombe_interval(0.5 + excess, positives, negatives, kept / spread)
    if abs(excess) <= kept:  # ½ is not rejected; the search for the ends may stop a rounding short of it
        low, high = min(low, 0.5), max(high, 0.5)
    return Interval(low, high)
