import contextlib
import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import (
    Answers,
    PointScores,
    attack_success_rate,
    metric_interval,
    metric_value,
    mitigation_intervals,
    score_detection,
    task_score,
)

POISONED = np.array([0, 1, 1, 0, 1])
CLUSTER = np.array([0, 0, 1, 2, 2])
PROBABILITY = np.array([0.1, 0.9, 0.4, 0.6, 1.0])


def detection(probability: Any = PROBABILITY, **more: Any) -> PointScores:
    return PointScores("detection", {"probability": probability, "poisoned": POISONED, "cluster": CLUSTER} | more)


def language(**more: Any) -> PointScores:
    arrays: dict[str, Any] = {
        "task1/utility": np.array([100.0, 0.0, 100.0, 100.0]),
        "task1/success": np.array([100.0, 0.0, 0.0]),
        "task1/attack": np.array([0, 0, 1]),
        "task2/utility": np.array([0.0, 100.0]),
        "task2/success": np.array([0.0]),
        "task2/attack": np.array([0]),
    }
    return PointScores("classification", arrays | more)


def same(one: PointScores, other: PointScores) -> bool:
    return (
        one.task == other.task
        and list(one.arrays) == list(other.arrays)
        and all(
            np.array_equal(one.arrays[name], other.arrays[name]) and one.arrays[name].dtype == other.arrays[name].dtype
            for name in one.arrays
        )
    )


@pytest.mark.parametrize("points", [detection(), language()], ids=["detection", "language"])
def test_bytes_keep_everything(points: PointScores) -> None:
    data = points.to_bytes()
    back = PointScores.from_bytes(data)
    assert same(points, back)
    assert back.to_bytes() == data


def test_a_value_is_the_scorers_own() -> None:
    scores = score_detection(Answers.from_values(PROBABILITY), POISONED, clusters=CLUSTER)
    points = detection()
    for metric in ("cross_entropy", "roc_auc", "brier", "accuracy", "expected_calibration_error"):
        assert metric_value(points, metric) == getattr(scores, metric)
    assert metric_interval(points, "cross_entropy") == scores.cross_entropy_interval
    assert metric_interval(points, "brier") == scores.brier_interval
    # DeLong's variance knows nothing of clusters.
    assert metric_interval(points, "roc_auc") == scores.roc_auc_interval_bootstrap
    assert metric_interval(points, "accuracy") == scores.accuracy_interval
    assert metric_interval(points, "expected_calibration_error") is None


def test_intervals_without_clusters_are_the_scorers_own() -> None:
    scores = score_detection(Answers.from_values(PROBABILITY), POISONED)
    points = detection()
    alone = PointScores("detection", {**points.arrays, "cluster": np.arange(points.size, dtype=np.int32)})
    for metric in ("cross_entropy", "roc_auc", "brier", "accuracy"):
        assert metric_interval(alone, metric) == getattr(scores, f"{metric}_interval")


def test_language_values_by_hand() -> None:
    points = language()
    # Attack 0 succeeds on half of its rows, attack 1 on none; both count the same.
    assert metric_value(points, "asr") == (25 + 0) / 2
    assert metric_value(points, "cacc") == (75 + 50) / 2
    assert metric_value(points, "overall") == pytest.approx((task_score(75, 25) + task_score(50, 0)) / 2)
    assert metric_value(points, "overall", score="difference") == (75 - 25 + 50 - 0) / 2
    assert metric_value(points, "degenerate_rate") is None
    assert points.tasks == ("task1", "task2")
    assert points.groups == {"task1/clean": 4, "task1/poisoned": 3, "task2/clean": 2, "task2/poisoned": 1}
    assert points.size == 10


def test_a_task_without_answers_counts_as_the_worst() -> None:
    nothing: NDArray[np.float64] = np.zeros(0)
    points = language(**{"task2/utility": nothing, "task2/success": nothing, "task2/attack": nothing.astype(int)})
    assert metric_value(points, "asr") == (25 + 100) / 2
    assert metric_value(points, "cacc") == 75 / 2
    assert metric_value(points, "overall") == pytest.approx(task_score(75, 25) / 2)
    # A missing task counts 0 in a mean of differences as well, as the scorer has it.
    assert metric_value(points, "overall", score="difference") == 50 / 2
    assert same(PointScores.from_bytes(points.to_bytes()), points)


def test_intervals_of_a_single_task_are_the_scorers_own() -> None:
    arrays = {name: array for name, array in language().arrays.items() if name.startswith("task1/")}
    points = PointScores("classification", arrays)
    success = attack_success_rate([True, False, False], attacks=["a", "a", "b"])
    found = mitigation_intervals(arrays["task1/utility"], success, seed=3)
    assert metric_interval(points, "overall", seed=3) == found.task_score
    assert metric_interval(points, "overall", score="difference", seed=3) == found.difference_score
    assert metric_interval(points, "cacc", seed=3) == found.utility
    assert metric_interval(points, "asr", seed=3) == found.asr


def test_a_mean_over_tasks_has_an_interval_narrower_than_those_of_its_tasks() -> None:
    one = language()
    task = {name.removeprefix("task1/"): array for name, array in one.arrays.items() if name.startswith("task1/")}
    both = PointScores(
        "classification", {f"{place}/{name}": array for place in ("task1", "task2") for name, array in task.items()}
    )
    alone = PointScores("classification", {f"task1/{name}": array for name, array in task.items()})
    for metric in ("overall", "cacc", "asr"):
        value, wide, narrow = metric_value(alone, metric), metric_interval(alone, metric), metric_interval(both, metric)
        assert value is not None
        assert wide is not None
        assert narrow is not None
        assert metric_value(both, metric) == pytest.approx(value)
        assert narrow.low <= value <= narrow.high
        # Of two tasks that are alike, that of the mean is narrower by the square root of two.
        ratio = (narrow.high - narrow.low) / (wide.high - wide.low)
        assert 0.55 < ratio < 0.9
    nothing = {f"task2/{name}": array[:0] for name, array in task.items()}
    assert metric_interval(PointScores("classification", {**both.arrays, **nothing}), "overall") is None


def test_clipping_is_of_probabilities_alone() -> None:
    clipped = detection(np.array([0.0, 1.0, 0.5, 0.02, 0.98])).clipped(0.05)
    assert clipped.arrays["probability"].tolist() == [0.05, 0.95, 0.5, 0.05, 0.95]
    assert np.array_equal(clipped.arrays["poisoned"], POISONED)
    assert language().clipped(0.05) is not None
    assert same(detection().clipped(None), detection())
    for eps in (0.0, 0.5, -1, float("nan")):
        with pytest.raises(ScoringError, match="eps is"):
            detection().clipped(eps)


def test_a_part_is_what_its_masks_choose() -> None:
    part = detection().part({"points": np.array([True, False, True, False, True])})
    assert part.arrays["probability"].tolist() == [0.1, 0.4, 1.0]
    assert part.arrays["poisoned"].tolist() == [False, True, True]
    points = language()
    masks = {group: np.arange(size) == 0 for group, size in points.groups.items()}
    assert points.part(masks).groups == dict.fromkeys(points.groups, 1)
    with pytest.raises(ScoringError, match="no mask for the data points task1/clean"):
        points.part({})
    with pytest.raises(ScoringError, match=r"has the shape \(3,\), its data \(5,\)"):
        detection().part({"points": np.ones(3, dtype=np.bool_)})


def test_a_part_without_rows_has_no_values() -> None:
    empty = detection().part({"points": np.zeros(5, dtype=np.bool_)})
    assert metric_value(empty, "cross_entropy") is None
    assert metric_interval(empty, "cross_entropy") is None
    points = language()
    masks = {group: np.full(size, group != "task1/poisoned") for group, size in points.groups.items()}
    assert metric_value(points.part(masks), "overall") is None
    one_label = detection().part({"points": POISONED == 1})
    assert metric_value(one_label, "roc_auc") is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"probability": np.full(5, 1.5)}, "outside"),
        ({"probability": np.full(5, np.nan)}, "not finite"),
        ({"poisoned": np.full(5, 2)}, "neither 0 nor 1"),
        ({"cluster": np.zeros(4, dtype=int)}, "4 elements where 5"),
        ({"cluster": np.full(5, -1)}, "below 0"),
        ({"cluster": np.full(5, 1 << 40)}, "above"),
        ({"other": np.zeros(5)}, "have probability"),
    ],
)
def test_what_is_no_detection_is_refused(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        detection(**arrays)


def test_a_detection_that_lacks_an_array_is_refused() -> None:
    with pytest.raises(ScoringError, match="have probability, poisoned, cluster; not 'probability'"):
        PointScores("detection", {"probability": np.array([0.5])})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"task1/utility": np.array([101.0, 0, 0, 0])}, "outside 0 to 100"),
        ({"task1/success": np.array([50.0, 0, 0])}, "must be 0 or 100"),
        ({"task1/attack": np.array([0, 0])}, "2 elements where 3"),
        ({"task3/utility": np.array([0.0])}, "of each task"),
        ({"utility": np.array([0.0])}, "of each task"),
    ],
)
def test_what_is_no_language_task_is_refused(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        language(**arrays)
    with pytest.raises(ScoringError, match="no points of the task"):
        PointScores("painting", {})  # type: ignore[arg-type]


def test_metrics_that_are_none() -> None:
    with pytest.raises(ScoringError, match="no metric 'asr' of detection"):
        metric_value(detection(), "asr")
    with pytest.raises(ScoringError, match="no metric 'utility' of classification"):
        metric_value(language(), "utility")


# --- Bytes from anywhere ----------------------------------------------------------------------------------------------


def members(**contents: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/") + ".npy", content)
    return file.getvalue()


def npy(array: NDArray[Any], *, pickles: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=pickles)
    return file.getvalue()


@given(st.binary(max_size=300))
def test_no_bytes_do_any_harm(data: bytes) -> None:
    with pytest.raises(ScoringError):
        PointScores.from_bytes(data)


@given(st.data())
def test_changed_bytes_are_scores_or_refused(data: st.DataObject) -> None:
    good = bytearray(detection().to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ScoringError):
        assert PointScores.from_bytes(bytes(good)).size == 5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (members(), "1 to 300 arrays, not 0"),
        (members(detection__probability=npy(np.zeros(3))), "have probability, poisoned, cluster"),
        (members(other__probability=npy(np.zeros(3))), "no points of the task 'other'"),
        (members(detection__probability=npy(np.array([{}], dtype=object), pickles=True)), "not of its type"),
        (members(detection__probability=npy(np.zeros((2, 2)))), "not as long as it says"),
        (members(detection__probability=npy(np.zeros(3))[:-8]), "not as long as it says"),
        (members(detection__probability=npy(np.zeros(3, dtype=np.float32))), "not of its type"),
        (members(detection__strange=npy(np.zeros(3))), "not of its type"),
        (members(detection__probability=b"no array"), "no scores of data points"),
        (members(**{f"detection__{number}": b"" for number in range(301)}), "not 301"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        PointScores.from_bytes(data)


def test_a_header_that_claims_much_costs_nothing() -> None:
    header = npy(np.zeros(3)).replace(b"(3,)", b"(9999999999999,)".ljust(4))
    with pytest.raises(ScoringError):
        PointScores.from_bytes(members(detection__probability=header))


def test_a_bomb_is_refused() -> None:
    with pytest.raises(ScoringError, match="larger than 256 MiB"):
        PointScores.from_bytes(members(detection__probability=bytes((256 << 20) + 1)))
