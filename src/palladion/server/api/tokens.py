"""Tokens of one's own account."""

from datetime import timedelta

from fastapi import Request

from palladion.server import models, queries, views
from palladion.server.access import Asking, address_of
from palladion.server.api.sessions import issue
from palladion.server.errors import ApiError
from palladion.server.routing import Routes
from palladion.server.state import Here
from palladion.storage import tokens
from palladion.storage.errors import NotFound

__all__ = ["routes"]

routes = Routes("tokens")

_MOST = 100


@routes.get("/tokens", "token:list", summary="One's own tokens", response_model=models.Page[models.Token])
def list_tokens(here: Here, caller: Asking) -> models.Page[models.Token]:
    """The tokens of the account that can be used, the last first."""
    with here.service.database.read() as tx:
        found = queries.usable_tokens(tx, caller.known.id, here.service.now())
    return models.Page(items=[views.token(row) for row in found])


@routes.post(
    "/tokens",
    "token:create",
    summary="Make a token",
    status_code=201,
    response_model=models.IssuedToken,
    errors=("wrong_credentials", "conflict"),
)
def create_token(request: Request, wanted: models.TokenRequest, here: Here, caller: Asking) -> models.IssuedToken:
    """Make a token for some scopes and some time. It takes the password, so that no token makes another."""
    row = here.gate.log_in(
        name=caller.known.name, password=wanted.password.get_secret_value(), address=address_of(request)
    )
    with here.service.database.read() as tx:
        found = queries.usable_tokens(tx, row.id, here.service.now())
    if len(found) >= _MOST:
        raise ApiError("conflict", f"the account has {_MOST} tokens; revoke some first")
    lifetime = None if wanted.days is None else timedelta(days=wanted.days)
    details, secret = issue(here, row, wanted.name, list(wanted.scopes), lifetime)
    return models.IssuedToken(token=secret, details=details)


@routes.delete("/tokens/{token_id}", "token:revoke", summary="Revoke a token", status_code=204)
def revoke_token(token_id: str, here: Here, caller: Asking) -> None:
    """Make a token worthless: one of one's own, or, for organisers, anybody's."""
    with here.service.database.read() as tx:
        row = tokens.by_id(tx, queries.row_id(token_id, "token"))
    if row.account_id != caller.known.id and not (caller.organises and caller.may("token:revoke-any")):
        raise NotFound(f"there is no token {token_id!a}")
    here.service.database.run(tokens.revoke, row.id, now=here.service.now())
