"""Leaderboards: their order, and what a spreadsheet makes of them."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.server.tables import safe_cell
from palladion.storage import accounts, teams
from tests.server.site import DETECTION, LABELS, Site

BOARD = f"{LABELS}/development/leaderboard"


def _rows(site: Site, query: str = "", who: str | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = site.client(who).get(BOARD + query).json()["rows"]
    return rows


def _team(site: Site, name: str) -> int:
    """One more team; its number."""
    number = len(site.world.teams)
    with site.database.write() as tx:
        now = site.world.clock()
        account = accounts.create(tx, name=f"more-{number}", now=now, actor="olga")
        team = teams.create(tx, site.world.challenge.id, account.id, name=name, now=now, actor=account.name)
    site.world.teams.append(team)
    site.world.captains.append(account.id)
    return number


def test_the_best_of_each_team_the_best_first_and_what_has_no_score_last(site: Site) -> None:
    third = _team(site, "Third")
    site.scored("development", {"overall": 40.0}, mark="first")
    site.scored("development", {"overall": 60.0}, mark="second")
    site.scored("development", {"cacc": 99.0}, team=1)
    site.scored("development", {"overall": 60.0}, team=third)
    found = [(row["rank"], row["team"]["name"], row["ordinal"]) for row in _rows(site)]
    # Equal values share a rank, and the earlier one stands first.
    assert found == [(1, "Team 0", 2), (1, "Third", 1), (None, "Team 1", 1)]
    every = [(row["rank"], row["ordinal"]) for row in _rows(site, "?all=true")]
    assert every == [(1, 2), (1, 1), (3, 1), (None, 1)]


def test_less_is_better_where_it_is(site: Site) -> None:
    for team, value in ((0, 0.5), (1, 0.25)):
        site.scored("round-0", {"cross_entropy": (value, value - 0.1, value + 0.1), "roc_auc": 0.75}, team=team)
    board = site.client().get(f"{DETECTION}/round-0/leaderboard").json()
    assert [row["team"]["name"] for row in board["rows"]] == ["Team 1", "Team 0"]
    expected = {"value": 0.25, "text": "0.2500", "low": 0.15, "high": 0.35, "note": ""}
    assert board["rows"][0]["scores"]["cross_entropy"] == expected
    assert [(metric["name"], metric["higher_is_better"]) for metric in board["metrics"]] == [
        ("cross_entropy", False),
        ("roc_auc", True),
    ]


def test_only_what_was_scored_is_on_it(site: Site) -> None:
    site.accepted("development")
    cancelled = site.accepted("development", mark="2")
    assert site.client("person-0").post(f"/api/v1/submissions/{cancelled.id}/cancel").status_code == 200
    assert _rows(site, "?all=true", "olga") == []


def test_submissions_are_told_by_id_to_whose_they_are(site: Site) -> None:
    mine = site.scored("development", {"overall": 40.0})
    site.scored("development", {"overall": 60.0}, team=1)
    found = {row["team"]["name"]: (row["mine"], row["submission"] is not None) for row in _rows(site, "", "person-0")}
    assert found == {"Team 0": (True, True), "Team 1": (False, False)}
    assert all(row["submission"] for row in _rows(site, "", "olga"))
    assert not any(row["submission"] for row in _rows(site))
    assert next(row for row in _rows(site, "", "person-0") if row["mine"])["submission"] == mine.id


def test_the_board_says_what_it_is(site: Site) -> None:
    board = site.client().get(BOARD).json()
    assert {key: board[key] for key in ("challenge", "track", "stage", "state", "all", "final", "ranked_by")} == {
        "challenge": "demo",
        "track": "labels",
        "stage": "development",
        "state": "open",
        "all": False,
        "final": False,
        "ranked_by": "test",
    }
    assert (board["goal"], board["goal_reached"], board["hidden"], board["rows"]) == (None, None, None, [])
    assert [metric["digits"] for metric in board["metrics"]] == [4, 4, 4]


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("*/*", "", "application/json"),
        ("application/json", "", "application/json"),
        ("text/csv", "", "text/csv; charset=utf-8"),
        ("text/csv;q=0.9, */*;q=0.1", "", "text/csv; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "application/json"),
        ("application/json", "?format=csv", "text/csv; charset=utf-8"),
        ("text/csv", "?format=json", "application/json"),
        ("image/png", "", None),
    ],
)
def test_json_or_csv_as_is_asked_for(site: Site, accept: str, query: str, kind: str | None) -> None:
    answer = site.client().get(BOARD + query, headers={"Accept": accept})
    assert answer.status_code == (406 if kind is None else 200)
    assert kind is None or answer.headers["content-type"] == kind
    assert site.client().get(BOARD + "?format=xml").status_code == 422


def _table(site: Site, address: str = BOARD) -> list[dict[str, str]]:
    answer = site.client().get(address + "?format=csv&all=true")
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_csv_holds_what_json_does(site: Site) -> None:
    site.scored("development", {"overall": (40.5, 30.25, 50.75), ("task1", "overall"): 41.0, ("task2", "asr"): 3.0})
    site.scored("development", {"cacc": 12.0}, team=1)
    first, second = _table(site)
    assert (first["rank"], first["team"], first["ordinal"], first["goal_reached"]) == ("1", "Team 0", "1", "no")
    assert (first["overall"], first["overall_low"], first["overall_high"]) == ("40.5", "30.25", "50.75")
    assert (first["task1_overall"], first["task2_asr"], first["cacc"]) == ("41.0", "3.0", "")
    assert (second["rank"], second["overall"], second["cacc"], second["task1_overall"]) == ("", "", "12.0", "")
    assert first["created"].endswith("Z")


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "＝1", " =1", "a=1", '"=1', "=cmd|' /C calc'!A0", "|calc"]
)
def test_names_are_no_formulas(site: Site, name: str) -> None:
    site.scored("development", {"overall": -12.5}, team=_team(site, name))
    (row,) = _table(site)
    shown = " ".join(name.split())
    assert row["team"] == shown or row["team"] == "'" + shown
    assert not row["team"].lstrip().startswith(("=", "+", "-", "@", "|", "%", "＝"))
    # Numbers stay numbers.
    assert row["overall"] == "-12.5"


@given(st.text(max_size=30))
def test_a_cell_says_the_same_and_is_never_a_formula(text: str) -> None:
    cell = safe_cell(text)
    assert cell in (text, "'" + text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_goals_are_told(site: Site) -> None:
    from palladion.storage import stages

    site.redefine(("success: none", "success: 50.0"))
    submission = site.scored("development", {"overall": 60.0})
    with site.database.write() as tx:
        stages.goal_reached(tx, submission.id, now=site.world.clock(), actor="service")
    board = site.client().get(BOARD).json()
    assert board["goal"] == {"metric": "overall", "value": 50.0}
    assert board["goal_reached"]["team"]["name"] == "Team 0"
    assert board["rows"][0]["goal_reached"] is True
    assert _table(site)[0]["goal_reached"] == "yes"
