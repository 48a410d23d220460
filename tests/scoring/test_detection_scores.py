import json
import math

import numpy as np
import pytest
from hypothesis import given, settings

from palladion.errors import ScoringError
from palladion.scoring import (
    Answers,
    Bootstrap,
    Interval,
    cross_entropy,
    delong_interval,
    normal_interval,
    score_detection,
)

from .strategies import Scored, perspecta, random_answers, scored


def test_the_interval_of_the_accuracy_has_a_width_where_all_are_right() -> None:
    scores = score_detection(Answers.from_values([0.9, 0.8, 0.1, 0.2]), [1, 1, 0, 0])
    # Wilson's of 4 of 4: 4 / (4 + 1.96 ** 2).
    assert scores.accuracy_interval == pytest.approx((4 / (4 + 1.959964**2), 1.0), abs=1e-6)
    clustered = score_detection(Answers.from_values([0.9, 0.8, 0.1, 0.7]), [1, 1, 0, 0], clusters=[0, 0, 1, 1])
    # Of two clusters with one class each the resample is always the same.
    assert clustered.accuracy_interval == (0.75, 0.75)


def test_published_scores_of_round_1_perspecta() -> None:
    probability, poisoned = perspecta()
    scores = score_detection(Answers.from_values(probability), poisoned)
    assert scores.cross_entropy == pytest.approx(0.3031, abs=5e-5)
    assert scores.brier == pytest.approx(0.082)
    assert scores.roc_auc == pytest.approx(0.910)
    assert (scores.n, scores.poisoned, scores.prevalence, scores.accuracy) == (100, 50, 0.5, 0.91)
    assert scores.success_target == pytest.approx(0.34657, abs=5e-6)
    assert scores.reached is True
    assert scores.share_of_distance_closed == pytest.approx(1 - 0.3031106 / math.log(2), abs=1e-6)
    assert scores.expected_calibration_error == pytest.approx(0.01, abs=1e-12)
    assert (scores.missing, scores.out_of_range, scores.clusters) == (0, 0, None)
    low, high = scores.cross_entropy_interval_nist
    assert (high - low) / 2 == pytest.approx(0.123, abs=5e-4)


def test_every_interval_is_the_one_it_says() -> None:
    probability, poisoned = random_answers(200)
    cluster = np.arange(200) // 4
    scores = score_detection(
        Answers.from_values(probability), poisoned, clusters=cluster, replicates=150, seed=7, confidence=0.9
    )
    plan = Bootstrap(poisoned, clusters=cluster, replicates=150, seed=7)
    entropies, aucs = cross_entropy(probability, poisoned), plan.aucs(probability)
    assert aucs is not None
    assert scores.cross_entropy_interval == plan.interval(plan.means(entropies), confidence=0.9)
    assert scores.cross_entropy_interval_nist == normal_interval(entropies, confidence=0.9)
    assert scores.roc_auc_interval == delong_interval(probability, poisoned, confidence=0.9)
    assert scores.roc_auc_interval_bootstrap == plan.interval(aucs, confidence=0.9)
    squares = (probability - poisoned) ** 2
    assert scores.brier_interval == pytest.approx(plan.interval(plan.means(squares), confidence=0.9))
    assert (scores.replicates, scores.seed, scores.confidence, scores.clusters) == (150, 7, 0.9, 50)


def test_answers_that_cannot_be_used_count_as_one_half_and_are_shown() -> None:
    answers = Answers.from_text(["0.9", None, "7.3", "nan"])
    scores = score_detection(answers, [1, 0, 1, 0], replicates=10)
    assert scores.cross_entropy == pytest.approx((-math.log(0.9) + 3 * math.log(2)) / 4)
    assert (scores.missing, scores.out_of_range) == (2, 1)


def test_the_target_is_reached_from_89_percent_of_matched_binary_answers() -> None:
    # Right in a share s of the models, always with the probability s: the target lies at s = 0.890.
    def reached(right: int) -> bool | None:
        share = right / 1000
        poisoned = np.arange(1000) % 2
        probability = np.where((np.arange(1000) < right) == (poisoned == 1), share, 1 - share)
        return score_detection(Answers.from_values(probability), poisoned, replicates=2).reached

    assert reached(895) is True
    assert reached(885) is False


def test_one_class_leaves_out_what_is_undefined() -> None:
    scores = score_detection(Answers.from_values([0.2, 0.4]), [0, 0], replicates=5)
    assert scores.roc_auc is None
    assert scores.roc_auc_interval is None
    assert scores.roc_auc_interval_bootstrap is None
    assert scores.share_of_distance_closed is None
    assert scores.reached is None
    assert scores.cross_entropy == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


@settings(deadline=None, max_examples=60)
@given(scored(both=False, most=12))
def test_the_dict_is_json_without_nan_and_loses_nothing(data: Scored) -> None:
    probability, poisoned = data
    scores = score_detection(Answers.from_values(probability), poisoned, replicates=20)
    record = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    for name, value in record.items():
        original = getattr(scores, name)
        assert (Interval(*value) if isinstance(value, list) else value) == original
    assert len(record) == 24
    assert isinstance(record["cross_entropy_interval"], list)


def test_the_same_seed_gives_the_same_scores() -> None:
    probability, poisoned = random_answers(60)
    answers = Answers.from_values(probability)
    assert score_detection(answers, poisoned, seed=3) == score_detection(answers, poisoned, seed=3)
    assert score_detection(answers, poisoned, seed=3) != score_detection(answers, poisoned, seed=4)


@pytest.mark.parametrize(
    ("answers", "poisoned", "message"),
    [
        ([0.5, 0.5], [1], "poisoned has 1 elements where 2"),
        ([], [], "empty"),
        ([], [1], "probability is empty"),
        ([0.5], ["x"], r"poisoned\[0\]"),
    ],
)
def test_what_cannot_be_scored(answers: list[float], poisoned: list[object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        score_detection(Answers.from_values(answers), poisoned)  # type: ignore[arg-type]
