"""Webhooks: addresses that events are posted to."""

import urllib.parse
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.storage import audit, queue
from palladion.storage.deliveries import DELIVER
from palladion.storage.errors import NotFound
from palladion.storage.hashing import new_secret
from palladion.storage.ids import new_id
from palladion.storage.tables import Delivery, Webhook
from palladion.storage.texts import check_word, storable

__all__ = ["by_id", "create", "listing", "remove"]

_LONGEST = 2000


def create(
    tx: Session,
    *,
    challenge_id: str,
    account_id: str,
    url: str,
    events: Iterable[str],
    now: datetime,
    actor: str,
    team_id: str | None = None,
) -> Webhook:
    """Make a webhook; its secret, with which is signed what is posted, is in the row.

    Args:
        tx: a write transaction.
        challenge_id: of which challenge.
        account_id: whose.
        url: http or https, without user and password.
        events: their names, or ``*``.
        now: the time.
        actor: who makes it.
        team_id: only what concerns this team; None: everything.

    Raises:
        InputError: the URL is none, or there are no events.
    """
    wanted = sorted(set(events))
    if not wanted:
        raise InputError("a webhook needs the names of events, or *")
    for event in wanted:
        check_word(event, "the name of an event")
    webhook = Webhook(
        id=new_id(),
        challenge_id=challenge_id,
        team_id=team_id,
        account_id=account_id,
        url=_url(url),
        secret=new_secret(),
        events=wanted,
        created=now,
    )
    tx.add(webhook)
    tx.flush()
    _log(tx, webhook, "webhook.create", actor, now)
    return webhook


def by_id(tx: Session, webhook_id: str) -> Webhook:
    """The webhook.

    Raises:
        NotFound: there is none.
    """
    webhook = tx.get(Webhook, webhook_id)
    if webhook is None:
        raise NotFound(f"there is no webhook {webhook_id[:40]!a}")
    return webhook


def listing(tx: Session, *, challenge_id: str, team_id: str | None = None) -> list[Webhook]:
    """The webhooks of a challenge, or those of one team in it."""
    statement = select(Webhook).where(Webhook.challenge_id == challenge_id).order_by(Webhook.created, Webhook.id)
    if team_id is not None:
        statement = statement.where(Webhook.team_id == team_id)
    return list(tx.execute(statement).scalars())


def remove(tx: Session, webhook_id: str, *, now: datetime, actor: str) -> None:
    """Remove a webhook, with everything that was to be posted to it.

    Raises:
        NotFound: there is none.
    """
    webhook = by_id(tx, webhook_id)
    deliveries = tx.execute(select(Delivery.id).where(Delivery.webhook_id == webhook_id)).scalars().all()
    for delivery_id in deliveries:
        job = queue.of(tx, DELIVER, delivery_id)
        if job is not None:
            queue.cancel(tx, job.id, "the webhook was removed", now=now)
    tx.execute(delete(Delivery).where(Delivery.webhook_id == webhook_id))
    _log(tx, webhook, "webhook.remove", actor, now)
    tx.delete(webhook)
    tx.flush()


def _url(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.password
        right = right and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right or len(url) > _LONGEST or not url.isprintable() or " " in url or not storable(url):
        raise InputError("a webhook needs an address such as https://example.org/hook, without user and password")
    return url


def _log(tx: Session, webhook: Webhook, action: str, actor: str, now: datetime) -> None:
    # Without the path: many services put a secret into it.
    detail = {"host": urllib.parse.urlsplit(webhook.url).hostname, "events": webhook.events, "team": webhook.team_id}
    audit.add(
        tx,
        actor=actor,
        action=action,
        subject=f"webhook:{webhook.id}",
        detail=detail,
        challenge_id=webhook.challenge_id,
        now=now,
    )
