"""Logging in and out, and making an account."""

from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query
from starlette.responses import Response

from palladion.errors import PalladionError
from palladion.server import admission, models
from palladion.server.api import accounts as accounts_api
from palladion.server.api import sessions as sessions_api
from palladion.server.errors import ApiError, translated
from palladion.server.pages.browsers import Notice, safe_path
from palladion.server.pages.frame import Posted, Visit, Visiting, done, filled, page, see, sentence, t
from palladion.server.routing import Routes
from palladion.storage import tokens

__all__ = ["routes"]

routes = Routes("sessions", pages=True)

Next = Annotated[str | None, Query(alias="next", max_length=1000)]
_NAME_LENGTH: Final = 100


def _form(visit: Visit, template: str, error: ApiError | None = None, **context: Any) -> Response:
    """A page with a form, and what was wrong with what it held."""
    faults = None if error is None else sentence(error)
    status = 200 if error is None else error.status
    # 401 would have to name a way to log in that browsers know; the page is that way.
    status = HTTPStatus.FORBIDDEN if status == HTTPStatus.UNAUTHORIZED else status
    headers = {} if error is None else error.answer_headers
    return page(visit, template, status=status, headers=headers, faults=faults, **context)


@routes.get("/login", "session:create")
def login_page(visit: Visiting, to: Next = None) -> Response:
    """The form to log in with."""
    if visit.caller.account is not None:
        return see(visit, safe_path(to))
    return _login(visit, name="", to=safe_path(to))


def _login(visit: Visit, error: ApiError | None = None, **context: Any) -> Response:
    oidc = visit.here.settings.oidc
    other = None
    if visit.here.oidc is not None:
        other = {"title": oidc.title, "start": f"/login/elsewhere?{urlencode({'next': context['to']})}"}
    return _form(visit, "login.html", error, oidc=other, **context)


@routes.post("/login", "session:create")
def log_in(visit: Visiting, form: Posted) -> Response:
    """Log in with name and password."""
    name, to = form.text("name", _NAME_LENGTH), safe_path(form.text("next"))
    try:
        account = visit.here.gate.log_in(name=name, password=form.raw("password"), address=visit.caller.address)
    except ApiError as error:
        return _login(visit, error, name=name, to=to)
    if visit.caller.token is not None:
        visit.here.service.database.run(tokens.revoke, visit.caller.token.id, now=visit.now)
    return visit.browsers.begin(visit.request, visit.here.service, account, to)


@routes.get("/login/elsewhere", "session:create")
def log_in_elsewhere(visit: Visiting, to: Next = None) -> Response:
    """Begin to log in at the OpenID provider; the API's own route is where it sends browsers back to."""
    answer = sessions_api.oidc_start(visit.here)
    visit.browsers.go_elsewhere(answer, safe_path(to))
    return answer


@routes.post("/logout", "session:end")
def log_out(visit: Visiting, form: Posted) -> Response:  # noqa: ARG001 - it proves that the form is ours
    """End the session: what its cookie holds is worth nothing from now on."""
    sessions_api.logout(visit.here, visit.caller)
    answer = see(visit, "/")
    visit.browsers.log_out(answer)
    return answer


@routes.get("/register", "account:create")
def register_page(visit: Visiting) -> Response:
    """The form to make an account with."""
    return _register(visit, name="", email="")


def _register(visit: Visit, error: ApiError | None = None, **context: Any) -> Response:
    with visit.here.service.database.read() as tx:
        approval, domains = admission.sign_up_policy(visit.here.settings, visit.here.service, tx)
    return _form(visit, "register.html", error, approval=approval, domains=sorted(domains), **context)


@routes.post("/register", "account:create")
def register(visit: Visiting, form: Posted) -> Response:
    """Make an account; whoever may use it at once is logged in."""
    name, email, password = form.text("name", _NAME_LENGTH), form.text("email", 254), form.raw("password")
    try:
        if password != form.raw("again"):
            raise ApiError("invalid", t("register.differ"))
        wanted = filled(models.SignUpRequest, name=name, email=email or None, password=password)
        made = accounts_api.sign_up(visit.request, wanted, visit.here)
        if made.account.state == "active":
            account = visit.here.gate.log_in(name=name, password=password, address=visit.caller.address)
            return visit.browsers.begin(visit.request, visit.here.service, account, "/")
    except PalladionError as error:
        refusal = translated(visit.request, error)
        return _register(visit, refusal, name=name, email=email)
    except ApiError as error:
        return _register(visit, error, name=name, email=email)
    where = "/confirm" if "code" in made.message else "/login"
    return see(visit, where, Notice(t("register.made", message=made.message)))


@routes.get("/confirm", "account:create")
def confirm_page(visit: Visiting) -> Response:
    """The form that takes the code from an e-mail."""
    return page(visit, "confirm.html")


@routes.post("/confirm", "account:create")
def confirm(visit: Visiting, form: Posted) -> Response:
    """Show with the code that an address is one's own."""

    def act() -> str | Notice:
        wanted = filled(models.ConfirmRequest, code=form.text("code"))
        try:
            said = accounts_api.confirm(visit.request, wanted, visit.here)
        except ApiError as error:
            # There is such a page; the code is none.
            return Notice(sentence(error), "error")
        return t("register.confirmed", message=said.message)

    return done(visit, "/login", act)
