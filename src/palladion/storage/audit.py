"""Who did what to what, and when: added in the transaction of the change itself, never changed afterwards."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.storage.tables import Audit
from palladion.storage.texts import one_line

__all__ = ["add", "listing"]


def add(
    tx: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
    challenge_id: str | None = None,
) -> Audit:
    """Add a line.

    Args:
        tx: the transaction of the change.
        actor: name of an account, or of the part of the service that did it.
        action: ``stage.open``, for example.
        subject: what it was done to, as ``noun:id``.
        now: the time.
        detail: what else is worth knowing; never a secret.
        challenge_id: the challenge whose log it belongs to.
    """
    line = Audit(
        at=now,
        actor=one_line(actor, 200),
        action=action,
        subject=one_line(subject, 200),
        detail=dict(detail or {}),
        challenge_id=challenge_id,
    )
    tx.add(line)
    tx.flush()
    return line


def listing(
    tx: Session,
    *,
    challenge_id: str | None = None,
    subject: str | None = None,
    before: int | None = None,
    most: int = 100,
) -> list[Audit]:
    """The latest lines, the last first: of one challenge, about one subject, before one number."""
    statement = select(Audit).order_by(Audit.number.desc()).limit(most)
    if challenge_id is not None:
        statement = statement.where(Audit.challenge_id == challenge_id)
    if subject is not None:
        statement = statement.where(Audit.subject == subject)
    if before is not None:
        statement = statement.where(Audit.number < before)
    return list(tx.execute(statement).scalars())
