"""Names of rows: opaque, so that nobody counts them, and unguessable, so that nobody finds one by trying."""

import re
import secrets

__all__ = ["ID", "new_id"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID = re.compile(r"[a-z2-7]{20}")


def new_id() -> str:
    """Twenty lower-case base32 characters: 100 random bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))
