"""Let a detector learn from the train split before it is evaluated."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import ExecutionError, InputError
from palladion.execution.journal import cache_directory, key, split_identity
from palladion.execution.outcome import last_words
from palladion.execution.processes import Processes, environment
from palladion.execution.staging import remove_tree, workspace
from palladion.files import exclusive, write_atomically
from palladion.models import RoundDirectory
from palladion.submissions import LEARNED_PARAMETERS, Kind, Submission, digest_of

__all__ = ["Configuration", "configure"]

_SECONDS = "seconds.json"
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
    time_limit: float | None,
    fresh: bool,
) -> Configuration:
    """See that a submission has learned what it needs.

    Args:
        submission: what is to learn.
        round_directory: the round whose train split it learns from.
        learned: where what it learns is kept. Used as it is where it holds something. By default the submission's
            own folder, or the cache.
        jobs: models to learn from at a time.
        time_limit: seconds for the look at the submission itself.
        fresh: forget what an interrupted run has learned.

    Raises:
        ExecutionError: the submission cannot be loaded, or failed to learn.
        InputError: the round has no train split to learn from.
    """
    learned = None if learned is None else learned.absolute()
    configurable = _configurable(submission, time_limit)
    if learned is not None and learned.exists() and not learned.is_dir():
        raise InputError("is not a folder", path=learned)
    if learned is not None and learned.is_dir() and any(learned.iterdir()):
        return Configuration(learned, digest_of(learned), None)
    if not configurable or (learned is None and submission.learned_parameters is not None):
        return Configuration(None, None, None)
    split = round_directory.split(_TRAIN)
    labels = json.dumps(split.labels(), sort_keys=True)  # a table at fault is told before anything runs
    name = key(submission.digest(), split_identity(split), labels)
    cache = cache_directory() / "configurations" / name
    if fresh:
        shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with exclusive(cache, "configuring this submission"):
        kept = cache / LEARNED_PARAMETERS
        if not (cache / _SECONDS).exists():
            _learn(submission, split.path.resolve(), cache, jobs)
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


def _learn(submission: Submission, train_split: Path, cache: Path, jobs: int) -> None:
    """Run the submission's ``configure``; what it has in scratch stays, so that it can go on where it was."""
    scratch, kept = cache / "scratch", cache / LEARNED_PARAMETERS
    shutil.rmtree(kept, ignore_errors=True)
    for folder in (scratch, kept):
        folder.mkdir(exist_ok=True)
    start = time.monotonic()
    # The folder of its own for temporary files has a short path: they may be sockets, whose paths must be.
    with workspace(short=True) as home:
        try:
            finished = Processes().run(
                submission.configure_command(train_split, scratch, kept, jobs),
                environment=environment(home),
                directory=home,
                show=True,
                remove=[home],
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted while the detector learned; the same command goes on") from None
    if finished.exit_code != 0:
        how = f"exit code {finished.exit_code}" if finished.signal is None else f"signal {finished.signal}"
        raise ExecutionError(f"{submission.name} failed to configure itself ({how}); what it said stands above")
    if not any(kept.iterdir()):
        raise ExecutionError(f"{submission.name} was configured, but wrote no learned parameters")
    write_atomically(cache / _SECONDS, json.dumps(time.monotonic() - start))
    remove_tree(scratch)


def _configurable(submission: Submission, time_limit: float | None) -> bool:
    """Whether it learns anything. Loads the submission's code in a process of its own, so its faults show here."""
    if submission.kind is Kind.ENTRYPOINT:
        return "configure" in submission.subcommands
    with workspace() as root:
        result = root / "description.json"
        command = submission.describe_command(result)
        assert command is not None
        finished = Processes().run(
            command, environment=environment(root), directory=root, time_limit=time_limit, remove=[root]
        )
        if finished.timed_out:
            raise ExecutionError(f"{submission.name} could not be loaded within {time_limit:g} s")
        if finished.exit_code != 0:
            raise ExecutionError(f"{submission.name} cannot be loaded{last_words(finished.stderr)}")
        return bool(json.loads(result.read_text())["configurable"])
