"""The leaderboard of a stage."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query
from markupsafe import Markup, escape
from sqlalchemy.orm import Session
from starlette.responses import Response

from palladion.jobs.context import StageInfo
from palladion.server import models, queries
from palladion.server.boards import Board
from palladion.server.pages.board_rows import (
    AS_IT_IS,
    LISTED,
    Column,
    Piece,
    Recent,
    Rows,
    columns_of,
    gzipped,
    listed,
    ordered,
    page_of,
)
from palladion.server.pages.browsers import Notice
from palladion.server.pages.frame import Document, Visit, Visiting, document, environment, frame_of, page_headers, t
from palladion.server.routing import Routes
from palladion.server.views import Views

__all__ = ["routes"]

routes = Routes("leaderboards", pages=True)

_ROWS_HERE: Final = "<!--rows-->"
_BOARDS_KEPT: Final = 16

Sort = Annotated[str, Query(max_length=80, pattern=r"^-?[a-z0-9_-]*$", description="A column; with - the other way.")]
TeamPart = Annotated[str, Query(alias="team", max_length=80, description="A part of a team's name.")]
Every = Annotated[bool, Query(alias="all", description="Every submission, not the best of each team.")]
SplitName = Annotated[str | None, Query(max_length=40)]
PageNumber = Annotated[int, Query(alias="page", ge=1, le=10_000)]


@document(routes, "/challenges/{challenge}/{track}/{stage}", "leaderboard:read")
def leaderboard(
    visit: Visiting,
    challenge: str,
    track: str,
    stage: str,
    every: Every = False,
    split: SplitName = None,
    sort: Sort = "rank",
    team: TeamPart = "",
    number: PageNumber = 1,
) -> Document:
    """Who leads, how sure that is, and how far it is to the goal."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        info = visit.here.stage(tx, row, track, stage)
        views = visit.here.views(tx, visit.caller, row)
        # A stage may have twenty thousand submissions: of all of them a page makes those alone that it shows.
        part = _part(tx, views, info, split or None, sort or "rank", team, number) if every else None
        board = views.board(tx, info, every=False, split=split or None) if part is None else part.board
    shown = board.for_team(views.viewer.team)
    order = None if sort in ("", "rank") else sort
    context = {
        "challenge": {"name": row.name, "title": row.title},
        "address": f"/challenges/{row.name}/{shown.track}/{shown.stage}",
        "asked": {"split": split, "all": "1" if every else None, "sort": order, "team": team},
        "sort": order or "rank",
        "number": number,
        "track_title": info.track.title,
    }
    name = f"{challenge}-{track}-{stage}"

    def whole() -> Board:
        if part is None:
            return board
        with visit.here.service.database.read() as tx:
            return views.board(tx, visit.here.stage(tx, row, track, stage), every=True, split=split or None)

    return BoardDocument(
        visit,
        shown,
        "leaderboard.html",
        lambda: whole().csv(views.viewer.team).decode(),
        name,
        context,
        made=board,
        part=part,
        as_json=lambda: whole().json(views.viewer.team),
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A page of every submission.

    Attributes:
        board: with the rows of the page, in its order; the same object for all who ask.
        columns: of all pages.
        count: how many rows all pages have, each once.
        pages: how many there are.
    """

    board: Board
    columns: list[Column]
    count: int
    pages: int


def _part(tx: Session, views: Views, info: StageInfo, split: str | None, sort: str, team: str, number: int) -> Part:
    listing = views.listing(tx, info, every=True, split=split)
    everything = range(len(listing))
    # What the best rows have something in are the columns of all pages.
    first = listing.page(tx, ("rank", "", 1), lambda: page_of(listing, everything, 1))
    columns = columns_of(first.shown)

    def places() -> list[int]:
        found = listed(listing, columns, sort, team)
        if found is None:
            board = views.board(tx, info, every=True, split=split)
            found = ordered(board.shown, columns, sort, team)
        return page_of(listing, found, number)

    wanted = team.casefold()
    found = [entry.item.baseline for entry in listing.entries if wanted in entry.item.team.casefold()]
    pages = max(1, -(-found.count(False) // LISTED))
    return Part(listing.page(tx, (sort, team, number), places), columns, len(found), pages)


@dataclass(frozen=True, slots=True)
class BoardDocument(Document):
    """A leaderboard, whose rows are made once for all who read it.

    Attributes:
        made: the board, the same object for all who ask.
        part: the page of every submission that it is; None: it is all of the board.
        as_json: makes the whole board as JSON.
    """

    made: Board | None = None
    part: Part | None = None
    as_json: Callable[[], bytes] | None = None

    def json(self) -> Response:
        """For programs: all of it, whichever page is asked for."""
        assert self.as_json is not None
        return Response(self.as_json(), media_type="application/json", headers={"Vary": "Cookie"})

    def html(self) -> Response:
        """The page, put together of what is there."""
        assert isinstance(self.data, models.Leaderboard)
        assert self.made is not None
        rows = _rows(self.visit, self.made.shown, self._page())
        public = self.data is self.made.shown
        own = {} if public else {place: row for place, row in enumerate(self.data.rows) if row.mine}
        if self.visit.caller.account is None and self._said() is None:
            # Everybody who has not logged in gets the same bytes.
            key = (*self.context["asked"].values(), self.context["number"])
            return self._answer(*rows.answers.get(key, lambda: self._whole(rows, own)))
        packed = "gzip" in self.visit.request.headers.get("accept-encoding", "")
        return self._answer(*self._whole(rows, own, packed=packed))

    def _page(self) -> tuple[list[Column], str, str, int] | None:
        """Of a page of every submission its columns, and which page it is."""
        if self.part is None:
            return None
        return self.part.columns, self.context["sort"], self.context["asked"]["team"], self.context["number"]

    def _said(self) -> Notice | None:
        return self.visit.browsers.told(self.visit.request, self.visit.caller, self.visit.now)

    def _whole(self, rows: Rows, own: dict[int, models.Row], *, packed: bool | None = None) -> tuple[bytes, bytes, str]:
        """The page as it is and packed, which of the two is wanted, or both; and its tag."""
        frame = frame_of(self.visit) | {
            "data": self.data,
            "columns": rows.columns,
            "rows": Markup(_ROWS_HERE),  # noqa: S704 - a place in the page
            "shown": rows.count(self.context["asked"]["team"]) if self.part is None else self.part.count,
            "pages": rows.pages(self.context["asked"]["team"]) if self.part is None else self.part.pages,
            "ties": rows.ties,
            "baselines": rows.baselines,
        }
        text = environment().get_template(self.template).render(frame | dict(self.context))
        head, _, tail = text.partition(_ROWS_HERE)
        pieces = [
            Piece.of(head.encode(), 1),
            *(
                rows.pieces(self.context["sort"], self.context["asked"]["team"], self.context["number"], own)
                if self.part is None
                else rows.pieces(AS_IT_IS, "", 1, own)
            ),
            Piece.of(tail.encode(), 1),
        ]
        tag = hashlib.blake2b(b"".join(piece.digest for piece in pieces), digest_size=12).hexdigest()
        plain = b"" if packed else b"".join(piece.content for piece in pieces)
        return plain, b"" if packed is False else gzipped(pieces), f'W/"{tag}"'

    def _answer(self, plain: bytes, packed: bytes, tag: str) -> Response:
        request = self.visit.request
        headers = page_headers() | {
            "ETag": tag,
            # Looked at again each time, and sent again where it is another one.
            "Cache-Control": "private, no-cache",
            "Vary": "Cookie, Accept-Encoding",
        }
        said = self._said()
        if said is None and tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            answer = Response(packed, media_type="text/html", headers={**headers, "Content-Encoding": "gzip"})
        else:
            answer = Response(plain, media_type="text/html", headers=headers)
        return self.visit.finish(answer, said=said)


_boards: Recent[Rows] = Recent(_BOARDS_KEPT)
"""The rows of boards: all that a row shows is in the board, which is another object when anything of it is new."""
_pages: Recent[Rows] = Recent(_BOARDS_KEPT)
"""The same of pages of every submission, which there are many of: they push no board out."""


def _rows(visit: Visit, board: models.Leaderboard, page: tuple[list[Column], str, str, int] | None) -> Rows:
    """The rows of a board; what is made of it is kept as long as it is the latest of its kind."""
    whose = (id(visit.here.boards), visit.caller.organises)
    columns, which = (None, ()) if page is None else (page[0], page[1:])
    key = (*whose, board.challenge, board.track, board.stage, board.split, board.ranked_by, board.all, *which)
    kept = _boards if page is None else _pages
    # The rows keep their board, so that nothing else gets its id meanwhile.
    return kept.get(
        key,
        lambda: _made(board, kept.latest(key), columns) if columns else _made(board, kept.latest(key)),
        version=id(board),
    )


def _made(board: models.Leaderboard, before: Rows | None, columns: list[Column] | None = None) -> Rows:
    columns = columns_of(board) if columns is None else columns
    higher = board.metrics[0].higher_is_better if board.metrics else True
    template = environment().get_template("board_row.html")
    ties = sum(row.tied for row in board.rows) > 1

    shared = {
        "columns": columns,
        "higher_is_better": higher,
        "ties": ties,
        # What there is to say of a telling is said once a row.
        "first_value": next((column.key for column in columns if column.kind == "value"), None),
    }

    def render(row: models.Row) -> str:
        return template.render(shared, row=row)

    def heading(name: str) -> str:
        return f'<tr><th scope="rowgroup" colspan="{len(columns) + 2}">{escape(t(f"board.{name}"))}</th></tr>'

    return Rows(board, columns, render, heading, before)
