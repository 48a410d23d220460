"""What is told to whom when something has happened, in the transaction in which it does.

No news holds a score: what may be known of one depends on who asks and when, and news go to several people and stay.
They say that there is something to see, and where.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from palladion.jobs.claiming import CONCLUDE, DELIVER, EVALUATE, OPEN, STANDING
from palladion.jobs.context import Service, StageInfo
from palladion.storage import deliveries, evaluations, queue, submissions, teams
from palladion.storage.errors import NotFound
from palladion.storage.tables import Evaluation, Job

__all__ = ["EVENTS", "given_up", "goal_reached", "job_given_up", "stage_changed", "stage_waits", "submission_ended"]

EVENTS: Final = {
    "submission.scored": "A submission was scored",
    "submission.failed": "A submission failed",
    "submission.rejected": "A submission was found invalid; it cost nothing",
    "stage.opened": "A stage has opened",
    "stage.closed": "A stage has closed",
    "stage.concluded": "A stage was concluded, and its results are published",
    "stage.goal": "A team has reached the goal of a stage",
    "stage.waits": "A stage waits for something that an organiser has to do",
    "job.failed": "The service failed to do something",
}
"""Every event, with its title. Those of submissions go to the team, those of stages to everybody, but ``stage.goal``,
``stage.waits`` and ``job.failed`` to organisers alone."""

_REASON = 2000


def submission_ended(tx: Session, service: Service, evaluation: Evaluation, *, now: datetime) -> None:
    """Tell the team, if its submission has ended with this evaluation: scored, failed or rejected."""
    if not evaluation.counts:
        return  # on the holdout, or by another version of the scorer: nothing has changed for the team
    submission = submissions.by_id(tx, evaluation.submission_id)
    event = f"submission.{submission.state}"
    if event not in EVENTS:
        return
    info = service.stage(tx, submission.stage_id)
    team = teams.by_id(tx, submission.team_id)
    body = _of_stage(service, event, info) | {
        "submission": submission.id,
        "team": team.name,
        "ordinal": submission.ordinal,
        "file": submission.name,
        "state": submission.state,
        "reason": submission.reason,
    }
    # A submission that is tried again ends again, at another time.
    key = f"{submission.id}:{_when(submission.finished or now)}"
    deliveries.announce(
        tx, event=event, key=key, body=body, challenge_id=submission.challenge_id, team_id=submission.team_id, now=now
    )


def stage_changed(tx: Session, service: Service, stage_id: str, *, now: datetime) -> None:
    """Tell every team, and the organisers, what a stage has become."""
    info = service.stage(tx, stage_id)
    event = {"open": "stage.opened", "closed": "stage.closed", "concluded": "stage.concluded"}[info.row.state]
    body = _of_stage(service, event, info) | {"state": info.row.state}
    challenge_id = info.challenge.id
    deliveries.announce(tx, event=event, key=stage_id, body=body, challenge_id=challenge_id, organisers=True, now=now)
    for team in teams.of_challenge(tx, challenge_id):
        deliveries.announce(
            tx, event=event, key=stage_id, body=body, challenge_id=challenge_id, team_id=team.id, now=now
        )


def stage_waits(tx: Session, service: Service, stage_id: str, why: str, *, now: datetime) -> None:
    """Tell the organisers that a stage waits for them."""
    info = service.stage(tx, stage_id)
    body = _of_stage(service, "stage.waits", info) | {"reason": why[:_REASON]}
    key = f"{stage_id}:{_when(now)}"
    deliveries.announce(
        tx, event="stage.waits", key=key, body=body, challenge_id=info.challenge.id, organisers=True, now=now
    )


def goal_reached(
    tx: Session, service: Service, info: StageInfo, submission_id: str, place: int, *, now: datetime
) -> None:
    """Tell the organisers that a team is the how-manieth to have reached the goal of a stage."""
    submission = submissions.by_id(tx, submission_id)
    team = teams.by_id(tx, submission.team_id)
    body = _of_stage(service, "stage.goal", info) | {"submission": submission_id, "team": team.name, "place": place}
    deliveries.announce(
        tx,
        event="stage.goal",
        key=submission_id,
        body=body,
        challenge_id=info.challenge.id,
        organisers=True,
        now=now,
    )


def given_up(tx: Session, service: Service, job_ids: Iterable[str], *, now: datetime) -> None:
    """Tell of jobs that were given up because their workers died each time."""
    for job_id in job_ids:
        job = queue.by_id(tx, job_id)
        job_given_up(tx, service, job, job.reason or "", now=now)


def job_given_up(tx: Session, service: Service, job: Job, words: str, *, now: datetime) -> None:
    """Tell the organisers of a job that was given up; and a team, if its submission has failed with it.

    Args:
        tx: the transaction in which it is given up.
        service: the service.
        job: the job.
        words: what went wrong, for organisers.
        now: the time.
    """
    if job.kind == DELIVER:
        return  # news of news that did not arrive would not arrive either
    if job.kind == EVALUATE:
        evaluation = evaluations.by_id(tx, job.subject)
        submission_ended(tx, service, evaluation, now=now)
        stage_id: str | None = submissions.by_id(tx, evaluation.submission_id).stage_id
    else:
        stage_id = job.subject if job.kind in (OPEN, CONCLUDE, STANDING) else None
    if stage_id is None:
        return
    try:
        info = service.stage(tx, stage_id)
    except NotFound:
        return
    body = _of_stage(service, "job.failed", info) | {
        "job": job.id,
        "kind": job.kind,
        "subject": job.subject,
        "reason": words[:_REASON],
    }
    deliveries.announce(
        tx,
        event="job.failed",
        key=f"{job.id}:{_when(now)}",
        body=body,
        challenge_id=info.challenge.id,
        organisers=True,
        now=now,
    )


def _of_stage(service: Service, event: str, info: StageInfo) -> dict[str, Any]:
    body: dict[str, Any] = {
        "event": event,
        "title": EVENTS[event],
        "challenge": info.challenge.name,
        "track": info.row.track,
        "stage": info.row.name,
    }
    if service.settings.public_url is not None:
        body["service"] = service.settings.public_url
    return body


def _when(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S.%fZ}"
