"""What a browser brings with it: the cookie of whoever has logged in, proof that a form is ours, and what to say next.

A session is a token with the scope ``session`` (:data:`palladion.server.access.SESSION`): it is ended as tokens are,
and the API takes it for nothing. What changes something needs more than the cookie, which a browser sends along whoever
made it ask: the form must hold a text that only pages of this session were given, and the browser must say that the
page which sends it is one of ours.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from palladion.server.access import SESSION, Caller, cookie_name
from palladion.server.confirmation import derived, signed, unsigned
from palladion.server.errors import ApiError
from palladion.server.pages.words import texts
from palladion.server.settings import Settings
from palladion.storage import tokens
from palladion.storage.tables import Account

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["Browsers", "Notice", "safe_path"]

_FORMS_LIFETIME: Final = timedelta(hours=12)
_NOTICE_LIFETIME: Final = timedelta(minutes=2)
_NOTICE_BYTES: Final = 1000
_MOST_SESSIONS: Final = 20
_ELSEWHERE_LIFETIME: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the next page says first, once.

    Attributes:
        text: a sentence.
        level: ``done`` or ``error``.
        secret: what is shown this once and never again; empty where there is nothing.
    """

    text: str
    level: str = "done"
    secret: str = ""


class Browsers:
    """Cookies, and proofs that forms are ours.

    Args:
        secret: the key of the service.
        settings: of the service.
    """

    def __init__(self, secret: bytes, settings: Settings) -> None:
        self._secure = (settings.public_url or "").startswith("https:")
        self._origin = urlsplit(settings.public_url or "").netloc.lower()
        # The prefix makes browsers refuse these cookies from anybody else, such as another host of the same domain.
        self._session = cookie_name(settings)
        self._form, self._notice = f"{self._session}_form", f"{self._session}_notice"
        self._elsewhere = f"{self._session}_elsewhere"
        self._lifetime = timedelta(days=settings.pages.session_days)
        self._forms_key, self._notices_key = derived(secret, "forms"), derived(secret, "notices")

    # --- Sessions -----------------------------------------------------------------------------------------------------

    def begin(self, request: Request, service: "Service", account: Account, where: str) -> Response:
        """Log a browser in, and send it on to a page.

        Args:
            request: of the browser.
            service: where sessions are.
            account: whose browser it is now.
            where: a page of ours.
        """
        name = _browser(request.headers.get("user-agent", ""))
        secret = service.database.run(_new_session, account.id, name=name, lifetime=self._lifetime, now=service.now())
        answer = RedirectResponse(where, status_code=HTTPStatus.SEE_OTHER)
        self._set(answer, self._session, secret, self._lifetime, samesite="lax")
        self._delete(answer, self._form)
        self._delete(answer, self._elsewhere)
        return answer

    def go_elsewhere(self, answer: Response, where: str) -> None:
        """Keep where to go on when the browser comes back from an OpenID provider, which it was sent to by a page."""
        self._set(answer, self._elsewhere, quote(where, safe=""), _ELSEWHERE_LIFETIME, samesite="lax")

    def back_from_elsewhere(self, request: Request) -> str | None:
        """Where to go on; None: it was not sent there by a page."""
        text = request.cookies.get(self._elsewhere)
        return None if text is None else safe_path(unquote(text))

    def log_out(self, answer: Response) -> None:
        """Let a browser forget it."""
        self._delete(answer, self._session)

    # --- Forms --------------------------------------------------------------------------------------------------------

    def proof(self, caller: Caller, visitor: str) -> str:
        """What a form has to hold.

        Args:
            caller: who looks at it.
            visitor: :meth:`visitor`'s text, where nobody is logged in.
        """
        whose = f"session {caller.token.id}" if caller.token is not None else f"visitor {visitor}"
        return hmac.new(self._forms_key, whose.encode(), hashlib.sha256).hexdigest()

    def visitor(self, request: Request) -> str | None:
        """What tells a browser from others before anybody has logged in; None: nothing yet."""
        text = request.cookies.get(self._form, "")
        return text if text.isalnum() and text.isascii() and len(text) == 32 else None

    @staticmethod
    def new_visitor() -> str:
        """A text for a browser that has none."""
        return secrets.token_hex(16)

    def know(self, answer: Response, visitor: str) -> None:
        """Let a browser keep such a text."""
        self._set(answer, self._form, visitor, _FORMS_LIFETIME, samesite="strict")

    def check(self, request: Request, caller: Caller, given: str) -> None:
        """Refuse what was not sent by a page of ours to this very browser.

        Raises:
            ApiError: it was not.
        """
        visitor = self.visitor(request)
        own = self.proof(caller, visitor or "")
        if caller.token is None and visitor is None:
            given = ""
        if not hmac.compare_digest(own.encode(), given.encode("utf-8", "replace")):
            raise ApiError("forbidden", "this form is of another session, or too old; load the page again")
        if not self._from_here(request):
            raise ApiError("forbidden", "this form was sent by a page of another site")

    def _from_here(self, request: Request) -> bool:
        """Whether the browser says that a page of ours asks; browsers of today say it in one way or the other."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site is not None and site != "same-origin":
            return False
        if origin is None:
            return site is not None
        host = urlsplit(origin).netloc.lower()
        return bool(host) and host in (request.headers.get("host", "").lower(), self._origin)

    # --- Notices ------------------------------------------------------------------------------------------------------

    def tell(self, answer: Response, notice: Notice, caller: Caller, now: datetime) -> None:
        """Let the next page say something: it may be a secret, and is told to this browser alone."""
        said = {"text": notice.text, "level": notice.level, "secret": notice.secret, "to": _whose(caller)}
        text = signed(self._notices_key, said, now + _NOTICE_LIFETIME)
        while len(text) > _NOTICE_BYTES and said["text"]:
            # Browsers keep 4 KiB, and a sentence that is longer than a paragraph is none.
            said["text"] = said["text"][: 3 * len(said["text"]) // 4]
            text = signed(self._notices_key, {**said, "text": said["text"] + "…"}, now + _NOTICE_LIFETIME)
        self._set(answer, self._notice, text, _NOTICE_LIFETIME, samesite="strict")

    def told(self, request: Request, caller: Caller, now: datetime) -> Notice | None:
        """What is to be said; None: nothing."""
        text = request.cookies.get(self._notice)
        said = None if text is None else unsigned(self._notices_key, text, now)
        # Whoever logs in next in this browser is not told what was meant for somebody else.
        if said is None or said["to"] != _whose(caller):
            return None
        return Notice(said["text"], said["level"], said["secret"])

    def forget_notice(self, answer: Response) -> None:
        """It was said."""
        self._delete(answer, self._notice)

    # --- Cookies ------------------------------------------------------------------------------------------------------

    def _set(self, answer: Response, name: str, text: str, lifetime: timedelta, *, samesite: Any) -> None:
        answer.set_cookie(
            name,
            text,
            max_age=int(lifetime.total_seconds()),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite=samesite,
        )

    def _delete(self, answer: Response, name: str) -> None:
        answer.delete_cookie(name, path="/", secure=self._secure, httponly=True, samesite="lax")


def _whose(caller: Caller) -> str:
    return "" if caller.account is None else caller.account.id


def _new_session(tx: Session, account_id: str, *, name: str, lifetime: timedelta, now: datetime) -> str:
    """The secret of a new session; of very many, the oldest ends."""
    _, secret = tokens.issue(tx, account_id, name=name, scopes=[SESSION], lifetime=lifetime, now=now)
    alive = [row for row in tokens.of_account(tx, account_id) if SESSION in row.scopes and row.revoked is None]
    for row in alive[_MOST_SESSIONS:]:
        tokens.revoke(tx, row.id, now=now)
    return secret


def safe_path(given: str | None) -> str:
    """A page of ours to go on to; whatever else is asked for is the first one."""
    text = given or "/"
    inside = text.startswith("/") and not text.startswith("//") and text.isascii() and text.isprintable()
    return text if inside and "\\" not in text and not text.startswith(("/login", "/logout", "/register")) else "/"


def _browser(agent: str) -> str:
    """What the list of one's own sessions calls a browser: enough to know it by, and no more."""
    t = texts()
    kinds = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")
    kind = next((name for mark, name in kinds if mark in agent), t("account.browser"))
    system = next((name for name in systems if name in agent), None)
    return kind if system is None else t("account.browser_on", browser=kind, system=system)
