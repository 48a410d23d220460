"""Score a file of outputs against the sealed answers of its phase.

The file is unpacked and read in a process of its own, within limits of time and memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from palladion.challenge import language_values, metrics_of
from palladion.errors import InputError
from palladion.execution.slots import Stop
from palladion.execution.staging import workspace
from palladion.jobs import children, processes
from palladion.jobs.context import Service, StageInfo
from palladion.jobs.processes import FailureKind, ProcessFailed
from palladion.jobs.results import Scored, Task
from palladion.jobs.work import Faulty, Suspect
from palladion.rounds.language import layout
from palladion.scoring import PointScores, metric_interval
from palladion.storage.evaluations import NewScore
from palladion.storage.tables import Submission

__all__ = ["score", "score_again"]

_MOST_TOLD: Final = 5
# What may be a fault of the file, and may be a machine that is too busy.
_SUSPECT: Final = frozenset({FailureKind.TIME, FailureKind.CPU, FailureKind.MEMORY, FailureKind.CRASHED})


def score(task: Task) -> Scored:
    """Score a file of outputs.

    Raises:
        Faulty: it cannot be scored.
        Suspect: scoring it was killed at a limit, or crashed.
        Stopped: the worker was stopped.
        PalladionError: the service or the stage's data is at fault.
    """
    found = _scored_apart(task.service, task.info, task.submission, task.work.stop, seed=task.scorer.seed)
    if found.errors:
        raise Faulty(_told(found.errors), invalid=True)
    points = PointScores.from_bytes(found.points)
    scored = _scored(task.info, found.result, found.warnings)
    return replace(scored, scores=[*_with_intervals(scored, points, found)], points=points, score=found.score)


def score_again(service: Service, info: StageInfo, submission: Submission, stop: Stop) -> PointScores | None:
    """What the single rows of a file of outputs score that was scored before; None where it cannot be scored any more.

    Raises:
        Suspect, Stopped, PalladionError: as :func:`score`.
    """
    found = _scored_apart(service, info, submission, stop, seed=0)
    return None if found.errors else PointScores.from_bytes(found.points)


def _scored_apart(
    service: Service, info: StageInfo, submission: Submission, stop: Stop, *, seed: int
) -> children.ScoredOutputs:
    """Score a file in a process of its own."""
    assert info.stage.phase is not None
    with workspace() as folder:
        path = folder / "submission.zip"
        service.artifacts.fetch(submission.artifact, path)
        try:
            return processes.call(
                children.score_outputs,
                service.settings.scoring,
                stop,
                path,
                layout.phase_folder(info.data, info.stage.phase),
                info.data / layout.SEALED / info.stage.phase,
                most_bytes=info.track.submission.bytes,
                code_required=info.stage.code_required or None,
                seed=seed,
            )
        except ProcessFailed as error:
            if error.kind in _SUSPECT:
                raise Suspect(f"it could not be scored: {error}") from None
            raise


def _with_intervals(scored: Scored, points: PointScores, found: children.ScoredOutputs) -> Iterator[NewScore]:
    """The scores; of means over several tasks with their intervals, which the report of a submission does not have."""
    for one in scored.scores:
        interval = None
        if not one.task and one.low is None and len(points.tasks) > 1:
            interval = metric_interval(points, one.metric, score=found.score)
        yield one if interval is None else replace(one, low=interval.low, high=interval.high)


def _told(errors: tuple[str, ...]) -> str:
    more = len(errors) - _MOST_TOLD
    return "\n".join([*errors[:_MOST_TOLD], *([f"and {more} more errors"] if more > 0 else [])])


def _scored(info: StageInfo, result: Mapping[str, Any], warnings: tuple[str, ...]) -> Scored:
    task = info.track.task
    reports: dict[str, Any] = result["tasks"]
    if task == "detection":
        raise InputError("a detection track has no outputs to score")
    values = language_values(task, list(reports.values()), result["overall"])
    ranked_by = result["ranked_by"]
    alone = next(iter(reports.values())) if len(reports) == 1 else None
    scores = []
    for name, value in values.items():
        if value is not None:
            # Of a mean over tasks there is no interval; of one task it is that task's.
            low, high = _interval(alone, ranked_by if name == "overall" else name)
            scores.append(NewScore(name, value, low=low, high=high))
    for name, report in reports.items():
        scores += _of_task(info, name, report, ranked_by)
    return Scored(values, scores, {**result, "warnings": list(warnings)})


def _of_task(info: StageInfo, name: str, report: Mapping[str, Any] | None, ranked_by: str) -> Iterator[NewScore]:
    """The scores of one task. One without answers has a score of 0, and no other values."""
    if report is None:
        yield NewScore("overall", 0.0, name)
        return
    for metric in metrics_of(info.track.task):
        key = ranked_by if metric == "overall" else metric
        value = report.get(key)
        if value is not None:
            low, high = _interval(report, key)
            yield NewScore(metric, float(value), name, low, high)


def _interval(report: Mapping[str, Any] | None, key: str) -> tuple[float | None, float | None]:
    found = None if report is None else report["intervals"].get(key)
    return (None, None) if found is None else (float(found[0]), float(found[1]))
