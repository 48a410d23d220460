"""What can go wrong between a client and the service, in the server's own words.

::

    PalladionError
    └── ServiceError       the service did not do what it was asked to; exit code 1
        ├── Unreachable    it cannot be had now, however often it was asked; exit code 5
        ├── NotAllowed     not logged in, or not for this account
        ├── QuotaSpent     no submission is left now; it tells the next slot, if there is one; exit code 3
        ├── Rejected       what was sent is wrong; it tells the faults; exit code 2
        ├── NotFound       there is no such thing, or not for this account
        ├── Conflict       it does not fit the state that things are in
        └── ServerFault    the server failed, or answered what no server of Palladion answers

A server's words are those of a stranger: no control character in them reaches a terminal.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from palladion.errors import PalladionError
from palladion.submissions.checks import printable

__all__ = [
    "Conflict",
    "Fault",
    "NotAllowed",
    "NotFound",
    "QuotaSpent",
    "Rejected",
    "ServerFault",
    "ServiceError",
    "Unreachable",
    "error_of",
    "seconds_to_wait",
]

_MOST_CHARACTERS, _MOST_LINES, _MOST_FAULTS = 2000, 60, 1000
_QUOTA: Final = "quota"
"""The code of a spent quota; other answers of status 429 mean too many requests."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, in the server's words; printable.

    Attributes:
        message: what, and what to do.
        where: the file and the place in it, or the key of what was sent; empty where it is about all of it.
        level: ``error`` or ``warning``.
    """

    message: str
    where: str = ""
    level: str = "error"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.level, self.where, self.message) if part)


class ServiceError(PalladionError):
    """The service did not do what it was asked to.

    Args:
        message: of the server, or about it; what cannot be printed is escaped.
        code: the server's word for the error, for programs; empty where it did not answer.
        status: of HTTP; None where it did not answer.
        faults: what to change, errors first; empty where the message says it all.
    """

    def __init__(
        self, message: str, *, code: str = "", status: int | None = None, faults: Sequence[Fault] = ()
    ) -> None:
        self.faults = tuple(faults)
        lines = message[: 2 * _MOST_CHARACTERS].splitlines()[:_MOST_LINES]
        self.code = printable(code, 60)
        self.status = status
        super().__init__("\n".join(printable(line, _MOST_CHARACTERS) for line in lines))


class Unreachable(ServiceError):  # noqa: N818 - it says what the server is
    """It cannot be had now: no connection, no answer in time, or busy."""

    exit_code = 5


class NotAllowed(ServiceError):  # noqa: N818
    """Nobody is logged in, or it is not for this account."""


class QuotaSpent(ServiceError):  # noqa: N818
    """No submission is left now.

    Attributes:
        next_slot: when there is one again; None where time alone does not help.
    """

    exit_code = 3

    def __init__(
        self, message: str, *, next_slot: datetime | None = None, code: str = "", status: int | None = None
    ) -> None:
        super().__init__(message, code=code, status=status)
        self.next_slot = next_slot


class Rejected(ServiceError):  # noqa: N818
    """What was sent is wrong."""

    exit_code = 2


class NotFound(ServiceError):  # noqa: N818
    """There is no such thing, or not for this account."""


class Conflict(ServiceError):  # noqa: N818
    """It does not fit the state that things are in."""


class ServerFault(ServiceError):  # noqa: N818
    """The server failed, or answered what no server of Palladion answers."""


_OF_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    400: Rejected,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    408: Unreachable,
    409: Conflict,
    410: NotFound,
    413: Rejected,
    422: Rejected,
    429: Unreachable,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
}


def error_of(status: int, body: bytes, headers: Mapping[str, str]) -> ServiceError:
    """The error that an answer stands for.

    Args:
        status: of HTTP, 300 or more.
        body: ``{"error": {"code": …, "message": …}}`` from a server of Palladion, anything from what stands before it.
        headers: of the answer, their names in lower case.
    """
    told = _told(body)
    code = told.get("code") if isinstance(told.get("code"), str) else ""
    message = told.get("message") if isinstance(told.get("message"), str) else ""
    assert isinstance(code, str)
    assert isinstance(message, str)
    if 300 <= status < 400:
        where = headers.get("location", "elsewhere")
        return ServerFault(
            f"the server sends on to {where}; give the address that it is meant to have", code=code, status=status
        )
    if not message:
        message = f"the server answered {status} {_phrase(status)}".rstrip()
    if status == HTTPStatus.UNAUTHORIZED and code != "wrong_credentials":
        message += "; log in with: palladion login"
    if status == HTTPStatus.TOO_MANY_REQUESTS and (code == _QUOTA or told.get("next_slot")):
        return QuotaSpent(message, next_slot=_instant(told.get("next_slot")), code=code, status=status)
    kind = _OF_STATUS.get(status, ServerFault)
    return kind(message, code=code, status=status, faults=_faults(told.get("faults")))


def seconds_to_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """What ``Retry-After`` asks for, in seconds from ``now``; None where there is none, or none that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        instant = parsedate_to_datetime(text)
        if instant.tzinfo is not None:
            return max(0.0, (instant - now).total_seconds())
    return None


def _told(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    told = document.get("error") if isinstance(document, dict) else None
    return told if isinstance(told, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _instant(value: object) -> datetime | None:
    with contextlib.suppress(ValueError, TypeError):
        instant = datetime.fromisoformat(str(value))
        return None if instant.tzinfo is None else instant.astimezone(UTC)
    return None


def _faults(value: object) -> list[Fault]:
    faults = []
    for told in value[:_MOST_FAULTS] if isinstance(value, list) else ():
        if isinstance(told, dict):
            level = "warning" if told.get("level") == "warning" else "error"
            faults.append(Fault(_word(told.get("message")), _word(told.get("where")), level))
    return sorted(faults, key=lambda fault: fault.level == "warning")


def _word(value: object) -> str:
    return printable(value, 400) if isinstance(value, str) else ""
