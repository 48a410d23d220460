"""Run a submission on one data point.

:class:`DataPointRunner` is where a sandbox fits in: the evaluation knows nothing but it.
"""

import shlex
import time
from pathlib import Path
from typing import Protocol

from palladion.execution.outcome import Outcome, judge
from palladion.execution.processes import Processes, environment
from palladion.execution.staging import RESULT, staged
from palladion.models import ModelEntry
from palladion.submissions import DataPointPaths, Submission

__all__ = ["DataPointRunner", "PlainRunner", "command_by_hand"]


class DataPointRunner(Protocol):
    """Runs one submission on one data point after the other; many threads may call it at a time."""

    def run(self, entry: ModelEntry) -> Outcome:
        """Run the submission on a data point.

        Whatever the submission does is an outcome, never an exception.

        Raises:
            Cancelled: :meth:`stop` was called.
            InputError: the data point itself is at fault.
            ExecutionError: nothing can be run.
        """

    def stop(self) -> None:
        """Kill all that runs; every :meth:`run` in progress raises ``Cancelled``."""


class PlainRunner:
    """Runs a submission as this user, in plain processes: for one's own detectors.

    It is told neither the model's name nor its label, but nothing keeps it from looking for them.

    Args:
        submission: what to run.
        learned: the folder of what it learned; its own by default.
        time_limit: seconds of wall time a data point.
    """

    def __init__(self, submission: Submission, learned: Path | None, *, time_limit: float | None) -> None:
        self._submission, self._learned, self._time_limit = submission, learned, time_limit
        self._processes = Processes()

    def run(self, entry: ModelEntry) -> Outcome:
        """See :class:`DataPointRunner`."""
        start = time.monotonic()
        with staged(entry.open) as data_point:
            finished = self._processes.run(
                self._submission.infer_command(data_point.paths, self._learned),
                environment=environment(data_point.scratch),
                directory=data_point.scratch,
                time_limit=self._time_limit,
                remove=[data_point.root],
            )
            probability, status, error, message = judge(
                finished, data_point.active, RESULT, time_limit=self._time_limit
            )
        return Outcome(
            data_point=entry.name,
            probability=probability,
            error=error,
            message=message,
            seconds=finished.seconds,
            overhead_seconds=time.monotonic() - start - finished.seconds,
            peak_memory_bytes=finished.peak_memory_bytes,
            status=status,
        )

    def stop(self) -> None:
        """See :class:`DataPointRunner`."""
        self._processes.stop()


def command_by_hand(submission: Submission, entry: ModelEntry, learned: Path | None) -> str:
    """The command that runs a data point, as one types it: on the round itself, the answer in this folder."""
    paths = DataPointPaths(entry.model.absolute(), entry.examples.absolute(), Path(RESULT), Path("scratch"))
    return shlex.join(submission.infer_command(paths, learned))
