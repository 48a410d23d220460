import pytest

from palladion.errors import PalladionError
from palladion.jobs.scorers import SCORERS, Scorer
from palladion.jobs.versions import rescore, retry_job, switch
from palladion.storage import evaluations, queue
from palladion.storage.errors import Conflict, NotFound
from tests.jobs.world import SCORING, World, claim, detector, do_all, outputs


@pytest.fixture(autouse=True)
def _second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer whose intervals are drawn otherwise."""
    monkeypatch.setitem(SCORERS, "2", Scorer("2", seed=7))


def test_scores_of_another_version_go_beside_and_are_shown_in_one_step(either: World) -> None:
    either.open("development")
    ids = [either.submit(outputs(wrong=n), "development", team=n % 2).id for n in range(3)]
    do_all(either)
    stage = either.stages["development"].id
    before = {one: either.scores(one) for one in ids}
    assert rescore(either.service, stage, actor="olga", version="2") == 3
    assert rescore(either.service, stage, actor="olga", version="2") == 0
    with pytest.raises(Conflict, match="3 have not ended"):
        switch(either.service, stage, "2", actor="olga")
    do_all(either)
    with either.database.read() as tx:
        assert {entry.evaluation_id for entry in evaluations.board(tx, stage, "test")} == {
            either.evaluation(one).id for one in ids
        }
    switch(either.service, stage, "2", actor="olga")
    with either.database.read() as tx:
        board = evaluations.board(tx, stage, "test")
    assert {entry.evaluation_id for entry in board} == {either.evaluation(one, scorer="2").id for one in ids}
    assert {one: either.scores(one) for one in ids} == before
    assert {one: either.scores(one, scorer="2") for one in ids} == before
    # Once scored and told: nothing more is told when it is scored again.
    assert len(either.news("submission.scored")) == 3


def test_code_is_not_run_again(world: World, own_cache: object) -> None:
    assert own_cache is not None
    world.open("round-0")
    submission = world.submit(detector(), "round-0")
    do_all(world)
    for path in (world.folder / "data" / "round-0").rglob("behaviour.py"):
        path.write_text("sys.exit('it was run again')")
    rescore(world.service, world.stages["round-0"].id, actor="olga", version="2")
    do_all(world)
    assert world.evaluation(submission.id, scorer="2").state == "done"
    assert world.scores(submission.id, scorer="2") == world.scores(submission.id)
    with world.database.read() as tx:
        rows = evaluations.outcomes(tx, world.evaluation(submission.id, scorer="2").id)
    assert [row.answer for row in rows] == [0.9, 0.1, 0.9, 0.1]


def test_what_cannot_be_is_refused(world: World) -> None:
    stage = world.stages["development"].id
    with pytest.raises(PalladionError, match="there is no version '3' of the scorer here; there is 1, 2"):
        rescore(world.service, stage, actor="olga", version="3")
    with pytest.raises(PalladionError, match="there is no version '3'"):
        switch(world.service, stage, "3", actor="olga")
    with pytest.raises(Conflict, match="scored by version 1 of the scorer already"):
        rescore(world.service, stage, actor="olga")
    with pytest.raises(NotFound):
        rescore(world.service, "nothing", actor="olga", version="2")


def test_what_this_program_cannot_score_waits_for_one_that_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update was taken back, say: the evaluation fails by no fault of its submission, and can be tried again."""
    world.open("development")
    submission = world.submit(outputs(), "development")
    do_all(world)
    rescore(world.service, world.stages["development"].id, actor="olga", version="2")
    monkeypatch.delitem(SCORERS, "2")
    do_all(world)
    job = world.job("evaluate", world.evaluation(submission.id, scorer="2").id)
    assert (job.state, job.attempts) == ("queued", 1)
    assert "there is no version '2' of the scorer here" in (job.reason or "")
    assert world.submission(submission.id).state == "scored"


def test_what_has_failed_can_be_tried_again(world: World) -> None:
    world.open("development")
    submission = world.submit(outputs(), "development")
    work = claim(world, SCORING)
    assert work is not None
    with pytest.raises(Conflict, match="only one that failed or was cancelled can be retried"):
        retry_job(world.service, work.job.id, actor="olga")
    world.database.run(queue.fail, work.job.id, work.lease, "x", most_attempts=1, now=world.service.now())
    assert world.submission(submission.id).state == "failed"
    assert retry_job(world.service, work.job.id, actor="olga").state == "queued"
    assert world.submission(submission.id).state == "pending"
    do_all(world)
    assert world.submission(submission.id).state == "scored"
    job = world.database.run(queue.enqueue, "open", world.stages["final"].id, now=world.service.now())
    world.database.run(queue.cancel, job.id, "not now", now=world.service.now())
    assert retry_job(world.service, job.id, actor="olga").state == "queued"
    with pytest.raises(NotFound):
        retry_job(world.service, "nothing", actor="olga")


def test_new_stages_begin_with_the_version_that_is_known() -> None:
    from palladion.storage.challenges import FIRST_SCORER

    assert FIRST_SCORER in SCORERS
