"""What stands in front of every request: its size and its pace, headers of the answer, counts, and the last resort."""

import asyncio
import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palladion.server.errors import ApiError, answer_to, internal_error
from palladion.server.metrics import Metrics
from palladion.server.settings import Limits

__all__ = ["Guard"]

access_log = logging.getLogger("palladion.access")

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_SLOWEST: Final = 8 << 10
"""Bytes a second: an upload that is slower is broken off, and goes on with the next request."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # Pages say themselves what they load; whatever else a browser should take for one loads nothing.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The outermost layer of the app.

    The body of a request is counted while it comes, whatever its Content-Length says, and has to come in time. An error
    that nobody expected becomes an answer with an id that is in the log. Who asks by HEAD gets the headers of what GET
    answers, its length among them, and no body, whoever made it.

    Args:
        app: what it stands in front of.
        limits: of size and of time.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            elif scope["method"] == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        self._metrics.running.inc()
        try:
            try:
                body = _Body(scope, receive, self._limits)
                await self._app(scope, body.receive, answer)
            except ClientDisconnect:
                status = status or 499
            except Exception as error:
                if status:
                    # The answer is on its way already: all that can be done is to break it off.
                    internal_error(error, _what(scope))
                    raise
                told = error if isinstance(error, ApiError) else internal_error(error, _what(scope))
                # The app is known once a request has reached it; what was refused before is told to programs.
                response = answer_to(Request(scope), told) if "app" in scope else told.response()
                await response(scope, receive, answer)
        finally:
            self._metrics.running.dec()
            seconds = time.perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", None) or "unknown"
            self._metrics.request(method, route, status or 500, seconds)
            client = scope.get("client")
            address = client[0] if client else "-"
            access_log.info("%s %s %d %.0f ms", address, _what(scope), status, seconds * 1000)


class _Body:
    """Counts and times what comes in.

    Raises:
        ApiError: Content-Length is larger than allowed, or none.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        headers = Headers(scope=scope)
        # Uploads alone come as bytes; which routes take them is for the routes to say.
        self._upload = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/octet-stream"
        self._most = limits.chunk if self._upload else limits.body
        self._came = 0
        self._done = False
        self._ends = time.monotonic() + limits.request_seconds
        length = headers.get("content-length")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                raise ApiError("bad_request", "Content-Length is no number")
            if int(length[:20]) > self._most:
                raise self._too_large()
            self._ends += int(length) / _SLOWEST if self._upload else 0

    async def receive(self) -> Message:
        if self._done:
            return await self._receive()
        patience = min(self._limits.idle_seconds, self._ends - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(patience, 0.001))
        except TimeoutError:
            message_ = "the body of the request did not come in time"
            raise ApiError("timeout", message_, headers={"Connection": "close"}) from None
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            if self._came > self._most:
                raise self._too_large()
            self._done = not message.get("more_body", False)
        return message

    def _too_large(self) -> ApiError:
        what = "one request of an upload" if self._upload else "the body of a request"
        # What is still to come of the body is not waited for.
        return ApiError(
            "too_large", f"{what} has at most {self._most} bytes", headers={"Connection": "close"}, most=self._most
        )


def _what(scope: Scope) -> str:
    # The path alone: what follows ? may hold a code.
    return f"{scope['method'][:20]} {ascii(scope['path'])[1:-1][:200]}"
