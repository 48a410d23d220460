import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from palladion.errors import ScoringError
from palladion.scoring import (
    accuracy,
    base_rate_cross_entropy,
    brier_score,
    cross_entropy,
    expected_calibration_error,
    mean_cross_entropy,
    reliability_table,
    roc_auc,
    roc_curve,
    share_of_distance_closed,
    squared_error,
    success_target,
)

from .strategies import Scored, perspecta, random_answers, scored

METRICS: list[Callable[..., object]] = [
    cross_entropy,
    mean_cross_entropy,
    squared_error,
    brier_score,
    roc_auc,
    roc_curve,
    accuracy,
    expected_calibration_error,
    reliability_table,
]


def test_published_scores_of_round_1_perspecta() -> None:
    probability, poisoned = perspecta()
    assert mean_cross_entropy(probability, poisoned) == pytest.approx(-(91 * math.log(0.9) + 9 * math.log(0.1)) / 100)
    assert round(mean_cross_entropy(probability, poisoned), 4) == 0.3031
    assert brier_score(probability, poisoned) == pytest.approx(0.082)
    assert roc_auc(probability, poisoned) == pytest.approx(0.910)
    assert accuracy(probability, poisoned) == 0.91


def test_a_constant_half_scores_the_entropy_of_a_coin() -> None:
    assert mean_cross_entropy([0.5] * 4, [1, 0, 0, 1]) == pytest.approx(math.log(2), abs=1e-15)
    assert roc_auc([0.5] * 4, [1, 0, 0, 1]) == 0.5


def test_the_worst_answer_costs_27_631_and_the_best_almost_nothing() -> None:
    worst = cross_entropy([0.0, 1.0], [True, False])
    # 1 − (1 − 1e-12) is not quite 1e-12 in float64.
    assert worst == pytest.approx([27.6310, 27.6310], abs=1e-4)
    assert cross_entropy([0.0, 1.0], [False, True]) == pytest.approx([1e-12, 1e-12], rel=1e-3)


def test_probabilities_beyond_the_clip_are_clipped() -> None:
    assert cross_entropy([1e-13], [1])[0] == cross_entropy([1e-12], [1])[0]
    assert cross_entropy([1e-11], [1])[0] < cross_entropy([1e-12], [1])[0]


@pytest.mark.parametrize(
    ("prevalence", "target"), [(0.5, 0.34657), (0.02, 0.04902), (0.98, 0.04902), (0.0, 0.0), (1.0, 0.0)]
)
def test_success_targets(prevalence: float, target: float) -> None:
    assert success_target(prevalence) == pytest.approx(target, abs=5e-6)
    assert base_rate_cross_entropy(prevalence) == pytest.approx(2 * target, abs=1e-5)


@pytest.mark.parametrize("prevalence", [-0.1, 1.1, math.nan])
def test_a_prevalence_outside_0_to_1_is_refused(prevalence: float) -> None:
    with pytest.raises(ScoringError, match="prevalence"):
        success_target(prevalence)


def test_share_of_distance_closed() -> None:
    assert share_of_distance_closed(math.log(2), 0.5) == 0
    assert share_of_distance_closed(success_target(0.3), 0.3) == pytest.approx(0.5)
    assert share_of_distance_closed(0.0, 0.3) == 1
    assert share_of_distance_closed(2 * math.log(2), 0.5) == pytest.approx(-1)
    assert share_of_distance_closed(0.1, 0.0) is None
    assert share_of_distance_closed(0.1, 1.0) is None


def test_auc_with_ties_by_hand() -> None:
    # Pairs (poisoned, clean): .8>.8 tie, .8>.3, .3<.8, .3=.3 tie, .9>.8, .9>.3 → (½ + 1 + 0 + ½ + 1 + 1)/6.
    assert roc_auc([0.8, 0.3, 0.9, 0.8, 0.3], [1, 1, 1, 0, 0]) == pytest.approx(4 / 6)


def test_auc_and_curve_need_both_classes() -> None:
    for label in (0, 1):
        assert roc_auc([0.2, 0.4], [label, label]) is None
        assert roc_curve([0.2, 0.4], [label, label]) is None


def test_roc_curve_by_hand() -> None:
    curve = roc_curve([0.8, 0.3, 0.9, 0.8, 0.3], [1, 1, 1, 0, 0])
    assert curve is not None
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.3]
    assert curve.false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert curve.true_positive_rate == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_accuracy_counts_exactly_one_half_as_clean() -> None:
    assert accuracy([0.5, 0.5], [0, 1]) == 0.5
    assert accuracy([0.51, 0.5], [1, 0]) == 1.0
    assert accuracy([0.51, 0.5], [1, 0], threshold=0.6) == 0.5


def test_reliability_table_by_hand() -> None:
    table = reliability_table([0.0, 0.1, 0.5, 1.0], [0, 1, 1, 1], bins=2)
    first, last = table
    assert (first.lower, first.upper, first.count) == (0.0, 0.5, 2)
    assert (first.mean_probability, first.fraction_poisoned) == (0.05, 0.5)
    assert (last.lower, last.upper, last.count) == (0.5, 1.0, 2)
    assert (last.mean_probability, last.fraction_poisoned) == (0.75, 1.0)
    assert expected_calibration_error([0.0, 0.1, 0.5, 1.0], [0, 1, 1, 1], bins=2) == pytest.approx(
        0.5 * 0.45 + 0.5 * 0.25
    )


def test_an_empty_bin_has_no_mean() -> None:
    empty = reliability_table([0.05], [0])[5]
    assert (empty.count, empty.mean_probability, empty.fraction_poisoned) == (0, None, None)


@pytest.mark.parametrize("bins", [3, 7, 10, 49, 100])
def test_a_probability_on_an_edge_falls_in_the_bin_above(bins: int) -> None:
    for i in range(bins):
        table = reliability_table([i / bins], [1], bins=bins)
        assert [row.count for row in table].index(1) == i
        assert table[i].lower == i / bins
    assert reliability_table([1.0], [1], bins=bins)[-1].count == 1


@pytest.mark.parametrize("bins", [0, -1, 2.5, True])
def test_bins_must_be_a_count(bins: int) -> None:
    with pytest.raises(ScoringError, match="bins"):
        reliability_table([0.5], [1], bins=bins)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("probability", "poisoned", "message"),
    [
        ([], [], "probability is empty"),
        ([0.1, 0.2], [1], "poisoned has 1 elements where 2"),
        ([0.1, np.nan], [0, 1], r"probability\[1\] is nan, not finite"),
        ([0.1, np.inf], [0, 1], r"probability\[1\] is inf"),
        ([0.1, 1.5, 2.5], [0, 1, 1], r"probability\[1\] is 1\.5, outside"),
        ([-0.1, 0.5], [0, 1], r"probability\[0\] is -0\.1, outside"),
        (["0.1", "0.2"], [0, 1], r"probability\[0\] is 0\.1, not a number"),
        ([0.1, None], [0, 1], r"probability\[1\] is None, not a number"),
        ([0.1, 10**400], [0, 1], "too large"),
        ([[0.1, 0.2]], [0, 1], "one dimension"),
        ([[0.1], [0.2, 0.3]], [0, 1], "differ in shape"),
        (0.5, [1], "one dimension"),
        ([0.1 + 1j], [1], "not a number"),
        ([0.1, 0.2], [0, 2], r"poisoned\[1\] is 2"),
        ([0.1, 0.2], [0, np.nan], r"poisoned\[1\] is nan"),
        ([0.1, 0.2], ["no", "yes"], r"poisoned\[0\] is no"),
        ([0.1, 0.2], [[0, 1]], "poisoned must have one dimension"),
    ],
)
def test_hostile_values_are_refused_by_name_and_index(
    metric: Callable[..., object], probability: object, poisoned: object, message: str
) -> None:
    with pytest.raises(ScoringError, match=message):
        metric(probability, poisoned)


def test_labels_may_be_booleans_or_numbers() -> None:
    probability = [0.2, 0.6, 0.7]
    expected = mean_cross_entropy(probability, [False, True, True])
    for labels in (np.array([0, 1, 1], dtype=np.uint8), [0.0, 1.0, 1.0], np.array([False, True, True])):
        assert mean_cross_entropy(probability, labels) == expected


@given(scored())
def test_auc_depends_on_the_order_alone(data: Scored) -> None:
    probability, poisoned = data
    assert roc_auc(probability**3 / 2 + probability / 4, poisoned) == roc_auc(probability, poisoned)


@given(scored())
def test_auc_of_the_inverted_answers_is_its_complement(data: Scored) -> None:
    probability, poisoned = data
    auc, inverted = roc_auc(probability, poisoned), roc_auc(1 - probability, poisoned)
    assert auc is not None
    assert inverted == pytest.approx(1 - auc, abs=1e-15)
    assert roc_auc(probability, ~poisoned) == inverted


@given(scored(), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_models(data: Scored, random: object) -> None:
    probability, poisoned = data
    order = list(range(probability.size))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = probability[order], poisoned[order]
    assert mean_cross_entropy(*shuffled) == pytest.approx(mean_cross_entropy(*data), rel=1e-12)
    assert roc_auc(*shuffled) == roc_auc(*data)


@given(scored())
def test_agreement_with_scikit_learn(data: Scored) -> None:
    probability, poisoned = data
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    assert roc_auc(probability, poisoned) == pytest.approx(metrics.roc_auc_score(poisoned, probability))
    assert brier_score(probability, poisoned) == pytest.approx(metrics.brier_score_loss(poisoned, probability))
    assert mean_cross_entropy(probability, poisoned) == pytest.approx(metrics.log_loss(poisoned, clipped))
    curve = roc_curve(probability, poisoned)
    assert curve is not None
    expected = metrics.roc_curve(poisoned, probability, drop_intermediate=False)
    for ours, theirs in zip(
        (curve.false_positive_rate, curve.true_positive_rate, curve.thresholds), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@given(scored(both=False), st.integers(1, 20))
def test_the_reliability_table_accounts_for_every_data_point(data: Scored, bins: int) -> None:
    probability, poisoned = data
    table = reliability_table(probability, poisoned, bins=bins)
    assert sum(row.count for row in table) == probability.size
    error = 0.0
    for row in table:
        inside = (probability >= row.lower) & ((probability < row.upper) if row.upper < 1 else (probability <= 1))
        assert row.count == inside.sum()
        if row.mean_probability is not None and row.fraction_poisoned is not None:
            assert row.mean_probability == pytest.approx(probability[inside].mean())
            assert row.fraction_poisoned == pytest.approx(poisoned[inside].mean())
            error += row.count * abs(row.mean_probability - row.fraction_poisoned)
    assert expected_calibration_error(probability, poisoned, bins=bins) == pytest.approx(error / probability.size)


def test_the_area_under_the_curve_is_the_auc() -> None:
    probability, poisoned = random_answers(500)
    curve = roc_curve(probability, poisoned)
    assert curve is not None
    assert curve.thresholds.size < 500
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(roc_auc(probability, poisoned), abs=1e-12)
