"""When a submission has succeeded: what guessing is worth, what the goal is, and how far away a value is from it."""

import math
from typing import Literal

from palladion.challenge.metrics import Metric

__all__ = ["Criterion", "distance_to_goal", "goal_value", "guess_value", "reached"]

Criterion = Literal["half", "none"] | float
"""Half of the distance from guessing to perfection; no goal; or the value to reach."""


def guess_value(metric: Metric, prevalence: float) -> float | None:
    """What always answering the prevalence is worth: in cross-entropy 0.6931 at 0.5, 0.0980 at 0.02.

    Args:
        metric: of detection; None is returned for a metric that has no guess.
        prevalence: share of poisoned models, above 0 and below 1.
    """
    return None if metric.guess is None else metric.guess(prevalence)


def goal_value(metric: Metric, prevalence: float, criterion: Criterion) -> float | None:
    """The value to reach; None where there is none.

    ``half`` is TrojAI's: half of the distance from guessing at this prevalence to perfection, in cross-entropy 0.3466
    at 0.5 and 0.0490 at 0.02 (pages.nist.gov/trojai, overview).
    """
    if criterion == "none":
        return None
    if criterion != "half":
        return float(criterion)
    guess = guess_value(metric, prevalence)
    if guess is None or metric.perfect is None:
        return None
    return (guess + metric.perfect) / 2


def reached(metric: Metric, value: float | None, goal: float | None) -> bool:
    """Whether a value is at the goal or beyond. What is missing or not finite never is, nor is what has no goal."""
    if value is None or goal is None or not math.isfinite(value):
        return False
    return not metric.is_better(goal, value)


def distance_to_goal(metric: Metric, value: float | None, goal: float | None) -> float | None:
    """How much is missing, in the metric's unit: 0 at the goal and beyond; None where there is no value or no goal."""
    if value is None or goal is None or not math.isfinite(value):
        return None
    return max(0.0, metric.merit(goal) - metric.merit(value))
