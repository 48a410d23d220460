"""Deliveries: what has happened, on its way to everybody who wants to know; each a job, made with the change itself.

A recipient is told of an event once, however often it is announced: what tells two events of a name apart is their key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from palladion.storage import queue
from palladion.storage.database import insert
from palladion.storage.errors import LeaseLost, NotFound
from palladion.storage.ids import new_id
from palladion.storage.tables import Account, Delivery, Membership, Webhook
from palladion.storage.texts import check_word

__all__ = ["DELIVER", "Recipient", "announce", "by_id", "of_event", "recipient", "sent"]

DELIVER = "deliver"
"""The kind of the jobs whose subject is a delivery."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where a delivery goes: a webhook, or an e-mail address.

    Attributes:
        url: of the webhook.
        secret: which signs what is posted to it.
        email: the address.
        name: of the account that it belongs to.
    """

    url: str | None
    secret: str | None
    email: str | None
    name: str


def announce(
    tx: Session,
    *,
    event: str,
    key: str,
    body: Mapping[str, Any],
    challenge_id: str,
    now: datetime,
    team_id: str | None = None,
    organisers: bool = False,
) -> int:
    """Tell everybody who wants to know: in the transaction of what has happened, so that neither is without the other.

    Told are the challenge's webhooks and, of an event that concerns a team, that team's webhooks and members. The body
    is the same for all of them: nothing may be in it that one of them must not see.

    Args:
        tx: a write transaction.
        event: ``evaluation.done``, for example.
        key: which one: the id of the evaluation, for example.
        body: what to tell; JSON.
        challenge_id: where.
        now: the time.
        team_id: the team that it concerns.
        organisers: whether organisers are told by e-mail.

    Returns:
        How many recipients there are that had not been told before.
    """
    check_word(event, "the name of an event")
    check_word(key, "the key of an event")
    hooks = tx.execute(
        select(Webhook)
        .where(
            Webhook.challenge_id == challenge_id,
            or_(Webhook.team_id.is_(None), Webhook.team_id == team_id) if team_id else Webhook.team_id.is_(None),
        )
        .order_by(Webhook.id)
    ).scalars()
    recipients: list[dict[str, str | None]] = [
        {"webhook_id": hook.id, "account_id": None} for hook in hooks if event in hook.events or "*" in hook.events
    ]
    of_team = select(Membership.account_id).where(Membership.team_id == team_id) if team_id else None
    wants = [Account.role == "organiser"] if organisers else []
    wants += [Account.id.in_(of_team)] if of_team is not None else []
    if wants:
        accounts = tx.execute(
            select(Account.id)
            .where(or_(*wants), Account.mail, Account.email.is_not(None), Account.state == "active")
            .order_by(Account.id)
        ).scalars()
        recipients += [{"webhook_id": None, "account_id": account} for account in accounts]
    told = 0
    for recipient in recipients:
        values = {"id": new_id(), "event": event, "key": key, "body": dict(body), "created": now, **recipient}
        added = tx.execute(
            insert(tx, Delivery).values(values).on_conflict_do_nothing().returning(Delivery.id)
        ).scalar_one_or_none()
        if added is not None:
            queue.enqueue(tx, DELIVER, added, now=now)
            told += 1
    return told


def by_id(tx: Session, delivery_id: str) -> Delivery:
    """The delivery.

    Raises:
        NotFound: there is none.
    """
    delivery = tx.get(Delivery, delivery_id, populate_existing=True)
    if delivery is None:
        raise NotFound(f"there is no delivery {delivery_id[:40]!a}")
    return delivery


def of_event(tx: Session, event: str, key: str) -> list[Delivery]:
    """Every delivery of one event."""
    statement = select(Delivery).where(Delivery.event == event, Delivery.key == key).order_by(Delivery.id)
    return list(tx.execute(statement).scalars())


def recipient(tx: Session, delivery: Delivery) -> Recipient:
    """Where the delivery goes now: an account may have changed its address since.

    Raises:
        NotFound: there is nobody any more who wants it.
    """
    if delivery.webhook_id is not None:
        found = tx.execute(
            select(Webhook, Account.name)
            .join(Account, Account.id == Webhook.account_id)
            .where(Webhook.id == delivery.webhook_id)
        ).one_or_none()
        if found is not None:
            return Recipient(found[0].url, found[0].secret, None, found[1])
    else:
        account = tx.get(Account, delivery.account_id)
        if account is not None and account.email is not None and account.mail and account.state == "active":
            return Recipient(None, None, account.email, account.name)
    raise NotFound("nobody wants this delivery any more")


def sent(tx: Session, delivery_id: str, lease: str, *, now: datetime) -> None:
    """The delivery has arrived; its job is done.

    Raises:
        LeaseLost: the job is not the caller's.
    """
    job = queue.of(tx, DELIVER, delivery_id)
    if job is None:
        raise LeaseLost(f"the delivery {delivery_id[:40]!a} has no job")
    queue.finish(tx, job.id, lease, now=now)
    tx.execute(
        update(Delivery).where(Delivery.id == delivery_id).values(sent=now),
        execution_options={"synchronize_session": False},
    )
