from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import (
    base_rate_cross_entropy,
    mean_cross_entropy,
    prevalence_sweep,
    roc_auc,
    subset_sizes,
)

from .strategies import Scored, random_answers, scored


def greedy(level: int, poisoned: int, clean: int) -> tuple[int, int]:
    """NIST's loop, with the share compared exactly."""
    taken = kept = 0
    while True:
        n = taken + kept
        if n == 0 or Fraction(taken, n) < Fraction(level, 100):
            if taken == poisoned:
                return taken, kept
            taken += 1
        else:
            if kept == clean:
                return taken, kept
            kept += 1


@pytest.mark.parametrize(
    ("level", "taken", "total"), [(1, 2, 146), (10, 16, 160), (50, 144, 288), (90, 144, 161), (98, 144, 147)]
)
def test_subset_sizes_of_nists_round_with_144_of_each(level: int, taken: int, total: int) -> None:
    assert subset_sizes(level, 144, 144) == (taken, total - taken)


@given(st.integers(1, 99), st.integers(1, 300), st.integers(1, 300))
def test_subset_sizes_are_those_of_the_greedy_loop(level: int, poisoned: int, clean: int) -> None:
    sizes = subset_sizes(level, poisoned, clean)
    assert sizes == greedy(level, poisoned, clean)
    assert sizes[0] == poisoned or sizes[1] == clean


@pytest.mark.parametrize("sizes", [(0, 5, 5), (100, 5, 5), (50, 0, 5), (50, 5, 0), (1.5, 5, 5)])
def test_sizes_that_make_no_subset(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ScoringError):
        subset_sizes(*sizes)


def test_the_sweep_has_nists_levels_and_repeats_by_default() -> None:
    sweep = prevalence_sweep(*random_answers(288))
    assert sweep.level.tolist() == list(range(1, 100))
    assert sweep.cross_entropy.shape == sweep.roc_auc.shape == (99, 10)
    for i, level in enumerate(sweep.level.tolist()):
        poisoned, clean = int(sweep.poisoned[i]), int(sweep.clean[i])
        assert sweep.prevalence[i] == poisoned / (poisoned + clean)
        assert abs(sweep.prevalence[i] - level / 100) < 1 / (poisoned + clean)
        assert sweep.base_rate_cross_entropy[i] == base_rate_cross_entropy(poisoned / (poisoned + clean))
        assert sweep.success_target[i] == sweep.base_rate_cross_entropy[i] / 2


@given(scored(most=30), st.integers(0, 100))
def test_each_subset_has_the_scores_of_some_subset_of_its_size(data: Scored, seed: int) -> None:
    probability, poisoned = data
    sweep = prevalence_sweep(probability, poisoned, levels=[5, 50, 95], repeats=2, seed=seed)
    generator = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(r,))) for r in range(2)]
    for repeat in range(2):
        first = generator[repeat].permutation(np.flatnonzero(poisoned).size)
        second = generator[repeat].permutation(np.flatnonzero(~poisoned).size)
        for i in range(3):
            chosen = np.r_[
                np.flatnonzero(poisoned)[first[: sweep.poisoned[i]]],
                np.flatnonzero(~poisoned)[second[: sweep.clean[i]]],
            ]
            subset = probability[chosen], poisoned[chosen]
            assert sweep.cross_entropy[i, repeat] == pytest.approx(mean_cross_entropy(*subset), rel=1e-12)
            assert sweep.roc_auc[i, repeat] == pytest.approx(roc_auc(*subset), abs=1e-15)


def test_a_subset_of_everything_has_the_scores_of_everything() -> None:
    poisoned = np.arange(288) % 2 == 1
    probability, _ = random_answers(288)
    sweep = prevalence_sweep(probability, poisoned, levels=[50])
    assert sweep.roc_auc[0].tolist() == [roc_auc(probability, poisoned)] * 10
    assert sweep.expected_roc_auc == roc_auc(probability, poisoned)
    assert sweep.cross_entropy[0] == pytest.approx([mean_cross_entropy(probability, poisoned)] * 10)
    assert sweep.expected_cross_entropy[0] == pytest.approx(mean_cross_entropy(probability, poisoned))


def test_the_expectations_are_the_means_of_many_subsets() -> None:
    probability, poisoned = random_answers(60, seed=2)
    sweep = prevalence_sweep(probability, poisoned, levels=[2, 10, 30, 70, 95], repeats=4000, seed=1)
    for scores, expected in (
        (sweep.cross_entropy, sweep.expected_cross_entropy),
        (sweep.roc_auc, np.full(5, sweep.expected_roc_auc)),
    ):
        error = scores.std(axis=1) / np.sqrt(4000)
        assert np.all(error > 0)
        assert np.all(np.abs(scores.mean(axis=1) - expected) < 4 * error)


def test_repeats_depend_on_the_seed_alone_and_are_nested() -> None:
    data = random_answers(100)
    sweep, longer = prevalence_sweep(*data, seed=1), prevalence_sweep(*data, seed=1, repeats=12)
    assert sweep.cross_entropy.tolist() == longer.cross_entropy[:, :10].tolist()
    one = prevalence_sweep(*data, seed=1, levels=[40])
    assert one.cross_entropy[0].tolist() == sweep.cross_entropy[39].tolist()
    assert prevalence_sweep(*data, seed=2).cross_entropy.tolist() != sweep.cross_entropy.tolist()


def test_rows_are_flat_and_complete() -> None:
    sweep = prevalence_sweep(*random_answers(40), levels=[10, 60], repeats=3)
    rows = list(sweep.rows())
    assert [(row["level"], row["repeat"]) for row in rows] == [
        (10, 0),
        (10, 1),
        (10, 2),
        (60, 0),
        (60, 1),
        (60, 2),
    ]
    assert rows[4] == {
        "level": 60,
        "repeat": 1,
        "poisoned": int(sweep.poisoned[1]),
        "clean": int(sweep.clean[1]),
        "prevalence": sweep.prevalence[1],
        "cross_entropy": sweep.cross_entropy[1, 1],
        "roc_auc": sweep.roc_auc[1, 1],
        "expected_cross_entropy": sweep.expected_cross_entropy[1],
        "expected_roc_auc": sweep.expected_roc_auc,
        "base_rate_cross_entropy": sweep.base_rate_cross_entropy[1],
        "success_target": sweep.success_target[1],
    }
    assert all(type(value) in (int, float) for value in rows[0].values())


@pytest.mark.parametrize(
    ("poisoned", "options", "message"),
    [
        ([1, 1], {}, "no data point is clean"),
        ([0, 0], {}, "no data point is poisoned"),
        ([0, 1, 1], {}, "poisoned has 3"),
        ([0, 1], {"levels": [0]}, r"levels\[0\] is 0, below 1"),
        ([0, 1], {"levels": [50, 100]}, r"levels\[1\] is 100, above 99"),
        ([0, 1], {"levels": [0.5]}, "whole numbers"),
        ([0, 1], {"levels": []}, "levels is empty"),
        ([0, 1], {"repeats": 0}, "repeats"),
        ([0, 1], {"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_swept(poisoned: list[int], options: dict[str, object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        prevalence_sweep([0.2, 0.7], poisoned, **options)  # type: ignore[arg-type]
