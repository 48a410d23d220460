"""What is told while it happens."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from palladion.server import models
from palladion.server.errors import ApiError
from palladion.server.pages import events
from palladion.server.pages.events import Seats, events_of
from palladion.storage.errors import NotFound
from tests.server.pages.browser import Browser, session
from tests.server.site import API, Site


def submission(site: Site, found_id: str) -> models.Submission:
    return models.Submission.model_validate(site.client("person-0").get(f"{API}/submissions/{found_id}").json())


def told(text: str) -> list[dict[str, Any]]:
    """The data of the events in the text of a stream."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def collect(look: Callable[[str | None], Any], **options: Any) -> str:
    """All that a stream says."""

    async def asked(mark: str | None) -> tuple[str, models.Submission | None]:
        answer: tuple[str, models.Submission | None] = look(mark)
        return answer

    async def all_of_it() -> str:
        times: dict[str, Any] = {"every": 0.0, "heartbeat": 60.0, "longest": 60.0, **options}
        return "".join([part async for part in events_of(asked, **times)])

    return asyncio.run(all_of_it())


@pytest.fixture
def steps(site: Site) -> list[models.Submission]:
    """A submission that waits, runs, and is scored."""
    waits = submission(site, site.accepted("development").id)
    runs = waits.model_copy(update={"progress": "running", "progress_points": models.Points(done=3, total=9)})
    return [waits, runs, waits.model_copy(update={"state": "scored", "progress": None})]


# --- Streams ----------------------------------------------------------------------------------------------------------


def test_what_changes_is_told_once_and_the_end_ends_it(steps: list[models.Submission]) -> None:
    looks = iter([("a", steps[0]), ("a", None), ("b", steps[1]), ("c", steps[1]), ("d", steps[2])])
    text = collect(lambda _: next(looks))
    assert text.startswith("retry: 3000\n\n")
    found = told(text)
    # The fourth look found something else, but nothing to tell.
    assert [(one["state"], one["progress"], one["done"], one["ended"]) for one in found] == [
        ("pending", "queued", None, False),
        ("pending", "running", 3, False),
        ("scored", None, None, True),
    ]
    assert found[1]["words"] == "It is being evaluated; 3 of 9 data points have ended."
    assert all(block.startswith("id: ") for block in text.split("\n\n")[1:-1])
    assert list(looks) == []


def test_who_comes_again_is_not_told_the_same_twice(steps: list[models.Submission]) -> None:
    def look(_: str | None) -> tuple[str, models.Submission | None]:
        return next(found)

    found = iter([("a", steps[0]), ("c", steps[2])])
    first = collect(look)
    known = first.split("id: ")[1].split("\n")[0]
    found = iter([("a", steps[0]), ("c", steps[2])])
    assert [one["state"] for one in told(collect(look, known=known))] == ["scored"]


def test_silence_is_broken_by_a_comment_and_ends_after_a_while(steps: list[models.Submission]) -> None:
    looks = iter([("a", steps[0])])
    text = collect(lambda mark: next(looks, (mark, None)), heartbeat=0.02, every=0.01, longest=0.15)
    assert len(told(text)) == 1
    assert 2 <= text.count(": still there\n\n") <= 8


@pytest.mark.parametrize("error", [NotFound("gone"), ApiError("forbidden", "not yours")])
def test_what_is_not_there_any_more_ends_it(steps: list[models.Submission], error: Exception) -> None:
    looks = iter([("a", steps[0])])

    def look(_: str | None) -> tuple[str, models.Submission | None]:
        for found in looks:
            return found
        raise error

    assert len(told(collect(look))) == 1


# --- Seats ------------------------------------------------------------------------------------------------------------


def test_there_are_so_many_seats_and_so_many_for_one() -> None:
    seats = Seats(most=3, most_of_one=2)
    seats.take("ada")
    seats.take("ada")
    with pytest.raises(ApiError, match="of this account"):
        seats.take("ada")
    seats.take("bob")
    with pytest.raises(ApiError, match="too many pages follow") as refused:
        seats.take("eve")
    assert (refused.value.status, refused.value.answer_headers["Retry-After"].isdigit()) == (429, True)
    seats.leave("ada")
    seats.take("eve")
    assert len(seats) == 3
    for account in ("ada", "bob", "eve"):
        seats.leave(account)
    assert len(seats) == 0


def test_a_server_that_stops_ends_every_stream(steps: list[models.Submission]) -> None:
    seats = Seats()
    looks = iter([("a", steps[0])])

    def look(mark: str | None) -> tuple[str, models.Submission | None]:
        if mark is not None:
            seats.close()
        return next(looks, ("a", None))

    assert len(told(collect(look, over=lambda: seats.closed))) == 1
    with pytest.raises(ApiError, match="about to stop"):
        seats.take("ada")


# --- Over HTTP --------------------------------------------------------------------------------------------------------


def test_what_has_ended_says_so_once_and_then_nothing(site: Site) -> None:
    found = site.scored("development", {"overall": 50.0})
    browser = Browser(site, "person-0")
    where = f"/submissions/{found.id}/events"
    answer = browser.get(where)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [one["ended"] for one in told(answer.text)] == [True]
    known = answer.text.split("id: ")[1].split("\n")[0]
    assert browser.get(where, **{"Last-Event-ID": known}).status_code == 204
    assert len(site.app.state.seats) == 0


def test_only_who_may_know_of_it_follows_it(site: Site) -> None:
    where = f"/submissions/{site.accepted('development').id}/events"
    assert Browser(site, "person-1").get(where).status_code == 404
    assert Browser(site, "oscar").get(where).status_code == 403
    assert Browser(site).get(where).status_code == 303
    # A token of the API is worth nothing on pages.
    assert site.client("person-0").get(where).status_code in (303, 401)


@pytest.fixture
def served(site: Site) -> Iterator[str]:
    """The site behind a real server."""
    server = uvicorn.Server(uvicorn.Config(site.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def emptied(site: Site) -> bool:
    """Whether all seats are given back within a while: the server learns a little later that somebody has gone."""
    for _ in range(500):
        if not len(site.app.state.seats):
            return True
        threading.Event().wait(0.02)
    return False


def test_a_browser_follows_a_submission_to_its_end(site: Site, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK", 0.05)
    found = site.accepted("development")
    cookies = {"palladion": session(site, "person-0")}
    where = f"{served}/submissions/{found.id}/events"
    with httpx.Client(cookies=cookies, timeout=20) as client, client.stream("GET", where) as answer:
        states = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line[6:])["state"])
                if len(states) == 1:
                    site.finish({"overall": 50.0})
    assert (states[0], states[-1]) == ("pending", "scored")
    assert emptied(site)


def test_who_leaves_gives_the_seat_back_and_too_many_are_refused(
    site: Site, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK", 0.05)
    site.app.state.seats = Seats(most_of_one=1)
    where = f"{served}/submissions/{site.accepted('development').id}/events"
    with httpx.Client(cookies={"palladion": session(site, "person-0")}, timeout=20) as client:
        with client.stream("GET", where) as answer:
            # Kept: what nobody holds any more is closed.
            lines = answer.iter_lines()
            assert next(lines) == "retry: 3000"
            assert len(site.app.state.seats) == 1
            assert client.get(where).status_code == 429
        assert emptied(site)
