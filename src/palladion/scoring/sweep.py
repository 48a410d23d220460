"""The prevalence sweep: how scores would look if 1 %, 2 %, … 99 % of the models were poisoned.

NIST's sweep (plot_trojan_percentage_sweep.py) shuffles the poisoned and the clean models, then takes one
after the other: a poisoned one while fewer than t of those taken are poisoned, else a clean one, until the
class that is needed has run out. It does so ten times at each level and plots the cross-entropies. Here the
sizes of those subsets come from a closed form, each repeat shuffles once for all levels, and the expectations
over all subsets are given exactly beside the repeats.

The subsets of one repeat are prefixes of the same two shuffles, hence nested: one repeat moves smoothly along
the curve, and its levels are correlated. Each by itself is a uniformly random subset of its size, as in
NIST's.

Unlike NIST's sweep, which sets a missing answer to the base rate of the level, a missing answer keeps the
probability it is scored with elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.errors import ScoringError
from palladion.scoring.arrays import as_labels, as_probabilities, as_whole_numbers, check_count
from palladion.scoring.detection import base_rate_cross_entropy, cross_entropy
from palladion.scoring.ranks import twice_wins

__all__ = ["PrevalenceSweep", "prevalence_sweep", "subset_sizes"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PrevalenceSweep:
    """Scores at L levels of prevalence, R random subsets each. Cross-entropies are in nats.

    Attributes:
        level: percent of poisoned models asked for, shape (L,).
        poisoned: poisoned models in a subset, shape (L,).
        clean: clean models in a subset, shape (L,).
        prevalence: poisoned / (poisoned + clean), shape (L,).
        cross_entropy: mean cross-entropy of each subset, shape (L, R).
        roc_auc: ROC-AUC of each subset, shape (L, R).
        expected_cross_entropy: its exact mean over all subsets of these sizes, shape (L,).
        expected_roc_auc: the same of the ROC-AUC: that of the whole set, at every level.
        base_rate_cross_entropy: of guessing ``prevalence``, shape (L,).
        success_target: half of that, shape (L,).
        seed: of the shuffles.
    """

    level: Integers
    poisoned: Integers
    clean: Integers
    prevalence: Floats
    cross_entropy: Floats
    roc_auc: Floats
    expected_cross_entropy: Floats
    expected_roc_auc: float
    base_rate_cross_entropy: Floats
    success_target: Floats
    seed: int

    def rows(self) -> Iterator[dict[str, int | float]]:
        """One flat dict a level and repeat (counted from 0), in that order, as for a CSV file."""
        for i, level in enumerate(self.level.tolist()):
            for repeat in range(self.cross_entropy.shape[1]):
                yield {
                    "level": level,
                    "repeat": repeat,
                    "poisoned": int(self.poisoned[i]),
                    "clean": int(self.clean[i]),
                    "prevalence": float(self.prevalence[i]),
                    "cross_entropy": float(self.cross_entropy[i, repeat]),
                    "roc_auc": float(self.roc_auc[i, repeat]),
                    "expected_cross_entropy": float(self.expected_cross_entropy[i]),
                    "expected_roc_auc": self.expected_roc_auc,
                    "base_rate_cross_entropy": float(self.base_rate_cross_entropy[i]),
                    "success_target": float(self.success_target[i]),
                }


def subset_sizes(level: int, poisoned: int, clean: int) -> tuple[int, int]:
    """How many poisoned and clean models NIST's greedy loop takes at ``level`` percent.

    Args:
        level: whole percent, 1 to 99.
        poisoned: poisoned models there are, at least 1.
        clean: clean models there are, at least 1.

    After n ≥ 2 steps, ⌈level·(n − 1)/100⌉ models are poisoned: the fewest that are no less than the level's
    share of n − 1. So n − 1 may grow while level·(n − 1) ≤ 100·poisoned and (100 − level)·(n − 1) is below
    100·clean. Whole-number arithmetic throughout: NIST's loop compares floats, which may take one model more
    or less where the share meets the level exactly.
    """
    check_count(poisoned, name="poisoned", lowest=1)
    check_count(clean, name="clean", lowest=1)
    check_count(level, name="level", lowest=1)
    if level > 99:
        raise ScoringError(f"level is {level}; it must be a whole percent from 1 to 99")
    steps = min(100 * poisoned // level, (100 * clean - 1) // (100 - level))
    taken = -(-level * steps // 100)
    return taken, steps + 1 - taken


def prevalence_sweep(
    probability: ArrayLike,
    poisoned: ArrayLike,
    *,
    levels: Sequence[int] | range = range(1, 100),
    repeats: int = 10,
    seed: int = 0,
) -> PrevalenceSweep:
    """Score random subsets of the data at every level of prevalence.

    Args:
        probability: shape (n,), in [0, 1].
        poisoned: shape (n,), booleans or 0/1, both classes present.
        levels: whole percents, each from 1 to 99.
        repeats: random subsets a level. Repeat r is shuffled by ``SeedSequence(seed, spawn_key=(r,))`` alone,
            so more repeats leave the first ones as they were.
        seed: of the shuffles, not negative.

    Raises:
        ScoringError: for arrays that cannot be scored, levels out of range, or a class that is absent.
    """
    check_count(repeats, name="repeats", lowest=1)
    check_count(seed, name="seed", lowest=0)
    percent = as_whole_numbers(levels, name="levels", lowest=1, highest=99)
    p = as_probabilities(probability)
    y = as_labels(poisoned, length=p.size)
    positives = int(y.sum())
    negatives = y.size - positives
    if not positives or not negatives:
        absent = "clean" if positives else "poisoned"
        raise ScoringError(f"a prevalence sweep needs both classes; no data point is {absent}")

    sizes = np.array([subset_sizes(level, positives, negatives) for level in percent.tolist()])
    taken, kept = sizes[:, 0], sizes[:, 1]
    # The loop ends because a class has run out, so at every level one class is there in full. The AUC of a
    # subset then is the mean share of wins of the other class's members, and these do not depend on the
    # subset.
    all_clean = kept == negatives
    assert np.all(all_clean | (taken == positives))

    entropies = cross_entropy(p, y)
    wins = twice_wins(p, y)
    entropy = entropies[y], entropies[~y]
    won = wins[y], wins[~y]
    total = taken + kept
    shape = (percent.size, repeats)
    mean_ce, auc = np.empty(shape), np.empty(shape)
    for repeat in range(repeats):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(repeat,)))
        first, second = generator.permutation(positives), generator.permutation(negatives)
        ce_sum = np.cumsum(entropy[0][first])[taken - 1] + np.cumsum(entropy[1][second])[kept - 1]
        mean_ce[:, repeat] = ce_sum / total
        wins_sum = np.where(all_clean, np.cumsum(won[0][first])[taken - 1], np.cumsum(won[1][second])[kept - 1])
        auc[:, repeat] = wins_sum / (2 * taken * kept)

    prevalence = taken / total
    guess = np.array([base_rate_cross_entropy(share) for share in prevalence.tolist()])
    return PrevalenceSweep(
        level=percent,
        poisoned=taken,
        clean=kept,
        prevalence=prevalence,
        cross_entropy=mean_ce,
        roc_auc=auc,
        expected_cross_entropy=(taken * entropy[0].mean() + kept * entropy[1].mean()) / total,
        expected_roc_auc=int(won[0].sum()) / (2 * positives * negatives),
        base_rate_cross_entropy=guess,
        success_target=guess / 2,
        seed=int(seed),
    )
