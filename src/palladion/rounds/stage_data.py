"""The data of a stage: what is there, whether it is as it must be, and how known answers score on it.

What opens a stage, and what looks at a challenge before, both ask here. Labels that are read here never leave: what
participants may have is :meth:`StageData.published_files`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palladion.challenge import Metric, Stage, Track
from palladion.challenge.metrics import LANGUAGE_TASKS, Task
from palladion.challenge.sanity import SanityResult, rank_faults
from palladion.errors import InputError, PalladionError
from palladion.models.round_directory import RoundDirectory
from palladion.rounds.language import layout
from palladion.rounds.language.spec import PRESETS as LANGUAGE_PRESETS
from palladion.rounds.spec import PRESETS
from palladion.rounds.stage_contract import StageData
from palladion.rounds.stage_models import DetectionData
from palladion.rounds.stage_texts import LanguageData
from palladion.tracks.track_file import load_track

__all__ = [
    "DetectionData",
    "LanguageData",
    "StageCheck",
    "StageData",
    "check_stage",
    "open_stage_data",
]


def open_stage_data(path: Path, task: Task, phase: str | None = None, *, dry_run: bool = False) -> StageData:
    """The data of a stage.

    Args:
        path: the round directory.
        task: of the track.
        phase: of a language track.
        dry_run: of a detection track: whether the test split is to be the train split.

    Raises:
        InputError: there is no such directory, it is no round of this task, or has no such phase.
    """
    if task in LANGUAGE_TASKS:
        if phase is None:
            raise InputError(f"a {task} track needs the phase of its round", path=path)
        folder = layout.existing_phase(path, phase)
        return LanguageData(path, task, phase, load_track(folder))
    if layout.is_language_round(path):
        raise InputError("is a round of a language track, where models are to be told apart", path=path)
    return DetectionData(path, RoundDirectory.open(path), dry_run)


@dataclass(frozen=True, slots=True)
class StageCheck:
    """What a look at the data of a stage found.

    Attributes:
        stage: its name.
        found: whether there is any data.
        faults: what keeps it from opening, in words.
        notes: what an organiser should know.
        sanity: how the four known submissions score, by split.
    """

    stage: str
    found: bool
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sanity: dict[str, tuple[SanityResult, ...]] = field(default_factory=dict)


def check_stage(folder: Path, track: Track, stage: Stage, *, thorough: bool = False, seed: int = 0) -> StageCheck:
    """Look at the data of a stage, and score perfect, constant, inverted and random answers on it.

    Args:
        folder: of the challenge file.
        track: of the stage.
        stage: the stage.
        thorough: also look at every file of the round.
        seed: of the random answers.
    """
    path = folder / stage.data
    if not path.is_dir() or not any(path.iterdir()):
        return StageCheck(stage.name, False, notes=(_missing(path, track.task),))
    try:
        data = open_stage_data(path, track.task, stage.phase, dry_run=stage.dry_run)
    except PalladionError as error:
        return StageCheck(stage.name, True, tuple(str(error).split("\n")))
    faults = data.faults(thorough=thorough)
    if track.clusters and not faults and isinstance(data, DetectionData):
        faults += data.cluster_faults(track.clusters)
    sanity: dict[str, tuple[SanityResult, ...]] = {}
    if not faults:
        for split in _scored(data):
            try:
                sanity[split] = data.sanity(split, seed=seed)
            except PalladionError as error:
                faults += str(error).split("\n")
                continue
            prevalence = data.prevalence(split)
            faults += [f"{path}, {split}: {fault}" for fault in _rank_faults(sanity[split], track, prevalence)]
    return StageCheck(stage.name, True, tuple(faults), tuple(data.notes(stage.prevalence)), sanity)


def _scored(data: StageData) -> Sequence[str]:
    """The splits that submissions are scored on: those that are sealed, and the test split of a dry run."""
    return [split for split in data.splits if split in {*data.sealed_splits, "test"}]


def _rank_faults(results: Sequence[SanityResult], track: Track, prevalence: float | None) -> list[str]:
    ranking: list[Metric] = [metric for metric in track.all_metrics if metric.ranks]
    return [fault for metric in ranking for fault in rank_faults(results, metric, prevalence)]


def _missing(path: Path, task: Task) -> str:
    known = LANGUAGE_PRESETS if task in LANGUAGE_TASKS else PRESETS
    fitting = f"antibad-{task}"
    preset = path.name if path.name in known else fitting if fitting in known else "SPEC.yaml"
    # A language round draws a seed itself; that of other rounds is 0 unless it is given.
    seed = "" if task in LANGUAGE_TASKS else " --seed N"
    said = [] if preset in known else [f"SPEC.yaml describes the round, or is one of {', '.join(known)}"]
    said += ["N is a number that nobody can guess"] if seed else []
    words = f" ({'; '.join(said)})" if said else ""
    return f"{path}: is not there yet; build it: palladion round build {preset} --out {path}{seed}{words}"
