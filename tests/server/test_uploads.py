"""Uploads: in pieces, that go on where they were, of honest and of other clients."""

import hashlib
import socket
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from palladion.server.settings import Rate
from tests.server.site import API, Response, Site
from tests.server.test_guard import served

UPLOADS = f"{API}/uploads"
CONTENT = bytes(range(256)) * 8


def _begin(client: TestClient, content: bytes = CONTENT, **changes: Any) -> Response:
    wanted = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), **changes}
    return client.post(UPLOADS, json=wanted)


def _send(client: TestClient, upload_id: str, offset: int, piece: bytes, **headers: str) -> Response:
    told = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream", **headers}
    return client.patch(f"{UPLOADS}/{upload_id}", content=piece, headers=told)


def test_a_file_in_pieces(site: Site) -> None:
    client = site.client("person-0")
    begun = _begin(client)
    assert begun.status_code == 201
    upload = begun.json()
    assert (upload["offset"], upload["bytes"], upload["complete"]) == (0, len(CONTENT), False)
    for offset in range(0, len(CONTENT), 500):
        answer = _send(client, upload["id"], offset, CONTENT[offset : offset + 500])
        assert answer.status_code == 200, answer.text
        assert answer.json()["offset"] == min(offset + 500, len(CONTENT))
    assert answer.json()["complete"] is True
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["complete"] is True
    assert site.service.artifacts.open(upload["sha256"]).read() == CONTENT


def test_it_goes_on_where_it_was(site: Site) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    _send(client, upload["id"], 0, CONTENT[:700])
    # Somebody who has forgotten everything announces the same file again.
    again = _begin(client)
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["offset"]) == (upload["id"], 700)
    assert _send(client, upload["id"], 700, CONTENT[700:]).json()["complete"]
    assert _begin(client).json()["complete"] is True


@pytest.mark.parametrize("offset", [0, 699, 701, 2048, 1 << 59])
def test_a_piece_that_is_not_the_next_changes_nothing(site: Site, offset: int) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    _send(client, upload["id"], 0, CONTENT[:700])
    answer = _send(client, upload["id"], offset, CONTENT[:10])
    assert answer.status_code == 409
    assert (answer.json()["error"]["code"], answer.json()["error"]["offset"]) == ("offset_mismatch", 700)
    assert _send(client, upload["id"], 700, CONTENT[700:]).json()["complete"]


def test_other_bytes_than_announced_are_refused_and_begin_again(site: Site) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    answer = _send(client, upload["id"], 0, CONTENT[:-1] + b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "checksum_mismatch")
    assert client.get(f"{UPLOADS}/{upload['id']}").status_code == 404
    assert not site.service.artifacts.exists(upload["sha256"])
    again = _begin(client).json()
    assert again["id"] != upload["id"]
    assert _send(client, again["id"], 0, CONTENT).json()["complete"]


def test_more_than_announced_is_refused_and_nothing_of_it_is_kept(site: Site) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    assert _send(client, upload["id"], 0, CONTENT + b"x").status_code == 422
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sha256": "x" * 64}, "invalid"),
        ({"sha256": "A" * 64}, "invalid"),
        ({"bytes": -1}, "invalid"),
        ({"bytes": 0}, "invalid"),
        ({"bytes": 1.5}, "invalid"),
        ({"bytes": 1 << 60}, "invalid"),
        ({"bytes": (1 << 30) + 1}, "too_large"),
        ({"name": "x"}, "invalid"),
    ],
)
def test_what_cannot_be_announced(site: Site, changes: dict[str, Any], code: str) -> None:
    assert _begin(site.client("person-0"), **changes).json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ({"Content-Type": ""}, 415, "unsupported_media_type"),
        ({"Upload-Offset": "-1"}, 422, "invalid"),
        ({"Upload-Offset": "0x10"}, 422, "invalid"),
        ({"Upload-Offset": "9" * 30}, 422, "invalid"),
        ({"Upload-Offset": ""}, 422, "invalid"),
    ],
)
def test_pieces_say_what_they_are(site: Site, headers: dict[str, str], status: int, code: str) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    answer = _send(client, upload["id"], 0, CONTENT, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] == 0


def test_pieces_say_how_long_they_are(site: Site) -> None:
    client = site.client("person-0")
    upload = _begin(client).json()
    headers = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    answer = client.patch(f"{UPLOADS}/{upload['id']}", content=iter([b"ab", b"cd"]), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (411, "length_required")


def test_a_piece_has_a_limit(site: Site) -> None:
    site = site.with_limits(chunk=1000)
    client = site.client("person-0")
    upload = _begin(client).json()
    answer = _send(client, upload["id"], 0, CONTENT)
    assert (answer.status_code, answer.json()["error"]["most"]) == (413, 1000)
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] == 0


def test_unfinished_uploads_are_limited_and_can_be_given_up(site: Site) -> None:
    client = site.client("person-0")
    ids = [_begin(client, bytes([number])).json()["id"] for number in range(8)]
    answer = _begin(client, b"one more")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert client.delete(f"{UPLOADS}/{ids[0]}").status_code == 204
    assert _begin(client, b"one more").status_code == 201
    assert _begin(site.client("person-1"), b"one more").status_code == 201


def test_an_account_uploads_so_much_a_day(site: Site) -> None:
    site = site.with_limits(upload_day=5000)
    client = site.client("person-0")
    for number in range(2):
        content = bytes([number]) * 2000
        _send(client, _begin(client, content).json()["id"], 0, content)
    answer = _begin(client, bytes(2001))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert _begin(client, bytes(1000)).status_code == 201
    site.world.clock.forward(timedelta(days=2))
    assert _begin(client, bytes(2001)).status_code in (201, 401)


def test_a_full_disk_takes_no_uploads(site: Site) -> None:
    upload = _begin(site.client("person-0")).json()
    client = site.with_limits(free_disk=1 << 60).client("person-0")
    assert _begin(client, b"other").json()["error"]["code"] == "storage_full"
    assert _send(client, upload["id"], 0, CONTENT).status_code == 507


def test_what_has_come_when_a_connection_breaks_is_kept(site: Site) -> None:
    content = bytes(3 << 20)
    client = site.client("person-0")
    upload = _begin(client, content).json()
    head = (
        f"PATCH {UPLOADS}/{upload['id']} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n"
        f"Authorization: Bearer {site.tokens['person-0']}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with served(site) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(head.encode() + content[:1_500_000])
            time.sleep(0.5)
        deadline = time.monotonic() + 10
        while client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] < 1_500_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] == 1_500_000
    assert _send(client, upload["id"], 1_500_000, content[1_500_000:]).json()["complete"]


def test_a_client_that_stalls_is_disconnected_and_keeps_what_has_come(site: Site) -> None:
    site = site.with_limits(idle_seconds=0.5)
    client = site.client("person-0")
    upload = _begin(client).json()
    head = (
        f"PATCH {UPLOADS}/{upload['id']} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n"
        f"Authorization: Bearer {site.tokens['person-0']}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    with served(site) as address, socket.create_connection(address) as connection:
        connection.sendall(head.encode() + CONTENT[:100])
        connection.settimeout(10)
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["offset"] == 100


def test_two_that_send_the_same_piece_at_once_get_one_file(site: Site) -> None:
    content = bytes(2 << 20)
    upload = _begin(site.client("person-0"), content).json()
    answers: list[int] = []

    def send() -> None:
        answers.append(_send(site.client("person-0"), upload["id"], 0, content).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 409}
    state = site.client("person-0").get(f"{UPLOADS}/{upload['id']}").json()
    assert (
        state["complete"]
        or _send(site.client("person-0"), upload["id"], state["offset"], content[state["offset"] :]).json()["complete"]
    )
    assert site.service.artifacts.open(upload["sha256"]).read() == content


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200), lengths=st.lists(st.integers(1, 200), max_size=5))
def test_however_it_is_cut_it_is_the_same_file(site: Site, content: bytes, lengths: list[int]) -> None:
    client = site.client("person-0")
    upload = _begin(client, content).json()
    offset = upload["offset"]
    for length in [*lengths, len(content)]:
        if offset < len(content):
            offset = _send(client, upload["id"], offset, content[offset : offset + length]).json()["offset"]
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["complete"]
    assert site.service.artifacts.open(upload["sha256"]).read() == content


def test_many_uploads_are_slowed_down(site: Site) -> None:
    client = site.with_limits(account=Rate(per_second=0.1, burst=3)).client("person-0")
    assert [_begin(client).status_code for _ in range(4)] == [201, 200, 200, 429]
