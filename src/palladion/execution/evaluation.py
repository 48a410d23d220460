"""Run a submission on every data point of a split."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import BoundedSemaphore

from palladion.errors import InputError
from palladion.execution.configuration import Configuration, configure
from palladion.execution.data_points import SubmissionRunner, command_by_hand, variables_of
from palladion.execution.environments import Environment
from palladion.execution.journal import Journal, cache_directory, key, split_identity
from palladion.execution.outcome import Failure, Outcome
from palladion.execution.sandbox.contract import DEFAULT_LIMITS, Bind, Contents, Limits
from palladion.execution.sandbox.opening import DEFAULT_BACK_END, open_sandbox
from palladion.execution.sandbox.preload import worth_importing
from palladion.execution.staging import remove_leftovers
from palladion.execution.train_view import train_view
from palladion.files import exclusive
from palladion.models import ModelEntry, RoundDirectory
from palladion.progress import Progress, progress
from palladion.scoring import AnswerStatus
from palladion.submissions import Family, Kind, Submission

__all__ = ["LEARNED", "Evaluation", "Options", "evaluate", "run_all"]

LEARNED = Path("learned")
"""What ``--learned`` is in the command by hand, where it was not given."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate.

    Attributes:
        slots: data points that run at a time.
        limits: of each data point.
        budget: seconds of wall time of all data points together, one after the other, and as many for learning; None
            for no limit.
        sandbox: name of the back end.
        warm: import libraries once for all data points, where sandbox and submission allow it.
        environment: the Python environment that the submission runs in.
        gpus: graphics processors of each data point.
        learned: where learned parameters are and are kept; see :func:`palladion.execution.configuration.configure`.
        fresh: forget what an interrupted run has done.
    """

    environment: Environment
    slots: int = 1
    limits: Limits = DEFAULT_LIMITS
    budget: float | None = None
    sandbox: str = DEFAULT_BACK_END
    warm: bool = True
    gpus: int = 0
    learned: Path | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A submission on a split.

    Attributes:
        outcomes: one a data point, in the order of their names.
        command: the command that runs the first data point, as one types it.
        configuration_seconds: how long learning took; None where nothing was learned.
        warm: whether libraries were imported once for all data points.
        notes: what whoever asked should know, such as why it was not warm.
    """

    outcomes: tuple[Outcome, ...]
    command: str
    configuration_seconds: float | None
    warm: bool
    notes: tuple[str, ...] = field(default=())


def evaluate(
    submission: Submission, round_directory: RoundDirectory, split_name: str, family: Family, options: Options
) -> Evaluation:
    """Run a submission on every data point of a split.

    An evaluation that was interrupted, even by SIGKILL, goes on where it was when it is called with the same things
    again; what it keeps for that is removed once it is complete.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is left running, and the message says how to go on.
        InputError: the round is at fault.
        ExecutionError: the submission cannot be run at all.
    """
    _check(options)
    split = round_directory.split(split_name)
    entries = split.models()
    if round_directory.is_sealed(split_name):
        _check_apart(submission, round_directory, options)
    remove_leftovers()
    configuration = configure(
        submission,
        round_directory,
        learned=options.learned,
        jobs=options.slots,
        limits=options.limits,
        budget=options.budget,
        sandbox=options.sandbox,
        environment=options.environment,
        family=family,
        fresh=options.fresh,
    )
    name = key(
        submission.digest(),
        configuration.digest,
        split_identity(split),
        family.name,
        options.environment.digest,
        options.sandbox,
        *asdict(options.limits).values(),
        options.budget,
    )
    directory = cache_directory() / "evaluations" / name
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory, "running this evaluation"), ExitStack() as held:
        journal = Journal(directory, [] if options.fresh else [entry.name for entry in entries])
        waiting = [entry for entry in entries if entry.name not in journal.outcomes]
        # Nobody can know the order, so it tells nothing of the models.
        random.SystemRandom().shuffle(waiting)
        notes, warm = [], False
        if waiting:
            contents = held.enter_context(_contents(submission, round_directory, configuration, family, options))
            sandbox = open_sandbox(
                options.sandbox, contents, warm=options.warm, slots=options.slots, cpus=options.limits.cpus
            )
            with closing(sandbox), progress(len(waiting), submission.name) as shown:
                warm = sandbox.warm
                if options.warm and sandbox.why_cold is not None:
                    notes.append(f"each model was run in a new interpreter: {sandbox.why_cold}")
                if journal.outcomes:
                    shown.say(f"{len(journal.outcomes)} of {len(entries)} data points were done before")
                runner = SubmissionRunner(
                    submission, sandbox, options.limits, family=family, passes=round_directory.passes
                )
                spent = sum(outcome.seconds for outcome in journal.outcomes.values())
                try:
                    run_all(
                        runner,
                        waiting,
                        options.slots,
                        _note(journal, shown),
                        limits=options.limits,
                        budget=options.budget,
                        spent=spent,
                    )
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(
                        f"interrupted; {len(journal.outcomes)} of {len(entries)} data points are kept, "
                        "and the same command goes on from there"
                    ) from None
        outcomes = tuple(journal.outcomes[entry.name] for entry in entries)
        journal.remove()
    configuration.forget()
    command = _command(submission, entries, configuration, family, round_directory.open_files)
    return Evaluation(outcomes, command, configuration.seconds, warm, tuple(notes))


def run_all(
    runner: SubmissionRunner,
    entries: Sequence[ModelEntry],
    slots: int,
    done: Callable[[Outcome], None],
    *,
    limits: Limits = DEFAULT_LIMITS,
    budget: float | None = None,
    spent: float = 0.0,
) -> None:
    """Run all data points, ``slots`` at a time, and tell ``done`` of each as it ends, one at a time.

    The next data point is staged while others run. On any exception, Ctrl-C too, everything that runs is killed
    before it goes on.

    Args:
        runner: runs a data point.
        entries: the data points.
        slots: how many run at a time.
        done: is told of each.
        limits: of each data point.
        budget: seconds of all together; what is left when they are spent is not run.
        spent: seconds that were spent before.
    """
    turn = BoundedSemaphore(slots)
    account = _Budget(budget, spent)

    def one(entry: ModelEntry) -> Outcome:
        if account.left() <= 0:
            return account.refused(entry)
        staged = runner.stage(entry)
        with turn:
            left = account.left()
            if left <= 0:
                staged.place.discard()
                return account.refused(entry)
            shortened = left < (limits.seconds or float("inf"))
            outcome = runner.run(staged, replace(limits, seconds=left) if shortened else limits)
            account.spend(outcome.seconds)
        return account.cut_short(outcome) if shortened else outcome

    waiting = iter(entries)
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(slots + 1) as pool:
        try:
            while True:
                while len(running) < slots + 1:
                    entry = next(waiting, None)
                    if entry is None:
                        break
                    running.add(pool.submit(one, entry))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done(future.result())
        except BaseException:
            runner.stop()
            raise


class _Budget:
    """Seconds that are left for all data points together."""

    def __init__(self, seconds: float | None, spent: float) -> None:
        self._seconds = seconds
        self._spent = spent

    def left(self) -> float:
        return float("inf") if self._seconds is None else self._seconds - self._spent

    def spend(self, seconds: float) -> None:
        self._spent += seconds

    def refused(self, entry: ModelEntry) -> Outcome:
        message = f"it was not run: the {self._seconds:g} s for all models together were spent"
        return Outcome(entry.name, None, Failure.BUDGET, message, 0.0, 0.0, None, AnswerStatus.MISSING)

    def cut_short(self, outcome: Outcome) -> Outcome:
        if outcome.error is not Failure.TIMEOUT:
            return outcome
        message = f"it was killed when the {self._seconds:g} s for all models together were spent"
        return replace(outcome, error=Failure.BUDGET, message=message)


def _check(options: Options) -> None:
    limits = options.limits
    if options.slots < 1:
        raise InputError(f"{options.slots} slots: there must be 1 or more")
    if limits.seconds is not None and not limits.seconds > 0:
        raise InputError(f"a time limit of {limits.seconds:g} s: it must be more than 0")
    if options.budget is not None and not options.budget > 0:
        raise InputError(f"a budget of {options.budget:g} s: it must be more than 0")
    if limits.processes < 1:
        raise InputError(f"{limits.processes} processes: there must be 1 or more")


def _check_apart(submission: Submission, round_directory: RoundDirectory, options: Options) -> None:
    """See that a sealed round does not lie in a folder that the submission is shown as a whole."""
    shown = {"the system's programs": Path("/usr"), "the submission's folder": submission.directory}
    shown["learned parameters"] = options.learned
    if submission.kind is not Kind.IMAGE:
        interpreter = options.environment.interpreter()
        shown["the folder of its Python"] = interpreter.base_prefix
        shown |= {f"the packages of its Python in {path}": path for path, _ in interpreter.site_packages}
    place = round_directory.path.resolve()
    for what, folder in shown.items():
        if folder is not None and place.is_relative_to(folder.resolve()):
            raise InputError(f"lies in {folder}, which the submission sees ({what}); move the round", path=place)


@contextmanager
def _contents(
    submission: Submission,
    round_directory: RoundDirectory,
    configuration: Configuration,
    family: Family,
    options: Options,
) -> Iterator[Contents]:
    """What the sandbox holds besides the data points."""
    binds: list[Bind] = []
    if submission.directory is not None:
        binds.append(Bind(submission.directory, "submission"))
    if configuration.learned is not None:
        binds.append(Bind(configuration.learned, "learned"))
    passes = round_directory.passes
    if (family.files or "source_dataset_dirpath" in passes) and round_directory.open_files is not None:
        binds.append(Bind(round_directory.open_files, "round"))
    with ExitStack() as held:
        if "round_training_dataset_dirpath" in passes:
            split = round_directory.split("train")
            binds.append(Bind(split.path, "train"))
            binds += held.enter_context(train_view(submission, split, options.sandbox))
        image = submission.kind is Kind.IMAGE
        yield Contents(
            interpreter=None if image else options.environment.interpreter(),
            binds=tuple(binds),
            preload=worth_importing(submission.imports()),
            image=submission.image,
            variables=variables_of(submission, options.sandbox),
            gpus=options.gpus,
        )


def _note(journal: Journal, shown: Progress) -> Callable[[Outcome], None]:
    def note(outcome: Outcome) -> None:
        journal.add(outcome)
        shown.advance("" if outcome.error is None else f"last failure: {outcome.error}")

    return note


def _command(
    submission: Submission,
    entries: Sequence[ModelEntry],
    configuration: Configuration,
    family: Family,
    files: Path | None,
) -> str:
    # What lies in the cache is gone by the time anybody reads this.
    kept = configuration.learned if configuration.kept else LEARNED
    learned = None if configuration.learned is None else kept
    return command_by_hand(submission, entries[0], learned, family=family, files=files)
