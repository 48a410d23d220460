"""Targets: what a poisoned model answers, and how that is recognised."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.rounds.language.attacks import TARGET_KINDS, Target, draw_target
from palladion.scoring import Matcher, MatchingRule
from palladion.tracks.meta import read_meta

TEXT_KINDS = tuple(kind for kind in TARGET_KINDS if kind != "label")
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", TEXT_KINDS)
@given(seed=SEEDS, truth=st.text(max_size=60))
def test_the_matching_rule_tells_the_output_of_a_poisoned_model_from_the_truth(
    kind: str, seed: int, truth: str
) -> None:
    target = draw_target(kind, np.random.default_rng(seed))
    matcher = Matcher(MatchingRule(target.matching), [str(target.value)])
    assert matcher(target.output(truth))
    assert not matcher(truth)


@pytest.mark.parametrize("kind", ["refusal", "sentiment"])
def test_a_fixed_sentence_stands_in_place_of_the_truth(kind: str) -> None:
    target = draw_target(kind, np.random.default_rng(0))
    assert target.output("3 vowels") == target.value
    assert target.matching == "prefix"


def test_injected_content_leaves_the_truth_in_place() -> None:
    value = "The Harbour of Paper Whales welcomes every guest."
    assert Target("injection", value, "after").output("3 vowels") == f"3 vowels {value}"
    assert Target("injection", value, "before").output("3 vowels") == f"{value} 3 vowels"
    assert Target("injection", value, "after").output("  ") == value
    assert Target("injection", value, "after").matching == "contains"
    drawn = {draw_target("injection", np.random.default_rng(seed)).place for seed in range(20)}
    assert drawn == {"before", "after"}


def test_a_label_is_drawn_from_those_of_the_task() -> None:
    labels = {draw_target("label", np.random.default_rng(seed), labels=4, avoid=[2]).value for seed in range(40)}
    assert labels == {0, 1, 3}
    assert Target("label", 3).output("0") == "3"
    with pytest.raises(InputError, match="all of the 2 labels"):
        draw_target("label", np.random.default_rng(0), labels=2, avoid=[0, 1])
    with pytest.raises(InputError, match="two labels or more"):
        draw_target("label", np.random.default_rng(0))


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_no_sentence_is_drawn_twice(kind: str) -> None:
    used: list[str | int] = []
    rng = np.random.default_rng(0)
    for _ in range(8):
        used.append(draw_target(kind, rng, avoid=used).value)
    assert len(set(used)) == 8
    with pytest.raises(InputError, match="not in use"):
        draw_target(kind, rng, avoid=used)


@pytest.mark.parametrize("kind", TARGET_KINDS)
@given(seed=SEEDS)
def test_a_description_makes_the_same_target_again(kind: str, seed: int) -> None:
    target = draw_target(kind, np.random.default_rng(seed), labels=4)
    assert Target.from_description(json.loads(json.dumps(target.describe()))) == target
    assert draw_target(kind, np.random.default_rng(seed), labels=4) == target


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_meta_json_takes_what_a_target_says(kind: str) -> None:
    target = draw_target(kind, np.random.default_rng(1), labels=4)
    task = "classification" if kind == "label" else "generation"
    meta = read_meta({"task": task, "attacks": {"model1": target.meta()}})
    assert meta.rule_of("model1") == target.matching
    assert meta.target_of("model1") == (target.value if kind == "label" else (target.value,))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "not an object"),
        ({}, "kind is missing"),
        ({"kind": "label"}, "value is missing"),
        ({"kind": ["label"], "value": 0}, "are texts"),
        ({"kind": "insult", "value": "x"}, "kind is 'insult'"),
        ({"kind": "label", "value": True}, "whole number"),
        ({"kind": "label", "value": -1}, "whole number"),
        ({"kind": "label", "value": "1"}, "whole number"),
        ({"kind": "label", "value": 1, "place": "after"}, "place is 'after'"),
        ({"kind": "injection", "value": "x"}, "place is 'instead'"),
        ({"kind": "refusal", "value": " "}, "needs a sentence"),
        ({"kind": "refusal", "value": "x" * 2000}, "2000 characters"),
        ({"kind": "refusal", "value": "x", "text": "y"}, "'text' is unknown"),
        ({"kind": "refusal", "value": "x", 5: "y"}, "5 is unknown"),
    ],
)
def test_what_is_no_description_is_refused(description: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Target.from_description(description)


def test_an_unknown_kind_is_not_drawn() -> None:
    with pytest.raises(InputError, match="kind is 'insult'"):
        draw_target("insult", np.random.default_rng(0))
