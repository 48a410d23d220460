"""Conclusion, as a whole and torn at every line of it."""

import os
import shutil
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from palladion.challenge.lifecycle import STEPS
from palladion.jobs import conclusion, opening
from palladion.jobs.claiming import CONCLUDE, EVALUATE, Lane
from palladion.jobs.worker import Worker, do, sweep
from palladion.storage import audit, evaluations, queue, stages, submissions
from palladion.storage.database import Database
from palladion.storage.errors import NotFound, Refused
from palladion.storage.evaluations import NewScore
from palladion.storage.tables import Evaluation
from tests.jobs.conftest import wait_for
from tests.jobs.world import (
    RUNNING,
    Clock,
    World,
    claim,
    detector,
    do_all,
    make_last_round,
    make_service,
    make_world,
    outputs,
)

CONCLUDING = Lane("concluding", (CONCLUDE,), None, 1)
VALUES = (0.5, 0.3, 0.2, 0.4)


def score_by_hand(world: World, values: dict[str, float] | None = None) -> list[tuple[str, str]]:
    """End what is to be evaluated without running anything; (submission, split) of each."""
    done = []
    while (work := claim(world, RUNNING)) is not None:
        with world.database.read() as tx:
            evaluation = evaluations.by_id(tx, work.job.subject)
        value = (values or {}).get(evaluation.submission_id, 0.3)
        scores = [NewScore("cross_entropy", value)]
        world.database.run(evaluations.finish, evaluation.id, work.lease, scores, now=world.service.now())
        done.append((evaluation.submission_id, evaluation.split))
    return done


def conclude_all(world: World, *, most: int = 60, by_hand: bool = True) -> None:
    """Do what there is until nothing concludes any more."""
    for _ in range(most):
        work = claim(world, CONCLUDING)
        if work is not None:
            do(work)
        if by_hand:
            score_by_hand(world)
        with world.database.read() as tx:
            counts = queue.counts(tx)
        if not counts.get((CONCLUDE, "queued")) and not counts.get((CONCLUDE, "running")):
            return
        world.clock.forward(timedelta(seconds=20))
        sweep(world.service)
    raise AssertionError("the conclusion comes to no end")


def holdouts(world: World, stage: str) -> dict[str, list[Evaluation]]:
    """The evaluations on the holdout, by submission."""
    with world.database.read() as tx:
        return {
            submission.id: [e for e in evaluations.of_submission(tx, submission.id) if e.split == "holdout"]
            for submission in submissions.of_stage(tx, world.stages[stage].id)
        }


def at_round_1(world: World) -> World:
    """Round 0 is concluded, Round 1 is open and has scored two submissions of each team."""
    make_last_round(world.folder)
    world.open("round-0")
    conclusion.begin(world.service, world.stages["round-0"].id, actor="olga")
    conclude_all(world)
    assert world.stage("round-1").state == "open"
    for number in range(4):
        world.submit(detector(str(number)), "round-1", team=number % 2)
        world.clock.forward(timedelta(seconds=1))
    with world.database.read() as tx:
        found = submissions.of_stage(tx, world.stages["round-1"].id)
    score_by_hand(world, {submission.id: VALUES[number] for number, submission in enumerate(found)})
    return world


def submitted(world: World) -> list[str]:
    with world.database.read() as tx:
        return [submission.id for submission in submissions.of_stage(tx, world.stages["round-1"].id)]


def test_a_round_is_concluded_and_the_next_one_opens(either: World) -> None:
    world = at_round_1(either)
    first, second, third, fourth = submitted(world)
    assert all(found == [] for found in holdouts(world, "round-1").values())
    begun = conclusion.begin(world.service, world.stages["round-1"].id, actor="olga", named=[second])
    assert begun.created
    conclude_all(world)
    # Of the first team the third is the best (0.2), of the second one the second (0.3); which was named as well.
    ran = {submission_id for submission_id, found in holdouts(world, "round-1").items() if found}
    assert ran == {third, second}
    assert (world.stage("round-1").state, world.stage("round-2").state) == ("concluded", "open")
    with world.database.read() as tx:
        steps = conclusion.progress(tx, world.stages["round-1"].id)
        data = next(row for row in stages.steps(tx, world.stages["round-2"].id) if row.name == opening.DATA)
    assert [step.name for step in steps] == list(STEPS)
    assert all(step.finished is not None for step in steps)
    details = {step.name: step.detail for step in steps}
    assert details["choose"] == {"best": [third, second], "named": [second], "left_out": []}
    assert details["install_next"]["identity"] == data.detail["identity"]
    assert str(data.detail["identity"]).startswith("sha256:")
    assert details["open_next"] == {"opened": "round-2"}
    events = [row.event for row in world.news()]
    assert events.count("stage.concluded") == 2 * 3  # two rounds, each told to two teams and the organiser
    assert first
    assert fourth


def test_a_named_submission_is_run_beside_the_best(world: World) -> None:
    at_round_1(world)
    first, second, third, _ = submitted(world)
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga", named=[first])
    conclude_all(world)
    assert {one for one, found in holdouts(world, "round-1").items() if found} == {first, second, third}


def test_a_dry_run_and_a_phase_have_no_holdout(world: World) -> None:
    world.open("round-0")
    world.open("development")
    world.submit(detector(), "round-0")
    world.submit(outputs(), "development")
    do_all(world, Lane("scoring", (EVALUATE,), "outputs", 1))
    for name in ("round-0", "development"):
        conclusion.begin(world.service, world.stages[name].id, actor="olga")
    conclude_all(world)
    for name, following in (("round-0", "round-1"), ("development", "final")):
        assert world.stage(name).state == "concluded"
        assert world.stage(following).state == "open"
        assert all(found == [] for found in holdouts(world, name).values())
        with world.database.read() as tx:
            steps = {step.name: step.detail for step in conclusion.progress(tx, world.stages[name].id)}
        assert "has no holdout split" in steps["holdout"]["skipped"]


def test_the_last_stage_has_no_next(world: World) -> None:
    world.open("development")
    for name in ("development", "final"):
        conclusion.begin(world.service, world.stages[name].id, actor="olga")
        conclude_all(world)
    assert world.stage("final").state == "concluded"
    with world.database.read() as tx:
        steps = {step.name: step.detail for step in conclusion.progress(tx, world.stages["final"].id)}
    assert steps["install_next"] == {"next": None}
    assert steps["open_next"] == {"opened": None}


def test_what_cannot_be_concluded_is_refused_in_words(world: World) -> None:
    at_round_1(world)
    service = world.service
    with pytest.raises(Refused, match="round-2 has never been open, so there is nothing to conclude"):
        conclusion.begin(service, world.stages["round-2"].id, actor="olga")
    with pytest.raises(Refused, match="round-0 is concluded: its results are published"):
        conclusion.begin(service, world.stages["round-0"].id, actor="olga")
    with pytest.raises(NotFound, match="there is no stage"):
        conclusion.begin(service, "nothing", actor="olga")
    with pytest.raises(NotFound, match="there is no submission"):
        conclusion.begin(service, world.stages["round-1"].id, actor="olga", named=["nothing"])
    world.open("development")
    other = world.submit(outputs(), "development")
    with pytest.raises(Refused, match="is not one of round-1"):
        conclusion.begin(service, world.stages["round-1"].id, actor="olga", named=[other.id])
    with pytest.raises(Refused, match="development has no holdout"):
        conclusion.begin(service, world.stages["development"].id, actor="olga", named=[other.id])


def test_concluding_twice_is_one_conclusion(world: World) -> None:
    at_round_1(world)
    stage = world.stages["round-1"].id
    one = conclusion.begin(world.service, stage, actor="olga")
    two = conclusion.begin(world.service, stage, actor="otto")
    assert (one.created, two.created) == (True, False)
    assert one.job_id == two.job_id
    assert "has begun already" in two.message
    with pytest.raises(Refused, match="are named when it begins"):
        conclusion.begin(world.service, stage, actor="olga", named=submitted(world)[:1])
    conclude_all(world)
    with pytest.raises(Refused, match="round-1 is concluded"):
        conclusion.begin(world.service, stage, actor="olga")


def test_nothing_is_submitted_once_a_conclusion_has_begun(world: World) -> None:
    world.open("round-0")
    conclusion.begin(world.service, world.stages["round-0"].id, actor="olga")
    with pytest.raises(Refused, match="is being concluded"):
        world.submit(detector(), "round-0")


def test_it_waits_for_submissions_that_were_accepted_and_opens_no_holdout_before(world: World) -> None:
    at_round_1(world)
    running = world.submit(detector("late"), "round-1")
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga")
    for _ in range(5):
        do_all(world, CONCLUDING)
        world.clock.forward(timedelta(seconds=5))
    assert world.stage("round-1").state == "closed"
    assert all(found == [] for found in holdouts(world, "round-1").values())
    score_by_hand(world, {running.id: 0.1})
    conclude_all(world)
    assert holdouts(world, "round-1")[running.id]


def test_it_waits_for_the_data_of_the_next_stage_and_says_so(world: World) -> None:
    """The results are published all the same."""
    at_round_1(world)
    shutil.rmtree(world.folder / "data" / "round-2")
    stage = world.stages["round-1"].id
    conclusion.begin(world.service, stage, actor="olga")
    for _ in range(5):
        do_all(world, CONCLUDING)
        score_by_hand(world)
        world.clock.forward(timedelta(seconds=20))
    assert (world.stage("round-1").state, world.stage("round-2").state) == ("concluded", "planned")
    with world.database.read() as tx:
        waiting = [step for step in conclusion.progress(tx, stage) if step.waits is not None]
    assert [step.name for step in waiting] == ["install_next"]
    assert "round-2 cannot be installed" in (waiting[0].waits or "")
    assert "is not there yet" in (waiting[0].waits or "")
    # Told once, however often it was looked.
    assert len(world.news("stage.waits")) == 1
    make_last_round(world.folder)
    conclude_all(world)
    assert world.stage("round-2").state == "open"
    with world.database.read() as tx:
        assert [step.waits for step in conclusion.progress(tx, stage)] == [None] * len(STEPS)


def test_a_date_to_open_at_holds(sqlite: Database, tmp_path: Path) -> None:
    world = at_round_1(make_world(sqlite, tmp_path, dates=", opens: 2026-06-05T09:00:00Z"))
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga")
    conclude_all(world)
    assert (world.stage("round-1").state, world.stage("round-2").state) == ("concluded", "planned")
    with world.database.read() as tx:
        steps = {step.name: step.detail for step in conclusion.progress(tx, world.stages["round-1"].id)}
    assert steps["open_next"] == {"opened": None, "opens": "2026-06-05T09:00:00+00:00"}


def test_a_holdout_that_failed_by_the_service_holds_everything_up(world: World) -> None:
    at_round_1(world)
    stage = world.stages["round-1"].id
    conclusion.begin(world.service, stage, actor="olga")
    do_all(world, CONCLUDING)
    failed = claim(world, RUNNING)
    assert failed is not None
    world.database.run(
        queue.fail, failed.job.id, failed.lease, "the disk is full", most_attempts=1, now=world.service.now()
    )
    for _ in range(5):
        score_by_hand(world)
        world.clock.forward(timedelta(seconds=20))
        do_all(world, CONCLUDING)
    assert world.stage("round-1").state == "closed"
    with world.database.read() as tx:
        waits = next(step.waits for step in conclusion.progress(tx, stage) if step.name == "holdout")
    assert failed.job.id in (waits or "")
    assert "no fault of their submissions" in (waits or "")
    world.database.run(evaluations.retry, failed.job.subject, now=world.service.now(), actor="olga")
    conclude_all(world)
    assert world.stage("round-1").state == "concluded"


def test_a_holdout_that_failed_by_its_submission_does_not(world: World) -> None:
    at_round_1(world)
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga")
    do_all(world, CONCLUDING)
    failed = claim(world, RUNNING)
    assert failed is not None
    world.database.run(
        evaluations.fail,
        failed.job.subject,
        failed.lease,
        "none of 4 models was answered",
        now=world.service.now(),
        report={"fault": "submission"},
    )
    conclude_all(world)
    assert world.stage("round-1").state == "concluded"


def test_a_conclusion_that_was_given_up_goes_on_when_it_is_asked_for_again(world: World) -> None:
    at_round_1(world)
    holdout = world.folder / "data" / "round-1" / "holdout"
    holdout.rename(holdout.with_name("gone"))
    stage = world.stages["round-1"].id
    conclusion.begin(world.service, stage, actor="olga")
    conclude_all(world)
    job = world.job(CONCLUDE, stage)
    assert job.state == "failed"
    assert "the holdout split should be there, and is not" in (job.reason or "")
    assert world.news("job.failed")
    holdout.with_name("gone").rename(holdout)
    assert "goes on where it was" in conclusion.begin(world.service, stage, actor="olga").message
    conclude_all(world)
    assert world.stage("round-1").state == "concluded"


# --- torn -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Round 1 is about to be concluded. Nobody changes it: tests copy its database."""
    folder = tmp_path_factory.mktemp("prepared")
    database = Database(folder / "palladion.db")
    database.upgrade()
    world = at_round_1(make_world(database, folder))
    database.close()
    yield world
    database.close()


@contextmanager
def copied(prepared: World, folder: Path) -> Iterator[World]:
    target = folder / "palladion.db"
    shutil.copyfile(prepared.database.url, target)
    with _opened(prepared, target) as world:
        yield world


@contextmanager
def _opened(prepared: World, target: Path) -> Iterator[World]:
    database = Database(target)
    clock = Clock()
    clock.forward(prepared.clock() - clock())
    settings = prepared.service.settings
    service = make_service(database, settings.data, clock)
    try:
        yield replace(prepared, service=service, clock=clock)
    finally:
        database.close()


def lines_of(module: types.ModuleType) -> list[int]:
    """Every line of a module's functions."""
    assert module.__file__ is not None
    found: set[int] = set()
    waiting = [compile(Path(module.__file__).read_text(), module.__file__, "exec")]
    while waiting:
        code = waiting.pop()
        inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
        waiting += inner
        if code.co_name != "<module>" and not code.co_name.startswith("<"):
            found |= {line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno}
    return sorted(found)


@contextmanager
def torn(module: types.ModuleType, line: int, happens: Callable[[], None]) -> Iterator[list[int]]:
    """Let something happen when a line of a module is about to be executed for the first time."""
    reached: list[int] = []

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and frame.f_lineno == line and not reached:
            reached.append(line)
            happens()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield reached
    finally:
        sys.settrace(before)


def _raise() -> None:
    raise OSError("the disk is full")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _check_concluded(world: World) -> None:
    first, second, third, _ = submitted(world)
    ran = {one: [e.state for e in found] for one, found in holdouts(world, "round-1").items() if found}
    assert ran == {third: ["done"], second: ["done"], first: ["done"]}
    assert (world.stage("round-1").state, world.stage("round-2").state) == ("concluded", "open")
    with world.database.read() as tx:
        steps = conclusion.progress(tx, world.stages["round-1"].id)
        assert all(step.finished is not None for step in steps)
        actions = [line.action for line in audit.listing(tx, subject=f"stage:{world.stages['round-1'].id}")]
        opened = [line.action for line in audit.listing(tx, subject=f"stage:{world.stages['round-2'].id}")]
    assert sorted(actions) == ["stage.closed", "stage.conclude", "stage.concluded", "stage.open"]
    assert opened == ["stage.open"]
    assert world.job(CONCLUDE, world.stages["round-1"].id).state == "done"


def _begin(world: World) -> None:
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga", named=submitted(world)[:1])


@pytest.mark.slow
@pytest.mark.parametrize("line", lines_of(conclusion))
def test_it_goes_on_wherever_an_error_tore_it(prepared: World, tmp_path: Path, line: int) -> None:
    with copied(prepared, tmp_path) as world:
        with torn(conclusion, line, _raise):
            try:
                _begin(world)
                conclude_all(world)
            except OSError:
                pass  # it was torn while it was begun, or by one who only looked
        if not _begun(world):
            assert world.stage("round-1").state == "open"
            _begin(world)
        conclude_all(world)
        _check_concluded(world)


@pytest.mark.slow
@pytest.mark.parametrize("line", lines_of(conclusion))
def test_it_goes_on_wherever_sigkill_tore_it(prepared: World, tmp_path: Path, line: int) -> None:
    shutil.copyfile(prepared.database.url, tmp_path / "palladion.db")
    child = os.fork()
    if child == 0:
        try:
            with _opened(prepared, tmp_path / "palladion.db") as world, torn(conclusion, line, _kill):
                _begin(world)
                conclude_all(world)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    with _opened(prepared, tmp_path / "palladion.db") as world:
        world.clock.forward(timedelta(hours=1))
        sweep(world.service)
        if not _begun(world):
            assert world.stage("round-1").state == "open"
            _begin(world)
        conclude_all(world)
        _check_concluded(world)


def _begun(world: World) -> bool:
    with world.database.read() as tx:
        return bool(conclusion.progress(tx, world.stages["round-1"].id))


# --- as a whole -------------------------------------------------------------------------------------------------------


def test_a_worker_does_all_of_it(world: World, working: Callable[[World], Worker], own_cache: Path) -> None:
    """With real runs on the holdout, whose scores are those of the answers."""
    assert own_cache.is_dir()
    make_last_round(world.folder)
    working(world)
    world.open("round-0")
    conclusion.begin(world.service, world.stages["round-0"].id, actor="olga")
    wait_for(lambda: world.stage("round-1").state == "open")
    submission = world.submit(detector(), "round-1")
    wait_for(lambda: world.submission(submission.id).state == "scored")
    conclusion.begin(world.service, world.stages["round-1"].id, actor="olga")
    wait_for(lambda: world.stage("round-2").state == "open")
    assert world.stage("round-1").state == "concluded"
    assert world.scores(submission.id, "holdout") == world.scores(submission.id, "test")


def test_nothing_is_run_on_the_holdout_of_a_stage_that_is_open(world: World) -> None:
    """Whoever enqueued it, and however."""
    at_round_1(world)
    one = submitted(world)[0]
    world.database.run(evaluations.add, one, "holdout", scorer="1", now=world.service.now())
    work = claim(world, RUNNING)
    assert work is not None
    do(work)
    job = world.job(EVALUATE, work.job.subject)
    assert (job.state, job.attempts) == ("queued", 1)
    assert "the holdout is for the conclusion of its stage" in (job.reason or "")
