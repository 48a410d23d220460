import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import Feedback, decide_telling, metric_of, metrics_of, tell, tell_again, tell_concluded
from palladion.challenge.feedback import Decision, Told, half_widths, level_of, policy_words, step_of, tells_all
from palladion.challenge.metrics import Metric

LOWER, HIGHER = metric_of("detection", "cross_entropy"), metric_of("detection", "roc_auc")
PERCENT = metric_of("classification", "overall")
POLICIES = (
    Feedback(policy="exact"),
    Feedback(policy="exact", digits=2),
    Feedback(policy="rounded", digits=1),
    Feedback(policy="ladder", step=0.05),
    Feedback(),
    Feedback(policy="none"),
)
ladder = Feedback(policy="ladder", step=0.1)
default = Feedback()


def decided(
    feedback: Feedback, metric: Metric, value: float | None, best: float | None = None, p: float = 0.0, asked: int = 0
) -> bool:
    decision = decide_telling(feedback, metric, value, best, p, asked)
    assert decision.told != bool(decision.note)
    return decision.told


# --- Whether it is told -----------------------------------------------------------------------------------------------


def test_the_default_is_a_bootstrap_ladder() -> None:
    assert (default.policy, default.level, default.step, default.public, default.clip) == (
        "bootstrap_ladder", 0.05, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("feedback", POLICIES, ids=str)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_missing_value_is_told_as_missing(feedback: Feedback, value: float | None) -> None:
    assert decide_telling(feedback, LOWER, value, None, 0.0, 0) == Decision(False, "no value")
    for told in (tell(feedback, LOWER, value), tell_concluded(feedback, LOWER, value)):
        assert told.value is None
        assert told.text == "–"


def test_who_always_tells_and_who_never_does() -> None:
    for worse in (0.9, 0.1):
        assert decided(Feedback(policy="exact"), LOWER, worse, best=0.5, p=1.0, asked=1000)
        assert decided(Feedback(policy="rounded"), LOWER, worse, best=0.5, p=1.0, asked=1000)
        assert not decided(Feedback(policy="none"), LOWER, worse, best=0.5, p=0.0)
    assert "concluded" in decide_telling(Feedback(policy="none"), LOWER, 0.1, None, 0.0, 0).note


@pytest.mark.parametrize(
    ("value", "best", "told"),
    [
        (0.6931, None, True),  # the first
        (0.5, 0.7, True),
        (0.61, 0.7, False),  # better, but not by a step
        (0.6, 0.7, True),  # better by just a step
        (0.9, 0.7, False),
        (0.04, 0.5, True),
        (0.001, 0.1, False),
    ],
)
def test_the_ladder_by_hand_where_lower_is_better(value: float, best: float | None, told: bool) -> None:
    assert decided(ladder, LOWER, value, best) is told


@pytest.mark.parametrize(
    ("value", "best", "told"),
    [(0.74, None, True), (0.3, 0.2, True), (0.78, 0.7, False), (0.84, 0.7, True), (0.3, 0.7, False), (1.0, 0.9, True)],
)
def test_the_ladder_by_hand_where_higher_is_better(value: float, best: float | None, told: bool) -> None:
    assert decided(ladder, HIGHER, value, best) is told


def test_a_bootstrap_ladder_tells_what_its_test_finds() -> None:
    level = level_of(default, 3)
    assert decided(default, LOWER, 0.4, best=0.5, p=level, asked=3)
    assert not decided(default, LOWER, 0.4, best=0.5, p=level * 1.001, asked=3)
    assert not decided(default, LOWER, 0.4, best=None, p=level * 1.001, asked=3)
    assert decided(default, LOWER, 0.4, best=None, p=level, asked=3)
    # Without a test there is nothing to go by.
    assert not decide_telling(default, LOWER, 0.1, None, None, 0).told
    assert "guessing" in decide_telling(default, LOWER, 0.1, None, 1.0, 0).note
    assert "best is told again" in decide_telling(default, LOWER, 0.1, 0.5, 1.0, 0).note


def test_what_was_told_never_gets_worse() -> None:
    # However sure the test is: it compares submissions, and what was told of the last one was rounded.
    assert not decided(default, HIGHER, 0.7049, best=0.71, p=0.0)
    assert decided(default, HIGHER, 0.7051, best=0.71, p=0.0)


@given(st.floats(0.001, 0.5), st.integers(1, 2000))
def test_all_submissions_together_spend_no_more_than_the_level(level: float, submissions: int) -> None:
    feedback = Feedback(level=level)
    spent = [level_of(feedback, asked) for asked in range(submissions)]
    assert sum(spent) < level
    assert spent == sorted(spent, reverse=True)


def test_the_level_is_spent_in_the_end() -> None:
    # The rest of the series after n terms is between the integrals of x ** -1.25 from n + 1 and from n.
    n = 100_000
    rest = level_of(default, 0) * 4 * n**-0.25
    assert sum(level_of(default, asked) for asked in range(n)) + rest == pytest.approx(0.05, rel=1e-6)


# --- How much is told -------------------------------------------------------------------------------------------------


def test_exact_tells_the_value_and_shows_some_digits() -> None:
    told = tell(Feedback(policy="exact"), LOWER, 0.123456789, (0.1, 0.2))
    assert (told.value, told.text, told.low, told.high) == (0.123456789, "0.1235", 0.1, 0.2)
    assert tell(Feedback(policy="exact", digits=1), LOWER, 0.16).text == "0.2"


def test_rounded_tells_no_more_than_its_digits() -> None:
    told = tell(Feedback(policy="rounded", digits=2), LOWER, 0.123456789, (0.1199, 0.1201))
    assert (told.value, told.text, told.low, told.high) == (0.12, "0.12", 0.11, 0.13)
    assert str(tell(Feedback(policy="rounded", digits=0), LOWER, 0.2).value) == "0.0"
    assert str(tell(Feedback(policy="rounded", digits=0), HIGHER, -0.2).value) == "0.0"


def test_none_tells_nothing() -> None:
    told = tell(Feedback(policy="none"), LOWER, 0.1, (0.0, 0.2))
    assert (told.value, told.text, told.low, told.high) == (None, "–", None, None)
    assert "concluded" in told.note


def test_a_rung_stays_within_the_metric() -> None:
    assert tell(Feedback(policy="ladder", step=0.3), HIGHER, 1.0).value == pytest.approx(0.9)
    assert tell(Feedback(policy="ladder", step=0.7), HIGHER, 1.0).value == pytest.approx(0.7)
    assert tell(Feedback(policy="ladder", step=0.6), HIGHER, 1.0).value == 1.0  # 1.2 is no area
    assert tell(ladder, LOWER, 0.74).text == "0.7"
    assert tell(Feedback(policy="ladder", step=0.005), LOWER, 0.3466).text == "0.345"


def test_a_step_that_is_left_out_follows_the_unit() -> None:
    assert step_of(default, LOWER) == step_of(default, HIGHER) == 0.01
    assert step_of(default, PERCENT) == 1.0
    assert tell(default, LOWER, 0.34567).text == "0.35"
    assert tell(default, PERCENT, 71.6).text == "72"
    assert step_of(Feedback(step=0.5), PERCENT) == 0.5
    assert step_of(Feedback(policy="exact"), LOWER) is None


def test_intervals_are_rounded_outward() -> None:
    rounded = Feedback(policy="rounded", digits=1)
    told = tell(rounded, HIGHER, 0.74, (0.61, 0.83))
    assert (told.value, told.low, told.high) == (0.7, 0.6, 0.9)
    # What is on the grid stays, in spite of 0.3 / 0.1 = 2.9999999999999996.
    told = tell(rounded, HIGHER, 0.4, (0.3, 0.7))
    assert (told.low, told.high) == (0.3, 0.7)
    # No area is below 0 or above 1.
    told = tell(rounded, HIGHER, 0.9, (0.95, 1.02))
    assert (told.low, told.high) == (0.9, 1.0)


def test_a_ladder_tells_one_of_few_widths() -> None:
    assert half_widths(default, HIGHER) == half_widths(default, PERCENT) == (1, 2, 5, 10, 20, 50)
    assert half_widths(ladder, HIGHER) == (1, 2, 5)
    assert half_widths(Feedback(step=0.3), HIGHER) == (1,)
    assert half_widths(Feedback(step=0.7), HIGHER) == ()
    assert half_widths(Feedback(policy="rounded"), HIGHER) == half_widths(Feedback(policy="exact"), HIGHER) == ()
    # 0.12 below and 0.08 above: 0.2 in either direction.
    told = tell(default, HIGHER, 0.75, (0.63, 0.83))
    assert (told.value, told.low, told.high) == (0.75, 0.55, 0.95)
    # A width is taken where it holds all of it, in spite of errors of rounding.
    told = tell(default, HIGHER, 0.75, (0.7, 0.8))
    assert (told.low, told.high) == (0.7, 0.8)
    told = tell(default, HIGHER, 0.75, (0.699, 0.8))
    assert (told.low, told.high) == (0.65, 0.85)
    # No area is above 1; and of what is wider than all widths, nothing is told.
    told = tell(default, HIGHER, 0.97, (0.9, 0.99))
    assert (told.low, told.high) == (0.87, 1.0)
    told = tell(default, HIGHER, 0.75, (0.2, 0.9))
    assert (told.low, told.high) == (0.0, 1.0)
    told = tell(Feedback(step=0.7), HIGHER, 0.75, (0.7, 0.8))
    assert (told.low, told.high) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from([LOWER, HIGHER]))
def test_of_one_told_value_there_are_no_more_intervals_than_widths(
    value: float, below: float, above: float, metric: Metric
) -> None:
    told = tell(default, metric, value, (value - below, value + above))
    assert told.value is not None
    rungs = round(told.value / 0.01)
    possible = {(metric.lowest, metric.highest)} | {
        (max((rungs - half) / 100, metric.lowest), min((rungs + half) / 100, metric.highest))
        for half in half_widths(default, metric)
    }
    assert any((told.low, told.high) == pytest.approx(pair) for pair in possible)


def test_a_ladder_tells_what_ranks_and_nothing_else() -> None:
    for feedback in POLICIES:
        other = tell(feedback, LOWER, 0.3, (0.2, 0.4), ranks=False)
        if tells_all(feedback):
            assert other == tell(feedback, LOWER, 0.3, (0.2, 0.4))
        else:
            assert other == Told(None, "–", "told when the stage is concluded")
    assert [tells_all(feedback) for feedback in POLICIES] == [True, True, True, False, False, True]
    # Once it is concluded they are told.
    assert tell_concluded(default, LOWER, 0.3).value == 0.3


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 0.5), st.sampled_from([LOWER, HIGHER]))
def test_what_a_step_tells_is_on_the_grid_and_holds_what_is_true(
    one: float, two: float, three: float, step: float, metric: Metric
) -> None:
    low, value, high = sorted((one, two, three))
    told = tell(Feedback(policy="ladder", step=step), metric, value, (low, high))
    assert told.value is not None
    assert told.low is not None
    assert told.high is not None
    assert abs(told.value - value) <= step / 2 + 1e-9
    for number in (told.value, told.low, told.high):
        assert abs(number / step - round(number / step)) < 1e-6 or number in (metric.lowest, metric.highest)
    assert told.low <= low + 1e-9
    assert told.high >= min(high, metric.highest) - 1e-9
    assert told.low <= told.value <= told.high


def test_the_best_is_told_again_with_its_interval() -> None:
    before = tell(default, LOWER, 0.5, (0.4, 0.6))
    decision = decide_telling(default, LOWER, 0.6, 0.5, 1.0, 1)
    assert tell_again(before, decision) == Told(0.5, "0.50", decision.note, 0.4, 0.6)
    assert tell_again(None, decision) == Told(None, "–", decision.note)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20),
    st.sampled_from([ladder, default, Feedback(step=0.03, level=0.5)]),
    st.sampled_from([LOWER, HIGHER]),
)
def test_what_a_ladder_tells_never_gets_worse(
    submissions: list[tuple[float, float]], feedback: Feedback, metric: Metric
) -> None:
    before: Told | None = None
    for asked, (value, p_value) in enumerate(submissions):
        best = None if before is None else before.value
        decision = decide_telling(feedback, metric, value, best, p_value, asked)
        now = tell(feedback, metric, value) if decision.told else tell_again(before, decision)
        if best is not None:
            assert now.value is not None
            assert not metric.is_better(best, now.value)
        before = now if decision.told else before


@given(st.sampled_from(list(metrics_of("detection").values())), st.sampled_from(POLICIES), st.floats(0, 1))
def test_the_text_says_no_more_than_the_value(metric: Metric, feedback: Feedback, value: float) -> None:
    told = tell(feedback, metric, value)
    if told.value is None:
        assert told.text == "–"
    else:
        assert abs(float(told.text) - told.value) <= 0.05


def test_after_the_conclusion_values_are_told_but_for_rounded_ones() -> None:
    for feedback in (Feedback(policy="none"), ladder, default, Feedback(policy="exact")):
        told = tell_concluded(feedback, LOWER, 0.123456, (0.1234, 0.1239))
        assert (told.value, told.text, told.low, told.high) == (0.123456, "0.1235", 0.1234, 0.1239)
    told = tell_concluded(Feedback(policy="rounded", digits=2), LOWER, 0.123456, (0.121, 0.139))
    assert (told.value, told.low, told.high) == (0.12, 0.12, 0.14)


# --- In words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feedback", POLICIES, ids=str)
def test_every_policy_is_explained(feedback: Feedback) -> None:
    words = policy_words(feedback)
    assert words.startswith("Scores of the test split")
    assert words.endswith(".")


def test_the_words_name_the_numbers() -> None:
    assert "1 digit after" in policy_words(Feedback(policy="rounded", digits=1))
    assert "4 digits after" in policy_words(Feedback(policy="exact"))
    assert "at least 0.05" in policy_words(Feedback(policy="ladder", step=0.05))
    assert "in steps of 0.01;" in policy_words(default, LOWER)
    assert "in steps of 1;" in policy_words(default, PERCENT)
    assert "at most 0.2," in policy_words(Feedback(level=0.2))
    for feedback in POLICIES:
        assert ("other metrics" in policy_words(feedback)) is not tells_all(feedback)
    assert "public part" not in policy_words(default)
    assert "public part, 0.3 of" in policy_words(Feedback(public=0.3))
    assert "[0.01, 0.99]" in policy_words(Feedback(policy="none", clip=0.01))
