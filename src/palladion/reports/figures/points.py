"""The data points of one evaluation, and subsets of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from palladion.errors import InputError
from palladion.scoring import Answers, DetectionScores, cross_entropy, score_detection, subset_sizes
from palladion.scoring.answers import AnswerStatus
from palladion.scoring.factors import Factor, factors_of

__all__ = ["Points", "parse_where"]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """What came of n data points of a detection split.

    Attributes:
        names: of the data points.
        poisoned: the truth, shape (n,).
        probability: as it is scored, shape (n,): where there is no answer, what stands in for it.
        missing: which have no answer of their own, shape (n,).
        errors: why, by data point; None where there is no error.
        seconds: of each data point, shape (n,); NaN where it is not known.
        factors: of the design.
        clusters: shape (n,), what is resampled together; None: each data point for itself.
    """

    names: tuple[str, ...]
    poisoned: NDArray[np.bool_]
    probability: NDArray[np.float64]
    missing: NDArray[np.bool_]
    errors: tuple[str | None, ...]
    seconds: NDArray[np.float64]
    factors: tuple[Factor, ...]
    clusters: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        *,
        names: Sequence[str],
        poisoned: Sequence[bool] | NDArray[np.bool_],
        probability: Sequence[float] | NDArray[np.float64],
        missing: Sequence[bool] | NDArray[np.bool_],
        errors: Sequence[str | None] | None = None,
        seconds: Sequence[float] | NDArray[np.float64] | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
        clusters: NDArray[np.int64] | None = None,
    ) -> "Points":
        """From a table with n rows: the attributes, but for the factors, which are found in ``columns``, the round's
        metadata by column; see :func:`palladion.scoring.factors.factors_of`.
        """
        labels = np.asarray(poisoned, dtype=np.bool_)
        return cls(
            tuple(names),
            labels,
            np.asarray(probability, dtype=np.float64),
            np.asarray(missing, dtype=np.bool_),
            tuple(errors) if errors is not None else (None,) * labels.size,
            np.full(labels.size, np.nan) if seconds is None else np.asarray(seconds, dtype=np.float64),
            factors_of(columns or {}, labels),
            clusters,
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cross_entropy(self) -> NDArray[np.float64]:
        """Of each data point, in nats, shape (n,)."""
        return cross_entropy(self.probability, self.poisoned)

    @property
    def both_classes(self) -> bool:
        """Whether there are poisoned and clean ones."""
        return bool(self.poisoned.any() and not self.poisoned.all())

    def take(self, chosen: NDArray[np.intp]) -> "Points":
        """Some of them, by their numbers; the factors keep their levels, so that they are called the same."""
        return replace(
            self,
            names=tuple(self.names[i] for i in chosen),
            poisoned=self.poisoned[chosen],
            probability=self.probability[chosen],
            missing=self.missing[chosen],
            errors=tuple(self.errors[i] for i in chosen),
            seconds=self.seconds[chosen],
            factors=tuple(factor.of(chosen) for factor in self.factors),
            clusters=None if self.clusters is None else self.clusters[chosen],
        )

    def where(self, wanted: Mapping[str, Collection[str]]) -> "Points":
        """Those that have one of the wanted levels of every factor that is named.

        Raises:
            InputError: there is no such factor, no such level, or no such data point.
        """
        known = {factor.name: factor for factor in self.factors}
        keep = np.ones(len(self), dtype=np.bool_)
        for name, levels in wanted.items():
            factor = known.get(name)
            if factor is None:
                raise InputError(f"there is no factor {name[:80]!a}; there are {', '.join(known) or 'none'}")
            unknown = [level for level in levels if level not in factor.levels]
            if unknown:
                raise InputError(
                    f"the factor {name} has no level {unknown[0][:80]!a}; it has {', '.join(factor.levels)}"
                )
            keep &= np.isin(factor.index, [factor.levels.index(level) for level in levels])
        if not keep.any():
            raise InputError("no data point has all of these levels")
        return self.take(np.flatnonzero(keep))

    def at_prevalence(self, percent: int, *, seed: int = 0) -> "Points":
        """The largest random subset of which so many percent are poisoned, as the sweep over prevalences takes them.

        Args:
            percent: 1 to 99.
            seed: of the choice, not negative; the same seed chooses the same data points.

        Raises:
            InputError: a class is absent, or the percentage is none.
        """
        if not 1 <= percent <= 99:
            raise InputError(
                f"the share of poisoned data points must be a whole percentage from 1 to 99, not {percent}"
            )
        if not self.both_classes:
            absent = "clean" if self.poisoned.any() else "poisoned"
            raise InputError(f"another share of poisoned data points needs both classes, and none of these is {absent}")
        first, second = np.flatnonzero(self.poisoned), np.flatnonzero(~self.poisoned)
        taken, kept = subset_sizes(percent, first.size, second.size)
        generator = np.random.default_rng(np.random.SeedSequence(seed))
        chosen = np.concatenate([generator.permutation(first)[:taken], generator.permutation(second)[:kept]])
        return self.take(np.sort(chosen))

    def scores(self, *, seed: int = 0) -> DetectionScores:
        """All metrics with their intervals."""
        status = tuple(AnswerStatus.MISSING if absent else AnswerStatus.OK for absent in self.missing.tolist())
        # A copy: answers lock what they are given.
        return score_detection(
            Answers(self.probability.copy(), status), self.poisoned, clusters=self.clusters, seed=seed
        )


def parse_where(texts: Sequence[str]) -> dict[str, list[str]]:
    """Conditions such as ``trigger_type:polygon``: levels of one factor are alternatives, factors come together.

    Raises:
        InputError: one of them is no condition.
    """
    wanted: dict[str, list[str]] = {}
    for text in texts:
        name, colon, level = text.partition(":")
        if not colon or not name or not level:
            raise InputError(f"{text[:80]!a} is no condition; write factor:level, such as model_architecture:resnet18")
        levels = wanted.setdefault(name, [])
        if level not in levels:
            levels.append(level)
    return wanted
