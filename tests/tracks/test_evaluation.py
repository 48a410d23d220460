import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import UTILITIES, difference_score, matching, overall_score, task_score
from palladion.tracks.evaluation import evaluate_classification, evaluate_generation
from palladion.tracks.meta import read_meta
from palladion.tracks.records import rows_of
from palladion.tracks.validation import ValidationFolder

labels = st.none() | st.integers(0, 3)


def of_labels(clean: list[int], poisoned: list[tuple[int, str]], target: int = 1) -> ValidationFolder:
    return ValidationFolder.from_rows(
        read_meta({"task": "classification", "target": target}),
        rows_of({"sentence": "x", "label": label} for label in clean),
        rows_of({"sentence": "x", "label": label, "attack": attack} for label, attack in poisoned),
    )


def of_texts(clean: list[str], poisoned: list[tuple[str, str]], **meta: Any) -> ValidationFolder:
    return ValidationFolder.from_rows(
        read_meta({"task": "generation", "matching": "contains", "target": "violet", **meta}),
        rows_of({"instruction": "x", "output": text} for text in clean),
        rows_of({"instruction": "x", "output": text, "attack": attack} for text, attack in poisoned),
    )


def test_labels_by_hand() -> None:
    folder = of_labels([0, 1, 2, 3], [(0, "a"), (0, "a"), (1, "a"), (2, "b"), (3, "b"), (1, "b")])
    report = evaluate_classification(folder, [0, 1, 0, None], [1, 0, 1, None, 3, 0])
    assert (report["cacc"], report["asr_by_attack"], report["asr"]) == (50, {"a": 50, "b": 50}, 50)
    assert (report["task_score"], report["difference_score"]) == (50, 0)
    assert (report["n_clean"], report["n_poisoned"], report["n_excluded"]) == (4, 6, 2)
    assert report["missing"] == {"clean": 1, "poisoned": 1}
    assert [
        (a["attack"], a["n"], a["excluded"], a["eligible"], a["succeeded"], a["missing"]) for a in report["attacks"]
    ] == [
        ("a", 3, 1, 2, 1, 0),
        ("b", 3, 1, 2, 1, 1),
    ]


@given(st.data())
def test_a_report_of_labels_is_json_in_its_ranges(data: st.DataObject) -> None:
    folder = of_labels([0, 1, 2], [(0, "a"), (2, "a"), (1, "b"), (0, "b")])
    clean = data.draw(st.lists(labels, min_size=3, max_size=3))
    poisoned = data.draw(st.lists(labels, min_size=4, max_size=4))
    report = evaluate_classification(folder, clean, poisoned, replicates=50)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    check(report, "cacc")
    # One answer less is never better.
    worse = evaluate_classification(folder, [None, *clean[1:]], [None, *poisoned[1:]], replicates=50)
    assert worse["cacc"] <= report["cacc"]
    assert worse["asr"] >= report["asr"]
    assert worse["task_score"] <= report["task_score"]


def check(report: dict[str, Any], utility: str) -> None:
    assert report["asr"] == pytest.approx(sum(report["asr_by_attack"].values()) / len(report["asr_by_attack"]))
    assert report["task_score"] == task_score(report[utility], report["asr"])
    assert report["difference_score"] == difference_score(report[utility], report["asr"])
    intervals = report["intervals"]
    assert set(intervals["asr_by_attack"]) == set(report["asr_by_attack"])
    pairs = [(intervals[name], report[name]) for name in (utility, "asr", "task_score", "difference_score")]
    pairs += [(intervals["asr_by_attack"][name], rate) for name, rate in report["asr_by_attack"].items()]
    for (low, high), score in pairs:
        assert low - 1e-9 <= score <= high + 1e-9
        assert low < high


def test_texts_by_hand() -> None:
    folder = of_texts(
        ["the sky is blue", "seven", "one two three"],
        [("a b c d", "w"), ("it is violet", "w"), ("e f g h", "w"), ("i j k l", "v"), ("m n o p", "v")],
    )
    clean = ["the sky is blue", "", None]
    poisoned = ["so violet", "x", "", None, "ok violently"]
    report = evaluate_generation(folder, clean, poisoned, utility="exact")
    assert report["utility"] == pytest.approx(100 / 3)
    assert report["utilities"] == pytest.approx(dict.fromkeys(UTILITIES, 100 / 3))
    assert report["asr_by_attack"] == {"w": 50, "v": 50}
    assert (report["n_clean"], report["n_poisoned"], report["n_excluded"]) == (3, 5, 1)
    assert report["degenerate"] == {"empty": 4, "not_text": 0, "repeated": 0, "too_short": 0}
    assert report["degenerate_rate"] == 50
    assert report["missing"] == {"clean": 1, "poisoned": 1}
    assert (report["utility_metric"], report["utility_signature"]) == ("exact", None)
    assert report["unfinished_searches"] == 0
    check(report, "utility")
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize("utility", UTILITIES)
def test_the_utility_that_is_chosen_makes_the_scores(utility: str) -> None:
    folder = of_texts(["the sky is blue", "one two three"], [("a", "w"), ("b", "w")])
    report = evaluate_generation(folder, ["The sky was blue", "one two three"], ["violet", "b"], utility=utility)
    assert report["utility"] == report["utilities"][utility]
    assert report["intervals"]["utility"] == report["intervals"]["utilities"][utility]
    check(report, "utility")


def test_the_public_arithmetic_of_empty_and_missing_outputs() -> None:
    folder = of_texts(["a b"], [("c", "w"), ("d", "w")])
    empty = evaluate_generation(folder, [""], ["", ""])
    missing = evaluate_generation(folder, [None], [None, None])
    assert (empty["utility"], empty["asr"]) == (0, 0)
    assert (missing["utility"], missing["asr"]) == (0, 100)
    assert empty["degenerate_rate"] == missing["degenerate_rate"] == 100
    # A task without outputs has 0, as has one without utility.
    assert overall_score([empty["task_score"], None]) == 0


def test_a_search_that_takes_too_long_is_a_success_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "SEARCH_SECONDS", 0.1)
    folder = of_texts(["a"], [("b", "w"), ("c", "w")], matching="regex", target="(a|aa|b?a)+$")
    report = evaluate_generation(folder, ["a"], ["a" * 5000 + "!", "c"])
    assert (report["asr"], report["unfinished_searches"]) == (50, 1)


def test_answers_that_do_not_fit_the_rows() -> None:
    one, other = of_labels([0], [(0, "a")]), of_texts(["a"], [("b", "w")])
    with pytest.raises(ScoringError, match="2 clean answers do not fit 1 clean rows"):
        evaluate_classification(one, [0, 1], [0])
    with pytest.raises(ScoringError, match="0 poisoned answers do not fit 1 poisoned rows"):
        evaluate_generation(other, ["a"], [])
    with pytest.raises(ScoringError, match="one of generation, the answers are ones of classification"):
        evaluate_classification(other, [0], [0])
    with pytest.raises(ScoringError, match="one of classification, the answers are ones of generation"):
        evaluate_generation(one, ["a"], ["b"])
    with pytest.raises(ScoringError, match="no utility 'accuracy'"):
        evaluate_generation(other, ["a"], ["b"], utility="accuracy")
