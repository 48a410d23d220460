"""Play a phase with reference mitigations: what a participant would do from the first day, and what it scores.

Every step is the one that participants and the server take: the models answer the published inputs, the outputs are
packed, the zip is checked, unpacked and scored against the sealed answers.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from palladion.errors import PalladionError
from palladion.mitigations import load_mitigation, mitigations
from palladion.mitigations.answering import Answering
from palladion.models.prediction import Settings
from palladion.models.predictor import Predictor
from palladion.progress import progress
from palladion.rounds.language import layout
from palladion.submissions.checks import FaultSeverity
from palladion.submissions.packing import pack_outputs
from palladion.submissions.phase_scores import PhaseScores, score_submission
from palladion.tracks.track_file import OutputFile, TrackFile, input_file, load_track, model_folders

__all__ = ["Played", "play_phase"]


@dataclass(frozen=True, slots=True)
class Played:
    """What one mitigation scored.

    Attributes:
        method: its name.
        scores: of what would be handed in.
        zip: that itself.
    """

    method: str
    scores: PhaseScores
    zip: Path

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"method": self.method, **self.scores.to_dict(), "zip": str(self.zip)}


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
    folder = layout.existing_phase(directory, phase)
    track = load_track(folder)
    names = list(methods or sorted(mitigations()))
    chosen = [load_mitigation(name)() for name in names]
    sealed = directory / layout.SEALED / phase
    answered = {method.name: out / phase / method.name for method in chosen}
    for path in answered.values():
        path.mkdir(parents=True, exist_ok=True)
    settings = Settings(max_new_tokens=track.max_new_tokens, max_length=track.max_length)
    # Output by output: the models' own answers serve every mitigation that asks for them.
    with progress(len(chosen) * len(track.outputs), f"playing {phase}") as shown:
        for task, output in track.outputs:
            models = model_folders(folder, task)
            predictor = Predictor(input_file(folder, output), settings, device=device, dtype=dtype)
            answering = Answering(predictor, partial(_journal, out / phase / "answers", models, output))
            with closing(answering):
                for method in chosen:
                    target = answered[method.name] / output.file
                    with tempfile.TemporaryDirectory(prefix=".play.", dir=target.parent) as workspace:
                        answers = answering.restored(method, models, Path(workspace), say=shown.say)
                    predictor.write(target, answers.values)
                    shown.advance(f"{method.name}: {output.file}")
    played = [_score(folder, track, sealed, name, path, seed) for name, path in answered.items()]
    return sorted(played, key=lambda result: (-(result.scores.overall or 0.0), result.method))


def _journal(kept: Path, models: Sequence[Path], output: OutputFile, model: Path) -> Path:
    """Where a model's answers for an output are kept: those of the phase's models serve every mitigation.

    Under a name of what they depend on: answers of another round, or of other settings, are thrown away.
    """
    kept.mkdir(parents=True, exist_ok=True)
    return kept / f"{model.name if model in models else 'restored'}-{output.file}"


def _score(folder: Path, track: TrackFile, sealed: Path, name: str, outputs: Path, seed: int) -> Played:
    archive = outputs.parent / f"{name}.zip"
    names = [outputs / output.file for _, output in track.outputs]
    # The code of reference mitigations is Palladion's own; what is played is not handed in.
    packed = pack_outputs(names, archive, [(folder, track)], code_required=False)
    errors = [fault for fault in packed.check.faults if fault.severity is FaultSeverity.ERROR]
    if not errors:
        scores = score_submission(archive, folder, track, sealed, code_required=False, seed=seed)
        errors = scores.errors
    if errors:
        raise PalladionError("\n".join([f"the outputs of {name} do not pass their check:", *map(str, errors)]))
    return Played(name, scores, archive)
