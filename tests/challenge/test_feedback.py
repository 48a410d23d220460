import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import Feedback, metric_of, metrics_of, tell, tell_concluded
from palladion.challenge.feedback import policy_words
from palladion.challenge.metrics import Metric

LOWER, HIGHER = metric_of("detection", "cross_entropy"), metric_of("detection", "roc_auc")
POLICIES = (
    Feedback(),
    Feedback(policy="exact", digits=2),
    Feedback(policy="rounded", digits=1),
    Feedback(policy="ladder", step=0.05),
    Feedback(policy="none"),
)
ladder = Feedback(policy="ladder", step=0.1)


def test_exact_tells_the_value_and_shows_some_digits() -> None:
    told = tell(Feedback(), LOWER, 0.123456789)
    assert (told.value, told.text) == (0.123456789, "0.1235")
    assert tell(Feedback(digits=1), LOWER, 0.16).text == "0.2"


def test_rounded_tells_no_more_than_its_digits() -> None:
    told = tell(Feedback(policy="rounded", digits=2), LOWER, 0.123456789)
    assert (told.value, told.text) == (0.12, "0.12")
    assert str(tell(Feedback(policy="rounded", digits=0), LOWER, 0.2).value) == "0.0"
    assert str(tell(Feedback(policy="rounded", digits=0), HIGHER, -0.2).value) == "0.0"


def test_none_tells_nothing() -> None:
    told = tell(Feedback(policy="none"), LOWER, 0.1)
    assert (told.value, told.text) == (None, "–")
    assert "concluded" in told.note


# value, best told before, told now
@pytest.mark.parametrize(
    ("value", "best", "told"),
    [
        (0.6931, None, 0.7),  # the first is told, in steps
        (0.5, 0.7, 0.5),
        (0.61, 0.7, 0.7),  # better, but not by a step
        (0.6, 0.7, 0.6),  # better by just a step
        (0.9, 0.7, 0.7),  # worse: the best is told again, not the value
        (0.04, 0.5, 0.0),
        (0.001, 0.1, 0.1),
    ],
)
def test_the_ladder_by_hand_where_lower_is_better(value: float, best: float | None, told: float) -> None:
    assert tell(ladder, LOWER, value, best).value == pytest.approx(told, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "best", "told"),
    [(0.74, None, 0.7), (0.3, 0.2, 0.3), (0.78, 0.7, 0.7), (0.84, 0.7, 0.8), (0.3, 0.7, 0.7), (1.0, 0.9, 1.0)],
)
def test_the_ladder_by_hand_where_higher_is_better(value: float, best: float | None, told: float) -> None:
    assert tell(ladder, HIGHER, value, best).value == pytest.approx(told, abs=1e-12)


def test_a_rung_stays_within_the_metric() -> None:
    assert tell(Feedback(policy="ladder", step=0.3), HIGHER, 1.0).value == pytest.approx(0.9)
    assert tell(Feedback(policy="ladder", step=0.7), HIGHER, 1.0).value == pytest.approx(0.7)
    assert tell(Feedback(policy="ladder", step=0.6), HIGHER, 1.0).value == 1.0  # 1.2 is no area
    assert tell(ladder, LOWER, 0.74).text == "0.7"
    assert tell(Feedback(policy="ladder", step=0.005), LOWER, 0.3466).text == "0.345"


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.001, 0.5), st.sampled_from([LOWER, HIGHER]))
def test_what_a_ladder_tells_never_gets_worse_and_moves_by_steps(
    values: list[float], step: float, metric: Metric
) -> None:
    feedback = Feedback(policy="ladder", step=step)
    best: float | None = None
    for value in values:
        told = tell(feedback, metric, value, best).value
        assert told is not None
        assert abs(told / step - round(told / step)) < 1e-6 or told in (metric.lowest, metric.highest)
        if best is not None and told != best:
            assert metric.is_better(told, best)
            assert metric.merit(value) >= metric.merit(best) + step * 0.999
        if best is None or told != best:
            assert abs(told - value) <= step / 2 + 1e-9
        best = told


@pytest.mark.parametrize("feedback", POLICIES, ids=str)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_missing_value_is_told_as_missing(feedback: Feedback, value: float | None) -> None:
    for told in (tell(feedback, LOWER, value, 0.3), tell_concluded(feedback, value)):
        assert told.value is None
        assert told.text == "–"


@given(st.sampled_from(list(metrics_of("detection").values())), st.sampled_from(POLICIES), st.floats(0, 1))
def test_the_text_says_no_more_than_the_value(metric: Metric, feedback: Feedback, value: float) -> None:
    told = tell(feedback, metric, value)
    if told.value is None:
        assert told.text == "–"
    else:
        assert abs(float(told.text) - told.value) <= 0.05


def test_after_the_conclusion_values_are_told_but_for_rounded_ones() -> None:
    assert tell_concluded(Feedback(policy="none"), 0.123456).value == 0.123456
    assert tell_concluded(ladder, 0.123456).value == 0.123456
    assert tell_concluded(Feedback(), 0.123456).value == 0.123456
    assert tell_concluded(Feedback(policy="rounded", digits=2), 0.123456).value == 0.12


@pytest.mark.parametrize("feedback", POLICIES, ids=str)
def test_every_policy_is_explained(feedback: Feedback) -> None:
    words = policy_words(feedback)
    assert words.startswith(("Scores of the test split", "A score of the test split"))
    assert words.endswith(".")


def test_the_words_name_the_numbers() -> None:
    assert "1 digit after" in policy_words(Feedback(policy="rounded", digits=1))
    assert "4 digits after" in policy_words(Feedback())
    assert "at least 0.05" in policy_words(Feedback(policy="ladder", step=0.05))
