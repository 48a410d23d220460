"""Let a detector learn from the train split before it is evaluated."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from palladion.errors import ExecutionError, InputError
from palladion.execution.data_points import place_in, variables_of
from palladion.execution.environments import Environment
from palladion.execution.journal import cache_directory, key, split_identity
from palladion.execution.outcome import last_words
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.contract import Bind, Contents, Ended, Limits, Program, Sandbox
from palladion.execution.sandbox.opening import open_sandbox
from palladion.execution.slots import Stop, Stopped
from palladion.execution.staging import remove_tree
from palladion.execution.train_view import DATASET, train_view
from palladion.files import exclusive, write_atomically
from palladion.models import RoundDirectory, SplitDirectory
from palladion.models.round_directory import MODELS
from palladion.submissions import LEARNED_PARAMETERS, Family, Submission, digest_of

__all__ = ["Configuration", "configure"]

_SECONDS = "seconds.json"
_STATE, _SCRATCH = "state", "scratch"
_TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a submission has learned, and where.

    Attributes:
        learned: the folder to hand to it; None where it needs none, or brings its own.
        digest: of that folder's contents.
        seconds: how long learning took; None where nothing was learned for this evaluation.
        cache: what may be removed when the evaluation is complete; None where there is nothing.
    """

    learned: Path | None
    digest: str | None
    seconds: float | None
    cache: Path | None = None

    @property
    def kept(self) -> bool:
        """Whether the folder is still there when the evaluation is complete."""
        return self.learned is not None and (self.cache is None or self.cache not in self.learned.parents)

    def forget(self) -> None:
        """Remove what was only kept for the evaluation."""
        if self.cache is not None:
            shutil.rmtree(self.cache, ignore_errors=True)


def configure(
    submission: Submission,
    round_directory: RoundDirectory,
    *,
    learned: Path | None,
    jobs: int,
    limits: Limits,
    budget: float | None,
    sandbox: str,
    environment: Environment,
    family: Family,
    fresh: bool,
    stop: Stop | None = None,
    turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    show: bool = True,
) -> Configuration:
    """See that a submission has learned what it needs.

    Args:
        submission: what is to learn.
        round_directory: the round whose train split it learns from.
        learned: where what it learns is kept. Used as it is where it holds something. By default the submission's
            own folder, or the cache.
        jobs: models to learn from at a time.
        limits: of one data point; learning may use as much for each of ``jobs``.
        budget: seconds of wall time; None for no limit.
        sandbox: name of the back end that its code runs in.
        environment: the Python environment that its code runs in.
        family: with which arguments it is called.
        fresh: forget what an interrupted run has learned.
        stop: asks it to end from another thread; asked gracefully, what learns may finish.
        turn: is held while it learns, where it does.
        show: what it prints while it learns is shown as it comes.

    Raises:
        Stopped: ``stop`` was asked; what it has in scratch is kept, and it goes on there.
        ExecutionError: the submission cannot be loaded, or failed to learn.
        InputError: the round has no train split to learn from.
    """
    learned = None if learned is None else learned.absolute()
    where = _Where(submission, sandbox, environment, stop or Stop())
    configurable = submission.configurable
    if configurable is None:
        configurable = _described(where, limits)
    if learned is not None and learned.exists() and not learned.is_dir():
        raise InputError("is not a folder", path=learned)
    if learned is not None and learned.is_dir() and any(learned.iterdir()):
        return Configuration(learned, digest_of(learned), None)
    if not configurable or (learned is None and submission.learned_parameters is not None):
        return Configuration(None, None, None)
    split = round_directory.split(_TRAIN)
    labels = json.dumps(split.labels(), sort_keys=True)  # a table at fault is told before anything runs
    name = key(submission.digest(), split_identity(split), labels, environment.digest)
    cache = cache_directory() / "configurations" / name
    if fresh:
        shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with exclusive(cache, "configuring this submission"):
        kept = cache / LEARNED_PARAMETERS
        if not (cache / _SECONDS).exists():
            with turn():
                _learn(where, split, cache, jobs, replace(limits, seconds=budget), family, show=show)
        seconds = float(json.loads((cache / _SECONDS).read_text()))
        if learned is not None:
            # All of it or nothing: what stands there is taken for complete.
            new = learned.with_name(f".{learned.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(kept, new)
            if learned.exists():
                learned.rmdir()
            new.rename(learned)
            kept = learned
        return Configuration(kept, digest_of(kept), seconds, cache)


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a submission's code runs."""

    submission: Submission
    sandbox: str
    environment: Environment
    stop: Stop

    def run(self, binds: list[Bind], jobs: int, work: Callable[[Sandbox], Ended]) -> Ended:
        if self.submission.directory is not None:
            binds = [*binds, Bind(self.submission.directory, "submission")]
        contents = Contents(
            interpreter=self.environment.interpreter(),
            binds=tuple(binds),
            variables=variables_of(self.submission, self.sandbox),
        )
        with closing(open_sandbox(self.sandbox, contents, warm=False, slots=1, cpus=jobs)) as sandbox:

            def end() -> None:
                if self.stop.at_once:
                    sandbox.kill()

            try:
                with self.stop.calling(end):
                    return work(sandbox)
            except Cancelled:
                raise Stopped("stopped before it was evaluated; what it was learning is kept") from None
            except KeyboardInterrupt:
                sandbox.kill()
                raise


def _learn(
    where: _Where, split: SplitDirectory, cache: Path, jobs: int, limits: Limits, family: Family, *, show: bool
) -> None:
    """Run the submission's ``configure``; what it has in scratch stays, so that it can go on where it was."""
    submission = where.submission
    state, kept = cache / _STATE, cache / LEARNED_PARAMETERS
    remove_tree(kept)
    remove_tree(state / LEARNED_PARAMETERS)
    for folder in (state, state / _SCRATCH, state / LEARNED_PARAMETERS):
        folder.mkdir(exist_ok=True)
    start = time.monotonic()

    def work(sandbox: Sandbox) -> Ended:
        more = replace(
            limits,
            cpu_seconds=None,
            memory_bytes=limits.memory_bytes * jobs,
            processes=limits.processes * jobs,
            cpus=limits.cpus * jobs,
        )
        place = sandbox.prepare(None, more)
        try:
            layout = place.layout
            scratch = Path(layout.binds[_STATE])
            dataset = layout.binds.get(DATASET)
            command = submission.configure_command(
                Path(layout.binds[_TRAIN] if dataset is None else dataset / MODELS),
                scratch / _SCRATCH,
                scratch / LEARNED_PARAMETERS,
                jobs,
                place=place_in(layout),
                family=family,
            )
            return place.run(Program(tuple(command), show=show), more)
        finally:
            place.discard()

    binds = [Bind(split.path.resolve(), _TRAIN), Bind(state, _STATE, writable=True)]
    try:
        with train_view(submission, split, where.sandbox) as views:
            ended = where.run([*binds, *views], jobs, work)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted while the detector learned; the same command goes on") from None
    if ended.exit_code != 0:
        how = f"exit code {ended.exit_code}" if ended.signal is None else f"signal {ended.signal}"
        if ended.limit is not None:
            how = f"at its limit of {ended.limit.value}"
        said = "; what it said stands above" if show else last_words(ended.stderr)
        raise ExecutionError(f"{submission.name} failed to configure itself ({how}){said}")
    written = state / LEARNED_PARAMETERS
    # Before anybody looks into it: a link would lead wherever the submission likes, and with this user's rights.
    if written.is_symlink() or not written.is_dir():
        raise ExecutionError(f"{submission.name} left no folder where its learned parameters must be")
    if not any(written.iterdir()):
        raise ExecutionError(f"{submission.name} was configured, but wrote no learned parameters")
    digest_of(written)  # refuses links and the like in it
    written.rename(kept)
    write_atomically(cache / _SECONDS, json.dumps(time.monotonic() - start))
    remove_tree(state)


def _described(where: _Where, limits: Limits) -> bool:
    """Whether it learns anything. Loads the submission's code in a process of its own, so its faults show here."""
    submission = where.submission

    def work(sandbox: Sandbox) -> Ended:
        place = sandbox.prepare(None, limits)
        try:
            layout = place.layout
            command = submission.describe_command(Path(layout.result), place=place_in(layout))
            assert command is not None
            return place.run(Program(tuple(command)), limits)
        finally:
            place.discard()

    ended = where.run([], 1, work)
    if ended.limit is not None:
        raise ExecutionError(f"{submission.name} could not be loaded: it was killed at its limit ({ended.limit.value})")
    if ended.exit_code != 0:
        raise ExecutionError(f"{submission.name} cannot be loaded{last_words(ended.stderr)}")
    try:
        return json.loads(ended.answer or "")["configurable"] is True
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ExecutionError(f"{submission.name} does not say whether it must be configured") from None
