"""Evaluate a submission on a split: the frame around scoring outputs and running code.

Scores and what is told of them are written, the evaluation ended, the goal of the stage noted and everybody told in one
transaction with the end of the job, which names the lease: whatever is killed whenever, each evaluation is scored, and
told, once.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from palladion.challenge import reached
from palladion.errors import PalladionError
from palladion.jobs import conclusion, detecting, news, scoring, standing, telling
from palladion.jobs.context import HOLDOUT, TEST, Service
from palladion.jobs.results import Scored, Task
from palladion.jobs.scorers import scorer
from palladion.jobs.work import Faulty, Work
from palladion.storage import evaluations, queue, stages, submissions
from palladion.storage.errors import Refused

__all__ = ["FAULT", "evaluate"]

_log = logging.getLogger(__name__)

_TRIES: Final = 20

FAULT: Final = "fault"
"""Key in the report of an evaluation that failed by its submission's own fault, and not by the service's."""


def evaluate(work: Work) -> None:
    """Do a job of the kind ``evaluate``: its subject is an evaluation.

    Raises:
        LeaseLost: the job is somebody else's by now.
        Stopped: it was stopped before it was done; what there is of it is kept.
        Later, Suspect: see there.
        PalladionError: the service is at fault, not the submission.
    """
    service, run = work.service, work.service.database.run
    task = _task(work)
    if task.evaluation.state != "pending":
        run(queue.finish, work.job.id, work.lease, now=service.now())
        return
    of = scoring.score if task.submission.kind == "outputs" else detecting.detect
    try:
        found = of(task)
    except Faulty as fault:
        run(_fail, work, task, fault, now=service.now())
        what = "rejected" if fault.invalid else "failed"
        # Not the reason: parts of it may be the submission's own words.
        _log.info("evaluation %s: %s by its submission's own fault", task.evaluation.id, what)
        service.notify()
        return
    points = None if found.points is None else found.points.to_bytes()
    for _ in range(_TRIES):
        prepared = _prepared(task, found)
        try:
            run(_finish, work, task, found, points, prepared, now=service.now())
        except telling.Moved:
            continue  # another submission of the team has just ended
        break
    else:
        raise PalladionError("other submissions of the team end all the time; it is tried again")
    _log.info("evaluation %s of submission %s on %s: scored", task.evaluation.id, task.submission.id, task.split)
    service.notify()


def _task(work: Work) -> Task:
    with work.service.database.read() as tx:
        evaluation = evaluations.by_id(tx, work.job.subject)
        submission = submissions.by_id(tx, evaluation.submission_id)
        info = work.service.stage(tx, submission.stage_id)
    if evaluation.split not in (TEST, HOLDOUT):
        raise PalladionError(f"nothing is evaluated on the split {evaluation.split[:40]!a}")
    if evaluation.split == HOLDOUT and info.row.state not in ("closed", "concluded"):
        raise PalladionError("the holdout is for the conclusion of its stage, and that has not begun")
    return Task(work, evaluation, submission, info, scorer(evaluation.scorer))


def _prepared(task: Task, found: Scored) -> telling.Prepared | None:
    """What is to be told of it; None: nothing is told, or not now."""
    with task.service.database.read() as tx:
        info = task.service.stage(tx, task.submission.stage_id)
    if not telling.is_told(info, task.split) or task.evaluation.scorer != info.row.scorer:
        return None
    evaluation, team_id = task.evaluation, task.submission.team_id
    subject = telling.Subject(
        info, team_id, evaluation.id, evaluation.scorer, tuple(found.scores), found.points, found.score
    )
    return telling.prepare(task.service, subject)


def _finish(
    tx: Session,
    work: Work,
    task: Task,
    found: Scored,
    points: bytes | None,
    prepared: telling.Prepared | None,
    *,
    now: datetime,
) -> None:
    evaluations.finish(tx, task.evaluation.id, work.lease, found.scores, now=now, report=found.report, points=points)
    # The stage is locked from here on: whoever switches to another version of the scorer comes before or after.
    stage = stages.by_id(tx, task.submission.stage_id)
    tx.refresh(stage)
    if prepared is not None and stage.scorer == task.evaluation.scorer:
        telling.write(tx, prepared)
    standing.request(tx, stage.id, now=now)
    news.submission_ended(tx, work.service, task.evaluation, now=now)
    if task.split == TEST:
        _note_goal(tx, work.service, task, found.values, now=now)


def _fail(tx: Session, work: Work, task: Task, fault: Faulty, *, now: datetime) -> None:
    report: dict[str, Any] = {**fault.report, FAULT: "submission"}
    if fault.invalid and task.evaluation.counts and task.submission.state == "pending":
        submissions.reject(
            tx, task.submission.id, fault.reason, now=now, evaluation_id=task.evaluation.id, lease=work.lease
        )
    else:
        evaluations.fail(tx, task.evaluation.id, work.lease, fault.reason, now=now, report=report)
    news.submission_ended(tx, work.service, task.evaluation, now=now)


def _note_goal(tx: Session, service: Service, task: Task, values: Mapping[str, float | None], *, now: datetime) -> None:
    """Mark a submission that has reached the goal of its stage; and conclude the stage, where the track says so."""
    info = service.stage(tx, task.submission.stage_id)  # as it is now, and not when the evaluation began
    metric, goal = info.track.metric, info.track.goal(info.stage)
    if info.row.scorer != task.evaluation.scorer or info.row.state == "concluded":
        return
    if not reached(metric, values.get(metric.name), goal):
        return
    if submissions.by_id(tx, task.submission.id).state != "scored":
        return  # it was cancelled, or another of its evaluations has failed
    place = stages.goal_reached(tx, task.submission.id, now=now, actor="service")
    if not place:
        return
    _log.info("stage %s: submission %s is the goal's number %s", info.row.id, task.submission.id, place)
    news.goal_reached(tx, service, info, task.submission.id, place, now=now)
    try:
        conclusion.begin_if_due(tx, service, info, now=now)
    except Refused as error:  # nothing was written; the score stands, whatever becomes of the stage
        _log.error("stage %s: %s", info.row.id, error)
