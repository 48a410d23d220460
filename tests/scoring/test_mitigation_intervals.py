import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palladion.errors import ScoringError
from palladion.scoring import (
    AttackSuccess,
    Interval,
    MitigationIntervals,
    attack_success_rate,
    difference_score,
    mean_interval,
    mitigation_intervals,
    task_score,
    wilson_interval,
)


def success(*counts: tuple[int, int]) -> AttackSuccess:
    """Attacks that succeeded so often of so many."""
    won = [i < k for k, n in counts for i in range(n)]
    attacks = [name for name, (_, n) in enumerate(counts) for _ in range(n)]
    return attack_success_rate(won, attacks=attacks)


def rates(most: int) -> st.SearchStrategy[tuple[int, int]]:
    """How often, of how many."""
    return st.integers(1, most).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def all_of(found: MitigationIntervals) -> list[Interval]:
    return [found.utility, found.asr, *found.asr_by_attack, found.task_score, found.difference_score]


def test_wilson_by_hand() -> None:
    # 4 + z² / 2 of 10 + z² at z = 1.96, about twice the half-width.
    assert wilson_interval(4, 10) == pytest.approx((16.8180, 68.7326), abs=1e-4)
    # At 0 of 20 the interval ends at z² / (20 + z²).
    end = 100 * 1.959964**2 / (20 + 1.959964**2)
    assert wilson_interval(0, 20) == pytest.approx((0, end), abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((100 - end, 100), abs=1e-4)
    assert (wilson_interval(0, 20).low, wilson_interval(20, 20).high) == (0, 100)


@given(
    st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.95, 0.99])
)
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    succeeded, total = counts
    expected = stats.binomtest(succeeded, total).proportion_ci(confidence, method="wilson")
    found = wilson_interval(succeeded, total, confidence=confidence)
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
    assert found.low <= 100 * succeeded / total <= found.high
    assert found.low < found.high


def test_rates_of_counts_that_cannot_be() -> None:
    for succeeded, total in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ScoringError):
            wilson_interval(succeeded, total)
    with pytest.raises(ScoringError, match="confidence"):
        wilson_interval(1, 2, confidence=1)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=20) | st.lists(st.sampled_from([0.0, 100.0]), min_size=1),
    st.lists(rates(9), min_size=1, max_size=5),
)
def test_intervals_hold_the_scores_and_have_a_width(utility: list[float], counts: list[tuple[int, int]]) -> None:
    attacks = success(*counts)
    found = mitigation_intervals(utility, attacks, replicates=200)
    mean = float(np.mean(utility))
    scores = [mean, attacks.rate, *(row.rate for row in attacks.attacks)]
    scores += [task_score(mean, attacks.rate), difference_score(mean, attacks.rate)]
    for (low, high), score in zip(all_of(found), scores, strict=True):
        assert low - 1e-9 <= score <= high + 1e-9
        assert low < high
    assert all(0 <= bound <= 100 for interval in all_of(found)[:-1] for bound in interval)
    assert -100 <= found.difference_score.low < found.difference_score.high <= 100


def test_rows_that_are_right_or_wrong_are_drawn_from_jeffreys_posterior() -> None:
    # One attack with ½ + ½ rows more, and a utility of 100 % of so many rows that it does not vary.
    found = mitigation_intervals([100.0] * 10**6, success((7, 40)), replicates=20_000)
    low, high = 100 * stats.beta.ppf([0.025, 0.975], 7.5, 33.5)
    assert found.difference_score == pytest.approx((100 - high, 100 - low), abs=0.5)
    assert found.asr == found.asr_by_attack[0] == wilson_interval(7, 40)


def test_a_mean_of_many_rows_has_the_normal_interval() -> None:
    scores = np.random.default_rng(5).beta(3, 1, size=4000) * 100
    half = 1.96 * scores.std() / math.sqrt(scores.size)
    expected = (scores.mean() - half, scores.mean() + half)
    assert mean_interval(scores, replicates=4000) == pytest.approx(expected, abs=0.1)


def test_every_attack_counts_the_same_however_many_rows_it_has() -> None:
    found = mitigation_intervals([50.0] * 100, success((300, 300), (0, 300)), replicates=4000)
    assert found.asr.low > 49
    assert found.asr.high < 51


def test_an_attack_of_few_rows_makes_the_mean_uncertain() -> None:
    few = mitigation_intervals([100.0] * 99, success((1, 2), (0, 300)), replicates=2000).asr
    many = mitigation_intervals([100.0] * 99, success((150, 300), (0, 300)), replicates=2000).asr
    assert few.high - few.low > 30 > 10 > many.high - many.low


def test_the_draws_are_of_the_seed() -> None:
    attacks, utility = success((3, 10), (2, 9)), [0.0, 30.0, 99.0]
    one, again, other = (mitigation_intervals(utility, attacks, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.task_score != other.task_score
    assert one.utility != other.utility


@pytest.mark.parametrize(
    ("right", "shares"),
    [(0.95, [0.3, 0.3, 0.3]), (0.95, [0.02] * 3), (0.95, [0.005] * 9), (0.98, [0.98, 0.01]), (0.5, [0.99] * 5)],
)
def test_of_twenty_intervals_nineteen_hold_the_truth(right: float, shares: list[float]) -> None:
    generator = np.random.default_rng(11)
    utility, asr = 100 * right, 100 * float(np.mean(shares))
    truths = (asr, math.sqrt(utility * (100 - asr)), utility - asr)
    held = np.zeros(3)
    for seed in range(250):
        counts = [(int(generator.binomial(40, rate)), 40) for rate in shares]
        rows = np.where(generator.random(100) < right, 100.0, 0.0)
        found = mitigation_intervals(rows, success(*counts), replicates=500, seed=seed)
        intervals = (found.asr, found.task_score, found.difference_score)
        held += [low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)]
    # Of 250 with a coverage of 95 %, 225 or fewer hold the truth once in 4,000 times.
    assert (held > 225).all(), held


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ([], {}, "scores is empty"),
        ([101.0], {}, r"scores\[0\] is 101.0, outside 0 to 100"),
        ([50.0, -1e-9], {}, r"scores\[1\]"),
        ([math.nan], {}, "not finite"),
        ([50.0], {"seed": -1}, "seed"),
        ([50.0], {"replicates": 0}, "replicates"),
        ([50.0], {"confidence": 0}, "confidence"),
    ],
)
def test_what_has_no_interval(scores: list[float], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        mean_interval(scores, **options)
    with pytest.raises(ScoringError, match=words):
        mitigation_intervals(scores, success((1, 2)), **options)
