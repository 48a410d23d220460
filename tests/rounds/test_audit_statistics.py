"""Known answers, how often nothing is called a leak, and that leaks are found."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.rounds.audit_statistics import Association, Factor, associate, together
from palladion.scoring import roc_auc

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def numbers(values: object, name: str = "x") -> Factor:
    return Factor(name, np.asarray(values, dtype=np.float64))


def levels(values: object, count: int, name: str = "x") -> Factor:
    return Factor(name, np.asarray(values, dtype=np.float64), levels=count)


def judge(*factors: Factor, poisoned: object, split: object = None, draws: int = 2000) -> list[Association]:
    labels = np.asarray(poisoned, dtype=np.bool_)
    splits = np.zeros(labels.size, dtype=np.int64) if split is None else np.asarray(split, dtype=np.int64)
    return list(associate(factors, labels, splits, draws=draws))


def test_the_auc_of_a_number_by_hand() -> None:
    # Pairs of a poisoned (3, 1) and a clean model (1, 2): 3 > 1, 3 > 2, 1 = 1, 1 < 2: 2.5 of 4.
    (found,) = judge(numbers([3, 1, 1, 2]), poisoned=[1, 1, 0, 0])
    assert (found.auc, found.lower, found.models) == (0.625, False, 4)


def test_a_number_that_is_lower_in_poisoned_models_tells_as_much() -> None:
    up, down = judge(numbers([1, 2, 3, 4, 5, 6]), numbers([6, 5, 4, 3, 2, 1]), poisoned=[0, 0, 1, 0, 1, 1])
    assert up.auc == down.auc == pytest.approx(8 / 9)
    assert (up.lower, down.lower) == (False, True)
    assert up.interval == down.interval
    assert up.p_value == down.p_value


def test_the_p_value_is_that_of_the_exact_test() -> None:
    # 3 of 6 models are poisoned: 20 labellings, of which 2 separate perfectly.
    (found,) = judge(numbers([1, 2, 3, 4, 5, 6]), poisoned=[0, 0, 0, 1, 1, 1], draws=20_000)
    assert found.auc == 1
    assert found.p_value == pytest.approx(0.1, abs=0.01)
    assert not found.leaks


def test_only_models_of_one_split_are_compared() -> None:
    # Within each split the number says nothing; over both, the split with more poisoned models has larger numbers.
    values = [0, 0, 0, 0, 1, 1, 1, 1]
    (found,) = judge(numbers(values), poisoned=[1, 0, 0, 0, 1, 1, 1, 0], split=[0] * 4 + [1] * 4)
    assert found.auc == 0.5
    assert found.p_value == 1


def test_models_without_a_value_are_left_out() -> None:
    (found,) = judge(numbers([math.nan, 1, 2, 3, 4, math.nan]), poisoned=[1, 0, 0, 1, 1, 0])
    assert (found.models, found.auc) == (4, 1)


def test_the_adjusted_auc_of_levels_by_hand() -> None:
    # 4 models of two levels, 2 poisoned. Of the 6 labellings 2 separate the levels (AUC 1), 4 say nothing (½), so that
    # chance gives ⅔: an AUC of 1 stays 1, and one of ½ is below chance.
    perfect = judge(levels([0, 0, 1, 1], 2), poisoned=[1, 1, 0, 0], draws=20_000)[0]
    nothing = judge(levels([0, 0, 1, 1], 2), poisoned=[1, 0, 1, 0], draws=20_000)[0]
    assert perfect.auc == pytest.approx(1)
    assert nothing.auc == 0.5
    assert perfect.p_value == pytest.approx(1 / 3, abs=0.02)
    assert nothing.p_value == 1


@settings(max_examples=25)
@given(data=st.data())
def test_numbers_agree_with_the_auc_of_scores(data: st.DataObject) -> None:
    n = data.draw(st.integers(4, 30))
    values = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))) / 6
    poisoned = np.array([True, False, *data.draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))])
    (found,) = judge(numbers(values), poisoned=poisoned, draws=100)
    auc = roc_auc(values, poisoned)
    assert auc is not None
    assert found.auc == pytest.approx(max(auc, 1 - auc), abs=1e-12)
    assert found.interval.low <= found.auc <= found.interval.high


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 40), leak=st.floats(0, 3))
def test_intervals_and_verdicts_agree(seed: int, n: int, leak: float) -> None:
    rng = np.random.default_rng(seed)
    poisoned = rng.permutation(np.arange(n) % 2 == 0)
    factors = [numbers(rng.normal(size=n) + leak * poisoned), levels(rng.integers(0, 3, n), 3), numbers(np.arange(n))]
    for found in associate(factors, poisoned, np.zeros(n, dtype=np.int64), draws=400):
        assert found.leaks == (found.corrected_interval.low > 0.5) == (found.adjusted_p_value <= 0.05)
        assert (found.interval.low > 0.5) == (found.p_value <= 0.05)
        assert found.corrected_interval.low <= found.interval.low + 1e-9
        assert found.corrected_interval.high >= found.interval.high - 1e-9


def test_the_same_question_gives_the_same_answer() -> None:
    rng = np.random.default_rng(1)
    factors = [numbers(rng.normal(size=20)), levels(rng.integers(0, 4, 20), 4)]
    poisoned = np.arange(20) % 2 == 0
    assert judge(*factors, poisoned=poisoned) == judge(*factors, poisoned=poisoned)


def test_saying_the_same_thing_again_costs_no_power() -> None:
    rng = np.random.default_rng(2)
    poisoned = np.arange(40) % 2 == 0
    leak, noise = numbers(rng.normal(size=40) + 1.1 * poisoned), [numbers(rng.normal(size=40)) for _ in range(5)]
    once = judge(leak, *noise, poisoned=poisoned)[0]
    often = judge(leak, *noise * 10, poisoned=poisoned)[0]
    assert once.leaks
    assert once.adjusted_p_value == often.adjusted_p_value < 0.05


def test_a_perfect_leak_is_found_among_very_many_factors() -> None:
    rng = np.random.default_rng(3)
    poisoned = np.arange(24) % 2 == 0
    noise = [numbers(rng.normal(size=24)) for _ in range(519)]
    found = associate([numbers(poisoned), *noise], poisoned, np.zeros(24, dtype=np.int64))
    assert [number for number, one in enumerate(found) if one.leaks] == [0]


def _left_out_auc(features: Floats, poisoned: Booleans) -> float:
    """AUC of predictions by ridge regression, each fitted anew without the model that it is of.

    Without intercept, on labels less their mean over all models, with the mean square of a model as ridge.
    """
    ridge = float(np.square(features).sum()) / len(features)
    labels = poisoned - poisoned.mean()
    predicted = np.empty(len(features))
    for i in range(len(features)):
        rest = np.arange(len(features)) != i
        gram = features[rest].T @ features[rest] + ridge * np.eye(features.shape[1])
        predicted[i] = features[i] @ np.linalg.solve(gram, features[rest].T @ labels[rest])
    pairs = predicted[poisoned][:, None] - predicted[~poisoned][None, :]
    return float((pairs > 0).mean())


def test_all_together_predict_each_model_from_the_others() -> None:
    rng = np.random.default_rng(6)
    split = np.zeros(8, dtype=np.int64)
    joint = together("both", [numbers(rng.normal(size=8)), numbers(rng.normal(size=8))], split)
    every = [np.isin(np.arange(8), chosen) for chosen in combinations(range(8), 4)]
    chance = np.mean([_left_out_auc(joint.values, poisoned) for poisoned in every])
    best = max(every, key=lambda poisoned: _left_out_auc(joint.values, poisoned))
    (found,) = associate([joint], best, split, draws=8000)
    expected = 0.5 + 0.5 * (_left_out_auc(joint.values, best) - chance) / (1 - chance)
    assert found.auc == pytest.approx(expected, abs=0.02)
    assert expected > 0.7


def test_many_factors_that_tell_a_little_are_found_together() -> None:
    rng = np.random.default_rng(7)
    n = 100
    split = np.arange(n) % 2
    poisoned = rng.permutation(n) < n // 2
    factors = [numbers(rng.normal(size=n) + 0.45 * poisoned) for _ in range(12)]
    factors += [levels(rng.integers(0, 3, n), 3) for _ in range(3)]
    found = associate([*factors, together("all", factors, split)], poisoned, split, draws=2000)
    assert found[-1].auc > max(one.auc for one in found[:-1])
    assert found[-1].leaks


def test_together_they_need_no_value_of_every_model() -> None:
    values = np.array([math.nan, math.nan, 1.0, 2.0, 3.0, 4.0, math.nan, math.nan])
    other = np.array([math.nan, 5.0, 5.0, 5.0, 6.0, 6.0, math.nan, math.nan])
    joint = together("both", [numbers(values), numbers(other)], np.zeros(8, dtype=np.int64))
    assert np.isnan(joint.values).any(axis=1).tolist() == [True] + [False] * 5 + [True] * 2
    (found,) = judge(joint, poisoned=[1, 0, 0, 0, 1, 1, 1, 0])
    assert found.models == 5


def _alarms(design: str, rounds: int, n: int = 24) -> float:
    """Share of rounds without a leak that are called leaking."""
    rng = np.random.default_rng([n, *design.encode()])
    alarms = 0
    for _ in range(rounds):
        block = np.arange(n) // 4
        if design == "random":
            poisoned = rng.permutation(np.arange(n) % 2 == 0)
        else:  # equal labels in each block of four
            poisoned = np.concatenate([rng.permutation([True, True, False, False]) for _ in range(n // 4)])
        order = rng.permutation(n)
        poisoned, block = poisoned[order], block[order]
        common = rng.normal(size=n)
        factors = [
            *(numbers(rng.normal(size=n) + i * common) for i in range(6)),
            *(numbers(rng.integers(0, 2, n)) for _ in range(3)),
            *(levels(rng.integers(0, k, n), k) for k in (3, 5, 8)),
            levels(block, n // 4),
            numbers(block + 0.1 * rng.normal(size=n)),
            numbers(np.arange(n)),
        ]
        factors.append(together("all", factors, np.zeros(n, dtype=np.int64)))
        alarms += any(found.leaks for found in judge(*factors, poisoned=poisoned, draws=600))
    return alarms / rounds


@pytest.mark.parametrize("design", ["random", "blocks"])
def test_one_round_in_twenty_without_a_leak_fails_at_most(design: str) -> None:
    # Of 120 rounds at a true rate of 5 %, more than 14 fail in fewer than 1 of 1000 such runs.
    assert 0 < _alarms(design, 120) <= 0.12


def test_balanced_levels_are_never_blamed() -> None:
    rng = np.random.default_rng(4)
    for per_level in (2, 4, 8):
        level = np.repeat(np.arange(8), per_level)
        poisoned = np.tile([True, False], 4 * per_level)
        order = rng.permutation(level.size)
        as_levels, as_number = judge(levels(level[order], 8), numbers(level[order]), poisoned=poisoned[order])
        assert as_levels.auc == as_number.auc == 0.5
        assert as_levels.p_value == as_number.p_value == 1
        assert as_levels.interval.low < 0.5 < as_levels.interval.high


@pytest.mark.parametrize("n", [24, 48])
def test_levels_that_tell_the_label_are_found(n: int) -> None:
    rng = np.random.default_rng(n)
    poisoned = rng.permutation(np.arange(n) % 2 == 0)
    level = np.where(poisoned, rng.integers(0, 3, n), rng.integers(2, 5, n))  # a third of each label share level 2
    noise = [numbers(rng.normal(size=n)) for _ in range(n // 3)]
    found = judge(levels(level, 5), *noise, poisoned=poisoned, draws=20_000)
    assert found[0].leaks
    assert 0.75 < found[0].auc < 1
    assert not any(one.leaks for one in found[1:])


def test_intervals_cover_the_truth() -> None:
    # Normal numbers a distance d apart have an AUC of Φ(d/√2): 0.76 at d = 1.
    rng = np.random.default_rng(5)
    poisoned = np.arange(40) % 2 == 0
    truth, rounds = 0.7602, 150
    covered = 0
    for _ in range(rounds):
        (found,) = judge(numbers(rng.normal(size=40) + poisoned), poisoned=poisoned, draws=500)
        covered += found.interval.low <= truth <= found.interval.high
    assert covered / rounds >= 0.9
