"""What a round is: the declarative specification, ``round.yaml``.

The presets in ``presets/`` are such files without a seed. A built round holds the whole specification that it was
built from, so that the same command can build it again, or go on with it.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from palladion.documents import load_document, parse_document, validate_document
from palladion.errors import InputError
from palladion.models.round_directory import SPLITS
from palladion.rounds.families import FAMILY_NAMES

__all__ = [
    "PRESETS",
    "Gates",
    "Images",
    "RoundSpec",
    "SplitSpec",
    "Training",
    "Trigger",
    "load_preset",
]

PRESETS = ("round-0", "round-1")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is written [low, high]; {list(value)} falls")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


class SplitSpec(_Strict):
    """One split: a number of models of its own, or the models of another split."""

    models: int | None = Field(default=None, ge=1, le=100_000)
    same_as: Literal["train", "test", "holdout"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "SplitSpec":
        if (self.models is None) == (self.same_as is None):
            raise ValueError("give either models or same_as")
        return self


class Images(_Strict):
    """How images vary; units as in :class:`palladion.rounds.images.scene.SceneLaw`."""

    side: int = Field(ge=16, le=512)
    classes: int = Field(ge=2, le=64)
    backgrounds: tuple[Literal["rural", "urban"], ...] = Field(default=("rural", "urban"), min_length=1)
    sign_side: Range
    stretch: float = Field(ge=1.0, le=2.0)
    rotation: float = Field(ge=0.0, le=180.0)
    perspective: float = Field(ge=0.0, le=0.4)
    brightness: Range
    brightness_match: Fraction
    blur_probability: Fraction
    fog_probability: Fraction
    fog: Range
    noise: float = Field(ge=0.0, le=100.0)
    examples_per_class: int = Field(ge=1, le=1000)


class Trigger(_Strict):
    """The trigger's factors. Each model takes one level of each; ranges are uniform."""

    type: Literal["polygon"]
    sides: tuple[Annotated[int, Field(ge=3, le=12)], Annotated[int, Field(ge=3, le=12)]]
    size_levels: tuple[Range, ...] = Field(
        min_length=1, description="area of the trigger's bounding square over that of the sign's"
    )
    fraction_levels: tuple[Range, ...] = Field(min_length=1, description="share of images with the trigger")
    saturation: int = Field(ge=0, le=255, description="least difference between two of the colour's channels")
    contrast: float = Field(ge=0.0, le=200.0, description="least RGB distance to the field of any sign")


class Training(_Strict):
    """The recipe, the same for clean and poisoned models."""

    images: int = Field(ge=64, le=1_000_000)
    test_images: int = Field(ge=50, le=100_000)
    steps: int = Field(ge=1, le=1_000_000)
    batch: int = Field(ge=2, le=4096)
    learning_rate: float = Field(gt=0.0, le=1.0)
    weight_decay: float = Field(ge=0.0, le=1.0)


class Gates(_Strict):
    """What a model must reach, and how often its training is tried."""

    clean_accuracy: Fraction
    attack_success_rate: Fraction
    attempts: int = Field(ge=1, le=50)


class RoundSpec(_Strict):
    """A whole round."""

    format: Literal["palladion-round/1"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=5000)
    scale: Literal["small"]
    seed: int = Field(default=0, ge=0, lt=2**63)
    splits: dict[str, SplitSpec]
    poisoned_fraction: float = Field(gt=0.0, lt=1.0)
    architectures: tuple[str, ...] = Field(min_length=1)
    images: Images
    trigger: Trigger
    training: Training
    gates: Gates
    passes: tuple[Literal["round_training_dataset_dirpath"], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "RoundSpec":
        unknown = [name for name in self.architectures if name not in FAMILY_NAMES]
        if unknown:
            raise ValueError(f"there is no architecture {unknown[0]!r}; there are {', '.join(FAMILY_NAMES)}")
        if len(set(self.architectures)) < len(self.architectures):
            raise ValueError("an architecture is named twice")
        strange = [name for name in self.splits if name not in SPLITS]
        if strange:
            raise ValueError(f"there is no split {strange[0]!r}; there are {', '.join(SPLITS)}")
        if self.splits.get("train") is None or self.splits["train"].models is None:
            raise ValueError("splits: a round needs a train split with models of its own")
        for name, split in self.splits.items():
            if split.same_as is not None and (
                split.same_as not in self.splits or self.splits[split.same_as].models is None
            ):
                raise ValueError(f"splits.{name}: same_as must name a split with models of its own")
        if self.training.images < self.training.batch:
            raise ValueError("training: images must be at least batch")
        if self.trigger.sides[0] > self.trigger.sides[1]:
            raise ValueError("trigger: sides is written [low, high]")
        return self

    def with_options(self, *, seed: int | None, models: dict[str, int | None]) -> "RoundSpec":
        """The specification with another seed and other numbers of models.

        Raises:
            InputError: an option does not fit, or is given for a split that has no models of its own.
        """
        splits = {name: split.model_dump(exclude_none=True) for name, split in self.splits.items()}
        for name, count in models.items():
            if count is None:
                continue
            if count == 0 and name != "train":
                splits.pop(name, None)
                continue
            if name in self.splits and self.splits[name].same_as is not None:
                raise InputError(
                    f"--{name}: in {self.name} the {name} split is the {self.splits[name].same_as} split; "
                    "leave this option out"
                )
            splits[name] = {"models": count}
        data = self.model_dump(mode="json", exclude_none=True)
        data["splits"] = {name: splits[name] for name in SPLITS if name in splits}
        if seed is not None:
            data["seed"] = seed
        return validate_document(data, f"the options for {self.name}", RoundSpec)


def load_preset(name_or_path: str) -> RoundSpec:
    """The preset of this name, or the specification in this file.

    Raises:
        InputError: there is neither, or the file is at fault.
    """
    if name_or_path in PRESETS:
        text = resources.files("palladion.rounds").joinpath("presets", f"{name_or_path}.yaml").read_text()
        return parse_document(text, Path(f"{name_or_path}.yaml"), RoundSpec)
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return load_document(path, RoundSpec)
    from palladion.rounds.language.spec import PRESETS as LANGUAGE_PRESETS

    known = ", ".join((*PRESETS, *LANGUAGE_PRESETS))
    raise InputError(f"there is no preset {name_or_path!r}; there are {known}, or give a .yaml file")
