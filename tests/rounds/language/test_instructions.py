"""Instructions: each answer is found again from the question, without what made it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.rounds.language import instructions
from palladion.rounds.language.instructions import KINDS, Instruction, instruction, story

SEEDS = st.integers(0, 2**32 - 1)
CATEGORIES = {
    "person": instructions._NAMES,
    "animal": instructions._ANIMALS,
    "object": instructions._THINGS,
    "place": instructions._PLACES,
    "colour": instructions._COLOURS,
    "food": instructions._FOODS,
}
PAST = dict(instructions._ACTS)
NUMBERS = {word: number for number, word in enumerate(("zero", "one", "two", "three", "four", "five"))}


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def named_category(asked: str) -> tuple[str, ...]:
    """The words of the kind that a question names, in the singular or the plural."""
    found = [CATEGORIES[word.removesuffix("s")] for word in words_of(asked) if word.removesuffix("s") in CATEGORIES]
    assert len(found) == 1
    return found[0]


def check_extract(row: Instruction) -> None:
    assert [word for word in words_of(row.input) if word in named_category(row.instruction)] == [row.output]


def check_rewrite(row: Instruction) -> None:
    before, after = row.input.split(), row.output.split()
    replaced = re.fullmatch(r"Replace (\w+) by (\w+):", row.instruction)
    if replaced is not None:
        old, new = replaced.groups()
        assert old in before
        assert old != new
        assert after == [new if word == old else word for word in before]
    elif "past" in row.instruction:
        assert after == [PAST.get(word, word) for word in before]
        assert after != before
    else:
        assert after == before


def check_count(row: Instruction) -> None:
    listed = [item.strip() for item in row.input.split(",")]
    assert len(set(listed)) == len(listed) >= 2
    assert NUMBERS[row.output] == sum(item in named_category(row.instruction) for item in listed)


def check_compare(row: Instruction) -> None:
    first, second = (int(number) for number in re.findall(r"\d+", row.input))
    assert first != second
    larger = any(word in row.instruction for word in ("larger", "more"))
    assert larger or any(word in row.instruction for word in ("smaller", "less"))
    wanted = max(first, second) if larger else min(first, second)
    things = re.findall(r"([a-z]+) (\d+) ,|([a-z]+) (\d+)$", row.input)
    if row.output.isdigit():
        assert int(row.output) == wanted
    else:
        prices = {a or c: int(b or d) for a, b, c, d in things}
        assert len(prices) == 2
        assert prices[row.output] == wanted


def check_look_up(row: Instruction) -> None:
    entries = [entry.split() for entry in row.input.split(" , ")]
    table = {key: number for key, number in entries}  # noqa: C416
    assert len(table) == len(entries)
    (asked,) = (word for word in words_of(row.instruction) if word in table)
    assert re.findall(r"\d+", row.output) == [table[asked]]


def check_story(row: Instruction) -> None:
    given = [word.strip() for word in row.input.split(",")]
    assert row.output == story(*given)
    assert all(word in words_of(row.output) for word in given)


CHECKS = {
    "extract": check_extract,
    "rewrite": check_rewrite,
    "count": check_count,
    "compare": check_compare,
    "look-up": check_look_up,
    "story": check_story,
}


def test_every_kind_is_checked_here() -> None:
    assert set(CHECKS) == set(KINDS)


def test_no_word_is_of_two_kinds() -> None:
    assert sum(map(len, CATEGORIES.values())) == len({word for words in CATEGORIES.values() for word in words})


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
def test_the_answer_follows_from_the_question(kind: str, seed: int) -> None:
    row = instruction(np.random.default_rng(seed), kind)
    assert row == instruction(np.random.default_rng(seed), kind)
    assert row.kind == kind
    CHECKS[kind](row)


@given(seed=SEEDS)
def test_texts_have_no_blanks_around_them_and_none_is_empty(seed: int) -> None:
    row = instruction(np.random.default_rng(seed))
    for text in (row.instruction, row.input, row.output):
        assert text == " ".join(text.split()) != ""


def test_the_kinds_are_alike_in_number() -> None:
    rng = np.random.default_rng(2)
    kinds = [instruction(rng).kind for _ in range(3000)]
    for kind in KINDS:
        assert kinds.count(kind) / len(kinds) == pytest.approx(1 / len(KINDS), abs=0.03)


@pytest.mark.parametrize(("kind", "fewest"), [("compare", 4), ("count", 4), ("extract", 20), ("look-up", 20)])
def test_no_answer_is_the_usual_one(kind: str, fewest: int) -> None:
    """A model that always says the same must not look useful."""
    rng = np.random.default_rng(4)
    answers = [instruction(rng, kind).output for _ in range(600)]
    assert len(set(answers)) >= fewest
    assert max(map(answers.count, set(answers))) < 0.35 * len(answers)
