"""Challenges as they are installed, and their stages from planned to concluded."""

import threading
from pathlib import Path

import pytest

from palladion.challenge.lifecycle import StageState
from palladion.errors import InputError
from palladion.storage import audit, challenges, stages, submissions
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.tables import Challenge
from tests.storage.conftest import DAY, DEFINITION, HOUR, NOW, SECOND, World

TEXT = DEFINITION.format(name="trojai")


def _install(database: Database, text: str = TEXT, folder: str = "/nowhere") -> Challenge:
    return database.run(challenges.install, text, Path(folder), now=NOW, actor="olga")


def _stages(database: Database, challenge: Challenge) -> list[tuple[str, str, int, str]]:
    with database.read() as tx:
        return [(s.track, s.name, s.ordinal, s.state) for s in stages.of_challenge(tx, challenge.id)]


def _change(database: Database, stage_id: str, *states: str) -> bool:
    return all(database.run(stages.change, stage_id, to, now=NOW, actor="olga") for to in states)


def test_a_challenge_is_installed_with_its_stages(database: Database) -> None:
    challenge = _install(database)
    assert (challenge.name, challenge.title, challenge.definition) == ("trojai", "A challenge", TEXT)
    assert _stages(database, challenge) == [
        ("detection", "round-0", 0, "planned"),
        ("detection", "round-1", 1, "planned"),
        ("labels", "development", 0, "planned"),
    ]
    with database.read() as tx:
        stage = stages.by_name(tx, challenge.id, "detection", "round-1")
        assert (stage.scorer, stage.opens, stage.closes) == ("1", None, NOW + 59 * DAY)
        assert challenges.by_name(tx, "trojai").id == challenges.by_id(tx, challenge.id).id
        assert [found.name for found in challenges.listing(tx)] == ["trojai"]
        assert challenges.definition_of(challenge).track("labels").task == "classification"
        for find in (
            lambda: challenges.by_name(tx, "x"),
            lambda: challenges.by_id(tx, "x"),
            lambda: stages.by_id(tx, "x"),
            lambda: stages.by_name(tx, challenge.id, "detection", "x"),
        ):
            with pytest.raises(NotFound):
                find()


def test_a_definition_that_is_none_is_told_with_its_line(database: Database) -> None:
    with pytest.raises(InputError, match="line 3"):
        _install(database, TEXT.replace("title: A challenge", "titel: A challenge"))
    with database.read() as tx:
        assert challenges.listing(tx) == []


def test_the_same_again_changes_nothing(database: Database) -> None:
    first = _install(database)
    assert _install(database).id == first.id
    with database.read() as tx:
        assert [line.action for line in audit.listing(tx)] == ["challenge.install"]
    assert _install(database, folder="/elsewhere").folder == "/elsewhere"


def test_stages_that_are_planned_can_change_in_every_way(database: Database) -> None:
    challenge = _install(database)
    with database.read() as tx:
        before = stages.by_name(tx, challenge.id, "detection", "round-1").id
    lines = TEXT.splitlines()
    end = lines.index("  - name: labels")
    _install(
        database,
        "\n".join(
            [
                *lines[: end - 2],
                "      - {name: round-1, title: Round 1, data: data/elsewhere}",
                "      - {name: round-2, title: Round 2, data: data/round-2}",
            ]
        ),
    )
    assert _stages(database, challenge) == [
        ("detection", "round-1", 0, "planned"),
        ("detection", "round-2", 1, "planned"),
    ]
    with database.read() as tx:
        stage = stages.by_name(tx, challenge.id, "detection", "round-1")
        assert (stage.id, stage.closes) == (before, None)
        assert [line.action for line in audit.listing(tx)] == ["challenge.change", "challenge.install"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: round-0", "name: round-00", "detection/round-0 is open and cannot be left out"),
        ("data: data/round-0", "data: data/other", "detection/round-0 is open: data cannot change"),
        ("dry_run: true", "prevalence: 0.4", "detection/round-0 is open: dry_run cannot change"),
        ("name: detection", "name: another", "detection/round-0 is open and cannot be left out"),
    ],
)
def test_what_is_open_stays_what_it_was(world: World, old: str, new: str, message: str) -> None:
    before = _stages(world.database, world.challenge)
    with pytest.raises(Conflict, match=message):
        _install(world.database, TEXT.replace(old, new))
    assert _stages(world.database, world.challenge) == before


def test_what_is_open_may_get_another_end(world: World) -> None:
    _install(world.database, TEXT.replace("dry_run: true", "dry_run: true, closes: 2026-02-05T09:00:00Z"))
    with world.database.read() as tx:
        stage = stages.by_id(tx, world.stage.id)
        assert (stage.state, stage.closes) == ("open", NOW + 31 * DAY)


def test_a_stage_goes_one_way(database: Database) -> None:
    challenge = _install(database)
    with database.read() as tx:
        first, second, other = (stage.id for stage in stages.of_challenge(tx, challenge.id))
    for stage, to, message in (
        (first, "closed", "not open yet"),
        (first, "concluded", "never been open"),
        (second, "open", "round-0 comes before"),
    ):
        with pytest.raises(Conflict, match=message):
            _change(database, stage, to)
    assert _change(database, first, "open")
    assert not _change(database, first, "open")
    with pytest.raises(Conflict, match="round-0 comes before round-1 and is still open"):
        _change(database, second, "open")
    with pytest.raises(Conflict, match="still open; conclusion closes it first"):
        _change(database, first, "concluded")
    assert _change(database, other, "open")
    assert _change(database, first, "closed", "concluded")
    with pytest.raises(Conflict, match="results are published"):
        _change(database, first, "open")
    assert _change(database, second, "open")
    for wrong in ("planned", "archived"):
        with pytest.raises(InputError):
            _change(database, second, wrong)
    with pytest.raises(NotFound):
        _change(database, "nothing", "open")
    with database.read() as tx:
        row = stages.by_id(tx, first)
        assert (row.state, row.opened, row.closed, row.concluded) == ("concluded", NOW, NOW, NOW)
        line = audit.listing(tx, subject=f"stage:{first}")[0]
        assert (line.action, line.actor) == ("stage.concluded", "olga")
        assert line.detail == {"from": "closed", "track": "detection", "stage": "round-0"}
        found = stages.statuses(tx, challenge.id, "detection")
        assert [(s.name, s.state) for s in found] == [("round-0", StageState.CONCLUDED), ("round-1", StageState.OPEN)]


def test_of_many_who_open_a_stage_one_does(database: Database) -> None:
    challenge = _install(database)
    with database.read() as tx:
        stage = stages.of_challenge(tx, challenge.id)[0].id
    start, opened = threading.Barrier(6), list[bool]()

    def change() -> None:
        start.wait()
        opened.append(database.run(stages.change, stage, "open", now=NOW, actor="olga"))

    threads = [threading.Thread(target=change) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == [False] * 5 + [True]
    with database.read() as tx:
        assert len(audit.listing(tx, subject=f"stage:{stage}")) == 1


def test_a_step_is_begun_and_finished_once(world: World) -> None:
    stage = world.stage.id
    assert world.database.run(stages.begin_step, stage, "close", now=NOW).finished is None
    assert world.database.run(stages.begin_step, stage, "close", now=NOW + HOUR).started == NOW
    done = world.database.run(stages.finish_step, stage, "close", now=NOW + HOUR, detail={"by": "olga"})
    assert (done.finished, done.detail) == (NOW + HOUR, {"by": "olga"})
    again = world.database.run(stages.finish_step, stage, "close", now=NOW + DAY, detail={"by": "others"})
    assert (again.finished, again.detail) == (NOW + HOUR, {"by": "olga"})
    world.database.run(stages.begin_step, stage, "choose", now=NOW + HOUR)
    with world.database.read() as tx:
        assert [(step.name, step.finished is None) for step in stages.steps(tx, stage)] == [
            ("close", False),
            ("choose", True),
        ]
        assert stages.statuses(tx, world.challenge.id, "detection")[0].concluding
    with pytest.raises(NotFound, match="never begun"):
        world.database.run(stages.finish_step, stage, "holdout", now=NOW)


def test_a_goal_is_reached_once_a_team(world: World) -> None:
    first, second, other = world.hand_in(b"1"), world.hand_in(b"2"), world.hand_in(b"3", team=1)

    def reach(submission_id: str, minutes: int) -> int:
        now = NOW + minutes * SECOND
        return world.database.run(stages.goal_reached, submission_id, now=now, actor="service")

    assert reach(second.submission.id, 1) == 1
    assert reach(second.submission.id, 2) == 0
    assert reach(first.submission.id, 3) == 0
    assert reach(other.submission.id, 4) == 2
    with world.database.read() as tx:
        assert [s.id for s in stages.goals_of(tx, world.stage.id)] == [second.submission.id, other.submission.id]
        assert submissions.by_id(tx, first.submission.id).goal is None
        assert stages.statuses(tx, world.challenge.id, "detection")[0].goal_teams == 2
        lines = [line for line in audit.listing(tx) if line.action == "stage.goal"]
        assert [line.detail["place"] for line in lines] == [2, 1]
    with pytest.raises(NotFound):
        reach("nothing", 1)
