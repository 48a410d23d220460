"""Rows that are packed once and put together often: nothing is lost, and each is where it should be."""

import gzip
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.server import models
from palladion.server.pages.board_rows import PAGE, Piece, Recent, Rows, columns_of, gzipped, ordered

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


def _row(number: int, *, rank: int | None = 1, auc: float | None = None, **more: Any) -> models.Row:
    value = None if auc is None else models.Value(value=auc, text=f"{auc:.2f}", low=auc - 0.1, high=auc + 0.1)
    return models.Row(
        **{
            "rank": rank,
            "team": models.TeamName(id="a" * 20, name=f"Team {number:03}"),
            "mine": False,
            "submission": None,
            "ordinal": number,
            "created": NOW + timedelta(hours=number),
            "scores": {"roc_auc": value},
            "tasks": {},
            "holdout": None,
            "failed": None,
            "goal_reached": False,
            **more,
        }
    )


def _board(rows: list[models.Row]) -> models.Leaderboard:
    metric = models.BoardMetric(name="roc_auc", title="ROC AUC", unit="fraction", higher_is_better=True, digits=2)
    return models.Leaderboard(
        challenge="demo",
        track="detection",
        stage="round-1",
        title="Round 1",
        state="open",
        all=False,
        final=False,
        ranked_by="test",
        hidden=None,
        metrics=[metric],
        goal=None,
        goal_reached=None,
        made=NOW,
        rows=rows,
    )


def _rows(board: models.Leaderboard) -> Rows:
    def render(row: models.Row) -> str:
        return f"<tr><td>{row.team.name}{' mine' if row.mine else ''}</td></tr>"

    return Rows(board, columns_of(board), render, lambda name: f"<tr><th>{name}</th></tr>")


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_packed_pieces_are_one_stream_of_all_of_them(contents: list[bytes]) -> None:
    assert gzip.decompress(gzipped([Piece.of(content) for content in contents])) == b"".join(contents)


def test_a_browser_that_reads_one_stream_reads_all() -> None:
    """Not every reader goes on after the end of the first of several gzip members."""
    import zlib

    pieces = [Piece.of(f"part {number} ".encode() * 500) for number in range(50)]
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert reader.decompress(gzipped(pieces)) == b"".join(piece.content for piece in pieces)
    assert reader.eof
    assert reader.unused_data == b""


@given(
    st.lists(st.one_of(st.none(), st.sampled_from([0.25, 0.5, 0.75])), max_size=12),
    st.sampled_from(["rank", "-rank", "roc_auc", "-roc_auc", "team", "-team", "time", "-time", "missing", "-x", ""]),
)
def test_whatever_a_board_is_sorted_by_every_row_is_there_once_and_what_is_missing_last(
    values: list[float | None], sort: str
) -> None:
    board = _board([_row(i, rank=None if value is None else 1, auc=value) for i, value in enumerate(values)])
    found = ordered(board, columns_of(board), sort, "")
    assert sorted(found) == list(range(len(values)))
    if sort.endswith(("rank", "roc_auc")):
        shown = [values[place] for place in found]
        there = [value for value in shown if value is not None]
        assert shown == there + [None] * (len(shown) - len(there))
    if sort == "-roc_auc":
        assert there == sorted(there, reverse=True)


def test_ties_stay_in_the_order_of_the_board_whichever_way_round() -> None:
    board = _board([_row(0, auc=0.5), _row(1, auc=0.7), _row(2, auc=0.5)])
    assert ordered(board, columns_of(board), "roc_auc", "") == [0, 2, 1]
    assert ordered(board, columns_of(board), "-roc_auc", "") == [1, 0, 2]


def test_teams_are_found_by_a_part_of_their_name() -> None:
    board = _board([_row(1), _row(10), _row(21)])
    assert ordered(board, columns_of(board), "rank", "TEAM 01") == [1]
    assert _rows(board).count("01") == len(ordered(board, columns_of(board), "rank", "01")) == 2
    assert ordered(board, columns_of(board), "rank", "nobody") == []


def _text(pieces: list[Piece]) -> str:
    return b"".join(piece.content for piece in pieces).decode()


def test_ones_own_row_is_another_one_and_those_of_others_are_not_made_again() -> None:
    board = _board([_row(i, auc=0.5) for i in range(100)])
    made: list[str] = []

    def render(row: models.Row) -> str:
        made.append(row.team.name)
        return f"<tr><td>{row.team.name}{' mine' if row.mine else ''}</td></tr>"

    rows = Rows(board, columns_of(board), render, str)
    assert "mine" not in _text(rows.pieces("rank", "", 1, {}))
    assert len(made) == 100
    own = {30: board.rows[30].model_copy(update={"mine": True})}
    assert _text(rows.pieces("rank", "", 1, own)).count("mine") == 1
    assert "Team 030 mine" in _text(rows.pieces("rank", "", 1, own))
    # In another order each is where it belongs, and nothing of it stays for the next reader.
    assert "Team 030 mine" in _text(rows.pieces("-time", "", 1, own))
    assert "mine" not in _text(rows.pieces("-time", "", 1, {}))
    assert len(made) == 100 + 3


def test_of_a_new_revision_only_rows_that_are_new_are_made() -> None:
    made: list[str] = []

    def render(row: models.Row) -> str:
        made.append(row.team.name)
        return f"<tr><td>{row.rank} {row.team.name}</td></tr>"

    def team(number: int) -> models.TeamName:
        return models.TeamName(id=f"{'a' * 18}{'abcdefgh'[number]}a", name=f"Team {number}")

    def board(ranks: list[int]) -> models.Leaderboard:
        return _board([_row(7, rank=rank, auc=0.5, team=team(number)) for number, rank in enumerate(ranks)])

    first = board([1, 2, 3])
    before = Rows(first, columns_of(first), render, str)
    before.pieces("rank", "", 1, {})
    second = board([1, 3, 2])
    after = Rows(second, columns_of(second), render, str, before)
    made.clear()
    assert _text(after.pieces("rank", "", 1, {})).count("1 Team 0") == 1
    assert made == ["Team 1", "Team 2"]
    # Where rows look otherwise, all are made anew.
    tied = _board([row.model_copy(update={"tied": True}) for row in first.rows])
    made.clear()
    Rows(tied, columns_of(tied), render, str, before).pieces("rank", "", 1, {})
    assert len(made) == 3


def test_baselines_stand_apart_and_first() -> None:
    board = _board([_row(1, auc=0.9), _row(2, auc=0.8, baseline=True, rank=None), _row(3, rank=None)])
    text = _text(_rows(board).pieces("-roc_auc", "", 1, {}))
    assert text.index('<tbody class="baselines"><tr><th>baselines') < text.index("Team 002") < text.index("Team 001")
    assert text.index("Team 001") < text.index("Team 003")
    assert text.count("<tbody") == text.count("</tbody>") == 2


def test_a_page_has_so_many_rows_and_the_next_goes_on() -> None:
    board = _board([_row(i, auc=0.5) for i in range(PAGE + 3)])
    rows = _rows(board)
    counts = [_text(rows.pieces("rank", "", number, {})).count("<tr>") for number in (1, 2, 3)]
    assert counts == [PAGE, 3, 0]


def test_columns_are_those_that_somebody_has_something_in() -> None:
    plain = [column.key for column in columns_of(_board([_row(1, auc=0.5)]))]
    assert plain == ["roc_auc", "submission", "time"]
    point = models.HistoryPoint(at=NOW, value=0.5)
    full = _row(2, auc=0.5, distance=0.2, missing=3, seconds=10.0, history=[point, point], holdout={"roc_auc": None})
    assert [column.key for column in columns_of(_board([_row(1, auc=0.5), full]))] == [
        "holdout_roc_auc",
        "roc_auc",
        "way",
        "trend",
        "missing",
        "seconds",
        "submission",
        "time",
    ]
    first = columns_of(_board([full]))
    assert {column.key: column.best_first for column in first if column.sortable} == {
        "holdout_roc_auc": "-holdout_roc_auc",
        "roc_auc": "-roc_auc",
        "way": "-way",
        "missing": "missing",
        "seconds": "seconds",
        "submission": "submission",
        "time": "-time",
    }


def test_of_many_who_ask_at_once_one_makes_it() -> None:
    recent: Recent[int] = Recent(2)
    made: list[int] = []
    start = threading.Barrier(8)

    def make() -> int:
        made.append(1)
        return len(made)

    def ask() -> None:
        start.wait(10)
        recent.get("key", make)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert made == [1]


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_kept_is_the_latest_of_the_last_few(version: int) -> None:
    recent: Recent[str] = Recent(2)
    assert recent.get("a", lambda: "old", version=1) == "old"
    assert recent.get("a", lambda: "new", version=version) == ("old" if version == 1 else "new")
    recent.get("b", lambda: "b")
    recent.get("c", lambda: "c")
    assert recent.get("a", lambda: "made again", version=version) == "made again"
