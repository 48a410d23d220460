"""What becomes of a submission, told while it happens: server-sent events (HTML standard, section 9.2).

A stream is a coroutine that sleeps. Whenever it looks, a thread of the pool reads a few rows for it and is free again;
only where something has changed is the whole submission looked at, through :class:`palladion.server.views.Views` as
everywhere else, and told. A stream ends when the submission has ended, when the browser goes, and after ten minutes in
any case: the browser then comes again by itself, and is asked anew who it is.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from palladion.errors import PalladionError
from palladion.server import models, queries
from palladion.server.api.submissions import get_submission
from palladion.server.errors import ApiError, rate_limited
from palladion.server.pages.frame import Visit, Visiting
from palladion.server.pages.words import texts
from palladion.server.routing import Routes
from palladion.storage import evaluations, queue, submissions

__all__ = ["Seats", "events_of", "progress_words", "routes"]

routes = Routes("events", pages=True)

LOOK: Final = 2.0
"""Seconds between two looks."""
HEARTBEAT: Final = 15.0
"""Seconds after which something is said even where nothing is new, so that nobody on the way takes it for dead."""
LONGEST: Final = 600.0
"""Seconds that a stream lasts at most."""
RETRY: Final = 3000
"""Milliseconds after which a browser comes again."""
MOST: Final = 200
"""Streams at a time, of everybody."""
MOST_OF_ONE: Final = 6
"""Streams at a time of one account: browsers have as many connections to one server."""

_MEDIA_TYPE: Final = "text/event-stream"
# A proxy that collects answers would hold back what is meant to come at once.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

t = texts()

Look = Callable[[str | None], Awaitable["tuple[str, models.Submission | None]"]]
"""Given the mark of the last look, the mark now, and the submission where the two differ."""


class Seats:
    """How many streams there are, of each account and in all. It belongs to one event loop and needs no lock.

    Args:
        most: in all.
        most_of_one: of one account.
    """

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._taken: Counter[str] = Counter()
        self.closed = False

    def close(self) -> None:
        """Let every stream end soon, because the server is about to stop; browsers come again when it is back."""
        self.closed = True

    def take(self, account: str) -> None:
        """Take a seat; give it back with :meth:`leave`.

        Raises:
            ApiError: there is none left.
        """
        if self.closed:
            raise rate_limited("the service is about to stop; come again", 5)
        if self._taken[account] >= self._most_of_one:
            raise rate_limited("too many pages of this account follow submissions at this moment; reload instead", 30)
        if self._taken.total() >= self._most:
            raise rate_limited("too many pages follow submissions at this moment; reload instead", 30)
        self._taken[account] += 1

    def leave(self, account: str) -> None:
        """Give it back."""
        self._taken[account] -= 1
        if self._taken[account] <= 0:
            del self._taken[account]

    def __len__(self) -> int:
        return self._taken.total()


@routes.get("/submissions/{submission_id}/events", "submission:read")
async def submission_events(request: Request, submission_id: str, visit: Visiting) -> Response:
    """The events of a submission until it has ended."""
    # Before a stream begins: who may not follow it is told so with a status.
    _, found = await run_in_threadpool(_look, visit, submission_id, None)
    known = request.headers.get("last-event-id")
    if found is not None and found.state != "pending" and known == _id(_data(found)):
        # It has been told that this was the end. After this answer a browser does not come again.
        return Response(status_code=204)
    if request.method == "HEAD":
        # Who wants the headers alone waits for nothing, and needs no seat.
        return StreamingResponse(iter(()), media_type=_MEDIA_TYPE, headers=_HEADERS)
    account = visit.caller.known.id
    seats = _seats(request)
    seats.take(account)

    async def look(mark: str | None) -> tuple[str, models.Submission | None]:
        return await run_in_threadpool(_look, visit, submission_id, mark)

    return _Stream(
        events_of(look, known=known, every=LOOK, heartbeat=HEARTBEAT, longest=LONGEST, over=lambda: seats.closed),
        lambda: seats.leave(account),
        media_type=_MEDIA_TYPE,
        headers=_HEADERS,
    )


async def events_of(
    look: Look,
    *,
    known: str | None = None,
    every: float,
    heartbeat: float,
    longest: float,
    over: Callable[[], bool] = lambda: False,
) -> AsyncIterator[str]:
    """The text of a stream.

    Args:
        look: what has become of the submission.
        known: id of the last event that the browser has had, if it comes again: that one is not told twice.
        every: seconds between two looks.
        heartbeat: seconds without an event after which a comment is sent.
        longest: seconds that the stream lasts.
        over: whether it is to end at once.
    """
    loop = asyncio.get_running_loop()
    began = said = loop.time()
    yield f"retry: {RETRY}\n\n"
    mark: str | None = None
    while loop.time() - began < longest and not over():
        try:
            mark, found = await look(mark)
        except (ApiError, PalladionError):
            # It is not there any more, or not for whoever asks; or the database is busy. The page tells which.
            return
        data = None if found is None else _data(found)
        # Something may have changed that is not told: then nothing is said, not even that.
        if data is not None and _id(data) != known:
            said, known = loop.time(), _id(data)
            yield f"id: {known}\nevent: progress\ndata: {data}\n\n"
        elif loop.time() - said >= heartbeat:
            said = loop.time()
            yield ": still there\n\n"
        if found is not None and found.state != "pending":
            return
        await asyncio.sleep(every)


def progress_words(submission: models.Submission) -> str:
    """What a submission that has not ended does, in a sentence."""
    if submission.progress != "running":
        return t("submission.live_queued")
    points = submission.progress_points
    if points is None or not points.done:
        return t("submission.live_running")
    if points.total is None:
        return t("submission.live_done", n=points.done)
    return t("submission.live_done_of", done=points.done, total=points.total)


def _data(found: models.Submission) -> str:
    """What an event holds; of one line."""
    points = found.progress_points
    data: dict[str, Any] = {
        "state": found.state,
        "progress": found.progress,
        "done": None if points is None else points.done,
        "total": None if points is None else points.total,
        "ended": found.state != "pending",
        "words": progress_words(found) if found.state == "pending" else "",
    }
    return json.dumps(data, ensure_ascii=True, allow_nan=False)


def _id(data: str) -> str:
    """The same for the same data: a browser that comes again says which it has had last."""
    return hashlib.sha256(data.encode()).hexdigest()[:16]


def _look(visit: Visit, submission_id: str, mark: str | None) -> tuple[str, models.Submission | None]:
    """The mark of a submission now; and all of it, where it is another one than before.

    Raises:
        NotFound: there is no such submission for whoever asks.
    """
    if mark is not None:
        now = _mark(visit, submission_id)
        if now == mark:
            return mark, None
        mark = now
    # Who may see it is asked once more each time: somebody may have left the team.
    found = get_submission(submission_id, visit.here, visit.caller)
    return mark or _mark(visit, submission_id), found


def _mark(visit: Visit, submission_id: str) -> str:
    """What changes whenever there is something new to tell."""
    with visit.here.service.database.read() as tx:
        row = submissions.by_id(tx, queries.row_id(submission_id, "submission"))
        parts = [row.state]
        found = [evaluation for evaluation in evaluations.of_submission(tx, row.id) if evaluation.counts]
        points = queries.outcome_counts(tx, [evaluation.id for evaluation in found])
        for evaluation in found:
            job = queue.of(tx, evaluations.EVALUATE, evaluation.id)
            count = points.get(evaluation.id)
            parts += [evaluation.state, "-" if job is None else job.state, str(0 if count is None else count.done)]
    return ".".join(parts)


def _seats(request: Request) -> Seats:
    """Those of this app; two apps may live in one process."""
    seats: Any = request.app.state.seats
    assert isinstance(seats, Seats)
    return seats


class _Stream(StreamingResponse):
    """A stream that does something when it is over, whoever ended it."""

    def __init__(self, content: AsyncIterator[str], over: Callable[[], None], **options: Any) -> None:
        super().__init__(content, **options)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()
