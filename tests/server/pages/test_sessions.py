"""Logging in and out on pages, and making an account."""

from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from http.cookies import SimpleCookie
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from palladion.server.pages.browsers import safe_path
from palladion.server.settings import Oidc, SignUp
from palladion.storage import accounts, logins, tokens
from palladion.storage.hashing import hash_password
from tests.server.pages.browser import Browser, form_of, text_of
from tests.server.site import API, PASSWORD, Site
from tests.server.test_oidc import CLIENT, CLIENT_SECRET, Provider


@pytest.fixture
def people(site: Site) -> Site:
    """Somebody who has a password."""
    site.account("paula", password=hash_password(PASSWORD))
    return site


def _cookies(answer: Any) -> dict[str, Any]:
    found: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        found.load(line)
    return dict(found)


def _log_in(browser: Browser, to: str = "/", password: str = PASSWORD) -> Any:
    return browser.fill(f"/login?next={to}", "/login", {"name": "paula", "password": password})


def test_a_browser_logs_in_sees_what_is_its_own_and_logs_out(people: Site) -> None:
    browser = Browser(people)
    assert browser.get("/account").headers["location"] == "/login?next=%2Faccount"
    answer = _log_in(browser, "/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    cookie = _cookies(answer)["palladion"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "lax", "/", "")
    assert 13 * 86_400 < int(cookie["max-age"]) <= 14 * 86_400
    page = browser.page("/account")
    assert "paula" in page
    left = browser.fill("/account", "/logout")
    assert (left.status_code, left.headers["location"]) == (303, "/")
    # Not forgotten alone, but worth nothing any more.
    browser.client.cookies.set("palladion", cookie.value)
    assert browser.get("/account").status_code == 303


def test_where_there_is_https_the_cookie_is_for_https_and_this_host_alone(people: Site) -> None:
    settings = people.settings.model_copy(update={"public_url": "https://challenge.example"})
    site = people.with_settings(settings)
    browser = Browser(site, app=site.app)
    page = browser.get("/login")
    proof = form_of(page.text, "/login")["proof"]
    visitor = _cookies(page)["__Host-palladion_form"]
    assert visitor["secure"]
    answer = browser.client.post(
        "/login",
        data={"name": "paula", "password": PASSWORD, "proof": proof},
        headers={"Origin": "https://challenge.example", "Cookie": f"__Host-palladion_form={visitor.value}"},
    )
    cookie = _cookies(answer)["__Host-palladion"]
    assert (cookie["secure"], cookie["path"], cookie["domain"], cookie["httponly"]) == (True, "/", "", True)


def test_who_has_the_wrong_password_is_told_so_and_what_was_typed_stays_but_for_it(people: Site) -> None:
    browser = Browser(people)
    answer = _log_in(browser, "/account", "not the password")
    assert answer.status_code == 403
    text = text_of(answer.text)
    assert "wrong" in text.lower()
    assert 'value="paula"' in answer.text
    assert 'name="next" value="/account"' in answer.text
    assert "not the password" not in answer.text
    assert "palladion" not in _cookies(answer)


def test_after_many_failures_one_waits(people: Site) -> None:
    browser = Browser(people)
    found = [_log_in(browser, password=f"wrong password {i}").status_code for i in range(logins.FREE + 1)]
    assert found[0] == 403
    assert found[-1] == 429


@pytest.mark.parametrize(
    "where",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=y",
        "",
        "evil",
        "/login",
        "/logout",
        "/\u2028x",
    ],
)
def test_nobody_is_sent_to_another_site(where: str) -> None:
    assert safe_path(where) == "/"


def test_pages_are_gone_on_to() -> None:
    for where in ("/", "/account", "/challenges/demo/labels/development?sort=-asr&all=1"):
        assert safe_path(where) == where


def test_whoever_has_logged_in_need_not_do_it_again(people: Site) -> None:
    browser = Browser(people, "paula")
    assert browser.get("/login?next=/account").headers["location"] == "/account"


# --- Accounts ---------------------------------------------------------------------------------------------------------

NEW = {"name": "nora", "email": "nora@example.org", "password": PASSWORD, "again": PASSWORD}


def test_whoever_may_use_a_new_account_at_once_is_logged_in(site: Site) -> None:
    browser = Browser(site)
    answer = browser.fill("/register", "/register", NEW)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "nora" in browser.page("/account")


def test_whoever_has_to_wait_is_told_for_what(site: Site) -> None:
    sign_up = site.settings.sign_up.model_copy(update={"approval": "manual"})
    other = site.with_settings(site.settings.model_copy(update={"sign_up": sign_up}))
    browser = Browser(other, app=other.app)
    assert "An organiser approves" in browser.page("/register")
    answer = browser.fill("/register", "/register", NEW)
    assert "an organiser has to approve the account" in browser.told(answer)
    with site.database.read() as tx:
        assert accounts.by_name(tx, "nora").state == "pending"


def test_what_is_wrong_with_an_account_is_told_beside_the_form(site: Site) -> None:
    browser = Browser(site)
    for change, words in (
        ({"again": "another password"}, "The two passwords differ"),
        ({"name": "olga"}, "taken"),
        ({"name": "No Name!"}, "is no name of an account"),
        ({"password": "short", "again": "short"}, "10 to 1024 characters"),
    ):
        answer = browser.fill("/register", "/register", {**NEW, **change})
        assert answer.status_code in (409, 422), change
        assert words in text_of(answer.text), change
        assert 'value="nora@example.org"' in answer.text
        assert PASSWORD not in answer.text


def test_a_code_that_is_none_is_told_so(site: Site) -> None:
    browser = Browser(site)
    answer = browser.fill("/confirm", "/confirm", {"code": "nonsense"})
    assert "not valid" in browser.told(answer)


# --- One's own account ------------------------------------------------------------------------------------------------


def test_a_token_is_made_shown_once_and_revoked(people: Site) -> None:
    browser = Browser(people, "paula")
    fields = {"name": "laptop", "scopes": ["read", "submit"], "days": "30", "password": PASSWORD}
    page = browser.told(browser.fill("/account", "/account/tokens", fields))
    secret = "pld_" + page.partition("<code>pld_")[2].partition("<")[0]
    assert people.client().get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    again = browser.page("/account")
    assert "laptop" in again
    assert secret not in again
    answer = browser.fill("/account", "/account/tokens/revoke", has="laptop")
    assert "worth nothing" in browser.told(answer)
    assert people.client().get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_a_token_takes_the_password_and_a_scope(people: Site) -> None:
    browser = Browser(people, "paula")
    fields = {"name": "x", "scopes": ["read"], "days": "30", "password": "wrong password"}
    assert 'role="alert"' in browser.told(browser.fill("/account", "/account/tokens", fields))
    fields = {"name": "x", "days": "30", "password": PASSWORD}
    assert "scopes" in text_of(browser.told(browser.fill("/account", "/account/tokens", fields))).lower()
    fields = {"name": "x", "scopes": ["organise"], "days": "30", "password": PASSWORD}
    assert "for organisers" in browser.told(browser.fill("/account", "/account/tokens", fields))
    assert [token for token in browser.get("/account.json").json()["tokens"] if token["scopes"] == ["read"]] == []


def test_what_is_said_to_one_is_not_said_to_the_next(people: Site) -> None:
    browser = Browser(people, "paula")
    fields = {"name": "laptop", "scopes": ["read"], "days": "30", "password": PASSWORD}
    answer = browser.fill("/account", "/account/tokens", fields)
    notice = _cookies(answer)["palladion_notice"].value
    other = Browser(people, "person-0")
    other.client.cookies.set("palladion_notice", notice)
    assert "laptop" not in other.page("/account")
    forged = Browser(people, "paula")
    forged.client.cookies.set("palladion_notice", notice[:-2] + "AA")
    assert "The token laptop" not in forged.page("/account")


def test_a_new_password_logs_every_browser_out(people: Site) -> None:
    browser, other = Browser(people, "paula"), Browser(people, "paula")
    fields = {"old": PASSWORD, "new": "another password", "again": "another password"}
    answer = browser.fill("/account", "/account/password", fields)
    assert answer.headers["location"] == "/account"
    sent_on = browser.get("/account")
    assert sent_on.status_code == 303
    assert "The password was changed" in browser.page(sent_on.headers["location"])
    assert other.get("/account").status_code == 303
    assert _log_in(Browser(people), password="another password").status_code == 303


def test_e_mail_is_changed(people: Site) -> None:
    browser = Browser(people, "paula")
    assert "Kept." in browser.told(browser.fill("/account", "/account/mail", {"email": "p@example.org"}))
    account = browser.get("/account.json").json()["account"]
    assert (account["email"], account["mail"]) == ("p@example.org", False)
    assert 'role="alert"' in browser.told(browser.fill("/account", "/account/mail", {"email": "nonsense"}))


def test_sessions_are_named_after_their_browser_and_can_be_ended_elsewhere(people: Site) -> None:
    browser, other = Browser(people, "paula"), Browser(people)
    page = other.get("/login")
    proof = form_of(page.text, "/login")["proof"]
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 <script>"
    fields = {"name": "paula", "password": PASSWORD, "proof": proof}
    assert other.send("/login", fields, **{"User-Agent": agent}).status_code == 303
    assert "Firefox on Linux" in browser.page("/account")
    assert browser.fill("/account", "/account/tokens/revoke", has="Firefox").status_code == 303
    assert other.get("/account").status_code == 303
    assert browser.get("/account").status_code == 200


def test_of_very_many_sessions_the_oldest_end(people: Site) -> None:
    from tests.server.pages.browser import session

    people.world.clock.forward(timedelta(seconds=1))
    first = Browser(people, "paula")
    for _ in range(20):
        people.world.clock.forward(timedelta(seconds=1))
        session(people, "paula")
    assert first.get("/account").status_code == 200
    people.world.clock.forward(timedelta(seconds=1))
    assert _log_in(Browser(people)).status_code == 303
    assert first.get("/account").status_code == 303


# --- Elsewhere --------------------------------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def test_a_login_elsewhere_comes_back_to_the_page(site: Site, provider: Provider) -> None:
    oidc = Oidc(issuer=provider.url, client_id=CLIENT, client_secret=SecretStr(CLIENT_SECRET), title="The Lab")
    settings = {"oidc": oidc, "public_url": "https://here.example.org"}
    site = site.with_settings(site.settings.model_copy(update=settings))
    client = TestClient(site.app, base_url="https://here.example.org", follow_redirects=False)
    page = client.get("/login?next=/challenges/demo/team")
    assert "Log in with The Lab" in page.text
    where = unescape(page.text.partition('class="buttonlike" href="')[2].partition('"')[0])
    sent = client.get(where)
    assert sent.status_code == 302
    back = client.get(provider.authorize(sent.headers["location"]))
    assert (back.status_code, back.headers["location"]) == (303, "/challenges/demo/team")
    assert "pld_" not in back.text
    assert client.get("/account", headers={"Accept": "text/html"}).status_code == 200
    # Whoever begins at the API gets what programs get.
    other = TestClient(site.app, base_url="https://here.example.org", follow_redirects=False)
    sent = other.get("/api/v1/oidc/start")
    assert other.get(provider.authorize(sent.headers["location"])).json()["token"].startswith("pld_")


def _sent_back(site: Site, provider: Provider, start: str) -> Any:
    """What a browser gets that comes back from the provider."""
    client = TestClient(site.app, base_url="https://here.example.org", follow_redirects=False)
    sent = client.get(start, headers={"Accept": "text/html"})
    return client.get(provider.authorize(sent.headers["location"]), headers={"Accept": "text/html"})


def test_whoever_waits_for_approval_is_told_so_on_a_page(site: Site, provider: Provider) -> None:
    oidc = Oidc(issuer=provider.url, client_id=CLIENT, client_secret=SecretStr(CLIENT_SECRET), title="The Lab")
    settings = {"oidc": oidc, "public_url": "https://here.example.org", "sign_up": SignUp(approval="manual")}
    site = site.with_settings(site.settings.model_copy(update=settings))
    # The first time an account is made; the second time it still waits.
    for _ in range(2):
        page = _sent_back(site, provider, "/login/elsewhere?next=/account")
        assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
        told = text_of(page.text)
        assert "is made and waits: an organiser has to approve the account before it can be used" in told
        assert 'href="/login"' in page.text
        assert "palladion=" not in page.headers.get("set-cookie", "")
    # A program is told as programs are.
    answer = _sent_back(site, provider, f"{API}/oidc/start")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"
    with site.database.read() as tx:
        (made,) = [row for row in accounts.listing(tx) if row.issuer == provider.url]
    site.client("olga").post(f"{API}/accounts/{made.id}/disable")
    assert "was disabled" in text_of(_sent_back(site, provider, "/login/elsewhere").text)


def test_what_a_provider_refuses_is_told_on_a_page_too(site: Site, provider: Provider) -> None:
    oidc = Oidc(issuer=provider.url, client_id=CLIENT, client_secret=SecretStr(CLIENT_SECRET), title="The Lab")
    settings = {"oidc": oidc, "public_url": "https://here.example.org"}
    site = site.with_settings(site.settings.model_copy(update=settings))
    provider.claims = lambda claims: claims.update(aud="somebody else")
    page = _sent_back(site, provider, "/login/elsewhere")
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "did not succeed" in text_of(page.text)


def test_tokens_that_are_worth_nothing_are_on_no_page(site: Site) -> None:
    site.issue("short", "person-0", ("read",), days=1)
    gone = site.issue("gone", "person-0", ("read",))
    site.database.run(tokens.revoke, gone.split("_")[1], now=site.world.clock())
    team, account = "/challenges/demo/team.json", "/account.json"

    def names(path: str) -> set[str]:
        return {token["name"] for token in Browser(site, "person-0").get(path).json()["tokens"] if token["scopes"]}

    assert "short" in names(team)
    assert "gone" not in names(team)
    assert names(team) == names(account)
    site.world.clock.forward(timedelta(days=2))
    assert "short" not in names(team)
    count = len(names(team))
    assert f"{count} tokens can act in your name" in text_of(Browser(site, "person-0").page("/challenges/demo/team"))
