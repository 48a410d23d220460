"""All detection scores of one submission, with their intervals, in one result."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.scoring.answers import Answers
from palladion.scoring.arrays import as_labels
from palladion.scoring.bootstrap import Bootstrap
from palladion.scoring.detection import (
    accuracy,
    base_rate_cross_entropy,
    cross_entropy,
    expected_calibration_error,
    roc_auc,
    share_of_distance_closed,
    squared_error,
    success_target,
)
from palladion.scoring.intervals import Interval, delong_interval, normal_interval
from palladion.scoring.mitigation_intervals import wilson_interval

__all__ = ["DetectionScores", "score_detection"]


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """The scores of one submission in one round.

    Cross-entropies are in nats, everything else but the counts is a share in [0, 1]. What is undefined
    (because one class is absent) is None.

    Attributes:
        n: data points.
        poisoned: poisoned data points among them.
        prevalence: poisoned / n.
        cross_entropy: mean cross-entropy, lower is better.
        cross_entropy_interval: bootstrap percentile interval.
        cross_entropy_interval_nist: NIST's normal interval.
        roc_auc: area under the ROC curve.
        roc_auc_interval: DeLong's interval.
        roc_auc_interval_bootstrap: bootstrap percentile interval.
        brier: mean squared error.
        brier_interval: bootstrap percentile interval.
        accuracy: share right, poisoned meaning probability > 0.5.
        accuracy_interval: see :func:`accuracy_interval`.
        expected_calibration_error: over ten bins of equal width.
        success_target: half the cross-entropy of guessing the base rate.
        base_rate_cross_entropy: cross-entropy of guessing the base rate.
        share_of_distance_closed: 0 at guessing, 0.5 at the target, 1 at perfection.
        reached: whether the cross-entropy is at or below the target.
        missing: data points without a probability, scored as 0.5.
        out_of_range: answers outside [0, 1], scored as 0.5.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        confidence: of every interval.
        clusters: how many clusters were drawn among; None where each data point was a unit.
    """

    n: int
    poisoned: int
    prevalence: float
    cross_entropy: float
    cross_entropy_interval: Interval
    cross_entropy_interval_nist: Interval
    roc_auc: float | None
    roc_auc_interval: Interval | None
    roc_auc_interval_bootstrap: Interval | None
    brier: float
    brier_interval: Interval
    accuracy: float
    accuracy_interval: Interval
    expected_calibration_error: float
    success_target: float
    base_rate_cross_entropy: float
    share_of_distance_closed: float | None
    reached: bool | None
    missing: int
    out_of_range: int
    replicates: int
    seed: int
    confidence: float
    clusters: int | None

    def to_dict(self) -> dict[str, object]:
        """The scores as JSON can hold them: intervals as [low, high], None where undefined, no NaN."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(v) if isinstance(v, Interval) else v for name, v in values.items()}


def score_detection(
    answers: Answers,
    poisoned: ArrayLike,
    *,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> DetectionScores:
    """Score the answers of one submission against the truth.

    Args:
        answers: n answers.
        poisoned: shape (n,), booleans or 0/1, in the same order.
        clusters: the cluster of each data point for the bootstrap; see :class:`Bootstrap`.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        confidence: of every interval.

    Raises:
        ScoringError: for lengths that differ, no data points, or bad labels, clusters or options.
    """
    y = as_labels(poisoned, length=len(answers) or None)
    p = answers.probability
    entropies = cross_entropy(p, y)
    errors = squared_error(p, y)
    mean_ce = float(entropies.mean())
    positives = int(y.sum())
    prevalence = positives / y.size
    share = share_of_distance_closed(mean_ce, prevalence)
    target = success_target(prevalence)
    plan = Bootstrap(y, clusters=clusters, replicates=replicates, seed=seed)
    aucs = plan.aucs(p)
    return DetectionScores(
        n=y.size,
        poisoned=positives,
        prevalence=prevalence,
        cross_entropy=mean_ce,
        cross_entropy_interval=plan.interval(plan.means(entropies), confidence=confidence),
        cross_entropy_interval_nist=normal_interval(entropies, confidence=confidence),
        roc_auc=roc_auc(p, y),
        roc_auc_interval=delong_interval(p, y, confidence=confidence),
        roc_auc_interval_bootstrap=None if aucs is None else plan.interval(aucs, confidence=confidence),
        brier=float(errors.mean()),
        brier_interval=plan.interval(plan.means(errors), confidence=confidence),
        accuracy=accuracy(p, y),
        accuracy_interval=accuracy_interval((p > 0.5) == y, plan, confidence=confidence),
        expected_calibration_error=expected_calibration_error(p, y),
        success_target=target,
        base_rate_cross_entropy=base_rate_cross_entropy(prevalence),
        share_of_distance_closed=share,
        # With one class alone there is nothing to detect and no target to reach.
        reached=None if share is None else mean_ce <= target,
        missing=answers.missing,
        out_of_range=answers.out_of_range,
        replicates=plan.replicates,
        seed=plan.seed,
        confidence=confidence,
        clusters=plan.units if plan.clustered else None,
    )


def accuracy_interval(right: NDArray[np.bool_], plan: Bootstrap, *, confidence: float = 0.95) -> Interval:
    """The interval of the share of data points that were answered rightly.

    Wilson's, which has a width where all are right; of clusters, the percentiles of their resamples.

    Args:
        right: shape (n,).
        plan: of resamples of these data points.
        confidence: of the interval.
    """
    if plan.clustered and plan.units < right.size:
        return plan.interval(plan.means(right.astype(np.float64)), confidence=confidence)
    low, high = wilson_interval(int(right.sum()), right.size, confidence=confidence)
    return Interval(low / 100, high / 100)
