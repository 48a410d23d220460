"""Who asks, and whether they may: one dependency of every route, which names one action.

What somebody may do is in :mod:`palladion.challenge.permissions`. What belongs to others is, for whoever may not see
it, not there: the routes answer 404, because an answer of "not yours" would say that there is such a thing.
"""

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from palladion.challenge.permissions import Role, Scope, denial
from palladion.challenge.visibility import Viewer
from palladion.errors import PalladionError
from palladion.server.errors import ApiError, rate_limited
from palladion.server.rates import Buckets
from palladion.server.settings import Settings
from palladion.storage import accounts, teams, tokens
from palladion.storage.errors import Refused
from palladion.storage.tables import Account, Team, Token

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["SESSION", "Asking", "Caller", "Gate", "Permit", "address_of", "cookie_name"]

log = logging.getLogger("palladion.server")

SESSION = "session"
"""The one scope of a token that is a browser's: it lies in a cookie, is for pages alone, and no scope of the API."""

# argon2 takes 64 MiB for each password: so many at a time, however many people log in at once.
_HASHES_AT_ONCE = 4
_LONGEST_TOKEN = 300
# Not counted as other requests are: a round has thousands of files, which are small.
_FILES = "data:read"
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        address: where from.
        account: None: nobody in particular.
        token: what the account proved itself with.
    """

    address: str
    account: Account | None = None
    token: Token | None = None

    @property
    def role(self) -> Role:
        """What they are to every challenge of this service."""
        return Role.ANONYMOUS if self.account is None else Role(self.account.role)

    @property
    def known(self) -> Account:
        """The account, of routes that only somebody with one reaches."""
        if self.account is None:
            raise ApiError("unauthenticated", "log in first")
        return self.account

    @property
    def in_browser(self) -> bool:
        """Whether this is a browser that somebody has logged in with name and password."""
        return self.token is not None and SESSION in self.token.scopes

    @property
    def scopes(self) -> list[str] | None:
        """What the token may be used for; None: all that the role may, in a browser, or without a token."""
        return None if self.token is None or self.in_browser else self.token.scopes

    @property
    def actor(self) -> str:
        """As the audit log has it."""
        return self.known.name

    @property
    def organises(self) -> bool:
        """Whether this is an organiser, in a browser or with a token that is for organising.

        With another one, an organiser sees what everybody sees: a token that is left on some machine to submit with
        must not be one that gives everything away.
        """
        if self.role is not Role.ORGANISER or self.token is None:
            return False
        return self.in_browser or Scope.ORGANISE in self.token.scopes

    def may(self, action: str) -> bool:
        """Whether they might do this as well, with this token."""
        return denial(action, self.role, self.scopes) is None

    def team(self, tx: Session, challenge_id: str) -> Team | None:
        """Their team in a challenge."""
        return None if self.account is None else teams.team_of(tx, self.account.id, challenge_id)

    def viewer(self, team: Team | None) -> Viewer:
        """Who they are to :mod:`palladion.challenge.visibility`; see :attr:`organises`."""
        role = Role.OBSERVER if self.role is Role.ORGANISER and not self.organises else self.role
        return Viewer(role, None if team is None else team.id)


class Gate:
    """What the dependency needs of the app: where accounts are, and how often they may come.

    Args:
        service: database and clock.
        settings: limits.
        clock: seconds that never go back.
    """

    def __init__(self, service: "Service", settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        limits = settings.limits
        self._accounts, self._addresses, self._files, self._sign_ups = (
            Buckets(rate.per_second, rate.burst, clock=clock)
            for rate in (limits.account, limits.address, limits.files, limits.sign_ups)
        )
        self._hashing = threading.BoundedSemaphore(_HASHES_AT_ONCE)
        self._cookie = cookie_name(settings)

    def caller(self, request: Request, *, free: bool, files: bool = False) -> Caller:
        """Who asks.

        Args:
            request: with the token, if there is one.
            free: of requests that are not counted.
            files: of requests for published files, which are counted for themselves.

        Raises:
            ApiError: the token is none, or is not valid (any more); or there were too many requests.
        """
        address = address_of(request)
        given = request.headers.getlist("authorization")
        if not given:
            if not free:
                self._count(self._files if files else self._addresses, _network(address))
            return Caller(address)
        kind, _, text = given[0].partition(" ")
        if len(given) > 1 or kind.lower() != "bearer" or not 0 < len(text) <= _LONGEST_TOKEN:
            self._count(self._addresses, _network(address))
            raise ApiError("unauthenticated", "the header Authorization must be: Bearer, a space and a token")
        try:
            caller = self._verified(address, text.strip(), browser=False)
        except Refused as error:
            self._count(self._addresses, _network(address))
            raise ApiError("unauthenticated", str(error)) from None
        if not free:
            self._count(self._files if files else self._accounts, caller.known.id)
        return caller

    def knows_at_once(self, request: Request, *, page: bool) -> bool:
        """Whether it takes no look into the database to know who asks: nobody in particular."""
        return self._cookie not in request.cookies if page else "authorization" not in request.headers

    def visitor(self, request: Request, *, free: bool) -> Caller:
        """Who looks at a page: whose browser it is. A cookie that is worth nothing is nobody's.

        Args:
            request: with the cookie, if there is one. A header with a token is not looked at.
            free: of requests that are not counted.

        Raises:
            ApiError: there were too many requests.
        """
        address = address_of(request)
        caller = Caller(address)
        text = request.cookies.get(self._cookie)
        if text and len(text) <= _LONGEST_TOKEN:
            with suppress(Refused):
                caller = self._verified(address, text, browser=True)
        if not free:
            known = caller.account is not None
            self._count(self._accounts if known else self._addresses, caller.known.id if known else _network(address))
        return caller

    def _verified(self, address: str, text: str, *, browser: bool) -> Caller:
        """The caller with this token: of a browser, or of a program; neither is worth anything to the other.

        Raises:
            Refused: it is none, or not valid (any more).
        """
        now = self._service.now()
        with self._service.database.read() as tx:
            verified = tokens.verify(tx, text, now)
        caller = Caller(address, verified.account, verified.token)
        if caller.in_browser is not browser:
            raise Refused("the token is not valid; log in again")
        if tokens.needs_note(verified.token, now):
            try:
                self._service.database.run(tokens.note_use, verified.token.id, now)
            except PalladionError as error:
                # When it was last used is good to know, and nothing to refuse a request for.
                log.warning("the use of a token was not written down: %s", error)
        return caller

    def log_in(self, *, name: str, password: str, address: str) -> Account:
        """The account with this name and password.

        Raises:
            ApiError: there is none, or too many attempts have failed.
        """
        now = self._service.now()
        try:
            with self.hashing():
                return accounts.authenticate(
                    self._service.database, name=name, password=password, address=_network(address), now=now
                )
        except Refused as error:
            if error.next_slot is not None:
                raise rate_limited(str(error), (error.next_slot - now).total_seconds()) from None
            raise ApiError("wrong_credentials", str(error)) from None

    def sign_up(self, address: str) -> None:
        """Count an account that is made.

        Raises:
            ApiError: too many were made from there.
        """
        self._count(self._sign_ups, _network(address))

    @contextmanager
    def hashing(self) -> Iterator[None]:
        """Wait for one's turn to hash a password: it takes memory.

        Raises:
            ApiError: too many wait.
        """
        if not self._hashing.acquire(timeout=10):
            raise rate_limited("too many people log in at this moment", 5)
        try:
            yield
        finally:
            self._hashing.release()

    @staticmethod
    def _count(buckets: Buckets, key: str) -> None:
        wait = buckets.take(key)
        if wait:
            raise rate_limited("too many requests", wait)


class Permit:
    """The dependency: finds out who asks, and refuses what they may not do.

    Args:
        action: one of :data:`palladion.challenge.permissions.ACTIONS`.
        free: whether requests are not counted: of what monitors ask for.
        local: whether programs on this machine may do it without an account.
        page: whether it is for browsers, which have a cookie, and not for programs, which have a token.
    """

    def __init__(self, action: str, *, free: bool = False, local: bool = False, page: bool = False) -> None:
        self.action, self.free, self.local, self.page = action, free, local, page

    async def __call__(self, request: Request) -> None:
        """Refuse, or leave the caller for the route."""
        gate: Gate = request.app.state.gate
        if gate.knows_at_once(request, page=self.page):
            self._decide(request, gate)
        else:
            await run_in_threadpool(self._decide, request, gate)

    def _decide(self, request: Request, gate: Gate) -> None:
        if self.page:
            caller = gate.visitor(request, free=self.free)
        else:
            caller = gate.caller(request, free=self.free, files=self.action == _FILES)
        refusal = denial(self.action, caller.role, caller.scopes)
        if refusal is not None and denial(self.action, Role.ANONYMOUS) is None:
            # A token that is for something else is no worse than none; and what it shows is what anybody sees.
            caller, refusal = Caller(caller.address), None
        # Told to error pages as well: they have a frame that knows who looks at it.
        request.state.caller = caller
        # What no token is enough for is done with the password: the route asks for it, and for the role here.
        if refusal is not None and _asks_password(self.action):
            refusal = denial(self.action, caller.role, None)
        if refusal is not None and not (self.local and _is_near(request)):
            raise ApiError("unauthenticated" if caller.account is None else "forbidden", refusal)


def _asks_password(action: str) -> bool:
    from palladion.challenge.permissions import ACTIONS

    permission = ACTIONS.get(action)
    return permission is not None and permission.scope is None


def _is_near(request: Request) -> bool:
    """Whether a program on this machine asks. Behind a proxy on this machine everybody comes from this machine."""
    near = request.client is not None and request.client.host in _LOOPBACK
    return near and not any(name in request.headers for name in _FORWARDED)


# Without waiting for anything: a function that is not asynchronous would take a thread for it.
async def _asking(request: Request) -> Caller:
    caller: Any = request.state.caller
    assert isinstance(caller, Caller)
    return caller


Asking = Annotated[Caller, Depends(_asking)]
"""The parameter of a route that tells who asks."""


def cookie_name(settings: Settings) -> str:
    """The cookie of a browser that somebody has logged in with.

    Where the service is reached by https alone, its name makes browsers refuse it from anybody else.
    """
    return "__Host-palladion" if (settings.public_url or "").startswith("https:") else "palladion"


def address_of(request: Request) -> str:
    """The address of the client; behind a proxy that is trusted, as the proxy tells it."""
    return request.client.host if request.client else "unknown"


def _network(address: str) -> str:
    """What is counted together: an IPv4 address, but of IPv6 the /64 that one customer has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
