"""Whoever has not logged in is given for a moment what was made for somebody else who had not."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.responses import Response

from palladion.server.pages.moments import Moments
from palladion.server.settings import Pages
from tests.server.pages.browser import Browser
from tests.server.site import Site

BOARD = "/challenges/demo/labels/development"


class Maker:
    """Makes answers, each another one."""

    def __init__(self, answer: Callable[[int], Response] | None = None) -> None:
        self.count = 0
        self._answer = answer or (lambda number: Response(f"number {number}"))

    async def __call__(self) -> Response:
        self.count += 1
        number = self.count
        await asyncio.sleep(0)
        return self._answer(number)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_given_again_until_it_is_too_old() -> None:
    clock, make = Clock(), Maker()
    moments = Moments(1.0, clock)

    async def ask() -> bytes:
        return bytes((await moments.answer("page", make)).body)

    assert [asyncio.run(ask()) for _ in range(3)] == [b"number 1"] * 3
    clock.now = 0.99
    assert asyncio.run(ask()) == b"number 1"
    clock.now = 1.01
    assert asyncio.run(ask()) == b"number 2"


def test_while_one_makes_it_anew_the_others_get_what_there_is() -> None:
    clock, make = Clock(), Maker()
    moments = Moments(1.0, clock)

    async def ask() -> list[bytes]:
        return [bytes(one.body) for one in await asyncio.gather(*(moments.answer("page", make) for _ in range(4)))]

    asyncio.run(ask())
    clock.now, make.count = 2.0, 10
    assert asyncio.run(ask()) == [b"number 11", *[b"number 4"] * 3]
    clock.now, make.count = 20.0, 20
    # Too old to be given at all: all wait.
    assert len(set(asyncio.run(ask()))) == 4


@pytest.mark.parametrize(
    "answer",
    [lambda _: Response("no", 404), lambda _: Response("cookie", headers={"Set-Cookie": "a=b"})],
    ids=["an error", "a cookie"],
)
def test_what_is_not_for_all_is_not_kept(answer: Callable[[int], Response]) -> None:
    moments, make = Moments(1.0), Maker(answer)
    for _ in range(2):
        asyncio.run(moments.answer("page", make))
    assert (make.count, len(moments)) == (2, 0)


def test_a_fault_is_not_kept_and_leaves_nothing_behind() -> None:
    moments = Moments(1.0)

    async def fail() -> Response:
        raise OSError("the disk is full")

    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            asyncio.run(moments.answer("page", fail))
    assert len(moments) == 0


def test_no_more_are_kept_than_so_many() -> None:
    moments = Moments(1.0)
    for number in range(300):
        asyncio.run(moments.answer(number, Maker()))
    assert len(moments) == 128


def test_who_has_logged_in_never_sees_what_was_kept_and_nobody_sees_what_was_theirs(site: Site) -> None:
    site.scored("development", {"overall": 50.0})
    kept = site.with_settings(site.settings.model_copy(update={"pages": Pages(fresh_seconds=60)}))
    nobody, olga = Browser(kept), Browser(kept, "olga")
    assert "Team 1" not in olga.get(BOARD).text
    assert "Team 1" not in nobody.get(BOARD).text
    site.scored("development", {"overall": 70.0}, team=1)
    # Who is logged in sees it at once; the others when the moment has passed.
    assert "Team 1" in olga.get(BOARD).text
    assert "Team 1" not in nobody.get(BOARD).text
    assert "olga" not in nobody.get(BOARD).text
    # Another address is another page; and what is asked anew with a tag is looked up.
    assert "Team 1" in nobody.get(f"{BOARD}?all=1").text
    assert nobody.get(BOARD, **{"If-None-Match": '"x"'}).text.count("Team 1") >= 1
