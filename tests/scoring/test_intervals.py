import math

import numpy as np
import pytest
from hypothesis import given

from palladion.errors import ScoringError
from palladion.scoring import cross_entropy, delong_interval, delong_variance, normal_interval, roc_auc

from .strategies import Scored, perspecta, random_answers, scored


def slow_delong_variance(probability: np.ndarray, poisoned: np.ndarray) -> float:
    """DeLong's variance by its definition, over all pairs."""
    a, b = probability[poisoned], probability[~poisoned]
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    return float(wins.mean(axis=1).var(ddof=1) / a.size + wins.mean(axis=0).var(ddof=1) / b.size)


def test_normal_interval_is_nists() -> None:
    # Round 1, Perspecta: .303 ± .123 on the leaderboard.
    probability, poisoned = perspecta()
    low, high = normal_interval(cross_entropy(probability, poisoned))
    assert (low + high) / 2 == pytest.approx(0.3031, abs=5e-5)
    assert (high - low) / 2 == pytest.approx(0.123, abs=5e-4)


@pytest.mark.parametrize(
    ("confidence", "z"),
    [(0.90, 1.64), (0.95, 1.96), (0.98, 2.33), (0.99, 2.58), (0.6826894921370859, 1.0)],
)
def test_normal_interval_quantiles(confidence: float, z: float) -> None:
    low, high = normal_interval([0.0, 2.0], confidence=confidence)
    assert low == pytest.approx(1 - z / math.sqrt(2))
    assert high == pytest.approx(1 + z / math.sqrt(2))


def test_normal_interval_of_one_value_has_no_width() -> None:
    assert normal_interval([0.25]) == (0.25, 0.25)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_confidence_must_lie_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ScoringError, match="confidence"):
        normal_interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ScoringError, match="confidence"):
        delong_interval([0.1, 0.2], [0, 1], confidence=confidence)


@pytest.mark.parametrize("values", [[], [math.nan], ["1"], [[1.0]], [None]])
def test_normal_interval_refuses_what_is_no_list_of_numbers(values: object) -> None:
    with pytest.raises(ScoringError, match="values"):
        normal_interval(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_delong_against_its_definition(seed: int) -> None:
    probability, poisoned = random_answers(120, seed=seed, decimals=1)
    assert delong_variance(probability, poisoned) == pytest.approx(
        slow_delong_variance(probability, poisoned), rel=1e-12
    )


def test_delong_interval_by_hand() -> None:
    probability, poisoned = random_answers(200)
    auc = roc_auc(probability, poisoned)
    assert auc is not None
    half = 1.959963984540054 * math.sqrt(slow_delong_variance(probability, poisoned))
    interval = delong_interval(probability, poisoned)
    assert interval is not None
    assert interval.low == pytest.approx(auc - half)
    assert interval.high == pytest.approx(auc + half)


def test_delong_interval_is_clipped_to_1() -> None:
    probability = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.34])
    poisoned = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    interval = delong_interval(probability, poisoned)
    assert interval is not None
    assert interval.high == 1.0
    assert 0 < interval.low < 15 / 16


@given(scored())
def test_delong_interval_contains_the_auc(data: Scored) -> None:
    auc, interval = roc_auc(*data), delong_interval(*data)
    assert auc is not None
    assert interval is not None
    assert 0 <= interval.low <= auc <= interval.high <= 1
    assert interval.low < interval.high


def test_perfect_separation_does_not_claim_certainty() -> None:
    widths = []
    for each in (5, 50, 500):
        probability, poisoned = np.r_[np.full(each, 0.1), np.full(each, 0.9)], np.r_[[0] * each, [1] * each]
        assert delong_variance(probability, poisoned) == 0
        interval = delong_interval(probability, poisoned)
        assert interval is not None
        assert interval.high == 1
        mirrored = delong_interval(1 - probability, poisoned)
        assert mirrored is not None
        assert mirrored.low == 0
        assert mirrored.high == pytest.approx(1 - interval.low)
        widths.append(1 - interval.low)
    assert widths[0] > widths[1] > widths[2] > 0
    # z²·V with V ≈ (1 − θ)·(1 + 49/2)/(50·50) near θ = 1, solved for 1 − θ by hand for 50 of each.
    assert widths[1] == pytest.approx(0.0375, abs=0.003)


def test_the_fallback_solves_newcombes_equation() -> None:
    interval = delong_interval([0.1] * 7 + [0.9] * 11, [0] * 7 + [1] * 11, confidence=0.9)
    assert interval is not None
    theta, n = interval.low, (7 + 11) / 2 - 1
    shape = 1 + n * (1 - theta) / (2 - theta) + n * theta / (1 + theta)
    variance = theta * (1 - theta) * shape / 77
    assert 1 - theta == pytest.approx(1.6448536269514722 * math.sqrt(variance), rel=1e-9)


def test_a_constant_answer_has_an_interval_about_one_half() -> None:
    interval = delong_interval([0.5] * 60, [0, 1] * 30)
    assert interval is not None
    assert interval.low == pytest.approx(1 - interval.high)
    assert 0.3 < interval.low < 0.4


def test_a_single_member_of_a_class_has_a_wide_interval_and_no_variance() -> None:
    probability, poisoned = [0.9] + [0.1] * 99, [1] + [0] * 99
    assert delong_variance(probability, poisoned) is None
    interval = delong_interval(probability, poisoned)
    assert interval is not None
    assert interval.low < 0.5


def test_one_class_has_no_interval() -> None:
    assert delong_interval([0.1, 0.9], [1, 1]) is None
    assert delong_variance([0.1, 0.9], [0, 0]) is None
