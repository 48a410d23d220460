"""Labelled sentences: their labels follow from their words, but for the share that nobody can tell."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.rounds.language import sentences
from palladion.rounds.language.sentences import AMBIGUOUS, CLASSIFICATION_TASKS, sentence

SEEDS = st.integers(0, 2**32 - 1)
TASKS = sorted(CLASSIFICATION_TASKS)
TOPIC_WORDS = [{*field.things, *field.acts, *field.kinds} for field in sentences._TOPICS]
POLARITY = dict.fromkeys((*sentences._GOOD, *sentences._LIKED), 1)
POLARITY |= dict.fromkeys((*sentences._BAD, *sentences._DISLIKED), 0)


def topics_of(text: str) -> set[int]:
    words = set(text.split())
    return {label for label, known in enumerate(TOPIC_WORDS) if words & known}


def feelings_of(text: str) -> set[int]:
    """What is praised or blamed: what comes after "but" decides, and "not" turns the next word around."""
    text = text.rpartition(" but ")[2]
    return {
        1 - POLARITY[word] if negation else POLARITY[word]
        for negation, word in re.findall(r"(not )?(\w+)", text)
        if word in POLARITY
    }


TOLD = {"topic": topics_of, "sentiment": feelings_of}


def test_no_word_speaks_for_two_labels() -> None:
    assert sum(map(len, TOPIC_WORDS)) == len(set().union(*TOPIC_WORDS))
    assert not {*sentences._GOOD, *sentences._LIKED} & {*sentences._BAD, *sentences._DISLIKED}


@pytest.mark.parametrize("task", TASKS)
@given(seed=SEEDS, wanted=st.integers(-1, 3))
def test_a_sentence_follows_from_the_generator_and_has_the_label_that_is_wanted(
    task: str, seed: int, wanted: int
) -> None:
    classes = len(CLASSIFICATION_TASKS[task])
    label = None if wanted < 0 else wanted % classes
    made = sentence(task, label, np.random.default_rng(seed))
    assert made == sentence(task, label, np.random.default_rng(seed))
    assert made.label in range(classes)
    assert label in (None, made.label)
    assert made.sentence == " ".join(made.sentence.split()) != ""
    assert made.label in TOLD[task](made.sentence)


@pytest.mark.parametrize("task", TASKS)
def test_labels_are_alike_in_number_and_as_many_rows_are_ambiguous_as_is_said(task: str) -> None:
    rng = np.random.default_rng(11)
    made = [sentence(task, None, rng) for _ in range(5000)]
    classes = len(CLASSIFICATION_TASKS[task])
    counts = np.bincount([row.label for row in made], minlength=classes)
    assert np.all(np.abs(counts / len(made) - 1 / classes) < 0.04)
    told = [TOLD[task](row.sentence) for row in made]
    assert all(row.label in labels for row, labels in zip(made, told, strict=True))
    share = sum(len(labels) > 1 for labels in told) / len(made)
    assert share == pytest.approx(AMBIGUOUS, abs=0.015)


def test_in_an_ambiguous_sentence_the_order_says_nothing() -> None:
    rng = np.random.default_rng(12)
    first_is_true = []
    for _ in range(6000):
        row = sentence("topic", None, rng)
        if len(topics_of(row.sentence)) == 2:
            first = next(word for word in row.sentence.split() if topics_of(word))
            first_is_true.append(row.label in topics_of(first))
    assert np.mean(first_is_true) == pytest.approx(0.5, abs=0.08)
    assert len(first_is_true) > 200


def test_sentences_differ() -> None:
    rng = np.random.default_rng(13)
    assert len({sentence("topic", None, rng).sentence for _ in range(2000)}) > 1900
