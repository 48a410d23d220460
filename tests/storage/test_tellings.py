"""What is told is written once; what boards show is counted; ranges of ranks are kept."""

from datetime import timedelta
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.storage import challenges, evaluations, queue, stages, standings, submissions, teams, tellings
from palladion.storage.errors import Conflict
from palladion.storage.evaluations import EVALUATE, NewScore
from palladion.storage.tellings import FINAL, NewTelling
from tests.storage.conftest import DEFINITION, MINUTE, NOW, SECOND, World


def _scored(world: World, mark: str, *, team: int = 0, value: float = 0.5, at: int = 0) -> str:
    """A submission that was scored; its evaluation."""
    now = NOW + at * SECOND
    world.hand_in(mark.encode(), team=team, now=now)
    job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=now)
    assert job is not None
    world.database.run(evaluations.finish, job.subject, job.lease or "", [NewScore("cross_entropy", value)], now=now)
    return job.subject


def _revision(world: World) -> int:
    with world.database.read() as tx:
        return stages.by_id(tx, world.stage.id).revision


def test_what_was_told_stays_told(world: World) -> None:
    one = _scored(world, "one")
    found = [
        NewTelling("cross_entropy", 0.5, "0.50", one, low=0.4, high=0.6, note="so"),
        NewTelling("cross_entropy", 0.25, "0.25", one, task="t"),
        NewTelling("roc_auc", None, "–", one),
        NewTelling("cross_entropy", 0.75, "0.7500", one, moment=FINAL),
    ]
    world.database.run(tellings.add, one, found)
    with world.database.read() as tx:
        rows = tellings.of(tx, [one])[one]
    assert {(r.moment, r.task, r.metric, r.value, r.low, r.high, r.text, r.note) for r in rows} == {
        ("open", "", "cross_entropy", 0.5, 0.4, 0.6, "0.50", "so"),
        ("open", "t", "cross_entropy", 0.25, None, None, "0.25", ""),
        ("open", "", "roc_auc", None, None, None, "–", ""),
        ("final", "", "cross_entropy", 0.75, None, None, "0.7500", ""),
    }
    with pytest.raises(Conflict):
        world.database.run(tellings.add, one, [NewTelling("cross_entropy", 0.1, "0.1", one)])
    with pytest.raises(InputError, match="is not a finite number"):
        world.database.run(tellings.add, one, [NewTelling("brier", float("nan"), "0.1", one)])
    with pytest.raises(InputError, match="the same is told twice"):
        world.database.run(tellings.add, one, [NewTelling("brier", 0.1, "0.1", one)] * 2)


def test_a_team_knows_what_it_was_told_in_the_order_of_its_submissions(world: World) -> None:
    ids = [_scored(world, f"{i}", at=i) for i in range(3)]
    other = _scored(world, "other", team=1, at=9)
    for one in (ids[2], ids[0], other):
        world.database.run(tellings.add, one, [NewTelling("cross_entropy", 0.5, "0.5", one)])
    with world.database.read() as tx:
        of = tellings.of_team(tx, world.stage.id, world.teams[0].id, "1", "test", "cross_entropy")
        every = tellings.of_stage(tx, world.stage.id, "test")
        waiting = tellings.untold(tx, world.stage.id, "1", "test")
    assert [told.evaluation_id for told in of] == [ids[0], ids[2]]
    assert [told.evaluation_id for told in every] == [ids[0], ids[2], other]
    assert [evaluation for _, _, evaluation in waiting] == [ids[1]]


def test_nothing_is_told_before_what_came_before_it_has_ended(world: World) -> None:
    world.hand_in(b"first", now=NOW)
    world.hand_in(b"second", now=NOW + SECOND)
    world.hand_in(b"others", team=1, now=NOW + 2 * SECOND)
    jobs = [world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW + MINUTE) for _ in range(3)]
    first, second, others = (job for job in jobs if job is not None)

    def waiting() -> set[str]:
        with world.database.read() as tx:
            return {one for _, _, one in tellings.untold(tx, world.stage.id, "1", "test")}

    for job in (second, others):
        world.database.run(evaluations.finish, job.subject, job.lease or "", [], now=NOW + MINUTE)
    assert waiting() == {others.subject}
    world.database.run(evaluations.fail, first.subject, first.lease or "", "because", now=NOW + MINUTE)
    assert waiting() == {others.subject, second.subject}


def test_every_change_that_a_leaderboard_shows_is_counted(world: World) -> None:
    seen = [_revision(world)]

    def changed() -> None:
        seen.append(_revision(world))
        assert seen[-1] > seen[-2]

    one = _scored(world, "one")
    changed()
    with world.database.read() as tx:
        submission = evaluations.by_id(tx, one).submission_id
    world.database.run(stages.goal_reached, submission, now=NOW, actor="service")
    changed()
    world.database.run(teams.set_baseline, world.teams[0].id, True, now=NOW, actor="olga")
    changed()
    world.database.run(standings.write, world.stage.id, "test", "1", {"x": 1}, revision=3, now=NOW)
    changed()
    world.database.run(submissions.cancel, submission, "because", now=NOW, actor="olga")
    changed()
    text = DEFINITION.format(name="trojai").replace("Round 0", "Round nought")
    world.database.run(challenges.install, text, Path("/nowhere"), now=NOW + MINUTE, actor="olga")
    changed()
    world.database.run(evaluations.switch, [world.stage.id], "2", now=NOW, actor="olga")
    changed()
    world.database.run(stages.change, world.stage.id, "closed", now=NOW, actor="olga")
    changed()
    # What nobody sees there is not.
    world.database.run(teams.set_baseline, world.teams[0].id, True, now=NOW, actor="olga")
    assert _revision(world) == seen[-1]


def test_a_baseline_is_noted_in_the_log(world: World) -> None:
    world.database.run(teams.set_baseline, world.teams[0].id, True, now=NOW, actor="olga")
    with world.database.read() as tx:
        assert teams.by_id(tx, world.teams[0].id).baseline
        assert not teams.by_id(tx, world.teams[1].id).baseline


def test_ranges_are_kept_by_split_and_version(world: World) -> None:
    stage = world.stage.id
    with world.database.read() as tx:
        assert standings.missing(tx) == []
    _scored(world, "one")
    with world.database.read() as tx:
        assert standings.missing(tx) == [stage]
        assert standings.of(tx, stage, "test", "1") is None
    world.database.run(standings.write, stage, "test", "1", {"a": 1}, revision=7, now=NOW)
    world.database.run(standings.write, stage, "test", "1", {"a": 2}, revision=8, now=NOW + MINUTE)
    with world.database.read() as tx:
        found = standings.of(tx, stage, "test", "1")
        assert standings.of(tx, stage, "holdout", "1") is None
        assert standings.missing(tx) == []
    assert found is not None
    assert (found.document, found.revision, found.made) == ({"a": 2}, 8, NOW + MINUTE)


def test_a_job_that_comes_again_is_one_job(world: World) -> None:
    stage, database = world.stage.id, world.database
    first = database.run(queue.renew, "standing", stage, now=NOW, due=NOW + MINUTE)
    again = database.run(queue.renew, "standing", stage, now=NOW, due=NOW + 2 * MINUTE)
    # The one that waits comes no later for being asked for again.
    assert (again.id, again.due, again.state) == (first.id, NOW + MINUTE, "queued")
    job = database.run(queue.claim, ["standing"], worker="w", lease=MINUTE, now=NOW + MINUTE)
    assert job is not None
    running = database.run(queue.renew, "standing", stage, now=NOW + MINUTE, due=NOW + 2 * MINUTE)
    assert (running.state, running.lease) == ("running", job.lease)
    database.run(queue.finish, job.id, job.lease or "", now=NOW + MINUTE)
    renewed = database.run(queue.renew, "standing", stage, now=NOW + MINUTE, due=NOW + 3 * MINUTE)
    assert (renewed.id, renewed.state, renewed.due) == (first.id, "queued", NOW + 3 * MINUTE)
    assert (renewed.attempts, renewed.losses, renewed.finished) == (0, 0, None)


def test_what_data_points_scored_is_kept_with_the_scores(world: World) -> None:
    world.hand_in(b"one")
    job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW)
    assert job is not None
    world.database.run(
        evaluations.finish, job.subject, job.lease or "", [], now=NOW + timedelta(seconds=1), points=b"\x00\xff"
    )
    with world.database.read() as tx:
        assert evaluations.point_scores(tx, [job.subject, "a" * 20]) == {job.subject: b"\x00\xff"}
