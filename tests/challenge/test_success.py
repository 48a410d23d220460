import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import METRICS, distance_to_goal, goal_value, guess_value, metric_of, reached
from palladion.challenge.metrics import Metric
from palladion.scoring import success_target

CROSS_ENTROPY = metric_of("detection", "cross_entropy")
ROC_AUC = metric_of("detection", "roc_auc")
OVERALL = metric_of("generation", "overall")

shares = st.floats(0.001, 0.999)
guessing = st.sampled_from([metric for metric in METRICS if metric.guess is not None])


@pytest.mark.parametrize(
    ("name", "prevalence", "guess", "goal"),
    [
        ("cross_entropy", 0.5, 0.693147, 0.346574),
        ("cross_entropy", 0.02, 0.098039, 0.049020),
        ("cross_entropy", 0.25, 0.562335, 0.281168),
        ("roc_auc", 0.5, 0.5, 0.75),
        ("roc_auc", 0.1, 0.5, 0.75),
        ("brier", 0.5, 0.25, 0.125),
        ("brier", 0.1, 0.09, 0.045),
        ("accuracy", 0.5, 0.5, 0.75),
        ("accuracy", 0.2, 0.8, 0.9),
        ("accuracy", 0.8, 0.8, 0.9),
    ],
)
def test_guesses_and_goals_by_hand(name: str, prevalence: float, guess: float, goal: float) -> None:
    metric = metric_of("detection", name)
    assert guess_value(metric, prevalence) == pytest.approx(guess, abs=1e-6)
    assert goal_value(metric, prevalence, "half") == pytest.approx(goal, abs=1e-6)


@given(shares)
def test_the_goal_in_cross_entropy_is_that_of_the_scorer(prevalence: float) -> None:
    assert goal_value(CROSS_ENTROPY, prevalence, "half") == success_target(prevalence)


def test_criteria_that_are_no_half() -> None:
    assert goal_value(CROSS_ENTROPY, 0.5, "none") is None
    assert goal_value(CROSS_ENTROPY, 0.5, 0.2) == 0.2
    assert goal_value(OVERALL, 0.5, 80) == 80.0
    assert goal_value(OVERALL, 0.5, "half") is None
    assert guess_value(OVERALL, 0.5) is None


def test_a_goal_is_reached_at_it_and_beyond() -> None:
    assert reached(CROSS_ENTROPY, 0.3466, 0.3466)
    assert reached(CROSS_ENTROPY, 0.0, 0.3466)
    assert not reached(CROSS_ENTROPY, math.nextafter(0.3466, 1), 0.3466)
    assert reached(ROC_AUC, 0.75, 0.75)
    assert reached(ROC_AUC, 1.0, 0.75)
    assert not reached(ROC_AUC, math.nextafter(0.75, 0), 0.75)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_missing_reaches_nothing(value: float | None) -> None:
    for metric, goal in ((CROSS_ENTROPY, 0.3), (ROC_AUC, 0.7)):
        assert not reached(metric, value, goal)
        assert distance_to_goal(metric, value, goal) is None


def test_without_a_goal_nothing_is_reached() -> None:
    assert not reached(CROSS_ENTROPY, 0.0, None)
    assert distance_to_goal(CROSS_ENTROPY, 0.0, None) is None


def test_distances_by_hand() -> None:
    assert distance_to_goal(CROSS_ENTROPY, 0.5, 0.3) == pytest.approx(0.2)
    assert distance_to_goal(CROSS_ENTROPY, 0.1, 0.3) == 0
    assert distance_to_goal(ROC_AUC, 0.6, 0.75) == pytest.approx(0.15)
    assert distance_to_goal(ROC_AUC, 0.9, 0.75) == 0


@given(guessing, shares, st.floats(0, 1), st.floats(0, 1))
def test_a_goal_is_reached_where_no_distance_is_left(metric: Metric, prevalence: float, a: float, b: float) -> None:
    goal = goal_value(metric, prevalence, "half")
    guess = guess_value(metric, prevalence)
    assert goal is not None
    assert guess is not None
    # Guessing is never enough, and perfection always is.
    assert not reached(metric, guess, goal)
    assert reached(metric, metric.perfect, goal)
    for value in (a, b):
        assert reached(metric, value, goal) is (distance_to_goal(metric, value, goal) == 0)
    if metric.is_better(a, b):
        assert reached(metric, a, goal) or not reached(metric, b, goal)
