"""Accounts: making one, confirming its address, changing it; and what organisers do with them."""

import logging
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query, Request
from sqlalchemy.orm import Session

from palladion.server import admission, mails, models, queries, views
from palladion.server.access import Asking, address_of
from palladion.server.errors import ApiError
from palladion.server.routing import Routes
from palladion.server.state import After, Here, Limit, State
from palladion.storage import accounts, audit
from palladion.storage.errors import NotFound
from palladion.storage.hashing import hash_password
from palladion.storage.tables import Account

__all__ = ["routes"]

log = logging.getLogger("palladion.server")
routes = Routes("accounts")

AccountState = Annotated[Literal["pending", "active", "disabled"] | None, Query(description="Only those.")]


@routes.post(
    "/accounts",
    "account:create",
    summary="Sign up",
    status_code=201,
    response_model=models.SignedUp,
    errors=("forbidden", "conflict"),
)
def sign_up(request: Request, wanted: models.SignUpRequest, here: Here) -> models.SignedUp:
    """Make an account. It can be used at once, or when its address is confirmed, or when an organiser approves it."""
    with here.service.database.read() as tx:
        approval, domains = admission.sign_up_policy(here.settings, here.service, tx)
    if approval == "closed":
        raise ApiError("forbidden", "nobody can sign up here; ask the organisers for an account")
    here.gate.sign_up(address_of(request))
    with here.gate.hashing():
        password = hash_password(wanted.password.get_secret_value())
    now = here.service.now()
    state = "active" if approval == "open" else "pending"
    row = here.service.database.run(
        accounts.create,
        name=wanted.name,
        email=wanted.email,
        password=password,
        state=state,
        actor=wanted.name,
        now=now,
    )
    message = "the account can be used: log in"
    if state == "pending":
        message = "an organiser has to approve the account"
        if approval == "domain" and admission.in_domains(row.email, domains) and mails.can_send(here):
            _send_code(here, row, now)
            message = "a code was sent to the e-mail address; confirm it, and the account can be used"
    return models.SignedUp(account=views.account(row), message=message)


@routes.post(
    "/accounts/confirm",
    "account:create",
    summary="Confirm an e-mail address",
    response_model=models.SignedUp,
    errors=("not_found", "conflict"),
)
def confirm(request: Request, given: models.ConfirmRequest, here: Here) -> models.SignedUp:
    """Show with the code from an e-mail that the address is one's own."""
    here.gate.sign_up(address_of(request))
    now = here.service.now()
    said = here.confirmations.read(given.code, now)
    with here.service.database.read() as tx:
        approval, domains = admission.sign_up_policy(here.settings, here.service, tx)
    opens = approval == "domain" and admission.in_domains(said.email, domains)
    row = here.service.database.run(_confirm, said.account_id, said.email, opens=opens, now=now)
    usable = row.state == "active"
    message = "the address is confirmed" + ("; log in" if usable else "; an organiser has to approve the account")
    return models.SignedUp(account=views.account(row), message=message)


def _confirm(tx: Session, account_id: str, email: str, *, opens: bool, now: datetime) -> Account:
    row = accounts.by_id(tx, account_id)
    if row.email != email:
        raise NotFound("this code is for another address than the account has now")
    if queries.confirmed_address(tx, row) != email:
        detail = {"email": email}
        audit.add(tx, actor=row.name, action=queries.CONFIRMED, subject=f"account:{row.id}", detail=detail, now=now)
    if row.state == "pending" and opens:
        return accounts.approve(tx, row.id, now=now, actor="sign-up")
    return row


@routes.post("/accounts/code", "account:create", summary="Send a code to an e-mail address", status_code=204)
def ask_for_code(request: Request, wanted: models.CodeRequest, here: Here) -> None:
    """Send the code that confirms an address once more. The answer is the same whether there is such an account."""
    here.gate.sign_up(address_of(request))
    if here.codes.take(wanted.email.strip().lower()):
        return
    with here.service.database.read() as tx:
        row = accounts.by_email(tx, wanted.email)
    if row is not None and row.state != "disabled" and mails.can_send(here):
        _send_code(here, row, here.service.now())


def _send_code(here: State, account: Account, now: datetime) -> None:
    assert account.email is not None
    code = here.confirmations.code(account.id, account.email, now)
    mails.send_code(here, account.email, account.name, code, now)


@routes.get("/me", "account:me", summary="Who asks", response_model=models.Me)
def me(here: Here, caller: Asking) -> models.Me:
    """The account and the token in use, and the teams of the account."""
    assert caller.token is not None
    with here.service.database.read() as tx:
        teams = queries.teams_of_account(tx, caller.known.id)
    return models.Me(
        account=views.account(caller.known),
        token=views.token(caller.token),
        teams=[
            models.TeamOfMine(challenge=challenge, id=team.id, name=team.name, state=team.state, captain=captain)
            for challenge, team, captain in teams
        ],
    )


@routes.patch(
    "/me", "account:me", summary="Change one's own account", response_model=models.AccountAnswer, errors=("conflict",)
)
def change_me(wanted: models.AccountChange, here: Here, caller: Asking) -> models.AccountAnswer:
    """Change the e-mail address, or whether there is to be e-mail. A new address has to be confirmed anew."""
    now = here.service.now()

    def change(tx: Session) -> Account:
        row = accounts.by_id(tx, caller.known.id)
        if "email" in wanted.model_fields_set:
            row = accounts.set_email(tx, row.id, wanted.email, now=now, actor=caller.actor)
        if wanted.mail is not None:
            row = accounts.set_mail(tx, row.id, wanted.mail, now=now, actor=caller.actor)
        return row

    return models.AccountAnswer(account=views.account(here.service.database.run(change)))


@routes.post(
    "/me/password",
    "account:password",
    summary="Change one's own password",
    status_code=204,
    errors=("wrong_credentials",),
)
def change_password(request: Request, wanted: models.PasswordChange, here: Here, caller: Asking) -> None:
    """Change the password. Every token of the account is revoked, the one in use among them."""
    row = here.gate.log_in(name=caller.known.name, password=wanted.old.get_secret_value(), address=address_of(request))
    with here.gate.hashing():
        password = hash_password(wanted.new.get_secret_value())
    here.service.database.run(accounts.set_password, row.id, password, now=here.service.now(), actor=caller.actor)


@routes.get("/accounts", "account:list", summary="All accounts", response_model=models.Page[models.Account])
def list_accounts(
    here: Here, state: AccountState = None, limit: Limit = 100, after: After = None
) -> models.Page[models.Account]:
    """The accounts, by name."""
    with here.service.database.read() as tx:
        found = accounts.listing(tx, state=state)
    # By name: whoever asks for the next page gives the id of the last, which may have been renamed or gone.
    start = next((place + 1 for place, row in enumerate(found) if row.id == after), 0)
    page = found[start : start + limit]
    more = start + limit < len(found)
    return models.Page(items=[views.account(row) for row in page], next=page[-1].id if more else None)


@routes.get("/accounts/{account_id}", "account:read", summary="An account", response_model=models.Account)
def get_account(account_id: str, here: Here) -> models.Account:
    """One account."""
    with here.service.database.read() as tx:
        return views.account(accounts.by_id(tx, queries.row_id(account_id, "account")))


@routes.post(
    "/accounts/{account_id}/approve", "account:approve", summary="Approve an account", response_model=models.Account
)
def approve_account(account_id: str, here: Here, caller: Asking) -> models.Account:
    """Let an account be used; also one that was disabled. It may then take part in challenges that ask for approval."""
    target = queries.row_id(account_id, "account")
    row = here.service.database.run(accounts.approve, target, now=here.service.now(), actor=caller.actor)
    return views.account(row)


@routes.post(
    "/accounts/{account_id}/disable",
    "account:disable",
    summary="Disable an account",
    response_model=models.Account,
    errors=("conflict",),
)
def disable_account(account_id: str, here: Here, caller: Asking) -> models.Account:
    """Let an account be used no more; its tokens are revoked."""
    target = _other(account_id, caller.known.id)
    row = here.service.database.run(accounts.disable, target, now=here.service.now(), actor=caller.actor)
    return views.account(row)


@routes.post(
    "/accounts/{account_id}/role",
    "account:role",
    summary="Change what an account is",
    response_model=models.Account,
    errors=("conflict",),
)
def change_role(account_id: str, wanted: models.RoleChange, here: Here, caller: Asking) -> models.Account:
    """Make an account organiser, participant or observer."""
    target = _other(account_id, caller.known.id)
    row = here.service.database.run(accounts.set_role, target, wanted.role, now=here.service.now(), actor=caller.actor)
    return views.account(row)


def _other(account_id: str, own: str) -> str:
    """The last organiser must not lock everybody out by a slip."""
    if account_id == own:
        raise ApiError("conflict", "this is your own account; another organiser has to do it")
    return queries.row_id(account_id, "account")
