"""The files of stages that participants may have."""

import io
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from palladion.jobs.context import StageInfo
from palladion.server import models, queries
from palladion.server.content import FILE_ANSWERS, file_response
from palladion.server.published import PublishedFile, Source
from palladion.server.routing import Routes
from palladion.server.state import Here, State
from palladion.storage.errors import NotFound

__all__ = ["routes"]

routes = Routes("files")

_FILES = "/challenges/{challenge}/stages/{track}/{stage}/files"


@routes.get(_FILES, "data:list", summary="The published files of a stage", response_model=models.Files)
async def list_files(challenge: str, track: str, stage: str, here: Here) -> models.Files:
    """What may be downloaded in a stage that is open or was: names, bytes and checksums."""
    found = await _files(here, challenge, track, stage)
    return models.Files(
        items=[models.File(path=file.name, bytes=file.bytes, sha256=file.sha256) for file in found.values()],
        bytes=sum(file.bytes for file in found.values()),
    )


@routes.get(
    _FILES + "/{path:path}",
    "data:read",
    summary="A published file",
    response_class=Response,
    responses=FILE_ANSWERS,
    errors=("range_not_satisfiable",),
    head=True,
)
async def get_file(request: Request, challenge: str, track: str, stage: str, path: str, here: Here) -> Response:
    """One of the files that the list names; a Range goes on where a download broke off."""
    file = (await _files(here, challenge, track, stage)).get(path)
    if file is None:
        raise NotFound("there is no such file in this stage; the list of files tells what there is")
    name = file.name.rpartition("/")[2]
    return await run_in_threadpool(
        file_response, request, lambda: _opened(file.source), length=file.bytes, sha256=file.sha256, name=name
    )


def _opened(source: Source) -> BinaryIO:
    return source.open() if source.content is None else io.BytesIO(source.content)


async def _files(here: State, challenge: str, track: str, stage: str) -> dict[str, PublishedFile]:
    """The files of a stage.

    The first to ask waits until checksums are made, and so do all who come meanwhile: not with a thread each, so that
    everything else is answered.
    """
    info = await run_in_threadpool(_stage, here, challenge, track, stage)
    listed = here.published.kept(info)
    if listed is None:
        async with here.slow.taken():
            listed = await run_in_threadpool(here.published.files, info)
    return listed


def _stage(here: State, challenge: str, track: str, stage: str) -> StageInfo:
    with here.service.database.read() as tx:
        return here.stage(tx, queries.challenge_named(tx, challenge), track, stage)
