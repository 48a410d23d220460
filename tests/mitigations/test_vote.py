"""Majority vote: worked by hand, and what holds of every vote."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.mitigations.contract import Answers
from palladion.mitigations.vote import vote, vote_labels, vote_texts


def test_labels_worked_by_hand() -> None:
    models = [
        [0, 1, 2, 3, -1, -1],
        [0, 2, 1, -1, -1, 2],
        [1, 2, 0, 1, -1, 2],
    ]
    #  most; most; three tied: the first model's; two tied: the first model's; no answer; most
    assert vote_labels(models) == [0, 2, 2, 3, -1, 2]


def test_ties_go_to_the_highest_sum_of_probabilities() -> None:
    labels = [[0, 0], [1, 1]]
    probabilities = [np.array([[0.6, 0.4], [0.5, 0.5]]), np.array([[0.1, 0.9], [0.5, 0.5]])]
    # Input 1: 0.7 against 1.3. Input 2: equal, so that the first model has its way.
    assert vote_labels(labels, probabilities) == [1, 0]


def test_probabilities_do_not_outvote_a_majority() -> None:
    labels = [[0], [0], [1]]
    probabilities = [np.array([[0.51, 0.49]]), np.array([[0.51, 0.49]]), np.array([[0.0, 1.0]])]
    assert vote_labels(labels, probabilities) == [0]


LABELS = st.integers(1, 5).flatmap(
    lambda models: st.integers(0, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(-1, 3), min_size=n, max_size=n), min_size=models, max_size=models)
    )
)


@given(LABELS)
def test_a_vote_is_an_answer_that_no_other_beats(labels: list[list[int]]) -> None:
    for column, winner in zip(zip(*labels, strict=True), vote_labels(labels), strict=True):
        given_answers = [label for label in column if label != -1]
        if not given_answers:
            assert winner == -1
            continue
        assert winner in given_answers
        assert given_answers.count(winner) == max(given_answers.count(label) for label in given_answers)


@given(LABELS, st.randoms())
def test_labels_without_a_tie_do_not_depend_on_the_order(labels: list[list[int]], random: Random) -> None:
    before = vote_labels(labels)
    shuffled = list(labels)
    random.shuffle(shuffled)
    for column, one, other in zip(zip(*labels, strict=True), before, vote_labels(shuffled), strict=True):
        counts = sorted((column.count(label) for label in set(column) - {-1}), reverse=True)
        if len(counts) < 2 or counts[0] > counts[1]:
            assert one == other


def test_a_majority_of_texts_wins_as_its_first_model_wrote_it() -> None:
    assert vote_texts([["no"], ["The  Sky is blue"], ["the sky is\nblue"]]) == ["The  Sky is blue"]


def test_without_a_majority_the_text_nearest_to_the_others_wins() -> None:
    # F1 of the words: first and second share 4 of 5 (0.8); both share 1 with the third (2·1/(5+2)).
    texts = [["red green blue grey black"], ["red green blue grey white"], ["red refused"]]
    assert vote_texts(texts) == ["red green blue grey black"]
    assert vote_texts(texts[::-1]) == ["red green blue grey white"]  # equals: the earlier one
    # Two words of the second in each other, none of the first in the third.
    assert vote_texts([["one two"], ["one two three four"], ["three four"]]) == ["one two three four"]


def test_two_models_that_differ_are_settled_by_the_first() -> None:
    assert vote_texts([["first"], ["second"]]) == ["first"]
    assert vote_texts([["a b"], ["a c"]]) == ["a b"]


def test_empty_texts_can_win_only_as_a_majority() -> None:
    assert vote_texts([[""], [" "], ["an answer"]]) == [""]
    assert vote_texts([[""], ["an answer"], ["an answer at length"]]) == ["an answer"]


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(st.text(max_size=12), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_a_vote_over_texts_is_one_of_the_texts(texts: list[list[str]]) -> None:
    assert all(winner in column for winner, column in zip(vote_texts(texts), zip(*texts, strict=True), strict=True))


@given(st.lists(st.text(max_size=12), max_size=4), st.integers(1, 4))
def test_models_that_agree_are_left_as_they_are(texts: list[str], models: int) -> None:
    assert vote_texts([texts] * models) == texts


def test_the_vote_is_of_the_kind_of_the_answers() -> None:
    assert vote([Answers(labels=[1]), Answers(labels=[1])]).labels == [1]
    assert vote([Answers(texts=["x"]), Answers(texts=["x"])]).texts == ["x"]
    one = np.array([[0.9, 0.1]])
    tied = [Answers(labels=[1], probabilities=one), Answers(labels=[0], probabilities=one)]
    assert vote(tied).labels == [0]
    # Probabilities of some models alone say nothing of the others.
    assert vote([tied[0], Answers(labels=[0])]).labels == [1]
    # Nor can those of other classes be added up.
    other = Answers(labels=[2], probabilities=np.array([[0.0, 0.0, 1.0]]))
    assert vote([tied[0], other]).labels == [1]
    assert tied[0].values == [1]
    assert Answers(texts=["x"]).values == ["x"]


def test_answers_that_cannot_vote_together_are_refused() -> None:
    with pytest.raises(InputError, match="different numbers of inputs: 1, 2"):
        vote_labels([[1], [1, 2]])
    with pytest.raises(InputError, match="no answers to vote over"):
        vote([])
    with pytest.raises(InputError, match="they cannot vote together"):
        vote([Answers(labels=[1]), Answers(texts=["x"])])
    with pytest.raises(InputError, match="2 or more, where the probabilities have 2 columns"):
        vote_labels([[2], [0]], [np.ones((1, 2)), np.ones((1, 2))])
    with pytest.raises(InputError, match="labels or texts"):
        Answers()
    with pytest.raises(InputError, match="labels or texts"):
        Answers(labels=[1], texts=["x"])
    with pytest.raises(InputError, match="one row of probabilities"):
        Answers(labels=[1], probabilities=np.ones((2, 2)))
