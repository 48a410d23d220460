"""The columns of METADATA.csv as factors that should not tell the label, and which columns are none of these, and why.

What describes the trigger, or is measured with it, tells the label by its meaning and is left out; all else counts,
whether it was chosen before a model was trained or came of training it. The tables come from strangers: cells are only
ever read as numbers or compared as text.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palladion.rounds.audit_statistics import Factor

__all__ = ["Columns", "factor_of_numbers", "factor_of_words", "read_columns", "within_groups"]

Floats = NDArray[np.float64]

ARCHITECTURE = re.compile(r"(model_)?arch(itecture)?", re.IGNORECASE)
_LABELS = re.compile(r"poisoned|ground_truth|label", re.IGNORECASE)
_NAMES = re.compile(r"(model_)?(name|id)", re.IGNORECASE)
_TRIGGER = re.compile(r"trigger|poison|trojan|backdoor|watermark|spurious|attack|(^|_)asr(_|$)", re.IGNORECASE)
# The data that a poisoned model is trained on hold triggered ones.
_MIXED = re.compile(r"(^|_)combined(_|$)|(^|[_.])train(ing)?_(acc(uracy)?|loss)$", re.IGNORECASE)
_COUNTED = re.compile(r"(^|_)n_total$", re.IGNORECASE)
# What comes of training depends on the network first of all: it is compared within architectures as well.
_OUTCOME = re.compile(r"acc(uracy)?|loss|time|sec(onds)?|epochs?|steps|attempts", re.IGNORECASE)
_LEVEL = "_level"  # NIST gives the number of a level beside its value
_DIGEST = re.compile(r"[0-9a-f]{32,}", re.IGNORECASE)
_EMPTY = {"", "none", "nan", "null", "n/a"}
_MOST_DISCRETE = 12
_LEAST_DEVIATION = 1e-100  # of numbers that differ by less than their squares can tell


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's columns, sorted.

    Attributes:
        factors: those that should not tell the label.
        excluded: why each of the others is not tried.
        architecture: the architecture of each model; None where no column tells it.
    """

    factors: tuple[Factor, ...]
    excluded: dict[str, str]
    architecture: tuple[str, ...] | None


def read_columns(rows: Sequence[Mapping[str, str]], poisoned: NDArray[np.bool_]) -> Columns:
    """The factors of a table.

    Args:
        rows: the cells of each model by column; a column may be absent from some.
        poisoned: the label of each model, shape (n,).
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    factors: list[Factor] = []
    excluded: dict[str, str] = {}
    architecture = _architecture(names, rows)
    columns: dict[str, list[str]] = {}
    for name in names:
        cells = ["" if (cell := row.get(name, "").strip()).lower() in _EMPTY else cell for row in rows]
        columns[name] = cells
        reason = _reason(name, cells, poisoned) or _repeats(name, columns, rows, architecture)
        found = [] if reason else _factors(name, cells)
        if not found:
            excluded[name] = reason or "nearly every model has a text of its own, which says nothing of other models"
            continue
        factors += found
        first = found[0]
        outcome = any(_OUTCOME.fullmatch(word) for word in re.split(r"[_.]", name))
        if architecture is not None and first.levels is None and outcome:
            within = factor_of_numbers(f"{name}, within architecture", within_groups(first.values, architecture))
            factors += within
    return Columns(tuple(factors), excluded, architecture)


def _architecture(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> tuple[str, ...] | None:
    name = next((name for name in names if ARCHITECTURE.fullmatch(name)), None)
    return None if name is None else tuple(row.get(name, "") for row in rows)


def _reason(name: str, cells: Sequence[str], poisoned: NDArray[np.bool_]) -> str | None:
    """Why a column is not tried; None where it is."""
    name = name.rpartition(": ")[2]
    if _LABELS.fullmatch(name):
        return "is the label"
    if _NAMES.fullmatch(name):
        return "is the model's name"
    if _TRIGGER.search(name):
        return "describes the trigger, or what is measured with it"
    if _MIXED.search(name):
        return "is measured on triggered data as well"
    if _COUNTED.search(name):
        return "counts what is left when triggered data are set apart"
    given = np.array([bool(cell) for cell in cells])
    if not given.any():
        return "is empty"
    if all(_DIGEST.fullmatch(cell) for cell in cells if cell):
        return "holds digests of files"
    if poisoned.any() and not poisoned.all() and not given[~poisoned].any():
        return "is empty for all clean models: it is taken to describe the trigger"
    if given.all() and len(set(cells)) == 1:
        return "is the same for all models"
    return None


def _repeats(
    name: str,
    columns: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, str]],
    architecture: tuple[str, ...] | None,
) -> str | None:
    """Why a column says nothing that another does not; None where it does. ``columns`` has the cells up to it."""
    cells = columns[name]
    value = name.removesuffix(_LEVEL)
    coarse = 2 * len(set(cells)) <= len(cells)
    if value != name and value in rows[0] and coarse and _same(cells, [row.get(value, "").strip() for row in rows]):
        return f"numbers the levels of {value}"
    if ": " not in name:
        return None
    # Settings and records repeat METADATA.csv, and settings are mostly the network's.
    words = _numbers(cells) is None
    for other, said in columns.items():
        # Numbers have an order, which is lost where only equal and unequal are compared.
        if other != name and (cells == said or (words and _numbers(said) is None and _same(cells, said))):
            return f"says the same as {other}"
    if name.startswith("config.json: ") and architecture is not None:
        told = len(set(zip(architecture, cells, strict=True))) == len(set(architecture))
        return "is the same for all models of one architecture" if told else None
    return None


def _same(cells: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two columns part the models alike."""
    return len(set(cells)) == len(set(others)) == len(set(zip(cells, others, strict=True)))


def _factors(name: str, cells: Sequence[str]) -> list[Factor]:
    numbers = _numbers(cells)
    if numbers is None:
        found = factor_of_words(name, cells)
    else:
        found = factor_of_numbers(name, numbers)
        distinct = len(set(numbers[~np.isnan(numbers)].tolist()))
        if 2 < distinct <= _MOST_DISCRETE:
            found += factor_of_words(f"{name}, as levels", cells)
    if "" in cells and any(cells):
        given = np.array([float(bool(cell)) for cell in cells])
        found += factor_of_numbers(f"{name}, whether it is given", given)
    return found


def _numbers(cells: Sequence[str]) -> Floats | None:
    """Cells as numbers, NaN where one is empty or infinite; None where one is no number."""
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell:
            try:
                value = float(cell)
            except ValueError:
                return None
            values[i] = value if math.isfinite(value) else math.nan
    return values


def factor_of_numbers(name: str, values: Floats) -> list[Factor]:
    """The factor of these numbers, NaN where one is missing; none where there are fewer than two different numbers."""
    there = values[~np.isnan(values)]
    return [Factor(name, values)] if there.size and there.min() < there.max() else []


def factor_of_words(name: str, words: Sequence[str]) -> list[Factor]:
    """The factor of these words, "" where one is missing; none where they are all the same or nearly all different.

    Of two words the second in the alphabet is the larger number.
    """
    counts = Counter(word for word in words if word)
    levels = {word: float(number) for number, word in enumerate(sorted(counts))}
    if len(levels) < 2 or 2 * len(levels) > counts.total():
        return []
    values = np.array([levels.get(word, math.nan) for word in words])
    return [Factor(name, values, levels=len(levels) if len(levels) > 2 else None)]


def within_groups(values: Floats, groups: Iterable[str]) -> Floats:
    """Values less the mean of their group, over its standard deviation: shape (n,).

    Zero in a group of equal values, NaN for the only member of a group.
    """
    names = np.array(list(groups))
    standard = np.full(values.size, np.nan)
    for name in set(names.tolist()):
        members = np.flatnonzero((names == name) & ~np.isnan(values))
        group = values[members]
        if group.size < 2:
            continue
        if group.min() == group.max():
            standard[members] = 0.0
        else:
            group = group / np.abs(group).max()  # so that squares of huge numbers stay finite
            standard[members] = (group - group.mean()) / max(float(group.std()), _LEAST_DEVIATION)
    return standard
