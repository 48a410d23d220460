"""Connections of clients that are slow, or mean it: a real server, and sockets."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from palladion.server.connections import MOST_HEADER_BYTES, protocol_for
from tests.server.site import API, Site


@contextmanager
def served(site: Site) -> Iterator[tuple[str, int]]:
    """The app behind the very connections that the service has."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        site.app,
        http=protocol_for(site.settings.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)


def _told(connection: socket.socket) -> tuple[int, str, dict[str, str]]:
    """Status, code of the error, and headers, until the server hangs up."""
    connection.settimeout(20)
    content = b""
    while piece := connection.recv(65536):
        content += piece
    head, _, body = content.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), json.loads(body)["error"]["code"], headers


def test_headers_that_never_end_are_not_waited_for(site: Site) -> None:
    site = site.with_limits(idle_seconds=0.5)
    with served(site) as address:
        for begun in (b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection(address) as connection:
                connection.settimeout(20)
                connection.sendall(begun)
                assert connection.recv(100) == b""
        # The second request of a connection has to come in time as well.
        with socket.create_connection(address) as connection:
            connection.settimeout(20)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET /health")
            while connection.recv(65536):
                pass


def test_bodies_that_never_come_are_not_waited_for(site: Site) -> None:
    site = site.with_limits(idle_seconds=0.5, request_seconds=0.7)
    head = f"POST {API}/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    with served(site) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(head.encode() + b"{")
            status, code, headers = _told(connection)
        assert (status, code, headers["connection"]) == (408, "timeout", "close")
        # A byte now and then is not enough either.
        with socket.create_connection(address) as connection:
            connection.sendall(head.encode())
            for _ in range(4):
                connection.sendall(b"{")
                time.sleep(0.2)
            status, code, _ = _told(connection)
        assert (status, code) == (408, "timeout")


def test_what_is_too_large_is_refused_before_it_has_come(site: Site) -> None:
    with served(site) as address, socket.create_connection(address) as connection:
        head = f"POST {API}/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
        connection.sendall(head.encode())
        status, code, headers = _told(connection)
    assert (status, code, headers["connection"]) == (413, "too_large", "close")


def test_what_is_no_http_is_told_so(site: Site) -> None:
    with served(site) as address:
        for request in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000):
            with socket.create_connection(address) as connection:
                connection.sendall(request)
                assert _told(connection)[:2] == (400, "bad_request")


def test_there_are_so_many_connections_and_no_more(site: Site) -> None:
    site = site.with_limits(connections=2)
    with served(site) as address:
        with socket.create_connection(address), socket.create_connection(address):
            time.sleep(0.1)
            with socket.create_connection(address) as third:
                status, code, headers = _told(third)
            assert (status, code, headers["retry-after"]) == (503, "unavailable", "5")
        time.sleep(0.1)
        with socket.create_connection(address) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_whoever_asks_and_does_not_read_is_disconnected(site: Site) -> None:
    site = site.with_limits(idle_seconds=0.5, connections=1)
    content = site.world.folder / "data" / "labels" / "base" / "large.bin"
    with content.open("wb") as file:
        file.truncate(64 << 20)
    path = f"{API}/challenges/demo/stages/labels/development/files/base/large.bin"
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.tokens['person-0']}\r\n\r\n"
    try:
        with served(site) as address, socket.create_connection(address) as connection:
            connection.sendall(request.encode())
            connection.settimeout(20)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(2)
            # Its place is free for others, although it has not hung up.
            with socket.create_connection(address) as other:
                other.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert other.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        content.unlink()
