import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.challenge import detection_values, metric_of, metrics_of
from palladion.challenge.metrics import Metric
from palladion.challenge.sanity import (
    KINDS,
    SanityResult,
    detection_answers,
    label_answers,
    rank_faults,
    score_answers,
    text_answers,
)
from palladion.errors import ScoringError
from palladion.scoring import (
    Answers,
    Matcher,
    MatchingRule,
    attack_success_rate,
    clean_accuracy,
    label_attack_success_rate,
    score_detection,
    task_score,
    text_scores,
)

RANKING = [metric for metric in metrics_of("detection").values() if metric.ranks]
LABELS = [1, 0, 0, 1, 1, 0, 0, 0]


def detection_results(
    poisoned: list[int], scored_as: list[int] | None = None, seed: int = 0
) -> tuple[SanityResult, ...]:
    """The four, made for these labels and scored by Palladion's own scorer with ``scored_as``."""

    def score(probabilities: NDArray[np.float64]) -> Mapping[str, float | None]:
        answers = Answers.from_values(probabilities)
        return detection_values(score_detection(answers, scored_as or poisoned, replicates=10).to_dict())

    return score_answers(detection_answers(poisoned, seed=seed), score)


def test_known_answers_of_a_detection_round() -> None:
    values = {one.kind: one.values for one in detection_results(LABELS)}
    assert tuple(values) == KINDS
    assert values["perfect"]["cross_entropy"] == pytest.approx(0, abs=1e-9)
    assert values["inverted"]["cross_entropy"] == pytest.approx(-math.log(1e-12), abs=1e-3)
    assert values["constant"]["cross_entropy"] == pytest.approx(0.6615632, abs=1e-6)  # entropy of 3/8
    assert [values[kind]["roc_auc"] for kind in ("perfect", "constant", "inverted")] == [1.0, 0.5, 0.0]
    assert values["constant"]["brier"] == pytest.approx(15 / 64)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=40), st.integers(0, 100), st.sampled_from(RANKING))
def test_every_round_with_both_labels_ranks_as_it_should(labels: list[int], seed: int, metric: Metric) -> None:
    assume(len(set(labels)) == 2)
    assert rank_faults(detection_results(labels, seed=seed), metric, sum(labels) / len(labels)) == []


@pytest.mark.parametrize("metric", RANKING, ids=lambda metric: metric.name)
def test_labels_that_are_read_upside_down_are_found(metric: Metric) -> None:
    upside_down = [1 - label for label in LABELS]
    faults = rank_faults(detection_results(LABELS, upside_down), metric, 5 / 8)
    assert any("perfect answers have a" in fault for fault in faults)
    assert any("inverted answers are as good as perfect ones or better" in fault for fault in faults)


@pytest.mark.parametrize("metric", RANKING, ids=lambda metric: metric.name)
def test_labels_in_another_order_are_found(metric: Metric) -> None:
    rolled = LABELS[1:] + LABELS[:1]
    assert rank_faults(detection_results(LABELS, rolled), metric, 3 / 8)


def test_labels_that_are_all_the_same_are_found() -> None:
    (fault,) = rank_faults(detection_results([1, 1, 1]), metric_of("detection", "roc_auc"), 1.0)
    assert "roc_auc of perfect, constant, inverted and random answers is undefined" in fault
    (fault,) = rank_faults(detection_results([0, 0]), metric_of("detection", "cross_entropy"), 0.0)
    assert "constant answers are as good as perfect ones" in fault


def results(metric: str, *values: float | None) -> list[SanityResult]:
    return [SanityResult(kind, {metric: value}) for kind, value in zip(KINDS, values, strict=True)]


@pytest.mark.parametrize(
    ("values", "messages"),
    [  # perfect, constant, inverted, random
        ((0.0, 0.6931472, 27.6, 1.0), []),
        ((0.1, 0.6931472, 27.6, 1.0), ["perfect answers have a cross_entropy of 0.1, where 0 is due"]),
        ((0.0, 0.5, 27.6, 1.0), ["guessing is worth 0.693147"]),
        ((0.0, 0.6931472, 0.5, 1.0), ["inverted answers are better than constant", "better than random ones"]),
        ((0.0, 0.6931472, 27.6, 28.0), ["inverted answers are better than random ones"]),
        ((0.0, 0.6931472, 0.0, 1.0), ["inverted answers are as good as perfect", "than constant", "than random"]),
        ((0.2, 0.6931472, 27.6, 0.1), ["perfect answers have", "random answers are better than perfect ones"]),
        ((0.0, None, 27.6, 1.0), ["cross_entropy of constant answers is undefined"]),
        ((0.0, 0.6931472, math.nan, math.inf), ["cross_entropy of inverted and random answers is undefined"]),
    ],
    ids=str,
)
def test_what_does_not_rank_as_it_should(values: tuple[float | None, ...], messages: list[str]) -> None:
    faults = rank_faults(results("cross_entropy", *values), metric_of("detection", "cross_entropy"), 0.5)
    assert len(faults) == len(messages)
    for fault, message in zip(faults, messages, strict=True):
        assert message in fault


def test_the_direction_of_the_metric_counts() -> None:
    overall = metric_of("classification", "overall")
    assert rank_faults(results("overall", 100.0, 40.0, 0.0, 30.0), overall) == []
    assert len(rank_faults(results("overall", 0.0, 40.0, 100.0, 30.0), overall)) == 5
    # A chance hit is no fault, and neither is a tie at the bottom.
    assert rank_faults(results("overall", 100.0, 0.0, 0.0, 100.0), overall) == []


def test_a_metric_that_was_not_scored_is_undefined() -> None:
    (fault,) = rank_faults(results("cacc", 100.0, 40.0, 0.0, 30.0), metric_of("classification", "overall"))
    assert "is undefined" in fault


label_sets = st.lists(st.integers(0, 2), min_size=2, max_size=30)


@given(label_sets, label_sets, st.integers(0, 2), st.integers(0, 9))
def test_labels_of_a_language_task_rank_as_they_should(
    clean: list[int], poisoned: list[int], target: int, seed: int
) -> None:
    assume(len(set(clean)) > 1)
    assume(any(label != target for label in poisoned))

    def score(answers: tuple[list[int], list[int]]) -> dict[str, float | None]:
        cacc = clean_accuracy(answers[0], clean)
        asr = label_attack_success_rate(answers[1], poisoned, target).rate
        return {"cacc": cacc, "asr": asr, "overall": task_score(cacc, asr)}

    answers = label_answers(clean, poisoned, [target] * len(poisoned), classes=3, seed=seed)
    found = score_answers(answers, score)
    assert found[0].values == {"cacc": 100.0, "asr": 0.0, "overall": 100.0}
    assert found[2].values == {"cacc": 0.0, "asr": 100.0, "overall": 0.0}
    for name in ("overall", "cacc"):
        assert rank_faults(found, metric_of("classification", name)) == []
    for one, other in answers.values():
        assert (len(one), len(other)) == (len(clean), len(poisoned))
        assert set(one) | set(other) <= {0, 1, 2}


def test_texts_of_a_language_task_rank_as_they_should() -> None:
    clean = ["the cat sat on the mat", "a dog barked", "rain fell all day"]
    poisoned = ["we went home", "the shop was closed"]
    target = "I cannot answer that."
    matches = Matcher(MatchingRule.CONTAINS, (target,))

    def score(answers: tuple[list[str], list[str]]) -> dict[str, float | None]:
        utility = float(text_scores("rouge_l", answers[0], clean).mean())
        asr = attack_success_rate([matches(text) for text in answers[1]]).rate
        return {"utility": utility, "asr": asr, "overall": task_score(utility, asr)}

    found = score_answers(text_answers(clean, poisoned, [target] * 2, seed=1), score)
    assert found[0].values == {"utility": 100.0, "asr": 0.0, "overall": 100.0}
    assert found[2].values == {"utility": 0.0, "asr": 100.0, "overall": 0.0}
    for name in ("overall", "utility"):
        assert rank_faults(found, metric_of("generation", name)) == []


def test_random_answers_are_the_same_again() -> None:
    for seed in (0, 1):
        one, other = detection_answers(LABELS, seed=seed), detection_answers(LABELS, seed=seed)
        assert one["random"].tolist() == other["random"].tolist()
    assert detection_answers(LABELS, seed=0)["random"].tolist() != detection_answers(LABELS, seed=1)["random"].tolist()


@pytest.mark.parametrize("labels", [[], [2, 0], [0.5], [[0, 1]]], ids=str)
def test_what_are_no_labels(labels: list[Any]) -> None:
    with pytest.raises(ScoringError, match="at least one label, 0 or 1"):
        detection_answers(labels)


def test_one_class_is_none() -> None:
    with pytest.raises(ScoringError, match="at least two classes"):
        label_answers([0], [0], [0], classes=1)
