"""Run a submission on every data point of a split."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import InputError
from palladion.execution.configuration import Configuration, configure
from palladion.execution.data_points import DataPointRunner, PlainRunner, command_by_hand
from palladion.execution.journal import Journal, cache_directory, key, split_identity
from palladion.execution.outcome import Outcome
from palladion.execution.staging import remove_leftovers
from palladion.files import exclusive
from palladion.models import ModelEntry, RoundDirectory
from palladion.progress import Progress, progress
from palladion.submissions import Submission

__all__ = ["DEFAULT_TIME_LIMIT", "LEARNED", "Evaluation", "Options", "evaluate", "run_all"]

LEARNED = Path("learned")
"""What ``--learned`` is in the command by hand, where it was not given."""

DEFAULT_TIME_LIMIT = 600.0
"""Seconds a data point, as in NIST's rounds."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate.

    Attributes:
        slots: data points that run at a time.
        time_limit: seconds of wall time a data point.
        learned: where learned parameters are and are kept; see :func:`palladion.execution.configuration.configure`.
        fresh: forget what an interrupted run has done.
    """

    slots: int = 1
    time_limit: float = DEFAULT_TIME_LIMIT
    learned: Path | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A submission on a split.

    Attributes:
        outcomes: one a data point, in the order of their names.
        command: the command that runs the first data point, as one types it.
        configuration_seconds: how long learning took; None where nothing was learned.
    """

    outcomes: tuple[Outcome, ...]
    command: str
    configuration_seconds: float | None


def evaluate(submission: Submission, round_directory: RoundDirectory, split_name: str, options: Options) -> Evaluation:
    """Run a submission on every data point of a split.

    An evaluation that was interrupted, even by SIGKILL, goes on where it was when it is called with the same things
    again; what it keeps for that is removed once it is complete.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is left running, and the message says how to go on.
        InputError: the round is at fault.
        ExecutionError: the submission cannot be run at all.
    """
    if options.slots < 1:
        raise InputError(f"{options.slots} slots: there must be 1 or more")
    if not options.time_limit > 0:
        raise InputError(f"a time limit of {options.time_limit:g} s: it must be more than 0")
    split = round_directory.split(split_name)
    entries = split.models()
    remove_leftovers()
    configuration = configure(
        submission,
        round_directory,
        learned=options.learned,
        jobs=options.slots,
        time_limit=options.time_limit,
        fresh=options.fresh,
    )
    name = key(submission.digest(), configuration.digest, split_identity(split), options.time_limit)
    directory = cache_directory() / "evaluations" / name
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory, "running this evaluation"):
        journal = Journal(directory, [] if options.fresh else [entry.name for entry in entries])
        runner = PlainRunner(submission, configuration.learned, time_limit=options.time_limit)
        waiting = [entry for entry in entries if entry.name not in journal.outcomes]
        # The order says nothing about the models, and is the same on every machine.
        random.Random(name).shuffle(waiting)  # noqa: S311
        with progress(len(waiting), submission.name) as shown:
            if journal.outcomes:
                shown.say(f"{len(journal.outcomes)} of {len(entries)} data points were done before")
            try:
                run_all(runner, waiting, options.slots, _note(journal, shown))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"interrupted; {len(journal.outcomes)} of {len(entries)} data points are kept, "
                    "and the same command goes on from there"
                ) from None
        outcomes = tuple(journal.outcomes[entry.name] for entry in entries)
        journal.remove()
    configuration.forget()
    return Evaluation(outcomes, _command(submission, entries, configuration), configuration.seconds)


def run_all(
    runner: DataPointRunner,
    entries: Sequence[ModelEntry],
    slots: int,
    done: Callable[[Outcome], None],
) -> None:
    """Run all data points, ``slots`` at a time, and tell ``done`` of each as it ends, one at a time.

    On any exception, Ctrl-C too, everything that runs is killed before it goes on.
    """
    waiting = iter(entries)
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(slots) as pool:
        try:
            while True:
                while len(running) < slots:
                    entry = next(waiting, None)
                    if entry is None:
                        break
                    running.add(pool.submit(runner.run, entry))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done(future.result())
        except BaseException:
            runner.stop()
            raise


def _note(journal: Journal, shown: Progress) -> Callable[[Outcome], None]:
    def note(outcome: Outcome) -> None:
        journal.add(outcome)
        shown.advance("" if outcome.error is None else f"last failure: {outcome.error}")

    return note


def _command(submission: Submission, entries: Sequence[ModelEntry], configuration: Configuration) -> str:
    # What lies in the cache is gone by the time anybody reads this.
    kept = configuration.learned if configuration.kept else LEARNED
    return command_by_hand(submission, entries[0], None if configuration.learned is None else kept)
