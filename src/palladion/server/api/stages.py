"""Stages: what state they are in, and what organisers do with them."""

from typing import Annotated

from fastapi import Body

from palladion.jobs import conclusion, opening, scorers, versions
from palladion.jobs.context import StageInfo
from palladion.server import models, queries
from palladion.server.access import Asking, Caller
from palladion.server.errors import ApiError, Fault
from palladion.server.routing import Routes
from palladion.server.state import Here, State
from palladion.storage import submissions
from palladion.storage.errors import NotFound, Refused

__all__ = ["routes"]

routes = Routes("stages")

_STAGE = "/challenges/{challenge}/stages/{track}/{stage}"


@routes.get(
    "/challenges/{challenge}/stages", "stage:list", summary="All stages", response_model=models.Page[models.Stage]
)
def list_stages(challenge: str, here: Here, caller: Asking) -> models.Page[models.Stage]:
    """The stages of a challenge, track by track."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        return models.Page(items=here.views(tx, caller, row).stages(tx, row))


@routes.get(_STAGE, "stage:read", summary="A stage", response_model=models.Stage)
def get_stage(challenge: str, track: str, stage: str, here: Here, caller: Asking) -> models.Stage:
    """One stage; for organisers with the steps of its conclusion."""
    return _shown(here, caller, _found(here, challenge, track, stage).row.id)


@routes.get(_STAGE + "/check", "stage:check", summary="Whether a stage could open", response_model=models.StageCheck)
def check_stage(challenge: str, track: str, stage: str, here: Here) -> models.StageCheck:
    """Look at the data of a stage and score known answers on it. It may take a while."""
    return models.StageCheck(faults=opening.faults(here.service, _found(here, challenge, track, stage).row.id))


@routes.post(
    _STAGE + "/open",
    "stage:open",
    summary="Open a stage",
    response_model=models.Stage,
    errors=("conflict", "cannot_open"),
)
def open_stage(challenge: str, track: str, stage: str, here: Here, caller: Asking) -> models.Stage:
    """Open a stage, once its data is there and known answers rank on it as they should."""
    info = _found(here, challenge, track, stage)
    try:
        opening.open_stage(here.service, info.row.id, actor=caller.actor)
    except Refused as error:
        faults = [Fault(None, line) for line in str(error).splitlines()]
        raise ApiError("cannot_open", f"{info.row.name} cannot open: {faults[0].message}", faults=faults) from None
    return _shown(here, caller, info.row.id)


@routes.post(
    _STAGE + "/close", "stage:close", summary="Close a stage", response_model=models.Stage, errors=("conflict",)
)
def close_stage(challenge: str, track: str, stage: str, here: Here, caller: Asking) -> models.Stage:
    """Take no more submissions; those that were accepted run to their end."""
    info = _found(here, challenge, track, stage)
    opening.close_stage(here.service, info.row.id, actor=caller.actor)
    return _shown(here, caller, info.row.id)


@routes.post(
    _STAGE + "/conclude",
    "stage:conclude",
    summary="Conclude a stage",
    status_code=202,
    response_model=models.Stage,
    errors=("conflict",),
)
def conclude_stage(
    challenge: str,
    track: str,
    stage: str,
    here: Here,
    caller: Asking,
    wanted: Annotated[models.ConcludeRequest | None, Body()] = None,
) -> models.Stage:
    """Begin to conclude a stage: close it, run the best submission of each team on the holdout, publish, open the next.

    It goes on by itself; `steps` of the stage tell how far it is. Asked for twice, it is one conclusion.
    """
    info = _found(here, challenge, track, stage)
    named = [] if wanted is None else list(dict.fromkeys(wanted.submissions))
    with here.service.database.read() as tx:
        for submission_id in named:
            if submissions.by_id(tx, submission_id).stage_id != info.row.id:
                raise NotFound(f"there is no submission {submission_id} in this stage")
    conclusion.begin(here.service, info.row.id, actor=caller.actor, named=named)
    return _shown(here, caller, info.row.id)


@routes.post(
    _STAGE + "/rescore",
    "evaluation:rescore",
    summary="Score a stage again",
    status_code=202,
    response_model=models.Rescored,
    errors=("conflict",),
)
def rescore_stage(
    challenge: str,
    track: str,
    stage: str,
    here: Here,
    caller: Asking,
    wanted: Annotated[models.RescoreRequest | None, Body()] = None,
) -> models.Rescored:
    """Add evaluations by another version of the scorer beside those that there are; see `switch`."""
    info = _found(here, challenge, track, stage)
    version = _version(None if wanted is None else wanted.scorer)
    added = versions.rescore(here.service, info.row.id, actor=caller.actor, version=version)
    return models.Rescored(scorer=version, evaluations=added)


@routes.post(
    _STAGE + "/switch",
    "scorer:switch",
    summary="Show another version of the scorer",
    response_model=models.Stage,
    errors=("conflict",),
)
def switch_stage(
    challenge: str, track: str, stage: str, wanted: models.SwitchRequest, here: Here, caller: Asking
) -> models.Stage:
    """Let the leaderboard show the scores of another version, in one step, once all of them are there."""
    info = _found(here, challenge, track, stage)
    versions.switch(here.service, info.row.id, _version(wanted.scorer), actor=caller.actor)
    return _shown(here, caller, info.row.id)


def _version(given: str | None) -> str:
    version = scorers.SCORER_VERSION if given is None else given
    if version not in scorers.SCORERS:
        message = f"there is no version {version!a} of the scorer; there are {', '.join(scorers.SCORERS)}"
        raise ApiError("invalid", message, faults=[Fault("body.scorer", message)])
    return version


def _found(here: State, challenge: str, track: str, stage: str) -> StageInfo:
    with here.service.database.read() as tx:
        return here.stage(tx, queries.challenge_named(tx, challenge), track, stage)


def _shown(here: State, caller: Caller, stage_id: str) -> models.Stage:
    with here.service.database.read() as tx:
        info = here.service.stage(tx, stage_id)
        return here.views(tx, caller, info.challenge).stage(tx, info)
