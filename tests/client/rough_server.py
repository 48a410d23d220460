"""A real HTTP server that treats its clients roughly: it breaks connections, is away for a while, and lies."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = "/api/v1"
ID = "a" * 20


class RoughServer:
    """What the server holds, and how it misbehaves.

    Attributes:
        files: that can be downloaded, by their names.
        listing: what it says of them, where that is not the truth.
        cut: bytes after which it breaks off the answers to come, one each; then it is honest.
        swallow: bytes of the chunks to come that it takes before it breaks the connection, one each.
        statuses: with which it answers the requests to come, one each, instead of what they ask for.
        headers: of those answers.
        ranges: whether it knows ranges.
        damage: whether it changes the first byte of files that it sends.
        chunk_bytes: most that it takes at a time; None is no limit. ``told_chunk_bytes`` is what it says.
        arrived: of the upload; ``complete``: the checksum of all of it was verified.
        seen: method and path of every request, the answered ones and the others.
        answers: JSON that it answers to a path, whatever is asked.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.listing: list[dict[str, Any]] | None = None
        self.cut: list[int] = []
        self.swallow: list[int] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.ranges = True
        self.damage = 0
        self.chunk_bytes: int | None = None
        self.told_chunk_bytes = 1 << 20
        self.expected: dict[str, Any] | None = None
        self.arrived = b""
        self.complete = False
        self.forget_upload = 0
        self.seen: list[tuple[str, str]] = []
        self.requested: list[dict[str, str]] = []
        self.answers: dict[str, Any] = {}
        self.raw: dict[str, bytes] = {}
        self.on_chunk: Callable[[bytes], None] = lambda _: None
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # else head and body go in two packets, and the second waits for an acknowledgement
    rough: RoughServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        rough = self.rough
        if path in rough.raw:
            self._send(200, rough.raw[path])
        elif path in rough.answers:
            self._json(200, rough.answers[path])
        elif path == "/":
            uploads = {"most_bytes": 1 << 30, "chunk_bytes": rough.told_chunk_bytes}
            self._json(200, {"name": "palladion", "version": "9", "uploads": uploads})
        elif path.endswith("/files"):
            listing = rough.listing
            if listing is None:
                listing = [
                    {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                    for name, content in rough.files.items()
                ]
            self._json(200, {"items": listing, "next": None})
        elif "/files/" in path:
            self._file(unquote(path.partition("/files/")[2]))
        elif path.startswith("/uploads/"):
            self._json(200, self._upload())
        else:
            self._json(404, {"error": {"code": "not_found", "message": "there is nothing here"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._path()
        if path is None:
            return
        if path == "/uploads":
            asked = json.loads(body)
            if self.rough.expected is None:
                self.rough.expected = asked
            self._json(201, self._upload())
        elif path in self.rough.answers:
            self._json(201, self.rough.answers[path])
        else:
            self._json(404, {"error": {"code": "not_found", "message": "there is nothing here"}})

    def do_PATCH(self) -> None:
        rough = self.rough
        length, offset = int(self.headers["Content-Length"]), int(self.headers["Upload-Offset"])
        if rough.chunk_bytes is not None and length > rough.chunk_bytes:
            # As a proxy does it: not a word of JSON, and the body is not read.
            self.close_connection = True
            self._send(413, b"<html>too large</html>")
            return
        swallow = rough.swallow.pop(0) if rough.swallow else None
        body = self.rfile.read(length if swallow is None else min(swallow, length))
        rough.on_chunk(body)
        if self._path() is None:
            return
        if rough.forget_upload:
            rough.forget_upload -= 1
            rough.arrived = b""
            self._json(404, {"error": {"code": "not_found", "message": "there is no such upload"}})
            return
        if offset != len(rough.arrived):
            detail = {"code": "offset_mismatch", "message": "the next byte is another", "offset": len(rough.arrived)}
            self._json(409, {"error": detail})
            return
        rough.arrived += body
        if swallow is not None:
            self.close_connection = True
            self.connection.close()
            return
        assert rough.expected is not None
        whole = len(rough.arrived) == rough.expected["bytes"]
        if whole and hashlib.sha256(rough.arrived).hexdigest() != rough.expected["sha256"]:
            rough.arrived = b""
            self._json(422, {"error": {"code": "checksum_mismatch", "message": "the checksum does not fit"}})
            return
        rough.complete = whole
        self._json(200, self._upload())

    def _path(self) -> str | None:
        """The path below the root; None where the request was treated roughly already."""
        rough = self.rough
        path = urlsplit(self.path).path.removeprefix(ROOT)
        rough.seen.append((self.command, path))
        rough.requested.append({name.lower(): value for name, value in self.headers.items()})
        if rough.statuses:
            status = rough.statuses.pop(0)
            if status == 0:
                self.close_connection = True
                self.connection.close()
            else:
                self._json(status, {"error": {"code": "said", "message": "not now"}}, rough.headers)
            return None
        return path

    def _upload(self) -> dict[str, Any]:
        expected, arrived = self.rough.expected, self.rough.arrived
        assert expected is not None
        told = {"offset": len(arrived), "complete": self.rough.complete, "expires": "2030-01-01T00:00:00Z"}
        return {"id": ID, **expected, **told}

    def _file(self, name: str) -> None:
        content = self.rough.files[name]
        if self.rough.damage:
            self.rough.damage -= 1
            content = b"?" + content[1:]
        asked = self.headers.get("Range")
        start = 0
        headers = {}
        if asked is not None and self.rough.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._send(416, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if headers else 200, content[start:], headers)

    def _json(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.rough.cut and "/files/" in self.path:
            self.wfile.write(body[: self.rough.cut.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What goes wrong on a connection that was broken on purpose is no news."""


@contextmanager
def rough_server() -> Iterator[RoughServer]:
    rough = RoughServer()
    handler = type("Handler", (_Handler,), {"rough": rough})
    server = _Server(("127.0.0.1", 0), handler)
    rough.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield rough
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
