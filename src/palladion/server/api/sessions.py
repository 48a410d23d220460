"""Logging in and out: with name and password, or at an OpenID provider."""

import logging
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from palladion.server import admission, models, views
from palladion.server.access import Asking, address_of
from palladion.server.errors import ApiError, Fault
from palladion.server.oidc import COOKIE, Oidc, account_of
from palladion.server.routing import API, Routes
from palladion.server.state import Here, State
from palladion.storage import tokens
from palladion.storage.tables import Account

__all__ = ["issue", "routes"]

log = logging.getLogger("palladion.server")
routes = Routes("sessions")

LIFETIME = timedelta(days=30)
_COOKIE_PATH = f"{API}/oidc"


@routes.post(
    "/login",
    "session:create",
    summary="Log in with name and password",
    response_model=models.LoggedIn,
    errors=("wrong_credentials",),
)
def login(request: Request, wanted: models.LoginRequest, here: Here) -> models.LoggedIn:
    """Get a token for 30 days. After several failures one has to wait, `retry_after` tells how long."""
    row = here.gate.log_in(name=wanted.name, password=wanted.password.get_secret_value(), address=address_of(request))
    return _logged_in(here, row, wanted.token_name, wanted.scopes)


@routes.post("/logout", "session:end", summary="Log out", status_code=204)
def logout(here: Here, caller: Asking) -> None:
    """Revoke the token in use."""
    assert caller.token is not None
    here.service.database.run(tokens.revoke, caller.token.id, now=here.service.now())


@routes.get(
    "/oidc/start",
    "session:create",
    summary="Begin to log in at the OpenID provider",
    status_code=302,
    response_class=Response,
    responses={302: {"description": "To the provider."}},
    errors=("not_found",),
)
def oidc_start(here: Here) -> Response:
    """Send a browser to the provider, with a cookie that binds the answer to this browser."""
    provider = _provider(here)
    begun = provider.begin(here.service.now())
    answer = RedirectResponse(begun.address, status_code=302)
    answer.set_cookie(
        COOKIE,
        begun.cookie,
        max_age=600,
        path=_COOKIE_PATH,
        secure=(here.settings.public_url or "").startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return answer


@routes.get(
    "/oidc/callback",
    "session:create",
    summary="End to log in at the OpenID provider",
    response_model=models.LoggedIn,
    errors=("not_found", "forbidden", "conflict", "wrong_credentials"),
)
def oidc_callback(
    request: Request,
    response: Response,
    here: Here,
    state: Annotated[str, Query(max_length=200)],
    code: Annotated[str | None, Query(max_length=4000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> models.LoggedIn | Response:
    """Where the provider sends the browser back to: an account for the identity, and a token for it."""
    provider = _provider(here)
    response.delete_cookie(COOKIE, path=_COOKIE_PATH)
    browsers = request.app.state.browsers
    page = browsers.back_from_elsewhere(request)
    # What is refused from here on is told on a page to whom a page had sent away, and to programs as everything is.
    request.state.sent_by_page = page is not None
    identity = provider.finish(
        cookie=request.cookies.get(COOKIE), state=state, code=code, error=error, now=here.service.now()
    )
    with here.service.database.read() as tx:
        policy = admission.sign_up_policy(here.settings, here.service, tx)
    row = account_of(here.service, identity, policy, lambda: here.gate.sign_up(address_of(request)))
    if row.state == "disabled":
        raise ApiError("forbidden", f"the account {row.name} was disabled; ask the organisers")
    if row.state != "active":
        waits = f"the account {row.name} is made and waits: an organiser has to approve the account"
        raise ApiError("forbidden", f"{waits} before it can be used; log in again then")
    if page is not None:
        # It was a page that sent the browser there: it gets a session, and no token to read.
        answer: Response = browsers.begin(request, here.service, row, page)
        answer.delete_cookie(COOKIE, path=_COOKIE_PATH)
        return answer
    return _logged_in(here, row, "login", None)


def _provider(here: State) -> Oidc:
    if here.oidc is None:
        raise ApiError("not_found", "this service has no login at an OpenID provider")
    return here.oidc


def _logged_in(here: State, row: Account, name: str, scopes: list[Any] | None) -> models.LoggedIn:
    details, secret = issue(here, row, name, scopes, LIFETIME)
    return models.LoggedIn(token=secret, details=details, account=views.account(row))


def issue(
    here: State, row: Account, name: str, scopes: list[Any] | None, lifetime: timedelta | None
) -> tuple[models.Token, str]:
    """A token for an account; None: for all that it may do.

    Raises:
        ApiError: a scope is not for the account's role.
    """
    possible = ["read", "submit", "organise"] if row.role == "organiser" else ["read", "submit"]
    wanted = possible if scopes is None else scopes
    if not set(wanted) <= set(possible):
        raise ApiError(
            "invalid", "the scope organise is for organisers", faults=[Fault("body.scopes", "not for this role")]
        )
    token, secret = here.service.database.run(
        tokens.issue, row.id, name=name, scopes=wanted, lifetime=lifetime, now=here.service.now()
    )
    return views.token(token), secret
