"""The ranges of ranks: made by a job that comes again, of what an audience knows."""

from datetime import timedelta
from pathlib import Path

import pytest

from palladion.jobs import placing, standing
from palladion.jobs.scheduler import tidy
from palladion.jobs.worker import do
from palladion.storage import queue, stages, standings, submissions, teams
from palladion.storage.database import Database
from palladion.storage.tables import Standing
from tests.jobs.world import STANDINGS, World, claim, do_all, make_world, outputs
from tests.storage.conftest import Databases


@pytest.fixture
def world(sqlite: Database, tmp_path: Path) -> World:
    made = make_world(sqlite, tmp_path / "world", teams_wanted=3)
    made.open("development")
    return made


def _made(world: World) -> Standing | None:
    stage = world.stages["development"].id
    with world.database.read() as tx:
        return standings.of(tx, stage, "test", stages.by_id(tx, stage).scorer)


def _ranges(world: World, *, organisers: bool = False) -> dict[str, tuple[int, int, bool]]:
    found = _made(world)
    assert found is not None
    names = {team.id: team.name for team in world.teams}
    ranges = standing.ranges(found.document, organisers=organisers)
    return {names[team]: (one.low, one.high, one.tied) for team, one in ranges.items()}


def _revision(world: World) -> int:
    return world.stage("development").revision


def _make(world: World) -> None:
    world.clock.forward(timedelta(seconds=10))
    assert do_all(world, STANDINGS) == 1


def test_ranges_are_of_the_best_of_each_team(databases: Databases, tmp_path: Path) -> None:
    world = make_world(databases(), tmp_path / "world", teams_wanted=3)
    world.open("development")
    for team, wrong in ((0, 0), (0, 9), (1, 1), (2, 10)):
        world.submit(outputs(wrong=wrong), "development", team=team)
    do_all(world)
    # Asked for with the scores, and done some seconds later.
    assert claim(world, STANDINGS) is None
    _make(world)
    found = _ranges(world)
    assert set(found) == {"Team 0", "Team 1", "Team 2"}
    # Right everywhere, one of ten wrong, and right nowhere.
    assert found["Team 0"][0] == found["Team 1"][0] == 1
    assert found["Team 0"][2] is found["Team 1"][2] is True
    assert found["Team 2"] == (3, 3, False)
    assert _ranges(world, organisers=True) == found


def test_what_has_not_changed_is_not_made_again(world: World) -> None:
    world.submit(outputs(), "development")
    do_all(world)
    _make(world)
    made, revision = _made(world), _revision(world)
    assert made is not None
    with world.database.write() as tx:
        standing.request(tx, world.stages["development"].id, now=world.clock())
    _make(world)
    again = _made(world)
    assert again is not None
    assert (again.made, _revision(world)) == (made.made, revision)


def test_what_changes_while_they_are_made_is_seen(world: World) -> None:
    stage = world.stages["development"].id
    world.submit(outputs(), "development")
    do_all(world)
    world.clock.forward(timedelta(seconds=10))
    work = claim(world, STANDINGS)
    assert work is not None
    # Another team's score comes while this one is under way: nobody can ask for a job that runs.
    world.submit(outputs(wrong=1), "development", team=1)
    do_all(world)
    with world.database.read() as tx:
        job = queue.of(tx, "standing", stage)
    assert job is not None
    assert job.state == "running"
    info, seen = _seen(world)
    assert world.database.run(
        standing._write, work, info, {"test": {"public": [], "organisers": []}}, {}, now=world.clock()
    )
    assert not world.database.run(standing._write, work, info, seen, {}, now=world.clock())
    with world.database.read() as tx:
        job = queue.of(tx, "standing", stage)
    assert job is not None
    assert job.state == "done"


def _seen(world: World):  # type: ignore[no-untyped-def]
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages["development"].id)
        return info, standing._seen(tx, info, world.clock())


def test_a_baseline_competes_with_nobody(world: World) -> None:
    for team in (0, 1):
        world.submit(outputs(wrong=team), "development", team=team)
    do_all(world)
    world.database.run(teams.set_baseline, world.teams[0].id, True, now=world.clock(), actor="olga")
    _make(world)
    assert _ranges(world) == {"Team 1": (1, 1, False)}


def test_nothing_is_said_of_what_is_not_told(databases: Databases, tmp_path: Path) -> None:
    world = make_world(databases(), tmp_path / "world", feedback="policy: none")
    world.open("development")
    for team in (0, 1):
        world.submit(outputs(wrong=5 * team), "development", team=team)
    do_all(world)
    _make(world)
    assert _ranges(world) == {}
    assert set(_ranges(world, organisers=True)) == {"Team 0", "Team 1"}


def test_a_submission_that_is_taken_back_takes_its_range_along(world: World) -> None:
    ids = [world.submit(outputs(wrong=team), "development", team=team).id for team in (0, 1)]
    do_all(world)
    _make(world)
    assert set(_ranges(world)) == {"Team 0", "Team 1"}
    with world.database.write() as tx:
        submissions.cancel(tx, ids[0], "because", now=world.clock(), actor="olga")
        standing.request(tx, world.stages["development"].id, now=world.clock())
    _make(world)
    assert set(_ranges(world)) == {"Team 1"}


def test_ranges_that_were_never_made_are_asked_for(world: World) -> None:
    stage = world.stages["development"].id
    world.submit(outputs(), "development")
    do_all(world)
    _make(world)
    with world.database.write() as tx:
        tx.delete(tx.get(Standing, (stage, "test", "1")))
    assert claim(world, STANDINGS) is None
    tidy(world.service)
    _make(world)
    assert _made(world) is not None


def test_they_are_made_again_when_a_stage_is_concluded(world: World) -> None:
    from palladion.jobs import conclusion

    world.submit(outputs(wrong=2), "development")
    do_all(world)
    _make(world)
    conclusion.begin(world.service, world.stages["development"].id, actor="olga")
    for _ in range(20):
        world.clock.forward(timedelta(seconds=20))
        work = claim(world)
        if work is not None:
            do(work)
        if world.stage("development").state == "concluded":
            break
    assert world.stage("development").state == "concluded"
    assert world.job("standing", world.stages["development"].id).state == "queued"


def test_the_whole_of_a_board_is_the_same_on_either_database(databases: Databases, tmp_path: Path) -> None:
    from palladion.server.boards import make_board

    world = make_world(databases(), tmp_path / "world", feedback="policy: ladder, step: 5.0, public: 0.5")
    world.open("development")
    for team, wrong in ((0, 3), (0, 5), (1, 4)):
        world.submit(outputs(wrong=wrong), "development", team=team)
    do_all(world)
    _make(world)
    for concluded in (False, True):
        if concluded:
            with world.database.write() as tx:
                stage = stages.by_id(tx, world.stages["development"].id)
                stage.state, stage.opened, stage.closed, stage.concluded = "concluded", *[world.clock()] * 3
        now = world.clock() + timedelta(seconds=1)
        with world.database.read() as tx:
            info = world.service.stage(tx, world.stages["development"].id)
            for viewer in (placing.ANYBODY, placing.ORGANISERS):
                board = make_board(tx, info, every=False, split=None, viewer=viewer, now=now).shown
                assert {row.team.name for row in board.rows} == {"Team 0", "Team 1"}
                assert all(row.scores["overall"] is not None for row in board.rows)
                assert board.final is concluded
