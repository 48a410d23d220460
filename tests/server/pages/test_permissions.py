"""Who may see which page and send which form: written out, so that nothing is allowed because nobody thought of it."""

from typing import Any

import pytest

from palladion.server.access import Caller, Permit
from palladion.server.pages import PAGES
from palladion.server.pages.browsers import Browsers
from palladion.storage import tokens
from tests.server.pages.browser import ORIGIN, Browser, session
from tests.server.site import API, UNKNOWN, Site

ROLES = ("anonymous", "lone", "person-1", "person-0", "oscar", "olga")
"""As in tests/server/test_permissions.py."""

EVERYBODY = "200 200 200 200 200 200"
# Whoever has not logged in is sent on to do it; of a form, and of what programs read, the answer says so.
KNOWN = "303 200 200 200 200 200"
TAKING_PART = "303 200 200 200 403 200"
ORGANISERS = "303 403 403 403 403 200"
DATA = {"303": "401"}
DO_PARTICIPANTS = "401 303 303 303 403 403"
DO_ORGANISERS = "401 403 403 403 403 303"

BOARD = "/challenges/{challenge}/{track}/{stage}"
TEAM = "/challenges/{challenge}/team"
ORGANISE = "/challenges/{challenge}/organise"

DOCUMENTS = {
    "/": EVERYBODY,
    "/challenges/{challenge}": EVERYBODY,
    BOARD: EVERYBODY,
    "/account": KNOWN,
    TEAM: TAKING_PART,
    ORGANISE: ORGANISERS,
}
TABLE = {
    ("GET", "/static/{digest}/{name}"): "404 404 404 404 404 404",
    ("GET", "/login"): "200 303 303 303 303 303",
    ("GET", "/login/elsewhere"): "404 404 404 404 404 404",
    ("GET", "/register"): EVERYBODY,
    ("GET", "/confirm"): EVERYBODY,
    ("POST", "/login"): "403 403 403 403 403 403",
    ("POST", "/register"): "422 422 422 422 422 422",
    ("POST", "/confirm"): "303 303 303 303 303 303",
    ("POST", "/logout"): "401 303 303 303 303 303",
    ("POST", "/account/tokens"): "401 303 303 303 303 303",
    ("POST", "/account/tokens/revoke"): "401 404 404 404 404 404",
    ("POST", "/account/mail"): "401 303 303 303 303 303",
    ("POST", "/account/password"): "401 303 303 303 303 303",
    ("POST", f"{TEAM}/make"): DO_PARTICIPANTS,
    ("POST", f"{TEAM}/join"): DO_PARTICIPANTS,
    ("POST", f"{TEAM}/leave"): DO_PARTICIPANTS,
    ("POST", f"{TEAM}/invite"): DO_PARTICIPANTS,
    **{
        ("POST", f"{ORGANISE}/{what}"): DO_ORGANISERS
        for what in ("open", "close", "conclude", "rescore", "switch", "accounts/disable", "teams/refuse")
    },
    ("POST", f"{ORGANISE}/teams/baseline"): DO_ORGANISERS,
    # Of what the form does not name there is none.
    ("POST", f"{ORGANISE}/accounts/approve"): "401 403 403 403 403 404",
    ("POST", f"{ORGANISE}/teams/approve"): "401 403 403 403 403 404",
    ("POST", f"{ORGANISE}/jobs/retry"): "401 403 403 403 403 404",
}
ELSEWHERE = ("/submissions/", f"{BOARD}/analysis", f"{BOARD}/sweep", "/challenges/{challenge}/submissions")
"""Pages of submissions and of analyses: theirs is a table of their own."""


def _expected() -> dict[tuple[str, str], dict[str, int]]:
    found = dict(TABLE)
    for path, page in DOCUMENTS.items():
        stem = "/index" if path == "/" else path
        found["GET", path] = page
        for ending in (".json", ".csv"):
            found["GET", stem + ending] = " ".join(DATA.get(status, status) for status in page.split())
    return {key: dict(zip(ROLES, map(int, line.split()), strict=True)) for key, line in found.items()}


EXPECTED = _expected()


def _address(path: str) -> str:
    known = {"challenge": "demo", "track": "labels", "stage": "development", "digest": "0" * 16, "name": "page.css"}
    for name, value in known.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path, path
    return path


def _ours() -> list[tuple[str, str]]:
    routes = [(method, route.path) for module in PAGES for route in module.routes for method in route.methods]
    return [route for route in routes if not route[1].startswith(ELSEWHERE)]


def _proof(site: Site, secret: str | None, visitor: str) -> str:
    """What the forms of a session hold."""
    browsers: Browsers = site.app.state.browsers
    if secret is None:
        return browsers.proof(Caller("here"), visitor)
    with site.database.read() as tx:
        verified = tokens.verify(tx, secret, site.world.clock())
    return browsers.proof(Caller("here", verified.account, verified.token), "")


def _ask(site: Site, who: str, method: str, path: str, **fields: str) -> Any:
    browser, secret, visitor = Browser(site), None, "0" * 32
    if who == "anonymous":
        browser.client.cookies.set("palladion_form", visitor)
    else:
        secret = session(site, who)
        browser.client.cookies.set("palladion", secret)
    if method == "GET":
        return browser.get(_address(path))
    return browser.send(_address(path), {"proof": _proof(site, secret, visitor), **fields})


def test_the_table_names_every_page_and_no_other() -> None:
    assert sorted(set(_ours())) == sorted(EXPECTED)


def test_every_page_declares_one_action_and_is_none_of_the_api(still: Site) -> None:
    pages = {route.path for module in PAGES for route in module.routes}
    described = still.app.openapi()["paths"]
    for route in still.app.routes:
        permits = [d.dependency for d in route.dependencies if isinstance(d.dependency, Permit)]  # type: ignore[attr-defined]
        assert len(permits) == 1, route
        assert permits[0].page is (route.path in pages), route  # type: ignore[attr-defined]
        assert not (permits[0].page and route.path in described)  # type: ignore[attr-defined]


@pytest.mark.parametrize("who", ROLES)
def test_role_by_page(site: Site, who: str) -> None:
    found = {key: _ask(site, who, *key).status_code for key in EXPECTED}
    wrong = {key: (status, EXPECTED[key][who]) for key, status in found.items() if status != EXPECTED[key][who]}
    assert not wrong


def test_forms_that_none_of_our_pages_sent_are_refused(site: Site) -> None:
    own, others = session(site, "olga"), session(site, "olga")
    proof = _proof(site, own, "")
    posts = [path for method, path in EXPECTED if method == "POST"]
    for path in posts:
        for name, given, headers in (
            ("no proof", {}, {"Origin": ORIGIN}),
            ("an empty one", {"proof": ""}, {"Origin": ORIGIN}),
            ("that of another session", {"proof": _proof(site, others, "")}, {"Origin": ORIGIN}),
            ("that of nobody", {"proof": _proof(site, None, "")}, {"Origin": ORIGIN}),
            ("from another site", {"proof": proof}, {"Origin": "https://evil.example"}),
            ("from nowhere", {"proof": proof}, {"Origin": "null"}),
            ("the browser says another site", {"proof": proof}, {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}),
            ("of the same domain", {"proof": proof}, {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"}),
            ("the browser says nothing", {"proof": proof}, {}),
        ):
            browser = Browser(site)
            browser.client.cookies.set("palladion", own)
            answer = browser.client.post(_address(path), data=given, headers=headers)
            # Participants' forms are none of an organiser's in any case.
            assert answer.status_code == 403, (name, path)
            assert "Traceback" not in answer.text


def test_before_anybody_has_logged_in_a_form_is_bound_to_the_browser(still: Site) -> None:
    browser, other = Browser(still), Browser(still)
    page = browser.page("/login")
    proof = page.partition('name="proof" value="')[2].partition('"')[0]
    fields = {"name": "nobody", "password": "wrong password"}
    assert "another session" in other.send("/login", {"proof": proof, **fields}).text
    assert "another session" in Browser(still).send("/login", {"proof": _proof(still, None, ""), **fields}).text
    assert "another session" not in browser.send("/login", {"proof": proof, **fields}).text


def test_the_api_takes_no_cookie_and_pages_take_no_token(site: Site) -> None:
    secret = session(site, "olga")
    browser = Browser(site)
    browser.client.cookies.set("palladion", secret)
    assert browser.get("/account").status_code == 200
    assert browser.client.get(f"{API}/me").status_code == 401
    assert browser.client.post(f"{API}/challenges/demo/stages/labels/development/close").status_code == 401
    # Not as a token either: a cookie that is stolen opens no API.
    assert site.client().get(f"{API}/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    # And a token is no cookie.
    assert site.client("olga").get("/account", headers={"Accept": "text/html"}).status_code == 303
    browser.client.cookies.set("palladion", site.tokens["olga"])
    assert browser.get("/account").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "pld__", f"pld_{UNKNOWN}_{'0' * 64}", "a" * 4000, "\u00e9"])
def test_a_cookie_that_is_worth_nothing_is_nobodys(still: Site, cookie: str) -> None:
    browser = Browser(still)
    headers = {b"cookie": b"palladion=" + cookie.encode("utf-8"), b"accept": b"text/html"}
    assert browser.client.get("/", headers=headers).status_code == 200
    assert browser.client.get("/account", headers=headers).status_code == 303


def test_a_session_ends_with_its_account_and_with_its_time(site: Site) -> None:
    from datetime import timedelta

    browser, later = Browser(site, "person-1"), Browser(site, "person-0")
    assert browser.get("/account").status_code == 200
    account = site.accounts["person-1"].id
    assert site.client("olga").post(f"{API}/accounts/{account}/disable").status_code == 200
    assert browser.get("/account").status_code == 303
    site.world.clock.forward(timedelta(days=15))
    assert later.get("/account").status_code == 303
