"""Whether anything in a round tells the label that should not: for ``palladion round audit``.

Everything known of the models but the trigger is tried: columns of METADATA.csv, sizes and times of files, settings,
lengths of training, weights, example images, the order of the models. Each split is tried alone, and all of them
together; how a try is judged, and how their number is allowed for, says :mod:`palladion.rounds.audit_statistics`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palladion.errors import InputError
from palladion.models import round_directory as layout
from palladion.progress import progress
from palladion.rounds import nist
from palladion.rounds.audit_files import (
    ModelFiles,
    file_numbers,
    image_numbers,
    settings_words,
    training_words,
    weight_numbers,
)
from palladion.rounds.audit_statistics import Association, Factor, associate, together
from palladion.rounds.audit_table import factor_of_numbers, read_columns, within_groups
from palladion.rounds.language.layout import is_language_round

__all__ = ["ALL", "TOGETHER", "Audit", "AuditedModel", "Trial", "audit_models", "audit_round"]

ALL = "all"
"""What the splits together are called."""

TOGETHER = "all factors together"
"""What the try is called that predicts with all factors."""

_CONFIDENCE = 0.95
_MOST_MODELS = 10_000
_MOST_COLUMNS = 1_000
_MOST_TRIES = 2_000
_MOST_TOGETHER = 2_000  # models: the time grows with their square


@dataclass(frozen=True, slots=True)
class AuditedModel:
    """What is known of a model.

    Attributes:
        name: its name.
        split: the split that it is in.
        poisoned: its label.
        words: what is known in words or cells of tables, by factor.
        numbers: what is known in numbers, by factor.
    """

    name: str
    split: str
    poisoned: bool
    words: Mapping[str, str]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trial:
    """One try: a factor in one split, or in all of them."""

    split: str
    association: Association


@dataclass(frozen=True, slots=True)
class Audit:
    """What was tried, and what came of it.

    Attributes:
        trials: every try, the strongest association first.
        excluded: what was not tried, and why.
        splits: for each split its numbers of (clean, poisoned) models.
        notices: what could not be done.
    """

    trials: tuple[Trial, ...]
    excluded: dict[str, str]
    splits: dict[str, tuple[int, int]]
    notices: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether anything tells the label."""
        return any(trial.association.leaks for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "leaks": self.leaks,
            "factors": [
                {
                    "name": trial.association.name,
                    "split": trial.split,
                    "models": trial.association.models,
                    "auc": trial.association.auc,
                    "interval": list(trial.association.interval),
                    "corrected_interval": list(trial.association.corrected_interval),
                    "lower_in_poisoned": trial.association.lower,
                    "p_value": trial.association.p_value,
                    "adjusted_p_value": trial.association.adjusted_p_value,
                    "leaks": trial.association.leaks,
                }
                for trial in self.trials
            ],
            "tries": len(self.trials),
            "confidence": _CONFIDENCE,
            "splits": {name: {"clean": clean, "poisoned": bad} for name, (clean, bad) in self.splits.items()},
            "excluded": [{"name": name, "why": why} for name, why in self.excluded.items()],
            "notices": list(self.notices),
        }


def audit_round(path: Path) -> Audit:
    """Try to predict the labels of a round from everything that should not tell them.

    Args:
        path: a round, a split as NIST publishes it, or a METADATA.csv.

    Raises:
        InputError: it is none of these, a file is at fault, or there are no two models of one split to tell apart.
    """
    if path.is_file():
        split = nist.guess_split(path.stem) or nist.guess_split(path.absolute().parent.name)
        return audit_models(_of_table(path, split or "models"))
    if is_language_round(path):
        raise InputError("is a round of a language track: all its models are poisoned, so no label can leak", path=path)
    if path.is_dir() and not (path / layout.ROUND_FILE).is_file():
        return audit_models(_of_dataset(nist.find_dataset(path)))
    return audit_models(_of_round(layout.RoundDirectory.open(path)))


def _of_table(path: Path, split: str) -> list[AuditedModel]:
    labels = layout.read_labels(path)
    rows = layout.read_table(path, columns=())
    return [AuditedModel(name, split, label, rows[name][1], {}) for name, label in labels.items()]


def _of_dataset(dataset: nist.Dataset) -> list[AuditedModel]:
    split = nist.guess_split(dataset.path.name) or "models"
    if dataset.table is not None:
        known = _of_table(dataset.table, split)
    else:
        truths = {name: dataset.truths.get(name, folder) for name, folder in dataset.models.items()}
        known = [
            AuditedModel(name, split, nist.read_ground_truth(truth / layout.GROUND_TRUTH), {}, {})
            for name, truth in truths.items()
        ]
    return _with_files(known, {(split, name): _folder(name, path) for name, path in dataset.models.items()})


def _folder(name: str, path: Path) -> Callable[[], ModelFiles]:
    return lambda: ModelFiles.of_folder(name, path)


def _entry(entry: layout.ModelEntry) -> Callable[[], ModelFiles]:
    return lambda: ModelFiles.of_entry(entry)


def _of_round(rounds: layout.RoundDirectory) -> list[AuditedModel]:
    known: list[AuditedModel] = []
    files: dict[tuple[str, str], Callable[[], ModelFiles]] = {}
    for name in layout.SPLITS:
        if name in rounds.same_as or not (rounds.path / name).is_dir():
            continue
        split = rounds.split(name)
        entries = split.models()
        if split.metadata.is_file():
            split.labels()  # a model on disk without a row is a fault
            known += _of_table(split.metadata, name)
        else:
            known += [
                AuditedModel(entry.name, name, nist.read_ground_truth(entry.sealed / layout.GROUND_TRUTH), {}, {})
                for entry in entries
            ]
        files |= {(name, entry.name): _entry(entry) for entry in entries}
    if not known:
        raise InputError("holds no split", path=rounds.path)
    return _with_files(known, files)


def _with_files(
    known: Sequence[AuditedModel], files: Mapping[tuple[str, str], Callable[[], ModelFiles]]
) -> list[AuditedModel]:
    """The models with what their files tell; a row without a model on disk stays as it is."""
    found = []
    with progress(len(known), "reading models") as shown:
        for model in known:
            find = files.get((model.split, model.name))
            if find is None:
                found.append(model)
            else:
                there = find()
                numbers = file_numbers(there) | weight_numbers(there) | image_numbers(there.examples)
                words = {**model.words, **settings_words(there), **training_words(there)}
                found.append(replace(model, words=words, numbers=numbers))
            shown.advance(model.name)
    return found


def audit_models(models: Sequence[AuditedModel], *, seed: int = 0) -> Audit:
    """Try to predict the labels of these models from what is known of them.

    Args:
        models: the models of all splits, in any order.
        seed: of the permutations.

    Raises:
        InputError: there are too many models or columns, or no split has models of both labels.
    """
    if len(models) > _MOST_MODELS:
        raise InputError(f"there are {len(models)} models; at most {_MOST_MODELS} are audited")
    ordered = sorted(models, key=lambda model: (model.split, model.name))
    names = list(dict.fromkeys(model.split for model in models))
    poisoned = np.array([model.poisoned for model in ordered], dtype=np.bool_)
    split = np.array([names.index(model.split) for model in ordered], dtype=np.int64)
    counts = {name: _counts(poisoned[split == number]) for number, name in enumerate(names)}
    tried = [number for number, name in enumerate(names) if min(counts[name])]
    if not tried:
        held = "; ".join(f"{name} has {clean} clean and {bad} poisoned" for name, (clean, bad) in counts.items())
        raise InputError(f"only models of different labels can be told apart: {held}")
    notices = [f"{name}: all models have the same label" for n, name in enumerate(names) if n not in tried]

    factors, excluded = _factors(ordered, poisoned, split)
    tries: list[Factor] = []
    scopes: list[str] = []
    for name, numbers in _scopes(names, tried):
        inside = np.isin(split, numbers)
        here = [replace(factor, values=np.where(inside, factor.values, np.nan)) for factor in factors]
        here = [factor for factor in here if any(_varies(factor.values[split == number]) for number in numbers)]
        if len(here) > 1 and inside.sum() <= _MOST_TOGETHER:
            here.append(together(TOGETHER, here, split))
        tries += here
        scopes += [name] * len(here)
    if len(tries) > _MOST_TRIES:
        raise InputError(f"there are {len(tries)} factors to try; at most {_MOST_TRIES} are tried")
    trials = [
        Trial(scope, found)
        for scope, found in zip(
            scopes, associate(tries, poisoned, split, confidence=_CONFIDENCE, seed=seed), strict=True
        )
    ]
    # What all factors say together comes after the factor that says it alone.
    trials.sort(key=lambda t: (t.association.p_value, t.association.name == TOGETHER, -t.association.auc))
    return Audit(tuple(trials), excluded, counts, tuple(notices))


def _counts(poisoned: NDArray[np.bool_]) -> tuple[int, int]:
    return int((~poisoned).sum()), int(poisoned.sum())


def _scopes(names: Sequence[str], tried: Sequence[int]) -> Iterable[tuple[str, list[int]]]:
    if len(tried) > 1:
        yield ALL, list(tried)
    for number in tried:
        yield names[number], [number]


def _varies(values: NDArray[np.float64]) -> bool:
    there = values[~np.isnan(values)]
    return bool(there.size and there.min() < there.max())


def _factors(
    models: Sequence[AuditedModel], poisoned: NDArray[np.bool_], split: NDArray[np.int64]
) -> tuple[list[Factor], dict[str, str]]:
    """Everything to try, and what is not tried with the reason; models are in the order of splits and names."""
    columns = {name for model in models for name in model.words}
    if len(columns) > _MOST_COLUMNS:
        raise InputError(f"METADATA.csv and settings have {len(columns)} columns; at most {_MOST_COLUMNS} are audited")
    found = read_columns([model.words for model in models], poisoned)
    factors, excluded = list(found.factors), dict(found.excluded)
    for name in dict.fromkeys(name for model in models for name in model.numbers):
        values = np.array([model.numbers.get(name, np.nan) for model in models])
        # Sizes and norms say first of all which network it is.
        of_network = name.startswith("weights:") or name == "files: bytes of the model"
        if of_network and found.architecture is not None:
            values = within_groups(values, found.architecture)
        made = factor_of_numbers(f"{name}, within architecture" if of_network and found.architecture else name, values)
        factors += made
        if not made:
            excluded[name] = "is the same for all models" + (" of one architecture" if of_network else "")
    position = np.concatenate([np.arange((split == number).sum()) for number in dict.fromkeys(split.tolist())])
    factors += factor_of_numbers("id order", position.astype(np.float64))
    factors += factor_of_numbers("id order, odd or even", (position % 2).astype(np.float64))
    return factors, excluded
