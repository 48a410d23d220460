"""Codes that are sent by e-mail, to show that an address belongs to whoever gave it.

A code is signed by this service and says itself what it is for, so that nothing has to be kept of it: it is good for
one account and one address, for some time, and for nothing else.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from palladion.server.errors import ApiError

__all__ = ["LIFETIME", "Confirmation", "Confirmations", "signed", "unsigned"]

LIFETIME: Final = timedelta(days=2)
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a code says.

    Attributes:
        account_id: whose.
        email: the address.
    """

    account_id: str
    email: str


class Confirmations:
    """Makes codes and reads them.

    Args:
        secret: the key of this service.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = derived(secret, "confirmation")

    def code(self, account_id: str, email: str, now: datetime) -> str:
        """A code for one account and one address."""
        return signed(self._key, {"account": account_id, "email": email}, now + LIFETIME)

    def read(self, code: str, now: datetime) -> Confirmation:
        """What a code says.

        Raises:
            ApiError: this service has not made it, or its time is over.
        """
        said = unsigned(self._key, code, now)
        if said is None:
            raise ApiError("not_found", "this code is not valid, or not any more; ask for a new one")
        return Confirmation(said["account"], said["email"])


def derived(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose: what is signed for one is worth nothing for another."""
    return hmac.new(secret, f"palladion {purpose}".encode(), hashlib.sha256).digest()


def signed(key: bytes, said: dict[str, str], until: datetime) -> str:
    """Text that says something until some time, and that only who has the key can make."""
    body = json.dumps({**said, "until": int(until.timestamp())}, sort_keys=True, separators=(",", ":")).encode()
    signature = hmac.new(key, body, hashlib.sha256).digest()
    return f"{_text(body)}.{_text(signature)}"


def unsigned(key: bytes, text: str, now: datetime) -> dict[str, str] | None:
    """What such a text says; None: it is none, or its time is over."""
    body, _, signature = text[:_MOST].partition(".")
    try:
        content, given = _bytes(body), _bytes(signature)
    except ValueError:
        return None
    # Compared before anything of the content is looked at.
    if not hmac.compare_digest(hmac.new(key, content, hashlib.sha256).digest(), given):
        return None
    said: dict[str, str] = json.loads(content)
    return said if now.timestamp() < float(said.pop("until")) else None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode((text + "=" * (-len(text) % 4)).encode("ascii"), altchars=b"-_", validate=True)
