"""Run a submission on every data point of a split."""

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from palladion.errors import InputError
from palladion.execution.configuration import Configuration, configure
from palladion.execution.data_points import SubmissionRunner, command_by_hand, variables_of
from palladion.execution.environments import Environment
from palladion.execution.journal import FileJournal, Journal, cache_directory, key, split_identity
from palladion.execution.outcome import Failure, Outcome
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.contract import DEFAULT_LIMITS, Bind, Contents, Limits
from palladion.execution.sandbox.opening import DEFAULT_BACK_END, open_sandbox
from palladion.execution.sandbox.preload import worth_importing
from palladion.execution.slots import Slots, Stop, Stopped
from palladion.execution.staging import remove_leftovers
from palladion.execution.train_view import train_view
from palladion.files import exclusive
from palladion.models import ModelEntry, RoundDirectory
from palladion.progress import Progress, progress
from palladion.scoring import AnswerStatus
from palladion.submissions import Family, Kind, Submission

__all__ = ["LEARNED", "Evaluation", "Options", "Watch", "check_apart", "evaluate", "run_all"]

Watch = Callable[[int, int], None]
"""Told how many data points are done, and of how many: once when they begin, and after each."""

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
    submission: Submission,
    round_directory: RoundDirectory,
    split_name: str,
    family: Family,
    options: Options,
    *,
    journal: Journal | None = None,
    slots: Slots | None = None,
    stop: Stop | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Run a submission on every data point of a split.

    An evaluation that was interrupted, even by SIGKILL, goes on where it was when it is called with the same things
    again; what it keeps for that is removed once it is complete.

    Args:
        submission: what to run.
        round_directory: the round.
        split_name: of the split.
        family: with which arguments the submission is called.
        options: how.
        journal: where outcomes are kept as they come; nothing that it holds is run again. Whoever brings one sees to
            it that no other evaluation uses it, and leaves ``fresh`` alone. By default a file in the cache, which is
            held against others.
        slots: shared with other evaluations, each data point taking one for each of its processors, and learning
            those of ``options.slots`` data points, all together. By default so many data points run at a time.
        stop: asks it to end from another thread.
        watch: is told how far it is, in this thread; by default progress is shown on standard error.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is left running, and the message says how to go on.
        Stopped: ``stop`` was asked before it was complete; nothing is left running, what ended is in the journal.
        InputError: the round is at fault.
        ExecutionError: the submission cannot be run at all.
    """
    _check(options)
    split = round_directory.split(split_name)
    entries = split.models()
    if round_directory.is_sealed(split_name):
        _check_apart(submission, round_directory, options)
    remove_leftovers()
    stop = stop or Stop()
    pool, size = (Slots(options.slots), 1) if slots is None else (slots, options.limits.cpus)
    if journal is not None and all(entry.name in journal.outcomes for entry in entries):
        configuration = Configuration(options.learned, None, None)  # it has learned already, and needs it no more
    else:
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
            stop=stop,
            turn=lambda: _turn(pool, options.slots * size, stop),
            show=watch is None,
        )
    with ExitStack() as held:
        if journal is None:
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
            held.enter_context(exclusive(directory, "running this evaluation"))
            journal = FileJournal(directory, [] if options.fresh else [entry.name for entry in entries])
        waiting = [entry for entry in entries if entry.name not in journal.outcomes]
        before = [journal.outcomes[entry.name] for entry in entries if entry.name in journal.outcomes]
        # Nobody can know the order, so it tells nothing of the models.
        random.SystemRandom().shuffle(waiting)
        notes, warm = [], False
        if waiting and not stop.asked:
            contents = held.enter_context(_contents(submission, round_directory, configuration, family, options))
            sandbox = open_sandbox(
                options.sandbox, contents, warm=options.warm, slots=pool.count, cpus=options.limits.cpus
            )
            bar = progress(len(waiting), submission.name) if watch is None else nullcontext()
            with closing(sandbox), bar as shown:
                warm = sandbox.warm
                if options.warm and sandbox.why_cold is not None:
                    notes.append(f"each model was run in a new interpreter: {sandbox.why_cold}")
                if shown is not None and before:
                    shown.say(f"{len(before)} of {len(entries)} data points were done before")
                runner = SubmissionRunner(
                    submission, sandbox, options.limits, family=family, passes=round_directory.passes
                )
                try:
                    run_all(
                        runner,
                        waiting,
                        pool,
                        _note(journal, shown, watch, len(before), len(entries)),
                        size=size,
                        limits=options.limits,
                        budget=options.budget,
                        spent=sum(outcome.seconds for outcome in before),
                        stop=stop,
                    )
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(
                        f"interrupted; {len(journal.outcomes)} of {len(entries)} data points are kept, "
                        "and the same command goes on from there"
                    ) from None
        done = sum(entry.name in journal.outcomes for entry in entries)
        if done < len(entries):
            raise Stopped(f"stopped; {done} of {len(entries)} data points are kept")
        outcomes = tuple(journal.outcomes[entry.name] for entry in entries)
        journal.remove()
    configuration.forget()
    command = _command(submission, entries, configuration, family, round_directory.open_files)
    return Evaluation(outcomes, command, configuration.seconds, warm, tuple(notes))


def run_all(
    runner: SubmissionRunner,
    entries: Sequence[ModelEntry],
    slots: Slots | int,
    done: Callable[[Outcome], None],
    *,
    size: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    budget: float | None = None,
    spent: float = 0.0,
    stop: Stop | None = None,
) -> None:
    """Run all data points, as many at a time as there are slots for, and tell ``done`` of each as it ends.

    ``done`` is called in this thread, once a data point. The next data point is staged while others run. On any
    exception, Ctrl-C too, everything that runs is killed before it goes on. Where ``stop`` is asked, it returns when
    nothing runs any more.

    Args:
        runner: runs a data point.
        entries: the data points.
        slots: where they run, shared with others; or how many run at a time.
        done: is told of each.
        size: slots that each takes.
        limits: of each data point.
        budget: seconds of all together; what is left when they are spent is not run.
        spent: seconds that were spent before.
        stop: asks it to end.
    """
    pool = Slots(slots) if isinstance(slots, int) else slots
    stop = stop or Stop()
    account = _Budget(budget, spent)
    waiting, ended = deque(entries), deque[Future[Outcome | None]]()
    running, closed, killed = 0, False, False

    def one(entry: ModelEntry) -> Outcome | None:
        if account.left() <= 0:
            return account.refused(entry)
        staged = runner.stage(entry)
        if not share.take(size):
            staged.place.discard()
            return None
        try:
            left = account.left()
            if left <= 0:
                staged.place.discard()
                return account.refused(entry)
            shortened = left < (limits.seconds or float("inf"))
            outcome = runner.run(staged, replace(limits, seconds=left) if shortened else limits)
            account.spend(outcome.seconds)
        finally:
            share.give_back(size)
        return account.cut_short(outcome) if shortened else outcome

    def tell(future: Future[Outcome | None]) -> None:
        ended.append(future)
        share.wake()

    def more() -> bool:
        # One more than has a slot, or could have one: while it waits it is staged.
        return bool(waiting) and not stop.asked and running * size < share.room + size

    def due() -> bool:
        return bool(ended) or more() or not running or (stop.asked and not closed) or (stop.at_once and not killed)

    with pool.share() as share, stop.calling(share.wake), ThreadPoolExecutor(pool.count + 1) as threads:
        try:
            while True:
                share.wait_for(due)
                if stop.asked and not closed:
                    closed = True
                    share.close()
                if stop.at_once and not killed:
                    killed = True
                    runner.stop()
                while ended:
                    running -= 1
                    try:
                        outcome = ended.popleft().result()
                    except Cancelled:
                        if not killed:
                            raise
                    else:
                        if outcome is not None:
                            done(outcome)
                while more():
                    running += 1
                    threads.submit(one, waiting.popleft()).add_done_callback(tell)
                if not running and (not waiting or stop.asked):
                    return
        except BaseException:
            share.close()
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
    check_apart(round_directory.path, shown)


def check_apart(place: Path, shown: Mapping[str, Path | None]) -> None:
    """See that what is sealed does not lie in a folder that a submission is shown.

    Args:
        place: what is sealed, or holds it.
        shown: the folders, by what they are; None where there is none.

    Raises:
        InputError: it does.
    """
    place = place.resolve()
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


def _note(
    journal: Journal, shown: Progress | None, watch: Watch | None, before: int, total: int
) -> Callable[[Outcome], None]:
    count = before
    if watch is not None:
        watch(count, total)

    def note(outcome: Outcome) -> None:
        nonlocal count
        journal.add(outcome)
        count += 1
        if watch is not None:
            watch(count, total)
        if shown is not None:
            shown.advance("" if outcome.error is None else f"last failure: {outcome.error}")

    return note


@contextmanager
def _turn(slots: Slots, size: int, stop: Stop) -> Iterator[None]:
    """Hold some slots; waits for them."""
    with slots.share() as share, stop.calling(share.close):
        if not share.take(size):
            raise Stopped("stopped before it began")
        yield


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
