from typing import Any

import pytest

from palladion.client import Client, Conflict, NotAllowed, NotFound, ServerFault, Unreachable, connect
from palladion.client.credentials import Login, remember
from palladion.errors import InputError
from tests.client.conftest import QUICK
from tests.client.rough_server import ID, RoughServer

ME: dict[str, Any] = {"account": {"id": ID, "name": "ada", "role": "participant", "state": "active"}, "teams": []}


def test_what_can_be_asked_twice_is_asked_again(client: Client, rough: RoughServer) -> None:
    rough.answers["/me"] = ME
    rough.statuses = [503, 0, 502]
    assert client.me().account.name == "ada"
    assert rough.seen == [("GET", "/me")] * 4


def test_asking_comes_to_an_end(client: Client, rough: RoughServer) -> None:
    rough.statuses = [503] * 10
    with pytest.raises(Unreachable, match="not now"):
        client.me()
    assert len(rough.seen) == QUICK.tries


def test_a_server_that_is_not_there_is_told() -> None:
    with Client("http://127.0.0.1:1", patience=QUICK) as client, pytest.raises(Unreachable) as error:
        client.me()
    assert "http://127.0.0.1:1 cannot be reached" in str(error.value)
    assert error.value.exit_code == 5


def test_what_was_perhaps_done_is_not_done_twice(client: Client, rough: RoughServer) -> None:
    for statuses in ([502], [0]):
        rough.statuses, rough.seen = list(statuses), []
        with pytest.raises(Unreachable):
            client.create_team("trojai", "Team")
        assert rough.seen == [("POST", "/challenges/trojai/teams")]


def test_the_same_file_may_be_handed_in_twice_unless_that_makes_two(client: Client, rough: RoughServer) -> None:
    path = "/challenges/trojai/submissions"
    rough.answers[path] = {
        "id": ID,
        "challenge": "trojai",
        "track": "detection",
        "stage": "round-0",
        "team": {"id": ID, "name": "Team"},
        "filename": "x.zip",
        "state": "pending",
        "created": "2026-01-05T09:00:00Z",
    }
    rough.statuses = [0]
    submission, new = client.submit("trojai", "detection", sha256="0" * 64, filename="x.zip")
    assert (submission.id, new) == (ID, True)
    assert len(rough.seen) == 2
    rough.statuses = [0]
    with pytest.raises(Unreachable):
        client.submit("trojai", "detection", sha256="0" * 64, filename="x.zip", again=True)


def test_too_many_requests_wait_as_long_as_the_server_wants(client: Client, rough: RoughServer) -> None:
    rough.answers["/me"] = ME
    rough.statuses, rough.headers = [429], {"Retry-After": "0"}
    assert client.me().account.name == "ada"
    # Longer than anybody waits for a program.
    rough.statuses, rough.headers, rough.seen = [429], {"Retry-After": "3600"}, []
    with pytest.raises(Unreachable):
        client.me()
    assert len(rough.seen) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(401, NotAllowed), (404, NotFound), (409, Conflict), (500, ServerFault), (301, ServerFault)]
)
def test_what_will_not_change_is_not_asked_again(
    client: Client, rough: RoughServer, status: int, kind: type[Exception]
) -> None:
    rough.statuses, rough.headers = [status], {"Location": "http://127.0.0.1:1/"}
    with pytest.raises(kind):
        client.me()
    assert len(rough.seen) == 1


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"NaN", b'{"account": NaN}', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_not_the_answer_is_refused(client: Client, rough: RoughServer, body: bytes) -> None:
    rough.raw["/me"] = body
    with pytest.raises(ServerFault):
        client.me()


def test_an_answer_without_end_is_not_read_to_its_end(
    client: Client, rough: RoughServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palladion.client.api._MOST_BYTES", 1000)
    rough.raw["/me"] = b" " * 100_000
    with pytest.raises(ServerFault, match="has no end"):
        client.me()


def test_all_pages_of_a_list_are_read(client: Client, rough: RoughServer) -> None:
    account = ME["account"]
    rough.answers["/accounts"] = {"items": [account, account], "next": None}
    assert len(client.accounts()) == 2
    # The same page again and again would have no end.
    rough.answers["/accounts"] = {"items": [account], "next": "x"}
    assert len(client.accounts()) == 2
    wrongs: list[Any] = [[], {"items": {}}, {"next": None}]
    for wrong in wrongs:
        rough.answers["/accounts"] = wrong
        with pytest.raises(ServerFault, match="not the list"):
            client.accounts()


def test_an_id_leads_nowhere_else(client: Client, rough: RoughServer) -> None:
    for name in ("../me", "a/b", "", "a?b", "x" * 101):
        with pytest.raises(NotFound, match="is no id"):
            client.submission(name)
    assert rough.seen == []


def test_no_proxy_stands_between_a_machine_and_itself(rough: RoughServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    rough.answers["/me"] = ME
    with Client(rough.url, "pld_a_secret", patience=QUICK) as client:
        assert client.me().account.name == "ada"
    assert rough.requested[0]["authorization"] == "Bearer pld_a_secret"


def test_the_token_goes_to_the_server_that_it_is_of(rough: RoughServer, monkeypatch: pytest.MonkeyPatch) -> None:
    rough.answers["/me"] = ME
    remember("https://a.example", Login("ada", "pld_aaaaaaaa_secret"))
    with pytest.raises(InputError, match="nobody is logged in"):
        connect(rough.url)
    with connect(rough.url, anonymous=True) as client:
        client.me()
    assert "authorization" not in rough.requested[-1]
    remember(rough.url, Login("ada", "pld_bbbbbbbb_secret"))
    with connect() as client:
        client.me()
    assert rough.requested[-1]["authorization"] == "Bearer pld_bbbbbbbb_secret"
    remember("http://a.example", Login("ada", "pld_cccccccc_secret"))
    with pytest.raises(InputError, match="without encryption"):
        connect("http://a.example")
    # As nobody there is no secret to lose.
    connect("http://b.example", anonymous=True).close()
