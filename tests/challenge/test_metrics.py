import math
from dataclasses import fields
from typing import get_args

import numpy as np
import pytest

from palladion.challenge import METRICS, detection_values, language_values, metric_of, metrics_of
from palladion.challenge.metrics import TASKS, Task, Unit
from palladion.errors import InputError
from palladion.scoring import Answers, DetectionScores, score_detection


def test_every_metric_is_whole_and_there_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.tasks
        assert set(metric.tasks) <= set(TASKS)
        assert metric.unit in get_args(Unit)
        assert metric.lowest < metric.highest
        if metric.perfect is not None:
            assert metric.perfect == (metric.highest if metric.higher_is_better else metric.lowest)
    for task in TASKS:
        assert any(metric.ranks for metric in metrics_of(task).values())


def test_the_direction_is_in_the_table() -> None:
    better = {metric.name: metric.higher_is_better for metric in METRICS}
    assert better == {
        "cross_entropy": False,
        "roc_auc": True,
        "brier": False,
        "accuracy": True,
        "expected_calibration_error": False,
        "overall": True,
        "cacc": True,
        "utility": True,
        "asr": False,
        "degenerate_rate": False,
    }
    low, high = metric_of("detection", "cross_entropy"), metric_of("detection", "roc_auc")
    assert low.is_better(0.1, 0.2)
    assert not low.is_better(0.1, 0.1)
    assert high.is_better(0.2, 0.1)
    assert low.merit(0.1) > low.merit(0.2)
    assert high.merit(0.2) > high.merit(0.1)


def test_the_metrics_of_detection_are_those_that_the_scorer_has() -> None:
    names = {field.name for field in fields(DetectionScores)}
    assert set(metrics_of("detection")) <= names
    scores = score_detection(Answers.from_values(np.array([0.9, 0.2, 0.6])), [1, 0, 0], replicates=10)
    values = detection_values(scores.to_dict())
    assert values["cross_entropy"] == scores.cross_entropy
    assert values["roc_auc"] == 1.0
    assert list(values) == list(metrics_of("detection"))


def test_what_is_undefined_stays_undefined() -> None:
    scores = score_detection(Answers.from_values(np.array([0.9, 0.2])), [1, 1], replicates=10)
    assert detection_values(scores.to_dict())["roc_auc"] is None


def test_values_of_a_language_track_are_means_over_tasks() -> None:
    reports = [{"cacc": 90.0, "asr": 20.0}, {"cacc": 70.0, "asr": 40.0}]
    assert language_values("classification", reports, 61.5) == {"overall": 61.5, "cacc": 80.0, "asr": 30.0}


def test_a_task_without_answers_counts_as_the_worst_there_is() -> None:
    report = {"utility": 50.0, "asr": 10.0, "degenerate_rate": 4.0}
    values = language_values("generation", [report, None], 20.0)
    assert values == {"overall": 20.0, "utility": 25.0, "asr": 55.0, "degenerate_rate": 52.0}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "50", True])
def test_a_value_that_is_no_number_is_not_averaged(value: object) -> None:
    reports: list[dict[str, object]] = [{"cacc": value, "asr": 20.0}, {"cacc": 70.0, "asr": 40.0}]
    assert language_values("classification", reports, None) == {"overall": None, "cacc": None, "asr": 30.0}


def test_no_tasks_have_no_values() -> None:
    assert language_values("classification", [], None) == {"overall": None, "cacc": None, "asr": None}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no metric 'acuracy' of detection; did you mean 'accuracy'\?"):
        metric_of("detection", "acuracy")
    task: Task = "generation"
    with pytest.raises(InputError, match="no metric 'cacc' of generation"):
        metric_of(task, "cacc")
