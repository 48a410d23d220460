"""A service with both example challenges, served by uvicorn, and Debian's Chromium to look at it."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from palladion.storage.tables import Submission
from tests.browser.site import make_examples
from tests.server.site import PASSWORD, Site

CHROMIUM = shutil.which("chromium")
PATIENCE = 180_000
"""Milliseconds."""

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class Served:
    """A service that is served.

    Attributes:
        url: where.
        site: what is behind it.
        found: submissions by name.
    """

    url: str
    site: Site
    found: dict[str, Submission]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Both examples, with submissions that were run and scored."""
    site, found = make_examples(tmp_path_factory.mktemp("examples"))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(site.app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < end, "the service does not start"
        time.sleep(0.02)
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", site, found)
    server.should_exit = True
    thread.join(30)
    site.database.close()


# Not longer: while Playwright is there, its event loop runs, and tests of other modules could not run theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian has it."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: sh scripts/system-packages.sh browser")
    with sync_playwright() as playwright:
        # As root it has no sandbox of its own; it looks at nothing but our own pages.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


Visit = Callable[..., BrowserContext]


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """Somebody's browser: ``visit("olga")`` is logged in, ``visit(None)`` is nobody in particular."""
    opened: list[BrowserContext] = []

    def enter(who: str | None, **options: object) -> BrowserContext:
        context = browser.new_context(base_url=served.url, **options)  # type: ignore[arg-type]
        # The machine may be busy with other tests.
        context.set_default_timeout(PATIENCE)
        opened.append(context)
        if who is not None:
            log_in(context.new_page(), who)
        return context

    yield enter
    for context in opened:
        context.close()


def log_in(page: Page, who: str) -> None:
    """As people do."""
    page.goto("/login")
    page.get_by_label("Name", exact=False).first.fill(who)
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.locator("main form").get_by_role("button").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
    page.close()


def pictures() -> Path | None:
    """Where screenshots are kept for somebody to look at: ``PALLADION_SCREENSHOTS``."""
    folder = os.environ.get("PALLADION_SCREENSHOTS")
    if not folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)
