"""Evaluations: one submission on one split by one version of the scorer, and what came of it.

An evaluation and its job are made together and end together. Whoever evaluates names the lease of the job in everything
it writes; a worker that was given up for dead can add no outcome and no score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from palladion.errors import InputError
from palladion.storage import audit, queue
from palladion.storage.database import insert
from palladion.storage.endings import EVALUATE, end_evaluation
from palladion.storage.errors import Conflict, LeaseLost, NotFound
from palladion.storage.ids import new_id
from palladion.storage.tables import Evaluation, Job, Outcome, PointScores, Score, Stage, Submission, Team, json_text
from palladion.storage.texts import check_word, plain

__all__ = [
    "EVALUATE",
    "Entry",
    "NewOutcome",
    "NewScore",
    "add",
    "add_outcomes",
    "board",
    "by_id",
    "fail",
    "finish",
    "keep_points",
    "must_hold",
    "of_submission",
    "outcomes",
    "point_scores",
    "rescore",
    "retry",
    "scores",
    "switch",
]

_CHUNK = 5000
_MESSAGE = 4000


@dataclass(frozen=True, slots=True)
class NewOutcome:
    """What happened on one data point: an answer or an error.

    Attributes:
        point: name of the data point.
        answer: what JSON can say; None where there is an error.
        error: from a closed vocabulary; None where there is an answer.
        seconds: wall-clock time.
        memory: peak, in bytes.
        processor_seconds: time of processors.
        message: the error in words; None where they may tell what is sealed.
    """

    point: str
    answer: Any | None = None
    error: str | None = None
    seconds: float | None = None
    memory: int | None = None
    processor_seconds: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class NewScore:
    """One metric of an evaluation.

    Attributes:
        metric: its name.
        value: a finite number.
        task: of which part; empty: of the whole.
        low, high: the interval, where there is one.
    """

    metric: str
    value: float
    task: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission on a leaderboard, before it is ranked and before anybody may see it.

    Attributes:
        team_id, team: whose.
        submission_id, ordinal, created: which.
        evaluation_id: by which evaluation.
        report: what the scorer said beside the scores.
        scores: by (task, metric).
    """

    team_id: str
    team: str
    submission_id: str
    ordinal: int
    created: datetime
    evaluation_id: str
    report: dict[str, Any]
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)


def add(
    tx: Session,
    submission_id: str,
    split: str,
    *,
    scorer: str,
    now: datetime,
    counts: bool = False,
    priority: int = 0,
) -> Evaluation:
    """The evaluation of this submission on this split by this version of the scorer: a new one with its job, or the one
    that there is.

    Args:
        tx: a write transaction.
        submission_id: the submission.
        split: the split.
        scorer: version of the scorer.
        now: the time.
        counts: whether the submission's own state depends on it.
        priority: of the job.
    """
    check_word(split, "the name of a split")
    check_word(scorer, "the version of a scorer")
    values = {
        "id": new_id(),
        "submission_id": submission_id,
        "split": split,
        "scorer": scorer,
        "counts": counts,
        "state": "pending",
        "report": {},
        "created": now,
    }
    tx.execute(
        insert(tx, Evaluation)
        .values(values)
        .on_conflict_do_nothing(index_elements=["submission_id", "split", "scorer"])
    )
    evaluation = tx.execute(
        select(Evaluation).where(
            Evaluation.submission_id == submission_id, Evaluation.split == split, Evaluation.scorer == scorer
        ),
        execution_options={"populate_existing": True},
    ).scalar_one()
    queue.enqueue(tx, EVALUATE, evaluation.id, priority=priority, now=now)
    return evaluation


def by_id(tx: Session, evaluation_id: str) -> Evaluation:
    """The evaluation as it is now.

    Raises:
        NotFound: there is none.
    """
    evaluation = tx.get(Evaluation, evaluation_id, populate_existing=True)
    if evaluation is None:
        raise NotFound(f"there is no evaluation {evaluation_id[:40]!a}")
    return evaluation


def of_submission(tx: Session, submission_id: str) -> list[Evaluation]:
    """The evaluations of a submission, by split, the oldest version of the scorer first."""
    statement = select(Evaluation).where(Evaluation.submission_id == submission_id)
    return list(
        tx.execute(
            statement.order_by(Evaluation.split, Evaluation.created, Evaluation.id),
            execution_options={"populate_existing": True},
        ).scalars()
    )


def outcomes(tx: Session, evaluation_id: str) -> list[Outcome]:
    """The outcomes of an evaluation, by data point."""
    statement = select(Outcome).where(Outcome.evaluation_id == evaluation_id).order_by(Outcome.point)
    return list(tx.execute(statement).scalars())


def scores(tx: Session, evaluation_id: str) -> list[Score]:
    """The scores of an evaluation, by task and metric."""
    statement = select(Score).where(Score.evaluation_id == evaluation_id).order_by(Score.task, Score.metric)
    return list(tx.execute(statement).scalars())


def point_scores(tx: Session, evaluation_ids: Iterable[str]) -> dict[str, bytes]:
    """What each data point of these evaluations scored, by evaluation, where it is kept; see :func:`finish`."""
    statement = select(PointScores.evaluation_id, PointScores.data)
    found: dict[str, bytes] = {}
    wanted = sorted(set(evaluation_ids))
    for start in range(0, len(wanted), _CHUNK):
        rows = tx.execute(statement.where(PointScores.evaluation_id.in_(wanted[start : start + _CHUNK])))
        found |= {evaluation_id: data for evaluation_id, data in rows}  # noqa: C416 - rows are no tuples
    return found


def keep_points(tx: Session, evaluation_id: str, points: bytes) -> None:
    """Keep what each data point scored of an evaluation that was ended without it; what is there stays."""
    values = {"evaluation_id": evaluation_id, "data": points}
    tx.execute(insert(tx, PointScores).values(values).on_conflict_do_nothing(index_elements=["evaluation_id"]))


def must_hold(tx: Session, evaluation_id: str, lease: str) -> Job:
    """The job of the evaluation, which stays the caller's to the end of the transaction.

    Raises:
        LeaseLost: it is not the caller's.
    """
    job = queue.of(tx, EVALUATE, evaluation_id)
    if job is None or not queue.holds(tx, job.id, lease):
        raise LeaseLost(f"the evaluation {evaluation_id[:40]!a} is not held by this lease any more")
    return job


def add_outcomes(tx: Session, evaluation_id: str, lease: str, found: Iterable[NewOutcome]) -> None:
    """Add outcomes. A data point that has one keeps it, so that the same may be sent twice.

    Raises:
        LeaseLost: the job is not the caller's; nothing is added.
        InputError: an outcome is neither an answer nor an error, or is not finite.
    """
    rows = [_outcome(evaluation_id, outcome) for outcome in found]
    must_hold(tx, evaluation_id, lease)
    statement = insert(tx, Outcome).on_conflict_do_nothing(index_elements=["evaluation_id", "point"])
    for start in range(0, len(rows), _CHUNK):
        tx.execute(statement, rows[start : start + _CHUNK])


def finish(
    tx: Session,
    evaluation_id: str,
    lease: str,
    found: Iterable[NewScore],
    *,
    now: datetime,
    report: Mapping[str, Any] | None = None,
    points: bytes | None = None,
) -> None:
    """The evaluation is done: its scores, its state, its submission's and its job's, in one transaction.

    Args:
        tx: a write transaction.
        evaluation_id: the evaluation.
        lease: of its job.
        found: the scores, each metric of a task once.
        now: the time.
        report: what else there is to say; JSON without NaN.
        points: what each data point scored, as :meth:`palladion.scoring.PointScores.to_bytes` has it.

    Raises:
        LeaseLost: the job is not the caller's: it was given to somebody else, or this was done before. Nothing has
            changed.
        InputError: a score is not finite, or there twice, or the report is no JSON.
    """
    rows = [_score(evaluation_id, score) for score in found]
    if len({(row["task"], row["metric"]) for row in rows}) != len(rows):
        raise InputError("a score is there twice")
    _check_document(report, "the report")
    job = must_hold(tx, evaluation_id, lease)
    queue.finish(tx, job.id, lease, now=now)
    if rows:
        tx.execute(insert(tx, Score), rows)
    if points is not None:
        tx.execute(insert(tx, PointScores), [{"evaluation_id": evaluation_id, "data": points}])
    if not end_evaluation(tx, evaluation_id, "done", None, now=now, report=report or {}):
        raise LeaseLost(f"the evaluation {evaluation_id[:40]!a} has ended already")


def fail(
    tx: Session,
    evaluation_id: str,
    lease: str,
    reason: str,
    *,
    now: datetime,
    report: Mapping[str, Any] | None = None,
) -> None:
    """The evaluation has failed for good, by the submission's own fault; its job fails with it.

    Where the fault may pass, use :func:`palladion.storage.queue.fail` instead.

    Raises:
        LeaseLost: the job is not the caller's; nothing has changed.
    """
    _check_document(report, "the report")
    job = must_hold(tx, evaluation_id, lease)
    if report is not None:
        tx.execute(
            update(Evaluation).where(Evaluation.id == evaluation_id).values(report=dict(report)),
            execution_options={"synchronize_session": False},
        )
    queue.fail(tx, job.id, lease, reason, most_attempts=1, now=now)


def retry(tx: Session, evaluation_id: str, *, now: datetime, actor: str) -> Evaluation:
    """Evaluate once more what has failed or was cancelled, as if it had never been tried.

    Raises:
        NotFound: there is no such evaluation.
        Conflict: it has neither failed nor was it cancelled, or its submission was rejected.
    """
    job = queue.of(tx, EVALUATE, evaluation_id)
    evaluation = by_id(tx, evaluation_id)
    if job is None or evaluation.state not in ("failed", "cancelled"):
        raise Conflict(f"the evaluation is {evaluation.state}; only one that failed or was cancelled can be retried")
    queue.retry(tx, job.id, now=now)
    evaluation.state, evaluation.finished, evaluation.reason, evaluation.report = "pending", None, None, {}
    tx.flush()
    tx.execute(delete(Outcome).where(Outcome.evaluation_id == evaluation_id))
    submission = tx.execute(
        select(Submission).where(Submission.id == evaluation.submission_id).with_for_update(),
        execution_options={"populate_existing": True},
    ).scalar_one()
    if submission.state == "rejected":
        raise Conflict("the submission was rejected; its sender has to submit another")
    if evaluation.counts and submission.state != "pending":
        submission.state, submission.finished, submission.reason = "pending", None, None
        tx.flush()
    audit.add(
        tx,
        actor=actor,
        action="evaluation.retry",
        subject=f"evaluation:{evaluation_id}",
        challenge_id=submission.challenge_id,
        now=now,
    )
    return evaluation


def board(tx: Session, stage_id: str, split: str) -> list[Entry]:
    """What a leaderboard shows: every scored submission of the stage, by the stage's current version of the scorer.

    One statement, so that nothing of one version stands beside something of another. Not ranked, and with everything:
    who may see what is decided by :mod:`palladion.challenge.visibility`.
    """
    rows = tx.execute(
        select(Submission, Team.name, Evaluation, Score)
        .join(Stage, Stage.id == Submission.stage_id)
        .join(Team, Team.id == Submission.team_id)
        .join(
            Evaluation,
            and_(
                Evaluation.submission_id == Submission.id,
                Evaluation.scorer == Stage.scorer,
                Evaluation.split == split,
                Evaluation.state == "done",
            ),
        )
        .outerjoin(Score, Score.evaluation_id == Evaluation.id)
        .where(Stage.id == stage_id, Submission.state == "scored")
        .order_by(Submission.created, Submission.ordinal, Submission.id, Score.task, Score.metric)
    )
    entries: dict[str, Entry] = {}
    for submission, team, evaluation, score in rows:
        entry = entries.get(submission.id)
        if entry is None:
            entry = entries[submission.id] = Entry(
                team_id=submission.team_id,
                team=team,
                submission_id=submission.id,
                ordinal=submission.ordinal,
                created=submission.created,
                evaluation_id=evaluation.id,
                report=evaluation.report,
            )
        if score is not None:
            entry.scores[score.task, score.metric] = score
    return list(entries.values())


def rescore(tx: Session, stage_id: str, scorer: str, *, now: datetime, priority: int = -10) -> int:
    """Add evaluations by another version of the scorer beside those by the current one.

    What was added before is not added again: call it until :func:`switch` finds nothing missing.

    Args:
        tx: a write transaction.
        stage_id: the stage.
        scorer: the other version.
        now: the time.
        priority: of the jobs; what is new comes first.

    Returns:
        How many were added.

    Raises:
        NotFound: there is no such stage.
    """
    if tx.get(Stage, stage_id) is None:
        raise NotFound(f"there is no stage {stage_id[:40]!a}")
    missing = _missing(tx, [stage_id], scorer)
    for submission_id, split in missing:
        add(tx, submission_id, split, scorer=scorer, priority=priority, now=now)
    return len(missing)


def switch(tx: Session, stage_ids: Sequence[str], scorer: str, *, now: datetime, actor: str) -> None:
    """Make another version of the scorer the current one of these stages, in one step.

    Raises:
        NotFound: there is no such stage.
        Conflict: submissions would vanish from the leaderboard, because they have no evaluation of this version that
            has ended.
    """
    stages = list(
        tx.execute(
            select(Stage).where(Stage.id.in_(stage_ids)).order_by(Stage.id).with_for_update(),
            execution_options={"populate_existing": True},
        ).scalars()
    )
    if len(stages) != len(set(stage_ids)):
        raise NotFound("there is no such stage")
    changing = [stage for stage in stages if stage.scorer != scorer]
    ids = [stage.id for stage in changing]
    missing = len(_missing(tx, ids, scorer))
    running = tx.execute(
        select(func.count())
        .select_from(Evaluation)
        .join(Submission, Submission.id == Evaluation.submission_id)
        .where(Submission.stage_id.in_(ids), Evaluation.scorer == scorer, Evaluation.state == "pending")
    ).scalar_one()
    if missing or running:
        raise Conflict(
            f"{missing} evaluations by version {scorer[:40]!a} are missing and {running} have not ended; "
            "rescore, and switch when all have ended"
        )
    for stage in changing:
        detail = {"from": stage.scorer, "to": scorer, "track": stage.track, "stage": stage.name}
        stage.scorer, stage.revision = scorer, stage.revision + 1
        tx.flush()
        subject = f"stage:{stage.id}"
        audit.add(
            tx,
            actor=actor,
            action="scorer.switch",
            subject=subject,
            detail=detail,
            challenge_id=stage.challenge_id,
            now=now,
        )


def _missing(tx: Session, stage_ids: Sequence[str], scorer: str) -> list[tuple[str, str]]:
    """(submission, split) that the current version has evaluated, or is about to, and this one not."""
    other = aliased(Evaluation)
    rows = tx.execute(
        select(Submission.id, Evaluation.split)
        .join(Stage, Stage.id == Submission.stage_id)
        .join(Evaluation, and_(Evaluation.submission_id == Submission.id, Evaluation.scorer == Stage.scorer))
        .outerjoin(
            other,
            and_(other.submission_id == Submission.id, other.split == Evaluation.split, other.scorer == scorer),
        )
        .where(
            Stage.id.in_(stage_ids),
            Submission.state.in_(("pending", "scored")),
            Evaluation.state.in_(("pending", "done")),
            other.id.is_(None),
        )
        .order_by(Submission.created, Submission.id, Evaluation.split)
    )
    return [(submission_id, split) for submission_id, split in rows]


def _outcome(evaluation_id: str, outcome: NewOutcome) -> dict[str, Any]:
    if (outcome.answer is None) == (outcome.error is None):
        raise InputError(f"the outcome on {outcome.point[:80]!a} is either an answer or an error")
    check_word(outcome.point, "the name of a data point")
    if outcome.error is not None:
        check_word(outcome.error, "an error")
    _check_document(outcome.answer, f"the answer on {outcome.point[:80]!a}")
    return {
        "evaluation_id": evaluation_id,
        "point": outcome.point,
        "answer": outcome.answer,
        "error": outcome.error,
        "message": None if outcome.message is None else plain(outcome.message, _MESSAGE),
        "seconds": _finite(outcome.seconds, outcome.point),
        "processor_seconds": _finite(outcome.processor_seconds, outcome.point),
        "memory": outcome.memory,
    }


def _score(evaluation_id: str, score: NewScore) -> dict[str, Any]:
    check_word(score.metric, "the name of a metric")
    if score.task:
        check_word(score.task, "the name of a task")
    return {
        "evaluation_id": evaluation_id,
        "task": score.task,
        "metric": score.metric,
        "value": _finite(score.value, score.metric),
        "low": _finite(score.low, score.metric),
        "high": _finite(score.high, score.metric),
    }


def _check_document(value: Any, what: str) -> None:
    try:
        json_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be said in JSON: {error}") from None


def _finite(value: float | None, what: str) -> float | None:
    if value is None:
        return None
    # The greatest finite numbers are left out as well: the tables allow none beyond 1.7e308.
    if not math.isfinite(value) or abs(value) > 1.7e308:
        raise InputError(f"{what[:80]!a}: {value} is not a finite number")
    # SQLite forgets the sign of a zero, PostgreSQL does not.
    return float(value) + 0.0
