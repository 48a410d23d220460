import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import (
    MISSING_LABEL,
    attack_success_rate,
    clean_accuracy,
    difference_score,
    fidelity,
    label_attack_success_rate,
    overall_score,
    task_score,
)

percents = st.floats(0, 100)


def test_clean_accuracy_is_in_percent_and_counts_missing_as_wrong() -> None:
    assert clean_accuracy([0, 1, 2, MISSING_LABEL], [0, 1, 1, 0]) == 50
    assert clean_accuracy([MISSING_LABEL] * 3, [0, 1, 2]) == 0


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "labels is empty"),
        ([0], [0, 1], "predicted has 1"),
        ([0, -2], [0, 1], r"predicted\[1\] is -2, below -1"),
        ([0, 0], [0, MISSING_LABEL], r"labels\[1\] is -1, below 0"),
        ([0.0, 1.0], [0, 1], "whole numbers"),
        (["a", "b"], [0, 1], "whole numbers"),
        ([[0, 1]], [0, 1], "one dimension"),
    ],
)
def test_labels_that_cannot_be_compared(predicted: object, labels: object, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        clean_accuracy(predicted, labels)  # type: ignore[arg-type]


def test_attacks_count_the_same_however_many_inputs_they_have() -> None:
    result = attack_success_rate([1, 1, 0, 0, 0, 0, 0, 0], attacks=["a", "a", "b", "b", "b", "b", "b", "b"])
    assert result.rate == 50  # pooled it would be 25
    assert [(row.attack, row.eligible, row.succeeded, row.rate) for row in result.attacks] == [
        ("a", 2, 2, 100.0),
        ("b", 6, 0, 0.0),
    ]


def test_without_attacks_there_is_one() -> None:
    result = attack_success_rate(np.array([True, False, False, True, True]))
    assert result.rate == 60
    assert [row.attack for row in result.attacks] == [None]


def test_inputs_that_are_not_eligible_do_not_count() -> None:
    assert attack_success_rate([1, 1, 0, 0], eligible=[0, 1, 1, 1]).rate == pytest.approx(100 / 3)


def test_an_input_without_an_answer_counts_as_succeeded() -> None:
    assert attack_success_rate([0, 0, 0, 0], answered=[1, 1, 1, 0]).rate == 25


def test_an_attack_without_eligible_inputs_is_named() -> None:
    with pytest.raises(ScoringError, match="'patch'"):
        attack_success_rate([1, 0], attacks=["word", "patch"], eligible=[1, 0])
    with pytest.raises(ScoringError, match="no input is eligible"):
        attack_success_rate([1, 0], eligible=[0, 0])


@pytest.mark.parametrize(
    ("succeeded", "options", "message"),
    [
        ([], {}, "succeeded is empty"),
        ([0.5], {}, r"succeeded\[0\]"),
        ([1, 0], {"eligible": [1]}, "eligible has 1"),
        ([1, 0], {"answered": [1, 2]}, r"answered\[1\]"),
        ([1, 0], {"attacks": ["a"]}, "attacks has 1"),
        ([1, 0], {"attacks": [["a"], ["b"]]}, "hashable"),
        ([1, 0], {"attacks": ["a", None]}, r"attacks\[1\] is None"),
    ],
)
def test_successes_that_cannot_be_counted(succeeded: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        attack_success_rate(succeeded, **options)  # type: ignore[arg-type]


def test_label_attack_success_rate_leaves_out_the_target_class() -> None:
    predicted = [1, 1, 0, 1, MISSING_LABEL]
    labels = [0, 0, 0, 1, 2]
    result = label_attack_success_rate(predicted, labels, 1)
    assert (result.attacks[0].eligible, result.attacks[0].succeeded) == (4, 3)
    assert result.rate == 75
    assert label_attack_success_rate(predicted, labels, [1] * 5) == result


def test_label_attack_success_rate_with_a_target_each() -> None:
    result = label_attack_success_rate([1, 2, 2, 0], [0, 0, 0, 1], [1, 1, 2, 2], attacks=["x", "x", "y", "y"])
    assert [row.rate for row in result.attacks] == [50.0, 50.0]
    with pytest.raises(ScoringError, match="targets has 1"):
        label_attack_success_rate([1, 1], [0, 0], [1])
    with pytest.raises(ScoringError, match="targets"):
        label_attack_success_rate([1, 1], [0, 0], 1.5)


@pytest.mark.parametrize(
    ("utility", "asr", "score"),
    [
        (95, 33, 79.8),
        (95, 10, 92.5),
        (95, 5, 95.0),
        (95, 1, 97.0),
        (50, 0, 70.7),
        (25, 0, 50),
        (90, 100, 0),
        (0, 0, 0),
    ],
)
def test_task_scores(utility: float, asr: float, score: float) -> None:
    assert task_score(utility, asr) == pytest.approx(score, abs=0.05)


@given(percents, percents)
def test_a_task_score_is_the_geometric_mean(utility: float, asr: float) -> None:
    low, high = sorted([utility, 100 - asr])
    assert low - 1e-9 <= task_score(utility, asr) <= high + 1e-9
    assert difference_score(utility, asr) == utility - asr


@pytest.mark.parametrize("value", [-0.1, 100.1, math.nan, math.inf, "50"])
def test_percentages_outside_0_to_100_are_refused(value: float) -> None:
    for score in (task_score, difference_score):
        with pytest.raises(ScoringError, match="utility"):
            score(value, 0)
        with pytest.raises(ScoringError, match="asr"):
            score(50, value)
    with pytest.raises(ScoringError, match=r"task_scores\[1\]"):
        overall_score([50, value])


def test_a_missing_task_counts_zero() -> None:
    assert overall_score([90, None, 60]) == 50
    assert overall_score([None]) == 0
    with pytest.raises(ScoringError, match="empty"):
        overall_score([])


def test_fidelity_as_documented_and_as_coded_by_nist() -> None:
    model: tuple[list[int], list[float], list[float], list[float], list[float]] = (
        [1],
        [60],
        [95],
        [10],
        [90],
    )
    assert fidelity(*model).value == pytest.approx(50 / 60 * 90 / 95)
    assert round(fidelity(*model).value, 3) == 0.789
    assert fidelity(*model, nist_compat=True).value == pytest.approx(85 / 95 * 90 / 60)
    assert round(fidelity(*model, nist_compat=True).value, 3) == 1.342


def test_the_fidelity_of_a_clean_model_is_the_accuracy_kept() -> None:
    for compat in (False, True):
        result = fidelity([0], [None], [80.0], [None], [60.0], nist_compat=compat)
        assert result.models == (0.75,)


def test_doing_nothing_has_a_fidelity_of_one_half_where_half_the_models_are_poisoned() -> None:
    asr, accuracy = [97.3, None, 88.1, None], [91.7, 95.3, 89.9, 77.7]
    result = fidelity([1, 0, 1, 0], asr, accuracy, asr, accuracy)
    assert result.value == 0.5
    assert result.models == (0.0, 1.0, 0.0, 1.0)
    assert result.failed == ()


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_model_without_result_counts_as_failed(nothing: float | None) -> None:
    result = fidelity(
        [1, 1, 0, 1],
        [90, 90, None, 90],
        [80, 80, 80, 80],
        [nothing, 0, nothing, 0],
        [80, nothing, nothing, 80],
    )
    assert result.models == (0.0, 0.0, 0.0, 1.0)
    assert result.failed == (0, 1, 2)
    assert result.value == 0.25
    assert math.copysign(1, result.models[0]) == 1


def test_making_the_backdoor_worse_is_negative() -> None:
    assert fidelity([1], [50], [90], [100], [90]).value == -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"asr_before": [90, 0]}, r"asr_before\[1\] is 0"),
        ({"asr_before": [None, 90]}, r"asr_before\[0\] is None"),
        ({"accuracy_before": [80, 0]}, r"accuracy_before\[1\] is 0"),
        ({"accuracy_before": [80, math.nan]}, r"accuracy_before\[1\] is nan"),
        ({"asr_after": [101, 0]}, r"asr_after\[0\] is 101"),
        ({"accuracy_after": [80, math.inf]}, r"accuracy_after\[1\] is inf"),
        ({"accuracy_after": [80]}, "accuracy_after has 1"),
        ({"poisoned": [1]}, "asr_before has 2"),
        ({"poisoned": []}, "poisoned is empty"),
    ],
)
def test_fidelities_that_are_undefined_name_the_model(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "poisoned": [1, 1],
        "asr_before": [90, 90],
        "accuracy_before": [80, 80],
        "asr_after": [10, 10],
        "accuracy_after": [70, 70],
    }
    with pytest.raises(ScoringError, match=message):
        fidelity(**(good | change))  # type: ignore[arg-type]
