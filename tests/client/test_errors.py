import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.client.errors import (
    Conflict,
    Fault,
    NotAllowed,
    NotFound,
    QuotaSpent,
    Rejected,
    ServerFault,
    ServiceError,
    Unreachable,
    error_of,
    seconds_to_wait,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def told(code: str, message: str = "a sentence", **more: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code"),
    [
        (400, "bad_request", Rejected, 2),
        (401, "unauthenticated", NotAllowed, 1),
        (403, "forbidden", NotAllowed, 1),
        (404, "not_found", NotFound, 1),
        (405, "method_not_allowed", ServerFault, 1),
        (409, "stage_not_open", Conflict, 1),
        (413, "too_large", Rejected, 2),
        (422, "faulty_submission", Rejected, 2),
        (429, "rate_limited", Unreachable, 5),
        (429, "quota", QuotaSpent, 3),
        (500, "internal", ServerFault, 1),
        (502, "", Unreachable, 5),
        (503, "unavailable", Unreachable, 5),
        (504, "", Unreachable, 5),
        (507, "storage_full", ServerFault, 1),
    ],
)
def test_every_answer_that_says_no_is_an_error_of_its_kind(
    status: int, code: str, kind: type[ServiceError], exit_code: int
) -> None:
    error = error_of(status, told(code), {})
    assert type(error) is kind
    assert (error.status, error.code, error.exit_code) == (status, code, exit_code)
    assert str(error).startswith("a sentence")


def test_a_spent_quota_tells_the_next_slot() -> None:
    error = error_of(429, told("quota", next_slot="2026-01-05T10:30:00Z"), {"retry-after": "5400"})
    assert isinstance(error, QuotaSpent)
    assert error.next_slot == datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
    for slot in (None, "tomorrow", "2026-01-05T10:30:00", 7):
        error = error_of(429, told("quota", next_slot=slot), {})
        assert isinstance(error, QuotaSpent)
        assert error.next_slot is None
    # The same key without a time is no quota.
    assert isinstance(error_of(429, told("rate_limited", next_slot=None), {}), Unreachable)


def test_faults_are_told_errors_first() -> None:
    faults = [
        {"where": "a.csv: row 1", "message": "is stale", "level": "warning"},
        {"where": None, "message": "is \x1b[31mwrong", "level": "error"},
        "nonsense",
        {"message": 7},
    ]
    error = error_of(422, told("faulty_submission", faults=faults), {})
    assert error.faults == (
        Fault("is \\x1b[31mwrong"),
        Fault(""),
        Fault("is stale", "a.csv: row 1", "warning"),
    )
    assert [str(fault) for fault in error.faults] == [
        "error: is \\x1b[31mwrong",
        "error",
        "warning: a.csv: row 1: is stale",
    ]


def test_who_is_not_logged_in_is_told_how() -> None:
    assert "palladion login" in str(error_of(401, told("unauthenticated"), {}))


def test_what_is_sent_on_is_told_and_not_followed() -> None:
    error = error_of(301, b"", {"location": "https://evil.example/\x1b[2J"})
    assert "https://evil.example/\\x1b[2J" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"[]", b'{"error": "x"}', b'{"error": {"message": 1}}', b"[" * 9999]
)
def test_what_is_not_of_palladion_is_told_by_its_status(body: bytes) -> None:
    assert str(error_of(502, body, {})) == "the server answered 502 Bad Gateway"
    assert str(error_of(599, body, {})) == "the server answered 599"


@given(st.integers(300, 599), st.binary(max_size=200), st.text(max_size=50))
def test_no_answer_does_what_a_terminal_obeys(status: int, body: bytes, text: str) -> None:
    for error in (error_of(status, body, {"location": text}), error_of(status, told(text, text), {})):
        assert all(line.isprintable() for line in str(error).split("\n"))
        assert error.code.isprintable()


def test_a_long_message_is_cut() -> None:
    error = error_of(500, told("x" * 500, "y\n" * 100_000), {})
    assert len(str(error)) < 5000
    assert len(error.code) <= 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("Mon, 05 Jan 2026 09:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 08:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("²", None),
        ("", None),
    ],
)
def test_what_a_server_asks_to_wait(header: str, seconds: float | None) -> None:
    assert seconds_to_wait({"retry-after": header}, NOW) == seconds
    assert seconds_to_wait({}, NOW) is None
