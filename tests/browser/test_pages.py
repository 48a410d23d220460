"""Every page of both examples in a real browser, as each role: read, in light and dark, on a phone, on paper."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, Request, expect

from tests.browser.conftest import Served, Visit, pictures

ACCESSIBILITY = (Path(__file__).parent / "accessibility.js").read_text()
BOARDS = (
    "/challenges/trojai/detection/round-0",
    "/challenges/trojai/detection/round-1",
    "/challenges/antibad/classification/development",
    "/challenges/antibad/generation/development",
)
PUBLIC = (
    "/",
    "/challenges/trojai",
    "/challenges/antibad",
    *BOARDS,
    f"{BOARDS[1]}?sort=-roc_auc&all=1",
    "/login",
    "/register",
)
OWN = ("/challenges/trojai/team", "/challenges/antibad/team", "/account")
ORGANISING = ("/challenges/trojai/organise", "/challenges/antibad/organise", f"{BOARDS[1]}/analysis")
SUBMISSIONS = ("weak", "good", "partly", "failed", "labels", "texts", "others", "pending")
OF = {"person-0": ("good", "failed", "labels", "texts"), "person-1": ("weak", "partly", "others", "pending")}

WAYS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}


def addresses(who: str | None, served: Served) -> Iterator[str]:
    yield from PUBLIC
    if who in ("person-0", "person-1", "lone"):
        yield from OWN
    seen = SUBMISSIONS if who == "olga" else OF.get(who or "", ())
    yield from (f"/submissions/{served.found[name].id}" for name in seen)
    if who == "olga":
        yield from ORGANISING
        yield "/account"


class Watched:
    """A page, and everything that went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", self._broke)
        page.on("requestfailed", self._failed)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: the console says: {message.text}")

    def _broke(self, error: Error) -> None:
        self.faults.append(f"{self.page.url}: a script failed: {error}")

    def _failed(self, request: Request) -> None:
        # What was on its way when the page was left: a stream of events, the sign of the page.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{self.page.url}: {request.url} did not come")

    def look(self, address: str, picture: str = "") -> None:
        answer = self.page.goto(address)
        assert answer is not None
        if answer.status != 200:
            self.faults.append(f"{address}: answers {answer.status}")
            return
        self.faults += [f"{address}: {fault}" for fault in self.page.evaluate(ACCESSIBILITY)]
        folder = pictures()
        if folder is not None and picture:
            name = re.sub(r"[^a-z0-9-]+", "_", address.strip("/").lower()) or "home"
            self.page.screenshot(path=folder / f"{picture}-{name[:80]}.png", full_page=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", [None, "oscar", "lone", "person-0", "person-1", "olga"])
def test_every_page_can_be_read_by_everybody(visit: Visit, served: Served, who: str | None, way: str) -> None:
    watched = Watched(visit(who, **WAYS[way]).new_page())
    for address in addresses(who, served):
        watched.look(address, f"{who or 'nobody'}-{way}")
    assert watched.faults == []


@pytest.mark.parametrize("who", [None, "person-0", "olga"])
def test_without_scripts_everything_can_be_read(visit: Visit, served: Served, who: str | None) -> None:
    if who is not None:
        page = visit(who, java_script_enabled=False).new_page()
    else:
        page = visit(None, java_script_enabled=False).new_page()
    for address in addresses(who, served):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        expect(page.locator("h1")).to_have_count(1)
    page.goto(BOARDS[1])
    expect(page.locator("main table tbody tr").filter(has_text="Team of person-0")).not_to_have_count(0)


def test_what_belongs_to_others_is_not_there(visit: Visit, served: Served) -> None:
    for who, mine in OF.items():
        page = visit(who).new_page()
        for name in set(SUBMISSIONS) - set(mine):
            answer = page.goto(f"/submissions/{served.found[name].id}")
            assert answer is not None
            assert answer.status == 404, (who, name)
        for address in ORGANISING[:2]:
            answer = page.goto(address)
            assert answer is not None
            assert answer.status in (403, 404), (who, address)


def test_a_column_is_sorted_by_keyboard(visit: Visit, served: Served) -> None:
    page = visit(None).new_page()
    page.goto(BOARDS[1])
    link = page.locator("th a").filter(has_text=re.compile("AUC", re.IGNORECASE)).first
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"sort="))
    expect(page.locator("th[aria-sort=ascending], th[aria-sort=descending]")).to_have_count(1)


def test_the_first_stop_of_the_keyboard_leads_to_the_content(visit: Visit, served: Served) -> None:
    page = visit(None).new_page()
    page.goto(BOARDS[1])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#"))


def test_on_paper_there_is_the_table_and_nothing_to_operate(visit: Visit, served: Served) -> None:
    page = visit(None).new_page()
    page.goto(BOARDS[1])
    page.emulate_media(media="print")
    expect(page.locator("main table").first).to_be_visible()
    for operated in ("nav.who", "main form button"):
        expect(page.locator(operated).first).to_be_hidden()


def test_a_submission_that_is_awaited_says_so_without_being_asked_again(visit: Visit, served: Served) -> None:
    from tests.jobs.world import do_all

    page = visit("person-1").new_page()
    page.goto(f"/submissions/{served.found['pending'].id}")
    before = page.locator("main").inner_text()
    do_all(served.site.world)
    page.wait_for_function("text => document.querySelector('main').innerText !== text", arg=before)
    expect(page.locator("main")).to_contain_text(re.compile("scored", re.IGNORECASE))


@pytest.mark.parametrize("name", ["labels", "texts"])
def test_rows_of_a_language_track_are_shown_by_task_and_attack(visit: Visit, served: Served, name: str) -> None:
    page = visit("olga").new_page()
    page.goto(f"/submissions/{served.found[name].id}")
    table = page.locator("#attacks table")
    expect(table).to_contain_text("utility of clean rows")
    expect(table).to_contain_text("success of the attack")
