"""Scoring again, with another version of the scorer.

An evaluation belongs to one version. Scoring again adds evaluations by another version beside those that are there, and
switching shows them on the leaderboard, all in one step. Nothing that was scored ever changes.
"""

import logging
from datetime import datetime

from sqlalchemy.orm import Session

from palladion.jobs import standing, telling
from palladion.jobs.context import Service
from palladion.jobs.scorers import SCORER_VERSION, scorer
from palladion.storage import audit, evaluations, queue, stages
from palladion.storage.endings import EVALUATE
from palladion.storage.errors import Conflict
from palladion.storage.tables import Job

__all__ = ["rescore", "retry_job", "switch"]

_log = logging.getLogger(__name__)


def rescore(service: Service, stage_id: str, *, actor: str, version: str = SCORER_VERSION) -> int:
    """Score a stage again, with another version of the scorer, beside the scores that there are.

    Code is not run again: what it answered is scored again.

    Args:
        service: the service.
        stage_id: the stage.
        actor: who asks for it.
        version: of the scorer.

    Returns:
        How many evaluations are on their way that were not before.

    Raises:
        NotFound: there is no such stage.
        Conflict: the leaderboard shows this version already.
        PalladionError: there is no such version.
    """
    scorer(version)
    count = service.database.run(_rescore, stage_id, version, actor=actor, now=service.now())
    _log.info("stage %s: %s evaluations are to be scored again by version %s", stage_id, count, version)
    service.notify()
    return count


def switch(service: Service, stage_id: str, version: str, *, actor: str) -> None:
    """Show the scores of another version of the scorer, in one step.

    Raises:
        NotFound: there is no such stage.
        Conflict: not all of it has been scored by this version; in words.
        PalladionError: there is no such version.
    """
    scorer(version)
    # Nothing else is shown of a submission than what was told of it.
    telling.catch_up(service, stage_id, version)
    service.database.run(_switch, stage_id, version, now=service.now(), actor=actor)
    service.notify()
    _log.info("stage %s: the leaderboard shows version %s of the scorer", stage_id, version)


def retry_job(service: Service, job_id: str, *, actor: str) -> Job:
    """Do a job again that has failed or was cancelled, as if it had never been tried.

    Raises:
        NotFound: there is no such job.
        Conflict: it has neither failed nor was it cancelled.
    """
    job = service.database.run(_retry, job_id, actor=actor, now=service.now())
    service.notify()
    return job


def _switch(tx: Session, stage_id: str, version: str, *, now: datetime, actor: str) -> None:
    evaluations.switch(tx, [stage_id], version, now=now, actor=actor)
    standing.request(tx, stage_id, now=now)


def _rescore(tx: Session, stage_id: str, version: str, *, actor: str, now: datetime) -> int:
    stage = stages.by_id(tx, stage_id)
    if stage.scorer == version:
        raise Conflict(f"the stage {stage.name} is scored by version {version} of the scorer already")
    count = evaluations.rescore(tx, stage_id, version, now=now)
    detail = {"version": version, "evaluations": count, "track": stage.track, "stage": stage.name}
    audit.add(
        tx,
        actor=actor,
        action="stage.rescore",
        subject=f"stage:{stage_id}",
        detail=detail,
        challenge_id=stage.challenge_id,
        now=now,
    )
    return count


def _retry(tx: Session, job_id: str, *, actor: str, now: datetime) -> Job:
    job = queue.by_id(tx, job_id)
    if job.kind == EVALUATE:
        evaluations.retry(tx, job.subject, actor=actor, now=now)
        return queue.by_id(tx, job_id)
    again = queue.retry(tx, job_id, now=now)
    audit.add(tx, actor=actor, action="job.retry", subject=f"job:{job_id}", detail={"kind": job.kind}, now=now)
    return again
