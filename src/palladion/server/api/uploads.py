"""Uploads: a file in pieces, that go on where they were."""

import shutil
from typing import Annotated, Any, Final

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from palladion.errors import InputError
from palladion.server import models, queries, views
from palladion.server.access import Asking
from palladion.server.errors import ApiError, rate_limited
from palladion.server.routing import Routes
from palladion.server.state import Here, State
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.uploads import WrongOffset

__all__ = ["routes"]

routes = Routes("uploads")

_PIECE: Final = 1 << 20
"""So much of a request is in memory at a time."""
_OCTETS: Final = "application/octet-stream"
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {_OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@routes.post(
    "/uploads",
    "upload:create",
    summary="Begin an upload",
    status_code=201,
    response_model=models.Upload,
    responses={200: {"model": models.Upload, "description": "The one that the account has begun of this file."}},
    errors=("conflict", "storage_full"),
)
def begin(wanted: models.UploadRequest, here: Here, caller: Asking) -> Response:
    """Announce a file; what is there of it already need not be sent again."""
    most = here.settings.limits.upload
    if wanted.bytes > most:
        raise ApiError("too_large", f"a file has at most {most} bytes", most=most)
    _room(here)
    now = here.service.now()
    with here.service.database.read() as tx:
        there = queries.upload_of(tx, caller.known.id, wanted.sha256, wanted.bytes, now) is not None
        used, frees = queries.uploaded_bytes(tx, caller.known.id, now)
    if not there and frees is not None and used + wanted.bytes > here.settings.limits.upload_day:
        message = f"{used} bytes were uploaded within a day; there may be {here.settings.limits.upload_day}"
        raise rate_limited(message, (frees - now).total_seconds())
    try:
        state = here.uploads.begin(account_id=caller.known.id, sha256=wanted.sha256, bytes=wanted.bytes, now=now)
    except Refused as error:
        raise Conflict(str(error)) from None
    answer = views.upload(state)
    return JSONResponse(answer.model_dump(mode="json"), status_code=200 if there else 201)


@routes.get("/uploads/{upload_id}", "upload:read", summary="How far an upload is", response_model=models.Upload)
def get_upload(upload_id: str, here: Here, caller: Asking) -> models.Upload:
    """Which byte comes next."""
    return _state(here, caller.known.id, upload_id)


@routes.patch(
    "/uploads/{upload_id}",
    "upload:write",
    summary="Send a piece of an upload",
    response_model=models.Upload,
    errors=(
        "conflict",
        "offset_mismatch",
        "length_required",
        "unsupported_media_type",
        "checksum_mismatch",
        "storage_full",
    ),
    openapi_extra=_BODY,
)
async def append(
    request: Request,
    upload_id: str,
    here: Here,
    caller: Asking,
    upload_offset: Annotated[int, Header(ge=0, le=1 << 60, description="Where the piece belongs, in bytes.")],
) -> models.Upload:
    """Send the bytes from `Upload-Offset` on. What has come when a connection breaks is kept; GET tells how much.

    With the last byte the checksum is verified; where it is another one, the upload has to begin again.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _OCTETS:
        raise ApiError("unsupported_media_type", f"a piece is sent as {_OCTETS}")
    if "content-length" not in request.headers:
        raise ApiError("length_required", "a piece is sent with Content-Length")
    account = caller.known.id
    state = await run_in_threadpool(_state, here, account, upload_id)
    await run_in_threadpool(_room, here)
    if upload_offset != state.offset:
        raise _elsewhere(state.offset)
    if upload_offset + int(request.headers["content-length"]) > state.bytes:
        raise ApiError("invalid", f"the file was announced with {state.bytes} bytes; this would be more")
    offset, waiting = upload_offset, bytearray()

    async def write() -> None:
        nonlocal offset
        if waiting:
            offset = await run_in_threadpool(_append, here, account, upload_id, offset, bytes(waiting))
            waiting.clear()

    try:
        async for piece in request.stream():
            waiting += piece
            if len(waiting) >= _PIECE:
                await write()
    except (ClientDisconnect, ApiError):
        # What has come is kept, whatever became of the rest.
        await write()
        raise
    await write()
    if offset == state.bytes:
        await run_in_threadpool(_complete, here, account, upload_id)
    return await run_in_threadpool(_state, here, account, upload_id)


@routes.delete("/uploads/{upload_id}", "upload:write", summary="Give an upload up", status_code=204)
def remove(upload_id: str, here: Here, caller: Asking) -> None:
    """Forget an upload; what was submitted of it stays."""
    here.uploads.remove(queries.row_id(upload_id, "upload"), account_id=caller.known.id, now=here.service.now())


def _state(here: State, account_id: str, upload_id: str) -> models.Upload:
    now = here.service.now()
    return views.upload(here.uploads.state(queries.row_id(upload_id, "upload"), account_id=account_id, now=now))


def _append(here: State, account_id: str, upload_id: str, offset: int, data: bytes) -> int:
    try:
        return here.uploads.append(upload_id, offset, data, account_id=account_id, now=here.service.now())
    except WrongOffset as error:
        raise _elsewhere(error.offset) from None


def _complete(here: State, account_id: str, upload_id: str) -> None:
    try:
        here.uploads.complete(upload_id, account_id=account_id, now=here.service.now())
    except InputError as error:
        message = f"{error}; the upload has to begin again"
        raise ApiError("checksum_mismatch", message) from None
    except NotFound:
        raise ApiError("conflict", "the upload was removed while it was sent") from None


def _elsewhere(offset: int) -> ApiError:
    return ApiError("offset_mismatch", f"the upload stands at byte {offset}; go on from there", offset=offset)


def _room(here: State) -> None:
    """Refuses where the disk is nearly full: the database has to have room to the end."""
    try:
        free = shutil.disk_usage(here.settings.data).free
    except OSError:
        return
    if free < here.settings.limits.free_disk:
        raise ApiError("storage_full", "the disk of the service is full; tell the organisers")
