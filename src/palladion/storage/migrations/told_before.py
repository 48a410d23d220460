"""What was told of scores by the versions of Palladion that kept no record of it: as they told it, and no more.

They decided anew at every look, by the policy of the track, ``exact`` where it named none. What stands here does not
change when policies do.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

__all__ = ["Score", "tellings"]

_EXACT_DIGITS, _ROUNDED_DIGITS = 4, 3
_MOST_DIGITS: Final = 12
_LESS_IS_BETTER: Final = frozenset({"cross_entropy", "brier", "expected_calibration_error", "asr", "degenerate_rate"})
_BORDERS: Final = {
    "cross_entropy": (0.0, -math.log(1e-12)),
    "overall": (-100.0, 100.0),
    **dict.fromkeys(("roc_auc", "brier", "accuracy", "expected_calibration_error"), (0.0, 1.0)),
    **dict.fromkeys(("cacc", "utility", "asr", "degenerate_rate"), (0.0, 100.0)),
}


@dataclass(frozen=True, slots=True)
class Score:
    """A score of a sealed split, as it was.

    Attributes:
        evaluation_id: of which evaluation.
        team_id: of whose submission.
        task: empty where it is of the whole.
        metric: its name.
        value: the score.
        low, high: its interval.
    """

    evaluation_id: str
    team_id: str
    task: str
    metric: str
    value: float
    low: float | None
    high: float | None


def tellings(definition: str, track: str, scores: Iterable[Score]) -> Iterator[dict[str, Any]]:
    """The rows of the table of tellings that these scores were told as.

    Args:
        definition: the text of challenge.yaml.
        track: name of the track.
        scores: of one stage on one split, in the order in which their evaluations ended.
    """
    given = _feedback(definition, track)
    policy = str(given.get("policy", "exact"))
    # (team, task, metric): the best that was told, and the evaluation that it was of.
    best: dict[tuple[str, str, str], tuple[float, str]] = {}
    for score in scores:
        key = (score.team_id, score.task, score.metric)
        before = best.get(key)
        row: dict[str, Any] = {
            "evaluation_id": score.evaluation_id,
            "moment": "open",
            "task": score.task,
            "metric": score.metric,
            "value": None,
            "low": None,
            "high": None,
            "text": "\N{EN DASH}",
            "note": "",
            "source": score.evaluation_id,
        }
        if policy == "exact":
            text = f"{score.value:.{int(given.get('digits', _EXACT_DIGITS))}f}"
            row |= {"value": score.value, "low": score.low, "high": score.high, "text": text}
        elif policy == "rounded":
            digits = int(given.get("digits", _ROUNDED_DIGITS))
            rounded = round(score.value, digits) + 0.0
            row |= {"value": rounded, "text": f"{rounded:.{digits}f}"}
        elif policy == "ladder":
            row |= _ladder(score, float(given["step"]), before)
        else:
            row["note"] = "told when the stage is concluded"
        value = row["value"]
        if value is not None and (before is None or _merit(score.metric, value) > _merit(score.metric, before[0])):
            best[key] = (value, score.evaluation_id)
        yield row


def _feedback(definition: str, track: str) -> dict[str, Any]:
    read = yaml.safe_load(definition)
    found = next((one for one in read["tracks"] if one["name"] == track), None)
    # A track that the file does not name any more has no leaderboard either: nothing of it was told.
    return {"policy": "none"} if found is None else dict(found.get("feedback") or {})


def _ladder(score: Score, step: float, before: tuple[float, str] | None) -> dict[str, Any]:
    merit = _merit(score.metric, score.value)
    if before is not None and merit < _merit(score.metric, before[0]) + step * (1 - 1e-9):
        note = f"not better than the team's best by {step:g}; the best is told again"
        return {"value": before[0], "text": _in_steps(before[0], step), "note": note, "source": before[1]}
    lowest, highest = _BORDERS.get(score.metric, (-math.inf, math.inf))
    rung = min(max(round(round(score.value / step) * step, _MOST_DIGITS), lowest), highest) + 0.0
    return {"value": rung, "text": _in_steps(rung, step)}


def _merit(metric: str, value: float) -> float:
    return -value if metric in _LESS_IS_BETTER else value


def _in_steps(value: float, step: float) -> str:
    digits = next((n for n in range(_MOST_DIGITS) if math.isclose(round(step, n), step, rel_tol=1e-9)), _MOST_DIGITS)
    return f"{value:.{digits}f}"
