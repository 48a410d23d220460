"""Where things lie in a round of a language track.

::

    ROUND/base/                                    the base model
    ROUND/phases/<phase>/track.yaml                published, as is everything under phases/
    ROUND/phases/<phase>/models/<task>/model1/
    ROUND/phases/<phase>/validation/<task>/        clean.json, poisoned.json, meta.json
    ROUND/phases/<phase>/test/<task>/              clean.json and poisoned.json, or test.json; inputs only
    ROUND/sealed/round.yaml                        what it was built from; whoever has it can draw the triggers
    ROUND/sealed/base.json
    ROUND/sealed/<phase>/<task>/                   clean.json, poisoned.json, meta.json, order.json, model1.json and
                                                   so on, clean-model.json
    ROUND/sealed/<phase>/<task>/clean-model/       the clean model that the poisoned ones are measured against
"""

from pathlib import Path
from typing import Final

from palladion.errors import InputError

__all__ = [
    "BASE",
    "BASE_RECORD",
    "CLEAN_MODEL",
    "PHASES",
    "ROUND_FILE",
    "SEALED",
    "existing_phase",
    "is_language_round",
    "models_folder",
    "phase_folder",
    "sealed_folder",
    "test_folder",
    "validation_folder",
]

BASE: Final = "base"
PHASES: Final = "phases"
SEALED: Final = "sealed"
ROUND_FILE: Final = "round.yaml"
BASE_RECORD: Final = "base.json"
CLEAN_MODEL: Final = "clean-model"


def is_language_round(directory: Path) -> bool:
    """Whether a directory is a round of a language track."""
    return (directory / PHASES).is_dir() and (directory / SEALED / ROUND_FILE).is_file()


def phase_folder(directory: Path, phase: str) -> Path:
    """What participants get of a phase."""
    return directory / PHASES / phase


def existing_phase(directory: Path, phase: str) -> Path:
    """What participants get of a phase that there is.

    Raises:
        InputError: there is none of this name.
    """
    known = sorted(path.name for path in (directory / PHASES).glob("*/")) if directory.is_dir() else []
    if phase not in known:
        there = f"; there are {', '.join(map(ascii, known))}" if known else "; it is no round of a language track"
        raise InputError(f"has no phase {phase!a}{there}", path=directory)
    return phase_folder(directory, phase)


def models_folder(directory: Path, phase: str, task: str) -> Path:
    """The poisoned models of a task."""
    return phase_folder(directory, phase) / "models" / task


def validation_folder(directory: Path, phase: str, task: str) -> Path:
    """Rows with answers."""
    return phase_folder(directory, phase) / "validation" / task


def test_folder(directory: Path, phase: str, task: str) -> Path:
    """Rows without answers."""
    return phase_folder(directory, phase) / "test" / task


def sealed_folder(directory: Path, phase: str, task: str) -> Path:
    """What nobody gets."""
    return directory / SEALED / phase / task
