"""How much of a sealed value is told before its stage is concluded, and after.

What is shown of a score gives labels away: with five decimals of a cross-entropy over 300 models, 24 submissions are
enough to read all labels off. A policy decides what leaves the house, once, when an evaluation ends:

1. :func:`decide_telling`: whether this submission is told anything new, by the metric that ranks alone;
2. :func:`tell`: how much of each of its values, if so; :func:`tell_again`: the team's best once more, if not. Ladders
   tell the value that ranks and its interval, and no other: each number more says more of the labels, and one of them
   is what a team needs to know whether it got better.

What comes of it is recorded, and views only read it. At the conclusion, :func:`tell_concluded` tells the rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from palladion.challenge.metrics import Metric
from palladion.challenge.settings import Feedback

__all__ = [
    "Decision",
    "Told",
    "decide_telling",
    "half_widths",
    "level_of",
    "policy_words",
    "step_of",
    "tell",
    "tell_again",
    "tell_concluded",
    "tells_all",
]

_MOST_DIGITS: Final = 12
_WIDEST: Final = 50
_LADDERS: Final = ("ladder", "bootstrap_ladder")
_STEPS: Final = {"nats": 0.01, "fraction": 0.01, "percent": 1.0}
_SPENDING: Final = 1.25
_SPENT_BY_ALL: Final = 4.595111832584  # Riemann's zeta of 1.25: the sum of k ** -1.25 over k = 1, 2, ...


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a value.

    Attributes:
        value: what may be known of it, in every form and to every digit; None: nothing.
        text: as a table shows it.
        note: what there is to say about it; may be empty.
        low: the lower end of its interval; None where none is told.
        high: the upper end.
    """

    value: float | None
    text: str
    note: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether new values of a submission are told.

    Attributes:
        told: True: its values, by :func:`tell`. False: those of the team's last telling again, or nothing where there
            was none, by :func:`tell_again`.
        note: why not, in words for the team; empty where they are told.
    """

    told: bool
    note: str = ""


def decide_telling(
    feedback: Feedback, metric: Metric, value: float | None, best: float | None, p_value: float | None, asked: int
) -> Decision:
    """Whether the values of a submission are told. One decision holds for all that is told of it.

    Args:
        feedback: the policy.
        metric: that ranks.
        value: of this submission, on the data points that told values are computed on; None or not finite is missing.
        best: what the team was told last in this stage (:attr:`Told.value`); None where it was told nothing yet.
        p_value: of :func:`palladion.scoring.improvement_p_value` against the submission that was told last, or against
            guessing; for ``bootstrap_ladder`` alone. None: it cannot be compared, and is not told.
        asked: how many submissions of this team were decided on before in this stage, told or not.
    """
    if value is None or not math.isfinite(value):
        return Decision(False, "no value")
    return _DECISIONS[feedback.policy](feedback, metric, value, best, p_value, asked)


def tells_all(feedback: Feedback) -> bool:
    """Whether all metrics and tasks of a submission are told while a stage is open, where anything is: ladders tell the
    value that ranks alone.
    """
    return feedback.policy not in _LADDERS


def tell(
    feedback: Feedback,
    metric: Metric,
    value: float | None,
    interval: tuple[float, float] | None = None,
    *,
    ranks: bool = True,
) -> Told:
    """How much is told of one value, where it was decided that it is told.

    Args:
        feedback: the policy.
        metric: that the value is of.
        value: None or not finite is missing.
        interval: of the value. Its ends are rounded outward; by ladders to one of few widths (:func:`half_widths`).
        ranks: whether it is the value that ranks submissions, and not that of another metric or of a single task.
    """
    if not ranks and not tells_all(feedback):
        return Told(None, "–", _LATER)
    if value is None or not math.isfinite(value):
        return Told(None, "–", "no value")
    if feedback.policy == "none":
        return Told(None, "–", _LATER)
    step = step_of(feedback, metric)
    if step is None:
        return _whole(feedback, value, interval)
    return _in_steps(feedback, metric, step, value, interval)


def tell_again(before: Told | None, decision: Decision) -> Told:
    """What is told of a value, where it was decided that nothing new is.

    Args:
        before: what the team was told last of the same metric; None where it was told nothing yet.
        decision: why nothing new.
    """
    if before is None or before.value is None:
        return Told(None, "–", decision.note)
    return Told(before.value, before.text, decision.note, before.low, before.high)


def tell_concluded(
    feedback: Feedback, metric: Metric, value: float | None, interval: tuple[float, float] | None = None
) -> Told:
    """What everybody is told of a value when its stage is concluded: the value; where the policy is ``rounded`` its
    digits, as before, because they were promised to be all. Arguments as of :func:`tell`.
    """
    if value is None or not math.isfinite(value):
        return Told(None, "–", "no value")
    if feedback.policy == "rounded":
        return tell(feedback, metric, value, interval)
    return _whole(feedback, value, interval)


def step_of(feedback: Feedback, metric: Metric) -> float | None:
    """What told values of a metric are multiples of; None where they are told whole."""
    if feedback.policy == "rounded":
        return float(10.0 ** -_digits(feedback))
    if feedback.policy in _LADDERS:
        return _STEPS[metric.unit] if feedback.step is None else feedback.step
    return None


def half_widths(feedback: Feedback, metric: Metric) -> tuple[int, ...]:
    """How far the ends of a told interval are from the told value under a ladder, in steps: 1, 2, 5, 10 and so on, up
    to half of a fraction, of a nat or of a hundred percent. An interval that none of them holds is told as all values
    that there are. An end that could be anywhere would say as much as a second score.

    Args:
        feedback: the policy; one without a step has none.
        metric: that the interval is of.
    """
    step = step_of(feedback, metric)
    if step is None or feedback.policy not in _LADDERS:
        return ()
    most = _WIDEST * _STEPS[metric.unit] / step * (1 + 1e-9)
    widths = (unit * 10**power for power in range(_MOST_DIGITS + 2) for unit in (1, 2, 5))
    return tuple(width for width in widths if width <= most)


def level_of(feedback: Feedback, asked: int) -> float:
    """The level at which one submission is tested under ``bootstrap_ladder``.

    The k-th submission gets level · k^(−1.25) / ζ(1.25). The levels of all submissions add up to no more than the
    level of the policy, however many there are, so that it bounds the chance of any false telling among them
    (Bonferroni's inequality, with unequal parts). A slow series leaves more for the hundredth submission, and less for
    the first, which is compared with guessing and needs little.

    Args:
        feedback: whose policy is ``bootstrap_ladder``.
        asked: how many submissions of the team came before.
    """
    assert feedback.level is not None
    return feedback.level * math.pow(asked + 1, -_SPENDING) / _SPENT_BY_ALL


def policy_words(feedback: Feedback, metric: Metric | None = None) -> str:
    """The policy in sentences for participants: what is told, of which data points, with which probabilities.

    Args:
        feedback: the policy.
        metric: that ranks, for the unit of a step that the policy leaves to it.
    """
    sentences = [_told_words(feedback, metric)]
    if feedback.public is not None:
        sentences.append(
            f"Until the stage is concluded they are computed on a public part, {feedback.public:.4g} of the data "
            f"points, which nobody is told; the final ranks on the others."
        )
    if feedback.clip is not None:
        sentences.append(
            f"Probabilities are clipped to [{feedback.clip:g}, {1 - feedback.clip:.12g}] before they are scored."
        )
    return " ".join(sentences)


def _told_words(feedback: Feedback, metric: Metric | None) -> str:
    digits = f"{_digits(feedback)} digit{'' if _digits(feedback) == 1 else 's'}"
    if feedback.policy == "exact":
        return f"Scores of the test split are told as they are; tables show {digits} after the point."
    if feedback.policy == "rounded":
        return f"Scores of the test split are rounded to {digits} after the point, everywhere and for good."
    if feedback.policy == "ladder":
        return (
            f"Scores of the test split: the one that ranks is told, with its interval, when it is better than the "
            f"team's best by at least {feedback.step:g}, in steps of that; otherwise the team's best is told again. "
            f"{_OTHERS}"
        )
    if feedback.policy == "bootstrap_ladder":
        if feedback.step is None and metric is None:
            steps = "0.01, percentages in steps of 1"
        else:
            steps = f"{_STEPS[metric.unit] if feedback.step is None and metric is not None else feedback.step:g}"
        return (
            f"Scores of the test split: the one that ranks is told, with its interval, when it is better than the "
            f"team's best, and at first than guessing, by more than chance, in steps of {steps}; otherwise the team's "
            f"best is told again. A team that makes no progress is told otherwise with a chance of at most "
            f"{feedback.level:g}, however often it submits. {_OTHERS}"
        )
    return "Scores of the test split are told when the stage is concluded."


_LATER: Final = "told when the stage is concluded"
_OTHERS: Final = "The scores of other metrics and of single tasks are told when the stage is concluded."


def _always(
    _feedback: Feedback, _metric: Metric, _value: float, _best: float | None, _p: float | None, _asked: int
) -> Decision:
    return Decision(True)


def _never(
    _feedback: Feedback, _metric: Metric, _value: float, _best: float | None, _p: float | None, _asked: int
) -> Decision:
    return Decision(False, _LATER)


def _ladder(
    feedback: Feedback, metric: Metric, value: float, best: float | None, _p: float | None, _asked: int
) -> Decision:
    """The ladder mechanism (Blum and Hardt, 2015, arXiv 1502.04585, algorithm 1), for one team."""
    assert feedback.step is not None
    # 0.2 + 0.1 is more than 0.3, by an error of rounding.
    if best is None or metric.merit(value) >= metric.merit(best) + feedback.step * (1 - 1e-9):
        return Decision(True)
    return Decision(False, f"not better than the team's best by {feedback.step:g}; the best is told again")


def _bootstrap_ladder(
    feedback: Feedback, metric: Metric, value: float, best: float | None, p_value: float | None, asked: int
) -> Decision:
    """The ladder with a test of significance (Chaibub Neto and others, 2016, arXiv 1607.00091), whose level is spent
    over the submissions of a team.
    """
    # The test looks at the submission that was told, the value at what was told of it: a rung of a ladder never goes
    # down, not by an error of rounding either.
    step = step_of(feedback, metric) or 0.0
    falls = best is not None and metric.merit(_rung(metric, step, value)) < metric.merit(best)
    if p_value is not None and p_value <= level_of(feedback, asked) and not falls:
        return Decision(True)
    if best is None:
        return Decision(False, "not better than guessing by more than chance")
    return Decision(False, "not better than the team's best by more than chance; the best is told again")


_DECISIONS: Final[dict[str, Callable[[Feedback, Metric, float, float | None, float | None, int], Decision]]] = {
    "exact": _always,
    "rounded": _always,
    "ladder": _ladder,
    "bootstrap_ladder": _bootstrap_ladder,
    "none": _never,
}


def _whole(feedback: Feedback, value: float, interval: tuple[float, float] | None) -> Told:
    low, high = (None, None) if interval is None else interval
    return Told(value, f"{value:.{_digits(feedback)}f}", "", low, high)


def _in_steps(
    feedback: Feedback, metric: Metric, step: float, value: float, interval: tuple[float, float] | None
) -> Told:
    digits = next((n for n in range(_MOST_DIGITS) if math.isclose(round(step, n), step, rel_tol=1e-9)), _MOST_DIGITS)
    rung = _rung(metric, step, value)
    text = f"{rung:.{digits}f}"
    if interval is None:
        return Told(rung, text)
    # An end that is on the grid, up to an error of rounding, is not moved to the next rung.
    first, last = math.floor(interval[0] / step + 1e-9), math.ceil(interval[1] / step - 1e-9)
    if feedback.policy in _LADDERS:
        middle = round(value / step)
        needed = max(middle - first, last - middle)
        half = next((width for width in half_widths(feedback, metric) if width >= needed), None)
        if half is None:
            return Told(rung, text, "", metric.lowest, metric.highest)
        first, last = middle - half, middle + half
    return Told(rung, text, "", _on_grid(metric, step, first), _on_grid(metric, step, last))


def _rung(metric: Metric, step: float, value: float) -> float:
    return _on_grid(metric, step, round(value / step))


def _on_grid(metric: Metric, step: float, count: int) -> float:
    """So many steps, within the borders of the metric."""
    # 3 · 0.1 is 0.30000000000000004; + 0.0 makes no -0.0.
    return min(max(round(count * step, _MOST_DIGITS), metric.lowest), metric.highest) + 0.0


def _digits(feedback: Feedback) -> int:
    return 4 if feedback.digits is None else feedback.digits
