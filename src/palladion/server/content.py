"""Files as answers: with checksums, ranges to go on from, and never all at once in memory."""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from palladion.server.errors import ApiError

__all__ = ["FILE_ANSWERS", "file_response", "parse_range"]

_CHUNK: Final = 256 << 10
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_BINARY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
FILE_ANSWERS: Final = {
    200: {"content": _BINARY, "description": "The whole file; ETag is its SHA-256 in quotes."},
    206: {"content": _BINARY, "description": "The bytes that the header Range asks for."},
    304: {"description": "Whoever asks has it already (If-None-Match)."},
}
"""How OpenAPI tells of a file."""


def parse_range(header: str, length: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for: first, and one past the last.

    Returns:
        None where the header is none that has to be heeded (several ranges, other units, what is no range): then the
        whole file is the answer.

    Raises:
        ApiError: the file has no such bytes.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, length - int(match[2])), length
    else:
        start, end = int(match[1]), min(length, int(match[2]) + 1 if match[2] else length)
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise ApiError(
            "range_not_satisfiable", f"the file has {length} bytes", headers={"Content-Range": f"bytes */{length}"}
        )
    return start, end


def file_response(request: Request, opened: Callable[[], BinaryIO], *, length: int, sha256: str, name: str) -> Response:
    """A file, or the range of it that is asked for.

    Args:
        request: with Range, If-Range and If-None-Match.
        opened: gives the file, which can be sought in.
        length: of the file.
        sha256: of the file.
        name: that a browser is to save it under.
    """
    tag = f'"{sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        # It is data: no browser is to show or run it.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    unchanged = request.headers.get("if-range", tag) == tag
    wanted = parse_range(asked, length) if asked is not None and unchanged else None
    start, end = wanted or (0, length)
    headers["Content-Length"] = str(end - start)
    status = 200
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
        status = 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    # Opened here, not while it is sent: what cannot be opened is still an error in words.
    file = opened()
    return StreamingResponse(
        _pieces(file, start, end - start), status_code=status, headers=headers, media_type="application/octet-stream"
    )


def _pieces(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length > 0:
            piece = file.read(min(_CHUNK, length))
            if not piece:
                return
            length -= len(piece)
            yield piece
