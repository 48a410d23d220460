"""Run a detector on every model of a split, and score what it answers.

- Code of participants only runs in a sandbox that was tried out on this machine, on open splits as on sealed ones.
- Each outcome is kept as it comes: an interrupted evaluation goes on with what is missing.
- What a detector learns from the train split is kept until its stage is concluded, by the digest of the submission, so
  that the run on the holdout does not learn again.
- Models without an answer count as guesses, and are counted. Only if no model at all was answered, there is no score.
"""

import contextlib
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from palladion.challenge import Limits as ChallengeLimits
from palladion.challenge import detection_values
from palladion.errors import ExecutionError, InputError
from palladion.execution.environments import DEFAULT, Environment, find
from palladion.execution.evaluation import Evaluation, Options, evaluate
from palladion.execution.journal import cache_directory, key
from palladion.execution.machine import check_machine
from palladion.execution.outcome import Outcome
from palladion.execution.sandbox.contract import Limits
from palladion.execution.sandbox.opening import DEFAULT_BACK_END
from palladion.execution.sandbox.probes import refuse_unless_sealed
from palladion.execution.staging import workspace
from palladion.jobs import children, processes
from palladion.jobs.children import ARCHIVES, IMAGE, LoadedCode
from palladion.jobs.context import Service
from palladion.jobs.ledger import LedgerJournal, rebuilt
from palladion.jobs.points import Truth
from palladion.jobs.processes import FailureKind, ProcessFailed
from palladion.jobs.results import Scored, Task
from palladion.jobs.work import Faulty, Later
from palladion.models import RoundDirectory
from palladion.reports.detection import detection_report
from palladion.sizes import size_text
from palladion.storage import evaluations
from palladion.storage.evaluations import NewScore
from palladion.submissions import Manifest, family

__all__ = ["LEARNED", "detect", "forget_learned", "limits_of", "try_sandbox"]

LEARNED: Final = "learned"
"""Folder of the service for what detectors have learned, by stage."""

_NAME: Final = "submission"
"""What every submission is called where it runs: who sees its folder does not see whose it is."""
_BUSY: Final = timedelta(seconds=5)
_INTERVALS: Final = {
    "cross_entropy": "cross_entropy_interval",
    "roc_auc": "roc_auc_interval",
    "brier": "brier_interval",
    "accuracy": "accuracy_interval",
}
_CLUSTERED: Final = {"roc_auc": "roc_auc_interval_bootstrap"}
"""Of clusters DeLong's variance knows nothing."""


def detect(task: Task) -> Scored:
    """Run a detector on every model of a split that it has not been run on, and score all of it.

    Raises:
        Faulty: it cannot be run, or has answered no model.
        Later: another job learns with the same submission just now.
        Stopped: the worker was stopped; what ended is kept.
        LeaseLost: the evaluation is somebody else's by now.
        PalladionError: the service or the stage's data is at fault.
    """
    rounds = RoundDirectory.open(task.info.data)
    truth = Truth.of(task.info, task.split)
    names = truth.names
    journal = LedgerJournal(task.work, sealed=rounds.is_sealed(task.split))
    _take_over(task, journal, names)
    ran = None
    if any(name not in journal.outcomes for name in names):
        ran = _run(task, rounds, journal)
    outcomes = [journal.outcomes[name] for name in names]
    # What is open is scored as it was answered: nothing of it has to be kept from anybody.
    clip = task.info.track.feedback.clip if rounds.is_sealed(task.split) else None
    return _scored(task, outcomes, truth, ran, clip)


def limits_of(limits: ChallengeLimits) -> Limits:
    """What a challenge gives each data point, as the sandbox has it."""
    return Limits(
        seconds=limits.seconds,
        memory_bytes=limits.memory,
        processes=limits.processes,
        scratch_bytes=limits.scratch,
        cpus=limits.cpus,
    )


def try_sandbox(service: Service) -> str:
    """The sandbox that code of participants runs in; it was tried out on this machine, within the last day.

    Raises:
        ExecutionError: it does not hold here, or is none.
    """
    sandbox = service.settings.sandbox or DEFAULT_BACK_END
    refuse_unless_sealed(sandbox, "code of participants needs a sandbox that holds")
    return sandbox


def forget_learned(service: Service, stage_id: str) -> None:
    """Remove what detectors have learned in a stage: it is concluded, and nothing is run in it any more."""
    shutil.rmtree(service.folder(LEARNED) / stage_id, ignore_errors=True)


# --- running ----------------------------------------------------------------------------------------------------------


def _take_over(task: Task, journal: LedgerJournal, names: Sequence[str]) -> None:
    """Take over what the same submission answered on the same split when another version of the scorer evaluated it."""
    if journal.outcomes:
        return
    with task.service.database.read() as tx:
        for other in evaluations.of_submission(tx, task.submission.id):
            if other.id == task.evaluation.id or other.split != task.split or other.state != "done":
                continue
            found = {row.point: row for row in evaluations.outcomes(tx, other.id)}
            if all(name in found for name in names):
                answered = [rebuilt(found[name]) for name in names]
                break
        else:
            return
    journal.add_all(answered)


def _run(task: Task, rounds: RoundDirectory, journal: LedgerJournal) -> Evaluation:
    work, service, track = task.work, task.service, task.info.track
    limits = limits_of(track.limits)
    # The service's own faults first: they cost the submission nothing.
    check_machine(limits, track.limits.gpus)
    sandbox = try_sandbox(service)
    with ExitStack() as held:
        folder = held.enter_context(workspace())
        code = _loaded(task, folder)
        environment = _environment(code.submission.manifest)
        held.enter_context(environment.held())
        learned = service.folder(LEARNED) / task.info.row.id / key(code.digest, environment.digest)
        learning = held.enter_context(ExitStack())
        learning.enter_context(_learning(learned))
        options = Options(
            environment=environment,
            slots=max(1, work.slots.count // limits.cpus),
            limits=limits,
            budget=track.limits.total_seconds,
            sandbox=sandbox,
            gpus=track.limits.gpus,
            learned=learned,
        )
        try:
            return evaluate(
                code.submission,
                rounds,
                task.split,
                family(rounds.family),
                options,
                journal=journal,
                slots=work.slots,
                stop=work.stop,
                # It has learned when the first data points begin.
                watch=lambda _done, _total: learning.close(),
            )
        except (ExecutionError, InputError) as error:
            reason = _own_fault(error, learned)
            if reason is None:
                raise
            raise Faulty(reason) from None


def _loaded(task: Task, folder: Path) -> LoadedCode:
    """The submission, unpacked in a folder; nothing of it is run.

    Raises:
        Faulty: it is none, or asks for more than the challenge gives.
    """
    track, service = task.info.track, task.service
    suffix = next((s for s in (*ARCHIVES, IMAGE) if task.submission.name.lower().endswith(s)), None)
    if suffix is None:
        raise Faulty(f"it is none of {', '.join((*ARCHIVES, IMAGE))}", invalid=True)
    path = folder / f"{_NAME}{suffix}"
    service.artifacts.fetch(task.submission.artifact, path)
    target = folder / _NAME
    try:
        code = processes.call(
            children.load_code,
            service.settings.checking,
            task.work.stop,
            path,
            target,
            most_bytes=track.submission.bytes,
        )
    except InputError as error:
        raise Faulty(str(error), invalid=True) from None
    except ProcessFailed as error:
        if error.kind in (FailureKind.KILLED, FailureKind.ERROR):
            raise
        raise Faulty(f"it could not be unpacked and read: {error}", invalid=True) from None
    asked = _asks_too_much(code.submission.manifest, track.limits)
    if asked:
        raise Faulty("; ".join(asked), invalid=True)
    return code


def _asks_too_much(manifest: Manifest, limits: ChallengeLimits) -> list[str]:
    memory = 0 if manifest.memory is None else manifest.memory
    wanted = (
        ("processors", manifest.cpus, limits.cpus, str),
        ("graphics processors", manifest.gpus, limits.gpus, str),
        ("memory", memory, limits.memory, size_text),
    )
    return [
        f"its submission.yaml asks for {words(asked)} of {what}, and this challenge gives {words(given)}"
        if what == "memory"
        else f"its submission.yaml asks for {words(asked)} {what}, and this challenge gives {words(given)}"
        for what, asked, given, words in wanted
        if asked > given
    ]


def _environment(manifest: Manifest) -> Environment:
    try:
        return find(manifest.environment or DEFAULT)
    except InputError as error:
        if manifest.environment is None:
            raise
        raise Faulty(f"its submission.yaml names an environment: {error}", invalid=True) from None


@contextlib.contextmanager
def _learning(learned: Path) -> Iterator[None]:
    """Be the only one that learns into this folder, where there is something to learn.

    Raises:
        Later: another evaluation of the same submission does.
    """
    learned.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if learned.is_dir() and any(learned.iterdir()):
        yield
        return
    handle = os.open(learned.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Later(_BUSY, "another evaluation of the same submission learns") from None
        yield
    finally:
        os.close(handle)


def _own_fault(error: ExecutionError | InputError, learned: Path) -> str | None:
    """The reason, where an error is the submission's own fault; None where it is the service's.

    What is told by name is about the submission, whose name is ours; the faults of what it has learned lie in the
    folders for that.
    """
    words = str(error)
    if isinstance(error, ExecutionError) and words.startswith(f"{_NAME} "):
        # What it printed while it learned went to the service's own standard error, which its team does not see.
        return f"it{words.removeprefix(_NAME)}".removesuffix("; what it said stands above")
    folders = (learned, cache_directory() / "configurations")
    path = error.path if isinstance(error, InputError) else None
    if isinstance(error, InputError) and path is not None and any(path.is_relative_to(folder) for folder in folders):
        return f"what it learned cannot be used: a file of it {error.problem}"
    return None


# --- scoring ----------------------------------------------------------------------------------------------------------


def _scored(
    task: Task,
    outcomes: Sequence[Outcome],
    truth: Truth,
    ran: Evaluation | None,
    clip: float | None,
) -> Scored:
    failures = Counter(str(outcome.error) for outcome in outcomes if outcome.error is not None)
    answered = sum(outcome.probability is not None for outcome in outcomes)
    report: dict[str, Any] = {
        "points": len(outcomes),
        "answered": answered,
        "failed": len(outcomes) - answered,
        "failures": dict(failures),
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 3),
    }
    if ran is not None:
        report |= {"learned_seconds": ran.configuration_seconds, "warm": ran.warm}
    if not answered:
        told = ", ".join(f"{failure}: {count}" for failure, count in failures.most_common())
        raise Faulty(f"none of {len(outcomes)} models was answered ({told})", report=report)
    answers = [outcome.to_dict() for outcome in outcomes]
    points = truth.points([outcome.probability for outcome in outcomes])
    if clip is not None:
        clipped = points.clipped(clip).arrays["probability"].tolist()
        for answer, probability in zip(answers, clipped, strict=True):
            if answer["probability"] is not None:
                answer["probability"] = probability
        report["clip"] = clip
    metrics = detection_report(answers, truth.poisoned, clusters=truth.clusters, seed=task.scorer.seed)["metrics"]
    values = detection_values(metrics)
    scores = []
    for name, value in values.items():
        if value is not None:
            key = _CLUSTERED.get(name) if truth.clusters is not None else None
            interval = metrics.get(key or _INTERVALS.get(name, "")) or (None, None)
            scores.append(NewScore(name, value, low=interval[0], high=interval[1]))
    report |= {name: metrics[name] for name in ("confidence", "replicates", "seed")}
    return Scored(values, scores, report, points)
