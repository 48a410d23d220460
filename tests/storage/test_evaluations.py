"""Every evaluation is scored once at most, by whoever holds it; versions of a scorer stand beside each other."""

import math
import multiprocessing
import random
import threading
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import event, select

from palladion.errors import InputError, PalladionError
from palladion.storage import audit, evaluations, queue, submissions
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, LeaseLost, NotFound
from palladion.storage.evaluations import EVALUATE, NewOutcome, NewScore
from palladion.storage.tables import Evaluation, Job, Score, Submission
from tests.storage.conftest import HOUR, MINUTE, NOW, SECOND, World, empty, make_world


def _claim(world: World) -> tuple[str, str]:
    job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW + MINUTE)
    assert job is not None
    assert job.lease is not None
    return job.subject, job.lease


def _finish(world: World, *values: float) -> str:
    evaluation, lease = _claim(world)
    found = [NewScore(f"metric-{i}", value) for i, value in enumerate(values)]
    world.database.run(evaluations.finish, evaluation, lease, found, now=NOW)
    return evaluation


def _row(world: World, evaluation: str) -> Evaluation:
    with world.database.read() as tx:
        return evaluations.by_id(tx, evaluation)


def _boards(world: World, split: str = "test") -> list[tuple[str, dict[tuple[str, str], float]]]:
    with world.database.read() as tx:
        return [
            (entry.submission_id, {key: score.value for key, score in entry.scores.items()})
            for entry in evaluations.board(tx, world.stage.id, split)
        ]


def test_an_evaluation_ends_with_its_scores_its_job_and_its_submission(world: World) -> None:
    accepted = world.hand_in(b"1")
    evaluation, lease = _claim(world)
    found = [NewScore("cross_entropy", 0.25, low=0.2, high=0.3), NewScore("cacc", 90, task="task1")]
    world.database.run(evaluations.finish, evaluation, lease, found, report={"failures": 2}, now=NOW + MINUTE)
    with world.database.read() as tx:
        row = evaluations.by_id(tx, evaluation)
        assert (row.state, row.finished, row.report, row.reason) == ("done", NOW + MINUTE, {"failures": 2}, None)
        scores = [(s.task, s.metric, s.value, s.low, s.high) for s in evaluations.scores(tx, evaluation)]
        assert scores == [("", "cross_entropy", 0.25, 0.2, 0.3), ("task1", "cacc", 90.0, None, None)]
        job = queue.of(tx, EVALUATE, evaluation)
        assert job is not None
        assert job.state == "done"
        submission = submissions.by_id(tx, accepted.submission.id)
        assert (submission.state, submission.finished, submission.reason) == ("scored", NOW + MINUTE, None)


def test_it_is_finished_once(world: World) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(evaluations.finish, evaluation, lease, [NewScore("m", 1)], now=NOW)
    with pytest.raises(LeaseLost):
        world.database.run(evaluations.finish, evaluation, lease, [NewScore("m", 2)], now=NOW)
    with pytest.raises(LeaseLost):
        world.database.run(evaluations.fail, evaluation, lease, "x", now=NOW)
    with pytest.raises(LeaseLost):
        world.database.run(evaluations.add_outcomes, evaluation, lease, [NewOutcome("a", 1)])
    with world.database.read() as tx:
        assert [score.value for score in evaluations.scores(tx, evaluation)] == [1.0]
        assert evaluations.outcomes(tx, evaluation) == []


def test_of_many_that_finish_at_once_one_does(world: World) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    start, answers = threading.Barrier(8), list[str]()

    def finish(value: int) -> None:
        start.wait()
        try:
            world.database.run(evaluations.finish, evaluation, lease, [NewScore("m", value)], now=NOW)
            answers.append("done")
        except LeaseLost:
            answers.append("lost")

    threads = [threading.Thread(target=finish, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["done"] + ["lost"] * 7
    with world.database.read() as tx:
        assert len(evaluations.scores(tx, evaluation)) == 1


def test_splits_that_end_at_once_end_their_submission(world: World) -> None:
    """Each sees the other as pending, unless one waits for the other."""
    for attempt in range(5):
        accepted = world.hand_in(bytes([attempt]))
        with world.database.write() as tx:
            evaluations.add(tx, accepted.submission.id, "smoke", scorer="1", counts=True, now=NOW)
        claimed = [_claim(world), _claim(world)]
        start = threading.Barrier(2)

        def finish(evaluation: str, lease: str, start: threading.Barrier = start) -> None:
            start.wait()
            world.database.run(evaluations.finish, evaluation, lease, [], now=NOW)

        threads = [threading.Thread(target=finish, args=pair) for pair in claimed]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with world.database.read() as tx:
            assert submissions.by_id(tx, accepted.submission.id).state == "scored"


def test_a_data_point_has_one_outcome(world: World) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    first = [
        NewOutcome("id-2", 0.25, seconds=1.5, memory=3 << 30, processor_seconds=2.5),
        NewOutcome("id-1", error="timeout", message="a\x00b", seconds=-0.0),
    ]
    world.database.run(evaluations.add_outcomes, evaluation, lease, first)
    world.database.run(
        evaluations.add_outcomes, evaluation, lease, [NewOutcome("id-2", 0.75), NewOutcome("id-3", {"label": [1]})]
    )
    with world.database.read() as tx:
        rows = evaluations.outcomes(tx, evaluation)
        found = [(o.point, o.answer, o.error, o.seconds, o.memory) for o in rows]
        assert [(o.message, o.processor_seconds) for o in rows] == [("a?b", None), (None, 2.5), (None, None)]
    assert found == [
        ("id-1", None, "timeout", 0.0, None),
        ("id-2", 0.25, None, 1.5, 3 << 30),
        ("id-3", {"label": [1]}, None, None, None),
    ]
    # SQLite forgets the sign of a zero; PostgreSQL would not.
    assert math.copysign(1, found[0][3] or 0.0) == 1


def test_ten_thousand_outcomes_at_once(world: World) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(evaluations.add_outcomes, evaluation, lease, [NewOutcome(f"{i:05}", i) for i in range(10_001)])
    with world.database.read() as tx:
        found = evaluations.outcomes(tx, evaluation)
    assert [outcome.answer for outcome in found] == list(range(10_001))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "outcome",
    [
        NewOutcome("a"),
        NewOutcome("a", 1, "timeout"),
        NewOutcome("", 1),
        NewOutcome("a" * 201, 1),
        NewOutcome("a\x00", 1),
        NewOutcome("a\ud800", 1),
        NewOutcome("a", error="x\x00"),
        NewOutcome("a", 1, seconds=math.nan),
        NewOutcome("a", 1, seconds=math.inf),
        NewOutcome("a", 1, processor_seconds=math.inf),
        NewOutcome("a", math.nan),
    ],
)
def test_an_outcome_that_says_nothing_is_refused(world: World, outcome: NewOutcome) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    with pytest.raises(InputError):
        world.database.run(evaluations.add_outcomes, evaluation, lease, [NewOutcome("good", 1), outcome])
    with world.database.read() as tx:
        assert evaluations.outcomes(tx, evaluation) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "scores",
    [
        [NewScore("m", math.nan)],
        [NewScore("m", -math.inf)],
        [NewScore("m", 1.79e308)],
        [NewScore("m", 1, low=math.nan)],
        [NewScore("m", 1), NewScore("m", 2)],
        [NewScore("", 1)],
        [NewScore("m", 1, task="\x00")],
    ],
)
def test_a_score_that_is_none_is_refused_and_nothing_has_happened(world: World, scores: list[NewScore]) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    with pytest.raises(InputError):
        world.database.run(evaluations.finish, evaluation, lease, scores, now=NOW)
    assert _row(world, evaluation).state == "pending"
    world.database.run(evaluations.finish, evaluation, lease, [NewScore("m", 1)], now=NOW)


def test_the_tables_hold_no_number_that_is_none(world: World) -> None:
    """Whoever writes past the functions."""
    world.hand_in(b"1")
    evaluation = _finish(world)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(PalladionError), world.database.write() as tx:
            tx.add(Score(evaluation_id=evaluation, task="", metric="m", value=value))


def test_a_failure_says_why(world: World) -> None:
    accepted = world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(evaluations.fail, evaluation, lease, "no answer on 3 of 4", report={"failures": 3}, now=NOW)
    row = _row(world, evaluation)
    assert (row.state, row.reason, row.report) == ("failed", "no answer on 3 of 4", {"failures": 3})
    with world.database.read() as tx:
        assert submissions.by_id(tx, accepted.submission.id).reason == "no answer on 3 of 4"
    assert _boards(world) == []


def test_a_job_that_is_given_up_takes_its_evaluation_along(world: World) -> None:
    accepted = world.hand_in(b"1")
    now = NOW
    for _ in range(3):
        assert world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=now) is not None
        now += HOUR
        world.database.run(queue.sweep, now, most_losses=3)
        now += HOUR
    with world.database.read() as tx:
        submission = submissions.by_id(tx, accepted.submission.id)
        (evaluation,) = evaluations.of_submission(tx, submission.id)
    assert (submission.state, evaluation.state) == ("failed", "failed")
    assert submission.reason == evaluation.reason == "the worker w was not heard of any more (loss 3 of 3)"


def test_what_failed_can_be_retried(world: World) -> None:
    accepted = world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(evaluations.add_outcomes, evaluation, lease, [NewOutcome("a", error="crash")])
    world.database.run(evaluations.fail, evaluation, lease, "the disk was full", now=NOW)
    world.database.run(evaluations.retry, evaluation, now=NOW + HOUR, actor="olga")
    with world.database.read() as tx:
        assert submissions.by_id(tx, accepted.submission.id).state == "pending"
        assert evaluations.outcomes(tx, evaluation) == []
        assert audit.listing(tx)[0].action == "evaluation.retry"
    with pytest.raises(Conflict, match="is pending; only one that failed"):
        world.database.run(evaluations.retry, evaluation, now=NOW, actor="olga")
    job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW + HOUR)
    assert job is not None
    world.database.run(evaluations.finish, evaluation, job.lease or "", [NewScore("m", 1)], now=NOW + HOUR)
    assert _boards(world) == [(accepted.submission.id, {("", "m"): 1.0})]
    with pytest.raises(Conflict, match="is done"):
        world.database.run(evaluations.retry, evaluation, now=NOW, actor="olga")
    with pytest.raises(NotFound):
        world.database.run(evaluations.retry, "nothing", now=NOW, actor="olga")


def test_what_was_rejected_is_not_retried(world: World) -> None:
    accepted = world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(submissions.reject, accepted.submission.id, "x", now=NOW, evaluation_id=evaluation, lease=lease)
    with pytest.raises(Conflict, match="was rejected"):
        world.database.run(evaluations.retry, evaluation, now=NOW, actor="olga")
    assert _row(world, evaluation).state == "cancelled"


def test_the_board_is_one_statement(world: World) -> None:
    for i in range(3):
        world.hand_in(bytes([i]), now=NOW + i * SECOND)
        _finish(world, i, i + 1)
    world.hand_in(b"still running")
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    engine = world.database._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        found = _boards(world)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert [scores for _, scores in found] == [{("", "metric-0"): i, ("", "metric-1"): i + 1} for i in (0.0, 1.0, 2.0)]
    assert len([statement for statement in statements if statement.lstrip().startswith("SELECT")]) == 1


def test_an_evaluation_without_scores_is_on_the_board_without_scores(world: World) -> None:
    accepted = world.hand_in(b"1")
    _finish(world)
    assert _boards(world) == [(accepted.submission.id, {})]


def _rescore(world: World, version: str = "2") -> int:
    return world.database.run(evaluations.rescore, world.stage.id, version, now=NOW + 2 * SECOND)


def _switch(world: World, version: str = "2") -> None:
    world.database.run(evaluations.switch, [world.stage.id], version, now=NOW, actor="olga")


def _finish_again(world: World) -> None:
    """Score what comes next ten times as high as the version before."""
    evaluation, lease = _claim(world)
    with world.database.read() as tx:
        (before,) = [
            found
            for found in evaluations.of_submission(tx, evaluations.by_id(tx, evaluation).submission_id)
            if found.scorer == "1"
        ]
        old = evaluations.scores(tx, before.id)
    found = [NewScore(score.metric, 10 * score.value) for score in old]
    world.database.run(evaluations.finish, evaluation, lease, found, now=NOW)


def test_scoring_again_stands_beside_and_is_switched_in_one_step(world: World) -> None:
    first, second = world.hand_in(b"1"), world.hand_in(b"2", team=1, now=NOW + SECOND)
    old = [_finish(world, 1.0), _finish(world, 2.0)]
    with pytest.raises(Conflict, match="2 evaluations by version '2' are missing"):
        _switch(world)
    assert _rescore(world) == 2
    assert _rescore(world) == 0
    _finish_again(world)
    assert [scores[("", "metric-0")] for _, scores in _boards(world)] == [1.0, 2.0]
    with pytest.raises(Conflict, match="0 evaluations by version '2' are missing and 1 have not ended"):
        _switch(world)
    _finish_again(world)
    assert [scores[("", "metric-0")] for _, scores in _boards(world)] == [1.0, 2.0]
    _switch(world)
    assert [scores[("", "metric-0")] for _, scores in _boards(world)] == [10.0, 20.0]
    assert [_row(world, evaluation).state for evaluation in old] == ["done", "done"]
    with world.database.read() as tx:
        for accepted in (first, second):
            found = evaluations.of_submission(tx, accepted.submission.id)
            assert [(e.scorer, e.counts) for e in found] == [("1", True), ("2", False)]
        line = audit.listing(tx, challenge_id=world.challenge.id)[0]
        assert (line.action, line.detail["from"], line.detail["to"]) == ("scorer.switch", "1", "2")
    # And back again, without anything being computed.
    _switch(world, "1")
    assert [scores[("", "metric-0")] for _, scores in _boards(world)] == [1.0, 2.0]
    # What comes now is scored by the version that is current.
    _switch(world)
    accepted = world.hand_in(b"3")
    with world.database.read() as tx:
        assert [e.scorer for e in evaluations.of_submission(tx, accepted.submission.id)] == ["2"]


def test_what_is_submitted_while_all_is_scored_again_is_not_forgotten(world: World) -> None:
    world.hand_in(b"1")
    _finish(world, 1.0)
    _rescore(world)
    _finish(world, 10.0)
    late = world.hand_in(b"2", now=NOW + SECOND)
    with pytest.raises(Conflict, match="1 evaluations by version '2' are missing"):
        _switch(world)
    assert _rescore(world) == 1
    _finish(world, 2.0)
    _finish(world, 20.0)
    _switch(world)
    assert _boards(world)[1] == (late.submission.id, {("", "metric-0"): 20.0})


def test_who_is_being_accepted_while_all_is_switched_is_waited_for(world: World) -> None:
    world.hand_in(b"1")
    _finish(world, 1.0)
    _rescore(world)
    _finish(world, 10.0)
    late, answers = world.upload(b"2"), list[str]()

    def switch() -> None:
        try:
            _switch(world)
            answers.append("switched")
        except Conflict:
            answers.append("one is missing")

    thread = threading.Thread(target=switch)
    with world.database.write() as tx:
        submissions.accept(
            tx, stage_id=world.stage.id, team_id=world.teams[0].id, account_id=world.captains[0], artifact=late,
            kind="code", name="x", splits=["test"], quotas=world.quotas, now=NOW + SECOND,
        )  # fmt: skip
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert answers == ["one is missing"]


def test_scoring_again_a_stage_that_is_not_there(world: World) -> None:
    with pytest.raises(NotFound):
        world.database.run(evaluations.rescore, "nothing", "2", now=NOW)


def test_failing_under_another_version_changes_no_submission(world: World) -> None:
    accepted = world.hand_in(b"1")
    _finish(world, 1.0)
    _rescore(world)
    evaluation, lease = _claim(world)
    world.database.run(evaluations.fail, evaluation, lease, "x", now=NOW)
    with world.database.read() as tx:
        assert submissions.by_id(tx, accepted.submission.id).state == "scored"
    assert len(_boards(world)) == 1


def test_a_switch_of_what_is_current_or_not_there(world: World) -> None:
    world.hand_in(b"1")
    _switch(world, "1")
    with pytest.raises(NotFound):
        world.database.run(evaluations.switch, [world.stage.id, "nothing"], "2", now=NOW, actor="olga")


class Challenge(RuleBasedStateMachine):
    """A stage with submissions, workers, sweeps and scorings again, in any order."""

    database: Database
    store: ArtifactStore

    def __init__(self) -> None:
        super().__init__()
        empty(self.database)
        self.world = make_world(self.database, self.store, teams_wanted=1)
        self.now = NOW
        self.leases: list[tuple[str, str]] = []
        self.scored: dict[str, float] = {}
        self.number = 0

    @rule()
    def submit(self) -> None:
        self.number += 1
        self.world.hand_in(str(self.number).encode(), now=self.now)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        job = self.database.run(queue.claim, [EVALUATE], worker=worker, lease=MINUTE, now=self.now)
        if job is not None:
            assert job.subject not in self.scored
            self.leases.append((job.subject, job.lease or ""))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["finish", "finish", "fail", "error"]))
    def end(self, data: st.DataObject, how: str) -> None:
        evaluation, lease = data.draw(st.sampled_from(self.leases))
        self.number += 1
        try:
            if how == "finish":
                score = [NewScore("m", self.number)]
                self.database.run(evaluations.finish, evaluation, lease, score, now=self.now)
                assert evaluation not in self.scored
                self.scored[evaluation] = self.number
            elif how == "fail":
                self.database.run(evaluations.fail, evaluation, lease, "x", now=self.now)
            else:
                self._error(evaluation, lease)
        except LeaseLost:
            pass

    def _error(self, evaluation: str, lease: str) -> None:
        with self.database.write() as tx:
            job = queue.of(tx, EVALUATE, evaluation)
            assert job is not None
            queue.fail(tx, job.id, lease, "x", now=self.now, most_attempts=3)

    @rule()
    def silence(self) -> None:
        self.now += 2 * MINUTE
        self.database.run(queue.sweep, self.now, most_losses=3)

    @rule()
    def restart(self) -> None:
        self.database.run(queue.release_worker, "w1", now=self.now, most_losses=3)

    @rule(version=st.sampled_from(["2", "3"]))
    def score_again(self, version: str) -> None:
        with self.database.write() as tx:
            try:
                evaluations.switch(tx, [self.world.stage.id], version, now=self.now, actor="olga")
            except Conflict:
                evaluations.rescore(tx, self.world.stage.id, version, now=self.now)

    @invariant()
    def everything_agrees(self) -> None:
        with self.database.read() as tx:
            rows = tx.execute(
                select(Evaluation, Job.state).outerjoin(Job, (Job.subject == Evaluation.id) & (Job.kind == EVALUATE))
            ).all()
            scores = tx.execute(select(Score.evaluation_id, Score.value)).all()
            pending = set(tx.execute(select(Submission.id).where(Submission.state == "pending")).scalars())
        # No evaluation without its job, and they end together.
        ends = {"queued": "pending", "running": "pending", "done": "done", "failed": "failed", "cancelled": "cancelled"}
        assert all(ends[job] == evaluation.state for evaluation, job in rows)
        assert {evaluation: value for evaluation, value in scores} == self.scored  # noqa: C416
        assert len(scores) == len(self.scored)
        assert pending == {e.submission_id for e, _ in rows if e.counts and e.state == "pending"}

    def teardown(self) -> None:
        for _ in range(50):
            self.now += HOUR
            self.database.run(queue.sweep, self.now, most_losses=3)
            while self.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=self.now):
                pass
        with self.database.read() as tx:
            assert set(tx.execute(select(Submission.state)).scalars()) <= {"scored", "failed"}


def test_whatever_happens_every_submission_ends_and_is_scored_once_at_most(
    database: Database, store: ArtifactStore
) -> None:
    machine = type("ChallengeOf", (Challenge,), {"database": database, "store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6 if database.is_sqlite else 3,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _work(url: str) -> None:
    """A worker that begins by giving free what its earlier self held."""
    database = Database(url)
    database.run(queue.release_worker, "w", now=NOW, most_losses=1000)
    while (job := database.run(queue.claim, [EVALUATE], worker="w", lease=HOUR, now=NOW)) is not None:
        lease = job.lease or ""
        for part in range(3):
            found = [NewOutcome(f"{part}-{i}", i) for i in range(20)]
            database.run(evaluations.add_outcomes, job.subject, lease, found)
        database.run(evaluations.finish, job.subject, lease, [NewScore("m", 1)], now=NOW)


def test_a_worker_that_is_killed_at_any_moment_loses_nothing_and_scores_nothing_twice(world: World) -> None:
    accepted = [world.hand_in(str(i).encode(), team=i % 2) for i in range(30)]
    url = world.database._target.render_as_string(hide_password=False)
    context = multiprocessing.get_context("fork")
    moments = random.Random(0)
    for _ in range(10):
        worker = context.Process(target=_work, args=(url,))
        worker.start()
        worker.join(moments.uniform(0.01, 0.12))
        worker.kill()
        worker.join()
    _work(url)
    with world.database.read() as tx:
        for each in accepted:
            assert submissions.by_id(tx, each.submission.id).state == "scored"
            (evaluation,) = evaluations.of_submission(tx, each.submission.id)
            assert len(evaluations.scores(tx, evaluation.id)) == 1
            assert len(evaluations.outcomes(tx, evaluation.id)) == 60
        assert queue.counts(tx) == {(EVALUATE, "done"): 30}


def test_documents_are_the_same_text_on_both(world: World) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    report = {"b": [1, 2.5, None, True], "a": {"ü": "\x00\ud800"}}
    world.database.run(evaluations.finish, evaluation, lease, [], report=report, now=NOW)
    assert _row(world, evaluation).report == report
    with world.database.read() as tx:
        text = tx.execute(sqlalchemy.text("SELECT report FROM evaluations")).scalar()
    assert text == '{"a":{"\\u00fc":"\\u0000\\ud800"},"b":[1,2.5,null,true]}'


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("report", [{"a": math.nan}, {"a": math.inf}, {"a": object()}])
def test_a_report_that_is_no_json_is_refused(world: World, report: dict[str, object]) -> None:
    world.hand_in(b"1")
    evaluation, lease = _claim(world)
    with pytest.raises(InputError, match="the report cannot be said in JSON"):
        world.database.run(evaluations.finish, evaluation, lease, [], report=report, now=NOW)
    with pytest.raises(InputError, match="the report cannot be said in JSON"):
        world.database.run(evaluations.fail, evaluation, lease, "x", report=report, now=NOW)
