"""Conclude a stage: what TrojAI calls the termination of a round, as one operation that goes on wherever it stopped.

The steps are those of :data:`palladion.challenge.lifecycle.STEPS`. Each is recorded when it is done, in the transaction
that does it, and that transaction names the lease of the job: it is done once, by one worker, whatever is killed when.

================  ======================================================================================================
step              what it does
================  ======================================================================================================
close             the stage takes no more submissions
await_running     until those that it has taken have ended
choose            the best submission of each team on test, and those that the organiser has named
holdout           evaluate them on the holdout, and wait until all of these have ended. Before this step nothing is
                  evaluated there. A stage without holdout skips it
publish           the stage is concluded: its results are visible
install_next      the data of the next stage is there and as it must be; until it is, this waits and tells organisers
open_next         the next stage opens, unless it has a date to open at that has not come
================  ======================================================================================================

An evaluation on the holdout that has failed by a fault of the service, and not of the submission, holds everything up
until an organiser has it tried again or cancels it: a round does not end with a team that lacks its final score for no
fault of its own.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from palladion.challenge import due as what_is_due
from palladion.challenge.lifecycle import STEP_TITLES, STEPS, Action, Step, conclusion_refusal, next_step, opens_after
from palladion.challenge.ranking import is_scored
from palladion.errors import PalladionError
from palladion.execution.slots import Stopped
from palladion.jobs import news, opening, placing, standing
from palladion.jobs.claiming import CONCLUDE, EVALUATE
from palladion.jobs.context import HOLDOUT, TEST, Service, StageInfo
from palladion.jobs.work import Later, Work
from palladion.models import RoundDirectory
from palladion.storage import audit, evaluations, queue, stages, submissions
from palladion.storage.errors import Conflict, LeaseLost, Refused
from palladion.storage.tables import Evaluation, Job, Submission

__all__ = ["BEGUN", "Begun", "StepState", "begin", "begin_if_due", "conclude", "progress"]

_log = logging.getLogger(__name__)

BEGUN: Final = "conclusion"
"""Step of a stage that holds who began its conclusion, and which submissions were named for the holdout."""
_SERVICE: Final = "service"
_SOON, _LATER = timedelta(seconds=1), timedelta(seconds=15)
_HOLDOUT_PRIORITY: Final = 5
# Key in the report of an evaluation; see palladion.jobs.evaluating.
_FAULT: Final = "fault"


@dataclass(frozen=True, slots=True)
class Begun:
    """What has become of the wish to conclude a stage.

    Attributes:
        job_id: that concludes it.
        created: whether it is on its way because of this, and was not before.
        message: the same in words.
    """

    job_id: str
    created: bool
    message: str


@dataclass(frozen=True, slots=True)
class StepState:
    """How far one step is.

    Attributes:
        name: of the step.
        title: in words.
        started: when it was begun; None: not yet.
        finished: when it was done; None: not yet.
        detail: what came of it.
        waits: of the step that is under way: what it waits for.
    """

    name: str
    title: str
    started: datetime | None
    finished: datetime | None
    detail: Mapping[str, Any]
    waits: str | None


def begin(service: Service, stage_id: str, *, actor: str, named: Sequence[str] = ()) -> Begun:
    """Begin to conclude a stage, or go on with what has come to a standstill.

    Args:
        service: the service.
        stage_id: the stage.
        actor: who asks for it.
        named: submissions of the stage to run on the holdout beside the best of each team.

    Raises:
        NotFound: there is no such stage, or no such submission.
        Refused: it cannot be concluded, or is; or a submission is of another stage. In words.
    """
    begun = service.database.run(_begin, service, stage_id, actor=actor, named=tuple(named), now=service.now())
    service.notify()
    return begun


def begin_if_due(tx: Session, service: Service, info: StageInfo, *, now: datetime) -> bool:
    """Begin to conclude a stage if the rule of its track says so; whether that has begun now."""
    states = stages.statuses(tx, info.challenge.id, info.row.track)
    found = what_is_due(states, info.track.advance, now)
    if found is None or found.action is not Action.CONCLUDE or found.stage != info.row.name:
        return False
    return _begin(tx, service, info.row.id, actor=_SERVICE, named=(), now=now, reason=found.reason).created


def progress(tx: Session, stage_id: str) -> list[StepState]:
    """How far the conclusion of a stage is, step by step; empty where it has not begun."""
    rows = {row.name: row for row in stages.steps(tx, stage_id)}
    if BEGUN not in rows:
        return []
    waits = None
    for line in audit.listing(tx, subject=f"stage:{stage_id}"):
        # What was waited for before the last step was done has come.
        if line.action == opening.WAITS and all(
            row.finished is None or row.finished < line.at for row in rows.values() if row.name in STEPS
        ):
            waits = str(line.detail.get("reason"))
            break
    states = []
    for step in STEPS:
        row = rows.get(step)
        if row is None:
            states.append(StepState(step, STEP_TITLES[step], None, None, {}, None))
        else:
            why = waits if row.finished is None else None
            states.append(StepState(step, STEP_TITLES[step], row.started, row.finished, row.detail, why))
    return states


def conclude(work: Work) -> None:
    """Do a job of the kind ``conclude``: its subject is a stage. Goes on with the first step that has not been done.

    Raises:
        Later: it waits for something.
        Stopped: the worker was stopped.
        LeaseLost: the job is somebody else's by now.
        PalladionError: a step failed.
    """
    service, stage_id = work.service, work.job.subject
    while True:
        with service.database.read() as tx:
            done = {row.name for row in stages.steps(tx, stage_id) if row.finished is not None and row.name in STEPS}
        step = next_step(done)
        if step is None:
            break
        if work.stop.asked:
            raise Stopped("stopped between two steps")
        service.database.run(_begin_step, work, step, now=service.now())
        _STEPS[step](work)
        _log.info("stage %s: step %s is done", stage_id, step)
        service.notify()
    # Torn away here, it is done again by whoever takes the job next: that is no harm.
    from palladion.jobs.detecting import forget_learned

    forget_learned(service, stage_id)
    service.database.run(queue.finish, work.job.id, work.lease, now=service.now())


# --- beginning --------------------------------------------------------------------------------------------------------


def _begin(
    tx: Session,
    service: Service,
    stage_id: str,
    *,
    actor: str,
    named: tuple[str, ...],
    now: datetime,
    reason: str | None = None,
) -> Begun:
    info = service.stage(tx, stage_id)
    job = queue.of(tx, CONCLUDE, stage_id)
    if job is not None:
        return _again(tx, info, job, actor=actor, named=named, now=now)
    refusal = conclusion_refusal(stages.statuses(tx, info.challenge.id, info.row.track), info.row.name)
    if refusal is not None:
        raise Refused(refusal)
    if named and not info.has_holdout:
        raise Refused(f"{info.row.name} has no holdout, so no submission can be named for it")
    for submission_id in named:
        if submissions.by_id(tx, submission_id).stage_id != stage_id:
            raise Refused(f"the submission {submission_id[:40]!a} is not one of {info.row.name}")
    job = queue.enqueue(tx, CONCLUDE, stage_id, now=now)
    # From this moment on the stage takes no submissions: its conclusion has begun.
    stages.begin_step(tx, stage_id, BEGUN, now=now)
    stages.finish_step(tx, stage_id, BEGUN, now=now, detail={"actor": actor, "named": sorted(set(named))})
    stages.begin_step(tx, stage_id, Step.CLOSE, now=now)
    detail = {"named": sorted(set(named)), "reason": reason}
    _log_audit(tx, info, "stage.conclude", actor, detail, now)
    _log.info("stage %s: its conclusion begins", stage_id)
    return Begun(job.id, True, f"the conclusion of {info.row.name} has begun")


def _again(tx: Session, info: StageInfo, job: Job, *, actor: str, named: tuple[str, ...], now: datetime) -> Begun:
    """Conclude a stage whose conclusion was begun before."""
    name = info.row.name
    if job.state == "done":
        raise Refused(f"{name} is concluded: its results are published")
    if named:
        raise Refused(
            f"the conclusion of {name} has begun already; submissions to run on the holdout are named when it begins"
        )
    if job.state in ("failed", "cancelled"):
        queue.retry(tx, job.id, now=now)
        _log_audit(tx, info, "stage.conclude", actor, {"again": True}, now)
        return Begun(job.id, True, f"the conclusion of {name} goes on where it was")
    return Begun(job.id, False, f"the conclusion of {name} has begun already and goes on by itself")


# --- the steps --------------------------------------------------------------------------------------------------------


def _begin_step(tx: Session, work: Work, step: Step, *, now: datetime) -> None:
    _must_hold(tx, work)
    stages.begin_step(tx, work.job.subject, step, now=now)


def _done(tx: Session, work: Work, step: Step, detail: Mapping[str, Any], *, now: datetime) -> None:
    """Record a step in the transaction that has done it."""
    _must_hold(tx, work)
    stages.finish_step(tx, work.job.subject, step, now=now, detail=detail)
    queue.progressed(tx, work.job.id, work.lease)


def _must_hold(tx: Session, work: Work) -> None:
    if not queue.holds(tx, work.job.id, work.lease):
        raise LeaseLost(f"the job {work.job.id} is not held by this lease any more")


def _close(work: Work) -> None:
    def close(tx: Session, *, now: datetime) -> None:
        info = work.service.stage(tx, work.job.subject)
        if info.row.state == "open":
            opening.note_closed(tx, work.service, info.row.id, actor=_SERVICE, now=now, reason="it is concluded")
        _done(tx, work, Step.CLOSE, {}, now=now)

    work.service.database.run(close, now=work.service.now())


def _await_running(work: Work) -> None:
    def await_running(tx: Session, *, now: datetime) -> int:
        running = _running(tx, work.job.subject)
        if not running:
            _done(tx, work, Step.AWAIT_RUNNING, {}, now=now)
        return running

    running = work.service.database.run(await_running, now=work.service.now())
    if running:
        raise Later(_SOON, f"{running} submissions have not ended")


def _running(tx: Session, stage_id: str) -> int:
    """Evaluations of a stage that have not ended, of those that count or that its leaderboard will show."""
    scorer = stages.by_id(tx, stage_id).scorer
    return tx.execute(
        select(func.count())
        .select_from(Evaluation)
        .join(Submission, Submission.id == Evaluation.submission_id)
        .where(
            Submission.stage_id == stage_id,
            Evaluation.state == "pending",
            Evaluation.split != HOLDOUT,
            Evaluation.counts | (Evaluation.scorer == scorer),
        )
    ).scalar_one()


def _choose(work: Work) -> None:
    def choose(tx: Session, *, now: datetime) -> None:
        info = work.service.stage(tx, work.job.subject)
        scored = {one.submission_id for one in placing.entries(tx, info, TEST, placing.ORGANISERS, now)}
        best = [one.submission_id for one in placing.chosen(tx, info, now) if is_scored(one.value)]
        wanted = _named(tx, info.row.id)
        named = [submission for submission in wanted if submission in scored]
        detail = {"best": best, "named": named, "left_out": [one for one in wanted if one not in scored]}
        _done(tx, work, Step.CHOOSE, detail, now=now)

    work.service.database.run(choose, now=work.service.now())


def _named(tx: Session, stage_id: str) -> list[str]:
    step = next((row for row in stages.steps(tx, stage_id) if row.name == BEGUN), None)
    return [] if step is None else list(step.detail.get("named", []))


def _holdout(work: Work) -> None:
    service = work.service
    with service.database.read() as tx:
        info = service.stage(tx, work.job.subject)
    why_not = _no_holdout(info)

    def skip(tx: Session, *, now: datetime) -> None:
        _done(tx, work, Step.HOLDOUT, {"skipped": why_not}, now=now)

    if why_not is not None:
        service.database.run(skip, now=service.now())
        return
    service.database.run(_evaluate_chosen, work, now=service.now())
    service.notify()
    waits = service.database.run(_await_holdout, work, now=service.now())
    if waits is not None:
        raise waits


def _no_holdout(info: StageInfo) -> str | None:
    """Why nothing is run on a holdout split; None: it is.

    Raises:
        PalladionError: there should be one, and it is not there.
    """
    if not info.detection:
        return "a language track has no holdout split"
    if info.stage.dry_run:
        return "a dry run has no holdout split"
    rounds = RoundDirectory.open(info.data)
    try:
        rounds.split(HOLDOUT).models()
    except PalladionError as error:
        if HOLDOUT in rounds.counts or HOLDOUT in rounds.same_as:
            raise PalladionError(f"the holdout split should be there, and is not: {error}") from None
        return "its round has no holdout split"
    return None


def _evaluate_chosen(tx: Session, work: Work, *, now: datetime) -> None:
    """Add the evaluations on the holdout. What was added before is the same, so that this can be done again."""
    _must_hold(tx, work)
    scorer = stages.by_id(tx, work.job.subject).scorer
    for submission_id in _chosen(tx, work.job.subject):
        if submissions.by_id(tx, submission_id).state != "scored":
            continue  # it was cancelled in the meantime
        evaluations.add(tx, submission_id, HOLDOUT, scorer=scorer, now=now, priority=_HOLDOUT_PRIORITY)


def _chosen(tx: Session, stage_id: str) -> list[str]:
    step = next(row for row in stages.steps(tx, stage_id) if row.name == Step.CHOOSE)
    chosen: list[str] = [*step.detail["best"], *step.detail["named"]]
    return list(dict.fromkeys(chosen))


def _await_holdout(tx: Session, work: Work, *, now: datetime) -> Later | None:
    """Record the step if all evaluations on the holdout have ended; else what it waits for."""
    stage_id = work.job.subject
    scorer = stages.by_id(tx, stage_id).scorer
    found = {
        submission_id: evaluation
        for submission_id in _chosen(tx, stage_id)
        for evaluation in evaluations.of_submission(tx, submission_id)
        if evaluation.split == HOLDOUT and evaluation.scorer == scorer
    }
    stuck = [e for e in found.values() if e.state == "failed" and e.report.get(_FAULT) != "submission"]
    if stuck:
        jobs = [job.id for job in (queue.of(tx, EVALUATE, e.id) for e in stuck) if job is not None]
        why = (
            f"{len(stuck)} of {len(found)} runs on the holdout failed by no fault of their submissions; have them "
            f"tried again, or cancel the submissions: jobs {', '.join(jobs)}"
        )
        opening.note_waiting(tx, work.service, stage_id, why, now=now)
        return Later(_LATER, why)
    pending = sum(e.state == "pending" for e in found.values())
    if pending:
        return Later(_SOON, f"{pending} of {len(found)} runs on the holdout have not ended")
    states = {submission_id: e.state for submission_id, e in found.items()}
    _done(tx, work, Step.HOLDOUT, {"evaluations": {s: e.id for s, e in found.items()}, "states": states}, now=now)
    return None


def _publish(work: Work) -> None:
    def publish(tx: Session, *, now: datetime) -> None:
        stage_id = work.job.subject
        if stages.change(tx, stage_id, "concluded", now=now, actor=_SERVICE):
            news.stage_changed(tx, work.service, stage_id, now=now)
            standing.request(tx, stage_id, now=now)
        _done(tx, work, Step.PUBLISH, {}, now=now)

    work.service.database.run(publish, now=work.service.now())


def _install_next(work: Work) -> None:
    service, stage_id = work.service, work.job.subject
    with service.database.read() as tx:
        following = _following(tx, service, stage_id)
    detail: dict[str, Any] = {"next": None if following is None else following.row.name}
    if following is not None and following.row.state == "planned":
        data = opening.look(following)  # reads all of it; not in a transaction
        if data.faults:
            why = "\n".join([f"{following.row.name} cannot be installed:", *data.faults])
            service.database.run(opening.note_waiting, service, stage_id, why, now=service.now())
            service.notify()
            raise Later(_LATER, "the data of the next stage is not there, or not as it must be")
        detail["identity"] = data.identity

    def installed(tx: Session, *, now: datetime) -> None:
        _done(tx, work, Step.INSTALL_NEXT, detail, now=now)

    service.database.run(installed, now=service.now())


def _open_next(work: Work) -> None:
    def open_next(tx: Session, *, now: datetime) -> None:
        service, stage_id = work.service, work.job.subject
        info = service.stage(tx, stage_id)
        name = opens_after(stages.statuses(tx, info.challenge.id, info.row.track), info.row.name, now)
        following = _following(tx, service, stage_id)
        detail: dict[str, Any] = {"opened": name}
        if name is None:
            opens = None if following is None else following.row.opens
            if following is not None and following.row.state == "planned" and opens is not None:
                detail["opens"] = opens.isoformat()
        else:
            assert following is not None
            step = next(row for row in stages.steps(tx, stage_id) if row.name == Step.INSTALL_NEXT)
            opening.note_opened(tx, service, following.row.id, step.detail.get("identity"), actor=_SERVICE, now=now)
        _done(tx, work, Step.OPEN_NEXT, detail, now=now)

    try:
        work.service.database.run(open_next, now=work.service.now())
    except Conflict as error:
        why = f"the next stage cannot open: {error}"
        work.service.database.run(opening.note_waiting, work.service, work.job.subject, why, now=work.service.now())
        raise Later(_LATER, why) from None


def _following(tx: Session, service: Service, stage_id: str) -> StageInfo | None:
    """The stage after this one; None after the last."""
    info = service.stage(tx, stage_id)
    following = info.track.next_stage(info.row.name)
    if following is None:
        return None
    return service.stage(tx, stages.by_name(tx, info.challenge.id, info.row.track, following.name).id)


_STEPS: Final[Mapping[Step, Callable[[Work], None]]] = {
    Step.CLOSE: _close,
    Step.AWAIT_RUNNING: _await_running,
    Step.CHOOSE: _choose,
    Step.HOLDOUT: _holdout,
    Step.PUBLISH: _publish,
    Step.INSTALL_NEXT: _install_next,
    Step.OPEN_NEXT: _open_next,
}


def _log_audit(tx: Session, info: StageInfo, action: str, actor: str, detail: Mapping[str, Any], now: datetime) -> None:
    audit.add(
        tx,
        actor=actor,
        action=action,
        subject=f"stage:{info.row.id}",
        detail={**detail, "track": info.row.track, "stage": info.row.name},
        challenge_id=info.challenge.id,
        now=now,
    )
