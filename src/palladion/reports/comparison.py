"""Evaluations of the same data points side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.scoring import Answers, Bootstrap, Interval, PairedDifference, cross_entropy, score_detection

__all__ = ["ComparedSubmission", "Report", "compare_reports", "read_report"]

_MAXIMUM_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """What is compared of an evaluation: answers and truth by data point."""

    path: Path
    submission: str
    answers: dict[str, float | None]
    poisoned: dict[str, bool]


@dataclass(frozen=True, slots=True)
class ComparedSubmission:
    """One row of a comparison.

    Attributes:
        behind_first: by how much its cross-entropy exceeds that of the first row, on the same resamples; None for
            the first.
    """

    submission: str
    cross_entropy: float
    cross_entropy_interval: Interval
    success_target: float
    reached: bool | None
    roc_auc: float | None
    brier: float
    missing: int
    behind_first: PairedDifference | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        behind = self.behind_first
        return {
            "submission": self.submission,
            "cross_entropy": self.cross_entropy,
            "cross_entropy_interval": list(self.cross_entropy_interval),
            "success_target": self.success_target,
            "reached": self.reached,
            "roc_auc": self.roc_auc,
            "brier": self.brier,
            "missing": self.missing,
            "behind_first": None if behind is None else behind.estimate,
            "behind_first_interval": None if behind is None else list(behind.interval),
            "behind_first_p_value": None if behind is None else behind.p_value,
        }


def read_report(path: Path) -> Report:
    """The report that ``palladion evaluate --json`` wrote.

    Raises:
        InputError: the file is not one.
    """
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            raise InputError("is larger than 256 MiB", path=path)
        document = json.loads(path.read_text(encoding="utf-8"))
        outcomes = document["outcomes"]
        answers: dict[str, float | None] = {}
        poisoned: dict[str, bool] = {}
        for outcome in outcomes:
            name, answer, label = outcome["data_point"], outcome["probability"], outcome["poisoned"]
            if not isinstance(name, str) or name in answers or not isinstance(label, bool):
                raise InputError(f"has an outcome of {name!r} that is at fault or stands twice", path=path)
            answers[name], poisoned[name] = None if answer is None else float(answer), label
        submission = str(document["submission"])
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError("is not a report of palladion evaluate --json", path=path) from None
    return Report(path, submission, answers, poisoned)


def compare_reports(reports: Sequence[Report], *, seed: int = 0) -> list[ComparedSubmission]:
    """The submissions in the order of their cross-entropy, ties in the order given.

    Raises:
        InputError: the reports are not of the same data points and truth, or there are none.
    """
    if not reports:
        raise InputError("there is nothing to compare")
    first = reports[0]
    for report in reports[1:]:
        if report.poisoned != first.poisoned:
            raise InputError(f"is not about the same data points as {first.path}", path=report.path)
    names = sorted(first.poisoned)
    if not names:
        raise InputError("holds no outcomes", path=first.path)
    truth = [first.poisoned[name] for name in names]
    plan = Bootstrap(truth, seed=seed)
    scored = []
    for report in reports:
        answers = Answers.from_values([report.answers[name] for name in names])
        scores = score_detection(answers, truth, seed=seed)
        scored.append((scores, cross_entropy(answers.probability, truth), report))
    scored.sort(key=lambda row: row[0].cross_entropy)
    return [
        ComparedSubmission(
            submission=report.submission,
            cross_entropy=scores.cross_entropy,
            cross_entropy_interval=scores.cross_entropy_interval,
            success_target=scores.success_target,
            reached=scores.reached,
            roc_auc=scores.roc_auc,
            brier=scores.brier,
            missing=scores.missing,
            behind_first=None if position == 0 else plan.mean_difference(entropies, scored[0][1]),
        )
        for position, (scores, entropies, report) in enumerate(scored)
    ]
