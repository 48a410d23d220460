"""Whatever goes wrong is told in one shape, and nothing of the inside leaves the house."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from palladion.errors import InputError, PalladionError
from palladion.server.errors import CODES, ApiError
from palladion.server.models import ErrorAnswer
from palladion.server.settings import Rate
from palladion.storage.errors import Conflict, NotFound, Refused
from tests.server.site import API, SUBMISSIONS, Site


def _told(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    ErrorAnswer.model_validate(body)
    assert body["error"]["code"] == code
    assert CODES[code][0] == status
    told: dict[str, Any] = body["error"]
    return told


def _failing(app: FastAPI, error: BaseException) -> None:
    """A route that only raises."""

    def fail(_: Request) -> Response:
        raise error

    app.add_route("/fail", fail)


def test_addresses_and_methods_that_there_are_not(site: Site) -> None:
    for path in ("/nope", f"{API}/", f"{API}/nope", f"{API}/challenges/", f"{API}/challenges/demo/teams/x/y"):
        if path != f"{API}/":
            _told(site.client().get(path), 404, "not_found")
    answer = site.client().put(f"{API}/me")
    _told(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, PATCH"
    _told(site.client().request("BREW", f"{API}/challenges"), 405, "method_not_allowed")
    _told(site.client().options(f"{API}/challenges"), 405, "method_not_allowed")


@pytest.mark.parametrize("name", ["nope", "DEMO", "demo%00", "%ff", "a" * 5000, "%2e%2e", "' OR 1=1 --", "😀"])
def test_names_that_nothing_has(site: Site, name: str) -> None:
    for path in (f"{API}/challenges/{name}", f"{API}/challenges/demo/stages/detection/{name}"):
        _told(site.client().get(path), 404, "not_found")
    for path in (f"{API}/submissions/{name}", f"{API}/uploads/{name}"):
        _told(site.client("olga").get(path), 404, "not_found")


def test_documents_that_are_none(site: Site) -> None:
    client = site.client("person-0")
    for content in (b"{", b"\xff\xfe", b"", b"[1,", b"nul", b"[" * 100_000):
        answer = client.post(SUBMISSIONS, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), content[:10]
        ErrorAnswer.model_validate(answer.json())
    documents: tuple[Any, ...] = (
        [],
        1,
        "x",
        None,
        {"track": 1},
        {"track": "labels", "sha256": "z" * 64, "filename": "x"},
    )
    for document in documents:
        _told(client.post(SUBMISSIONS, json=document), 422, "invalid")


def test_every_fault_of_a_request_is_told_and_where(site: Site) -> None:
    wanted = {"track": "labels", "sha256": "z", "filename": "a\u202eb", "again": "perhaps", "agian": True}
    told = _told(site.client("person-0").post(SUBMISSIONS, json=wanted), 422, "invalid")
    assert {fault["where"] for fault in told["faults"]} == {"body.sha256", "body.filename", "body.again", "body.agian"}
    assert {fault["level"] for fault in told["faults"]} == {"error"}


def test_what_was_typed_is_not_told_again(site: Site) -> None:
    secret = "very secret" * 200
    answer = site.client().post(f"{API}/login", json={"name": "olga", "password": secret})
    _told(answer, 422, "invalid")
    assert "very secret" not in answer.text


def test_bodies_are_limited_whatever_they_say_of_their_length(site: Site) -> None:
    client = site.with_limits(body=1000).client("person-0")
    document = json.dumps({"name": "x" * 2000}).encode()
    told = _told(client.post(f"{API}/challenges/demo/teams", content=document), 413, "too_large")
    assert told["most"] == 1000

    def pieces() -> Any:
        yield from (document[i : i + 100] for i in range(0, len(document), 100))

    # Without a Content-Length: counted while it comes.
    answer = client.post(f"{API}/challenges/demo/teams", content=pieces(), headers={"Content-Type": "application/json"})
    _told(answer, 413, "too_large")
    for length in ("-1", "1e3", "٣", ""):
        headers = {b"content-length": length.encode(), b"content-type": b"application/json"}
        answer = client.post(f"{API}/challenges/demo/teams", content=b"{}", headers=headers)
        _told(answer, 400, "bad_request")


def test_too_many_requests_are_told_when_to_come_again(site: Site) -> None:
    site = site.with_limits(address=Rate(per_second=0.5, burst=3), account=Rate(per_second=0.5, burst=5))
    nobody, somebody = site.client(), site.client("person-0")
    assert [nobody.get(f"{API}/challenges").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = nobody.get(f"{API}/challenges")
    told = _told(answer, 429, "rate_limited")
    assert int(answer.headers["retry-after"]) == told["retry_after"] <= 3
    # Whoever has an account has a limit of their own, from wherever they come.
    assert [somebody.get(f"{API}/me").status_code for _ in range(6)] == [200] * 5 + [429]
    assert site.client("person-1").get(f"{API}/me").status_code == 200
    # A bad token is no way round the limit of the address; monitors are not counted.
    assert site.client(None, Authorization="Bearer pld_x_y").get(f"{API}/me").status_code == 429
    assert nobody.get("/health/live").status_code == 200


def test_an_error_that_nobody_expected_has_an_id_that_is_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    _failing(site.app, ZeroDivisionError("a secret: pld_123"))
    with caplog.at_level(logging.ERROR):
        answer = site.client().get("/fail")
    told = _told(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert len(told["id"]) == 20
    assert told["id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_errors_of_the_service_tell_no_paths(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    _failing(site.app, PalladionError("/srv/palladion/secret.db: cannot be used"))
    with caplog.at_level(logging.ERROR):
        answer = site.client().get("/fail")
    told = _told(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "/srv" not in answer.text
    assert "/srv/palladion/secret.db" in caplog.text
    assert told["id"] in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("there is no team"), 404, "not_found"),
        (Conflict("the team is full"), 409, "conflict"),
        (Refused("not allowed"), 409, "conflict"),
        (InputError("is no name"), 422, "invalid"),
        (ApiError("quota", "used up"), 429, "quota"),
    ],
)
def test_what_the_storage_refuses_is_told_in_its_words(site: Site, error: Exception, status: int, code: str) -> None:
    _failing(site.app, error)
    told = _told(site.client().get("/fail"), status, code)
    assert told["message"] == str(error) or told["message"] == "used up"


def test_without_its_database_it_says_so_and_no_more(site: Site) -> None:
    client = site.client("person-0")
    site.database.close()
    Path(site.database.url).unlink()
    answer = client.get(f"{API}/challenges")
    _told(answer, 503, "unavailable")
    assert "db" not in answer.json()["error"]["message"]


def test_words_that_hide_something_are_told_in_the_open() -> None:
    body = json.loads(bytes(ApiError("conflict", "a\u202eb\x00c" + "x" * 5000).response().body))
    assert body["error"]["message"].startswith("a?b?c")
    assert len(body["error"]["message"]) <= 1000


def test_codes_and_their_statuses_are_in_the_description(site: Site) -> None:
    document = site.client().get(f"{API}/openapi.json").json()
    assert all(f"`{code}`" in document["info"]["description"] for code in CODES)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/health/ready":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (method, path, status)
