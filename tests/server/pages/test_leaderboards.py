"""The leaderboard as people read it: what it says, in which order, and that everybody gets their own."""

import gzip
import re
from html import unescape
from typing import Any

import pytest

from palladion.server import models
from palladion.server.pages import board_rows, leaderboards
from palladion.storage import teams
from tests.server.pages.browser import Browser, text_of
from tests.server.site import API, Site

BOARD = "/challenges/demo/labels/development"
ROUND = "/challenges/demo/detection/round-0"
_ROW = re.compile(r'<tr class="([^"]*)">(.*?)</tr>', re.DOTALL)


def _rows(page: str) -> list[tuple[set[str], list[str]]]:
    """Classes and cells of the rows of a board."""
    found = []
    for classes, content in _ROW.findall(page):
        cells = re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", content, re.DOTALL)
        found.append((set(classes.split()), [text_of(cell) for cell in cells]))
    return found


def _teams(page: str) -> list[str]:
    return [cells[1].removesuffix(" your team") for _, cells in _rows(page)]


@pytest.fixture
def board(site: Site) -> Site:
    """A board with two teams."""
    site.scored("development", {"overall": (40.5, 30.25, 50.75), "asr": 10.0, "cacc": 90.0}, team=0)
    site.scored("development", {"overall": (60.5, 55.0, 66.0), "asr": 20.0, "cacc": 70.0}, team=1)
    return site


def test_who_leads_and_how_sure_that_is(board: Site) -> None:
    page = Browser(board).page(BOARD)
    (_, first), (_, second) = _rows(page)
    assert first[:2] == ["1", "Team 1"]
    assert second[:2] == ["2", "Team 0"]
    shown = board.client().get(f"{API}/challenges/demo/stages/labels/development/leaderboard").json()["rows"]
    assert first[2].startswith(shown[0]["scores"]["overall"]["text"])
    if shown[0]["scores"]["overall"]["low"] is not None:
        assert "95 % interval" in first[2]


def test_a_board_is_a_real_table(board: Site) -> None:
    page = Browser(board).page(BOARD)
    assert page.count("<table") == page.count("<caption") == 1
    assert 'role="region" aria-labelledby="board-caption" tabindex="0"' in page
    heads = re.findall(r"<th scope=\"col\"([^>]*)>(.*?)</th>", page, re.DOTALL)
    assert [("aria-sort" in attributes) for attributes, _ in heads] == [True] + [False] * (len(heads) - 1)
    assert page.count('<th scope="row"') == 2
    titles = [text_of(content) for _, content in heads]
    assert titles[:3] == ["Rank ▴", "Team", "Overall score ↑ higher is better"]
    assert "Attack success ↓ lower is better" in titles


def test_sorting_and_finding_are_in_the_address(board: Site) -> None:
    browser = Browser(board)
    assert _teams(browser.page(f"{BOARD}?sort=asr")) == ["Team 0", "Team 1"]
    page = browser.page(f"{BOARD}?sort=-asr")
    assert _teams(page) == ["Team 1", "Team 0"]
    assert re.search(r'aria-sort="descending"><a href="[^"]*\?sort=asr"', page)
    # Ranks stay what they are.
    assert [cells[0] for _, cells in _rows(browser.page(f"{BOARD}?sort=-team"))] == ["1", "2"]
    assert [cells[0] for _, cells in _rows(browser.page(f"{BOARD}?sort=team"))] == ["2", "1"]
    page = browser.page(f"{BOARD}?team=am+0&sort=-cacc")
    assert _teams(page) == ["Team 0"]
    assert 'value="am 0"' in page
    assert "sort=-cacc" in page
    assert "team=am+0" in page
    assert _teams(browser.page(f"{BOARD}?sort=nonsense")) == ["Team 1", "Team 0"]
    for bad in ("sort=a%20b", "page=0", "page=x", f"team={'x' * 100}"):
        assert browser.get(f"{BOARD}?{bad}").status_code == 422


def test_every_submission_or_the_best_of_each_team(board: Site) -> None:
    board.scored("development", {"overall": 20.0, "asr": 1.0, "cacc": 2.0}, team=0, mark="2")
    browser = Browser(board)
    assert len(_rows(browser.page(BOARD))) == 2
    assert len(_rows(browser.page(f"{BOARD}?all=1"))) == 3


def test_ones_own_row_is_marked_and_leads_to_the_submission(board: Site) -> None:
    own = board.scored("development", {"overall": 70.0, "asr": 1.0, "cacc": 2.0}, team=0, mark="2")
    page = Browser(board, "person-0").page(BOARD)
    (first, cells), (second, _) = _rows(page)
    assert "mine" in first
    assert "mine" not in second
    assert "your team" in cells[1]
    assert page.count('href="/submissions/') == 1
    assert f'href="/submissions/{own.id}"' in page
    for who in (None, "lone", "oscar", "person-1"):
        assert own.id not in Browser(board, who).page(BOARD), who
    assert Browser(board, "olga").page(BOARD).count('href="/submissions/') == 2
    assert own.id not in Browser(board).page(BOARD)


def test_what_has_no_value_stands_last_whatever_it_is_sorted_by(site: Site) -> None:
    site.scored("development", {"cacc": 99.0}, team=1)
    site.scored("development", {"overall": 10.0}, team=0)
    for query in ("", "?sort=overall", "?sort=-overall", "?sort=-rank", "?sort=rank"):
        rows = _rows(Browser(site).page(BOARD + query))
        assert [cells[1] for _, cells in rows] == ["Team 0", "Team 1"], query
        assert "absent" in rows[1][0]
        assert "no rank" in rows[1][1][0]
        assert "not available" in rows[1][1][2]


def test_baselines_stand_apart(board: Site) -> None:
    with board.database.write() as tx:
        teams.set_baseline(tx, board.teams[1].id, True, now=board.world.clock(), actor="olga")
    page = Browser(board).page(BOARD)
    assert "Baselines, by the organisers" in page
    assert page.index('<tbody class="baselines">') < page.index("Team 1") < page.index('<tbody class="ranked">')
    assert page.index('<tbody class="ranked">') < page.index("Team 0")


def test_the_goal_and_the_way_to_it(site: Site) -> None:
    site.redefine(("success: none", "success: 50.0"))
    site.scored("development", {"overall": 25.0})
    page = Browser(site).page(BOARD)
    assert "Overall score of 50 or more" in text_of(page)
    assert re.search(r'<svg class="bar"[^>]*aria-label="50 % of the way', page)


def test_scores_that_are_not_told_are_called_so(site: Site) -> None:
    rule = "submission: {kind: outputs, bytes: 1M}"
    site.redefine((rule, f"{rule}\n    feedback: {{policy: none}}"))
    site.scored("development", {"overall": 43.21}, team=1)
    for who in (None, "person-0", "person-1"):
        page = Browser(site, who).page(BOARD)
        assert "43.2" not in page
        assert "not told" in text_of(page)
    assert "43.2" in Browser(site, "olga").page(BOARD)


def test_an_empty_board_is_a_page(site: Site) -> None:
    assert "Nothing has been scored yet" in Browser(site).page(BOARD)
    assert "Nothing has been scored yet" in Browser(site, "olga").page(ROUND)


# --- Made once, read by many ------------------------------------------------------------------------------------------


def _get(browser: Browser, path: str = BOARD, **headers: str) -> Any:
    return browser.client.get(path, headers={"Accept": "text/html", "Accept-Encoding": "identity", **headers})


@pytest.mark.parametrize("who", [None, "person-0", "olga"])
def test_packed_or_not_it_is_the_same_page(board: Site, who: str | None) -> None:
    browser = Browser(board, who)
    for path in (BOARD, f"{BOARD}?sort=-asr&all=1"):
        plain = _get(browser, path)
        with browser.client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
            raw = b"".join(packed.iter_raw())
            assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(raw) == plain.content
        assert "content-encoding" not in plain.headers
        assert "Accept-Encoding" in plain.headers["vary"]


def test_a_page_that_is_the_same_is_not_sent_again(board: Site) -> None:
    for who in (None, "person-0"):
        browser = Browser(board, who)
        first = _get(browser)
        again = _get(browser, **{"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == "private, no-cache"
    mine, others = _get(Browser(board, "person-0")), _get(Browser(board))
    assert mine.headers["etag"] != others.headers["etag"]


def test_what_is_new_is_there_at_once(board: Site) -> None:
    browser, own = Browser(board), Browser(board, "person-0")
    first = _get(browser)
    assert _teams(first.text) == ["Team 1", "Team 0"]
    board.scored("development", {"overall": 99.0, "asr": 1.0, "cacc": 2.0}, team=0, mark="2")
    again = _get(browser, **{"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert _teams(again.text) == ["Team 0", "Team 1"]
    assert _teams(own.page(BOARD)) == ["Team 0", "Team 1"]


def test_rows_are_made_once_for_all_who_read_them(board: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[models.Leaderboard] = []
    original = leaderboards._made

    def make(board: models.Leaderboard, before: Any) -> Any:
        made.append(board)
        return original(board, before)

    monkeypatch.setattr(leaderboards, "_made", make)
    for who in (None, "person-0", "person-1", "lone", None, "oscar"):
        Browser(board, who).page(BOARD)
        Browser(board, who).page(f"{BOARD}?sort=asr")
    assert len(made) == 1


def test_what_was_done_is_said_on_a_board_as_well_and_once(board: Site) -> None:
    from palladion.server.pages.browsers import Notice

    browser = Browser(board)
    answer = _get(browser)
    board.app.state.browsers.tell(answer_of := _Answer(), Notice("Something was done."), _nobody(), board.world.clock())
    browser.client.cookies.set("palladion_notice", answer_of.text)
    assert "Something was done." in browser.page(BOARD)
    assert "Something was done." not in _get(Browser(board)).text
    assert answer.status_code == 200


class _Answer:
    """Keeps the text of the cookie that is set."""

    text = ""

    def set_cookie(self, name: str, text: str, **_: object) -> None:
        self.text = text


def _nobody() -> Any:
    from palladion.server.access import Caller

    return Caller("here")


# --- Every submission, page by page -----------------------------------------------------------------------------------


@pytest.fixture
def long(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A board of seven submissions, three on a page; one of them is told nothing of."""
    for module in (leaderboards, board_rows):
        monkeypatch.setattr(module, "LISTED", 3)
    for number, value in enumerate((30.0, 20.0, 70.0, 50.0, 60.0, 40.0)):
        more: dict[str | tuple[str, str], float] = {"overall": value, "asr": value / 2, "cacc": 10.0 * number}
        site.scored("development", more, team=number % 2, mark=str(number))
    site.scored("development", {"cacc": 5.0}, team=0, mark="none")
    return site


def _walk(browser: Browser, path: str) -> list[list[tuple[set[str], list[str]]]]:
    """The rows of every page, as its links lead from one to the next."""
    pages, address = [], path
    while True:
        page = browser.page(address)
        pages.append(_rows(page))
        following = re.search(r'<a rel="next" href="([^"]+)"', page)
        assert ('rel="prev"' in page) == (len(pages) > 1)
        if following is None:
            return pages
        address = unescape(following[1])
        assert len(pages) < 10


def test_every_submission_is_on_one_page(long: Site) -> None:
    pages = _walk(Browser(long), f"{BOARD}?all=1")
    assert [len(rows) for rows in pages] == [3, 3, 1]
    assert [cells[0] for rows in pages for _, cells in rows] == ["1", "2", "3", "4", "5", "6", "– no rank"]
    last = Browser(long).page(f"{BOARD}?all=1&page=3")
    assert "page 3 of 3" in text_of(last)
    assert "7 rows" in text_of(last)
    # The best of each team are one page, whatever is on it.
    assert len(_walk(Browser(long), BOARD)) == 1


@pytest.mark.parametrize(
    "sort", ["-rank", "time", "-time", "submission", "-submission", "team", "-team", "overall", "-overall", "asr",
             "-asr", "cacc", "-cacc", "nonsense"],
)  # fmt: skip
def test_an_order_of_pages_is_that_of_all_rows(long: Site, sort: str) -> None:
    for query in (f"?all=1&sort={sort}", f"?all=1&sort={sort}&team=team+0"):
        pages = _walk(Browser(long), BOARD + query)
        whole = _whole_order(long, sort, "team 0" if "team=" in query else "")
        assert [cells[-2] for rows in pages for _, cells in rows] == whole, query


def _whole_order(site: Site, sort: str, team: str) -> list[str]:
    """The ordinals of submissions in the order of the rows that all of them have."""
    told = site.client().get(f"{BOARD}.json?all=1").json()
    board = models.Leaderboard.model_validate(told)
    columns = board_rows.columns_of(board)
    return [f"#{board.rows[place].ordinal}" for place in board_rows.ordered(board, columns, sort, team)]


def test_json_and_csv_of_every_submission_are_complete_whichever_page_is_asked_for(long: Site) -> None:
    for query in ("?all=1", "?all=1&page=2", "?all=1&sort=-asr&page=3"):
        client = long.client()
        rows = client.get(f"{BOARD}.json{query}").json()["rows"]
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6, None]
        assert len(client.get(f"{BOARD}.csv{query}").text.splitlines()) == 8


def test_a_team_finds_its_own_on_every_page_and_in_every_form(long: Site) -> None:
    own = Browser(long, "person-1")
    pages = _walk(own, f"{BOARD}?all=1")
    assert [["mine" in classes for classes, _ in rows] for rows in pages] == [
        [False, False, True],
        [True, False, True],
        [False],
    ]
    told = own.get(f"{BOARD}.json?all=1").json()
    mine = [row for row in told["rows"] if row["mine"]]
    assert len(mine) == 3
    assert all(row["submission"] for row in mine)
    assert {row["team"]["name"] for row in mine} == {"Team 1"}
    assert not any(row["submission"] for row in told["rows"] if not row["mine"])
    # What one was told is in nobody else's bytes, which were made before and after.
    public = long.client().get(f"{BOARD}.json?all=1").json()
    assert not any(row["mine"] or row["submission"] for row in public["rows"])
    assert [row["rank"] for row in public["rows"]] == [row["rank"] for row in told["rows"]]
    assert public["made"] == told["made"]


def test_baselines_stand_on_each_page_and_count_as_none_of_its_rows(long: Site) -> None:
    with long.database.write() as tx:
        teams.set_baseline(tx, long.teams[1].id, True, now=long.world.clock(), actor="olga")
    pages = _walk(Browser(long), f"{BOARD}?all=1")
    assert [len(rows) for rows in pages] == [3 + 3, 3 + 1]


def test_a_new_submission_is_on_its_page_at_once(long: Site) -> None:
    browser = Browser(long)
    assert _rows(browser.page(f"{BOARD}?all=1"))[0][1][0] == "1"
    before = browser.page(f"{BOARD}?all=1")
    long.scored("development", {"overall": 99.0, "asr": 1.0, "cacc": 2.0}, team=1, mark="new")
    after = browser.page(f"{BOARD}?all=1")
    assert _teams(after)[0] == "Team 1"
    assert before != after
    assert "8 rows" in text_of(after)
