"""A login at an OpenID provider: a small one that is real, and several that lie."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from palladion.errors import InputError
from palladion.server.oidc import COOKIE, Oidc
from palladion.server.settings import Oidc as OidcSettings
from palladion.server.settings import SignUp
from palladion.storage import accounts
from tests.server.site import API, SECRET, Response, Site

CLIENT, CLIENT_SECRET = "palladion", "of the client"
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
Change = Callable[[dict[str, Any]], None]


class Provider:
    """An OpenID provider that logs everybody in as the same person.

    Attributes:
        claims: changes what it says of them.
        discovery: changes what it says of itself.
        key: signs.
        algorithm: how.
        asked: what came to the token endpoint.
    """

    def __init__(self) -> None:
        self.claims: Change = lambda _: None
        self.discovery: Change = lambda _: None
        self.key: Any = KEY
        self.algorithm = "RS256"
        self.asked: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def _say(self, document: Any, status: int = 200) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if self.path == "/.well-known/openid-configuration":
                    self._say(provider.described())
                elif self.path == "/keys":
                    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
                    self._say({"keys": [{**key, "kid": "1", "use": "sig"}]})
                elif self.path == "/endless":
                    self._say("x" * (2 << 20))
                elif self.path == "/elsewhere":
                    self.send_response(302)
                    self.send_header("Location", "/keys")
                    self.end_headers()
                else:
                    self._say({}, 404)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                form = dict(parse_qsl(self.rfile.read(length).decode()))
                form["authorization"] = self.headers.get("Authorization", "")
                provider.asked.append(form)
                self._say(*provider.token(form))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def described(self) -> dict[str, Any]:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
        self.discovery(document)
        return document

    def authorize(self, address: str) -> str:
        """What a browser comes back with after somebody has logged in: the address it is sent to."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert urlsplit(address).path == "/authorize"
        assert query["response_type"] == "code"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> tuple[Any, int]:
        begun = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        if begun is None or challenge.rstrip("=") != begun["code_challenge"]:
            return {"error": "invalid_grant"}, 400
        now = int(time.time())
        claims = {"iss": self.url, "sub": "subject-1", "aud": CLIENT, "iat": now, "exp": now + 60}
        claims |= {"nonce": begun["nonce"], "preferred_username": "Ada L.", "email": "ada@id.org"}
        claims["email_verified"] = True
        self.claims(claims)
        token = jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": "1"})
        return {"access_token": "x", "token_type": "Bearer", "id_token": token}, 200


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def _site(site: Site, provider: Provider, **changes: Any) -> Site:
    oidc = OidcSettings(issuer=provider.url, client_id=CLIENT, client_secret=SecretStr(CLIENT_SECRET))
    settings = {"oidc": oidc, "public_url": "https://here.example.org", **changes}
    return site.with_settings(site.settings.model_copy(update=settings))


def _log_in(site: Site, provider: Provider) -> Response:
    """As a browser does."""
    client = site.client()
    begun = client.get(f"{API}/oidc/start")
    assert begun.status_code == 302, begun.text
    back = provider.authorize(begun.headers["location"])
    assert back.startswith(f"https://here.example.org{API}/oidc/callback?")
    return client.get(back.removeprefix("https://here.example.org"), headers={"Cookie": _cookie(begun)})


def _cookie(begun: Response) -> str:
    # The cookie is for https alone; the test's client speaks http.
    cookie: str = begun.headers["set-cookie"]
    return cookie.partition(";")[0]


def test_a_login_makes_an_account_and_the_next_one_finds_it(site: Site, provider: Provider) -> None:
    site = _site(site, provider)
    first = _log_in(site, provider)
    assert first.status_code == 200, first.text
    account = first.json()["account"]
    assert (account["name"], account["email"], account["role"]) == ("ada-l", "ada@id.org", "participant")
    site.tokens["ada"] = first.json()["token"]
    assert site.client("ada").get(f"{API}/me").json()["account"]["id"] == account["id"]
    assert _log_in(site, provider).json()["account"]["id"] == account["id"]
    # The client has proved itself, and the code was asked for with what only this service knew.
    assert provider.asked[0]["authorization"].startswith("Basic ")
    assert provider.asked[0]["redirect_uri"] == f"https://here.example.org{API}/oidc/callback"


def test_the_cookie_is_for_this_alone(site: Site, provider: Provider) -> None:
    begun = _site(site, provider).client().get(f"{API}/oidc/start")
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for word in ("HttpOnly", "Secure", "SameSite=lax", f"Path={API}/oidc", "Max-Age=600"):
        assert word in cookie


def test_an_answer_is_for_the_browser_that_asked(site: Site, provider: Provider) -> None:
    site = _site(site, provider)
    client = site.client()
    begun, other = client.get(f"{API}/oidc/start"), client.get(f"{API}/oidc/start")
    back = provider.authorize(begun.headers["location"]).removeprefix("https://here.example.org")
    for cookie in ("", _cookie(other), f"{COOKIE}=x", _cookie(begun)[:-3]):
        client.cookies.clear()
        answer = client.get(back, headers={"Cookie": cookie} if cookie else {})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), cookie
    assert provider.asked == []
    assert client.get(back, headers={"Cookie": _cookie(begun)}).status_code == 200
    # A code is good once.
    assert client.get(back, headers={"Cookie": _cookie(begun)}).status_code == 403


def test_a_login_that_takes_too_long_begins_again(site: Site, provider: Provider) -> None:
    from datetime import timedelta

    site = _site(site, provider)
    begun = site.client().get(f"{API}/oidc/start")
    back = provider.authorize(begun.headers["location"]).removeprefix("https://here.example.org")
    site.world.clock.forward(timedelta(minutes=11))
    assert site.client().get(back, headers={"Cookie": _cookie(begun)}).status_code == 403


def test_whoever_declines_is_not_logged_in(site: Site, provider: Provider) -> None:
    site = _site(site, provider)
    begun = site.client().get(f"{API}/oidc/start")
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    address = f"{API}/oidc/callback?{urlencode({'state': state, 'error': 'access_denied'})}"
    answer = site.client().get(address, headers={"Cookie": _cookie(begun)})
    assert (answer.status_code, "access_denied" in answer.text) == (403, True)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example.org"},
        {"aud": "another client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"exp": 1_000_000_000},
        {"iat": 4_000_000_000},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": 7},
        {"exp": None},
    ],
    ids=lambda change: " ".join(change),
)
def test_what_a_token_says_must_be_right(site: Site, provider: Provider, change: dict[str, Any]) -> None:
    site = _site(site, provider)

    def changed(claims: dict[str, Any]) -> None:
        claims.update(change)
        for name in [name for name, value in claims.items() if value is None]:
            del claims[name]

    provider.claims = changed
    assert _log_in(site, provider).status_code == 403


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(OTHER_KEY, "RS256"), (CLIENT_SECRET * 4, "HS256"), (None, "none"), (KEY, "RS512")],
    ids=["another key", "the secret as a key", "none", "not offered"],
)
def test_only_the_provider_signs(site: Site, provider: Provider, key: Any, algorithm: str) -> None:
    site = _site(site, provider)
    provider.key, provider.algorithm = key, algorithm
    assert _log_in(site, provider).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example.org"},
        {"token_endpoint": None},
        {"jwks_uri": "http://evil.example.org/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "/keys"},
    ],
    ids=lambda change: " ".join(change),
)
def test_what_a_provider_says_of_itself_must_be_right(site: Site, provider: Provider, change: dict[str, Any]) -> None:
    provider.discovery = lambda document: document.update(change)
    answer = _site(site, provider).client().get(f"{API}/oidc/start")
    assert answer.status_code in (403, 422)


@pytest.mark.parametrize("path", ["/endless", "/elsewhere", "/nowhere"])
def test_answers_that_are_none(site: Site, provider: Provider, path: str) -> None:
    site = _site(site, provider)
    provider.discovery = lambda document: document.update(jwks_uri=provider.url + path)
    assert _log_in(site, provider).status_code == 403


def test_a_provider_that_is_not_there(site: Site, provider: Provider) -> None:
    site = _site(site, provider)
    provider.close()
    answer = site.client().get(f"{API}/oidc/start")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_an_address_opens_no_account_that_is_there(site: Site, provider: Provider) -> None:
    """Whoever can make a provider say an address would be everybody here."""
    site = _site(site, provider)
    own = site.accounts["person-0"]
    provider.claims = lambda claims: claims.update(email=own.email, preferred_username=own.name)
    account = _log_in(site, provider).json()["account"]
    assert account["id"] != own.id
    assert (account["name"], account["email"]) == ("person-0-2", None)


@pytest.mark.parametrize("name", ["", "É", "a", "<script>", "x" * 300, None, 7])
def test_names_are_made_fit(site: Site, provider: Provider, name: Any) -> None:
    site = _site(site, provider)
    provider.claims = lambda claims: claims.update(preferred_username=name, email="x y@nowhere")
    account = _log_in(site, provider).json()["account"]
    assert accounts.NAME.fullmatch(account["name"])
    assert account["email"] is None


@pytest.mark.parametrize(
    ("approval", "verified", "status"),
    [("open", False, 200), ("manual", True, 403), ("domain", True, 200), ("domain", False, 403), ("closed", True, 403)],
)
def test_who_may_sign_up_is_who_may_sign_up(
    site: Site, provider: Provider, approval: str, verified: bool, status: int
) -> None:
    domains = ["id.org"] if approval == "domain" else []
    site = _site(site, provider, sign_up=SignUp.model_validate({"approval": approval, "domains": domains}))
    provider.claims = lambda claims: claims.update(email_verified=verified)
    assert _log_in(site, provider).status_code == status
    with site.database.read() as tx:
        states = [row.state for row in accounts.listing(tx) if row.issuer == provider.url]
    assert states == ([] if approval == "closed" else ["active" if status == 200 else "pending"])


def test_whoever_is_disabled_here_does_not_come_in_there(site: Site, provider: Provider) -> None:
    site = _site(site, provider)
    account = _log_in(site, provider).json()["account"]["id"]
    site.client("olga").post(f"{API}/accounts/{account}/disable")
    assert _log_in(site, provider).status_code == 403


@pytest.mark.parametrize("issuer", ["http://id.example.org", "http://10.0.0.1"])
def test_secrets_are_not_sent_in_the_clear(site: Site, issuer: str) -> None:
    oidc = OidcSettings(issuer=issuer, client_id=CLIENT)
    settings = site.settings.model_copy(update={"oidc": oidc, "public_url": "https://here.example.org"})
    with pytest.raises(InputError, match="https"):
        Oidc(settings, SECRET, "/callback")
