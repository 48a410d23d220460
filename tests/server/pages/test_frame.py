"""What every page has: headers that keep others out, errors in words, and text that stays text."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from palladion.server.pages import figures, frame, static
from palladion.server.pages.frame import as_exact_as, markdown, query_text, size, span, until
from palladion.storage import teams
from tests.server.pages.browser import Browser, text_of
from tests.server.site import API, Site

BOARD = "/challenges/demo/labels/development"
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
PAGES = ("/", "/login", "/register", "/confirm", "/challenges/demo", BOARD, "/nope", "/challenges/nope")
EVIL = "<script>alert(1)</script>\"'&{{7*7}}"


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_what_is_ours_and_nobody_frames_them(still: Site, path: str) -> None:
    answer = Browser(still).get(path)
    policy = {part.split()[0]: part.split()[1:] for part in answer.headers["content-security-policy"].split("; ")}
    assert policy == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "Cookie" in answer.headers["vary"]
    for forbidden in (" style=", " onclick=", "javascript:", "http://fonts", "<style"):
        assert forbidden not in answer.text, forbidden
    assert answer.text.count("<script") == 1
    assert answer.text.startswith("<!doctype html>\n<html lang=")
    assert answer.text.count("<h1") == 1


def test_the_api_is_no_page_whatever_a_browser_asks(still: Site) -> None:
    answer = still.client().get(f"{API}/nope", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    # And programs that ask for a page that is none are told as programs are.
    assert still.client().get("/nope").headers["content-type"] == "application/json"
    for path in ("/challenges/nope.json", "/challenges/demo/labels/nope.csv", "/account.json"):
        answer = still.client().get(path, headers={"Accept": "text/html"})
        assert answer.status_code in (401, 404)
        assert answer.json()["error"]["code"] in ("unauthenticated", "not_found")


def test_errors_are_told_in_the_words_of_the_api(still: Site) -> None:
    browser = Browser(still)
    page = browser.get("/challenges/nope")
    assert page.status_code == 404
    message = still.client().get(f"{API}/challenges/nope").json()["error"]["message"]
    assert message[1:] in text_of(page.text)
    page = Browser(still, "oscar").get("/challenges/demo/team")
    assert page.status_code == 403
    assert "This is not for you" in page.text
    assert browser.client.put("/", headers={"Accept": "text/html"}).status_code == 405
    page = browser.get(f"{BOARD}?sort=%3Cscript%3E")
    assert page.status_code == 422
    assert "<script>" not in page.text.partition("</head>")[2]


def test_what_nobody_expected_is_told_by_an_id_and_without_the_inside(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("the inside of the house")

    monkeypatch.setitem(frame.environment().filters, "utc", fail)
    with caplog.at_level(logging.ERROR):
        answer = Browser(site, "olga").get("/account")
    assert answer.status_code == 500
    assert "text/html" in answer.headers["content-type"]
    assert "the inside" not in answer.text
    assert "Traceback" not in answer.text
    assert any("unexpected error" in record.message for record in caplog.records)


def test_without_a_database_the_error_is_told_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.database), "read", lambda _: (_ for _ in ()).throw(RuntimeError("gone")))
    assert Browser(site).get("/").status_code == 500
    assert Browser(site).get("/challenges/demo").status_code == 500


def test_names_are_text_and_nothing_else(site: Site) -> None:
    with site.database.write() as tx:
        now = site.world.clock()
        teams.create(tx, site.world.challenge.id, site.accounts["lone"].id, name=EVIL, now=now, actor="lone")
    for page in (Browser(site, "lone").page("/challenges/demo/team"), Browser(site, "olga").page("/account")):
        assert "<script>alert" not in page
        # What stands before the expression in the name, and what it would come to.
        assert "&amp;49" not in page
    assert str(escape(EVIL)) in Browser(site, "lone").page("/challenges/demo/team")


@given(st.text(max_size=200))
def test_markdown_holds_no_html_of_its_own(text: str) -> None:
    html = str(markdown(text + "\n\n<img src=x onerror=alert(1)> <script>x</script>"))
    assert "<script" not in html
    assert "<img" not in html


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", " JaVaScRiPt:x"])
def test_links_of_markdown_lead_to_pages(link: str) -> None:
    assert "href" not in str(markdown(f"[here](<{link}>)"))


def test_markdown_is_below_the_headings_of_the_page() -> None:
    html = str(
        markdown("# One\n\nA [link](https://example.org) ![no](https://example.org/x.png)\n\n| a |\n|---|\n| b |\n")
    )
    assert "<h3>One</h3>" in html
    assert 'rel="nofollow noopener"' in html
    assert "<table>" in html
    assert "<img" not in html


# --- Renderings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "path"),
    [
        (None, "/"),
        (None, "/challenges/demo"),
        (None, BOARD),
        ("person-0", "/account"),
        ("person-0", "/challenges/demo/team"),
        ("olga", "/challenges/demo/organise"),
    ],
)
def test_every_page_is_there_for_programs_and_says_where(still: Site, who: str | None, path: str) -> None:
    browser = Browser(still, who)
    stem = "/index" if path == "/" else path
    page = browser.page(path)
    for ending, kind in ((".json", "application/json"), (".csv", "text/csv; charset=utf-8")):
        assert f'href="{stem}{ending}' in page
        answer = browser.get(stem + ending)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert json.loads(browser.get(f"{stem}.json").text)
    assert browser.get(f"{stem}.csv").headers["content-disposition"].startswith('attachment; filename="')


def test_the_json_of_a_page_is_that_of_the_api(site: Site) -> None:
    site.scored("development", {"overall": 50.0})
    for page, same in (
        ("/index.json", "/challenges"),
        ("/challenges/demo.json", "/challenges/demo"),
        (f"{BOARD}.json", "/challenges/demo/stages/labels/development/leaderboard"),
    ):
        assert Browser(site).get(page).json() == site.client().get(API + same).json()


def test_csv_is_safe_to_open(site: Site) -> None:
    table = frame.Table(("a", "=b"), [("=1+1", None), (-1.5, True), (NOW, "x,y")])
    assert frame.table_csv(table).split("\r\n") == [
        "a,'=b",
        "'=1+1,",
        "-1.5,yes",
        '2026-01-05T09:00:00Z,"x,y"',
        "",
    ]


# --- Files ------------------------------------------------------------------------------------------------------------


def test_files_are_kept_for_ever_and_change_their_address_with_what_they_hold(still: Site) -> None:
    browser = Browser(still)
    where = static.address("page.css")
    assert where in browser.page("/")
    answer = browser.get(where)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert browser.get(where, **{"If-None-Match": answer.headers["etag"]}).status_code == 304
    plain = browser.client.get(where, headers={"Accept-Encoding": "identity"})
    assert plain.content == answer.content
    assert browser.get("/static/0000000000000000/page.css").status_code == 404


@pytest.mark.parametrize("name", ["..%2fmodels.py", "%2e%2e", "page.css%00", "models.py", "", "a" * 5000, ".css"])
def test_nothing_else_is_a_file(still: Site, name: str) -> None:
    digest = static.address("page.css").split("/")[2]
    assert Browser(still).get(f"/static/{digest}/{name}").status_code == 404


def test_the_script_of_figures_comes_from_the_package_that_is_installed(still: Site) -> None:
    answer = Browser(still).get(static.address("plotly.min.js"))
    assert answer.status_code == 200
    assert "plotly.js" in answer.text[:500]


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0 s"),
        (0.44, "0.4 s"),
        (5, "5 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (3 * 3600 + 12 * 60 + 3, "3 h 12 min"),
        (2 * 86_400 + 5 * 3600, "2 d 5 h"),
    ],
)
def test_how_long_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_how_far_away_in_words() -> None:
    assert until(NOW + timedelta(hours=3, minutes=12), NOW) == "in 3 h 12 min"
    assert until(NOW - timedelta(minutes=15), NOW) == "15 min ago"
    assert until(NOW, NOW) == "now"


def test_sizes_and_numbers_in_words() -> None:
    assert [size(n) for n in (1, 1024, 512 << 20, 3 << 30)] == ["1 byte", "1 KiB", "512 MiB", "3 GiB"]
    assert [as_exact_as(0.25, text) for text in ("0.300", "1", "0.5")] == ["0.250", "0", "0.2"]
    assert as_exact_as(-0.5, "0.1") == "−0.5"


def test_queries_keep_what_does_not_change() -> None:
    asked: dict[str, Any] = {"all": "1", "sort": "-auc", "team": "", "split": None}
    assert query_text(asked) == "?all=1&sort=-auc"
    assert query_text(asked, sort=None, all=None) == ""
    assert query_text(asked, team="a&b=c") == "?all=1&sort=-auc&team=a%26b%3Dc"


@given(st.floats(0, 2), st.text(max_size=20))
def test_a_bar_is_as_long_as_its_share_and_its_words_are_text(share: float, label: str) -> None:
    drawn = str(figures.bar(share, label))
    width = float(drawn.partition('class="fill" width="')[2].partition('"')[0])
    assert width == pytest.approx(min(1.0, share) * 96, abs=0.06)
    assert f'aria-label="{escape(label)}"' in drawn
    assert figures.bar(None, label) == ""
