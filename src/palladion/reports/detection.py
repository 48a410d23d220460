"""The report of a detection evaluation: metrics and outcomes, as JSON can hold them."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

__all__ = ["detection_report"]


def detection_report(
    outcomes: Sequence[Mapping[str, Any]],
    poisoned: Sequence[bool],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score outcomes against the truth.

    Args:
        outcomes: one a data point, with the keys ``probability`` (None where there is none) and ``status``.
        poisoned: the truth, in the same order.
        clusters: the cluster of each data point for the bootstrap; each is one of its own by default.
        seed: of the bootstrap.

    Returns:
        ``metrics``: see :class:`palladion.scoring.DetectionScores`. ``outcomes``: as they were given, and of each
        the truth (``poisoned``) and the ``cross_entropy``, in nats.

    Raises:
        ScoringError: there are none, or the clusters do not fit.
    """
    import numpy as np

    from palladion.scoring import UNANSWERED_PROBABILITY, Answers, AnswerStatus, cross_entropy, score_detection

    statuses = tuple(AnswerStatus(outcome["status"]) for outcome in outcomes)
    numbers = [
        UNANSWERED_PROBABILITY if outcome["probability"] is None else float(outcome["probability"])
        for outcome in outcomes
    ]
    answers = Answers(np.array(numbers, dtype=np.float64), statuses)
    metrics = score_detection(answers, list(poisoned), clusters=clusters, seed=seed).to_dict()
    entropies = cross_entropy(answers.probability, list(poisoned)).tolist()
    return {
        "metrics": metrics,
        "outcomes": [
            {**outcome, "poisoned": bool(truth), "cross_entropy": entropy}
            for outcome, truth, entropy in zip(outcomes, poisoned, entropies, strict=True)
        ],
    }
