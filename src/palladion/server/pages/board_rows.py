"""The rows of a leaderboard as bytes: made once for what they show, and put together for whoever asks.

A board of 500 teams is most of a megabyte. What costs is to make it and to pack it, so both are done once for each
revision of the board, in blocks of a few rows. A request sorts, filters and marks its own row by choosing among what is
there: packed blocks follow each other in one gzip stream, because each begins anew and ends at a full byte.
"""

import hashlib
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from palladion.server import models
from palladion.server.boards import Listing
from palladion.server.pages.words import texts

__all__ = [
    "AS_IT_IS",
    "LISTED",
    "PAGE",
    "Column",
    "Piece",
    "Recent",
    "Rows",
    "columns_of",
    "gzipped",
    "listed",
    "ordered",
    "page_of",
]

T = TypeVar("T")

_BLOCK: Final = 25
_LEVEL: Final = 6
_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"
# Of one board. A page of 500 rows is about a megabyte.
_ORDERS_KEPT: Final = 6
_ANSWERS_KEPT: Final = 3

PAGE: Final = 500
"""Rows of a page."""
LISTED: Final = 200
"""Rows of a page of every submission."""
AS_IT_IS: Final = "="
"""The order of a board that is a page already; no address can ask for it."""


# --- Pieces of an answer ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an answer, with what they are packed.

    Attributes:
        content: the bytes.
        packed: the same by deflate, without a last block.
        digest: of the bytes.
    """

    content: bytes
    packed: bytes
    digest: bytes

    @classmethod
    def of(cls, content: bytes, level: int = _LEVEL) -> "Piece":
        """Pack some bytes."""
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
        return cls(content, packed, hashlib.blake2b(content, digest_size=16).digest())


def gzipped(pieces: Iterable[Piece]) -> bytes:
    """One gzip stream of pieces, without packing anything again."""
    found = list(pieces)
    check, length = 0, 0
    for piece in found:
        check = zlib.crc32(piece.content, check)
        length += len(piece.content)
    end = struct.pack("<II", check, length & 0xFFFFFFFF)
    return b"".join((_GZIP_HEAD, *(piece.packed for piece in found), _LAST_BLOCK, end))


class Recent(Generic[T]):
    """The last few of some things that are dear to make, each in its latest version; threads may share it.

    Args:
        most: that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[Any, tuple[Any, T]] = OrderedDict()

    def get(self, key: Any, make: Callable[[], T], version: Any = None) -> T:
        """What belongs to a key, in this version; it is made where it is not there, and others wait for it."""
        found = self._found(key, version)
        if found is not None:
            return found[1]
        with self._making:
            found = self._found(key, version)
            if found is None:
                found = (version, make())
                with self._lock:
                    self._kept[key] = found
                    while len(self._kept) > self._most:
                        self._kept.popitem(last=False)
        return found[1]

    def latest(self, key: Any) -> T | None:
        """What belongs to a key in whichever version; None: nothing is kept."""
        with self._lock:
            kept = self._kept.get(key)
            return None if kept is None else kept[1]

    def _found(self, key: Any, version: Any) -> tuple[Any, T] | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != version:
                return None
            self._kept.move_to_end(key)
            return kept


# --- Columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a board.

    Attributes:
        key: what the address sorts by.
        title: of its head.
        kind: how its cells are shown: value, way, trend, missing, seconds, submission or time.
        higher_is_better: of values; None: neither is.
        get: what a row has there.
    """

    key: str
    title: str
    kind: str
    get: Callable[[models.Row], Any]
    higher_is_better: bool | None = None

    @property
    def best_first(self) -> str:
        """What to sort by so that the best stand first."""
        return f"-{self.key}" if self.higher_is_better or self.kind in ("way", "time") else self.key

    @property
    def sortable(self) -> bool:
        """Whether there is an order of its cells."""
        return self.kind != "trend"


def columns_of(board: models.Leaderboard) -> list[Column]:
    """The columns of a board after rank and team: those that at least one row has something in."""
    t = texts()
    found = []
    held = any(row.holdout is not None for row in board.rows)
    for metric in board.metrics:
        title, better = metric.title, metric.higher_is_better
        if held:
            found.append(_value(f"holdout_{metric.name}", t("board.held", metric=title), better, _held(metric.name)))
        found.append(_value(metric.name, title, better, _score(metric.name)))
    if board.metrics:
        first = board.metrics[0]
        tasks = sorted({task for row in board.rows for task in row.tasks})
        found += [
            _value(f"task_{task}", t("board.of_task", task=task), first.higher_is_better, _task(task, first.name))
            for task in (tasks if len(tasks) > 1 else ())
        ]
    rest = (
        Column("way", t("board.way_head"), "way", lambda row: row.distance),
        Column("trend", t("board.trend"), "trend", lambda row: row.history if len(row.history) > 1 else None),
        Column("missing", t("board.missing"), "missing", _missing, higher_is_better=False),
        Column("seconds", t("board.runtime"), "seconds", lambda row: row.seconds, higher_is_better=False),
    )
    found += [column for column in rest if any(column.get(row) is not None for row in board.rows)]
    found.append(Column("submission", t("board.submission"), "submission", lambda row: row.ordinal))
    found.append(Column("time", t("board.time"), "time", lambda row: row.created))
    return found


def _value(key: str, title: str, better: bool, get: Callable[[models.Row], Any]) -> Column:
    return Column(key, title, "value", get, better)


def _score(name: str) -> Callable[[models.Row], models.Value | None]:
    return lambda row: row.scores.get(name)


def _held(name: str) -> Callable[[models.Row], models.Value | None]:
    return lambda row: None if row.holdout is None else row.holdout.get(name)


def _task(task: str, name: str) -> Callable[[models.Row], models.Value | None]:
    return lambda row: row.tasks.get(task, {}).get(name)


def _missing(row: models.Row) -> int | None:
    if row.missing is not None:
        return row.missing
    return None if row.failed is None else row.failed.failed


def ordered(board: models.Leaderboard, columns: Sequence[Column], sort: str, team: str) -> list[int]:
    """The rows of a board in an order, by their place on it; what has nothing there stands last.

    Args:
        board: the board.
        columns: of it.
        sort: key of a column, ``rank`` or ``team``; with ``-`` before it the other way round. What is none: by rank.
        team: rows of teams whose name holds this.
    """
    column = _sorted_by(columns, sort)
    return _in_order(
        [row.team.name for row in board.rows],
        lambda place: board.rows[place].rank is not None,
        None if column is None else lambda place: column.get(board.rows[place]),
        sort,
        team,
    )


def listed(listing: Listing, columns: Sequence[Column], sort: str, team: str) -> list[int] | None:
    """The same of a listing, of which no row is made; None where rows are needed to say."""
    entries, column = listing.entries, _sorted_by(columns, sort)
    get: Callable[[int], Any] | None = None
    if column is not None:
        known: dict[str, Callable[[int], Any]] = {
            "time": lambda place: entries[place].item.created,
            "submission": lambda place: entries[place].item.ordinal,
            "way": lambda place: listing.distance(entries[place].value),
            **{metric.name: lambda place: entries[place].value for metric in listing.head.metrics[:1]},
        }
        if column.key not in known:
            return None
        get = known[column.key]
    return _in_order(
        [entry.item.team for entry in entries],
        lambda place: listing.ranks.get(entries[place].submission) is not None,
        get,
        sort,
        team,
    )


def page_of(listing: Listing, places: Sequence[int], number: int) -> list[int]:
    """The places of a page of a listing: baselines stand on each."""
    baselines = [place for place in places if listing.entries[place].item.baseline]
    others = [place for place in places if not listing.entries[place].item.baseline]
    return baselines + others[(number - 1) * LISTED : number * LISTED]


def _sorted_by(columns: Sequence[Column], sort: str) -> Column | None:
    key = sort.removeprefix("-")
    return next((column for column in columns if column.key == key and column.sortable), None)


def _in_order(
    names: Sequence[str],
    ranked: Callable[[int], bool],
    get: Callable[[int], Any] | None,
    sort: str,
    team: str,
) -> list[int]:
    """Places in an order: of rows of these teams, with ranks or without; by what ``get`` finds, if by that."""
    if sort == AS_IT_IS:
        return list(range(len(names)))
    wanted = team.casefold()
    places = [place for place, name in enumerate(names) if wanted in name.casefold()]
    key, backwards = sort.removeprefix("-"), sort.startswith("-")
    if key == "team":
        return sorted(places, key=lambda place: names[place].casefold(), reverse=backwards)
    if get is None:
        # The board is in this order already.
        there = [place for place in places if ranked(place)]
        return (there[::-1] if key == "rank" and backwards else there) + [
            place for place in places if not ranked(place)
        ]
    values = {place: get(place) for place in places}
    numbers = {place: getattr(value, "value", value) for place, value in values.items() if value is not None}
    # Equal ones stay in the order of the board, whichever way round.
    there = sorted(numbers, key=lambda place: numbers[place], reverse=backwards)
    return there + [place for place in places if place not in numbers]


# --- Rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Block:
    """Some lines of the body of a table.

    Attributes:
        lines: of it.
        where: which line each place of the board has.
        piece: all of them.
    """

    lines: list[str]
    where: dict[int, int]
    piece: Piece


class Rows:
    """The rows of one board, as everybody sees them.

    Args:
        board: of which no row is anybody's own.
        columns: of it.
        render: makes a row.
        heading: makes the row above a group.
        before: an older revision, of which rows that are as they were are kept.
    """

    def __init__(
        self,
        board: models.Leaderboard,
        columns: Sequence[Column],
        render: Callable[[models.Row], str],
        heading: Callable[[str], str],
        before: "Rows | None" = None,
    ) -> None:
        self.board, self.columns = board, columns
        self._render, self._heading = render, heading
        self._lines: dict[int, str] = {}
        self._blocks: Recent[list[_Block]] = Recent(_ORDERS_KEPT)
        self.answers: Recent[tuple[bytes, bytes, str]] = Recent(_ANSWERS_KEPT)
        self.ties = sum(row.tied for row in board.rows) > 1
        self.baselines = any(row.baseline for row in board.rows)
        self._old: dict[tuple[str, int], tuple[models.Row, str]] = {}
        if before is not None and self._looks_like(before):
            for place, line in before._lines.items():
                row = before.board.rows[place]
                self._old[row.team.id, row.ordinal] = (row, line)

    def _looks_like(self, other: "Rows") -> bool:
        """Whether equal rows are shown alike."""
        heads = [[(column.key, column.title) for column in rows.columns] for rows in (self, other)]
        metrics = [rows.board.metrics for rows in (self, other)]
        return heads[0] == heads[1] and metrics[0] == metrics[1] and self.ties == other.ties

    def count(self, team: str) -> int:
        """How many rows there are of teams whose name holds this."""
        wanted = team.casefold()
        if not wanted:
            return len(self.board.rows)
        return sum(wanted in row.team.name.casefold() for row in self.board.rows)

    def pages(self, team: str) -> int:
        """How many pages they are; baselines stand on each."""
        wanted = team.casefold()
        count = sum(not row.baseline and wanted in row.team.name.casefold() for row in self.board.rows)
        return max(1, -(-count // PAGE))

    def pieces(self, sort: str, team: str, number: int, own: Mapping[int, models.Row]) -> list[Piece]:
        """The bodies of the table.

        Args:
            sort: see :func:`ordered`.
            team: see :func:`ordered`.
            number: of the page, from 1; a page has :data:`PAGE` rows.
            own: rows that are the reader's own, by their place on the board.
        """
        blocks = self._blocks.get((sort, team, number), lambda: self._made(sort, team, number))
        return [self._with_own(block, own) for block in blocks]

    def _with_own(self, block: _Block, own: Mapping[int, models.Row]) -> Piece:
        touched = own.keys() & block.where.keys()
        if not touched:
            return block.piece
        lines = list(block.lines)
        for place in touched:
            lines[block.where[place]] = self._render(own[place])
        return Piece.of("".join(lines).encode(), 1)

    def _made(self, sort: str, team: str, number: int) -> list[_Block]:
        rows = self.board.rows
        places = ordered(self.board, self.columns, sort, team)
        baselines = [place for place in places if rows[place].baseline]
        others = [place for place in places if not rows[place].baseline]
        groups = (("baselines", baselines), ("ranked", others[(number - 1) * PAGE : number * PAGE]))
        lines: list[tuple[str, int | None]] = []
        for name, found in groups:
            if found:
                lines.append((f'<tbody class="{name}">{self._heading(name) if name == "baselines" else ""}', None))
                lines += [(self._line(place), place) for place in found]
                lines.append(("</tbody>", None))
        blocks = []
        for start in range(0, len(lines), _BLOCK):
            part = lines[start : start + _BLOCK]
            texts_ = [text for text, _ in part]
            where = {place: line for line, (_, place) in enumerate(part) if place is not None}
            blocks.append(_Block(texts_, where, Piece.of("".join(texts_).encode())))
        return blocks

    def _line(self, place: int) -> str:
        # Each is made once, whatever it is sorted by; of a long board those alone that somebody has looked at.
        if place not in self._lines:
            row = self.board.rows[place]
            old = self._old.pop((row.team.id, row.ordinal), None)
            self._lines[place] = old[1] if old is not None and old[0] == row else self._render(row)
        return self._lines[place]
