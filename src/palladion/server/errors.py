"""One shape for whatever goes wrong: ``{"error": {"code": ..., "message": ...}}``, whatever the status.

What is wrong with a request is told in words. What is wrong with the service is told by an id that is in the log
together with the rest; nothing of the inside, no path and no traceback, leaves the house.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi import HTTPException as FastApiError
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from palladion.errors import InputError, PalladionError
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.ids import new_id
from palladion.storage.texts import plain

__all__ = [
    "CODES",
    "ApiError",
    "Fault",
    "PagesOfErrors",
    "answer_to",
    "install_handlers",
    "internal_error",
    "rate_limited",
    "told_of",
    "translated",
    "unavailable",
]

log = logging.getLogger("palladion.server")

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "bad_request": (400, "The request cannot be understood."),
    "unauthenticated": (401, "There is no token, or it is not valid: log in."),
    "wrong_credentials": (401, "Name or password is wrong, or the account is not in use."),
    "forbidden": (403, "This account, or this token, may not do it."),
    "not_found": (404, "There is no such thing, or it is not for whoever asks."),
    "method_not_allowed": (405, "This address does not know the method."),
    "not_acceptable": (406, "There is no such format of the answer."),
    "timeout": (408, "The body of the request did not come in time."),
    "conflict": (409, "It does not fit what is there."),
    "stage_not_open": (409, "The stage takes no submissions."),
    "cannot_open": (409, "The stage cannot open; `faults` tells why."),
    "offset_mismatch": (409, "The bytes are not the next ones; `offset` tells which are."),
    "length_required": (411, "The length of the body must be told."),
    "too_large": (413, "The body, or the file, is larger than allowed."),
    "unsupported_media_type": (415, "The body is not of the type that is asked for."),
    "range_not_satisfiable": (416, "The file has no such bytes."),
    "invalid": (422, "The request is not as it must be; `faults` tells what is wrong, and where."),
    "faulty_submission": (422, "The submission has faults; it cost nothing."),
    "checksum_mismatch": (422, "The bytes that came are not those of the checksum; the upload begins again."),
    "rate_limited": (429, "Too many requests; try again after `retry_after` seconds."),
    "quota": (429, "The quota is used up; `next_slot` tells when there is one again, if time alone can tell."),
    "internal": (500, "Something went wrong in the service; `id` is in its log."),
    "unavailable": (503, "The service cannot do it at this moment; try again after `retry_after` seconds."),
    "storage_full": (507, "The disk of the service is full."),
}
"""Every code, with its status and what it means."""

_BY_STATUS = {status: code for code, (status, _) in reversed(list(CODES.items()))}
_MOST_FAULTS = 100
_WORDS = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        where: a key of the request, or a file of a submission; None where there is no place.
        message: what is wrong, in words.
        level: error or warning.
    """

    where: str | None
    message: str
    level: str = "error"


class ApiError(FastApiError):
    """An answer that says no.

    It is of FastAPI's own kind: of any other that is raised while a body is read, FastAPI makes a 400.

    Args:
        code: one of :data:`CODES`.
        message: a sentence for whoever asked.
        faults: every single thing that is wrong.
        headers: of the answer.
        more: other keys of the answer; times are told in UTC.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        self.code = code
        self.status = CODES[code][0]
        super().__init__(self.status, message)
        self.message = message
        self.faults = list(faults)
        self.answer_headers = dict(headers or {})
        self.more = more

    def response(self) -> Response:
        """As it goes out."""
        body: dict[str, Any] = {"code": self.code, "message": plain(self.message, _WORDS)}
        if self.faults:
            body["faults"] = [
                {
                    "where": None if fault.where is None else plain(fault.where, 200),
                    "message": plain(fault.message, _WORDS),
                    "level": fault.level,
                }
                for fault in self.faults[:_MOST_FAULTS]
            ]
        for name, value in self.more.items():
            body[name] = _time(value) if isinstance(value, datetime) else value
        headers = {"Cache-Control": "no-store", **self.answer_headers}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("WWW-Authenticate", "Bearer")
        text = json.dumps({"error": body}, ensure_ascii=True, allow_nan=False)
        return Response(text, status_code=self.status, headers=headers, media_type="application/json")


def rate_limited(message: str, seconds: float) -> ApiError:
    """Too many requests: after so many seconds there may be another."""
    wait = max(1, round(seconds + 0.5))
    return ApiError("rate_limited", message, headers={"Retry-After": str(wait)}, retry_after=wait)


def internal_error(error: BaseException, what: str) -> ApiError:
    """Log an error that nobody expected, with its traceback, under an id; the answer tells only the id."""
    number = new_id()
    log.error("%s: unexpected error %s", what, number, exc_info=error)
    return ApiError("internal", f"something went wrong in the service; tell the organisers {number}", id=number)


def unavailable(error: BaseException, what: str) -> ApiError:
    """Log an error of the service itself, such as a database that cannot be reached, under an id."""
    number = new_id()
    log.error("%s: %s (%s)", what, plain(str(error), _WORDS), number)
    message = f"the service cannot do this at the moment; try again, or tell the organisers {number}"
    return ApiError("unavailable", message, headers={"Retry-After": "5"}, retry_after=5, id=number)


@dataclass(frozen=True, slots=True)
class PagesOfErrors:
    """How people are told of errors.

    Attributes:
        paths: templates of the addresses of pages.
        make: makes the page.
    """

    paths: Collection[str]
    make: Callable[[Request, ApiError], Response]


def install_handlers(app: FastAPI) -> None:
    """Let the app answer every error in the one shape."""
    app.add_exception_handler(ApiError, _answer(_api_error))
    app.add_exception_handler(HTTPException, _answer(_http_error))
    app.add_exception_handler(RequestValidationError, _answer(_invalid))
    app.add_exception_handler(PalladionError, _answer(translated))


def _answer(make: Callable[[Request, Any], ApiError]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        return answer_to(request, make(request, error))

    return handler


def answer_to(request: Request, error: ApiError) -> Response:
    """The answer that says no: a page for people who look at one, and otherwise what programs read."""
    pages: PagesOfErrors | None = getattr(request.app.state, "error_pages", None)
    if pages is None or not _looks_at_a_page(request, pages.paths):
        return error.response()
    try:
        return pages.make(request, error)
    except Exception as fault:
        # What is wrong is told even where the page that would tell it cannot be made, as without a database.
        log.error("%s: no page for the error %s", _what(request), error.code, exc_info=fault)
        return error.response()


def _looks_at_a_page(request: Request, paths: Collection[str]) -> bool:
    path = request.url.path
    if getattr(request.state, "sent_by_page", False):
        # Somebody looks at what comes back, whatever the address is that they were sent on to.
        return True
    if path.endswith((".json", ".csv")):
        return False
    route = getattr(request.scope.get("route"), "path", None)
    if route is not None:
        return route in paths
    return not path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _api_error(_: Request, error: ApiError) -> ApiError:
    return error


def translated(request: Request, error: PalladionError) -> ApiError:
    """What other rooms refuse, as an answer."""
    if isinstance(error, NotFound):
        return ApiError("not_found", str(error))
    if isinstance(error, Conflict):
        return ApiError("conflict", str(error))
    if isinstance(error, Refused):
        return ApiError("conflict", str(error))
    if isinstance(error, InputError):
        return ApiError("invalid", str(error), faults=[Fault(None, line) for line in str(error).splitlines()])
    return unavailable(error, _what(request))


def _http_error(request: Request, error: HTTPException) -> ApiError:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return ApiError("not_found", "there is nothing at this address")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = ", ".join(_methods(request))
        return ApiError(
            "method_not_allowed",
            f"this address does not know {request.method[:20]}; it knows {methods}",
            headers={"Allow": methods},
        )
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        return internal_error(error, _what(request))
    return ApiError(code, str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """All methods of an address: each of them is a route of its own."""
    scope = dict(request.scope)
    return sorted(
        {
            method
            for route in request.app.routes
            if route.matches(scope)[0] is not Match.NONE
            for method in getattr(route, "methods", None) or ()
        }
    )


def _invalid(_: Request, error: RequestValidationError) -> ApiError:
    return told_of(error.errors())


def told_of(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """What pydantic finds wrong, as an answer."""
    faults = [_fault(found) for found in errors[:_MOST_FAULTS]]
    told = "; ".join(f"{fault.where}: {fault.message}" if fault.where else fault.message for fault in faults[:3])
    return ApiError("invalid", told or "the request is not as it must be", faults=faults)


def _fault(found: Mapping[str, Any]) -> Fault:
    # What was given is not told again: it may be a password.
    place: Sequence[object] = found["loc"]
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        message = "there is no such key"
    if found["type"] == "json_invalid":
        return Fault("body", "is not JSON")
    return Fault(".".join(str(part) for part in place), message[:1].lower() + message[1:])


def _what(request: Request) -> str:
    return f"{request.method} {ascii(request.url.path)[1:-1][:200]}"


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
