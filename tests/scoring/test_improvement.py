import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import PointScores, improvement_p_value
from palladion.scoring.improvement import _by_signs, _chernoff, _isotonic

Floats = NDArray[np.float64]

LOWER: dict[str, Any] = {"metric": "cross_entropy", "higher_is_better": False}
HIGHER: dict[str, Any] = {"metric": "roc_auc", "higher_is_better": True}
HALF = np.arange(100) < 50


def points_of(probability: Any, poisoned: Any = HALF) -> PointScores:
    poisoned = np.asarray(poisoned)
    return PointScores(
        "detection",
        {
            "probability": np.asarray(probability, dtype=np.float64),
            "poisoned": poisoned,
            "cluster": np.zeros(poisoned.size, dtype=int),
        },
    )


def p_value(new: PointScores, best: PointScores | None = None, **options: Any) -> float:
    return improvement_p_value(new, best, **(LOWER | options))


def test_right_answers_are_better_than_guessing_and_wrong_ones_are_not() -> None:
    right, wrong = np.where(HALF, 0.9, 0.1), np.where(HALF, 0.1, 0.9)
    for options in (LOWER, HIGHER, LOWER | {"metric": "brier"}, HIGHER | {"metric": "accuracy"}):
        assert p_value(points_of(right), **options) < 1e-8
        assert p_value(points_of(wrong), **options) == 1
        assert p_value(points_of(right), points_of(wrong), **options) < 1e-8
        assert p_value(points_of(right), points_of(right), **options) == 1


def test_guessing_is_no_better_than_guessing() -> None:
    skewed = np.arange(100) < 7
    for rate in (0.0, 0.05, 0.07, 0.1, 0.5, 1.0):
        for options in (LOWER, HIGHER, HIGHER | {"metric": "accuracy"}):
            assert p_value(points_of(np.full(100, rate), skewed), **options) == 1
    # To know the base rate of these data points by a little more is no reason to be told anything.
    uneven = np.arange(100) < 52
    assert p_value(points_of(np.full(100, 0.52), uneven), points_of(np.full(100, 0.5), uneven)) > 0.3


def test_a_few_lucky_answers_have_the_chance_of_luck() -> None:
    """m changed answers that are all right: nothing else is known, and luck has a chance of 2 ** -m."""
    for m in range(1, 21):
        probability = np.full(100, 0.5)
        probability[np.r_[0 : (m + 1) // 2, 50 : 50 + m // 2]] = [0.99] * ((m + 1) // 2) + [0.01] * (m // 2)
        assert p_value(points_of(probability), points_of(np.full(100, 0.5))) >= 2.0**-m * 0.97


def test_signs_by_hand() -> None:
    # Of eight ways to sign 3, 2 and -1, one makes as much as 4 or more but for the one with +1: 6 and 4.
    gains = np.array([3.0, 2.0, -1.0])
    assert _by_signs(gains, 100_000, 0) == pytest.approx(2 / 8, abs=0.005)
    # Beyond what can be counted, the bound: c · Φ(-√30).
    tail = math.erfc(math.sqrt(15)) / 2
    assert _by_signs(np.ones(30), 1000, 0) == pytest.approx(tail / (2 * math.erfc(1.0)))


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3)))
def test_the_p_value_is_never_less_than_the_chance_of_the_signs(gains: Floats) -> None:
    if gains.sum() <= 1e-9:
        return
    signs = np.array(np.meshgrid(*[[-1, 1]] * gains.size)).reshape(gains.size, -1)
    chance = float((gains @ signs >= gains.sum() * (1 - 1e-12)).mean())
    counted = 3 * math.sqrt(chance * (1 - chance) / 2000) + 1e-9
    assert _by_signs(gains, 2000, 0) >= chance - counted


@pytest.mark.parametrize("options", [LOWER, HIGHER], ids=["cross_entropy", "roc_auc"])
@pytest.mark.parametrize("changed", [5, 100])
def test_random_changes_pass_as_often_as_their_level(options: dict[str, Any], changed: int) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(600):
        poisoned = rng.permutation(HALF)
        logits = rng.standard_normal(100) * 0.01
        new = logits.copy()
        new[:changed] += rng.choice([-0.1, 0.1], size=changed)
        one, other = (points_of(1 / (1 + np.exp(-x)), poisoned) for x in (new, logits))
        found.append(p_value(one, other, replicates=1000, **options))
    for level in (0.2, 0.1, 0.05):
        assert float((np.array(found) <= level).mean()) <= level + 3 * math.sqrt(level * (1 - level) / 600)
    # It is a test, and no refusal: some are that lucky.
    assert min(found) < 0.05


def test_an_improvement_is_found() -> None:
    rng = np.random.default_rng(1)
    evidence = rng.standard_normal(100) + np.where(HALF, 1.0, -1.0)
    worse = evidence + 2 * rng.standard_normal(100)
    one, other = (points_of(1 / (1 + np.exp(-x))) for x in (2 * evidence, worse * 0.5))
    for options in (LOWER, HIGHER):
        assert p_value(one, other, **options) < 0.005
        assert p_value(other, one, **options) == 1


def language(right: float, success: float, *, seed: int = 0, task: str = "t") -> PointScores:
    rng = np.random.default_rng(seed)
    order = rng.permutation(400)
    return PointScores(
        "classification",
        {
            f"{task}/utility": np.where(order < 400 * right, 100.0, 0.0),
            f"{task}/success": np.where(rng.permutation(300) < 300 * success, 100.0, 0.0),
            f"{task}/attack": np.arange(300) % 3,
        },
    )


def test_language_tracks_begin_with_anything_and_then_compare() -> None:
    options: dict[str, Any] = {"metric": "overall", "higher_is_better": True, "replicates": 500}
    base = language(0.8, 0.9)
    assert p_value(base, **options) == 0
    assert p_value(base, base, **options) == 1
    assert p_value(language(0.8, 0.3), base, **options) < 1e-6
    assert p_value(language(0.81, 0.89, seed=1), base, **options) > 0.05
    assert p_value(language(0.8, 0.3), base, score="difference", **options) < 1e-6
    perfect, nothing = language(1.0, 0.0), language(0.0, 1.0)
    assert 0 < p_value(perfect, nothing, **options) < 1e-9


def test_what_is_undefined_is_no_improvement() -> None:
    clean = np.zeros(10, dtype=bool)
    assert p_value(points_of(np.linspace(0, 1, 10), clean), **HIGHER) == 1


def test_other_data_points_are_refused() -> None:
    with pytest.raises(ScoringError, match="other data points"):
        p_value(points_of(np.full(100, 0.4)), points_of(np.full(100, 0.5), ~HALF))
    with pytest.raises(ScoringError, match="replicates"):
        p_value(points_of(np.full(100, 0.4)), replicates=1)


@pytest.mark.parametrize("positives", [50, 10])
@pytest.mark.parametrize("raised", [True, False])
def test_bets_on_an_area_are_won_at_most_twice_as_often_as_it_says(positives: int, raised: bool) -> None:
    """m of 100 data points are put above all others, or below: how many of them are poisoned is hypergeometric."""
    poisoned = np.arange(100) < positives
    for m in (3, 8, 20, 50):
        for hits in range(max(0, m - 100 + positives), min(m, positives) + 1):
            probability = np.full(100, 0.5)
            probability[np.r_[0:hits, positives : positives + m - hits]] = 1.0 if raised else 0.0
            found = p_value(points_of(probability, poisoned), replicates=1000, **HIGHER)
            as_lucky = range(hits, min(m, positives) + 1) if raised else range(hits + 1)
            ways = sum(math.comb(positives, k) * math.comb(100 - positives, m - k) for k in as_lucky)
            assert found >= ways / math.comb(100, m) / 2.2


@pytest.mark.parametrize("options", [LOWER, HIGHER, LOWER | {"metric": "brier"}], ids=lambda value: value["metric"])
def test_what_was_probable_anyway_is_no_improvement(options: dict[str, Any]) -> None:
    """One in ten is poisoned. To say "clean" of m models more surely is right with a chance of 0.9 ** m."""
    poisoned = np.arange(100) < 10
    for m in (3, 5, 10, 20):
        probability = np.full(100, 0.1)
        probability[90 - m : 90] = 0.01
        assert p_value(points_of(probability, poisoned), **options) >= 0.9**m * 0.9


def test_chernoff_by_hand() -> None:
    # Of n fair coins all n: the bound is the chance itself. Of a coin that never falls so: nothing.
    assert _chernoff(np.ones(10), np.full(10, 0.5), 10.0) == pytest.approx(2.0**-10, rel=1e-6)
    assert _chernoff(np.ones(4), np.zeros(4), 1.0) == pytest.approx(0, abs=1e-9)
    # Of 100 fair coins 60 or more: exp(-100 · KL(0.6 || 0.5)), where the chance is 0.0284.
    bound = math.exp(-100 * (0.6 * math.log(1.2) + 0.4 * math.log(0.8)))
    assert _chernoff(np.ones(100), np.full(100, 0.5), 60.0) == pytest.approx(bound, rel=1e-6)
    # What is to be expected is no surprise.
    assert _chernoff(np.ones(100), np.full(100, 0.5), 50.0) == 1


def test_isotonic_regression_by_hand() -> None:
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.9])
    poisoned = np.array([0, 1, 0, 1, 0, 1], dtype=bool)
    # 0.2 and 0.3 are pooled to 1 of 2, and with the two at 0.4 it stays there.
    assert _isotonic(probability, poisoned).tolist() == [0, 0.5, 0.5, 0.5, 0.5, 1]
    assert _isotonic(probability[::-1], poisoned[::-1]).tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0]
    assert _isotonic(np.full(4, 0.5), np.array([1, 0, 0, 0], dtype=bool)).tolist() == [0.25] * 4
