"""What a challenge is, as pure functions: no database, no file but the challenge file itself, and no clock.

``now`` is always an argument, an aware time in UTC.

- :mod:`~palladion.challenge.definition`: ``challenge.yaml``
- :mod:`~palladion.challenge.templates`: challenge files to begin with
- :mod:`~palladion.challenge.metrics`: what submissions are measured by
- :mod:`~palladion.challenge.success`: guessing, goals and the distance to them
- :mod:`~palladion.challenge.lifecycle`: states of a stage, what is due, the steps of a conclusion
- :mod:`~palladion.challenge.quotas`: whether a team may submit once more, and when
- :mod:`~palladion.challenge.ranking`: the order of a leaderboard
- :mod:`~palladion.challenge.feedback`: how much of a value is told
- :mod:`~palladion.challenge.parts`: the public and the private part of a split
- :mod:`~palladion.challenge.leaks`: how much was told of the labels
- :mod:`~palladion.challenge.visibility`: who may see what
- :mod:`~palladion.challenge.permissions`: who may ask for what
- :mod:`~palladion.challenge.sanity`: answers whose place is known before
"""

from palladion.challenge.definition import (
    CHALLENGE_FILE,
    Challenge,
    Track,
    challenge_path,
    challenge_schema,
    load_challenge,
    parse_challenge,
)
from palladion.challenge.feedback import Told, decide_telling, policy_words, tell, tell_again, tell_concluded, tells_all
from palladion.challenge.leaks import Labels, LeakBudget, TeamLeak, Telling, labels_of, leak_budget, most_right
from palladion.challenge.lifecycle import STEPS, Action, Due, StageState, StageStatus, Step, due, next_step
from palladion.challenge.metrics import METRICS, Metric, detection_values, language_values, metric_of, metrics_of
from palladion.challenge.parts import part_masks, private_masks, public_mask
from palladion.challenge.permissions import ACTIONS, Role, Scope, allowed, denial
from palladion.challenge.quotas import Allowed, Decision, Earlier, Ending, Refused, decide, usage_words
from palladion.challenge.ranking import Entry, Ranked, best_of_each_team, rank
from palladion.challenge.settings import Advance, Feedback, Limits, Quota, Quotas, Registration, SubmissionRule, Teams
from palladion.challenge.stages import Stage
from palladion.challenge.success import distance_to_goal, goal_value, guess_value, reached
from palladion.challenge.visibility import Asked, Full, Hidden, Kind, Shown, Viewer, visibility

__all__ = [
    "ACTIONS",
    "CHALLENGE_FILE",
    "METRICS",
    "STEPS",
    "Action",
    "Advance",
    "Allowed",
    "Asked",
    "Challenge",
    "Decision",
    "Due",
    "Earlier",
    "Ending",
    "Entry",
    "Feedback",
    "Full",
    "Hidden",
    "Kind",
    "Labels",
    "LeakBudget",
    "Limits",
    "Metric",
    "Quota",
    "Quotas",
    "Ranked",
    "Refused",
    "Registration",
    "Role",
    "Scope",
    "Shown",
    "Stage",
    "StageState",
    "StageStatus",
    "Step",
    "SubmissionRule",
    "TeamLeak",
    "Teams",
    "Telling",
    "Told",
    "Track",
    "Viewer",
    "allowed",
    "best_of_each_team",
    "challenge_path",
    "challenge_schema",
    "decide",
    "decide_telling",
    "denial",
    "detection_values",
    "distance_to_goal",
    "due",
    "goal_value",
    "guess_value",
    "labels_of",
    "language_values",
    "leak_budget",
    "load_challenge",
    "metric_of",
    "metrics_of",
    "most_right",
    "next_step",
    "parse_challenge",
    "part_masks",
    "policy_words",
    "private_masks",
    "public_mask",
    "rank",
    "reached",
    "tell",
    "tell_again",
    "tell_concluded",
    "tells_all",
    "usage_words",
    "visibility",
]
