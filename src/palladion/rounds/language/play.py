"""Play a phase with reference mitigations: what a participant would do from the first day, and what it scores.

Every step is the one that participants and the server take: the models answer the published inputs, the outputs are
packed, the zip is checked, unpacked and scored against the sealed answers.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.errors import InputError, PalladionError
from palladion.mitigations import Answers, Context, Mitigation, Product, load_mitigation, mitigations
from palladion.models.prediction import Settings
from palladion.models.predictor import Predictor
from palladion.progress import Progress, progress
from palladion.rounds.language import layout
from palladion.submissions.archive import unpack_as_it_is
from palladion.submissions.checks import FaultSeverity
from palladion.submissions.outputs import check_outputs
from palladion.submissions.packing import pack_outputs
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.sealed import RANKED_BY, TaskResult, score_phase
from palladion.tracks.track_file import OutputFile, Task, TrackFile, input_file, load_track, model_folders

__all__ = ["Played", "play_phase"]


@dataclass(frozen=True, slots=True)
class Played:
    """What one mitigation scored.

    Attributes:
        method: its name.
        results: of the tasks.
        ranked_by: the score that ranks, ``task_score`` or ``difference_score``.
        overall: the mean of the tasks' scores.
        zip: what would be handed in.
    """

    method: str
    results: tuple[TaskResult, ...]
    ranked_by: str
    overall: float
    zip: Path

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "method": self.method,
            "ranked_by": self.ranked_by,
            "overall": self.overall,
            "tasks": {result.task: result.report for result in self.results},
            "scores": {result.task: result.score for result in self.results},
            "zip": str(self.zip),
        }


def play_phase(
    directory: Path,
    phase: str,
    out: Path,
    *,
    methods: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
) -> list[Played]:
    """Play a phase of a round with mitigations that need nothing but its models and inputs.

    Args:
        directory: the round, with what is sealed of it.
        phase: which phase.
        out: for each mitigation a folder with its outputs, and its zip.
        methods: names of mitigations; all that there are by default.
        device: of the predictions.
        dtype: of the predictions.
        seed: of the intervals.

    Returns:
        One result a mitigation, the best first.

    Raises:
        InputError: there is no such phase or mitigation.
        PalladionError: what was packed does not pass its own check.
    """
    folder = layout.phase_folder(directory, phase)
    if not folder.is_dir():
        known = sorted(path.name for path in (directory / layout.PHASES).glob("*")) if directory.is_dir() else []
        there = f"; there are {', '.join(known)}" if known else ""
        raise InputError(f"has no phase {phase!r}{there}", path=directory)
    track = load_track(folder)
    names = list(methods or sorted(mitigations()))
    chosen = [load_mitigation(name)() for name in names]
    sealed = directory / layout.SEALED / phase
    answered = {method.name: out / phase / method.name for method in chosen}
    for path in answered.values():
        path.mkdir(parents=True, exist_ok=True)
    # Output by output: the models' own answers serve every mitigation that asks for them.
    with progress(len(chosen) * len(track.outputs), f"playing {phase}") as shown:
        for task, output in track.outputs:
            inputs = _Inputs(folder, track, task, output, device, dtype, out / phase)
            for method in chosen:
                _answer(method, inputs, answered[method.name] / output.file, shown)
                shown.advance(f"{method.name}: {output.file}")
    played = [_score(folder, track, sealed, name, path, seed) for name, path in answered.items()]
    return sorted(played, key=lambda result: (-result.overall, result.method))


class _Inputs:
    """One file of inputs, and the answers of models to it; a model that was asked once is not asked again."""

    def __init__(
        self, folder: Path, track: TrackFile, task: Task, output: OutputFile, device: str, dtype: str, kept: Path
    ) -> None:
        settings = Settings(max_new_tokens=track.max_new_tokens, max_length=track.max_length)
        self.models = tuple(model_folders(folder, task))
        self.device, self.dtype = device, dtype
        self._predictor = Predictor(input_file(folder, output), settings, device=device, dtype=dtype)
        self._answers: dict[Path, Answers] = {}
        # Under a name of what they depend on: answers of another round, or of other settings, are thrown away.
        self._kept, self._name = kept / "answers", output.file
        self.rows = [row.values for row in self._predictor.rows]
        self.labels_wanted = self._predictor.labels_wanted

    def predict(self, model: Path) -> Answers:
        """The answers of the model in a directory."""
        if model not in self._answers:
            files = self._predictor.describe(model)
            self._kept.mkdir(parents=True, exist_ok=True)
            whose = model.name if model in self.models else "restored"
            journal = self._predictor.journal(files, self._kept / f"{whose}-{self._name}")
            try:
                for _ in self._predictor.answer(files, journal):
                    pass
                given = journal.in_order()
            finally:
                journal.close()
            self._answers[model] = Answers(labels=given) if self.labels_wanted else Answers(texts=given)
        return self._answers[model]


def _answer(method: Mitigation, inputs: _Inputs, target: Path, shown: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix=".play.", dir=target.parent) as workspace:
        context = Context(
            inputs.models,
            Path(workspace),
            inputs=inputs.rows,
            device=inputs.device,
            dtype=inputs.dtype,
            predict=inputs.predict,
            say=shown.say,
        )
        method.check(context)
        product = method.restore(context)
        answers = inputs.predict(product) if method.product is Product.MODEL else product  # type: ignore[arg-type]
        assert isinstance(answers, Answers)
    if answers.labels is not None:
        write_labels(target, answers.labels)
    else:
        assert answers.texts is not None
        write_generations(target, inputs.rows, answers.texts)


def _score(folder: Path, track: TrackFile, sealed: Path, name: str, outputs: Path, seed: int) -> Played:
    archive = outputs.parent / f"{name}.zip"
    names = [outputs / output.file for _, output in track.outputs]
    # The code of reference mitigations is Palladion's own; what is played is not handed in.
    packed = pack_outputs(names, archive, [(folder, track)], code_required=False)
    faults = list(packed.check.faults)
    if packed.digest is not None:
        faults += check_outputs(archive, [(folder, track)], code_required=False)
    errors = [str(fault) for fault in faults if fault.severity is FaultSeverity.ERROR]
    if errors:
        raise PalladionError("\n".join([f"the outputs of {name} do not pass their check:", *errors]))
    with tempfile.TemporaryDirectory(prefix="palladion-play-") as root:
        unpack_as_it_is(archive, Path(root) / "outputs")
        results, overall = score_phase(folder, track, sealed, Path(root) / "outputs", seed=seed)
    return Played(name, tuple(results), RANKED_BY[track.score], overall, archive)
