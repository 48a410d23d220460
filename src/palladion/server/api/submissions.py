"""Submissions: handing one in, and what becomes of it."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from palladion.challenge import quotas as quota_rules
from palladion.challenge.lifecycle import StageStatus, submission_refusal
from palladion.jobs import standing, validation
from palladion.jobs.context import StageInfo
from palladion.server import models, queries
from palladion.server.access import Asking, Caller
from palladion.server.api.leaderboards import accepted
from palladion.server.content import FILE_ANSWERS, file_response
from palladion.server.errors import ApiError, Fault, rate_limited
from palladion.server.routing import Routes
from palladion.server.state import After, Here, Limit, State
from palladion.server.tables import points_csv
from palladion.storage import artifacts, stages, submissions
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.submissions import Accepted
from palladion.storage.tables import Submission, Team
from palladion.submissions.checks import Fault as SubmissionFault
from palladion.submissions.checks import FaultSeverity

__all__ = ["routes"]

log = logging.getLogger("palladion.server")
routes = Routes("submissions")

_SUBMISSIONS: Final = "/challenges/{challenge}/submissions"
_LONGEST_QUEUE: Final = 120.0


@routes.post(
    _SUBMISSIONS,
    "submission:create",
    summary="Submit a file that was uploaded",
    status_code=201,
    response_model=models.Submission,
    responses={200: {"model": models.Submission, "description": "The same bytes were submitted before; this is it."}},
    errors=("conflict", "stage_not_open", "faulty_submission", "quota"),
)
async def submit(challenge: str, wanted: models.SubmissionRequest, here: Here, caller: Asking) -> Response:
    """Check a file and accept it: all of it is decided and recorded in one transaction, or nothing is.

    The file has to come from this account, or its team. What is found faulty costs nothing. Whoever did not hear the
    answer asks again, and is told of the submission that is there.
    """
    stage, same = await run_in_threadpool(_place, here, caller, challenge, wanted)
    if same is not None:
        return await run_in_threadpool(_answer, here, caller, Accepted(same, created=False))
    wait = here.checks.take(caller.known.id)
    if wait:
        raise rate_limited("too many submissions were checked", wait)
    try:
        # Many may wait here: without a thread each, so that everything else is answered meanwhile.
        async with here.slow.taken(_LONGEST_QUEUE):
            await run_in_threadpool(_check, here, stage, wanted)
    except TimeoutError:
        message = "many submissions are being checked; try again"
        raise ApiError("unavailable", message, headers={"Retry-After": "30"}, retry_after=30) from None
    return await run_in_threadpool(_accept, here, caller, challenge, wanted)


def _accept(here: State, caller: Caller, challenge: str, wanted: models.SubmissionRequest) -> Response:
    """Accept a file that was found to be without faults.

    No transaction was open while it was checked: where it goes is looked up again, and decided in the one that accepts.
    """
    stage, same = _place(here, caller, challenge, wanted)
    if same is not None:
        return _answer(here, caller, Accepted(same, created=False))
    with here.service.database.read() as tx:
        team = caller.team(tx, stage.challenge.id)
    assert team is not None
    try:
        accepted = here.service.database.run(
            submissions.accept,
            stage_id=stage.row.id,
            team_id=team.id,
            account_id=caller.known.id,
            artifact=wanted.sha256,
            kind=stage.track.submission.kind,
            name=wanted.filename,
            splits=validation.splits_of(stage),
            quotas=stage.track.quotas,
            now=here.service.now(),
            again=wanted.again,
        )
    except Refused as error:
        # Something else may have happened meanwhile than a submission of the team: say what it is.
        _place(here, caller, challenge, wanted)
        raise _quota(here, error) from None
    here.service.notify()
    if accepted.created:
        log.info("submission %s: accepted for %s", accepted.submission.id, stage.address)
    return _answer(here, caller, accepted)


def _place(
    here: State, caller: Caller, challenge: str, wanted: models.SubmissionRequest
) -> tuple[StageInfo, Submission | None]:
    """The stage that a file is to be submitted to, and the submission that is there already of the same bytes.

    Raises:
        ApiError: nothing can be submitted there now.
        NotFound: there is no such place, or no such file for this account.
    """
    now = here.service.now()
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        team = caller.team(tx, row.id)
        if team is None:
            raise Conflict("you are in no team of this challenge; make one, or join one")
        track = next((track for track in here.service.definition(row).tracks if track.name == wanted.track), None)
        if track is None:
            raise NotFound(f"there is no track {wanted.track!a} in {row.name}")
        statuses = stages.statuses(tx, row.id, track.name)
        status = _stage_wanted(statuses, wanted.stage)
        if wanted.stage is None:
            status = next((status for status in statuses if submission_refusal(status, now) is None), status)
        stage = here.stage(tx, row, track.name, status.name)
        same = queries.same_bytes(tx, stage.row.id, team.id, wanted.sha256)
        if same is not None and not wanted.again:
            return stage, same
        if not queries.handed_in(tx, caller.known.id, team.id, wanted.sha256):
            raise NotFound("you have not uploaded this file; upload it first")
        if team.state != "approved":
            raise Conflict(f"the team {team.name} is {team.state}; only approved teams submit")
        refusal = submission_refusal(status, now)
        if refusal is not None:
            opens = status.opens if status.opens is not None and status.opens > now else None
            raise ApiError("stage_not_open", refusal, next_slot=opens)
        decision = quota_rules.decide(track.quotas, submissions.earlier(tx, team.id, row.id, track.name), now)
    if isinstance(decision, quota_rules.Refused):
        raise _quota(here, Refused(decision.reason, decision.next_slot, told=True))
    return stage, None


def _stage_wanted(statuses: Sequence[StageStatus], name: str | None) -> StageStatus:
    """The stage that is named, or the one to tell of where none is: the last that has begun, or the first."""
    if name is None:
        begun = [status for status in statuses if status.state != "planned"]
        return begun[-1] if begun else statuses[0]
    found = next((status for status in statuses if status.name == name), None)
    if found is None:
        raise NotFound(f"there is no stage {name!a}; there are {', '.join(status.name for status in statuses)}")
    return found


def _quota(here: State, error: Refused) -> ApiError:
    headers = {}
    if error.next_slot is not None:
        wait = (error.next_slot - here.service.now()).total_seconds()
        headers["Retry-After"] = str(max(1, int(wait) + 1))
    return ApiError("quota", str(error), headers=headers, next_slot=error.next_slot)


def _check(here: State, stage: StageInfo, wanted: models.SubmissionRequest) -> None:
    """Refuses a submission with faults. Takes as long as it takes to read it, in another process."""
    with tempfile.TemporaryDirectory(prefix="submitted-", dir=here.service.folder("checking")) as folder:
        path = Path(folder) / "submission"
        here.service.artifacts.fetch(wanted.sha256, path)
        found = validation.check_for_stage(here.service, stage, path, wanted.filename)
    if any(fault.severity == FaultSeverity.ERROR for fault in found):
        count = sum(fault.severity == FaultSeverity.ERROR for fault in found)
        message = f"the submission has {count} fault{'' if count == 1 else 's'}; it was not accepted and cost nothing"
        raise ApiError("faulty_submission", message, faults=[_told(fault) for fault in found])


def _told(fault: SubmissionFault) -> Fault:
    where = " ".join(part for part in (fault.file, fault.where) if part) or None
    return Fault(where, fault.message, "error" if fault.severity == FaultSeverity.ERROR else "warning")


def _answer(here: State, caller: Caller, accepted: Accepted) -> Response:
    with here.service.database.read() as tx:
        shown = _shown(tx, here, caller, submissions.by_id(tx, accepted.submission.id))
    return JSONResponse(shown.model_dump(mode="json"), status_code=201 if accepted.created else 200)


@routes.get(_SUBMISSIONS, "submission:list", summary="Submissions", response_model=models.Page[models.Submission])
def list_submissions(
    challenge: str,
    here: Here,
    caller: Asking,
    track: Annotated[str | None, Query(max_length=64)] = None,
    stage: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[Literal["pending", "scored", "failed", "rejected", "cancelled"] | None, Query()] = None,
    team: Annotated[str | None, Query(max_length=64, description="For organisers.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> models.Page[models.Submission]:
    """The submissions of one's own team, the last first; for organisers those of all."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        own = caller.team(tx, row.id)
        team_id = team
        if not caller.organises:
            if own is None or team not in (None, own.id):
                return models.Page(items=[])
            team_id = own.id
        stage_ids = None
        if track is not None or stage is not None:
            found = stages.of_challenge(tx, row.id)
            stage_ids = [s.id for s in found if track in (None, s.track) and stage in (None, s.name)]
        wanted = queries.SubmissionFilter(row.id, team_id, stage_ids, state)
        page, following = queries.submissions_page(tx, wanted, after=after, most=limit)
        return models.Page(items=here.views_of(caller, own).submissions(tx, page), next=following)


@routes.get("/submissions/{submission_id}", "submission:read", summary="A submission", response_model=models.Submission)
def get_submission(submission_id: str, here: Here, caller: Asking) -> models.Submission:
    """What has become of a submission: its state with times and reasons, and its scores as far as they may be seen."""
    with here.service.database.read() as tx:
        return _shown(tx, here, caller, _found(tx, caller, submission_id)[0])


@routes.post(
    "/submissions/{submission_id}/cancel",
    "submission:cancel",
    summary="Cancel a submission",
    response_model=models.Submission,
    errors=("conflict",),
)
def cancel(submission_id: str, here: Here, caller: Asking) -> models.Submission:
    """Take a submission back; it stays an attempt. What has ended is for organisers alone to take off the board."""
    with here.service.database.read() as tx:
        row, _ = _found(tx, caller, submission_id)
    if row.state != "pending" and not caller.organises:
        raise Conflict(f"the submission is {row.state}; only one that has not ended can be cancelled")
    reason = f"cancelled by {caller.actor}"

    def take_back(tx: Session) -> None:
        ended = submissions.cancel(tx, row.id, reason, now=here.service.now(), actor=caller.actor)
        standing.request(tx, ended.stage_id, now=here.service.now())

    here.service.database.run(take_back)
    here.service.notify()
    with here.service.database.read() as tx:
        return _shown(tx, here, caller, submissions.by_id(tx, row.id))


@routes.get(
    "/submissions/{submission_id}/points",
    "outcome:read",
    summary="The data points of a submission",
    response_model=models.DataPoints,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "JSON or CSV."}},
    errors=("not_acceptable", "forbidden"),
)
def get_points(
    request: Request,
    submission_id: str,
    here: Here,
    caller: Asking,
    split: Annotated[str, Query(max_length=40)] = "test",
    format_: Annotated[
        Literal["json", "csv"] | None, Query(alias="format", description="By default what the header Accept asks for.")
    ] = None,
) -> Response:
    """What came of each data point: of sealed splits it is for organisers alone."""
    wanted = format_ or accepted(request, "this")
    with here.service.database.read() as tx:
        row, own = _found(tx, caller, submission_id)
        found = here.views_of(caller, own).data_points(tx, row, split)
    if isinstance(found, str):
        raise ApiError("forbidden", found)
    if wanted == "csv":
        disposition = f'attachment; filename="{row.id}-{split}.csv"'
        return Response(points_csv(found), media_type="text/csv", headers={"Content-Disposition": disposition})
    return Response(found.model_dump_json(), media_type="application/json")


@routes.get(
    "/submissions/{submission_id}/artifact",
    "submission:download",
    summary="The file of a submission",
    response_class=Response,
    responses=FILE_ANSWERS,
    errors=("range_not_satisfiable",),
    head=True,
)
def get_artifact(request: Request, submission_id: str, here: Here, caller: Asking) -> Response:
    """The file as it was handed in."""
    with here.service.database.read() as tx:
        row, own = _found(tx, caller, submission_id)
        length = artifacts.by_sha256(tx, row.artifact).bytes
    if not here.views_of(caller, own).artifact_shown(row):
        raise NotFound(f"there is no submission {submission_id!a}")
    return file_response(
        request,
        lambda: here.service.artifacts.open(row.artifact),
        length=length,
        sha256=row.artifact,
        name=row.name,
    )


def _found(tx: Session, caller: Caller, submission_id: str) -> tuple[Submission, Team | None]:
    """A submission that the caller may know of, and the caller's team.

    Raises:
        NotFound: there is none, or it is another team's: which of the two is not told.
    """
    row = submissions.by_id(tx, queries.row_id(submission_id, "submission"))
    own = caller.team(tx, row.challenge_id)
    if not caller.organises and (own is None or own.id != row.team_id):
        raise NotFound(f"there is no submission {submission_id!a}")
    return row, own


def _shown(tx: Session, here: State, caller: Caller, row: Submission) -> models.Submission:
    return here.views_of(caller, caller.team(tx, row.challenge_id)).submissions(tx, [row])[0]
