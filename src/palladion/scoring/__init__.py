"""Every metric, interval and sweep, as pure functions of arrays.

Nothing here reads a file or a clock, and nothing but NumPy is imported. What cannot be scored raises
:class:`palladion.errors.ScoringError`; what is undefined is None.

- :mod:`~palladion.scoring.answers`: what a detector answered, as untrusted data
- :mod:`~palladion.scoring.detection`: cross-entropy, ROC-AUC, Brier score, calibration
- :mod:`~palladion.scoring.detection_scores`: all of these with their intervals in one result
- :mod:`~palladion.scoring.intervals`: NIST's interval of a mean and DeLong's of an AUC
- :mod:`~palladion.scoring.bootstrap`: resamples of clusters, paired comparisons
- :mod:`~palladion.scoring.sweep`: scores at every prevalence
- :mod:`~palladion.scoring.mitigation`: attack success, clean accuracy, task scores, fidelity
"""

from palladion.scoring.answers import UNANSWERED_PROBABILITY, Answers, AnswerStatus, parse_answer
from palladion.scoring.bootstrap import Bootstrap, PairedDifference
from palladion.scoring.detection import (
    EPSILON,
    ReliabilityBin,
    RocCurve,
    accuracy,
    base_rate_cross_entropy,
    brier_score,
    cross_entropy,
    expected_calibration_error,
    mean_cross_entropy,
    reliability_table,
    roc_auc,
    roc_curve,
    share_of_distance_closed,
    squared_error,
    success_target,
)
from palladion.scoring.detection_scores import DetectionScores, score_detection
from palladion.scoring.intervals import Interval, delong_interval, delong_variance, normal_interval
from palladion.scoring.mitigation import (
    MISSING_LABEL,
    AttackRate,
    AttackSuccess,
    Fidelity,
    attack_success_rate,
    clean_accuracy,
    difference_score,
    fidelity,
    label_attack_success_rate,
    overall_score,
    task_score,
)
from palladion.scoring.sweep import PrevalenceSweep, prevalence_sweep, subset_sizes

__all__ = [
    "EPSILON",
    "MISSING_LABEL",
    "UNANSWERED_PROBABILITY",
    "AnswerStatus",
    "Answers",
    "AttackRate",
    "AttackSuccess",
    "Bootstrap",
    "DetectionScores",
    "Fidelity",
    "Interval",
    "PairedDifference",
    "PrevalenceSweep",
    "ReliabilityBin",
    "RocCurve",
    "accuracy",
    "attack_success_rate",
    "base_rate_cross_entropy",
    "brier_score",
    "clean_accuracy",
    "cross_entropy",
    "delong_interval",
    "delong_variance",
    "difference_score",
    "expected_calibration_error",
    "fidelity",
    "label_attack_success_rate",
    "mean_cross_entropy",
    "normal_interval",
    "overall_score",
    "parse_answer",
    "prevalence_sweep",
    "reliability_table",
    "roc_auc",
    "roc_curve",
    "score_detection",
    "share_of_distance_closed",
    "squared_error",
    "subset_sizes",
    "success_target",
    "task_score",
]
