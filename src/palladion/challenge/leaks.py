"""How much has been told of the labels of a sealed split: an upper bound, for the organiser.

What a team was told is a message. Written down in a code in which no message is the beginning of another one, it has so
many bits; somebody who knew nothing before can know no more of the labels than these bits after it, and whatever has a
chance of p for one fixed submission has one of at most p · 2^bits for one that was chosen by what was told (Dwork and
others, "Generalization in adaptive data analysis and holdout reuse", 2015, theorem on description length). The code:

- a number that is told: log₂ of how many different ones could have been told, given what was told before;
- that something was told, under ``bootstrap_ladder``: −log₂ of the level of the test, which is the chance of it for
  somebody who makes no progress, and next to nothing that nothing was; under ``ladder`` one bit in either case;
- that the goal was reached: one bit.

It is an upper bound: metrics of the same answers say much the same, and a team that submits an honest detector does not
try to learn anything from the last digit.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from palladion.challenge.feedback import Told, level_of, step_of
from palladion.challenge.metrics import Metric
from palladion.challenge.settings import Feedback
from palladion.scoring import PointScores, base_rate_cross_entropy

__all__ = ["MOST_SHARE", "LeakBudget", "TeamLeak", "Telling", "label_bits", "leak_budget"]

MOST_SHARE: Final = 0.1
"""Share of the labels' bits beyond which the organiser is warned."""

_WHOLE_BITS: Final = 52.0
"""What a number that is told whole may say: the digits of a float."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What a team was told of one submission.

    Attributes:
        team: its id.
        asked: how many of its submissions came before in the stage.
        better: whether new values were told, and not the best again or nothing.
        values: what was told, by metric, and of single tasks by ``task/metric``.
    """

    team: str
    asked: int
    better: bool
    values: Mapping[str, Told]


@dataclass(frozen=True, slots=True)
class TeamLeak:
    """What one team was told, at most: bits, and these as a share of the labels' bits."""

    team: str
    bits: float
    share: float


@dataclass(frozen=True, slots=True)
class LeakBudget:
    """What was told in a stage, at most.

    Attributes:
        bits: to all teams together.
        labels: bits that the labels have.
        share: of the labels' bits, to the team that was told most.
        teams: those that were told anything, the most first.
        over: whether a team was told more than :data:`MOST_SHARE`.
        words: for the organiser.
    """

    bits: float
    labels: float
    share: float
    teams: tuple[TeamLeak, ...]
    over: bool
    words: str


def leak_budget(
    feedback: Feedback,
    metrics: Sequence[Metric],
    tellings: Sequence[Telling],
    *,
    labels: float,
    goals: Collection[str] = (),
) -> LeakBudget:
    """How much was told in a stage, at most. No team counts with more than all that there is to know.

    Args:
        feedback: its policy.
        metrics: of the track; the first ranks.
        tellings: of each submission; those of a team in their order.
        labels: of :func:`label_bits`, above 0; of the public part, where told values are computed on one.
        goals: the teams of which it is known that they have reached the goal.
    """
    bits: dict[str, float] = defaultdict(float)
    before: dict[str, float] = {}
    by_name = {metric.name: metric for metric in metrics}
    for telling in tellings:
        bits[telling.team] += _decision_bits(feedback, telling)
        if not telling.better:
            continue
        for name, told in telling.values.items():
            metric = by_name.get(name.rpartition("/")[2])
            if metric is not None:
                best = before.get(telling.team) if name == metrics[0].name else None
                bits[telling.team] += _number_bits(feedback, metric, told, best)
        ranking = telling.values.get(metrics[0].name)
        if ranking is not None and ranking.value is not None:
            before[telling.team] = ranking.value
    for team in goals:
        bits[team] += 1.0
    teams = [TeamLeak(team, min(told, labels), min(told / labels, 1.0)) for team, told in bits.items() if told > 0]
    teams.sort(key=lambda leak: (-leak.bits, leak.team))
    share = teams[0].share if teams else 0.0
    total = min(sum(leak.bits for leak in teams), labels)
    return LeakBudget(total, labels, share, tuple(teams), share > MOST_SHARE, _words(teams, total, labels))


def label_bits(points: PointScores) -> float:
    """What is to be known of the sealed answers, in bits: of detection n times the entropy of the base rate; of
    language tasks a bit for each row.
    """
    if points.task != "detection" or not points.size:
        return float(points.size)
    return points.size * base_rate_cross_entropy(float(points.arrays["poisoned"].mean())) / math.log(2)


def _decision_bits(feedback: Feedback, telling: Telling) -> float:
    if feedback.policy == "bootstrap_ladder":
        level = level_of(feedback, telling.asked)
        return -math.log2(level) if telling.better else -math.log1p(-level) / math.log(2)
    return 1.0 if feedback.policy == "ladder" else 0.0


def _number_bits(feedback: Feedback, metric: Metric, told: Told, best: float | None) -> float:
    """Of one value and the ends of its interval; ``best``: what was told before, which it is at least as good as."""
    if told.value is None:
        return 0.0
    numbers = [number for number in (told.value, told.low, told.high) if number is not None]
    step = step_of(feedback, metric)
    if step is None:
        return _WHOLE_BITS * len(numbers)
    lowest, highest = metric.lowest, _highest(feedback, metric)
    ranges = [(lowest, highest)]
    if best is not None and feedback.policy != "rounded":
        ranges = [(best, highest) if metric.higher_is_better else (lowest, best)]
    if told.low is not None:
        ranges.append((lowest, told.value))
    if told.high is not None:
        ranges.append((told.value, highest))
    return sum(math.log2(1 + max(0.0, high - low) / step) for low, high in ranges)


def _highest(feedback: Feedback, metric: Metric) -> float:
    """The highest value that there is after clipping."""
    if feedback.clip is not None and metric.name == "cross_entropy":
        return -math.log(feedback.clip)
    return metric.highest


def _words(teams: Sequence[TeamLeak], total: float, labels: float) -> str:
    if not teams:
        return "Nothing has been told yet."
    words = (
        f"The labels have {labels:.0f} bits. What one team was told is worth {teams[0].bits:.0f} of them at most "
        f"({100 * teams[0].share:.0f} %), and what all were told together {total:.0f}."
    )
    if teams[0].share <= MOST_SHARE:
        return words
    over = sum(leak.share > MOST_SHARE for leak in teams)
    return (
        f"{words} {over} team{' has' if over == 1 else 's have'} more than {100 * MOST_SHARE:.0f} %: "
        f"final ranks from a private part, or from a holdout, are safe from that; a larger step tells less."
    )
