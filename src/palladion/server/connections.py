"""Connections: how many there may be, and how long one may take to say what it wants, and to take what it gets."""

import asyncio
import json
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from palladion.server.settings import Limits

__all__ = ["MOST_HEADER_BYTES", "protocol_for"]

MOST_HEADER_BYTES: Final = 32 << 10
"""Of the first line and the headers of a request together."""


def protocol_for(limits: Limits) -> type[H11Protocol]:
    """HTTP/1.1 with limits: of connections, of the time until the headers of a request have come, and of the time in
    which nothing of an answer is taken.
    """

    class Limited(H11Protocol):
        """One connection."""

        _waiting: asyncio.TimerHandle | None = None
        _stuck: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Begin; or refuse, where there are too many."""
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                message = "the service has too many connections; try again"
                transport.write(_answer(503, "Service Unavailable", "unavailable", message, retry_after=5))
                transport.close()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Read; the time for headers is over when they are there, and begins anew with those of the next."""
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._rest()
            elif self._waiting is None and self.conn.trailing_data[0]:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """End."""
            self._rest()
            self._flows()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            """The other side takes nothing: not for ever, for it keeps a connection from others."""
            super().pause_writing()
            if self._stuck is None:
                # Not closed but broken off: closing would wait until all of it is taken.
                self._stuck = self.loop.call_later(limits.idle_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            """It goes on."""
            self._flows()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002
            """What is no HTTP gets the same kind of answer as everything else."""
            self._rest()
            message = "this is no HTTP request, or its headers are too long"
            self.transport.write(_answer(400, "Bad Request", "bad_request", message))
            self.transport.close()

        def _wait(self) -> None:
            self._waiting = self.loop.call_later(limits.idle_seconds, self._too_late)

        def _rest(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _flows(self) -> None:
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None

        def _too_late(self) -> None:
            self._waiting = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.close()

    return Limited


def _answer(status: int, phrase: str, code: str, message: str, **more: Any) -> bytes:
    body = json.dumps({"error": {"code": code, "message": message, **more}}).encode()
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    if "retry_after" in more:
        head += f"Retry-After: {more['retry_after']}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
