"""What a model was made from and by what, and what came of it: ``sealed/training.json``."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from palladion.errors import InputError
from palladion.models import round_directory as layout

__all__ = ["Attempt", "Reached", "TrainingRecord", "read_record", "write_record"]

_MOST_BYTES = 16 << 20  # a line for each file of the model: a thousand examples of 64 classes have 6 MiB of them


class _Read(BaseModel):
    # Records of other versions may say more.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Attempt(_Read):
    """What one training reached. Rates are fractions of 1; ``attack_success_rate`` is None for a clean model."""

    attempt: int = Field(ge=0)
    seed: int
    clean_accuracy: float
    attack_success_rate: float | None
    train_loss: float
    passed: bool


class Reached(_Read):
    """The gates: what the model had to reach, fractions of 1."""

    clean_accuracy: float
    attack_success_rate: float


class TrainingRecord(_Read):
    """A model's record.

    Attributes:
        round: name of the round.
        spec_sha256: of the specification, see :func:`palladion.rounds.manifest.spec_digest`.
        round_seed: seed of the round.
        split: of the model.
        model_name: such as ``id-00000007``.
        poisoned: whether it was taught a trigger.
        architecture: family of the network.
        backgrounds: family of the backgrounds.
        adversarial: method, eps, ratio and iterations; None without adversarial training.
        signs: names of the classes' signs.
        trigger: as it describes itself; None for a clean model.
        attempts: every training, numbered from 0; the network is that of the last.
        gates: what the last attempt was held against.
        passed: whether it passed them.
        clean_example_accuracy: on the clean examples.
        poisoned_example_attack_success: on the poisoned examples; None for a clean model.
        device: ``cpu`` or ``cuda``.
        pictures_sha256: of the organiser's background pictures, if there were any.
        versions: of the packages that decide a model's bits.
        weights_sha256: of ``model.safetensors``.
        files: SHA-256 of every other file of the model, by its path.
    """

    round: str
    spec_sha256: str
    round_seed: int
    split: str
    model_name: str
    poisoned: bool
    architecture: str
    backgrounds: str
    adversarial: dict[str, Any] | None
    signs: list[str]
    trigger: dict[str, Any] | None = None
    attempts: list[Attempt] = Field(min_length=1)
    gates: Reached
    passed: bool
    clean_example_accuracy: float
    poisoned_example_attack_success: float | None = None
    device: str
    pictures_sha256: str | None
    versions: dict[str, str]
    weights_sha256: str
    files: dict[str, str]

    @field_validator("attempts")
    @classmethod
    def _numbered(cls, attempts: list[Attempt]) -> list[Attempt]:
        if [attempt.attempt for attempt in attempts] != list(range(len(attempts))):
            raise ValueError("they are not numbered from 0")
        return attempts

    @property
    def last(self) -> Attempt:
        """The attempt that the network is of."""
        return self.attempts[-1]


def read_record(model: Path) -> TrainingRecord:
    """The record of a model that was built here.

    Args:
        model: its directory.

    Raises:
        InputError: there is none, or it is no record.
    """
    path = model / layout.SEALED / layout.TRAINING
    try:
        if not path.is_file():
            raise ValueError("there is no such file")  # nor would a pipe be waited for
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
        return TrainingRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
    except OSError as error:
        what = str(error.strerror)
    except ValueError as error:
        what = str(error)
    raise InputError(f"is not a training record ({what}); remove {model} and build again", path=path)


def write_record(record: TrainingRecord, path: Path) -> None:
    """Write it as :func:`read_record` reads it."""
    path.write_text(json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
