"""The bootstrap: one plan of resamples, shared by every metric and every submission of a round.

Models are not independent: those of one architecture or one trigger family fail together. What is drawn is
therefore the *unit*: a cluster of data points, or each data point on its own where no clusters are given.
Units are drawn with replacement within strata (all clean, mixed, all poisoned), so that without clusters this
is the ordinary bootstrap stratified by label, and a resample never lacks a class that the data have.

Two submissions scored under one plan are compared on the same resamples (paired), which is far sharper than
two intervals side by side.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.errors import ScoringError
from palladion.scoring.arrays import (
    as_groups,
    as_labels,
    as_numbers,
    as_probabilities,
    check_confidence,
    check_count,
)
from palladion.scoring.intervals import Interval
from palladion.scoring.ranks import pair_wins, tie_borders, twice_wins

__all__ = ["Bootstrap", "PairedDifference"]

Floats = NDArray[np.float64]

# Up to this many units, the wins between units are counted once and kept (units² numbers, 128 MiB at most);
# then all replicates are one matrix product. Beyond, each replicate is summed along the sorted data points.
_MATRIX_UNITS = 4096
# All weights are kept if they are no more than this (128 MiB as uint16), else drawn anew each time.
_KEPT_WEIGHTS = 1 << 26
# Weights are turned into float64 this many at a time (32 MiB).
_BLOCK_WEIGHTS = 1 << 22


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much submission A's score exceeds submission B's, on the same resamples.

    Attributes:
        estimate: score of A − score of B on the data.
        interval: percentile interval of the resampled differences.
        p_value: two-sided, 2·min(1 + #{d ≤ 0}, 1 + #{d ≥ 0}) / (replicates + 1), at most 1. Up to
            the added ones, 1 − p is the confidence at which the percentile interval just touches 0. It cannot
            fall below 2 / (replicates + 1), and identical submissions have 1.
    """

    estimate: float
    interval: Interval
    p_value: float


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Bootstrap:
    """A plan of resamples of the data points of a round.

    The weights of replicate r come from ``SeedSequence(seed, spawn_key=(r,))`` alone: they depend neither on
    how many replicates there are nor on how they are computed.

    Args:
        poisoned: shape (n,), booleans or 0/1.
        clusters: the cluster of each data point: n hashable values of any kind, none of them None or NaN.
            None makes each data point a unit of its own.
        replicates: how many resamples.
        seed: of the resamples, not negative.

    Attributes:
        units: how many units are drawn among.
        clustered: whether ``clusters`` were given.
    """

    poisoned: NDArray[np.bool_]
    replicates: int
    seed: int
    units: int
    clustered: bool
    _unit: NDArray[np.intp]
    _strata: tuple[slice, slice, slice]
    _kept: NDArray[np.uint16] | None

    def __init__(
        self,
        poisoned: ArrayLike,
        *,
        clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
        replicates: int = 2000,
        seed: int = 0,
    ) -> None:
        labels = as_labels(poisoned).copy()
        labels.setflags(write=False)
        check_count(replicates, name="replicates", lowest=1)
        check_count(seed, name="seed", lowest=0)
        unit = np.arange(labels.size)
        if clusters is not None:
            unit, _ = as_groups(clusters, name="clusters", length=labels.size)
        # Units are renumbered by stratum, so that a stratum, the units with clean points and the units with
        # poisoned points are each one slice.
        size = np.bincount(unit)
        positives = np.bincount(unit[labels], minlength=size.size)
        stratum = np.where(positives == 0, 0, np.where(positives < size, 1, 2))
        rank = np.empty(size.size, dtype=np.intp)
        rank[np.argsort(stratum, kind="stable")] = np.arange(size.size)
        clean, mixed, _ = np.cumsum(np.bincount(stratum, minlength=3)).tolist()
        strata = (slice(0, clean), slice(clean, mixed), slice(mixed, size.size))
        fields = {
            "poisoned": labels,
            "replicates": int(replicates),
            "seed": int(seed),
            "units": int(size.size),
            "clustered": clusters is not None,
            "_unit": rank[unit],
            "_strata": strata,
            "_kept": None,
        }
        # How a frozen dataclass with an __init__ of its own sets its fields.
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        if replicates * size.size <= _KEPT_WEIGHTS:
            object.__setattr__(self, "_kept", self._draw(0, self.replicates))

    def weights(self, replicate: int) -> NDArray[np.int64]:
        """How often each data point is in one resample, shape (n,): what weighted metrics take as weights."""
        check_count(replicate, name="replicate", lowest=0)
        if replicate >= self.replicates:
            raise ScoringError(f"replicate is {replicate}; this plan has {self.replicates}, counted from 0")
        drawn: NDArray[np.int64] = self._draw(replicate, replicate + 1)[0].astype(np.int64)
        return drawn[self._unit]

    def means(self, values: ArrayLike) -> Floats:
        """The mean of ``values``, shape (n,), in each resample: shape (replicates,)."""
        numbers = as_numbers(values, name="values", length=self.poisoned.size)
        # Centred, so that a constant has exactly one mean whatever the weights.
        centre = numbers.mean()
        per_unit = np.stack(
            [
                np.bincount(self._unit, numbers - centre, self.units),
                np.bincount(self._unit, minlength=self.units),
            ],
            axis=1,
        )
        means = np.empty(self.replicates)
        for part, weights in self._blocks():
            total, count = (weights.astype(np.float64) @ per_unit).T
            means[part] = centre + total / count
        return means

    def aucs(self, probability: ArrayLike) -> Floats | None:
        """The ROC-AUC in each resample, shape (replicates,); None where one class is absent.

        Each is a quotient of two exact whole numbers, whichever way they are summed.
        """
        p = as_probabilities(probability, length=self.poisoned.size)
        if self._one_class:
            return None
        if self.units <= _MATRIX_UNITS:
            return self._by_matrix(self._pair_wins(p))
        return self._by_sorting(p)

    def interval(self, samples: ArrayLike, *, confidence: float = 0.95) -> Interval:
        """The percentile interval of resampled scores, shape (replicates,)."""
        check_confidence(confidence)
        numbers = as_numbers(samples, name="samples", length=self.replicates)
        low, high = np.quantile(numbers, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(float(low), float(high))

    def mean_difference(
        self, values_a: ArrayLike, values_b: ArrayLike, *, confidence: float = 0.95
    ) -> PairedDifference:
        """Compare the means of two submissions' values, each of shape (n,), such as cross-entropies."""
        a = as_numbers(values_a, name="values_a", length=self.poisoned.size)
        b = as_numbers(values_b, name="values_b", length=self.poisoned.size)
        return self._difference(float((a - b).mean()), self.means(a - b), confidence)

    def auc_difference(
        self, probability_a: ArrayLike, probability_b: ArrayLike, *, confidence: float = 0.95
    ) -> PairedDifference | None:
        """Compare the ROC-AUCs of two submissions; None where one class is absent."""
        a = as_probabilities(probability_a, name="probability_a", length=self.poisoned.size)
        b = as_probabilities(probability_b, name="probability_b", length=self.poisoned.size)
        if self._one_class:
            return None
        y = self.poisoned
        estimate = int((twice_wins(a, y) - twice_wins(b, y))[y].sum()) / (2 * int(y.sum()) * int((~y).sum()))
        if self.units <= _MATRIX_UNITS:
            samples = self._by_matrix(self._pair_wins(a) - self._pair_wins(b))
        else:
            samples = self._by_sorting(a) - self._by_sorting(b)
        return self._difference(estimate, samples, confidence)

    @property
    def _one_class(self) -> bool:
        return bool(self.poisoned.all() or not self.poisoned.any())

    @property
    def _poisoned_units(self) -> slice:
        return slice(self._strata[1].start, self.units)

    @property
    def _clean_units(self) -> slice:
        return slice(0, self._strata[1].stop)

    def _difference(self, estimate: float, samples: Floats, confidence: float) -> PairedDifference:
        fewer = 1 + min(int((samples <= 0).sum()), int((samples >= 0).sum()))
        p_value = min(1.0, 2 * fewer / (self.replicates + 1))
        return PairedDifference(estimate, self.interval(samples, confidence=confidence), p_value)

    def _draw(self, start: int, stop: int) -> NDArray[np.uint16]:
        """How often each unit is drawn in replicates ``start`` to ``stop``, shape (stop − start, units).

        uint16 holds any count of a stratum up to 65,535 units; beyond, one unit would have to be drawn 65,536
        times where once is expected.
        """
        weights = np.empty((stop - start, self.units), dtype=np.uint16)
        for replicate in range(start, stop):
            generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(replicate,)))
            for stratum in self._strata:
                size = stratum.stop - stratum.start
                if size:
                    drawn = generator.integers(size, size=size)
                    weights[replicate - start, stratum] = np.bincount(drawn, minlength=size)
        return weights

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
        step = max(1, _BLOCK_WEIGHTS // self.units)
        for start in range(0, self.replicates, step):
            stop = min(start + step, self.replicates)
            weights = self._draw(start, stop) if self._kept is None else self._kept[start:stop]
            yield slice(start, stop), weights

    def _pair_wins(self, probability: Floats) -> Floats:
        return pair_wins(probability, self.poisoned, self._unit, self._poisoned_units, self._clean_units)

    def _by_matrix(self, wins: Floats) -> Floats:
        """The AUC in each resample from twice the wins between units: shape (replicates,)."""
        counts = self._class_counts()
        aucs = np.empty(self.replicates)
        for part, drawn in self._blocks():
            weights = drawn.astype(np.float64)
            won = weights[:, self._poisoned_units] @ wins
            won_twice = np.einsum("ij,ij->i", won, weights[:, self._clean_units])
            aucs[part] = won_twice / (2 * (weights @ counts).prod(axis=1))
        return aucs

    def _by_sorting(self, probability: Floats) -> Floats:
        """The same without a matrix: one replicate after the other, along the sorted data points."""
        order = np.argsort(probability)
        borders = tie_borders(probability[order])
        labels = self.poisoned[order]
        poisoned_unit, clean_unit = self._unit[order[labels]], self._unit[order[~labels]]
        clean_before = np.concatenate(([0], np.cumsum(~labels)))[borders]
        tie = np.repeat(np.arange(borders.size - 1), np.diff(borders))[labels]
        tie_start, tie_stop = clean_before[tie], clean_before[tie + 1]
        aucs = np.empty(self.replicates)
        below = np.zeros(clean_unit.size + 1, dtype=np.int64)
        for part, drawn in self._blocks():
            for replicate, row in enumerate(drawn, start=part.start):
                weights = row[poisoned_unit].astype(np.int64)
                np.cumsum(row[clean_unit], dtype=np.int64, out=below[1:])
                won_twice = int(np.dot(weights, below[tie_start] + below[tie_stop]))
                aucs[replicate] = won_twice / (2 * int(weights.sum()) * int(below[-1]))
        return aucs

    def _class_counts(self) -> Floats:
        """Poisoned and clean data points of each unit, shape (units, 2)."""
        sides = (self.poisoned, ~self.poisoned)
        counts = [np.bincount(self._unit[side], minlength=self.units) for side in sides]
        return np.stack(counts, axis=1).astype(np.float64)
