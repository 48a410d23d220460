"""What pages load: style sheets, scripts and signs, each under an address that changes with what it holds."""

import functools
import gzip
import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.responses import Response

from palladion.server.errors import ApiError
from palladion.server.routing import Routes

__all__ = ["Static", "address", "routes"]

routes = Routes("static", pages=True)

_FOLDER: Final = Path(__file__).parents[1] / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PLOTLY: Final = "plotly.min.js"


@dataclass(frozen=True, slots=True)
class Static:
    """A file that pages load.

    Attributes:
        digest: of what it holds.
        media_type: of it.
        content: as it is.
        packed: the same by gzip.
    """

    digest: str
    media_type: str
    content: bytes
    packed: bytes


@functools.cache
def _paths() -> dict[str, Path]:
    """Every file by its name: nothing of an address becomes part of a path."""
    found = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    plotly = _plotly()
    return found if plotly is None else found | {_PLOTLY: plotly}


@functools.cache
def _file(name: str) -> Static:
    """A file by its name, which has to be one of :func:`_paths`."""
    path = _paths()[name]
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Static(digest, _TYPES[path.suffix], content, gzip.compress(content, 6, mtime=0))


def _plotly() -> Path | None:
    """The script of the package as it is installed: pages load nothing from elsewhere."""
    found = find_spec("plotly")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "package_data" / _PLOTLY
    return path if path.is_file() else None


def address(name: str) -> str:
    """Where a file is.

    Raises:
        LookupError: there is none.
    """
    return f"/static/{_file(name).digest}/{name}"


@routes.get("/static/{digest}/{name}", "documentation:read", free=True)
def static_file(request: Request, digest: str, name: str) -> Response:
    """A file; it may be kept for ever, because another one has another address."""
    found = _file(name) if name in _paths() else None
    if found is None or found.digest != digest:
        raise ApiError("not_found", "there is no such file; load the page again")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Vary": "Accept-Encoding",
        "ETag": f'"{found.digest}"',
    }
    if f'"{found.digest}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.media_type, headers=headers)
