"""How much has been told of the labels of a sealed split: an upper bound, for the organiser.

What a team was told is a message: for each submission whether it was told anything new, and if so, which numbers. In a
code that was fixed before, in which no message is the beginning of another one, it has so many bits; and whatever has a
chance of p for one fixed submission has one of at most p · 2^bits for a submission that was chosen by what was told
(Dwork and others, "Generalization in adaptive data analysis and holdout reuse", 2015, theorem on description length).
The code:

- whether something new was told, of n submissions for which that was open, k times: nothing, if k = 0; else
  log₂((n + 1) · C(n, k)), the code in which each decision costs −log₂ of Laplace's guess of it from those before. The
  first submission that has a value is told without any decision where there is nothing to compare it with;
- the value that ranks, on a ladder: log₂ of the number of rungs that are still open: from what was told before, or from
  guessing where it has to be better than that, to the best there is;
- its interval, on a ladder: log₂ of the number of widths;
- any other number: log₂ of how many values there are, on its grid or, of an accuracy or area, of so many data points;
  52 bits, the digits of a float, where it is told whole and nothing else is known of it;
- that the j-th submission was the first to reach the goal: log₂(j · (j + 1)); that none has: nothing.

Two more bits pay for saying "nothing" in no bits, once of values and once of the goal; they are not shown. No message
says more than all labels. Ranks and their ranges are not counted: they compare a team with answers that it does not
have.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from palladion.challenge.feedback import Told, half_widths, step_of
from palladion.challenge.metrics import Metric
from palladion.challenge.settings import Feedback
from palladion.scoring import PointScores, base_rate_cross_entropy

__all__ = ["MOST_SHARE", "Labels", "LeakBudget", "TeamLeak", "Telling", "labels_of", "leak_budget", "most_right"]

MOST_SHARE: Final = 0.1
"""Share of the labels' bits beyond which the organiser is warned."""

_WHOLE_BITS: Final = 52.0
_HALVINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Labels:
    """What is to be known of the sealed answers that told values are computed on.

    Attributes:
        points: how many data points, or rows, there are.
        poisoned: how many data points are poisoned; None: they have no such labels.
    """

    points: int
    poisoned: int | None = None

    @property
    def bits(self) -> float:
        """Of detection n times the entropy of the base rate; of language tasks a bit for each row."""
        if self.poisoned is None or not self.points:
            return float(self.points)
        return self.points * _entropy(self.poisoned / self.points)


@dataclass(frozen=True, slots=True)
class Telling:
    """What a team was told of one submission.

    Attributes:
        team: its id.
        better: whether new values were told, and not the best again or nothing.
        values: what was told, by metric, and of single tasks by ``task/metric``.
        scorer: the version of the scorer: what is scored again is told anew from the first submission on.
    """

    team: str
    better: bool
    values: Mapping[str, Told]
    scorer: str = ""


@dataclass(frozen=True, slots=True)
class TeamLeak:
    """What one team was told, at most.

    Attributes:
        team: its id.
        bits: that it was told.
        share: these, of the labels' bits.
        tellings: how often it was told new values.
        submissions: how many were decided on.
    """

    team: str
    bits: float
    share: float
    tellings: int
    submissions: int


@dataclass(frozen=True, slots=True)
class LeakBudget:
    """What was told in a stage, at most.

    Attributes:
        bits: to all teams together.
        labels: bits that the labels have.
        share: of the labels' bits, to the team that was told most.
        teams: all that were decided on, who was told most first.
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
    labels: Labels,
    goals: Mapping[str, int] | None = None,
) -> LeakBudget:
    """How much was told in a stage, at most. No team counts with more than all that there is to know.

    Args:
        feedback: its policy.
        metrics: of the track; the first ranks.
        tellings: of each submission; those of a team, by one version of the scorer, in their order.
        labels: of :func:`labels_of`; of the public part, where told values are computed on one.
        goals: of each team that has reached the goal, with which of its submissions first, from 1 on.
    """
    transcripts: dict[tuple[str, str], _Transcript] = {}
    for telling in tellings:
        transcript = transcripts.setdefault((telling.team, telling.scorer), _Transcript())
        transcript.add(feedback, metrics, labels, telling)
    bits: dict[str, float] = defaultdict(float)
    told: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    for (team, _), transcript in transcripts.items():
        bits[team] += transcript.bits
        told[team] += transcript.told
        asked[team] = max(asked[team], transcript.asked)
    for team, submission in (goals or {}).items():
        bits[team] += _choice_bits(submission, 1)
        asked[team] = max(asked[team], submission)
    whole = labels.bits
    teams = []
    for team, found in bits.items():
        most = min(found, whole)
        teams.append(TeamLeak(team, most, most / whole if whole else 0.0, told[team], asked[team]))
    teams.sort(key=lambda leak: (-leak.bits, leak.team))
    share = teams[0].share if teams else 0.0
    total = min(sum(leak.bits for leak in teams), whole)
    return LeakBudget(total, whole, share, tuple(teams), share > MOST_SHARE, _words(teams, total, labels))


def labels_of(points: PointScores) -> Labels:
    """What is to be known of the answers that these data points were scored by."""
    if points.task != "detection":
        return Labels(points.size)
    return Labels(points.size, int(points.arrays["poisoned"].sum()))


def most_right(labels: Labels, bits: float) -> float | None:
    """The share of labels that can be right, at most and on average, for who is told so many bits of them.

    The rate-distortion function of coin flips (Cover and Thomas, Elements of Information Theory, 2006, theorem 10.3.1):
    who has a share e of the labels wrong was told at least n · (H(base rate) − H(e)) bits.

    Args:
        labels: of which more is unknown than how many are poisoned.
        bits: that are told.

    Returns:
        None where there are no labels of data points.
    """
    if labels.poisoned is None or not labels.points:
        return None
    rest = (labels.bits - bits) / labels.points
    low, high = 0.0, min(labels.poisoned, labels.points - labels.poisoned) / labels.points
    if rest <= 0:
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _entropy(middle) < rest else (low, middle)
    return 1 - high


@dataclass(slots=True)
class _Transcript:
    """What a team was told by one version of the scorer, so far."""

    asked: int = 0
    told: int = 0
    open: int = 0  # of how many it was open whether they are told
    chosen: int = 0  # of these, how many were
    numbers: float = 0.0
    best: float | None = None

    @property
    def bits(self) -> float:
        return _choice_bits(self.open, self.chosen) + self.numbers

    def add(self, feedback: Feedback, metrics: Sequence[Metric], labels: Labels, telling: Telling) -> None:
        ranking = metrics[0]
        if _decides(feedback, ranking, first=not self.told):
            self.open += 1
            self.chosen += telling.better
        self.asked += 1
        self.told += telling.better
        if not telling.better:
            return
        by_name = {metric.name: metric for metric in metrics}
        for name, told in telling.values.items():
            metric = by_name.get(name.rpartition("/")[2])
            if metric is None or told.value is None:
                continue
            ranks = name == ranking.name
            self.numbers += _value_bits(feedback, metric, labels, ranks=ranks, best=self.best)
            self.numbers += _interval_bits(feedback, metric, told)
        value = telling.values.get(ranking.name)
        if value is not None and value.value is not None:
            self.best = value.value


def _decides(feedback: Feedback, metric: Metric, *, first: bool) -> bool:
    """Whether the labels have a say in whether a submission is told, if it has a value."""
    if feedback.policy == "bootstrap_ladder":
        return not first or metric.guess is not None
    return feedback.policy == "ladder" and not first


def _choice_bits(asked: int, told: int) -> float:
    return math.log2((asked + 1) * math.comb(asked, told)) if told else 0.0


def _value_bits(feedback: Feedback, metric: Metric, labels: Labels, *, ranks: bool, best: float | None) -> float:
    """Of one value; ``best``: of the metric that ranks, what was told before."""
    step = step_of(feedback, metric)
    count = _distinct(metric, labels)
    if step is None:
        return min(_WHOLE_BITS, math.inf if count is None else math.log2(count))
    low, high = metric.lowest, _highest(feedback, metric)
    climbs = ranks and feedback.policy in ("ladder", "bootstrap_ladder")
    start = (best if best is not None else _guess(feedback, metric, labels, step)) if climbs else None
    if start is not None:
        low, high = (start, high) if metric.higher_is_better else (low, start)
    rungs = 1 + math.ceil(max(0.0, high - low) / step - 1e-9)
    if climbs and best is not None and feedback.policy == "ladder":
        rungs = max(1, rungs - 1)  # at least one above
    return math.log2(rungs if count is None else min(rungs, count))


def _interval_bits(feedback: Feedback, metric: Metric, told: Told) -> float:
    if told.value is None or told.low is None or told.high is None:
        return 0.0
    step = step_of(feedback, metric)
    if step is None:
        return 2 * _WHOLE_BITS
    widths = half_widths(feedback, metric)
    if feedback.policy in ("ladder", "bootstrap_ladder"):
        return math.log2(len(widths) + 1)
    ranges = (told.value - metric.lowest, _highest(feedback, metric) - told.value)
    return sum(math.log2(1 + math.ceil(max(0.0, size) / step - 1e-9)) for size in ranges)


def _distinct(metric: Metric, labels: Labels) -> int | None:
    """How many values there are of known answers, whatever the labels; None: as many as anybody likes."""
    if labels.poisoned is None:
        return None
    if metric.name == "accuracy":
        return labels.points + 1
    if metric.name == "roc_auc":
        # Of each pair of a poisoned and a clean one it counts whether it is in order, and half of it where it is a tie.
        return 2 * labels.poisoned * (labels.points - labels.poisoned) + 1
    return None


def _guess(feedback: Feedback, metric: Metric, labels: Labels, step: float) -> float | None:
    """The rung of guessing, where the first that is told is better than that."""
    if feedback.policy != "bootstrap_ladder" or metric.guess is None or not labels.poisoned:
        return None
    return round(metric.guess(labels.poisoned / labels.points) / step) * step


def _highest(feedback: Feedback, metric: Metric) -> float:
    """The highest value that there is after clipping."""
    if feedback.clip is not None and metric.name == "cross_entropy":
        return -math.log(feedback.clip)
    return metric.highest


def _entropy(share: float) -> float:
    """Of a coin that falls on one side so often, in bits."""
    return base_rate_cross_entropy(share) / math.log(2)


def _words(teams: Sequence[TeamLeak], total: float, labels: Labels) -> str:
    if not total:
        return "Nothing has been told yet."
    words = (
        f"The labels have {labels.bits:.0f} bits. What one team was told is worth {teams[0].bits:.0f} of them at most "
        f"({100 * teams[0].share:.0f} %), and what all were told together {total:.0f}."
    )
    right = most_right(labels, teams[0].bits)
    if right is not None and labels.poisoned is not None:
        guessed = max(labels.poisoned, labels.points - labels.poisoned) / labels.points
        words += (
            " That may be enough for all of them."
            if right == 1
            else f" By that alone nobody could have more than {100 * right:.0f} % of the labels right on average, "
            f"where guessing has {100 * guessed:.0f} %."
        )
    if teams[0].share <= MOST_SHARE:
        return words
    over = sum(leak.share > MOST_SHARE for leak in teams)
    return (
        f"{words} {over} team{' has' if over == 1 else 's have'} more than {100 * MOST_SHARE:.0f} %: "
        f"final ranks from a private part, or from a holdout, are safe from that; a larger step tells less."
    )
