"""A sealed split that answers submissions by a feedback policy, and attackers who want to read its labels off."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from palladion.challenge import Feedback, Metric, Told, decide_telling, metric_of, tell, tell_again
from palladion.scoring import PointScores, improvement_p_value, metric_interval, metric_value, roc_auc

__all__ = ["Split", "balanced", "bet", "boost", "climb", "decode", "detector", "read_off", "successors"]

Floats = NDArray[np.float64]


@dataclass
class Split:
    """Sealed labels, and all that a team is told of its submissions, in their order.

    Attributes:
        labels: booleans.
        feedback: the policy.
        metrics: names; the first ranks.
        intervals: whether intervals are computed, which takes most of the time.
    """

    labels: NDArray[np.bool_]
    feedback: Feedback
    metrics: tuple[str, ...] = ("cross_entropy",)
    intervals: bool = False
    asked: int = 0
    tellings: int = 0
    told: dict[str, Told] = field(default_factory=dict)
    best: PointScores | None = None

    def submit(self, probability: Floats) -> tuple[bool, dict[str, Told]]:
        """What comes back: whether it was told as new, and what of each metric."""
        n = self.labels.size
        arrays = {"probability": probability, "poisoned": self.labels, "cluster": np.arange(n)}
        points = PointScores("detection", arrays).clipped(self.feedback.clip)
        ranking = self.metric(self.metrics[0])
        p_value = None
        if self.feedback.policy == "bootstrap_ladder":
            # Fewer signs than usual, so that it is quick: p-values below a thousandth are bounds.
            p_value = improvement_p_value(
                points, self.best, ranking.name, higher_is_better=ranking.higher_is_better, replicates=1000
            )
        before = self.told.get(ranking.name)
        value = metric_value(points, ranking.name)
        best = None if before is None else before.value
        decision = decide_telling(self.feedback, ranking, value, best, p_value, self.asked)
        self.asked += 1
        told = {}
        for name in self.metrics:
            if not decision.told:
                told[name] = tell_again(self.told.get(name), decision)
                continue
            interval = metric_interval(points, name, replicates=30) if self.intervals else None
            told[name] = tell(self.feedback, self.metric(name), metric_value(points, name), interval)
        if decision.told:
            self.tellings += 1
            self.told, self.best = told, points
        return decision.told, told

    def auc(self, probability: Floats) -> float:
        """The area that somebody's last answers really have, over the same labels."""
        area = roc_auc(probability, self.labels)
        assert area is not None
        return area

    @staticmethod
    def metric(name: str) -> Metric:
        return metric_of("detection", name)


def balanced(n: int, rng: np.random.Generator, prevalence: float = 0.5) -> NDArray[np.bool_]:
    """Labels of which half, or another share, are poisoned."""
    return rng.permutation(np.arange(n) < round(n * prevalence))


def logit(p: Floats) -> Floats:
    return np.log(p) - np.log1p(-p)


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def detector(labels: NDArray[np.bool_], shift: float, rng: np.random.Generator) -> Floats:
    """The calibrated answers of an honest detector: two normal distributions, ``shift`` standard deviations apart. Its
    area under the ROC curve is Φ(shift / √2).
    """
    evidence = rng.standard_normal(labels.size) + shift * np.where(labels, 0.5, -0.5)
    return sigmoid(shift * evidence)


def successors(labels: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two honest detectors of areas around 0.75 and 0.9, the second made from the first: some of what leads the one
    astray leads the other astray, too.
    """
    truth, noise = np.where(labels, 0.5, -0.5), rng.standard_normal((2, labels.size))
    weak, good = 0.954, 1.812
    before = weak * (0.5 * noise[1] + 0.75**0.5 * noise[0] + weak * truth)
    return sigmoid(before), sigmoid(good * (noise[1] + good * truth))


def boost(split: Split, submissions: int, rng: np.random.Generator, *, start: Floats | None = None) -> Floats:
    """Random changes, each weighted by how good the told value was beside the mean of all: boosting by majority (Blum
    and Hardt, 2015, section 4.1) with weights in place of votes.
    """
    n = split.labels.size
    base = np.zeros(n) if start is None else logit(start)
    probes = rng.choice([-1.0, 1.0], size=(submissions, n))
    merits: list[float] = []
    metric = split.metric(split.metrics[0])
    for probe in probes:
        _, told = split.submit(sigmoid(base + probe))
        value = told[metric.name].value
        merits.append(np.nan if value is None else metric.merit(value))
    found = np.array(merits)
    if np.isnan(found).all():
        return sigmoid(base + rng.choice([-1.0, 1.0], size=n))
    weights = np.nan_to_num(found - np.nanmean(found))
    direction = weights @ probes
    # In the scale of one probe, so that it does not drown what was known before.
    return sigmoid(base + 2 * direction / max(1e-12, float(np.abs(direction).max())) + 1e-9 * rng.random(n))


def climb(
    split: Split, submissions: int, rng: np.random.Generator, *, start: Floats | None = None, changed: float = 0.1
) -> Floats:
    """Hill climbing: change some answers, and keep the change where the told value says that it is better."""
    n = split.labels.size
    now = rng.choice([-1.0, 1.0], size=n) if start is None else logit(start)
    metric = split.metric(split.metrics[0])
    best: float | None = None
    for number in range(submissions):
        tried = now.copy()
        if number:
            some = rng.random(n) < changed
            tried[some] = (
                rng.choice([-1.0, 1.0], size=int(some.sum()))
                if start is None
                else (now[some] + rng.choice([-1.0, 1.0], size=int(some.sum())))
            )
        _, told = split.submit(sigmoid(tried))
        value = told[metric.name].value
        if value is not None and (best is None or metric.is_better(value, best)):
            best, now = value, tried
    return sigmoid(now)


def decode(
    split: Split,
    submissions: int,
    rng: np.random.Generator,
    *,
    start: Floats | None = None,
    size: float = 2.0,
    growth: int = 1,
) -> Floats:
    """The strongest: reads every told number as a sum over labels, and takes what is most likely given all of them.

    Cross-entropy, Brier score, accuracy and, where it is known how many are poisoned, the area under the ROC curve are
    sums of one number a label, up to rounding. With what was known before as a prior, the most likely labels given so
    many rounded sums follow from one system of linear equations. Middles of intervals are read as values once more.

    Args:
        start: the probabilities that are known before; 0.5 by default.
        size: of the random changes, in units of a logit.
        growth: what is known before is handed in little by little over so many submissions, so that there is progress,
            and something is told, again and again.
    """
    n = split.labels.size
    prior = np.full(n, 0.5) if start is None else start
    rows: list[Floats] = []
    rests: list[float] = []
    noise: list[float] = []
    for number in range(submissions):
        share = min(1.0, (number + 1) / growth)
        guess = sigmoid(share * logit(prior) + size * rng.choice([-1.0, 1.0], size=n) * (number > 0 or growth == 1))
        new, told = split.submit(guess)
        if not new:
            continue
        p = guess if split.feedback.clip is None else np.clip(guess, split.feedback.clip, 1 - split.feedback.clip)
        _, group, count = np.unique(p, return_inverse=True, return_counts=True)
        midrank = (np.cumsum(count) - (count - 1) / 2)[group]
        positives = n // 2
        pairs = positives * (n - positives)
        sums = {
            "cross_entropy": (-np.log1p(-p), -logit(p)),
            "brier": (p * p, 1 - 2 * p),
            "accuracy": ((p <= 0.5).astype(float), np.where(p > 0.5, 1.0, -1.0)),
            "roc_auc": (np.full(n, -positives * (positives + 1) / 2 / pairs), midrank * n / pairs),
        }
        for name, (fixed, slope) in sums.items():
            if name not in told:
                continue
            reading = told[name]
            assert reading.value is not None
            step = _step(split.feedback)
            readings = [(reading.value, step**2 / 12)]
            if reading.low is not None and reading.high is not None:
                middle = (reading.low + reading.high) / 2
                readings.append((middle, step**2 / 4 + (0.1 * (reading.high - reading.low)) ** 2))
            for value, variance in readings:
                rows.append(slope / n)
                rests.append(value - float(fixed.mean()) - float(slope @ prior) / n)
                noise.append(variance + 1e-14)
    if not rows:
        return prior + 1e-9 * rng.random(n)
    a, rest = np.array(rows), np.array(rests)
    spread = prior * (1 - prior)
    learnt = spread * (a.T @ np.linalg.solve(a * spread @ a.T + np.diag(noise), rest))
    return np.clip(prior + learnt + 1e-9 * rng.random(n), 0, 1)


def bet(
    split: Split,
    submissions: int,
    rng: np.random.Generator,
    *,
    start: Floats | None = None,
    luck: float = 0.3,
    hidden: float = 1.0,
) -> Floats:
    """Says of some data points what they probably are, and nearly certainly: so few that all of it is right with a
    chance of ``luck``. What is told to be better is right then, and what is not is doubtful.

    Args:
        start: the probabilities that are known before; the base rate by default.
        luck: the chance that a bet is won.
        hidden: the share of what is known that is handed in at first; less than 1 leaves something to win with.
    """
    n = split.labels.size
    known = np.full(n, float(split.labels.mean())) if start is None else start
    side = known > 0.5
    right = np.where(side, known, 1 - known)
    now = sigmoid(hidden * logit(known))
    metric = split.metric(split.metrics[0])
    best = split.submit(now)[1][metric.name].value
    lost, won = np.zeros(n), np.zeros(n, dtype=np.bool_)
    for _ in range(submissions - 1):
        order = rng.permutation(np.flatnonzero(~won & (right < 0.999)))
        chances = np.cumprod(right[order])
        some = order[: max(1, int((chances >= luck).sum()))]
        tried = now.copy()
        tried[some] = np.where(side[some], 0.99, 0.01)
        value = split.submit(tried)[1][metric.name].value
        if value is not None and (best is None or metric.is_better(value, best)):
            best, now, won[some] = value, tried, True
        else:
            # One of them is wrong, each as probably as it was wrong before, beside all of them.
            lost[some] += (1 - right[some]) / (1 - float(np.prod(right[some])))
    # Who never wins has learnt nothing from losing.
    doubt = np.log(right) - np.log1p(-right) - (lost if won.any() else 0.0) + 10.0 * won
    return sigmoid(np.where(side, doubt, -doubt) + 1e-9 * rng.random(n))


def read_off(split: Split, submissions: int) -> NDArray[np.bool_]:
    """Labels read off the digits of a cross-entropy, a block at a time (Whitehill, 2017, arXiv 1707.01825).

    Outside a block the answer is 0.5, which costs ln 2 whatever the label. Within it, the j-th label adds 2ʲ units or
    nothing: the sum, counted in units, is the block in binary. The unit is one and a half of what is resolved, so that
    rounding changes no bit.
    """
    n = split.labels.size
    block = -(-n // submissions)
    unit = 1.5 * n * 1e-5
    read = np.zeros(n, dtype=np.bool_)
    rng = np.random.default_rng(0)
    for start in range(0, n, block):
        size = min(block, n - start)
        guess = np.full(n, 0.5)
        guess[start : start + size] = sigmoid(-unit * 2.0 ** np.arange(size, dtype=np.float64))
        new, told = split.submit(guess)
        if not new:
            read[start : start + size] = rng.random(size) < 0.5
            continue
        units = (n * float(told["cross_entropy"].text) + float(np.log1p(-guess).sum())) / unit
        count = min(max(round(units), 0), 2**size - 1)
        read[start : start + size] = [bool(count >> bit & 1) for bit in range(size)]
    return read


def _step(feedback: Feedback) -> float:
    if feedback.policy == "exact":
        return 0.0
    if feedback.policy == "rounded":
        return 10.0 ** -(feedback.digits or 0)
    return feedback.step or 0.01
