"""A browser, as far as a test needs one: it keeps cookies, fills in forms that pages hold, and says where it is."""

import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from typing import Any

from starlette.testclient import TestClient

from palladion.server.access import SESSION
from palladion.storage import tokens
from tests.server.site import Site

ORIGIN = "http://testserver"
_FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')
_INPUT = re.compile(r"<input\b([^>]*)>")


class Browser:
    """Somebody with a browser.

    Args:
        site: where.
        who: whose session it has; None: nobody has logged in.
    """

    def __init__(self, site: Site, who: str | None = None, *, app: Any = None) -> None:
        self.site = site
        self.client = TestClient(app or site.app, raise_server_exceptions=False, follow_redirects=False)
        if who is not None:
            self.client.cookies.set("palladion", session(site, who))

    def get(self, path: str, **headers: str) -> Any:
        """Look at a page."""
        return self.client.get(path, headers={"Accept": "text/html,*/*;q=0.8", **headers})

    def page(self, path: str) -> str:
        """A page that there is."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:2000])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return str(answer.text)

    def send(self, where: str, fields: Mapping[str, Any], **headers: str) -> Any:
        """Send fields somewhere, from a page of ours."""
        return self.client.post(where, data=dict(fields), headers={"Origin": ORIGIN, **headers})

    def fill(self, path: str, where: str, fields: Mapping[str, Any] | None = None, *, has: str = "") -> Any:
        """Send the form of a page that goes somewhere, with what it holds and these fields."""
        hidden = form_of(self.page(path), where, has)
        return self.send(where, {**hidden, **(fields or {})})

    def told(self, answer: Any) -> str:
        """The page that a form leads to, which says what has become of it."""
        assert answer.status_code == 303, answer.text[:2000]
        return self.page(answer.headers["location"])


def form_of(page: str, where: str, has: str = "") -> dict[str, str]:
    """The hidden fields of the first form of a page that goes somewhere, and holds this."""
    for attributes, content in _FORM.findall(page):
        if dict(_ATTRIBUTE.findall(attributes)).get("action") != where or has not in content:
            continue
        inputs = [dict(_ATTRIBUTE.findall(found)) for found in _INPUT.findall(content)]
        return {one["name"]: unescape(one["value"]) for one in inputs if one.get("type") == "hidden"}
    raise AssertionError(f"no form goes to {where}")


def session(site: Site, who: str) -> str:
    """What the cookie of somebody holds who has logged in; without the time that a password takes."""
    _, secret = site.database.run(
        tokens.issue,
        site.accounts[who].id,
        name="a browser",
        scopes=[SESSION],
        lifetime=timedelta(days=14),
        now=site.world.clock(),
    )
    return secret


def text_of(page: str) -> str:
    """What somebody reads on a page, without tags."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())
