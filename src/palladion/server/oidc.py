"""A login at an OpenID provider: the authorization code flow with PKCE.

The provider says by its discovery document where everything is. What a browser needs to bring back is in a cookie that
this service has signed, so that an answer which was meant for one browser is worth nothing in another, and nothing has
to be kept here. An identity is (issuer, subject) and nothing else: an address that a provider tells never opens an
account that is there.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.server.admission import Approval, in_domains
from palladion.server.confirmation import derived, signed, unsigned
from palladion.server.errors import ApiError
from palladion.server.queries import CONFIRMED
from palladion.server.settings import Settings
from palladion.storage import accounts, audit
from palladion.storage.tables import Account

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["COOKIE", "Begun", "Identity", "Oidc", "account_of"]

log = logging.getLogger("palladion.server")

COOKIE: Final = "palladion_oidc"
_PATIENCE: Final = timedelta(minutes=10)
_KEPT: Final = timedelta(hours=1)
_SECONDS: Final = 10.0
_MOST_BYTES: Final = 1 << 20
_LEEWAY: Final = 60
# Signatures that only the provider can make; of an HMAC the key would be this service's own secret.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send a browser, and with what cookie."""

    address: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, as the provider says.

    Attributes:
        issuer, subject: what tells them from everybody else.
        name: what they are called; None: it does not say.
        email: an address that the provider has verified; None: it has none.
    """

    issuer: str
    subject: str
    name: str | None
    email: str | None


class Oidc:
    """One provider. Threads may share it.

    Args:
        settings: with an issuer, a client id and a public URL.
        secret: the key of this service.
        callback: path that the provider sends browsers back to.
    """

    def __init__(self, settings: Settings, secret: bytes, callback: str) -> None:
        oidc = settings.oidc
        assert oidc.issuer is not None
        assert oidc.client_id is not None
        self._settings, self._issuer, self._client = oidc, oidc.issuer, oidc.client_id
        self._callback = f"{settings.public_url}{callback}"
        self._key = derived(secret, "oidc")
        self._lock = threading.Lock()
        self._found: tuple[datetime, dict[str, Any]] | None = None
        _safe(self._issuer)

    def begin(self, now: datetime) -> Begun:
        """Begin a login.

        Raises:
            ApiError: the provider does not answer as it should.
        """
        where = self._discovered(now)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        cookie = signed(self._key, {"state": state, "nonce": nonce, "verifier": verifier}, now + _PATIENCE)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._callback,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = where["authorization_endpoint"]
        return Begun(f"{address}{'&' if '?' in address else '?'}{urlencode(query)}", cookie)

    def finish(self, *, cookie: str | None, state: str, code: str | None, error: str | None, now: datetime) -> Identity:
        """End a login.

        Args:
            cookie: of :meth:`begin`, as the browser brings it.
            state: as the provider sends it back.
            code: likewise.
            error: likewise, instead of a code.
            now: the time.

        Raises:
            ApiError: this browser has not begun it here, or the provider does not say who it is.
        """
        said = None if cookie is None else unsigned(self._key, cookie, now)
        if said is None or not hmac.compare_digest(said["state"].encode(), state.encode()):
            raise ApiError("forbidden", "this login was not begun in this browser, or too long ago; begin again")
        if error is not None or code is None:
            raise ApiError("forbidden", f"the provider refused: {(error or 'no code')[:100]!a}")
        where = self._discovered(now)
        claims = self._claims(self._exchange(where, code, said["verifier"]), where, said["nonce"])
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
            raise self._fault("the provider does not say who it is")
        verified = claims.get("email_verified") is True
        email = claims.get("email") if verified else None
        name = next((claims[key] for key in ("preferred_username", "nickname", "name") if claims.get(key)), None)
        return Identity(
            self._issuer,
            subject,
            name if isinstance(name, str) else None,
            email if isinstance(email, str) else None,
        )

    def _discovered(self, now: datetime) -> dict[str, Any]:
        """The discovery document, which is kept for a while."""
        with self._lock:
            if self._found is not None and now - self._found[0] < _KEPT:
                return self._found[1]
            found = self._json("GET", f"{self._issuer}/.well-known/openid-configuration")
            # Otherwise one provider could speak for another.
            if str(found.get("issuer", "")).rstrip("/") != self._issuer:
                raise self._fault("the discovery document is of another issuer")
            for key in _ENDPOINTS:
                if not isinstance(found.get(key), str):
                    raise self._fault(f"the discovery document has no {key}")
                _safe(found[key])
            self._found = (now, found)
            return found

    def _exchange(self, where: dict[str, Any], code: str, verifier: str) -> str:
        """The id token that a code stands for."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "client_id": self._client,
            "code_verifier": verifier,
        }
        secret = self._settings.client_secret
        auth = None
        if secret is not None:
            methods = where.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
            if "client_secret_basic" in methods:
                auth = httpx.BasicAuth(self._client, secret.get_secret_value())
            else:
                form["client_secret"] = secret.get_secret_value()
        answer = self._json("POST", where["token_endpoint"], data=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > 64_000:
            raise self._fault("the provider gave no id token")
        return token

    def _claims(self, token: str, where: dict[str, Any], nonce: str) -> dict[str, Any]:
        """What the id token says, once everything about it is right."""
        offered = where.get("id_token_signing_alg_values_supported") or ["RS256"]
        allowed = [name for name in _ALGORITHMS if name in offered]
        try:
            head = jwt.get_unverified_header(token)
            keys = jwt.PyJWKSet.from_dict(self._json("GET", where["jwks_uri"])).keys
            named = [key for key in keys if head.get("kid") in (None, key.key_id)]
            if not named or head.get("alg") not in allowed:
                raise jwt.InvalidTokenError("it is signed by no key of the provider")
            claims: dict[str, Any] = jwt.decode(
                token,
                named[0],
                algorithms=[head["alg"]],
                audience=self._client,
                issuer=str(where["issuer"]),
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise self._fault(f"the id token is not valid: {error}") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise self._fault("the id token is of another login")
        if claims.get("azp", self._client) != self._client:
            raise self._fault("the id token is for another client")
        return claims

    def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """What the provider answers, within limits, and without following it elsewhere."""
        try:
            with (
                httpx.Client(timeout=_SECONDS, follow_redirects=False, trust_env=False) as client,
                client.stream(method, url, headers={"Accept": "application/json"}, **options) as response,
            ):
                body = b""
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise self._fault("the provider's answer is too large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._fault(f"the provider does not answer: {type(error).__name__}") from None
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if response.status_code != httpx.codes.OK or not isinstance(answer, dict):
            raise self._fault(f"the provider answers with {response.status_code}")
        return answer

    def _fault(self, message: str) -> ApiError:
        log.warning("OpenID provider %s: %s", self._issuer, ascii(message))
        return ApiError("forbidden", f"the login at {self._settings.title} did not succeed: {message}")


def account_of(
    service: "Service",
    identity: Identity,
    policy: tuple[Approval, frozenset[str]],
    count: Callable[[], None],
) -> Account:
    """The account of an identity; a new one where it has none.

    Args:
        service: database and clock.
        identity: who it is.
        policy: how accounts are made, and the domains whose addresses are enough.
        count: called before an account is made; it may refuse.

    Raises:
        ApiError: nobody can sign up.
    """
    with service.database.read() as tx:
        row = accounts.by_identity(tx, identity.issuer, identity.subject)
    if row is not None:
        return row
    approval, domains = policy
    if approval == "closed":
        raise ApiError("forbidden", "nobody can sign up here; ask the organisers for an account")
    count()
    active = approval == "open" or (approval == "domain" and in_domains(identity.email, domains))
    return service.database.run(_create, identity, "active" if active else "pending", service.now())


def _create(tx: Session, identity: Identity, state: str, now: datetime) -> Account:
    row = accounts.by_identity(tx, identity.issuer, identity.subject)
    if row is not None:
        return row
    name = _free_name(tx, identity)
    email = identity.email
    if email is not None and accounts.by_email(tx, email) is not None:
        # Whose account that is, the provider does not know: nothing is joined by an address.
        email = None
    made: dict[str, Any] = {"name": name, "state": state, "now": now, "actor": name}
    made["identity"] = (identity.issuer, identity.subject)
    try:
        row = accounts.create(tx, email=email, **made)
    except InputError:
        row = accounts.create(tx, email=None, **made)
    if row.email is not None:
        detail = {"email": row.email}
        audit.add(tx, actor=name, action=CONFIRMED, subject=f"account:{row.id}", detail=detail, now=now)
    return row


def _free_name(tx: Session, identity: Identity) -> str:
    """A name like the one that the provider tells, that nobody has."""
    wanted = identity.name or (identity.email or "").partition("@")[0] or "member"
    base = re.sub(r"[^a-z0-9._-]+", "-", wanted.lower()).strip("._-")[:50] or "member"
    if len(base) < 2:
        base = f"member-{base}"
    for number in range(_TRIES):
        name = base if number == 0 else f"{base}-{number + 1}"
        if not _taken(tx, name):
            return name
    return f"{base}-{secrets.token_hex(4)}"


def _taken(tx: Session, name: str) -> bool:
    from palladion.storage.errors import NotFound

    try:
        accounts.by_name(tx, name)
    except NotFound:
        return False
    return True


def _safe(url: str) -> None:
    """Refuses what would send secrets in clear: anything but https, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise InputError(f"the OpenID provider must be asked by https, not at {url[:100]!a}")
