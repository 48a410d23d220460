"""What is accepted is accepted whole and counted once, whoever else submits at the same moment."""

import multiprocessing
import threading
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from palladion.challenge import quotas as quota_rules
from palladion.challenge.settings import Quota, Quotas
from palladion.errors import InputError, PalladionError
from palladion.storage import audit, evaluations, queue, stages, submissions, teams
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, LeaseLost, NotFound, Refused
from palladion.storage.submissions import Accepted
from palladion.storage.tables import Evaluation, Job, Submission
from tests.storage.conftest import DAY, HOUR, MINUTE, NOW, SECOND, World, empty, make_world


def _claim(world: World, now: datetime = NOW) -> tuple[str, str]:
    """The (evaluation, lease) of the next job."""
    job = world.database.run(queue.claim, [evaluations.EVALUATE], worker="w", lease=MINUTE, now=now)
    assert job is not None
    assert job.lease is not None
    return job.subject, job.lease


def _fail(world: World, now: datetime = NOW) -> None:
    evaluation, lease = _claim(world, now)
    world.database.run(evaluations.fail, evaluation, lease, "it crashed", now=now)


def _score(world: World, now: datetime = NOW) -> None:
    evaluation, lease = _claim(world, now)
    world.database.run(evaluations.finish, evaluation, lease, [evaluations.NewScore("cross_entropy", 0.5)], now=now)


def _count(world: World, table: type[Submission | Evaluation | Job]) -> int:
    with world.database.read() as tx:
        return tx.execute(select(func.count()).select_from(table)).scalar_one()


def _state(world: World, accepted: Accepted) -> str:
    with world.database.read() as tx:
        return submissions.by_id(tx, accepted.submission.id).state


def test_a_submission_comes_with_its_evaluation_its_job_and_a_line_in_the_log(world: World) -> None:
    accepted = world.hand_in(b"one")
    row = accepted.submission
    assert accepted.created
    assert (row.ordinal, row.repeat, row.state, row.kind, row.name) == (1, 0, "pending", "code", "detector.zip")
    with world.database.read() as tx:
        (evaluation,) = evaluations.of_submission(tx, row.id)
        assert (evaluation.split, evaluation.scorer, evaluation.state, evaluation.counts) == (
            "test",
            "1",
            "pending",
            True,
        )
        job = queue.of(tx, evaluations.EVALUATE, evaluation.id)
        assert job is not None
        assert job.state == "queued"
        line = audit.listing(tx, challenge_id=world.challenge.id)[0]
        assert (line.actor, line.action, line.subject) == ("trojai-0", "submission.accept", f"submission:{row.id}")
        assert [found.id for found in submissions.of_artifact(tx, row.artifact)] == [row.id]


def test_ordinals_count_per_team_and_stage(world: World) -> None:
    assert [world.hand_in(bytes([i])).submission.ordinal for i in range(3)] == [1, 2, 3]
    assert world.hand_in(b"x", team=1).submission.ordinal == 1
    with world.database.read() as tx:
        assert [row.ordinal for row in submissions.of_team(tx, world.teams[0].id)] == [3, 2, 1]
        assert len(submissions.of_stage(tx, world.stage.id)) == 4
        assert submissions.of_stage(tx, world.stage.id, state="scored") == []


def test_the_same_bytes_are_one_submission(world: World) -> None:
    world.quotas = Quotas(attempted=Quota(per_day=1))
    first = world.hand_in(b"same")
    # At no cost, and even when the quota is used up.
    second = world.hand_in(b"same")
    assert (second.created, second.submission.id) == (False, first.submission.id)
    assert _count(world, Submission) == _count(world, Evaluation) == _count(world, Job) == 1
    # Another team with the same bytes is another matter.
    assert world.hand_in(b"same", team=1).created


def test_the_same_bytes_are_accepted_again_on_purpose(world: World) -> None:
    sha256 = world.upload(b"same")
    world.submit(sha256)
    again = world.submit(sha256, again=True)
    assert again.created
    assert (again.submission.repeat, again.submission.ordinal) == (1, 2)
    assert world.submit(sha256).submission.id == again.submission.id


def test_the_same_bytes_are_found_after_the_stage_has_closed(world: World) -> None:
    """Whoever did not hear the answer asks again, and that may take a while."""
    sha256 = world.upload(b"same")
    world.submit(sha256)
    world.database.run(stages.change, world.stage.id, "closed", now=NOW, actor="olga")
    assert not world.submit(sha256).created
    with pytest.raises(Refused, match="round-0 is closed and takes no submissions"):
        world.submit(sha256, again=True)


def test_a_rolling_day(world: World) -> None:
    world.quotas = Quotas(attempted=Quota(per_day=2))
    world.hand_in(b"1", now=NOW)
    world.hand_in(b"2", now=NOW + HOUR)
    with pytest.raises(Refused) as refused:
        world.hand_in(b"3", now=NOW + 2 * HOUR)
    assert refused.value.next_slot == NOW + DAY
    assert "2 of 2 attempted" in str(refused.value)
    with pytest.raises(Refused):
        world.hand_in(b"3", now=NOW + DAY - SECOND)
    assert world.hand_in(b"3", now=NOW + DAY).created
    with pytest.raises(Refused) as refused:
        world.hand_in(b"4", now=NOW + DAY)
    assert refused.value.next_slot == NOW + DAY + HOUR


def test_what_failed_is_an_attempt_and_no_score(world: World) -> None:
    world.quotas = Quotas(scored=Quota(per_day=1), attempted=Quota(per_day=3))
    world.hand_in(b"1")
    with pytest.raises(Refused, match="scored"):
        world.hand_in(b"2")
    _fail(world)
    world.hand_in(b"2")
    _score(world)
    with pytest.raises(Refused, match="1 of 1 scored"):
        world.hand_in(b"3")


def test_what_was_rejected_costs_nothing(world: World) -> None:
    world.quotas = Quotas(attempted=Quota(total=1))
    accepted = world.hand_in(b"1")
    evaluation, lease = _claim(world)
    world.database.run(
        submissions.reject,
        accepted.submission.id,
        "no entrypoint.py",
        now=NOW,
        evaluation_id=evaluation,
        lease=lease,
    )
    with world.database.read() as tx:
        row = submissions.by_id(tx, accepted.submission.id)
        assert (row.state, row.reason, row.finished) == ("rejected", "no entrypoint.py", NOW)
        (found,) = evaluations.of_submission(tx, row.id)
        job = queue.of(tx, evaluations.EVALUATE, found.id)
        assert job is not None
        assert (found.state, job.state) == ("cancelled", "cancelled")
    with pytest.raises(LeaseLost):
        world.database.run(evaluations.finish, evaluation, lease, [], now=NOW)
    assert world.hand_in(b"2").created
    with pytest.raises(Refused, match="all 1 attempted submissions are used up") as refused:
        world.hand_in(b"3")
    assert refused.value.next_slot is None


def test_only_who_holds_the_job_rejects(world: World) -> None:
    accepted = world.hand_in(b"1")
    evaluation, _ = _claim(world)
    with pytest.raises(LeaseLost):
        world.database.run(
            submissions.reject, accepted.submission.id, "x", now=NOW, evaluation_id=evaluation, lease="another"
        )
    assert _state(world, accepted) == "pending"


def test_so_many_at_a_time(world: World) -> None:
    world.quotas = Quotas(concurrent=2)
    world.hand_in(b"1")
    world.hand_in(b"2")
    with pytest.raises(Refused, match="2 of 2 submissions at a time") as refused:
        world.hand_in(b"3")
    assert refused.value.next_slot is None
    _score(world)
    assert world.hand_in(b"3").created


def test_a_quota_is_of_a_team_in_a_track(world: World) -> None:
    world.quotas = Quotas(attempted=Quota(total=1))
    world.hand_in(b"1")
    assert world.hand_in(b"1", team=1).created
    stage = world.stages["development"]
    world.database.run(stages.change, stage.id, "open", now=NOW, actor="olga")
    accepted = world.database.run(
        submissions.accept,
        stage_id=stage.id,
        team_id=world.teams[0].id,
        account_id=world.captains[0],
        artifact=world.upload(b"labels"),
        kind="outputs",
        name="x.zip",
        splits=["test"],
        quotas=world.quotas,
        now=NOW,
    )
    assert accepted.created
    # The next stage of the same track goes on counting.
    for to in ("closed", "concluded"):
        world.database.run(stages.change, world.stage.id, to, now=NOW, actor="olga")
    world.database.run(stages.change, world.stages["round-1"].id, "open", now=NOW, actor="olga")
    world.stages["round-0"] = world.stages["round-1"]
    with pytest.raises(Refused, match="used up"):
        world.hand_in(b"2")


def test_a_stage_that_is_not_open_takes_nothing(world: World) -> None:
    world.stages["round-0"] = world.stages["round-1"]
    with pytest.raises(Refused, match="round-1 is not open yet"):
        world.hand_in(b"1")


def test_the_date_closes_a_stage_even_if_nobody_does(world: World) -> None:
    for to in ("closed", "concluded"):
        world.database.run(stages.change, world.stage.id, to, now=NOW, actor="olga")
    world.stages["round-0"] = world.stages["round-1"]
    world.database.run(stages.change, world.stage.id, "open", now=NOW, actor="olga")
    closes = datetime.fromisoformat("2026-03-05T09:00:00Z")
    assert world.hand_in(b"1", now=closes - timedelta(microseconds=1)).created
    with pytest.raises(Refused, match="takes no submissions"):
        world.hand_in(b"2", now=closes)


def test_a_stage_that_is_being_concluded_takes_nothing(world: World) -> None:
    world.database.run(stages.begin_step, world.stage.id, "close", now=NOW)
    with pytest.raises(Refused, match="is being concluded"):
        world.hand_in(b"1")


def test_only_approved_teams_and_their_members_submit(world: World) -> None:
    sha256 = world.upload(b"1")
    world.database.run(teams.set_state, world.teams[0].id, "pending", now=NOW, actor="olga")
    with pytest.raises(Refused, match="Team 0 is pending; only approved teams"):
        world.submit(sha256)
    world.captains[1] = world.captains[0]
    with pytest.raises(Refused, match="only members"):
        world.submit(sha256, team=1)


def test_a_file_is_submitted_only_by_who_has_it(world: World) -> None:
    """A checksum is no secret: knowing it does not make the file one's own."""
    with pytest.raises(NotFound, match="upload it first"):
        world.submit("0" * 64)
    sha256 = world.upload(b"a secret detector")
    with pytest.raises(NotFound, match="upload it first"):
        world.submit(sha256, team=1)
    assert world.submit(sha256).created


def test_teams_stages_and_splits_that_are_not_there(world: World) -> None:
    sha256 = world.upload(b"1")
    other = make_world(world.database, world.store, name="another")
    world.teams[0] = other.teams[0]
    with pytest.raises(NotFound, match="no team"):
        world.submit(sha256)
    for ids, message in ((("nothing", "nothing"), "no stage"), ((world.stage.id, "nothing"), "no team")):
        with pytest.raises(NotFound, match=message):
            world.database.run(
                submissions.accept, stage_id=ids[0], team_id=ids[1], account_id="x", artifact=sha256, kind="code",
                name="x", splits=["test"], quotas=Quotas(), now=NOW,
            )  # fmt: skip
    for splits in ([], ["test", "test"]):
        with pytest.raises(InputError, match="at least one split"):
            world.database.run(
                submissions.accept, stage_id="x", team_id="x", account_id="x", artifact=sha256, kind="code",
                name="x", splits=splits, quotas=Quotas(), now=NOW,
            )  # fmt: skip
    assert _count(world, Submission) == 0


def test_a_submission_with_two_splits_has_ended_when_both_have(world: World) -> None:
    accepted = world.database.run(
        submissions.accept, stage_id=world.stage.id, team_id=world.teams[0].id, account_id=world.captains[0],
        artifact=world.upload(b"1"), kind="code", name="x", splits=["smoke", "test"], quotas=Quotas(), now=NOW,
    )  # fmt: skip
    _score(world)
    assert _state(world, accepted) == "pending"
    _fail(world)
    assert _state(world, accepted) == "failed"
    with world.database.read() as tx:
        assert submissions.by_id(tx, accepted.submission.id).reason == "it crashed"
        assert evaluations.board(tx, world.stage.id, "test") == evaluations.board(tx, world.stage.id, "smoke") == []


def test_cancelling_takes_the_job_away_and_a_score_from_the_board(world: World) -> None:
    running, scored = world.hand_in(b"1"), world.hand_in(b"2", team=1)
    evaluation, lease = _claim(world)
    _score(world)
    with world.database.read() as tx:
        assert len(evaluations.board(tx, world.stage.id, "test")) == 1
    for accepted in (running, scored):
        world.database.run(submissions.cancel, accepted.submission.id, "a mistake", now=NOW, actor="olga")
        assert _state(world, accepted) == "cancelled"
        with pytest.raises(Conflict, match="cancelled already"):
            world.database.run(submissions.cancel, accepted.submission.id, "x", now=NOW, actor="olga")
    with pytest.raises(LeaseLost):
        world.database.run(evaluations.finish, evaluation, lease, [], now=NOW)
    with world.database.read() as tx:
        assert evaluations.board(tx, world.stage.id, "test") == []
        earlier = submissions.earlier(tx, world.teams[0].id, world.challenge.id, "detection")
        assert [found.ending for found in earlier] == [quota_rules.Ending.FAILED]


def _storm(world: World, hashes: list[str], answers: "multiprocessing.Queue[str]", *, own: bool) -> None:
    if own:
        world.database = Database(world.database._target.render_as_string(hide_password=False))
    start = threading.Barrier(len(hashes))

    def submit(sha256: str) -> None:
        start.wait()
        try:
            answers.put("created" if world.submit(sha256).created else "there")
        except Refused as refused:
            answers.put("refused" if refused.next_slot == NOW + DAY else f"refused until {refused.next_slot}")
        except PalladionError as error:
            answers.put(repr(error))

    threads = [threading.Thread(target=submit, args=(sha256,)) for sha256 in hashes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if own:
        world.database.close()


def _outcome(answers: "multiprocessing.Queue[str]", number: int) -> dict[str, int]:
    found = [answers.get(timeout=60) for _ in range(number)]
    return {answer: found.count(answer) for answer in set(found)}


def test_of_fifty_at_once_exactly_as_many_as_allowed(world: World) -> None:
    world.quotas = Quotas(scored=Quota(per_day=3))
    answers: multiprocessing.Queue[str] = multiprocessing.Queue()
    _storm(world, [world.upload(bytes([i])) for i in range(50)], answers, own=False)
    assert _outcome(answers, 50) == {"created": 3, "refused": 47}
    assert _count(world, Submission) == _count(world, Evaluation) == _count(world, Job) == 3


def test_of_fifty_at_once_from_five_processes_exactly_as_many_as_allowed(world: World) -> None:
    world.quotas = Quotas(scored=Quota(per_day=3))
    hashes = [world.upload(bytes([i])) for i in range(50)]
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()
    processes = [
        context.Process(target=_storm, args=(world, hashes[i::5], answers), kwargs={"own": True}) for i in range(5)
    ]
    for process in processes:
        process.start()
    assert _outcome(answers, 50) == {"created": 3, "refused": 47}
    for process in processes:
        process.join()
    with world.database.read() as tx:
        assert [row.ordinal for row in submissions.of_stage(tx, world.stage.id)] == [1, 2, 3]


def test_the_same_bytes_at_once_are_one_submission(world: World) -> None:
    answers: multiprocessing.Queue[str] = multiprocessing.Queue()
    _storm(world, [world.upload(b"same")] * 20, answers, own=False)
    assert _outcome(answers, 20) == {"created": 1, "there": 19}


def test_a_stage_that_is_closed_meanwhile_keeps_nothing_out_and_lets_nothing_in_later(world: World) -> None:
    """Whatever the order: what was accepted was accepted before the stage was closed."""
    hashes = [world.upload(bytes([i]), world.captains[i % 2]) for i in range(20)]
    start = threading.Barrier(21)
    answers: list[str] = []

    def submit(i: int) -> None:
        start.wait()
        try:
            world.submit(hashes[i], team=i % 2)
            answers.append("created")
        except Refused:
            answers.append("refused")

    seen: list[int] = []

    def close() -> None:
        start.wait()
        world.database.run(stages.change, world.stage.id, "closed", now=NOW, actor="olga")
        seen.append(_count(world, Submission))

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(20)] + [threading.Thread(target=close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert answers.count("created") == _count(world, Submission) == seen[0]


_EVENTS = st.lists(st.tuples(st.sampled_from(["submit", "score", "fail"]), st.integers(0, 30)), min_size=1, max_size=25)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(events=_EVENTS, per_day=st.integers(1, 4), concurrent=st.integers(1, 3))
def test_no_order_of_events_gets_round_a_quota(
    database: Database, store: ArtifactStore, events: list[tuple[str, int]], per_day: int, concurrent: int
) -> None:
    empty(database)
    world = make_world(database, store, teams_wanted=1)
    world.quotas = Quotas(scored=Quota(per_day=per_day), attempted=Quota(per_day=6), concurrent=concurrent)
    now, slots = NOW, list[tuple[datetime, datetime | None]]()
    for i, (event, hours) in enumerate(events):
        now += hours * HOUR
        if event == "submit":
            try:
                world.hand_in(str(i).encode(), now=now)
            except Refused as refused:
                slots.append((now, refused.next_slot))
        else:
            job = database.run(queue.claim, [evaluations.EVALUATE], worker="w", lease=MINUTE, now=now)
            if job is not None and event == "score":
                database.run(evaluations.finish, job.subject, job.lease or "", [], now=now)
            elif job is not None:
                database.run(evaluations.fail, job.subject, job.lease or "", "x", now=now)
    with database.read() as tx:
        rows = submissions.of_stage(tx, world.stage.id)
    assert all(slot is None or slot > at for at, slot in slots)
    for row in rows:
        day = [other for other in rows if row.created <= other.created < row.created + DAY]
        assert len(day) <= 6
        assert sum(other.state != "failed" for other in day) <= per_day
    assert sum(row.state == "pending" for row in rows) <= concurrent


def test_the_name_of_a_file_is_one_line_that_can_be_shown(world: World) -> None:
    accepted = world.database.run(
        submissions.accept, stage_id=world.stage.id, team_id=world.teams[0].id, account_id=world.captains[0],
        artifact=world.upload(b"1"), kind="code", name="a\x1b[2J\n\x00b\ud800" + "x" * 500, splits=["test"],
        quotas=Quotas(), now=NOW,
    )  # fmt: skip
    name = accepted.submission.name
    assert name.startswith("a?[2J ?b?xxx")
    assert len(name) == 200
