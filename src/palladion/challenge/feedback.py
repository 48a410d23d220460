"""How much of a sealed value is told before its stage is concluded, and after.

What is shown of a score gives labels away: with five decimals of a cross-entropy over 300 models, 24 submissions are
enough to read all labels off. A policy decides what leaves the house; everything that shows a score asks here.

A policy that needs more than the value and the team's best (noise, tests of significance) is one more entry of
``_POLICIES``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from palladion.challenge.metrics import Metric
from palladion.challenge.settings import Feedback

__all__ = ["Told", "policy_words", "tell", "tell_concluded"]

_MOST_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a value.

    Attributes:
        value: what may be known of it, in every form and to every digit; None: nothing.
        text: as a table shows it.
        note: what there is to say about it; may be empty.
    """

    value: float | None
    text: str
    note: str = ""


_NOTHING: Final = Told(None, "–")


def tell(feedback: Feedback, metric: Metric, value: float | None, best: float | None = None) -> Told:
    """What a team, and everybody else, is told of a value of a sealed split while its stage is not concluded.

    Args:
        feedback: the policy.
        metric: that the value is of.
        value: None or not finite is missing.
        best: the best that the team was told so far in this stage, before this submission; None where it is its first.
            Only ``ladder`` asks for it.
    """
    if value is None or not math.isfinite(value):
        return Told(None, "–", "no value")
    return _POLICIES[feedback.policy](feedback, metric, value, best)


def tell_concluded(feedback: Feedback, value: float | None) -> Told:
    """What everybody is told of a value when its stage is concluded: the value; where the policy is ``rounded`` its
    digits, as before, because they were promised to be all.
    """
    if value is None or not math.isfinite(value):
        return Told(None, "–", "no value")
    if feedback.policy == "rounded":
        return _rounded(feedback, value)
    return Told(value, f"{value:.{_digits(feedback)}f}")


def policy_words(feedback: Feedback) -> str:
    """The policy in a sentence for participants."""
    digits = f"{_digits(feedback)} digit{'' if _digits(feedback) == 1 else 's'}"
    if feedback.policy == "exact":
        return f"Scores of the test split are told as they are; tables show {digits} after the point."
    if feedback.policy == "rounded":
        return f"Scores of the test split are rounded to {digits} after the point, everywhere and for good."
    if feedback.policy == "ladder":
        return (
            f"A score of the test split is told when it is better than the team's best by at least {feedback.step:g}, "
            f"in steps of that; otherwise the team's best is told again."
        )
    return "Scores of the test split are told when the stage is concluded."


def _exact(feedback: Feedback, _metric: Metric, value: float, _best: float | None) -> Told:
    return Told(value, f"{value:.{_digits(feedback)}f}")


def _round(feedback: Feedback, _metric: Metric, value: float, _best: float | None) -> Told:
    return _rounded(feedback, value)


def _ladder(feedback: Feedback, metric: Metric, value: float, best: float | None) -> Told:
    """The ladder mechanism (Blum and Hardt, 2015, arXiv 1502.04585, algorithm 1), for one metric of one team."""
    assert feedback.step is not None
    # 0.2 + 0.1 is more than 0.3, by an error of rounding.
    needed = None if best is None or not math.isfinite(best) else metric.merit(best) + feedback.step * (1 - 1e-9)
    if best is not None and needed is not None and metric.merit(value) < needed:
        note = f"not better than the team's best by {feedback.step:g}; the best is told again"
        return Told(best, _in_steps(best, feedback.step), note)
    rung = round(value / feedback.step) * feedback.step
    # 3 · 0.1 is 0.30000000000000004, and no metric has values beyond its borders.
    rung = min(max(round(rung, _MOST_DIGITS), metric.lowest), metric.highest)
    return Told(rung + 0.0, _in_steps(rung + 0.0, feedback.step))


def _none(_feedback: Feedback, _metric: Metric, _value: float, _best: float | None) -> Told:
    return Told(_NOTHING.value, _NOTHING.text, "told when the stage is concluded")


_POLICIES: Final[dict[str, Callable[[Feedback, Metric, float, float | None], Told]]] = {
    "exact": _exact,
    "rounded": _round,
    "ladder": _ladder,
    "none": _none,
}


def _rounded(feedback: Feedback, value: float) -> Told:
    digits = _digits(feedback)
    rounded = round(value, digits) + 0.0  # no -0.0
    return Told(rounded, f"{rounded:.{digits}f}")


def _digits(feedback: Feedback) -> int:
    return 4 if feedback.digits is None else feedback.digits


def _in_steps(value: float, step: float) -> str:
    """With as many digits as the step has."""
    digits = next((n for n in range(_MOST_DIGITS) if math.isclose(round(step, n), step, rel_tol=1e-9)), _MOST_DIGITS)
    return f"{value:.{digits}f}"
