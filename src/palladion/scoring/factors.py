"""What a score depends on: results by the factors of a round's design, their mean effects and their interactions.

The words are those of designed experiments. A *factor* is a property of the data points, such as the architecture or
the size of the trigger; its *levels* are the values that it takes. The mean effect of a level is the mean
cross-entropy of its data points less the grand mean. Two factors interact where the effect of one depends on the level
of the other: the difference of differences, (A and B − A without B) − (B without A − neither). (Box, Hunter and Hunter,
"Statistics for Experimenters"; textbooks halve that difference for factors of two levels, here it is told whole.)

A factor need not apply to every data point: a clean model has no trigger. Its grand mean is then that of the data
points to which it applies, so that the size of a trigger is compared with other triggers and not with their absence.

All intervals come from one plan of resamples (:class:`palladion.scoring.Bootstrap`). Each stands for itself: where
hundreds are shown, one in twenty lies beside zero by chance alone, and :attr:`FactorAnalysis.by_chance` says how many
that are.
"""

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.errors import ScoringError
from palladion.scoring.arrays import as_labels, as_probabilities, check_confidence, check_count
from palladion.scoring.bootstrap import Bootstrap
from palladion.scoring.detection import cross_entropy, roc_auc
from palladion.scoring.intervals import Interval, delong_interval

__all__ = [
    "LABEL",
    "Effect",
    "Factor",
    "FactorAnalysis",
    "Interaction",
    "LevelResult",
    "analyse_factors",
    "factors_of",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Booleans = NDArray[np.bool_]

LABEL: Final = "poisoned"
"""The factor that is the truth itself."""

# Numbers with more values than this are cut into groups; words with more are names, and no factor.
_MOST_NUMBERS: Final = 12
_MOST_WORDS: Final = 40
_GROUPS: Final = 4
_LONGEST_LEVEL: Final = 80
# What a table says where there is nothing to say: an empty cell, and NIST's words for one.
_NOTHING: Final = frozenset({"", "none", "nan", "null", "n/a"})
# What only tells data points apart.
_NO_FACTOR: Final = re.compile(r"(^|_)(name|seed|id|path|filepath|directory|timestamp)$", re.IGNORECASE)
# Of fewer data points, resamples say too little: many have none of them, and none has others.
_LEAST: Final = 5
# An interval is given where no more than this share of the resamples is undefined.
_UNDEFINED: Final = 0.1
# Weights are turned into float64 this many at a time (32 MiB).
_BLOCK: Final = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A property of the data points.

    Attributes:
        name: the column of the metadata.
        levels: its values, numbers in their order; groups of numbers as "0.2 to 0.5".
        index: shape (n,), the level of each data point; −1 where the factor does not apply.
        same: other columns that part the data points in the same way, and are therefore not looked at again.
    """

    name: str
    levels: tuple[str, ...]
    index: Integers
    same: tuple[str, ...] = ()

    def of(self, chosen: Integers) -> "Factor":
        """The same of some data points, by their numbers."""
        return Factor(self.name, self.levels, self.index[chosen], self.same)

    def at(self, level: str) -> Booleans:
        """Which data points have this level, shape (n,).

        Raises:
            ScoringError: there is no such level.
        """
        if level not in self.levels:
            raise ScoringError(f"{self.name} has no level {level[:80]!a}; it has {', '.join(self.levels)}")
        found: Booleans = self.index == self.levels.index(level)
        return found


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The scores of the data points of one level.

    Attributes:
        factor: name of the factor.
        level: name of the level.
        n: data points of the level.
        poisoned: poisoned ones among them.
        missing: those without an answer, scored as 0.5.
        cross_entropy: mean, in nats.
        cross_entropy_interval: of the bootstrap; None where too few data points have the level.
        roc_auc: None where it is undefined.
        roc_auc_interval: DeLong's.
        against_all: whether the level has data points of one class alone, so that its AUC is that of these against all
            data points of the other class.
    """

    factor: str
    level: str
    n: int
    poisoned: int
    missing: int
    cross_entropy: float
    cross_entropy_interval: Interval | None
    roc_auc: float | None
    roc_auc_interval: Interval | None
    against_all: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """By how much the mean cross-entropy of a level exceeds the grand mean, in nats; below 0 is better."""

    factor: str
    level: str
    n: int
    effect: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Interaction:
    """A difference of differences of the mean cross-entropy, in nats.

    How much more it matters to have ``levels[0]`` of ``factors[0]``, instead of its other levels, where ``factors[1]``
    is at ``levels[1]`` than where it is at another level. Of a factor with more than two levels, "another" is the mean
    of the others, each counting the same.

    Attributes:
        n: data points that have both levels.
    """

    factors: tuple[str, str]
    levels: tuple[str, str]
    n: int
    difference: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class FactorAnalysis:
    """What a score depends on.

    Attributes:
        grand_mean: mean cross-entropy of all data points, in nats.
        results: one a level of each factor, the factors with the clearest effects first.
        effects: of the levels, the largest first, those without an interval last.
        interactions: in the same order.
        crossed: the factors whose interactions were looked at: those with the clearest mean effects.
        not_crossed: pairs of these that cannot be: some combination of levels has too few data points.
        comparisons: intervals of effects and interactions.
        by_chance: how many of these lie beside 0 on average if nothing had any effect.
        confidence: of every interval.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """

    grand_mean: float
    results: tuple[LevelResult, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Interaction, ...]
    crossed: tuple[str, ...]
    not_crossed: tuple[tuple[str, str], ...]
    comparisons: int
    by_chance: float
    confidence: float
    replicates: int
    seed: int


def factors_of(columns: Mapping[str, Sequence[str]], poisoned: ArrayLike) -> tuple[Factor, ...]:
    """The factors that a table of metadata holds, the label first.

    Left out are columns that have one value everywhere, that only name data points (names, seeds, free text), or that
    part the data points as another column does (see :attr:`Factor.same`): of these the one with words is kept, and
    not the one with a number for each of them. Numbers of more than 12 values are cut into four groups of about the
    same size.

    Args:
        columns: by name, n texts each; empty, None and nan mean that the column does not apply.
        poisoned: shape (n,).

    Raises:
        ScoringError: a column has another length.
    """
    y = as_labels(poisoned)
    alike: dict[bytes, list[str]] = {}
    texts: dict[str, list[str]] = {}
    if 0 < int(y.sum()) < y.size:
        alike[_partition(y.tolist())] = [LABEL]
    for name, values in columns.items():
        if len(values) != y.size:
            raise ScoringError(f"{name} has {len(values)} values where {y.size} are needed")
        texts[name] = ["" if text.strip().lower() in _NOTHING else text.strip() for text in values]
        distinct, applies = len(set(texts[name]) - {""}), sum(map(bool, texts[name]))
        if not _NO_FACTOR.search(name) and distinct > 1:
            # Measurements tell nearly all data points apart, each in the same way, and are no less different for that.
            mark = _partition(texts[name]) if 2 * distinct <= applies else name.encode()
            alike.setdefault(mark, []).append(name)
    found = []
    for names in alike.values():
        kept = min(names, key=lambda name: (name != LABEL, *_rank(name, texts.get(name, []))))
        same = tuple(name for name in names if name not in (kept, LABEL))
        if kept == LABEL:
            found.append(Factor(LABEL, ("clean", "poisoned"), y.astype(np.intp), same))
            continue
        factor = _factor(kept, texts[kept])
        if factor is not None:
            found.append(Factor(factor.name, factor.levels, factor.index, same))
    return tuple(found)


def _partition(values: Sequence[object]) -> bytes:
    """The same for columns that part the data points in the same way, however their values are called."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values]).tobytes()


def _rank(name: str, texts: Sequence[str]) -> tuple[bool, bool]:
    """Of columns that tell the same, the least is kept: words before numbers, values before their numbers."""
    return _numbers({text for text in texts if text}) is not None, name.endswith("_level")


def _factor(name: str, texts: Sequence[str]) -> Factor | None:
    """A factor of texts, at least two of which differ; empty is what does not apply. None: it is none."""
    distinct = sorted({text for text in texts if text})
    numbers = _numbers(distinct)
    if numbers is not None and len(set(numbers.values())) > _MOST_NUMBERS:
        return _grouped(name, texts, numbers)
    applies = sum(map(bool, texts))
    if len(distinct) > _MOST_WORDS or 2 * len(distinct) > applies or max(map(len, distinct)) > _LONGEST_LEVEL:
        return None
    if numbers is not None:
        distinct.sort(key=numbers.__getitem__)
    place = {text: i for i, text in enumerate(distinct)} | {"": -1}
    return Factor(name, tuple(distinct), np.array([place[text] for text in texts], dtype=np.intp))


def _numbers(texts: Iterable[str]) -> dict[str, float] | None:
    """The texts as numbers; None where one of them is none."""
    try:
        found = {text: float(text) for text in texts}
    except ValueError:
        return None
    return found if all(map(math.isfinite, found.values())) else None


def _grouped(name: str, texts: Sequence[str], numbers: Mapping[str, float]) -> Factor | None:
    """Numbers in groups of about the same size; equal numbers are in one group."""
    values = np.array([numbers[text] for text in texts if text])
    edges = np.unique(np.quantile(values, np.arange(1, _GROUPS) / _GROUPS, method="lower"))
    group = np.searchsorted(edges, values, side="left")
    used, group = np.unique(group, return_inverse=True)
    if used.size < 2:
        return None
    ends = [(float(values[group == i].min()), float(values[group == i].max())) for i in range(used.size)]
    levels = next(
        labels
        for digits in range(3, 18)
        if len(set(labels := tuple(_range(low, high, digits) for low, high in ends))) == len(ends)
    )
    index = np.full(len(texts), -1, dtype=np.intp)
    index[[i for i, text in enumerate(texts) if text]] = group
    return Factor(name, levels, index)


def _range(low: float, high: float, digits: int) -> str:
    first, last = (_written(value, digits) for value in (low, high))
    return first if first == last else f"{first} to {last}"


def _written(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    # 9560 and not 9.56e+03.
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e12 else text


def analyse_factors(
    probability: ArrayLike,
    poisoned: ArrayLike,
    factors: Sequence[Factor],
    *,
    missing: ArrayLike | None = None,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    most_crossed: int = 8,
) -> FactorAnalysis:
    """Look at the cross-entropy by factors.

    Args:
        probability: shape (n,), in [0, 1].
        poisoned: shape (n,), booleans or 0/1.
        factors: of the same data points; see :func:`factors_of`.
        missing: shape (n,), which data points have no answer of their own; None: all have one.
        clusters: see :class:`palladion.scoring.Bootstrap`.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        confidence: of every interval.
        most_crossed: interactions are looked for between so many factors, those with the clearest mean effects
            (what has no effect of its own seldom interacts).

    Raises:
        ScoringError: for arrays that do not fit.
    """
    check_confidence(confidence)
    check_count(most_crossed, name="most_crossed", lowest=0)
    p = as_probabilities(probability)
    y = as_labels(poisoned, length=p.size)
    absent = np.zeros(p.size, dtype=np.bool_) if missing is None else as_labels(missing, name="missing", length=p.size)
    for factor in factors:
        if factor.index.shape != p.shape:
            raise ScoringError(f"{factor.name} has {factor.index.size} data points where {p.size} are needed")
    entropies = cross_entropy(p, y)
    resamples = _Resamples(Bootstrap(y, clusters=clusters, replicates=replicates, seed=seed), entropies, confidence)

    results: dict[str, list[LevelResult]] = {}
    effects: list[Effect] = []
    clarity: dict[str, float] = {}
    for factor in factors:
        masks = [factor.index == level for level in range(len(factor.levels))]
        if sum(map(np.any, masks)) < 2:
            # Of a subset of the data that has one level alone there is nothing to compare.
            continue
        drawn, counted = resamples.sums(np.stack([*masks, factor.index >= 0], axis=1))
        means = _quotients(drawn, counted)
        grand = float(entropies[factor.index >= 0].mean())
        clearest = 0.0
        for i, (level, mask) in enumerate(zip(factor.levels, masks, strict=True)):
            n = int(mask.sum())
            if not n:
                continue
            mean = float(entropies[mask].mean())
            results.setdefault(factor.name, []).append(
                _level(factor.name, level, p, y, mask, absent, mean, resamples, means[:, i])
            )
            moved = means[:, i] - means[:, -1]
            effects.append(Effect(factor.name, level, n, mean - grand, resamples.interval(moved, n)))
            if n >= _LEAST:
                clearest = max(clearest, _clarity(mean - grand, moved))
        clarity[factor.name] = clearest
    ordered = sorted((f for f in factors if f.name in clarity), key=lambda f: -clarity[f.name])
    crossed = [factor for factor in ordered if clarity[factor.name] > 0][:most_crossed]
    interactions: list[Interaction] = []
    not_crossed: list[tuple[str, str]] = []
    for one, other in combinations(crossed, 2):
        found = _interactions(one, other, entropies, resamples)
        if found is None:
            not_crossed.append((one.name, other.name))
        else:
            interactions += found
    intervals = [x.interval for x in effects] + [x.interval for x in interactions]
    comparisons = sum(interval is not None for interval in intervals)
    return FactorAnalysis(
        grand_mean=float(entropies.mean()),
        results=tuple(result for factor in ordered for result in results[factor.name]),
        effects=tuple(sorted(effects, key=lambda x: (x.interval is None, -abs(x.effect)))),
        interactions=tuple(sorted(interactions, key=lambda x: (x.interval is None, -abs(x.difference)))),
        crossed=tuple(factor.name for factor in crossed),
        not_crossed=tuple(not_crossed),
        comparisons=comparisons,
        by_chance=(1 - confidence) * comparisons,
        confidence=confidence,
        replicates=replicates,
        seed=seed,
    )


class _Resamples:
    """Sums of the cross-entropy over parts of the data, in every resample."""

    def __init__(self, plan: Bootstrap, entropies: Floats, confidence: float) -> None:
        self._weights = np.empty((plan.replicates, entropies.size), dtype=np.uint16)
        for replicate in range(plan.replicates):
            self._weights[replicate] = plan.weights(replicate)
        self._entropies, self._confidence = entropies, confidence

    def sums(self, parts: Booleans) -> tuple[Floats, Floats]:
        """The sum of the cross-entropy and the count of data points of each part, shape (replicates, k) each.

        Args:
            parts: shape (n, k).
        """
        columns = np.concatenate([parts * self._entropies[:, None], parts], axis=1).astype(np.float64)
        replicates, n = self._weights.shape
        sums = np.empty((replicates, columns.shape[1]))
        step = max(1, _BLOCK // n)
        for start in range(0, replicates, step):
            sums[start : start + step] = self._weights[start : start + step].astype(np.float64) @ columns
        return sums[:, : parts.shape[1]], sums[:, parts.shape[1] :]

    def interval(self, samples: Floats, n: int) -> Interval | None:
        """The percentile interval of what was resampled; None where there is too little to resample.

        Args:
            samples: shape (replicates,); NaN where a resample does not define it.
            n: data points behind it.
        """
        known = samples[~np.isnan(samples)]
        if n < _LEAST or known.size < (1 - _UNDEFINED) * samples.size:
            return None
        low, high = np.quantile(known, [(1 - self._confidence) / 2, (1 + self._confidence) / 2])
        return Interval(float(low), float(high))

    @property
    def confidence(self) -> float:
        return self._confidence


def _quotients(sums: Floats, counts: Floats) -> Floats:
    """Means; NaN of nothing."""
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _clarity(effect: float, samples: Floats) -> float:
    """An effect in units of its standard error; 0 where it is not known, or nothing varies."""
    known = samples[~np.isnan(samples)]
    error = float(known.std()) if known.size > 1 else 0.0
    # Where nothing varies, or nothing differs, what is left is rounding.
    return abs(effect) / error if min(error, abs(effect)) > 1e-12 else 0.0


def _level(
    factor: str,
    level: str,
    probability: Floats,
    poisoned: Booleans,
    mask: Booleans,
    absent: Booleans,
    mean: float,
    resamples: _Resamples,
    means: Floats,
) -> LevelResult:
    positives, n = int(poisoned[mask].sum()), int(mask.sum())
    compared = mask
    against_all = positives in (0, n)
    if against_all:
        compared = mask | (poisoned if positives == 0 else ~poisoned)
    return LevelResult(
        factor=factor,
        level=level,
        n=n,
        poisoned=positives,
        missing=int(absent[mask].sum()),
        cross_entropy=mean,
        cross_entropy_interval=resamples.interval(means, n),
        roc_auc=roc_auc(probability[compared], poisoned[compared]),
        roc_auc_interval=delong_interval(probability[compared], poisoned[compared], confidence=resamples.confidence),
        against_all=against_all,
    )


def _interactions(one: Factor, other: Factor, entropies: Floats, resamples: _Resamples) -> list[Interaction] | None:
    """The interactions of two factors, one where both have two levels; None where they cannot be told."""
    both = (one.index >= 0) & (other.index >= 0)
    rows = [i for i in range(len(one.levels)) if (both & (one.index == i)).any()]
    columns = [j for j in range(len(other.levels)) if (both & (other.index == j)).any()]
    a, b = len(rows), len(columns)
    if a < 2 or b < 2:
        return None
    cells = np.stack([(one.index == i) & (other.index == j) for i in rows for j in columns], axis=1)
    counts = cells.sum(axis=0)
    if int(counts.min()) < _LEAST:
        return None
    point = _differences((entropies @ cells / counts).reshape(1, a, b))[0]
    drawn = _differences(_quotients(*resamples.sums(cells)).reshape(-1, a, b))
    found = []
    # Of two levels, one is the other's opposite and tells the same.
    for i in range(a) if a > 2 else (1,):
        for j in range(b) if b > 2 else (1,):
            n = int(counts[i * b + j])
            found.append(
                Interaction(
                    (one.name, other.name),
                    (one.levels[rows[i]], other.levels[columns[j]]),
                    n,
                    float(point[i, j]),
                    resamples.interval(drawn[:, i, j], n),
                )
            )
    return found


def _differences(means: Floats) -> Floats:
    """Of tables of means, shape (k, a, b), each cell's difference of differences: against the mean of the others."""
    _, a, b = means.shape
    row, column = means.sum(axis=2, keepdims=True), means.sum(axis=1, keepdims=True)
    total = row.sum(axis=1, keepdims=True)
    beside, below = (row - means) / (b - 1), (column - means) / (a - 1)
    neither = (total - row - column + means) / ((a - 1) * (b - 1))
    differences: Floats = (means - beside) - (below - neither)
    return differences
