import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import UNANSWERED_PROBABILITY, Answers, AnswerStatus, parse_answer


@pytest.mark.parametrize(
    ("text", "probability"),
    [
        ("0.75", 0.75),
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        (" 0.5\n", 0.5),
        ("\t1\r\n", 1.0),
        ("0", 0.0),
        ("+.25", 0.25),
        ("1.", 1.0),
        ("-0.0", 0.0),
        ("1e-400", 0.0),
    ],
)
def test_a_decimal_number_from_0_to_1_is_read(text: str, probability: float) -> None:
    assert parse_answer(text) == (probability, AnswerStatus.OK)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (None, AnswerStatus.MISSING),
        ("", AnswerStatus.MISSING),
        (" \n\t", AnswerStatus.MISSING),
        ("1_0", AnswerStatus.UNPARSABLE),
        ("0.1_5", AnswerStatus.UNPARSABLE),
        ("0x1p-1", AnswerStatus.UNPARSABLE),
        ("0,5", AnswerStatus.UNPARSABLE),
        ("0.5 0.5", AnswerStatus.UNPARSABLE),
        ("0.5\n0.4", AnswerStatus.UNPARSABLE),
        ("٠.٥", AnswerStatus.UNPARSABLE),
        ("poisoned", AnswerStatus.UNPARSABLE),
        ("0.5\x00", AnswerStatus.UNPARSABLE),
        ("[0.5]", AnswerStatus.UNPARSABLE),
        ("1e", AnswerStatus.UNPARSABLE),
        (".", AnswerStatus.UNPARSABLE),
        ("nan", AnswerStatus.NOT_FINITE),
        ("NaN", AnswerStatus.NOT_FINITE),
        ("-inf", AnswerStatus.NOT_FINITE),
        ("Infinity", AnswerStatus.NOT_FINITE),
        ("1e999", AnswerStatus.NOT_FINITE),
        ("7.3", AnswerStatus.OUT_OF_RANGE),
        ("-0.01", AnswerStatus.OUT_OF_RANGE),
        ("1.0000000001", AnswerStatus.OUT_OF_RANGE),
    ],
)
def test_everything_else_has_a_status_and_no_probability(text: str | None, status: AnswerStatus) -> None:
    assert parse_answer(text) == (None, status)


@given(st.text())
def test_any_text_gives_either_a_probability_or_a_reason(text: str) -> None:
    probability, status = parse_answer(text)
    assert (probability is not None) == (status is AnswerStatus.OK)
    assert probability is None or 0 <= probability <= 1


@given(st.floats(0, 1))
def test_a_printed_probability_is_read_back_exactly(probability: float) -> None:
    assert parse_answer(repr(probability)) == (probability, AnswerStatus.OK)


def test_answers_from_text_are_counted_and_stood_in_for() -> None:
    answers = Answers.from_text(["0.9", None, "", "no", "nan", "1.5", "0"])
    assert answers.probability.tolist() == [0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0]
    assert (len(answers), answers.ok, answers.missing, answers.out_of_range) == (7, 2, 4, 1)
    assert answers.status[4] is AnswerStatus.NOT_FINITE
    assert UNANSWERED_PROBABILITY == 0.5


def test_answers_from_values_judge_each_value() -> None:
    values: list[object] = [0.25, 1, None, math.nan, math.inf, -0.1, 10**400, "0.5", True, np.float32(0.5)]
    answers = Answers.from_values(values)  # type: ignore[arg-type]
    assert [str(status) for status in answers.status] == [
        "ok",
        "ok",
        "missing",
        "not_finite",
        "not_finite",
        "out_of_range",
        "out_of_range",
        "unparsable",
        "unparsable",
        "ok",
    ]
    assert answers.probability.tolist() == [0.25, 1.0] + [0.5] * 8


@given(st.lists(st.floats(), min_size=1))
def test_an_array_is_judged_as_its_elements_are(values: list[float]) -> None:
    fast, slow = Answers.from_values(np.array(values)), Answers.from_values(values)
    assert fast.status == slow.status
    assert fast.probability.tolist() == slow.probability.tolist()


def test_the_array_given_stays_as_it_is() -> None:
    values = np.array([0.1, np.nan])
    answers = Answers.from_values(values)
    assert np.isnan(values[1])
    with pytest.raises(ValueError, match="read-only"):
        answers.probability[0] = 0.9


def test_a_string_is_not_a_sequence_of_answers() -> None:
    with pytest.raises(ScoringError, match="not one string"):
        Answers.from_text("0.5")


def test_statuses_must_fit_probabilities() -> None:
    with pytest.raises(ScoringError, match="do not fit"):
        Answers(np.array([0.5, 0.5]), (AnswerStatus.OK,))
