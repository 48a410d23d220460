import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.client import Client, Rejected, ServerFault, Unreachable, send_file
from palladion.client.transfer import silent
from palladion.client.uploads import LARGEST_CHUNK, SMALLEST_CHUNK, next_chunk
from palladion.errors import InputError
from tests.client.rough_server import RoughServer

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("palladion.client.uploads._FIRST_CHUNK", SMALLEST_CHUNK)
    path = tmp_path / "mine.zip"
    path.write_bytes(CONTENT)
    return path


def test_a_file_arrives_whole(client: Client, rough: RoughServer, path: Path) -> None:
    sent = send_file(client, path, show=silent)
    assert rough.arrived == CONTENT
    assert (sent.sha256, sent.bytes, sent.sent) == (hashlib.sha256(CONTENT).hexdigest(), 300_000, 300_000)
    # It is there: nothing travels again.
    rough.seen = []
    assert send_file(client, path, show=silent).sent == 0
    assert ("PATCH", "/uploads/" + "a" * 20) not in rough.seen


def test_a_broken_connection_costs_what_did_not_arrive(client: Client, rough: RoughServer, path: Path) -> None:
    rough.swallow = [10_000, 0, 30_000]
    sent = send_file(client, path, show=silent)
    assert rough.arrived == CONTENT
    assert sent.sent == 300_000


def test_a_server_that_is_away_for_a_while_is_waited_for(client: Client, rough: RoughServer, path: Path) -> None:
    rough.on_chunk = lambda _: rough.statuses.extend([503, 0]) if len(rough.seen) == 3 else None
    send_file(client, path, show=silent)
    assert rough.arrived == CONTENT


def test_what_broke_off_goes_on_where_it_was(client: Client, rough: RoughServer, path: Path) -> None:
    rough.swallow = [SMALLEST_CHUNK, 20_000, *[0] * 10]
    with pytest.raises(Unreachable, match="the same command goes on where it is"):
        send_file(client, path, show=silent)
    arrived = len(rough.arrived)
    assert arrived == SMALLEST_CHUNK + 20_000
    rough.swallow = []
    assert send_file(client, path, show=silent).sent == 300_000 - arrived
    assert rough.arrived == CONTENT


def test_an_end_that_nobody_heard_of_is_made_sure(client: Client, rough: RoughServer, path: Path) -> None:
    path.write_bytes(CONTENT[:5000])
    # All of it arrives, and then the connection breaks.
    rough.swallow = [5000]
    sent = send_file(client, path, show=silent)
    assert rough.complete
    assert rough.arrived == CONTENT[:5000]
    assert sent.sent == 5000


def test_ctrl_c_says_how_to_go_on(client: Client, rough: RoughServer, path: Path) -> None:
    def interrupt(_: bytes) -> None:
        if rough.arrived:
            os.kill(os.getpid(), 2)

    rough.on_chunk = interrupt
    with pytest.raises(KeyboardInterrupt) as stopped:
        send_file(client, path, show=silent)
    words = str(stopped.value)
    assert words.startswith("stopped; ")
    assert words.endswith(" of 293 KiB have arrived, and the same command goes on there")
    assert "\n" not in words
    rough.on_chunk = lambda _: None
    sent = send_file(client, path, show=silent)
    assert 0 < sent.sent < 300_000
    assert rough.arrived == CONTENT


def test_an_upload_that_was_cleared_away_begins_anew(client: Client, rough: RoughServer, path: Path) -> None:
    rough.forget_upload = 1
    send_file(client, path, show=silent)
    assert rough.arrived == CONTENT
    rough.arrived, rough.complete, rough.forget_upload = b"", False, 100
    with pytest.raises(Exception, match="no such upload"):
        send_file(client, path, show=silent)


def test_bytes_that_were_damaged_on_the_way_are_sent_once_more(client: Client, rough: RoughServer, path: Path) -> None:
    damaged = [True]

    def damage(_: bytes) -> None:
        if rough.arrived and damaged.pop():
            rough.arrived = b"?" + rough.arrived[1:]
            rough.on_chunk = lambda _: None

    rough.on_chunk = damage
    send_file(client, path, show=silent)
    assert rough.arrived == CONTENT


def test_what_stands_between_may_take_less_at_a_time(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(CONTENT * 4)
    rough.chunk_bytes = 100_000
    send_file(client, path, show=silent)
    assert rough.arrived == CONTENT * 4
    rough.arrived, rough.complete, rough.chunk_bytes = b"", False, 1000
    with pytest.raises(Rejected, match="413"):
        send_file(client, path, show=silent)


def test_the_server_says_how_much_it_takes_at_a_time(client: Client, rough: RoughServer, path: Path) -> None:
    rough.told_chunk_bytes = rough.chunk_bytes = 7000
    send_file(client, path, show=silent)
    assert rough.arrived == CONTENT


def test_a_file_that_changes_is_told(client: Client, rough: RoughServer, path: Path) -> None:
    def change(_: bytes) -> None:
        path.write_bytes(CONTENT[:-1] + b"!")

    rough.on_chunk = change
    with pytest.raises(InputError, match="changed while it was sent"):
        send_file(client, path, show=silent)
    path.write_bytes(CONTENT)
    rough.expected, rough.arrived = None, b""
    rough.on_chunk = lambda _: os.truncate(path, 70_000)
    with pytest.raises(InputError, match="become shorter"):
        send_file(client, path, show=silent)


def test_what_is_no_file_is_refused(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("empty", "is empty"), ("pipe", "no plain file"), (".", "no plain file"), ("none", "No such")):
        with pytest.raises(InputError, match=words):
            send_file(client, tmp_path / name, show=silent)
    assert rough.seen == []


def test_a_file_that_is_too_large_is_not_sent(
    client: Client, rough: RoughServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough.answers["/"] = {"name": "palladion", "uploads": {"most_bytes": 200_000, "chunk_bytes": 1000}}
    rough.raw.clear()
    with pytest.raises(InputError, match="293 KiB; the server takes 195 KiB at most"):
        send_file(client, path, show=silent)
    assert [method for method, _ in rough.seen] == ["GET"]


def test_a_server_that_speaks_of_another_file_is_not_believed(client: Client, rough: RoughServer, path: Path) -> None:
    rough.expected = {"sha256": "0" * 64, "bytes": 300_000}
    with pytest.raises(ServerFault, match="another file"):
        send_file(client, path, show=silent)


@given(st.integers(SMALLEST_CHUNK, LARGEST_CHUNK), st.floats(0, 1e6))
def test_parts_grow_where_that_helps_and_shrink_where_it_does_not(chunk: int, seconds: float) -> None:
    following = next_chunk(chunk, seconds)
    assert SMALLEST_CHUNK <= following <= LARGEST_CHUNK
    assert following >= chunk if seconds <= 4.0 else following <= chunk
    assert chunk // 2 <= following <= chunk * 2 or following == SMALLEST_CHUNK
