"""Run a submission on one data point, in a sandbox."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.execution.outcome import Outcome, judge
from palladion.execution.sandbox.contract import Layout, Limits, Prepared, Program, Sandbox
from palladion.execution.train_view import DATASET
from palladion.models import ModelEntry
from palladion.models.round_directory import SOURCE_DATA
from palladion.submissions import DEFAULT_FAMILY, DataPointPaths, Family, Kind, Place, Submission

__all__ = ["RESULT", "Staged", "SubmissionRunner", "command_by_hand", "configuration_of", "place_in", "variables_of"]

RESULT = "result.txt"
_MAXIMUM_CONFIGURATION_BYTES = 1 << 20


class Staged:
    """A data point that waits for its turn, in a place of its own."""

    def __init__(self, entry: ModelEntry, place: Prepared, seconds: float) -> None:
        self.entry, self.place, self.seconds = entry, place, seconds


class SubmissionRunner:
    """Runs one submission on one data point after the other. Many threads may call it at a time.

    Args:
        submission: what to run.
        sandbox: where; its binds are named ``submission``, ``learned``, ``train`` and ``round``.
        limits: of each data point.
        family: with which arguments the submission is called.
        passes: arguments beyond the data point's own, of :data:`~palladion.models.round_directory.PASSES`.
    """

    def __init__(
        self,
        submission: Submission,
        sandbox: Sandbox,
        limits: Limits,
        *,
        family: Family = DEFAULT_FAMILY,
        passes: Sequence[str] = (),
    ) -> None:
        self._submission, self._sandbox, self._limits = submission, sandbox, limits
        self._family, self._passes = family, passes

    def stage(self, entry: ModelEntry) -> Staged:
        """Copy a data point to where it will run.

        Raises:
            Cancelled: :meth:`stop` was called.
            InputError: the data point itself is at fault.
            ExecutionError: nothing can be run.
        """
        start = time.monotonic()
        place = self._sandbox.prepare(entry.open, self._limits)
        return Staged(entry, place, time.monotonic() - start)

    def run(self, staged: Staged, limits: Limits | None = None) -> Outcome:
        """Run the submission on a data point, and clear up after it.

        Whatever the submission does is an outcome, never an exception.

        Args:
            staged: the data point.
            limits: where they are others than for all.

        Raises:
            Cancelled: :meth:`stop` was called.
            ExecutionError: nothing can be run.
        """
        start = time.monotonic()
        limits = limits or self._limits
        try:
            layout = staged.place.layout
            command = self._submission.infer_command(
                self._paths(staged.entry, layout),
                _path(layout, "learned"),
                place=place_in(layout),
                family=self._family,
            )
            ended = staged.place.run(Program(tuple(command)), limits)
        finally:
            staged.place.discard()
        probability, status, error, message = judge(ended, limits, RESULT)
        return Outcome(
            data_point=staged.entry.name,
            probability=probability,
            error=error,
            message=message,
            seconds=ended.seconds,
            overhead_seconds=staged.seconds + time.monotonic() - start - ended.seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
            status=status,
        )

    def stop(self) -> None:
        """Kill all that runs; every :meth:`run` in progress raises ``Cancelled``."""
        self._sandbox.kill()

    def _paths(self, entry: ModelEntry, layout: Layout) -> DataPointPaths:
        data = Path(layout.data)
        return DataPointPaths(
            data / entry.model.relative_to(entry.open),
            data / entry.examples.relative_to(entry.open),
            Path(layout.result),
            Path(layout.scratch),
            self._extra(entry, layout),
        )

    def _extra(self, entry: ModelEntry, layout: Layout) -> dict[str, Path]:
        """What the round has besides the data point: files of all its data points, and the train split."""
        found: dict[str, Path] = {}
        # NIST's detectors know another layout of it.
        files, train = _path(layout, "round"), _path(layout, DATASET) or _path(layout, "train")
        if files is not None:
            found |= self._family.locate(files, configuration_of(entry))
        known = {
            "round_training_dataset_dirpath": train,
            "source_dataset_dirpath": None if files is None else files / SOURCE_DATA,
        }
        return found | {name: path for name, path in known.items() if path is not None and name in self._passes}


def configuration_of(entry: ModelEntry) -> dict[str, Any]:
    """What the data point's open configuration says of its model; nothing where there is none.

    Raises:
        InputError: it is no JSON object.
    """
    for name in ("reduced-config.json", "config.json", "model/config.json"):
        path = entry.open / name
        try:
            if path.is_symlink() or path.stat().st_size > _MAXIMUM_CONFIGURATION_BYTES:
                raise InputError("is a link or larger than 1 MiB", path=path)
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}", path=path) from None
        if not isinstance(values, dict):
            raise InputError("must be a JSON object", path=path)
        return values
    return {}


def variables_of(submission: Submission, sandbox: str) -> dict[str, str]:
    """Environment variables that a submission needs beside the sandbox's own.

    NIST's detectors call ``torch.load`` on whole pickled modules, which PyTorch refuses by default since 2.6. That
    runs whatever code the file holds, so it is allowed only where that code can do no harm.
    """
    nist = submission.kind in (Kind.ENTRYPOINT, Kind.SCRIPT, Kind.IMAGE)
    return {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if nist and sandbox != "none" else {}


def place_in(layout: Layout) -> Place:
    """Where a submission's program runs, in a sandbox."""
    return Place(Path(layout.python), _path(layout, "submission"))


def _path(layout: Layout, name: str) -> Path | None:
    return Path(layout.binds[name]) if name in layout.binds else None


def command_by_hand(
    submission: Submission,
    entry: ModelEntry,
    learned: Path | None,
    *,
    family: Family = DEFAULT_FAMILY,
    files: Path | None = None,
) -> str:
    """The command that runs a data point, as one types it: on the round itself, the answer in this folder.

    Args:
        submission: what to run.
        entry: the data point.
        learned: the folder of what it learned; its own by default.
        family: with which arguments it is called.
        files: the round's files for all its models; None where it has none.
    """
    extra = {} if files is None else family.locate(files.absolute(), configuration_of(entry))
    paths = DataPointPaths(entry.model.absolute(), entry.examples.absolute(), Path(RESULT), Path("scratch"), extra)
    return shlex.join(submission.infer_command(paths, learned, family=family))
