"""Whatever can be read can be asked for by HEAD: the headers of what GET answers, and no body."""

from typing import Any

from fastapi.routing import APIRoute

from palladion.server.pages import PAGES
from palladion.server.pages.events import Seats
from palladion.server.pages.static import address
from tests.server.pages.browser import Browser
from tests.server.site import Site

CHANGING = ("date", "set-cookie")
"""Headers that no two answers have in common."""


def _addresses(site: Site, submission: str) -> list[str]:
    """Every page that can be read, of things that are there."""
    named = {"challenge": "demo", "track": "labels", "stage": "development", "figure": "attacks"}
    named |= {"submission_id": submission, "digest": address("page.css").split("/")[2], "name": "page.css"}
    found = []
    for route in (route for module in PAGES for route in module.routes):
        if "GET" in route.methods:
            path = route.path
            for name, value in named.items():
                path = path.replace("{" + name + "}", value)
            assert "{" not in path, path
            found.append(f"{path}?submission={submission}" if "/analysis" in path else path)
    return found


def _headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in CHANGING}


def test_head_of_every_page_tells_what_get_would_and_sends_nothing(site: Site) -> None:
    submission = site.scored("development", {"overall": 50.0}).id
    addresses = _addresses(site, submission)
    assert len(addresses) > 25
    as_browsers_do = {"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "identity"}
    for who, least in ((None, 10), ("olga", 20)):
        client, good = Browser(site, who).client, 0
        for path in addresses:
            got, asked = client.get(path, headers=as_browsers_do), client.head(path, headers=as_browsers_do)
            assert asked.status_code == got.status_code, path
            assert asked.content == b"", path
            assert _headers(asked) == _headers(got), path
            if got.status_code == 200 and not path.endswith("/events"):
                assert int(asked.headers["content-length"]) == len(got.content) > 0, path
            good += got.status_code == 200
        assert good > least


def test_head_of_a_stream_takes_no_seat_and_ends(site: Site) -> None:
    submission = site.accepted("development").id
    answer = Browser(site, "person-0").client.head(f"/submissions/{submission}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    seats: Seats = site.app.state.seats
    assert len(seats) == 0


def test_head_of_what_a_form_is_sent_to_is_refused_and_errors_have_no_body(site: Site) -> None:
    client = Browser(site, "person-0").client
    refused = client.head("/logout")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")
    assert client.put("/challenges/demo").headers["allow"] == "GET, HEAD"
    missing = client.head("/challenges/nope")
    assert (missing.status_code, missing.content) == (404, b"")
    assert int(missing.headers["content-length"]) > 0


def test_reading_by_head_is_for_whoever_may_read(still: Site) -> None:
    client = Browser(still).client
    assert client.head("/challenges/demo/organise.json").status_code == 401
    assert client.head("/account", headers={"Accept": "text/html"}).headers["location"] == "/login?next=%2Faccount"
    for route in still.app.routes:
        assert isinstance(route, APIRoute)
        assert not {"POST", "HEAD"} <= set(route.methods or ()), route.path
