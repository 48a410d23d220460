"""What organisers look at: the audit log, jobs and workers."""

from typing import Annotated, Literal

from fastapi import Query

from palladion.jobs import versions
from palladion.server import models, queries, views
from palladion.server.access import Asking
from palladion.server.routing import Routes
from palladion.server.state import After, Here, Limit
from palladion.storage import audit, queue, workers

__all__ = ["routes"]

routes = Routes("organising")

JobState = Annotated[
    Literal["queued", "running", "done", "failed", "cancelled"] | None, Query(description="Only those.")
]


@routes.get(
    "/challenges/{challenge}/audit", "audit:read", summary="The audit log", response_model=models.Page[models.AuditLine]
)
def get_audit(
    challenge: str,
    here: Here,
    after: Annotated[int | None, Query(ge=0, le=1 << 62, description="`next` of the page before.")] = None,
    limit: Limit = 100,
) -> models.Page[models.AuditLine]:
    """Who did what to what, the last first."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        found = audit.listing(tx, challenge_id=row.id, before=after, most=limit + 1)
    page = found[:limit]
    more = str(page[-1].number) if len(found) > limit else None
    return models.Page(items=[views.audit_line(line) for line in page], next=more)


@routes.get(
    "/challenges/{challenge}/organising",
    "challenge:organise",
    summary="What an organiser should look at",
    response_model=models.Organising,
)
def get_organising(challenge: str, here: Here, caller: Asking) -> models.Organising:
    """What is stuck, fails or waits for approval, the stages, what the scores give away, and who did what."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        return here.views(tx, caller, row).organising(tx, row)


@routes.get("/challenges/{challenge}/jobs", "job:list", summary="Jobs", response_model=models.Jobs)
def list_jobs(
    challenge: str, here: Here, caller: Asking, state: JobState = None, limit: Limit = 100, after: After = None
) -> models.Jobs:
    """What is due, runs, or has failed, the last first."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        page, following = queries.jobs_of(tx, row.id, state=state, after=after, most=limit)
        return models.Jobs(
            items=here.views_of(caller, None).jobs(tx, page),
            next=following,
            counts=queries.job_counts(tx, row.id),
        )


@routes.post(
    "/jobs/{job_id}/retry", "job:retry", summary="Do a job again", response_model=models.Job, errors=("conflict",)
)
def retry_job(job_id: str, here: Here, caller: Asking) -> models.Job:
    """Queue again a job that has failed or was cancelled, as if it had never been tried."""
    versions.retry_job(here.service, queries.row_id(job_id, "job"), actor=caller.actor)
    with here.service.database.read() as tx:
        return here.views_of(caller, None).jobs(tx, [queue.by_id(tx, job_id)])[0]


@routes.get("/workers", "worker:list", summary="Workers", response_model=models.Page[models.Worker])
def list_workers(here: Here) -> models.Page[models.Worker]:
    """The processes that do jobs, and when each was last heard of."""
    with here.service.database.read() as tx:
        found = workers.listing(tx)
    return models.Page(items=[views.worker(row) for row in found])
