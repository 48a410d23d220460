"""What a round holds, in numbers: for ``palladion round show``."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from palladion.documents import load_document
from palladion.models import round_directory as layout
from palladion.rounds.spec import RoundSpec

__all__ = ["RoundSummary", "SplitSummary", "summarise"]

_FACTORS = (
    "model_architecture",
    "background_image_dataset",
    "polygon_side_count",
    "trigger_size_percentage_of_foreground_level",
    "triggered_fraction_level",
    "trigger_target_class",
)


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split. Means are over the models that have the figure; None where the split is not complete.

    Attributes:
        models: number of models that the specification asks for.
        present: number of models on disk.
        poisoned: number of poisoned models.
        clean_accuracy: mean clean accuracy.
        least_clean_accuracy: smallest clean accuracy.
        attack_success: mean attack success rate of the poisoned models.
        least_attack_success: smallest attack success rate.
        retried: models that needed more than one attempt.
        unconverged: models that did not pass their gates.
        factors: for each factor its levels, each with its number of (clean, poisoned) models.
    """

    name: str
    same_as: str | None
    models: int
    present: int
    poisoned: int | None = None
    clean_accuracy: float | None = None
    least_clean_accuracy: float | None = None
    attack_success: float | None = None
    least_attack_success: float | None = None
    retried: int | None = None
    unconverged: int | None = None
    factors: dict[str, dict[str, tuple[int, int]]] | None = None


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """A round and its splits."""

    spec: RoundSpec
    splits: tuple[SplitSummary, ...]


def summarise(directory: Path) -> RoundSummary:
    """The summary of the round in this directory, complete or not.

    Raises:
        InputError: there is no round, or a table of it is at fault.
    """
    layout.RoundDirectory.open(directory)
    spec = load_document(directory / layout.ROUND_FILE, RoundSpec)
    return RoundSummary(spec, tuple(_split(spec, name, directory) for name in spec.splits))


def _split(spec: RoundSpec, name: str, directory: Path) -> SplitSummary:
    same_as = spec.splits[name].same_as
    stored = same_as or name
    wanted = spec.splits[stored].models or 0
    split = layout.SplitDirectory(name, directory / stored)
    models = split.path / layout.MODELS
    present = (
        sum(layout.MODEL_NAME.fullmatch(path.name) is not None for path in models.iterdir()) if models.is_dir() else 0
    )
    if not split.metadata.is_file():
        return SplitSummary(name, same_as, wanted, present)
    labels = layout.read_labels(split.metadata)
    table = layout.read_table(
        split.metadata,
        columns=(
            "final_clean_data_test_acc",
            "final_triggered_data_test_acc",
            "training_attempts",
            "converged",
        ),
    )
    rows = {model: row for model, (_, row) in table.items()}
    clean = [float(row["final_clean_data_test_acc"]) for row in rows.values()]
    attack = [float(row["final_triggered_data_test_acc"]) for model, row in rows.items() if labels[model]]
    factors: dict[str, dict[str, tuple[int, int]]] = {}
    for factor in _FACTORS:
        counts = Counter((row.get(factor, ""), labels[model]) for model, row in rows.items())
        levels = sorted({level for level, _ in counts if level})
        if levels:
            factors[factor] = {level: (counts[level, False], counts[level, True]) for level in levels}
    return SplitSummary(
        name,
        same_as,
        wanted,
        present,
        poisoned=sum(labels.values()),
        clean_accuracy=sum(clean) / len(clean),
        least_clean_accuracy=min(clean),
        attack_success=sum(attack) / len(attack) if attack else None,
        least_attack_success=min(attack, default=None),
        retried=sum(row["training_attempts"] != "1" for row in rows.values()),
        unconverged=sum(row["converged"] != "True" for row in rows.values()),
        factors=factors,
    )
