"""The leaderboard of a stage."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query
from markupsafe import Markup, escape
from starlette.responses import Response

from palladion.server import models, queries, tables
from palladion.server.boards import Board
from palladion.server.pages.board_rows import PAGE, Piece, Recent, Rows, columns_of, gzipped
from palladion.server.pages.browsers import Notice
from palladion.server.pages.frame import Document, Visit, Visiting, document, environment, frame_of, page_headers, t
from palladion.server.routing import Routes

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
        board = views.board(tx, info, every=every, split=split or None)
    shown = board.shown if views.viewer.team is None else board.for_team(views.viewer.team)
    order = None if sort in ("", "rank") else sort
    context = {
        "challenge": {"name": row.name, "title": row.title},
        "address": f"/challenges/{row.name}/{shown.track}/{shown.stage}",
        "asked": {"split": split, "all": "1" if every else None, "sort": order, "team": team},
        "on_page": PAGE,
        "sort": order or "rank",
        "number": number,
        "track_title": info.track.title,
    }
    name = f"{challenge}-{track}-{stage}"
    return BoardDocument(
        visit, shown, "leaderboard.html", lambda: tables.leaderboard_csv(shown), name, context, made=board
    )


@dataclass(frozen=True, slots=True)
class BoardDocument(Document):
    """A leaderboard, whose rows are made once for all who read it.

    Attributes:
        made: the board, the same object for all who ask.
    """

    made: Board | None = None

    def json(self) -> Response:
        """For programs; nearly everybody sees the same, and gets the same bytes."""
        assert self.made is not None
        public = self.data is self.made.shown
        content = self.made.rendered("json", _json) if public else self.data.model_dump_json().encode()
        return Response(content, media_type="application/json", headers={"Vary": "Cookie"})

    def html(self) -> Response:
        """The page, put together of what is there."""
        assert isinstance(self.data, models.Leaderboard)
        assert self.made is not None
        rows = _rows(self.visit, self.made.shown)
        public = self.data is self.made.shown
        own = {} if public else {place: row for place, row in enumerate(self.data.rows) if row.mine}
        if self.visit.caller.account is None and self._said() is None:
            # Everybody who has not logged in gets the same bytes.
            key = (*self.context["asked"].values(), self.context["number"])
            return self._answer(*rows.answers.get(key, lambda: self._whole(rows, own)))
        packed = "gzip" in self.visit.request.headers.get("accept-encoding", "")
        return self._answer(*self._whole(rows, own, packed=packed))

    def _said(self) -> Notice | None:
        return self.visit.browsers.told(self.visit.request, self.visit.caller, self.visit.now)

    def _whole(self, rows: Rows, own: dict[int, models.Row], *, packed: bool | None = None) -> tuple[bytes, bytes, str]:
        """The page as it is and packed, which of the two is wanted, or both; and its tag."""
        frame = frame_of(self.visit) | {
            "data": self.data,
            "columns": rows.columns,
            "rows": Markup(_ROWS_HERE),  # noqa: S704 - a place in the page
            "shown": rows.count(self.context["asked"]["team"]),
            "ties": rows.ties,
            "baselines": rows.baselines,
        }
        text = environment().get_template(self.template).render(frame | dict(self.context))
        head, _, tail = text.partition(_ROWS_HERE)
        pieces = [
            Piece.of(head.encode(), 1),
            *rows.pieces(self.context["sort"], self.context["asked"]["team"], self.context["number"], own),
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


def _json(board: models.Leaderboard) -> bytes:
    return board.model_dump_json().encode()


_boards: Recent[Rows] = Recent(_BOARDS_KEPT)
"""The rows of boards: all that a row shows is in the board, which is another object when anything of it is new."""


def _rows(visit: Visit, board: models.Leaderboard) -> Rows:
    """The rows of a board; what is made of it is kept as long as it is the latest of its kind."""
    whose = (id(visit.here.boards), visit.caller.organises)
    key = (*whose, board.challenge, board.track, board.stage, board.split, board.ranked_by, board.all)
    # The rows keep their board, so that nothing else gets its id meanwhile.
    return _boards.get(key, lambda: _made(board, _boards.latest(key)), version=id(board))


def _made(board: models.Leaderboard, before: Rows | None) -> Rows:
    columns = columns_of(board)
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
