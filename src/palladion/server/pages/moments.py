"""Answers that are given again for a moment to whoever has not logged in.

When results come out, hundreds of people ask for the same page in the same second. All of them see the same, so that
the page is looked up a few times a second and not for each: without a thread, and without the database.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Moments", "same_for_all"]

_MOST: Final = 128
_MOST_BYTES: Final = 4 << 20
"""Of one answer: larger ones are not kept."""
_OLDEST: Final = 8
"""While one is made anew, the one before is given, up to so many times as old as it may be."""


@dataclass(slots=True)
class _Kept:
    answer: Response
    made: float
    renewed: bool = False


class Moments:
    """Answers by what was asked for. It belongs to one event loop at a time.

    Args:
        seconds: that an answer may be old; 0: none is kept.
        clock: seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[Response]]) -> Response:
        """What was answered a moment ago; else what ``make`` makes, which is kept if all may have it.

        While one request makes it anew, the others are given what there is.
        """
        if not self._seconds:
            return await make()
        now = self._clock()
        found = self._kept.get(key)
        if found is not None:
            age = now - found.made
            if age < self._seconds or (found.renewed and age < self._seconds * _OLDEST):
                return _again(found.answer)
            found.renewed = True
        try:
            answer = await make()
        except BaseException:
            self._kept.pop(key, None)
            raise
        if _for_all(answer):
            self._kept[key] = _Kept(_again(answer), now)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        else:
            self._kept.pop(key, None)
        return answer

    def __len__(self) -> int:
        return len(self._kept)


def same_for_all(request: Request) -> Hashable | None:
    """What a request asks for, where everybody who asks so gets the same; None where somebody in particular asks, or
    asks for less than the whole.
    """
    headers = request.headers
    if request.method not in ("GET", "HEAD") or any(
        name in headers for name in ("cookie", "authorization", "if-none-match", "range", "if-modified-since")
    ):
        return None
    packed = "gzip" in headers.get("accept-encoding", "")
    return request.url.path, request.url.query, packed, headers.get("accept", ""), headers.get("host", "")


def _for_all(answer: Response) -> bool:
    return answer.status_code == 200 and "set-cookie" not in answer.headers and len(answer.body) <= _MOST_BYTES


def _again(answer: Response) -> Response:
    """The same answer, which whatever is done with it does not change."""
    made = Response(answer.body, answer.status_code)
    made.raw_headers = list(answer.raw_headers)
    return made
