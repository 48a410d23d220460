"""What is told of a score is decided once, with the scores, one submission of a team after the other."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from palladion.jobs import evaluating, scoring, telling, versions
from palladion.jobs.scorers import SCORERS, Scorer
from palladion.jobs.telling import Moved
from palladion.jobs.worker import do
from palladion.scoring import PointScores, metric_value
from palladion.storage import challenges, evaluations, stages, submissions, tellings
from palladion.storage.database import Database
from palladion.storage.errors import LeaseLost
from palladion.storage.tables import PointScores as Kept
from tests.jobs.world import SCORING, STANDINGS, World, claim, detector, do_all, make_world, outputs


@pytest.fixture
def ladder(sqlite: Database, tmp_path: Path) -> World:
    """A world that tells what is better by chance alone to nobody, which is the default."""
    world = make_world(sqlite, tmp_path / "world", feedback="policy: bootstrap_ladder")
    world.open("development")
    return world


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The same on either database."""
    from tests.storage.conftest import Databases

    server = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    made = Databases(request.param, tmp_path, server)
    world = make_world(made(), tmp_path / "world", feedback="policy: ladder, step: 5.0")
    world.open("development")
    yield world
    made.close()


def _told(world: World, submission_id: str, scorer: str = "1") -> dict[tuple[str, str, str], Any]:
    evaluation = world.evaluation(submission_id, scorer=scorer)
    with world.database.read() as tx:
        rows = tellings.of(tx, [evaluation.id]).get(evaluation.id, [])
    return {(row.moment, row.task, row.metric): row for row in rows}


def _overall(world: World, submission_id: str, scorer: str = "1") -> tuple[float | None, bool]:
    """What was told, and whether it is the submission's own."""
    row = _told(world, submission_id, scorer)["open", "", "overall"]
    return row.value, row.source == world.evaluation(submission_id, scorer=scorer).id


def test_what_ranks_is_told_by_one_decision_and_in_steps_and_the_rest_later(ladder: World) -> None:
    # 7 of 10 clean rows right: sqrt(70 · 100) is 83.7, told in steps of 1.
    first = ladder.submit(outputs(wrong=3), "development")
    worse = ladder.submit(outputs(wrong=5), "development")
    do_all(ladder)
    told = _told(ladder, first.id)
    others = {("open", task, metric) for task in ("", "task1") for metric in ("overall", "cacc", "asr")}
    others.remove(("open", "", "overall"))
    assert {key: row.value for key, row in told.items()} == {("open", "", "overall"): 84.0} | dict.fromkeys(others)
    assert {(told[key].low, told[key].high, told[key].text) for key in others} == {(None, None, "–")}
    assert {told[key].note for key in others} == {"told when the stage is concluded"}
    assert told["open", "", "overall"].text == "84"
    assert (told["open", "", "overall"].low % 1, told["open", "", "overall"].high % 1) == (0, 0)
    again = _told(ladder, worse.id)
    assert {key: row.value for key, row in again.items()} == {key: row.value for key, row in told.items()}
    assert again["open", "", "overall"].source == ladder.evaluation(first.id).id
    assert "not better than the team's best by more than chance" in again["open", "", "overall"].note
    assert {again[key].note for key in others} == {"told when the stage is concluded"}
    # Organisers know all of it.
    assert ladder.scores(worse.id)["", "cacc"] == 50.0


def test_what_is_no_better_by_more_than_chance_is_not_told(ladder: World) -> None:
    ids = [ladder.submit(outputs(wrong=wrong), "development").id for wrong in (5, 4, 0)]
    do_all(ladder)
    # One row more of ten may be chance; sqrt(50 · 100) is 70.7.
    assert _overall(ladder, ids[0]) == (71.0, True)
    assert _overall(ladder, ids[1]) == (71.0, False)
    assert _overall(ladder, ids[2])[0] in (71.0, 100.0)


def test_points_are_kept_and_are_worth_what_the_scorer_says(ladder: World) -> None:
    submission = ladder.submit(outputs(wrong=3), "development")
    do_all(ladder)
    evaluation = ladder.evaluation(submission.id)
    with ladder.database.read() as tx:
        points = PointScores.from_bytes(evaluations.point_scores(tx, [evaluation.id])[evaluation.id])
    scores = ladder.scores(submission.id)
    for metric in ("overall", "cacc", "asr"):
        assert metric_value(points, metric) == pytest.approx(scores["", metric])
    assert points.groups["task1/clean"] == 10


def _work(world: World) -> Any:
    work = claim(world, SCORING)
    assert work is not None
    return work


def test_of_two_that_end_at_once_the_second_is_decided_on_after_the_first(both: World) -> None:
    better = both.submit(outputs(wrong=3), "development")
    worse = both.submit(outputs(wrong=5), "development")
    works = [_work(both), _work(both)]
    tasks = [evaluating._task(work) for work in works]
    found = [scoring.score(task) for task in tasks]
    # Both are prepared as the first of the team.
    prepared = [evaluating._prepared(task, scored) for task, scored in zip(tasks, found, strict=True)]
    now = both.service.now()
    both.database.run(evaluating._finish, works[0], tasks[0], found[0], None, prepared[0], now=now)
    with pytest.raises(Moved):
        both.database.run(evaluating._finish, works[1], tasks[1], found[1], None, prepared[1], now=now)
    # Nothing of it was written: neither scores nor what is told of them.
    assert both.evaluation(worse.id).state == "pending"
    assert both.scores(worse.id) == {}
    do(works[1])
    assert _overall(both, better.id) == (85.0, True)
    assert _overall(both, worse.id) == (85.0, False)


def test_scores_and_what_is_told_of_them_are_written_together_or_not_at_all(both: World) -> None:
    submission = both.submit(outputs(wrong=3), "development")
    work = _work(both)
    task = evaluating._task(work)
    found = scoring.score(task)
    prepared = evaluating._prepared(task, found)

    def killed(tx: Any) -> None:
        evaluating._finish(tx, work, task, found, b"", prepared, now=both.service.now())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both.database.run(killed)
    assert (both.scores(submission.id), _told(both, submission.id)) == ({}, {})
    do(work)
    assert _overall(both, submission.id) == (85.0, True)
    # Whoever was thought dead comes too late.
    with pytest.raises(LeaseLost):
        both.database.run(evaluating._finish, work, task, found, None, prepared, now=both.service.now())
    assert len(_told(both, submission.id)) == 6


def test_another_policy_tells_nothing_anew(ladder: World) -> None:
    first = ladder.submit(outputs(wrong=3), "development")
    worse = ladder.submit(outputs(wrong=5), "development")
    do_all(ladder)
    text = ladder.challenge.definition.replace("policy: bootstrap_ladder", "policy: exact")
    with ladder.database.write() as tx:
        challenges.install(tx, text, ladder.folder, now=ladder.clock(), actor="olga")
    later = ladder.submit(outputs(wrong=4), "development")
    do_all(ladder)
    assert [_overall(ladder, one.id)[0] for one in (first, worse)] == [84.0, 84.0]
    value, own = _overall(ladder, later.id)
    assert own
    assert value == pytest.approx(77.4596669)


def test_scored_again_submissions_are_told_in_their_own_order(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "2", Scorer("2"))
    ids = [both.submit(outputs(wrong=wrong), "development").id for wrong in (5, 3, 4)]
    do_all(both)
    assert [_overall(both, one) for one in ids] == [(70.0, True), (85.0, True), (85.0, False)]
    stage = both.stages["development"].id
    versions.rescore(both.service, stage, actor="olga", version="2")
    works = [_work(both) for _ in ids]
    for work in reversed(works):
        do(work)
    # Nothing is told of another version's scores as they come: the last came first.
    assert all(_told(both, one, "2") == {} for one in ids)
    versions.switch(both.service, stage, "2", actor="olga")
    assert [_overall(both, one, "2") for one in ids] == [(70.0, True), (85.0, True), (85.0, False)]
    # Once.
    assert telling.catch_up(both.service, stage, "2") == 0
    assert telling.catch_up(both.service, stage, "1") == 0


def test_what_waits_for_an_earlier_one_is_told_after_it(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "2", Scorer("2"))
    ids = [both.submit(outputs(wrong=wrong), "development").id for wrong in (5, 3)]
    do_all(both)
    stage = both.stages["development"].id
    versions.rescore(both.service, stage, actor="olga", version="2")
    works = [_work(both) for _ in ids]
    late, early = sorted(works, key=lambda work: work.job.subject == both.evaluation(ids[0], scorer="2").id)
    do(late)
    assert telling.catch_up(both.service, stage, "2") == 0
    do(early)
    assert telling.catch_up(both.service, stage, "2") == 2
    assert _overall(both, ids[1], "2") == (85.0, True)


def test_what_was_taken_back_is_still_known(both: World) -> None:
    best = both.submit(outputs(wrong=3), "development")
    do_all(both)
    both.database.run(submissions.cancel, best.id, "because", now=both.service.now(), actor="olga")
    worse = both.submit(outputs(wrong=5), "development")
    do_all(both)
    assert _overall(both, worse.id) == (85.0, False)


def test_of_parts_the_public_one_is_told_and_the_other_at_the_end(sqlite: Database, tmp_path: Path) -> None:
    world = make_world(sqlite, tmp_path / "world", feedback="policy: exact, public: 0.5")
    world.open("development")
    submission = world.submit(outputs(wrong=3), "development")
    do_all(world)
    told = _told(world, submission.id)
    parts = [told[moment, "", "cacc"].value for moment in ("open", "final")]
    # 3 of 10 are wrong: of two halves, together.
    assert sum(parts) / 2 == pytest.approx(70.0)
    assert {key[0] for key in told} == {"open", "final"}
    assert world.scores(submission.id)["", "cacc"] == 70.0
    # Which half is which depends on a secret of the stage.
    assert len({world.stage(name).salt for name in world.stages}) == len(world.stages)


def test_nothing_is_told_where_nothing_is(sqlite: Database, tmp_path: Path) -> None:
    world = make_world(sqlite, tmp_path / "world", feedback="policy: none")
    world.open("development")
    submission = world.submit(outputs(wrong=3), "development")
    do_all(world)
    told = _told(world, submission.id)
    assert {row.value for row in told.values()} == {None}
    assert {row.low for row in told.values()} == {None}


def test_of_a_dry_run_nothing_is_rationed(ladder: World) -> None:
    with ladder.database.read() as tx:
        info = ladder.service.stage(tx, ladder.stages["round-0"].id)
        other = ladder.service.stage(tx, ladder.stages["development"].id)
    assert not telling.is_told(info, "test")
    assert telling.is_told(other, "test")
    assert not telling.is_told(replace(other), "holdout")


def test_neither_news_nor_the_log_hold_a_score(ladder: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    ids = [ladder.submit(outputs(wrong=wrong), "development").id for wrong in (3, 5)]
    do_all(ladder)
    ladder.clock.forward(timedelta(seconds=10))
    do_all(ladder, STANDINGS)
    for one in ids:
        value = f"{ladder.scores(one)['', 'overall']:.3f}"
        assert value in ("83.666", "70.711")
        assert value not in caplog.text
        assert not any(value in json.dumps(row.body) for row in ladder.news())
    assert ladder.news("submission.scored")


@pytest.mark.parametrize("broken", [None, b"no scores of data points"])
def test_what_earlier_versions_did_not_keep_is_made_once_more(
    sqlite: Database, tmp_path: Path, broken: bytes | None
) -> None:
    ladder = make_world(sqlite, tmp_path / "world", feedback="policy: bootstrap_ladder, level: 0.5")
    ladder.open("development")
    first = ladder.submit(outputs(wrong=9), "development")
    do_all(ladder)
    evaluation = ladder.evaluation(first.id)
    with ladder.database.write() as tx:
        row = tx.get(Kept, evaluation.id)
        assert row is not None
        before = row.data
        tx.delete(row)
        if broken is not None:
            tx.flush()
            tx.add(Kept(evaluation_id=evaluation.id, data=broken))
    better = ladder.submit(outputs(), "development")
    do_all(ladder)
    # 9 of 10 rows more are right: that is no chance.
    assert _overall(ladder, better.id) == (100.0, True)
    with ladder.database.read() as tx:
        kept = evaluations.point_scores(tx, [evaluation.id])[evaluation.id]
    assert kept == (before if broken is None else broken)


def test_by_rule_the_best_by_the_public_part_stands_for_a_team(sqlite: Database, tmp_path: Path) -> None:
    """Values that are told at the end choose nobody."""
    from palladion.jobs import placing

    world = make_world(sqlite, tmp_path / "world", feedback="policy: exact, public: 0.5")
    world.open("development")
    ids = [world.submit(outputs(wrong=wrong), "development").id for wrong in range(1, 8)]
    do_all(world)
    told = {one: _told(world, one) for one in ids}
    with world.database.write() as tx:
        stage = stages.by_id(tx, world.stages["development"].id)
        stage.state, stage.opened, stage.closed, stage.concluded = "concluded", *[world.clock()] * 3
    now = world.clock() + timedelta(seconds=1)
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages["development"].id)
        found = placing.entries(tx, info, "test", placing.ANYBODY, now)
        (shown,) = placing.best_of_teams(tx, info, "test", found, now)
    best = max(ids, key=lambda one: (told[one]["open", "", "overall"].value, -ids.index(one)))
    assert shown.submission == best
    assert shown.value == told[best]["final", "", "overall"].value


def test_what_is_sealed_is_scored_clipped_and_what_is_open_is_not(
    sqlite: Database, tmp_path: Path, own_cache: object
) -> None:
    assert own_cache is not None
    world = make_world(sqlite, tmp_path / "world")
    text = world.challenge.definition.replace("policy: exact", "policy: exact, clip: 0.2", 1)
    with world.database.write() as tx:
        challenges.install(tx, text, world.folder, now=world.clock(), actor="olga")
    found = {}
    for name in ("round-0", "round-1"):
        with world.database.write() as tx:
            for stage in stages.of_challenge(tx, world.challenge.id, track="detection"):
                stage.state = "open" if stage.name == name else "planned"
        submission = world.submit(detector(), name)
        do_all(world)
        found[name] = world.scores(submission.id)["", "cross_entropy"]
        evaluation = world.evaluation(submission.id)
        with world.database.read() as tx:
            points = PointScores.from_bytes(evaluations.point_scores(tx, [evaluation.id])[evaluation.id])
        # As it was answered.
        assert points.arrays["probability"].tolist() == [0.9, 0.1, 0.9, 0.1]
    assert found == {"round-0": pytest.approx(-math.log(0.9)), "round-1": pytest.approx(-math.log(0.8))}
