"""What a round is: the declarative specification, ``round.yaml``.

The presets in ``presets/`` are such files without a seed. A built round holds the whole specification that it was
built from, so that the same command can build it again, or go on with it.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from palladion.documents import load_document, parse_document, validate_document
from palladion.errors import InputError
from palladion.models.round_directory import SPLITS
from palladion.rounds.families import FAMILIES, names_at
from palladion.rounds.images.filters import FILTERS

__all__ = [
    "PRESETS",
    "SCALES",
    "Adversarial",
    "Beta",
    "CellFactor",
    "Design",
    "Filter",
    "Gates",
    "Images",
    "Polygon",
    "Probability",
    "RoundSpec",
    "SplitSpec",
    "Training",
    "Trigger",
    "load_preset",
]

PRESETS = ("round-0", "round-1", "round-2", "round-3")
SCALES = ("small", "nist")
CellFactor = Literal["architecture", "backgrounds", "number_classes", "trigger_type", "sources", "adversarial_method"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_LEAST_SIGN = 0.05


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:  # nor is a range that ends in nan
        raise ValueError(f"a range is written [low, high]; {list(value)} falls")
    return value


_Factor = Annotated[float, Field(gt=0.0, le=4.0)]
Shares = Annotated[tuple[Fraction, Fraction], AfterValidator(_rising)]
"""A range within [0, 1]."""
Factors = Annotated[tuple[_Factor, _Factor], AfterValidator(_rising)]
"""A range of factors on a size or a brightness."""


class SplitSpec(_Strict):
    """One split: a number of models of its own, or the models of another split."""

    models: int | None = Field(default=None, ge=1, le=100_000)
    same_as: Literal["train", "test", "holdout"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "SplitSpec":
        if (self.models is None) == (self.same_as is None):
            raise ValueError("give either models or same_as")
        return self


def _levels(value: Any) -> Any:
    """A factor of one level may do without its brackets: ``5`` for ``[[5, 5]]``, ``[5, 9]`` for ``[[5, 9]]``."""
    if isinstance(value, int):
        return [[value, value]]
    if isinstance(value, list) and value and all(isinstance(part, int) for part in value):
        return [value]
    return value


def _rising_integers(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"a range is written [low, high]; {list(value)} falls")
    return value


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a level is named twice")
    return values


_Classes = Annotated[int, Field(ge=2, le=64)]
_Sides = Annotated[int, Field(ge=3, le=12)]
_Examples = Annotated[int, Field(ge=1, le=1000)]
ClassRange = Annotated[tuple[_Classes, _Classes], AfterValidator(_rising_integers)]
SideRange = Annotated[tuple[_Sides, _Sides], AfterValidator(_rising_integers)]
ExampleRange = Annotated[tuple[_Examples, _Examples], AfterValidator(_rising_integers)]


class Beta(_Strict):
    """A probability that is drawn for each model from a beta distribution, as NIST's weather was."""

    beta: tuple[Annotated[float, Field(gt=0.0, le=1000.0)], Annotated[float, Field(gt=0.0, le=1000.0)]]


Probability = Fraction | Annotated[tuple[Fraction, Fraction], AfterValidator(_rising)] | Beta
"""A number, a range that is uniform over the models, or a beta distribution."""


class Images(_Strict):
    """How images vary; units as in :class:`palladion.rounds.images.scene.SceneLaw`."""

    side: int = Field(ge=16, le=512, description="of the images as they are drawn and stored, pixels")
    input: int | None = Field(default=None, ge=16, le=512, description="the middle that the networks see; default side")
    classes: Annotated[tuple[ClassRange, ...], BeforeValidator(_levels)] = Field(min_length=1)
    backgrounds: Annotated[tuple[Literal["rural", "urban"], ...], AfterValidator(_distinct)] = Field(
        default=("rural", "urban"), min_length=1
    )
    pictures: str | None = Field(
        default=None, max_length=4096, description="folder of pictures, in the place of backgrounds"
    )
    sign_side: Factors
    stretch: float = Field(ge=1.0, le=4.0)
    rotation: float = Field(ge=0.0, le=180.0)
    perspective: float = Field(ge=0.0, le=0.4)
    brightness: Factors
    brightness_match: Fraction
    blur_probability: Fraction
    fog_probability: Probability
    fog: Shares
    rain_probability: Probability = 0.0
    noise: float = Field(ge=0.0, le=100.0)
    examples_per_class: Annotated[tuple[ExampleRange, ...], BeforeValidator(_levels)] = Field(min_length=1)

    @model_validator(mode="after")
    def _input_within(self) -> "Images":
        if self.input is not None and self.input > self.side:
            raise ValueError("input is the middle of an image of side pixels, and cannot be larger")
        if self.sign_side[0] < _LEAST_SIGN or self.sign_side[1] > 1:
            raise ValueError(f"sign_side is a share of the image's side, from {_LEAST_SIGN} to 1")
        return self


class Polygon(_Strict):
    """Polygons on the sign. Each model takes one level of each factor; ranges are uniform."""

    sides: Annotated[tuple[SideRange, ...], BeforeValidator(_levels)] = Field(min_length=1)
    size_levels: tuple[Shares, ...] = Field(min_length=1, description="area of the trigger over that of the sign")
    saturation: int = Field(ge=0, le=255, description="least difference between two of the colour's channels")
    contrast: float = Field(ge=0.0, le=200.0, description="least RGB distance to any colour of the signs")


class Filter(_Strict):
    """Filters over the whole image."""

    names: Annotated[tuple[str, ...], AfterValidator(_distinct)] = Field(default=FILTERS, min_length=1)
    strength: Shares = Field(default=(1.0, 1.0), description="1 is the whole filter, 0 the image as it was")

    @model_validator(mode="after")
    def _known(self) -> "Filter":
        for name in self.names:
            if name not in FILTERS:
                raise ValueError(f"there is no filter {name!r}; there are {', '.join(FILTERS)}")
        if self.strength[0] <= 0:
            raise ValueError("strength lies above 0")
        return self


class Trigger(_Strict):
    """The trigger's factors. Each model takes one level of each; ranges are uniform."""

    types: Annotated[tuple[Literal["polygon", "filter"], ...], AfterValidator(_distinct)] = Field(min_length=1)
    sources: Annotated[tuple[Annotated[int, Field(ge=1, le=63)] | Literal["all"], ...], AfterValidator(_distinct)] = (
        Field(default=("all",), min_length=1, description="how many classes the trigger works on")
    )
    fraction_levels: tuple[Shares, ...] = Field(
        min_length=1, description="share of the source classes' images that carry the trigger"
    )
    polygon: Polygon | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _described(self) -> "Trigger":
        for kind in ("polygon", "filter"):
            if kind in self.types and getattr(self, kind) is None:
                raise ValueError(f"types names {kind}, and there is no block {kind} that describes it")
        if any(low <= 0 for low, _ in self.fraction_levels):
            raise ValueError("fraction_levels lie above 0")
        return self


class Adversarial(_Strict):
    """Adversarial training: every model takes one level of each factor.

    ``pgd`` is projected gradient descent (Madry et al. 2018, "Towards deep learning models resistant to adversarial
    attacks"), ``fbf`` is one step from a random start (Wong, Rice, Kolter 2020, "Fast is better than free").
    """

    methods: Annotated[tuple[Literal["pgd", "fbf"], ...], AfterValidator(_distinct)] = Field(min_length=1)
    eps: Annotated[tuple[Annotated[float, Field(gt=0.0, le=64.0)], ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="largest change of a pixel, grey levels of 255"
    )
    ratio: Annotated[tuple[Fraction, ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="share of the batches that are perturbed"
    )
    iterations: Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="steps of PGD"
    )


def _one_number(value: Any) -> Any:
    """A factor that does not vary may be written as one number: ``400`` for ``[400, 400]``."""
    return [value, value] if isinstance(value, int | float) and not isinstance(value, bool) else value


_Steps = Annotated[int, Field(ge=1, le=1_000_000)]
_Rate = Annotated[float, Field(gt=0.0, le=1.0)]
StepRange = Annotated[tuple[_Steps, _Steps], BeforeValidator(_one_number), AfterValidator(_rising_integers)]
_Images = Annotated[int, Field(ge=64, le=1_000_000)]
ImageRange = Annotated[tuple[_Images, _Images], BeforeValidator(_one_number), AfterValidator(_rising_integers)]
_Smoothing = Annotated[float, Field(ge=0.0, lt=0.5)]
SmoothingRange = Annotated[tuple[_Smoothing, _Smoothing], BeforeValidator(_one_number), AfterValidator(_rising)]
RateRange = Annotated[tuple[_Rate, _Rate], BeforeValidator(_one_number), AfterValidator(_rising)]
DecayRange = Annotated[tuple[Fraction, Fraction], BeforeValidator(_one_number), AfterValidator(_rising)]


class Training(_Strict):
    """The recipe: each model draws from the same ranges, before anybody knows its label.

    Without such a spread all clean models would have nearly the same weight norms, and the little that a trigger adds
    to them would tell the label.
    """

    images: ImageRange
    test_images: int = Field(ge=50, le=100_000)
    steps: StepRange
    batch: int = Field(ge=2, le=4096)
    learning_rate: RateRange = Field(description="largest; uniform in its logarithm")
    weight_decay: DecayRange
    label_smoothing: SmoothingRange = Field(default=(0.0, 0.0), description="share of the label given to all classes")
    adversarial: Adversarial | None = None


class Gates(_Strict):
    """What a model must reach, and how often its training is tried."""

    clean_accuracy: Fraction
    attack_success_rate: Fraction
    attempts: int = Field(ge=1, le=50)


class Design(_Strict):
    """How factors are dealt."""

    cells: Annotated[tuple[CellFactor, ...], AfterValidator(_distinct)] = Field(
        default=("architecture", "backgrounds"),
        min_length=1,
        description="every combination of these factors' levels gets the same number of models, half of them poisoned",
    )


class RoundSpec(_Strict):
    """A whole round."""

    format: Literal["palladion-round/3"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=5000)
    scale: Literal["small", "nist"]
    compat: Literal["none", "nist"] = "none"
    seed: int = Field(default=0, ge=0, lt=2**63)
    splits: dict[str, SplitSpec]
    poisoned_fraction: float = Field(gt=0.0, lt=1.0)
    architectures: tuple[str, ...] = Field(min_length=1)
    images: Images
    trigger: Trigger
    training: Training
    gates: Gates
    design: Design = Design()
    passes: tuple[Literal["round_training_dataset_dirpath"], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "RoundSpec":
        known = names_at(self.scale)
        unknown = [name for name in self.architectures if name not in known]
        if unknown:
            scale = f" at scale {self.scale}" if unknown[0] in FAMILIES else ""
            raise ValueError(f"there is no architecture {unknown[0]!r}{scale}; there are {', '.join(known)}")
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
        if self.training.images[0] < self.training.batch:
            raise ValueError("training: images must be at least batch")
        fewest = min(low for low, _ in self.images.classes)
        for count in self.trigger.sources:
            if count != "all" and count >= fewest:
                raise ValueError(
                    f"trigger.sources: {count} source classes and a target do not fit into {fewest} classes"
                )
        if "adversarial_method" in self.design.cells and self.training.adversarial is None:
            raise ValueError("design.cells: adversarial_method is no factor of a round without training.adversarial")
        return self

    def with_options(
        self, *, seed: int | None, models: dict[str, int | None], attempts: int | None = None
    ) -> "RoundSpec":
        """The specification with another seed, other numbers of models, another number of attempts.

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
        if attempts is not None:
            data["gates"]["attempts"] = attempts
        return validate_document(data, f"the options for {self.name}", RoundSpec)

    def with_pictures(self, folder: Path) -> "RoundSpec":
        """The specification with its background pictures in another folder."""
        return self.model_copy(update={"images": self.images.model_copy(update={"pictures": str(folder)})})


def load_preset(name_or_path: str, scale: str = SCALES[0]) -> RoundSpec:
    """The preset of this name at this scale, or the specification in this file, which says its own.

    A folder of pictures that a file names is relative to the file; a build does not depend on where it runs.

    Raises:
        InputError: there is neither, or the file is at fault.
    """
    if name_or_path in PRESETS:
        file = resources.files("palladion.rounds").joinpath("presets", scale, f"{name_or_path}.yaml")
        if scale not in SCALES or not file.is_file():
            raise InputError(f"--scale: {name_or_path} has no scale {scale!r}; there are {', '.join(SCALES)}")
        return parse_document(file.read_text(), Path(f"{name_or_path}.yaml"), RoundSpec)
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        spec = load_document(path, RoundSpec)
        return (
            spec if spec.images.pictures is None else spec.with_pictures(path.resolve().parent / spec.images.pictures)
        )
    from palladion.rounds.language.spec import PRESETS as LANGUAGE_PRESETS

    known = ", ".join((*PRESETS, *LANGUAGE_PRESETS))
    raise InputError(f"there is no preset {name_or_path!r}; there are {known}, or give a .yaml file")
