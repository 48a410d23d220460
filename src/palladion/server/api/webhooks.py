"""Webhooks: where events are posted."""

from sqlalchemy.orm import Session

from palladion.jobs import deliveries
from palladion.server import models, queries, views
from palladion.server.access import Asking, Caller
from palladion.server.errors import ApiError, Fault
from palladion.server.routing import Routes
from palladion.server.state import Here
from palladion.storage import webhooks
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.tables import Challenge, Webhook

__all__ = ["routes"]

routes = Routes("webhooks")

_WEBHOOKS = "/challenges/{challenge}/webhooks"
_MOST = 20


@routes.get(_WEBHOOKS, "webhook:list", summary="Webhooks", response_model=models.Page[models.Webhook])
def list_webhooks(challenge: str, here: Here, caller: Asking) -> models.Page[models.Webhook]:
    """The webhooks of one's own team; for organisers those of all."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        found = _own(tx, caller, row)
    return models.Page(items=[views.webhook(hook) for hook in found])


@routes.post(
    _WEBHOOKS,
    "webhook:create",
    summary="Make a webhook",
    status_code=201,
    response_model=models.NewWebhook,
    errors=("conflict", "forbidden"),
)
def create_webhook(challenge: str, wanted: models.WebhookRequest, here: Here, caller: Asking) -> models.NewWebhook:
    """Have events posted to an address, signed with a secret that is told here, once."""
    if wanted.all and not caller.organises:
        raise ApiError("forbidden", "every event of a challenge is for organisers; leave `all` out")
    unknown = [event for event in wanted.events if event != "*" and event not in deliveries.EVENTS]
    if unknown:
        known = ", ".join(["*", *deliveries.EVENTS])
        message = f"there is no event {unknown[0][:80]!a}; there are {known}"
        raise ApiError("invalid", message, faults=[Fault("body.events", message)])
    # It looks the name up: not in a transaction.
    deliveries.check_webhook_url(wanted.url, here.service.settings.webhooks)
    now = here.service.now()

    def make(tx: Session) -> Webhook:
        row = queries.challenge_named(tx, challenge)
        own = None if wanted.all else caller.team(tx, row.id)
        if own is None and not wanted.all:
            raise Conflict("you are in no team of this challenge; organisers ask for `all`")
        if len(_own(tx, caller, row)) >= _MOST:
            raise Conflict(f"there are {_MOST} webhooks; remove one first")
        return webhooks.create(
            tx,
            challenge_id=row.id,
            account_id=caller.known.id,
            url=wanted.url,
            events=wanted.events,
            now=now,
            actor=caller.actor,
            team_id=None if own is None else own.id,
        )

    return views.new_webhook(here.service.database.run(make))


@routes.delete(_WEBHOOKS + "/{webhook_id}", "webhook:delete", summary="Remove a webhook", status_code=204)
def remove_webhook(challenge: str, webhook_id: str, here: Here, caller: Asking) -> None:
    """Post nothing to it any more."""
    now = here.service.now()

    def remove(tx: Session) -> None:
        row = queries.challenge_named(tx, challenge)
        hook_id = queries.row_id(webhook_id, "webhook")
        if hook_id not in {hook.id for hook in _own(tx, caller, row)}:
            raise NotFound(f"there is no webhook {hook_id!a}")
        webhooks.remove(tx, hook_id, now=now, actor=caller.actor)

    here.service.database.run(remove)


def _own(tx: Session, caller: Caller, challenge: Challenge) -> list[Webhook]:
    """The webhooks that the caller may know of."""
    if caller.organises:
        return webhooks.listing(tx, challenge_id=challenge.id)
    own = caller.team(tx, challenge.id)
    return [] if own is None else webhooks.listing(tx, challenge_id=challenge.id, team_id=own.id)
