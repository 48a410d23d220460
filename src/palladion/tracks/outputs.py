"""Files of answers: predicted labels as CSV, generated texts as JSON, joined with their inputs by order alone.

::

    labels           label                  header, then one whole number a line
    texts            [{<the input's fields>, "output": "<text>"}, ...]

Readers do not stop at the first fault: they return what can be used and every fault. Only :data:`FATAL` ones leave it
open which answer belongs to which input; any other costs the answer of its row alone, which is then None.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.files import write_atomically
from palladion.tracks.inputs import INPUT_FIELDS, whole_number
from palladion.tracks.records import Limits, read_text, scan_rows, write_json_array

__all__ = [
    "FATAL",
    "HEADER",
    "MOST_FAULTS",
    "WARNINGS",
    "OutputFault",
    "read_generations",
    "read_labels",
    "refuse_fatal",
    "write_generations",
    "write_labels",
]

HEADER = "label"
"""The header of a file of labels: its only column."""
MOST_FAULTS = 50
"""A file has no more faults than this listed, and one more that counts the others."""

FATAL = frozenset({"unreadable", "header", "count", "order"})
"""Codes of faults with which a file cannot be scored at all."""
WARNINGS = frozenset({"no_input"})
"""Codes of faults that cost nothing."""


# 2 million rows of at most 30 characters; the ordinary row has two.
_MOST_LABEL_LINES = 2_000_100
_MOST_LABEL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class OutputFault:
    """Something that is wrong with a file of answers.

    Attributes:
        code: ``unreadable`` (no such file, not UTF-8, not JSON, too large), ``header``, ``count`` (not one row an
            input), ``order`` (the fields of another input), ``not_a_label``, ``range`` (no class has this label),
            ``record`` (not an object, or one that cannot be used), ``no_output``, ``not_a_text``, ``no_input`` (the
            input's fields are left out, so that the order cannot be checked: a warning), ``more`` (faults that are
            not listed).
        file: its name, as it is shown.
        row: counted from 1, without the header; None where it is about the file.
        message: what is wrong, without file and row.
    """

    code: str
    file: str
    row: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}: {self.message}"


def write_labels(path: Path, labels: Sequence[int]) -> None:
    """Write predicted labels, whole numbers from 0, in the order of the inputs.

    Raises:
        InputError: a label is none.
        PalladionError: the file cannot be written.
    """
    for row, label in enumerate(labels, start=1):
        if isinstance(label, bool) or int(label) != label or label < 0:
            raise InputError(f"row {row}: label is {label!r}; it must be a whole number from 0", path=path)
    write_atomically(path, "".join([f"{HEADER}\n", *(f"{int(label)}\n" for label in labels)]))


def write_generations(path: Path, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> None:
    """Write generated texts: each input's fields, and its text as ``output``.

    Raises:
        InputError: there are not as many texts as inputs, or one cannot be written as UTF-8.
        PalladionError: the file cannot be written.
    """
    if len(inputs) != len(outputs):
        raise InputError(f"{len(outputs)} outputs for {len(inputs)} inputs", path=path)
    write_json_array(path, ({**row, "output": text} for row, text in zip(inputs, outputs, strict=True)))


def read_labels(path: Path, *, rows: int | None, classes: int | None) -> tuple[list[int | None], list[OutputFault]]:
    """Read predicted labels.

    Args:
        path: the CSV file.
        rows: how many inputs there are; None does not check.
        classes: how many classes there are; None takes any label.

    Returns:
        The labels in the order of the file, None where a row has none that can be used, and every fault.
    """
    faults = _Faults(path)
    try:
        text = read_text(path, most=_MOST_LABEL_BYTES)
        lines = text.split("\n")
        if len(lines) > _MOST_LABEL_LINES:
            raise InputError(f"has more than {_MOST_LABEL_LINES} lines", path=path)
    except InputError as error:
        faults.add("unreadable", None, error.problem)
        return [], faults.listed()
    while lines and not lines[-1].strip():
        lines.pop()
    header = _cell(lines[0]) if lines else ""
    if header != HEADER:
        hint = "; an index is not wanted" if header.strip("\",' ") == HEADER else ""
        found = ascii(header)[:60] if lines else "missing: the file is empty"
        faults.add("header", None, f"the header must be {HEADER!r} alone; it is {found}{hint}")
    labels: list[int | None] = []
    for row, line in enumerate(lines[1:], start=1):
        cell = _cell(line)
        label = whole_number(cell)
        if label is None:
            found = "empty" if not cell else ascii(cell)[:60]
            faults.add("not_a_label", row, f"is {found}; it must be one whole number from 0")
        elif classes is not None and label >= classes:
            faults.add("range", row, f"is {label}; labels go from 0 to {classes - 1}")
            label = None
        labels.append(label)
    _check_count(faults, len(labels), rows)
    return labels, faults.listed()


def read_generations(
    path: Path, *, rows: int | None, inputs: Sequence[Mapping[str, Any]] | None, limits: Limits | None = None
) -> tuple[list[str | None], list[OutputFault]]:
    """Read generated texts.

    Args:
        path: a JSON array, or JSONL.
        rows: how many inputs there are; None takes as many as ``inputs``, or does not check.
        inputs: the fields of each input, with which the records' are compared; None does not check the order.
        limits: of the file.

    Returns:
        The texts in the order of the file, None where a row has none that can be used, and every fault. An empty text
        is a text.
    """
    faults = _Faults(path)
    try:
        items = scan_rows(path, limits=limits)
    except InputError as error:
        faults.add("unreadable", None, error.problem)
        return [], faults.listed()
    outputs: list[str | None] = []
    without: list[int] = []
    for item in items:
        output: str | None = None
        for fault in item.faults:
            faults.add("record", item.number, fault)
        if not item.faults and not isinstance(item.value, dict):
            faults.add("record", item.number, "must be an object with the input's fields and an output")
        elif not item.faults:
            if inputs is not None and item.number <= len(inputs):
                strange = _differing(item.value, inputs[item.number - 1])
                if strange is None:
                    without.append(item.number)
                elif strange:
                    names = " and ".join(strange)
                    faults.add("order", item.number, f"differs from input {item.number} in {names}")
            value = item.value.get("output")
            if isinstance(value, str):
                output = value
            elif "output" not in item.value:
                faults.add("no_output", item.number, "has no output")
            else:
                faults.add("not_a_text", item.number, f"output is {ascii(value)[:60]}; it must be a text")
        outputs.append(output)
    _check_count(faults, len(outputs), len(inputs) if rows is None and inputs is not None else rows)
    if without:
        which = "all rows" if len(without) == len(outputs) else f"{len(without)} rows, the first of them {without[0]},"
        faults.add("no_input", None, f"{which} leave out their inputs' fields: their order cannot be checked")
    return outputs, faults.listed()


def refuse_fatal(faults: Iterable[OutputFault]) -> None:
    """Raise InputError with every fault, if one of them is :data:`FATAL`."""
    found = list(faults)
    if any(fault.code in FATAL for fault in found):
        raise InputError("\n".join(map(str, found)))


def _differing(record: Mapping[str, Any], row: Mapping[str, Any]) -> list[str] | None:
    """Fields of the input that the record has otherwise; None where it has none of any input's fields."""
    if not any(name in record for name in INPUT_FIELDS):
        return None
    fields = [name for name in INPUT_FIELDS if name in row]
    # An empty ``input`` may be left out or null.
    return [name for name in fields if (record.get(name) or "") != (row[name] or "")]


def _check_count(faults: "_Faults", found: int, wanted: int | None) -> None:
    if wanted is not None and found != wanted:
        faults.add("count", None, f"has {found} rows where there are {wanted} inputs")


def _cell(line: str) -> str:
    cell = line.strip()
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


class _Faults:
    """Every fault of one file: those about the file first, then by row."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._found: list[OutputFault] = []

    def add(self, code: str, row: int | None, message: str) -> None:
        self._found.append(OutputFault(code, self._name, row, message))

    def listed(self) -> list[OutputFault]:
        """At most :data:`MOST_FAULTS` of them, the first of each code among these, and how many more there are."""
        ordered = sorted(self._found, key=lambda fault: fault.row or 0)
        if len(ordered) <= MOST_FAULTS:
            return ordered
        kept: set[int] = set()
        codes: set[str] = set()
        for place, fault in enumerate(ordered):
            if fault.code not in codes:
                codes.add(fault.code)
                kept.add(place)
        for place in range(len(ordered)):
            if len(kept) == MOST_FAULTS:
                break
            kept.add(place)
        counted = OutputFault("more", self._name, None, f"and {len(ordered) - MOST_FAULTS} more faults")
        return [*(ordered[place] for place in sorted(kept)), counted]
