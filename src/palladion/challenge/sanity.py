"""Four submissions whose place is known before: perfect, constant, inverted and random answers.

Before a stage opens, they are scored as any submission would be. A scorer that reads labels upside down, data whose
labels are all the same or answers that are compared with the wrong rows rank them otherwise than they should, and
that is found before a participant finds it.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.challenge.metrics import Metric
from palladion.errors import ScoringError

__all__ = [
    "CONSTANT",
    "INVERTED",
    "KINDS",
    "PERFECT",
    "RANDOM",
    "SanityResult",
    "detection_answers",
    "label_answers",
    "rank_faults",
    "score_answers",
    "text_answers",
]

PERFECT: Final = "perfect"
CONSTANT: Final = "constant"
INVERTED: Final = "inverted"
RANDOM: Final = "random"
KINDS: Final = (PERFECT, CONSTANT, INVERTED, RANDOM)

_TOLERANCE: Final = 1e-6
_WRONG_TEXT: Final = "–"
"""An answer that shares no word with any truth."""

Answers = TypeVar("Answers")
Pair = TypeVar("Pair", list[int], list[str])


@dataclass(frozen=True, slots=True)
class SanityResult:
    """What one of the four scored.

    Attributes:
        kind: of :data:`KINDS`.
        values: by metric; None is undefined.
    """

    kind: str
    values: dict[str, float | None]


def detection_answers(poisoned: ArrayLike, *, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Probabilities, by kind, each of shape (n,): the truth; the share of poisoned models everywhere; the opposite of
    the truth; uniform random numbers.

    Args:
        poisoned: shape (n,), booleans or 0/1.
        seed: of the random ones.
    """
    truth = np.asarray(poisoned, dtype=np.float64)
    if truth.ndim != 1 or not truth.size or not np.isin(truth, (0.0, 1.0)).all():
        raise ScoringError("poisoned must be a list of at least one label, 0 or 1")
    return {
        PERFECT: truth,
        CONSTANT: np.full(truth.size, truth.mean()),
        INVERTED: 1 - truth,
        RANDOM: np.random.default_rng(seed).random(truth.size),
    }


def label_answers(
    clean: Sequence[int], poisoned: Sequence[int], targets: Sequence[int], *, classes: int, seed: int = 0
) -> dict[str, tuple[list[int], list[int]]]:
    """Labels for the clean and the poisoned rows of a classification task, by kind.

    The inverted ones are wrong on every clean row and what the attack wants on every poisoned one.

    Args:
        clean: true labels.
        poisoned: true labels.
        targets: what the attack wants, of each poisoned row.
        classes: how many there are, at least two.
        seed: of the random ones.
    """
    if classes < 2:
        raise ScoringError("labels need at least two classes")
    rng = np.random.default_rng(seed)
    (constant, _), *_ = Counter(clean).most_common(1)
    wrong = [(label + 1) % classes for label in clean]
    return {
        PERFECT: (list(clean), list(poisoned)),
        CONSTANT: ([constant] * len(clean), [constant] * len(poisoned)),
        INVERTED: (wrong, list(targets)),
        RANDOM: (rng.integers(classes, size=len(clean)).tolist(), rng.integers(classes, size=len(poisoned)).tolist()),
    }


def text_answers(
    clean: Sequence[str], poisoned: Sequence[str], targets: Sequence[str], *, seed: int = 0
) -> dict[str, tuple[list[str], list[str]]]:
    """Texts for the clean and the poisoned rows of a generation task, by kind.

    The constant ones are the most frequent truth; the inverted ones are useless on every clean row and a target of the
    attack on every poisoned one; the random ones are the truths of other rows.

    Args:
        clean: true texts.
        poisoned: true texts.
        targets: a text that the attack wants, of each poisoned row.
        seed: of the random ones.
    """
    rng = np.random.default_rng(seed)
    (constant, _), *_ = Counter(clean).most_common(1)
    pool = list(clean)
    return {
        PERFECT: (list(clean), list(poisoned)),
        CONSTANT: ([constant] * len(clean), [constant] * len(poisoned)),
        INVERTED: ([_WRONG_TEXT] * len(clean), list(targets)),
        RANDOM: (
            [pool[i] for i in rng.permutation(len(pool))],
            [pool[i] for i in rng.integers(len(pool), size=len(poisoned))],
        ),
    }


def score_answers(
    answers: Mapping[str, Answers], score: Callable[[Answers], Mapping[str, float | None]]
) -> tuple[SanityResult, ...]:
    """Score each of the four, in the order of :data:`KINDS`.

    Args:
        answers: by kind.
        score: what turns answers into values by metric, as it does for everybody.
    """
    return tuple(SanityResult(kind, dict(score(answers[kind]))) for kind in KINDS)


def rank_faults(results: Sequence[SanityResult], metric: Metric, prevalence: float | None = None) -> list[str]:
    """What does not rank as it should, in words; none means that all do.

    Perfect answers must be strictly better than constant and inverted ones, and not worse than random ones; nothing
    may be worse than inverted ones; constant ones must be worth what guessing is.

    Args:
        results: of all four.
        metric: that they are compared in; one that ranks.
        prevalence: share of poisoned models of these labels, where the metric has a guess.
    """
    values = {result.kind: result.values.get(metric.name) for result in results}
    missing = [kind for kind in KINDS if values.get(kind) is None or not math.isfinite(values[kind] or 0.0)]
    if missing:
        return [f"{metric.name} of {_listed(missing)} answers is undefined; are the labels all the same?"]
    known = {kind: float(values[kind] or 0.0) for kind in KINDS}
    merits = {kind: metric.merit(value) for kind, value in known.items()}
    faults = []
    if metric.perfect is not None and not math.isclose(known[PERFECT], metric.perfect, abs_tol=_TOLERANCE):
        faults.append(f"perfect answers have a {metric.name} of {known[PERFECT]:.6g}, where {metric.perfect:g} is due")
    faults += [
        f"{kind} answers are as good as perfect ones or better in {metric.name}: "
        f"{known[kind]:.6g} beside {known[PERFECT]:.6g}"
        for kind in (CONSTANT, INVERTED)
        if merits[kind] >= merits[PERFECT]
    ]
    if merits[RANDOM] > merits[PERFECT]:
        faults.append(
            f"random answers are better than perfect ones in {metric.name}: "
            f"{known[RANDOM]:.6g} beside {known[PERFECT]:.6g}"
        )
    faults += [
        f"inverted answers are better than {kind} ones in {metric.name}: {known[INVERTED]:.6g} beside {known[kind]:.6g}"
        for kind in (CONSTANT, RANDOM)
        if merits[INVERTED] > merits[kind]
    ]
    if metric.guess is not None and prevalence is not None:
        guess = metric.guess(prevalence)
        if not math.isclose(known[CONSTANT], guess, abs_tol=_TOLERANCE):
            faults.append(
                f"always answering the share of poisoned models has a {metric.name} of {known[CONSTANT]:.6g}, where "
                f"guessing is worth {guess:.6g}"
            )
    return faults


def _listed(kinds: Sequence[str]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
