import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import RankRange, rank_ranges


def normal_draws(values: list[float], error: float, *, seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal((len(values), 2000))
    return np.array(values)[:, None] + error * noise


def test_far_apart_is_certain() -> None:
    values = [0.9, 0.5, 0.7]
    found = rank_ranges(values, normal_draws(values, 0.01), higher_is_better=True)
    assert found == [RankRange(1, 1, 1, False), RankRange(3, 3, 3, False), RankRange(2, 2, 2, False)]
    turned = rank_ranges(values, normal_draws(values, 0.01), higher_is_better=False)
    assert [place.rank for place in turned] == [3, 1, 2]


def test_close_together_is_a_tie() -> None:
    values = [0.9, 0.89, 0.5]
    found = rank_ranges(values, normal_draws(values, 0.02), higher_is_better=True)
    assert found == [RankRange(1, 1, 2, True), RankRange(2, 1, 2, True), RankRange(3, 3, 3, False)]


def test_what_differs_by_the_same_everywhere_is_told_apart() -> None:
    # Far less apart than each is uncertain, but on the same data points: that is what pairing is for.
    shared = np.random.default_rng(0).standard_normal(2000)
    draws = np.array([0.80 + 0.05 * shared, 0.79 + 0.05 * shared])
    assert rank_ranges([0.80, 0.79], draws, higher_is_better=True) == [
        RankRange(1, 1, 1, False), RankRange(2, 2, 2, False),
    ]  # fmt: skip


def test_equal_submissions_share_their_rank_and_are_tied() -> None:
    draws = normal_draws([0.5], 0.1)
    found = rank_ranges([0.5, 0.5, 0.5], np.repeat(draws, 3, axis=0), higher_is_better=True)
    assert found == [RankRange(1, 1, 3, True)] * 3


def test_one_alone_and_none() -> None:
    assert rank_ranges([0.5], normal_draws([0.5], 0.1), higher_is_better=True) == [RankRange(1, 1, 1, False)]
    assert rank_ranges([], np.empty((0, 10)), higher_is_better=True) == []


def test_more_pairs_need_more() -> None:
    # Two at 2.5 standard errors are told apart where they are alone, and not among twenty others.
    values = [0.0, 2.5 * np.sqrt(2)]
    assert rank_ranges(values, normal_draws(values, 1.0), higher_is_better=True)[1].high == 1
    many = [*values, *[1.7] * 20]
    assert rank_ranges(many, normal_draws(many, 1.0), higher_is_better=True)[1].high > 1


def test_ranges_hold_the_true_ranks_together_as_often_as_they_say() -> None:
    """Six submissions, one pair truly equal: how often any range misses a rank that is true."""
    truth = np.array([0.0, 0.0, 1.0, 2.0, 2.5, 6.0])
    error, missed, times = 1.0, 0, 300
    draws = normal_draws(truth.tolist(), error)
    for seed in range(times):
        values = truth + error * np.random.default_rng(seed).standard_normal(6)
        found = rank_ranges(values, draws, higher_is_better=True)
        best, worst = 1 + (truth > truth[:, None]).sum(axis=1), (truth >= truth[:, None]).sum(axis=1)
        # Equal ones have every place among them.
        missed += any(place.low > low or place.high < high for place, low, high in zip(found, best, worst, strict=True))
    assert missed / times <= 0.05 + 2 * (0.05 * 0.95 / times) ** 0.5
    assert missed / times > 0.001  # not because the ranges were all of it


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)), st.booleans(), st.floats(0.001, 1))
def test_a_range_holds_its_rank(values: NDArray[np.float64], higher: bool, error: float) -> None:
    draws = values[:, None] + error * np.random.default_rng(0).standard_normal((values.size, 20))
    found = rank_ranges(values, draws, higher_is_better=higher)
    for place in found:
        assert 1 <= place.low <= place.rank <= place.high <= values.size
    top = [place for place in found if place.rank == 1]
    assert top
    tied = [place for place in found if place.tied]
    assert len(tied) != 1
    if tied:
        assert all(place.tied for place in top)


@given(arrays(np.float64, st.integers(2, 8), elements=st.floats(0, 1)))
def test_the_order_of_submissions_does_not_matter(values: NDArray[np.float64]) -> None:
    draws = values[:, None] + 0.1 * np.random.default_rng(0).standard_normal((values.size, 50))
    order = np.random.default_rng(1).permutation(values.size)
    found = rank_ranges(values, draws, higher_is_better=True)
    assert [found[i] for i in order] == rank_ranges(values[order], draws[order], higher_is_better=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ScoringError, match="do not fit"):
        rank_ranges([0.5, 0.6], np.zeros((3, 10)), higher_is_better=True)
    with pytest.raises(ScoringError, match="do not fit"):
        rank_ranges([0.5], np.zeros((1, 1)), higher_is_better=True)
    with pytest.raises(ScoringError, match="not finite"):
        rank_ranges([0.5, np.nan], np.zeros((2, 10)), higher_is_better=True)
    with pytest.raises(ScoringError, match="not finite"):
        rank_ranges([0.5], np.full((1, 10), np.nan), higher_is_better=True)
