"""Boards are made once a revision for each audience, and say how sure what they say is."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from palladion.challenge import Role, Viewer
from palladion.jobs.placing import ANYBODY, ORGANISERS
from palladion.server.boards import Boards
from palladion.server.views import Views
from palladion.storage import evaluations, standings, teams
from palladion.storage.evaluations import NewOutcome
from tests.jobs.world import LABELS as POISONED
from tests.jobs.world import claim, do_all, outputs
from tests.server.site import API, DETECTION, LABELS, Site
from tests.server.test_views import FEEDBACK
from tests.storage.test_migration import _back_to_the_first

BOARD = f"{LABELS}/development/leaderboard"


def _board(site: Site, query: str = "", who: str | None = None) -> Any:
    answer = site.client(who).get(BOARD + query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _views(site: Site, viewer: Viewer, boards: Boards) -> Views:
    return Views(site.service, viewer, site.world.clock(), boards)


def test_a_board_is_made_once_for_each_revision_and_audience(site: Site) -> None:
    site.scored("development", {"overall": 50.0})
    boards = Boards()
    team = site.teams[0].id

    def made(viewer: Viewer, **options: Any) -> Any:
        with site.database.read() as tx:
            info = site.service.stage(tx, site.world.stages["development"].id)
            return _views(site, viewer, boards).board(tx, info, **{"every": False, **options})

    first = made(ANYBODY)
    # Participants, observers and whoever has no account are one audience.
    assert made(Viewer(Role.PARTICIPANT, team)) is first
    assert made(Viewer(Role.OBSERVER)) is first
    assert made(ORGANISERS) is not first
    assert made(ORGANISERS) is made(ORGANISERS)
    assert made(ANYBODY, every=True) is not first
    assert made(ANYBODY) is first
    site.scored("development", {"overall": 60.0}, team=1)
    second = made(ANYBODY)
    assert second is not first
    assert second.shown.revision > first.shown.revision
    assert [row.scores["overall"].value for row in second.shown.rows] == [60.0, 50.0]


def test_of_many_that_ask_at_once_one_makes_it() -> None:
    boards, made = Boards(), []

    def make() -> object:
        made.append(1)
        return object()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: id(boards.get(("x",), (1,), make)), range(200)))
    assert (len(made), len(found)) == (1, 1)


def test_what_could_not_be_made_is_made_by_the_next(site: Site) -> None:
    boards = Boards(most=2)

    def broken() -> object:
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError):
        boards.get(("x",), (1,), broken)
    assert boards.get(("x",), (1,), lambda: 7) == 7
    for i in range(5):
        boards.get((i,), (1,), lambda: 0)
    assert boards.get(("x",), (1,), lambda: 8) == 8


def test_ones_own_rows_are_laid_over_what_everybody_sees(site: Site) -> None:
    mine = site.scored("development", {"overall": 50.0})
    site.scored("development", {"overall": 60.0}, team=1)
    nobody, own = _board(site), _board(site, who="person-0")
    assert own["rows"][0] == nobody["rows"][0]
    assert (own["rows"][1]["mine"], own["rows"][1]["submission"]) == (True, mine.id)
    assert own["rows"][1] | {"mine": False, "submission": None} == nobody["rows"][1]
    # And nobody gets what was made for somebody else.
    assert _board(site) == nobody


def test_a_board_says_how_far_it_is_to_the_goal_and_how_the_best_came_to_be(site: Site) -> None:
    site.redefine(("success: none", "success: 80.0"))
    for i, value in enumerate((20.0, 10.0, 40.0)):
        site.scored("development", {"overall": value}, mark=str(i))
        site.world.clock.forward(timedelta(hours=1))
    site.scored("development", {"overall": 96.0}, team=1)
    first, second = _board(site)["rows"]
    assert (first["distance"], second["distance"]) == (1.0, 0.5)
    assert [point["value"] for point in second["history"]] == [20.0, 40.0]
    assert second["history"][0]["at"] < second["history"][1]["at"]
    board = _board(site, "?all=true")
    assert [row["history"] for row in board["rows"]] == [[], [], [], []]
    assert "Scores of the test split are told as they are" in board["policy"]
    assert (board["split"], board["splits"], board["ranges_made"]) == ("test", ["test"], None)


def test_half_the_way_from_guessing_to_the_goal(site: Site) -> None:
    with site.database.write() as tx:
        from palladion.storage import stages

        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
        stages.change(tx, site.world.stages["round-1"].id, "open", now=site.world.clock(), actor="olga")
    # Guessing costs ln 2, and the goal is half of that: three quarters of it are half the way.
    site.scored("round-1", {"cross_entropy": 0.75 * 0.6931471805599453})
    board = site.client().get(f"{DETECTION}/round-1/leaderboard").json()
    assert board["guess"] == pytest.approx(0.6931471805599453)
    assert board["rows"][0]["distance"] == pytest.approx(0.5)


def test_a_baseline_is_shown_and_has_no_rank(site: Site) -> None:
    site.scored("development", {"overall": 50.0})
    site.scored("development", {"overall": 60.0}, team=1)
    address = f"{API}/challenges/demo/teams/{site.teams[1].id}/baseline"
    assert site.client("person-1").post(address, json={"baseline": True}).status_code == 403
    assert site.client("olga").post(address, json={"baseline": True}).json()["baseline"] is True
    rows = _board(site)["rows"]
    assert [(row["rank"], row["team"]["name"], row["baseline"]) for row in rows] == [
        (None, "Team 1", True),
        (1, "Team 0", False),
    ]
    assert site.client("olga").post(address, json={"baseline": False}).json()["baseline"] is False
    assert [row["rank"] for row in _board(site)["rows"]] == [1, 2]


def test_ranges_stand_beside_the_rows_that_they_are_of(site: Site) -> None:
    shown = site.scored("development", {"overall": 50.0})
    site.scored("development", {"overall": 60.0}, team=1)
    stage = site.world.stages["development"].id
    found = {
        "public": {
            site.teams[0].id: [site.world.evaluation(shown.id).id, 1, 2, True],
            # Of a submission that is not shown any more.
            site.teams[1].id: ["a" * 20, 1, 2, True],
        }
    }
    now = site.world.clock()
    site.database.run(standings.write, stage, "test", "1", found, revision=1, now=now)
    board = _board(site)
    ranges = [(row["rank"], row["rank_low"], row["rank_high"], row["tied"]) for row in board["rows"]]
    assert ranges == [(1, None, None, False), (2, 1, 2, True)]
    assert board["ranges_made"] is not None
    (line,) = [line for line in site.client().get(f"{BOARD}?format=csv").text.splitlines() if "Team 0" in line]
    assert line.startswith("2,Team 0,1,")
    # Organisers have ranges of their own, which were not made.
    assert {row["rank_low"] for row in _board(site, who="olga")["rows"]} == {None}


def test_the_whole_way_from_outputs_to_a_board_by_the_default_policy(site: Site) -> None:
    site.redefine(
        (
            "metrics: [overall, cacc, asr]\n    feedback: {policy: exact}",
            "metrics: [overall, cacc, asr]",
        )
    )
    for wrong in (3, 5):
        site.world.submit(outputs(wrong=wrong), "development")
    do_all(site.world)
    board = _board(site, "?all=true")
    # sqrt(70 · 100) is 83.7. What does not rank is told when the stage is concluded.
    assert [row["scores"]["overall"]["value"] for row in board["rows"]] == [84.0, 84.0]
    assert "told again" in board["rows"][1]["scores"]["overall"]["note"]
    assert [row["scores"]["cacc"] for row in board["rows"]] == [None, None]
    assert all(value is None for row in board["rows"] for task in row["tasks"].values() for value in task.values())
    assert "by more than chance" in board["policy"]
    assert "other metrics" in board["policy"]
    assert [metric["digits"] for metric in board["metrics"]] == [0, 0, 0]
    whole = _board(site, "?all=true", "olga")
    assert sorted(row["scores"]["cacc"]["value"] for row in whole["rows"]) == [50.0, 70.0]
    assert whole["leak"]["labels"] > 0
    assert board["leak"] is None


# --- Splits -----------------------------------------------------------------------------------------------------------


def _concluding(site: Site) -> None:
    from palladion.storage import stages

    with site.database.write() as tx:
        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
        stages.change(tx, site.world.stages["round-1"].id, "open", now=site.world.clock(), actor="olga")
    for team, (test, held) in enumerate(((0.25, 0.75), (0.5, 0.5))):
        one = site.scored("round-1", {"cross_entropy": test}, team=team)
        with site.database.write() as tx:
            evaluations.add(tx, one.id, "holdout", scorer="1", now=site.world.clock())
        site.finish({"cross_entropy": held})


def test_each_split_has_a_board_of_its_own_once_it_is_published(site: Site) -> None:
    _concluding(site)
    address = f"{DETECTION}/round-1/leaderboard"

    def order(query: str, who: str | None = None) -> list[str] | int:
        answer = site.client(who).get(address + query)
        return (
            [row["team"]["name"] for row in answer.json()["rows"]] if answer.status_code == 200 else answer.status_code
        )

    assert (order(""), order("?split=test"), order("?split=holdout")) == (
        ["Team 0", "Team 1"],
        ["Team 0", "Team 1"],
        404,
    )
    assert order("?split=holdout", "olga") == ["Team 1", "Team 0"]
    assert order("?split=train") == 422
    site.conclude("round-1")
    assert (order("?split=test"), order("?split=holdout")) == (["Team 0", "Team 1"], ["Team 1", "Team 0"])
    # Both together, ranked by the holdout.
    assert order("") == ["Team 1", "Team 0"]
    board = site.client().get(address).json()
    assert (board["splits"], board["split"], board["ranked_by"]) == (["test", "holdout"], "test", "holdout")


# --- Data points ------------------------------------------------------------------------------------------------------


def _answered(site: Site, stage: str) -> Any:
    submission = site.accepted(stage)
    work = claim(site.world)
    assert work is not None
    found = [NewOutcome(f"id-{i:08d}", 0.9 if poisoned else 0.1, seconds=1.5) for i, poisoned in enumerate(POISONED)]
    found[3] = NewOutcome("id-00000003", error="time limit", seconds=20.0)
    site.database.run(evaluations.add_outcomes, work.job.subject, work.lease, found)
    report = {"points": 4, "failed": 1, "answered": 3, "failures": {"time limit": 1}, "seconds": 24.5}
    scores = [evaluations.NewScore("cross_entropy", 0.25)]
    site.database.run(evaluations.finish, work.job.subject, work.lease, scores, now=site.world.clock(), report=report)
    return submission


def test_data_points_of_an_open_split_are_for_their_own_team(site: Site) -> None:
    submission = _answered(site, "round-0")
    address = f"{API}/submissions/{submission.id}/points"
    found = site.client("person-0").get(address).json()["points"]
    assert [(p["name"], p["poisoned"], p["probability"], p["missing"], p["error"], p["seconds"]) for p in found] == [
        ("id-00000000", True, 0.9, False, None, 1.5),
        ("id-00000001", False, 0.1, False, None, 1.5),
        ("id-00000002", True, 0.9, False, None, 1.5),
        ("id-00000003", False, None, True, "time limit", 20.0),
    ]
    table = site.client("person-0").get(f"{address}?format=csv").text.splitlines()
    assert table[0] == "data_point,poisoned,probability,missing,error,seconds,poisoned"
    assert table[4].startswith("id-00000003,no,,yes,time limit,20.0")
    assert site.client("person-1").get(address).status_code == 404
    assert site.client("olga").get(address).status_code == 200
    shown = site.client("person-0").get(f"{API}/submissions/{submission.id}").json()
    assert shown["failures"] == {"time limit": 1}
    assert (shown["evaluations"][0]["points_shown"], shown["evaluations"][0]["seconds"]) == (True, 24.5)
    own, others = (
        site.client(who).get(f"{DETECTION}/round-0/leaderboard").json()["rows"][0] for who in ("person-0", "person-1")
    )
    assert (own["seconds"], others["seconds"], others["missing"]) == (24.5, None, 1)
    assert "palladion evaluate" in shown["command"]


def test_of_a_sealed_split_neither_points_nor_times_are_told(site: Site) -> None:
    from palladion.storage import stages

    with site.database.write() as tx:
        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
        stages.change(tx, site.world.stages["round-1"].id, "open", now=site.world.clock(), actor="olga")
    submission = _answered(site, "round-1")
    site.conclude("round-1")
    address = f"{API}/submissions/{submission.id}"
    answer = site.client("person-0").get(f"{address}/points")
    assert answer.status_code == 403
    assert "sealed" in answer.json()["error"]["message"]
    shown = site.client("person-0").get(address)
    assert "24.5" not in shown.text
    assert shown.json()["failures"] == {}
    assert shown.json()["evaluations"][0]["points_shown"] is False
    for who in (None, "person-0", "person-1", "oscar", "olga:read"):
        for query in ("", "?all=true", "?format=csv"):
            assert "24.5" not in site.client(who).get(f"{DETECTION}/round-1/leaderboard{query}").text
    assert site.client("olga").get(f"{address}/points").status_code == 200
    assert "24.5" in site.client("olga").get(f"{DETECTION}/round-1/leaderboard").text


# --- What teams and organisers see ------------------------------------------------------------------------------------


def test_a_team_finds_all_that_is_its_own_on_one_page(site: Site) -> None:
    mine = site.scored("development", {"overall": 50.0})
    site.scored("development", {"overall": 60.0}, team=1)
    page = site.client("person-0").get(f"{API}/challenges/demo/team").json()
    assert page["team"]["name"] == "Team 0"
    assert [one["id"] for one in page["submissions"]] == [mine.id]
    assert {quota["track"] for quota in page["quotas"]} == {"detection", "labels"}
    assert {token["name"] for token in page["tokens"]} >= {"person-0"}
    lone = site.client("lone").get(f"{API}/challenges/demo/team").json()
    assert (lone["team"], lone["submissions"], lone["quotas"]) == (None, [], [])


def test_an_organiser_finds_what_waits_and_what_is_stuck(site: Site) -> None:
    site.account("newcomer", state="pending")
    with site.database.write() as tx:
        teams.create(
            tx, site.world.challenge.id, site.accounts["lone"].id, name="Late", now=site.world.clock(), actor="lone",
            state="pending",
        )  # fmt: skip
    site.accepted("development")
    work = claim(site.world)
    assert work is not None
    site.database.run(evaluations.fail, work.job.subject, work.lease, "it crashed", now=site.world.clock())
    page = site.client("olga").get(f"{API}/challenges/demo/organising").json()
    assert [(job["kind"], job["reason"]) for job in page["stuck"]] == [("evaluate", "it crashed")]
    assert [one["reason"] for one in page["failing"]] == ["it crashed"]
    assert [one["name"] for one in page["waiting_accounts"]] == ["newcomer"]
    assert [one["name"] for one in page["waiting_teams"]] == ["Late"]
    assert {stage["name"] for stage in page["stages"]} == set(site.world.stages)
    assert page["audit"][0]["action"]
    assert page["counts"]["evaluate"] == {"failed": 1}


# --- Upgrades ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", ["policy: exact", "policy: rounded, digits: 1", "policy: ladder, step: 5.0", "policy: none"]
)
def test_an_upgrade_tells_as_much_as_before(site: Site, policy: str) -> None:
    """A database without tellings shows what it showed: neither less, nor more."""
    site.redefine((FEEDBACK[0], FEEDBACK[1].format(policy)))
    for i, value in enumerate((51.98765, 53.12345, 57.45678)):
        site.scored(
            "development", {"overall": (value, value - 10, value + 10), ("task1", "overall"): value}, mark=str(i)
        )
    site.scored("development", {"overall": 60.123}, team=1)

    def told() -> list[Any]:
        rows = _board(site, "?all=true", "person-0")["rows"]
        return [
            (
                row["rank"],
                row["team"]["name"],
                row["ordinal"],
                *(_said(v) for v in (row["scores"], *row["tasks"].values())),
            )
            for row in rows
        ]

    before, whole = told(), _board(site, "?all=true", "olga")["rows"]
    if "ladder" in policy:
        # Versions of that time told of single tasks as of the whole, and what was told stays told.
        before = [(*row[:4], *({"overall": row[3]["overall"]} for _ in row[4:])) for row in before]
    _back_to_the_first(site.database)
    site.database.upgrade()
    site = site.with_settings(site.settings)
    assert told() == before
    assert [row["scores"] for row in _board(site, "?all=true", "olga")["rows"]] == [row["scores"] for row in whole]
    site.conclude("development")
    final = _board(site, "?all=true")["rows"]
    digits = 1 if "rounded" in policy else 5
    assert [row["scores"]["overall"]["value"] for row in final] == [
        round(value, digits) for value in (60.123, 57.45678, 53.12345, 51.98765)
    ]


def _said(values: Any) -> Any:
    return {name: None if value is None else (value["value"], value["text"]) for name, value in values.items()}
