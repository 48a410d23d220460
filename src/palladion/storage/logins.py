"""Attempts to log in that failed: after a few of them, each has to wait longer than the one before."""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from palladion.storage.ids import new_id
from palladion.storage.tables import LoginFailure

__all__ = ["FREE", "WINDOW", "account_key", "address_key", "blocked_until", "forget", "forget_one", "note_failure"]

FREE = 5
"""Failures that cost no waiting."""
WINDOW = timedelta(minutes=15)
"""Failures older than this are forgotten."""

_FIRST_WAIT = timedelta(seconds=30)
# Many people share an address; nobody shares an account.
_FREE_OF_ADDRESS = 50


def account_key(name: str) -> str:
    """The key of an account, whether it exists or not."""
    return f"account:{_short(name)}"


def address_key(address: str) -> str:
    """The key of a network address."""
    return f"address:{_short(address)}"


def note_failure(tx: Session, key: str, now: datetime) -> str:
    """Note that an attempt failed, or is about to be made; see :func:`forget_one`.

    Returns:
        The id of the note.
    """
    tx.execute(delete(LoginFailure).where(LoginFailure.at <= now - WINDOW))
    noted = LoginFailure(id=new_id(), key=key, at=now)
    tx.add(noted)
    tx.flush()
    return noted.id


def forget(tx: Session, key: str) -> None:
    """Forget the failures of this key: somebody who knows the password has come."""
    tx.execute(delete(LoginFailure).where(LoginFailure.key == key))


def forget_one(tx: Session, note: str) -> None:
    """Forget one note: that attempt did not fail after all."""
    tx.execute(delete(LoginFailure).where(LoginFailure.id == note))


def blocked_until(tx: Session, key: str, now: datetime) -> datetime | None:
    """Until when this key may not try again; None: it may.

    The wait after the last failure doubles with each: 30 s after the fifth, then 1, 2, 4, ... up to 15 minutes. An
    address has 50 free failures instead of 5.
    """
    times = (
        tx.execute(
            select(LoginFailure.at)
            .where(LoginFailure.key == key, LoginFailure.at > now - WINDOW)
            .order_by(LoginFailure.at.desc())
        )
        .scalars()
        .all()
    )
    free = _FREE_OF_ADDRESS if key.startswith("address:") else FREE
    if len(times) < free:
        return None
    until = times[0] + min(_FIRST_WAIT * 2 ** min(len(times) - free, 10), WINDOW)
    return until if until > now else None


def _short(text: str) -> str:
    """Something of bounded length that stands for the text, which comes from anybody; the text itself is not kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
