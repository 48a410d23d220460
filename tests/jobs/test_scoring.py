import math
import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest

from palladion.jobs.processes import ProcessLimits
from palladion.jobs.worker import Worker, do
from palladion.storage import evaluations, submissions
from tests.jobs.conftest import ended
from tests.jobs.world import SCORING, World, claim, do_all, outputs, packed


def test_outputs_are_scored_as_one_computes_by_hand(either: World) -> None:
    """3 of 10 clean rows are wrong, and no poisoned row is what the attack wants: sqrt(70 · 100)."""
    either.open("development")
    submission = either.submit(outputs(wrong=3), "development")
    assert do_all(either) == 1
    assert either.submission(submission.id).state == "scored"
    overall = math.sqrt(70.0 * 100.0)
    expected = {"overall": overall, "cacc": 70.0, "asr": 0.0}
    found = either.scores(submission.id)
    for task in ("", "task1"):
        assert {metric: found[task, metric] for metric in expected} == pytest.approx(expected)
    with either.database.read() as tx:
        [entry] = evaluations.board(tx, either.stages["development"].id, "test")
        score = entry.scores["", "overall"]
    assert score.low is not None
    assert score.high is not None
    # The interval of one task is that of the whole.
    assert score.low <= overall <= score.high
    assert entry.report["tasks"]["task1"]["n_clean"] == 10


def test_the_same_submission_has_the_same_intervals(world: World) -> None:
    world.open("development")
    one = world.submit(outputs(wrong=3), "development", team=0)
    two = world.submit(outputs(wrong=3), "development", team=1)
    do_all(world)
    with world.database.read() as tx:
        first, second = (
            [(s.task, s.metric, s.value, s.low, s.high) for s in evaluations.scores(tx, world.evaluation(s_id).id)]
            for s_id in (one.id, two.id)
        )
    assert first == second


def test_outputs_with_errors_are_rejected_and_cost_nothing(either: World) -> None:
    either.open("development")
    submission = either.submit(packed({"cls_task1.csv": "label\n1\nx\n"}), "development")
    do_all(either)
    found = either.submission(submission.id)
    assert found.state == "rejected"
    assert "cls_task1.csv" in (found.reason or "")
    with either.database.read() as tx:
        stage = either.stages["development"]
        assert submissions.earlier(tx, submission.team_id, stage.challenge_id, stage.track) == []
    [told] = either.news("submission.rejected")
    assert told.body["submission"] == submission.id


def test_news_tell_that_there_is_a_score_and_not_which(world: World) -> None:
    world.open("development")
    submission = world.submit(outputs(wrong=3), "development")
    do_all(world)
    [told] = world.news("submission.scored")
    assert (told.body["submission"], told.body["state"], told.body["team"]) == (submission.id, "scored", "Team 0")
    assert told.account_id == world.captains[0]
    assert "83.6" not in str(told.body)


def test_what_takes_too_much_is_tried_three_times_and_then_failed_with_words(world: World) -> None:
    """Whether it was the file's fault or the machine's is not known the first time."""
    world.open("development")
    submission = world.submit(outputs(), "development")
    hurried = world.with_settings(scoring=ProcessLimits(seconds=0.001))
    for attempt in range(3):
        work = claim(hurried, SCORING)
        assert work is not None
        assert work.job.attempts == attempt
        do(work)
        hurried.clock.forward(timedelta(minutes=5))
    found = world.submission(submission.id)
    assert found.state == "failed"
    assert "took longer than 0.001 s" in (found.reason or "")
    assert claim(hurried, SCORING) is None
    [told] = world.news("job.failed")
    assert told.account_id not in world.captains


def test_a_fault_of_the_service_is_not_the_submissions(world: World) -> None:
    """The sealed answers are gone, and come back: it is scored after all."""
    world.open("development")
    submission = world.submit(outputs(), "development")
    sealed = world.folder / "data" / "labels" / "sealed"
    sealed.rename(sealed.with_name("gone"))
    do_all(world)
    job = world.job("evaluate", world.evaluation(submission.id).id)
    assert (job.state, job.attempts) == ("queued", 1)
    sealed.with_name("gone").rename(sealed)
    world.clock.forward(timedelta(minutes=1))
    do_all(world)
    assert world.submission(submission.id).state == "scored"


def test_a_fault_of_the_service_that_stays_ends_in_words_and_organisers_are_told(world: World) -> None:
    world.open("development")
    submission = world.submit(outputs(), "development")
    shutil.rmtree(world.folder / "data" / "labels" / "sealed")
    for _ in range(5):
        assert do_all(world) == 1
        world.clock.forward(timedelta(minutes=5))
    assert do_all(world) == 0
    found = world.submission(submission.id)
    assert found.state == "failed"
    assert "no fault of the submission" in (found.reason or "")
    # Where things lie on the machine of the service is nobody's business.
    assert str(world.folder) not in (found.reason or "")
    [to_team] = world.news("submission.failed")
    [to_organisers] = world.news("job.failed")
    assert to_team.account_id == world.captains[0]
    assert str(world.folder) in to_organisers.body["reason"]


def test_workers_that_run_beside_each_other_score_each_submission_once(
    either: World, working: Callable[[World, str], Worker]
) -> None:
    either.open("development")
    for name in ("one", "two"):
        working(either, name)
    found = [either.submit(outputs(wrong=n), "development", team=n % 2) for n in range(10)]
    ids = {submission.id for submission in found}
    ended(either, *ids)
    assert {either.submission(one).state for one in ids} == {"scored"}
    with either.database.read() as tx:
        board = evaluations.board(tx, either.stages["development"].id, "test")
    assert sorted(entry.submission_id for entry in board) == sorted(ids)
