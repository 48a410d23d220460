"""What a row of a language track holds: its input, its truth, and what an attack wants of it.

::

    classification   sentence, label
    generation       messages, or instruction and perhaps input; output
    poisoned rows    their true label or output, and perhaps attack and target

Input-only files lack ``label`` and ``output``.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.tracks.records import Row

__all__ = [
    "INPUT_FIELDS",
    "TRUTH_FIELDS",
    "Track",
    "input_only",
    "kind_of",
    "label_of",
    "messages_of",
    "output_of",
    "sentence_of",
    "whole_number",
]

INPUT_FIELDS = ("sentence", "messages", "instruction", "input")
"""The fields of which an input consists."""
TRUTH_FIELDS = ("label", "output", "attack", "target")
"""The fields that an input-only file must not have."""

_ROLES = ("system", "user", "assistant", "tool")
_LABEL = re.compile(r"[0-9]{1,9}")


class Track(StrEnum):
    """The kind of work: a label for each input, or a text."""

    CLASSIFICATION = "classification"
    GENERATION = "generation"


def kind_of(rows: Sequence[Row], path: Path | None = None) -> Track:
    """Tell by their fields which track the rows are inputs of.

    Raises:
        InputError: a row is an input of neither, or not of the one that the first row is of.
    """
    if not rows:
        raise InputError("holds no rows", path=path)
    first: Track | None = None
    for row in rows:
        if "sentence" in row.values:
            kind = Track.CLASSIFICATION
        elif "messages" in row.values or "instruction" in row.values:
            kind = Track.GENERATION
        else:
            raise _fault(row, path, "has neither a sentence nor messages nor an instruction")
        if first is None:
            first = kind
        elif kind is not first:
            raise _fault(row, path, f"is an input for {kind}, where the first row is one for {first}")
    assert first is not None
    return first


def sentence_of(row: Row, path: Path | None = None) -> str:
    """The sentence to classify.

    Raises:
        InputError: there is none, or it is no text; names the file and the row.
    """
    return _text(row, "sentence", path)


def messages_of(row: Row, path: Path | None = None) -> list[dict[str, str]]:
    """The conversation to answer, as ``role`` and ``content``.

    ``messages`` if the row has them; else one message of the user: ``instruction``, followed by an empty line and
    ``input`` where that is not empty.

    Raises:
        InputError: there is none, or it is malformed; names the file and the row.
    """
    if "messages" not in row.values:
        instruction = _text(row, "instruction", path)
        more = "" if row.values.get("input") is None else _text(row, "input", path)
        return [{"role": "user", "content": f"{instruction}\n\n{more}" if more else instruction}]
    messages = row.values["messages"]
    if not isinstance(messages, list) or not messages:
        raise _fault(row, path, "messages must be a list with at least one message")
    conversation = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise _fault(row, path, f"message {number} must have a role and a content, both texts")
        if message["role"] not in _ROLES:
            known = ", ".join(_ROLES)
            raise _fault(row, path, f"message {number} has the role {ascii(message['role'])[:40]}; known are {known}")
        conversation.append({"role": message["role"], "content": message["content"]})
    return conversation


def label_of(row: Row, path: Path | None = None) -> int:
    """The true label, a whole number from 0; a text of digits, blanks around it, is one.

    Raises:
        InputError: there is none, or it is something else; names the file and the row.
    """
    if "label" not in row.values:
        raise _fault(row, path, "has no label")
    label = whole_number(row.values["label"])
    if label is None:
        raise _fault(row, path, f"label is {_shown(row.values['label'])}; it must be a whole number from 0")
    return label


def output_of(row: Row, path: Path | None = None) -> str:
    """The ground truth of a row to generate for. Raises as :func:`sentence_of`."""
    return _text(row, "output", path)


def whole_number(value: object) -> int | None:
    """The number below 10⁹ that ``value`` is, also as digits with blanks around them; None if it is none."""
    if isinstance(value, str) and _LABEL.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return None


def input_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that participants may see: all but its truth and its attack."""
    return {name: value for name, value in values.items() if name not in TRUTH_FIELDS}


def _text(row: Row, name: str, path: Path | None) -> str:
    if name not in row.values:
        raise _fault(row, path, f"has no {name}")
    value = row.values[name]
    if not isinstance(value, str):
        raise _fault(row, path, f"{name} is {_shown(value)}; it must be a text")
    return value


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _fault(row: Row, path: Path | None, message: str) -> InputError:
    return InputError(f"row {row.number}: {message}", path=path, line=row.line)
