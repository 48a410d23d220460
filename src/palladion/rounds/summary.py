"""What a round holds, in numbers: for ``palladion round show``."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from palladion.documents import load_document
from palladion.models import round_directory as layout
from palladion.rounds.spec import RoundSpec

__all__ = ["RoundSummary", "SplitSummary", "summarise"]

_FACTORS = (
    "model_architecture",
    "background_image_dataset",
    "number_classes_level",
    "adversarial_training_method",
    "adversarial_eps",
    "adversarial_training_ratio",
    "adversarial_training_iteration_count",
    "trigger_type",
    "number_triggered_classes_level",
    "instagram_filter_type",
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
    """A round and its splits.

    Attributes:
        spec: what it was built from; None for a round that was imported.
        name: its name.
        title: its title.
        origin: where it comes from, in a few words.
        description: what its maker says of it.
        splits: its splits.
    """

    spec: RoundSpec | None
    name: str
    title: str
    origin: str
    description: str
    splits: tuple[SplitSummary, ...]


def summarise(directory: Path) -> RoundSummary:
    """The summary of the round in this directory, complete or not.

    Raises:
        InputError: there is no round, or a table of it is at fault.
    """
    rounds = layout.RoundDirectory.open(directory)
    if rounds.published or rounds.source != layout.SOURCES[0]:
        return _imported(rounds)
    spec = load_document(directory / layout.ROUND_FILE, RoundSpec)
    return RoundSummary(
        spec,
        spec.name,
        spec.title,
        f"scale {spec.scale}, seed {spec.seed}",
        spec.description,
        tuple(_split(spec, name, directory) for name in spec.splits),
    )


def _imported(rounds: layout.RoundDirectory) -> RoundSummary:
    """Of an imported round, what any METADATA.csv has: each of NIST's rounds names the figures in its own way."""
    data = yaml.safe_load((rounds.path / layout.ROUND_FILE).read_text(encoding="utf-8"))
    name = str(data.get("name", rounds.path.name))
    splits = []
    for split, models in rounds.counts.items():
        there = layout.SplitDirectory(split, rounds.path / split)
        present = _present(there)
        if not there.metadata.is_file():
            splits.append(SplitSummary(split, None, models, present))
            continue
        on_disk = {entry.name for entry in there.models()} if present else set()
        labels = {name: label for name, label in layout.read_labels(there.metadata).items() if name in on_disk}
        rows = {model: row for model, (_, row) in layout.read_table(there.metadata, columns=()).items()}
        factors = _levels({name: rows[name] for name in labels}, labels)
        splits.append(SplitSummary(split, None, models, present, poisoned=sum(labels.values()), factors=factors))
    came = "as participants have it" if rounds.published else "imported from NIST's layout"
    origin = f"{rounds.family}, {came}"
    description = str(data.get("description", ""))
    return RoundSummary(None, name, str(data.get("title", name)), origin, description, tuple(splits))


def _present(split: layout.SplitDirectory) -> int:
    models = split.path / layout.MODELS
    if not models.is_dir():
        return 0
    return sum(layout.MODEL_NAME.fullmatch(path.name) is not None for path in models.iterdir())


def _levels(rows: dict[str, dict[str, str]], labels: dict[str, bool]) -> dict[str, dict[str, tuple[int, int]]]:
    """For each factor its levels with their numbers of clean and poisoned models; empty cells are no level."""
    factors: dict[str, dict[str, tuple[int, int]]] = {}
    for factor in _FACTORS:
        counts = Counter((row.get(factor, ""), labels[model]) for model, row in rows.items())
        levels = sorted({level for level, _ in counts if level not in ("", "None")})
        if levels:
            factors[factor] = {level: (counts[level, False], counts[level, True]) for level in levels}
    return factors


def _split(spec: RoundSpec, name: str, directory: Path) -> SplitSummary:
    same_as = spec.splits[name].same_as
    stored = same_as or name
    wanted = spec.splits[stored].models or 0
    split = layout.SplitDirectory(name, directory / stored)
    present = _present(split)
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
        factors=_levels(rows, labels),
    )
