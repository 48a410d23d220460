"""Every metric, interval and sweep, as pure functions of arrays.

Nothing here reads a file, and nothing but NumPy is imported before it is needed. What cannot be scored raises
:class:`palladion.errors.ScoringError`; what is undefined is None.

- :mod:`~palladion.scoring.answers`: what a detector answered, as untrusted data
- :mod:`~palladion.scoring.detection`: cross-entropy, ROC-AUC, Brier score, calibration
- :mod:`~palladion.scoring.detection_scores`: all of these with their intervals in one result
- :mod:`~palladion.scoring.intervals`: NIST's interval of a mean and DeLong's of an AUC
- :mod:`~palladion.scoring.bootstrap`: resamples of clusters, paired comparisons
- :mod:`~palladion.scoring.sweep`: scores at every prevalence
- :mod:`~palladion.scoring.point_scores`: what a submission scored on each data point
- :mod:`~palladion.scoring.paired`: several submissions on the same resamples
- :mod:`~palladion.scoring.rank_ranges`: how far ranks are certain
- :mod:`~palladion.scoring.improvement`: whether one submission is better than another by more than chance
- :mod:`~palladion.scoring.mitigation`: attack success, clean accuracy, task scores, fidelity
- :mod:`~palladion.scoring.mitigation_intervals`: the intervals of these
- :mod:`~palladion.scoring.texts`: generated texts beside their ground truth
- :mod:`~palladion.scoring.matching`: whether a generated text is what an attack wants
- :mod:`~palladion.scoring.degenerate`: generated texts that are no answers
"""

from palladion.scoring.answers import UNANSWERED_PROBABILITY, Answers, AnswerStatus, parse_answer
from palladion.scoring.bootstrap import Bootstrap, PairedDifference
from palladion.scoring.degenerate import DegenerateKind, degenerate_kind
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
from palladion.scoring.improvement import improvement_p_value
from palladion.scoring.intervals import Interval, delong_interval, delong_variance, normal_interval
from palladion.scoring.matching import Matcher, MatchingRule, SearchTime
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
from palladion.scoring.mitigation_intervals import (
    MitigationIntervals,
    mean_interval,
    mitigation_intervals,
    wilson_interval,
)
from palladion.scoring.paired import metric_interval, paired_draws
from palladion.scoring.point_scores import PointScores, metric_value
from palladion.scoring.rank_ranges import RankRange, rank_ranges
from palladion.scoring.sweep import PrevalenceSweep, prevalence_sweep, subset_sizes
from palladion.scoring.texts import (
    MOST_CHARACTERS,
    UTILITIES,
    bleu,
    chrf,
    exact_match,
    rouge_l,
    text_scores,
    token_f1,
    utility_signature,
)

__all__ = [
    "EPSILON",
    "MISSING_LABEL",
    "MOST_CHARACTERS",
    "UNANSWERED_PROBABILITY",
    "UTILITIES",
    "AnswerStatus",
    "Answers",
    "AttackRate",
    "AttackSuccess",
    "Bootstrap",
    "DegenerateKind",
    "DetectionScores",
    "Fidelity",
    "Interval",
    "Matcher",
    "MatchingRule",
    "MitigationIntervals",
    "PairedDifference",
    "PointScores",
    "PrevalenceSweep",
    "RankRange",
    "ReliabilityBin",
    "RocCurve",
    "SearchTime",
    "accuracy",
    "attack_success_rate",
    "base_rate_cross_entropy",
    "bleu",
    "brier_score",
    "chrf",
    "clean_accuracy",
    "cross_entropy",
    "degenerate_kind",
    "delong_interval",
    "delong_variance",
    "difference_score",
    "exact_match",
    "expected_calibration_error",
    "fidelity",
    "improvement_p_value",
    "label_attack_success_rate",
    "mean_cross_entropy",
    "mean_interval",
    "metric_interval",
    "metric_value",
    "mitigation_intervals",
    "normal_interval",
    "overall_score",
    "paired_draws",
    "parse_answer",
    "prevalence_sweep",
    "rank_ranges",
    "reliability_table",
    "roc_auc",
    "roc_curve",
    "rouge_l",
    "score_detection",
    "share_of_distance_closed",
    "squared_error",
    "subset_sizes",
    "success_target",
    "task_score",
    "text_scores",
    "token_f1",
    "utility_signature",
    "wilson_interval",
]
