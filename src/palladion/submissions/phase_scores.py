"""What a submission to a phase of a language track scores: checked, unpacked and held against the sealed answers."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palladion.scoring import PointScores
from palladion.scoring.point_scores import PointTask
from palladion.submissions.archive import unpack_as_it_is
from palladion.submissions.checks import Fault, FaultSeverity
from palladion.submissions.outputs import Layout, check_outputs
from palladion.tracks.sealed import RANKED_BY, TaskResult, score_phase
from palladion.tracks.track_file import TrackFile

__all__ = ["PhaseScores", "score_submission"]


@dataclass(frozen=True, slots=True)
class PhaseScores:
    """What a submission scored.

    Attributes:
        faults: what its check found; with an error among them there are no scores.
        results: of the tasks.
        ranked_by: the score of a report that ranks, ``task_score`` or ``difference_score``.
        overall: the mean of the tasks' scores; None where there are none.
    """

    faults: tuple[Fault, ...]
    results: tuple[TaskResult, ...]
    ranked_by: str
    overall: float | None

    @property
    def errors(self) -> list[Fault]:
        """The faults that keep it from being scored."""
        return [fault for fault in self.faults if fault.severity is FaultSeverity.ERROR]

    def points(self, task: PointTask) -> PointScores | None:
        """What the single rows scored; a task without outputs has none. None where nothing was scored.

        Args:
            task: of the track: classification or generation.
        """
        if not self.results:
            return None
        arrays: dict[str, NDArray[Any]] = {}
        for result in self.results:
            rows = result.rows
            arrays[f"{result.task}/utility"] = np.zeros(0) if rows is None else rows.utility
            arrays[f"{result.task}/success"] = np.zeros(0) if rows is None else rows.success
            arrays[f"{result.task}/attack"] = np.zeros(0, np.int32) if rows is None else rows.attack
        return PointScores(task, arrays)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "tasks": {result.task: result.report for result in self.results},
            "scores": {result.task: result.score for result in self.results},
            "ranked_by": self.ranked_by,
            "overall": self.overall,
        }


def score_submission(
    path: Path, folder: Path, track: TrackFile, sealed: Path, *, code_required: bool | None = None, seed: int = 0
) -> PhaseScores:
    """Check a zip, or a folder, of outputs as it was handed in, and score it.

    Args:
        path: the zip or the folder.
        folder: of the track file.
        track: what it says.
        sealed: holds a sealed folder for each task.
        code_required: whether ``code/`` must be there, instead of what the track says.
        seed: of the intervals.

    Raises:
        InputError: there is no such submission, or the inputs or the sealed answers are at fault.
        PalladionError: it cannot be unpacked here.
    """
    tracks = [(folder, track)]
    faults = tuple(check_outputs(path, tracks, code_required=code_required))
    ranked_by = RANKED_BY[track.score]
    if any(fault.severity is FaultSeverity.ERROR for fault in faults):
        return PhaseScores(faults, (), ranked_by, None)
    with ExitStack() as stack:
        outputs = path
        if not path.is_dir():
            outputs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palladion-score-"))) / "outputs"
            unpack_as_it_is(path, outputs, Layout.of(tracks).limits)
        results, overall = score_phase(folder, track, sealed, outputs, seed=seed)
    return PhaseScores(faults, tuple(results), ranked_by, overall)
