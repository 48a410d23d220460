"""One's own account: tokens for programs, browsers that are logged in, e-mail and password."""

from starlette.responses import Response

from palladion.server import models, queries, views
from palladion.server.access import Caller
from palladion.server.api import accounts as accounts_api
from palladion.server.api import tokens as tokens_api
from palladion.server.errors import ApiError
from palladion.server.pages.browsers import Notice
from palladion.server.pages.frame import Document, Posted, Table, Visiting, document, done, filled, t
from palladion.server.routing import Routes

__all__ = ["routes"]

routes = Routes("account", pages=True)


@document(routes, "/account", "account:me")
def account_page(visit: Visiting) -> Document:
    """Who one is here, and what may act in one's name."""
    caller = visit.caller
    with visit.here.service.database.read() as tx:
        found = queries.usable_tokens(tx, caller.known.id, visit.now)
        teams = queries.teams_of_account(tx, caller.known.id)
    shown = models.AccountPage(
        account=views.account(caller.known),
        current=None if caller.token is None else caller.token.id,
        tokens=[views.token(row) for row in found],
        teams=[
            models.TeamOfMine(challenge=challenge, id=team.id, name=team.name, state=team.state, captain=captain)
            for challenge, team, captain in teams
        ],
    )
    heads = ("id", "name", "scopes", "created", "expires", "used")
    return Document(
        visit,
        shown,
        "account.html",
        lambda: Table(
            heads,
            [
                (token.id, token.name, " ".join(token.scopes), token.created, token.expires, token.used)
                for token in shown.tokens
            ],
        ),
        "tokens",
        {"has_password": caller.known.password is not None},
    )


@routes.post("/account/tokens", "token:create")
def make_token(visit: Visiting, form: Posted) -> Response:
    """Make a token; it is shown once."""

    def act() -> Notice:
        days = form.text("days", 10)
        wanted = filled(
            models.TokenRequest,
            password=form.raw("password"),
            name=form.text("name", 200),
            scopes=form.all("scopes"),
            days=None if days == "never" else form.number("days"),
        )
        made = tokens_api.create_token(visit.request, wanted, visit.here, visit.caller)
        return Notice(t("account.token_made", name=made.details.name), secret=made.token)

    return done(visit, "/account", act)


@routes.post("/account/tokens/revoke", "token:revoke")
def revoke_token(visit: Visiting, form: Posted) -> Response:
    """Make a token worthless, or log a browser out."""

    def act() -> str:
        tokens_api.revoke_token(form.text("token", 64), visit.here, visit.caller)
        return t("account.token_revoked")

    return done(visit, "/account", act)


@routes.post("/account/mail", "account:me")
def change_mail(visit: Visiting, form: Posted) -> Response:
    """Change the address, and whether there is to be e-mail."""

    def act() -> str:
        wanted = filled(models.AccountChange, email=form.text("email", 254) or None, mail=form.text("mail") == "yes")
        accounts_api.change_me(wanted, visit.here, visit.caller)
        return t("account.mail_changed")

    return done(visit, "/account", act)


@routes.post("/account/password", "account:password")
def change_password(visit: Visiting, form: Posted) -> Response:
    """Change the password: every token and every browser is logged out."""

    def act() -> str:
        if form.raw("new") != form.raw("again"):
            raise ApiError("invalid", t("register.differ"))
        wanted = filled(models.PasswordChange, old=form.raw("old"), new=form.raw("new"))
        accounts_api.change_password(visit.request, wanted, visit.here, visit.caller)
        # Nobody is logged in any more, and the page asks to log in.
        visit.caller = Caller(visit.caller.address)
        return t("account.password_changed")

    return done(visit, "/account", act)
