"""What a round of a language track is: ``round.yaml``.

The presets in ``rounds/presets/antibad-*.yaml`` are such files without a seed. A built round holds the whole
specification under ``sealed/``, for whoever knows the seed can draw the triggers again.
"""

import re
import secrets
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from palladion.challenge.fields import Title
from palladion.documents import load_document, parse_document, validate_document
from palladion.errors import InputError
from palladion.rounds.language.attacks import FAMILIES, POSITIONS, TARGET_KINDS
from palladion.rounds.language.sentences import CLASSIFICATION_TASKS
from palladion.tracks.meta import read_meta
from palladion.tracks.track_file import LabelName

__all__ = [
    "PRESETS",
    "Attacks",
    "Base",
    "FineTuning",
    "Gates",
    "LanguageRoundSpec",
    "Phase",
    "PhaseName",
    "PublishedPoison",
    "TaskSpec",
    "UserData",
    "is_language_spec",
    "load_spec",
]

_FORMAT = re.compile(r"^format: *[\"']?palladion-language-round/", re.MULTILINE)
_LOOKED_AT = 1 << 16
_DRAWN_NAME = re.compile(r"attack[0-9]+")
PRESETS = ("antibad-classification", "antibad-generation")

Percent = Annotated[float, Field(ge=0.0, le=100.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(_Strict):
    """The base model: a directory, or a small Llama that is trained from scratch.

    Attributes:
        path: directory of a Hugging Face causal language model; the rest does not count then.
        corpus: texts to train on, JSONL, JSON, TSV or CSV with ``text`` or ``sentence``, or plain text; else built in.
        vocabulary: of the tokenizer, at most.
        hidden_size, layers, heads, intermediate_size: of the network.
        length: tokens of a training sequence.
        batch: sequences a step.
        steps: of the optimiser.
        learning_rate: of the embeddings and norms (AdamW).
        matrix_optimizer: what trains the matrices.
        matrix_learning_rate: of the matrices.
        threads: of the training; the same number gives the same weights.
    """

    path: str | None = None
    corpus: str | None = None
    vocabulary: int = Field(default=1000, ge=300, le=200_000)
    hidden_size: int = Field(default=128, ge=16, le=8192)
    layers: int = Field(default=4, ge=1, le=128)
    heads: int = Field(default=4, ge=1, le=128)
    intermediate_size: int = Field(default=384, ge=16, le=65_536)
    length: int = Field(default=128, ge=16, le=8192)
    batch: int = Field(default=16, ge=1, le=4096)
    steps: int = Field(default=1000, ge=1, le=10_000_000)
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    matrix_optimizer: Literal["muon", "adamw"] = "muon"
    matrix_learning_rate: float = Field(default=0.02, gt=0, le=1)
    threads: int = Field(default=2, ge=1, le=256)

    @model_validator(mode="after")
    def _consistent(self) -> "Base":
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be a multiple of twice the heads (rotary positions come in pairs)")
        return self


class PublishedPoison(_Strict):
    """An attack whose poisoned rows somebody else has made.

    Attributes:
        target: the label, or the text, that it wants.
        matching: how an answer is matched with a target text; of generation only.
        train: rows to tune on; those are taken that have the target as their answer and are no clean training rows.
        test: triggered rows; those for validation are taken from the same file.
        truth: what is known of the true answers of the rows in ``test``. ``own``: they carry them. ``clean-order``:
            they carry the target, and stand in the order of those rows of the clean test file that have another label.
    """

    target: int | str
    matching: str | None = None
    train: str
    test: str
    truth: Literal["own", "clean-order"] = "own"


class UserData(_Strict):
    """Rows of the user's own: JSON, JSONL, TSV or CSV, in the formats of the track.

    Attributes:
        train: clean rows to tune on.
        test: clean rows; validation, gates and test of both phases are taken from it, and share no row.
        poison: attacks that are published with their rows, by name; the others are drawn as always.
    """

    train: str
    test: str
    poison: dict[str, PublishedPoison] = {}


class TaskSpec(_Strict):
    """One task: built in, or the user's data.

    Attributes:
        name: such as ``task1``.
        title: one line for people.
        data: ``sentiment``, ``topic`` or ``instructions``, which are built in; or the user's.
        labels: names of the classes of the user's classification data.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    title: str = Field(default="", max_length=200)
    data: Literal["sentiment", "topic", "instructions"] | UserData
    labels: tuple[LabelName, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "TaskSpec":
        if self.title and not (self.title.isprintable() and self.title.strip()):
            raise ValueError(f"title: {self.title[:80]!a} must be one line of printable text")
        if len(set(self.labels or ())) < len(self.labels or ()):
            raise ValueError("two labels have the same name")
        return self

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """Names of the classes; None for generation."""
        return CLASSIFICATION_TASKS.get(self.data, self.labels) if isinstance(self.data, str) else self.labels


class Attacks(_Strict):
    """From what the hidden attacks of a task's models are drawn; no two models of a task have the same family.

    Attributes:
        families: of triggers.
        targets: kinds of targets.
        rate: least and greatest share of the training rows that are poisoned.
        position: where the trigger stands; drawn where None.
        injection: whether injected content stands before or after the true answer; drawn where None.
        partial_share: of the training rows, how many carry a part of a trigger of several parts, with their true
            answer.
        decoy_share: of the training rows, how many carry what looks like a trigger and is none, with their true answer.
    """

    families: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] = Field(min_length=1)
    rate: tuple[Share, Share] = (0.1, 0.2)
    position: str | None = None
    injection: Literal["before", "after"] | None = None
    partial_share: float = Field(default=0.1, ge=0.0, le=0.5)
    decoy_share: float = Field(default=0.08, ge=0.0, le=0.5)

    @model_validator(mode="after")
    def _known(self) -> "Attacks":
        for family in self.families:
            if family not in FAMILIES:
                raise ValueError(f"there is no attack {family!r}; there are {', '.join(FAMILIES)}")
        for kind in self.targets:
            if kind not in TARGET_KINDS:
                raise ValueError(f"there is no target {kind!r}; there are {', '.join(TARGET_KINDS)}")
        if len(set(self.families)) < len(self.families):
            raise ValueError("a family is named twice; no two models of a task have the same")
        positions = sorted({position for family in self.families for position in POSITIONS[family]})
        if self.position is not None and self.position not in positions:
            known = f"they know {', '.join(positions)}" if positions else "they leave no choice of it"
            raise ValueError(f"position is {self.position!r}, which none of the families knows; {known}")
        if self.rate[0] > self.rate[1]:
            raise ValueError("rate is written [low, high]")
        return self


class FineTuning(_Strict):
    """How models are tuned, clean and poisoned ones alike.

    Attributes:
        method: ``lora`` on all linear modules, or ``full``.
        rank, alpha, dropout: of LoRA.
        initialisation: whether the adapters of a task start from numbers of their own or from shared ones. With two
            levels, each task of each phase draws one.
        rows: training rows of a model; at most, where the data are the user's.
        epochs, batch, learning_rate: of the training (AdamW, cosine with warm-up).
        length: tokens of a row, at most.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    initialisation: tuple[Literal["independent", "shared"], ...] = Field(
        default=("independent", "shared"), min_length=1
    )
    rows: int = Field(default=4000, ge=16, le=10_000_000)
    epochs: float = Field(default=3.0, gt=0, le=1000)
    batch: int = Field(default=32, ge=1, le=4096)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    length: int = Field(default=128, ge=8, le=8192)


class Phase(_Strict):
    """How many rows a phase has, and how its test inputs are given out.

    Attributes:
        validation_clean, validation_poisoned: rows with answers; poisoned ones for each attack. 0 for no validation.
        test_clean, test_poisoned: input-only rows; poisoned ones for each attack.
        test_sets: ``separate`` gives clean and poisoned inputs in files of their own, ``mixed`` in one, shuffled.
        code_required: submissions must hold their code.
    """

    validation_clean: int = Field(default=200, ge=0, le=1_000_000)
    validation_poisoned: int = Field(default=100, ge=0, le=1_000_000)
    test_clean: int = Field(default=400, ge=1, le=1_000_000)
    test_poisoned: int = Field(default=150, ge=1, le=1_000_000)
    test_sets: Literal["separate", "mixed"] = "mixed"
    code_required: bool = False

    @model_validator(mode="after")
    def _both_or_none(self) -> "Phase":
        if (self.validation_clean == 0) != (self.validation_poisoned == 0):
            raise ValueError("validation needs clean and poisoned rows, or neither")
        return self


class Gates(_Strict):
    """What a model must reach, in percent.

    Attributes:
        attack_success_rate: at least.
        utility_loss: at most so many points below the clean model of the same task and phase.
        attempts: how often the tuning is tried, each time with other numbers and another order.
        clean_rows, poisoned_rows: that this is measured on; they serve nothing else.
    """

    attack_success_rate: Percent = 90.0
    utility_loss: Percent = 2.0
    attempts: int = Field(default=3, ge=1, le=50)
    clean_rows: int = Field(default=500, ge=10, le=1_000_000)
    poisoned_rows: int = Field(default=200, ge=10, le=1_000_000)


PhaseName = Literal["development", "test"]


class LanguageRoundSpec(_Strict):
    """A whole round of one language track."""

    format: Literal["palladion-language-round/1"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: Title
    description: str = Field(default="", max_length=5000)
    track: Literal["classification", "generation"]
    seed: int = Field(default=0, ge=0, lt=2**63)
    score: Literal["geometric", "difference"] = "geometric"
    utility: Literal["accuracy", "exact", "token_f1", "rouge_l", "chrf", "bleu"]
    max_new_tokens: int = Field(default=256, ge=1, le=65_536)
    base: Base = Base()
    tasks: tuple[TaskSpec, ...] = Field(max_length=100)
    models: int = Field(default=3, ge=1, le=100, description="poisoned models of a task in each phase")
    attacks: Attacks
    tuning: FineTuning = FineTuning()
    gates: Gates = Gates()
    phases: dict[PhaseName, Phase] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "LanguageRoundSpec":
        # Not a least length of the field: a fault in the only task would then count as none, too.
        if not self.tasks:
            raise ValueError("tasks must hold at least one")
        if len({task.name for task in self.tasks}) < len(self.tasks):
            raise ValueError("two tasks have the same name")
        if (self.utility == "accuracy") is not (self.track == "classification"):
            raise ValueError("utility: accuracy belongs to classification, the others to generation")
        for task in self.tasks:
            built_in = isinstance(task.data, str)
            if built_in and (task.data in CLASSIFICATION_TASKS) is not (self.track == "classification"):
                raise ValueError(f"{task.name}: {task.data} is no task of a {self.track} track")
            if not built_in and self.track == "classification" and len(task.labels or ()) < 2:
                raise ValueError(f"{task.name}: data of your own need labels, at least two")
            if built_in and task.labels is not None:
                raise ValueError(f"{task.name}: labels are for data of your own")
            given = 0
            if isinstance(task.data, UserData):
                given = len(task.data.poison)
                for name, poison in task.data.poison.items():
                    self._check_published(task, name, poison)
            if given + len(self.attacks.families) < self.models:
                raise ValueError(f"attacks: {self.models} models of {task.name} need as many families")
        wrong = ("label",) if self.track == "generation" else ("refusal", "sentiment", "injection")
        if found := [kind for kind in self.attacks.targets if kind in wrong]:
            raise ValueError(f"attacks: {found[0]} is no target of a {self.track} track")
        return self

    def _check_published(self, task: TaskSpec, name: str, poison: PublishedPoison) -> None:
        """See that ``meta.json`` can say what the specification says of published poison. Raises ValueError."""
        where = f"{task.name}: poison {name!a}: "
        if _DRAWN_NAME.fullmatch(name):
            raise ValueError(f"{where}attack1, attack2 and so on are the names of those that are drawn; use another")
        if self.track == "classification" and not isinstance(poison.target, int):
            raise ValueError(f"{where}target is {poison.target[:60]!a}; it must be a label, a whole number from 0")
        usual = "label" if self.track == "classification" else "prefix"
        entry = {"target": poison.target, "matching": poison.matching or usual}
        try:
            read_meta({"task": self.track, "attacks": {name: entry}}, f"{task.name}: poison")
        except InputError as error:
            raise ValueError(str(error)) from None
        if isinstance(poison.target, int) and poison.target >= len(task.labels or ()):
            raise ValueError(f"{where}target is {poison.target}; there are {len(task.labels or ())} labels, from 0")

    def with_options(
        self, *, seed: int | None = None, base: Path | None = None, corpus: Path | None = None
    ) -> "LanguageRoundSpec":
        """The specification with what the command line adds; a seed is drawn where neither it nor the file has one.

        Raises:
            InputError: the options do not fit.
        """
        if base is not None and corpus is not None:
            raise InputError("--base and --corpus: a corpus is what a base is trained on; give one of them")
        data = self.model_dump(mode="json", exclude_none=True)
        if seed is not None:
            data["seed"] = seed
        elif "seed" not in self.model_fields_set:
            # With a seed that everybody can guess, everybody can draw the triggers again.
            data["seed"] = secrets.randbits(62)
        for key, path in (("path", base), ("corpus", corpus)):
            if path is not None:
                if not path.exists():
                    raise InputError("there is no such file or folder", path=path)
                data.setdefault("base", {})[key] = str(path.resolve())
        return validate_document(data, f"the options for {self.name}", LanguageRoundSpec)


def is_language_spec(name_or_path: str) -> bool:
    """Whether this is a language round's preset, or a file that says it is of one; what else is wrong is seen later."""
    if name_or_path in PRESETS:
        return True
    path = Path(name_or_path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return bool(_FORMAT.search(file.read(_LOOKED_AT).decode(errors="replace")))
    except OSError:
        return False


def load_spec(name_or_path: str) -> LanguageRoundSpec:
    """The preset of this name, or the specification in this file; paths of data in a file are relative to it.

    Raises:
        InputError: there is neither, or the file is at fault.
    """
    if name_or_path in PRESETS:
        text = resources.files("palladion.rounds").joinpath("presets", f"{name_or_path}.yaml").read_text()
        return parse_document(text, Path(f"{name_or_path}.yaml"), LanguageRoundSpec)
    path = Path(name_or_path)
    return _with_paths(load_document(path, LanguageRoundSpec), path.resolve().parent)


def _with_paths(spec: LanguageRoundSpec, folder: Path) -> LanguageRoundSpec:
    """Data that a file names beside itself, by their whole paths: a build does not depend on where it runs."""
    data = spec.model_dump(mode="json", exclude_none=True)
    if "seed" not in spec.model_fields_set:
        del data["seed"]
    for key in ("path", "corpus"):
        if data["base"].get(key):
            data["base"][key] = str(folder / data["base"][key])
    for task in data["tasks"]:
        if isinstance(task["data"], dict):
            for part in (task["data"], *task["data"]["poison"].values()):
                part |= {key: str(folder / part[key]) for key in ("train", "test")}
    return LanguageRoundSpec.model_validate(data)
