"""Rows of data sets: JSON arrays, JSONL, TSV and CSV, read as untrusted data.

Published data sets hold JSONL under the name ``.json``, so what a file holds tells, not its name: only ``.tsv`` and
``.csv`` are tables. Every row that cannot be used is named, not only the first.
"""

import csv
import io
import json
import math
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.files import write_atomically

__all__ = [
    "Limits",
    "Row",
    "Scanned",
    "read_object",
    "read_rows",
    "read_text",
    "rows_of",
    "scan_rows",
    "write_json_array",
    "write_jsonl",
]

_MOST_FAULTS = 20
_BLANK = re.compile(r"[ \t\n\r]*")
# Only an escape can bring half of a surrogate pair into a string: the file itself is UTF-8.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Published tables name their columns so.
_COLUMNS = {"sentences": "sentence", "labels": "label"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data set.

    Attributes:
        number: counted from 1, blank lines not counted.
        line: of the file where it begins, counted from 1; None for a row that comes from no file.
        values: its fields. Strings hold no half of a surrogate pair, numbers are finite.
    """

    number: int
    line: int | None
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What stands where a row should be: any JSON value, and what is wrong with it."""

    number: int
    line: int
    value: Any
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file of rows may hold.

    Attributes:
        bytes: of the whole file.
        rows: how many.
        row_bytes: of one row, as it stands in the file.
        depth: of lists and objects within each other, in one row; the row itself is the first.
    """

    bytes: int = 1 << 30
    rows: int = 2_000_000
    row_bytes: int = 8 << 20
    depth: int = 16


def rows_of(values: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows that come from no file."""
    return [Row(number, None, dict(row)) for number, row in enumerate(values, start=1)]


def read_rows(path: Path, *, limits: Limits | None = None) -> list[Row]:
    """Read the rows of a JSON array of objects, of one JSON object a line, or of a table with a header.

    Of tables (``.tsv``, ``.csv``), names of columns are lower-cased, ``sentences`` and ``labels`` become ``sentence``
    and ``label``, and names and values lose the blanks around them; all values are strings. TSV knows no quotes: what
    stands between two tabs is the value.

    Raises:
        InputError: the file cannot be read, holds no rows, or rows that cannot be used; all of those are named.
    """
    rows = []
    faults: list[InputError] = []
    for item in scan_rows(path, limits=limits):
        what = list(item.faults)
        if not what and not isinstance(item.value, dict):
            what = [f"is {_kind(item.value)}; a row must be an object with named fields"]
        if what:
            faults += [InputError(f"row {item.number}: {fault}", path=path, line=item.line) for fault in what]
        else:
            rows.append(Row(item.number, item.line, item.value))
    if faults:
        shown = [str(fault) for fault in faults[:_MOST_FAULTS]]
        if len(faults) > len(shown):
            shown.append(f"{path}: and {len(faults) - len(shown)} more faults")
        raise InputError("\n".join(shown))
    if not rows:
        raise InputError("holds no rows", path=path)
    return rows


def scan_rows(path: Path, *, limits: Limits | None = None) -> list[Scanned]:
    """Read what stands where rows should be, each with what is wrong with it: for whoever collects faults.

    Raises:
        InputError: the file cannot be read, or ends before its end: nothing more of it can be told apart.
    """
    limits = limits or Limits()
    text = read_text(path, most=limits.bytes)
    suffix = path.suffix.lower()
    if suffix in (".tsv", ".csv"):
        found = _table(text, path, limits, tabs=suffix == ".tsv")
    elif text[_skip(text, 0) :][:1] == "[":
        found = _array(text, path, limits)
    else:
        found = _lines(text, limits)
    items: list[Scanned] = []
    for item in found:
        if len(items) == limits.rows:
            raise InputError(f"has more than {limits.rows} rows", path=path, line=item.line)
        items.append(item)
    return items


def read_object(path: Path, *, most: int = 1 << 20) -> dict[str, Any]:
    """Read a file that holds one JSON object, such as settings.

    Raises:
        InputError: it cannot be read, is larger than ``most`` bytes, or is not one object.
    """
    text = read_text(path, most=most)
    decoder = _Decoder(Limits(bytes=most, row_bytes=most))
    start = _skip(text, 0)
    try:
        value, end = decoder.decode(text, start)
        if _skip(text, end) != len(text):
            raise json.JSONDecodeError("more than one value", text, end)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", path=path, line=_line(text, error.pos)) from None
    if decoder.faults:
        raise InputError("; ".join(decoder.faults), path=path)
    if not isinstance(value, dict):
        raise InputError(f"is {_kind(value)}; an object with named fields is needed", path=path)
    return value


def read_text(path: Path, *, most: int) -> str:
    """The text of a plain file of UTF-8, without a byte order mark.

    Raises:
        InputError: there is none, it is no plain file, larger than ``most`` bytes, or not UTF-8.
    """
    try:
        # Before it is opened: to open a named pipe waits for whoever writes to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError("is no plain file", path=path)
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot be read: {what}", path=path) from None
    if len(data) > most:
        raise InputError(f"is larger than {most} bytes", path=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16, write it as UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise InputError(f"is not UTF-8{hint}", path=path, line=line) from None


def write_json_array(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a JSON array, indented by 2, text as it is: the public format of generated outputs.

    Raises:
        InputError: a row holds what JSON or UTF-8 cannot: NaN, half of a surrogate pair.
        PalladionError: the file cannot be written.
    """
    parts = [text.replace("\n", "\n  ") for text in _dumped(path, rows, indent=2)]
    body = ",\n  ".join(parts)
    write_atomically(path, f"[\n  {body}\n]\n" if parts else "[]\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as one JSON object a line, text as it is. Raises as :func:`write_json_array`."""
    write_atomically(path, "".join(f"{text}\n" for text in _dumped(path, rows, indent=None)))


def _dumped(path: Path, rows: Iterable[Mapping[str, Any]], indent: int | None) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        try:
            text = json.dumps(dict(row), ensure_ascii=False, allow_nan=False, indent=indent)
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"row {number} holds half of a surrogate pair; it is no text", path=path) from None
        except (TypeError, ValueError) as error:
            raise InputError(f"row {number} cannot be written as JSON: {error}", path=path) from None
        yield text


class _Decoder:
    """Decodes one JSON value after the other, and notes what JSON allows but rows may not hold."""

    def __init__(self, limits: Limits) -> None:
        self.faults: list[str] = []
        self._limits = limits
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=self._float, parse_int=self._int, parse_constant=self._constant
        )

    def decode(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at ``start``, and where it ends. :attr:`faults` are this value's alone.

        Raises:
            json.JSONDecodeError: it is not JSON.
        """
        self.faults.clear()
        try:
            value, end = self._json.raw_decode(text, start)
        except RecursionError:
            raise json.JSONDecodeError("lists or objects too deep within each other", text, start) from None
        if _longer(text[start:end], self._limits.row_bytes):
            self.faults.append(f"is larger than {self._limits.row_bytes} bytes")
        elif _deeper(value, self._limits.depth):
            self.faults.append(f"has lists or objects more than {self._limits.depth} deep within each other")
        elif _SURROGATE.search(text, start, end) and _has_surrogate(value):
            self.faults.append("holds half of a surrogate pair (\\ud800 to \\udfff), which is no text")
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            self.faults.append(f"has the field {ascii(twice)[:60]} twice")
        return values

    def _float(self, literal: str) -> float:
        number = float(literal)
        if not math.isfinite(number):
            self.faults.append(f"holds {literal[:20]}, which is too large a number")
        return number

    def _int(self, literal: str) -> int:
        if len(literal) > 20:
            self.faults.append(f"holds a number of {len(literal)} digits")
            return 0
        return int(literal)

    def _constant(self, literal: str) -> float:
        self.faults.append(f"holds {literal}, which is no JSON")
        return 0.0


def _array(text: str, path: Path, limits: Limits) -> Iterator[Scanned]:
    """The elements of a JSON array, one after the other: each with its line, none of them larger than allowed."""
    decoder = _Decoder(limits)
    place = _skip(text, _skip(text, 0) + 1)
    line = _line(text, place)
    number = 0
    closed = text[place : place + 1] == "]"
    while not closed:
        number += 1
        try:
            value, end = decoder.decode(text, place)
            after = _skip(text, end)
            mark = text[after : after + 1]
            if mark not in (",", "]"):
                raise json.JSONDecodeError("expecting ',' or ']'", text, after)
        except json.JSONDecodeError as error:
            raise InputError(
                f"row {number}: is not JSON: {error.msg}", path=path, line=_line(text, error.pos)
            ) from None
        yield Scanned(number, line, value, tuple(decoder.faults))
        closed = mark == "]"
        begin = place
        place = after if closed else _skip(text, after + 1)
        line += text.count("\n", begin, place)
    rest = _skip(text, place + 1)
    if rest != len(text):
        raise InputError("goes on after the end of its array", path=path, line=_line(text, rest))


def _lines(text: str, limits: Limits) -> Iterator[Scanned]:
    decoder = _Decoder(limits)
    number = 0
    # Only the line feed ends a line: JSON strings may hold other separators as they are.
    for line, raw in enumerate(text.split("\n"), start=1):
        content = raw.strip(" \t\r")
        if not content:
            continue
        number += 1
        if _longer(content, limits.row_bytes):
            yield Scanned(number, line, None, (f"is larger than {limits.row_bytes} bytes",))
            continue
        try:
            value, end = decoder.decode(content, 0)
            if end != len(content):
                raise json.JSONDecodeError("more than one value in a line", content, end)
        except json.JSONDecodeError as error:
            hint = "; a JSON array of objects is needed, or one JSON object a line" if number == 1 else ""
            yield Scanned(number, line, None, (f"is not JSON: {error.msg}{hint}",))
            if number == 1:
                # Nothing tells that this is JSONL at all; a fault for every line would only bury the first.
                return
            continue
        yield Scanned(number, line, value, tuple(decoder.faults))


def _table(text: str, path: Path, limits: Limits, *, tabs: bool) -> Iterator[Scanned]:
    cells = _tab_separated(text) if tabs else _comma_separated(text, path)
    header: list[str] | None = None
    number = 0
    for line, raw in cells:
        values = [value.strip() for value in raw]
        if not any(values):
            continue
        if header is None:
            header = [_COLUMNS.get(name.lower(), name.lower()) for name in values]
            if "" in header or len(set(header)) < len(header):
                raise InputError("has a column without a name, or two of one name", path=path, line=line)
            continue
        number += 1
        if len(values) != len(header):
            yield Scanned(number, line, None, (f"has {len(values)} columns where the header has {len(header)}",))
        elif _longer("".join(values), limits.row_bytes):
            yield Scanned(number, line, None, (f"is larger than {limits.row_bytes} bytes",))
        else:
            yield Scanned(number, line, dict(zip(header, values, strict=True)), ())


def _tab_separated(text: str) -> Iterator[tuple[int, list[str]]]:
    for line, raw in enumerate(text.split("\n"), start=1):
        yield line, raw.split("\t")


def _comma_separated(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", path=path, line=line) from None


def _skip(text: str, start: int) -> int:
    """Where the blanks that begin at ``start`` end."""
    found = _BLANK.match(text, start)
    return start if found is None else found.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _longer(text: str, most: int) -> bool:
    """Whether ``text`` is longer than ``most`` bytes of UTF-8."""
    return len(text) > most or (4 * len(text) > most and len(text.encode(errors="replace")) > most)


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and objects stand deeper within each other than ``most``."""
    level = [value]
    for _ in range(most):
        level = [child for parent in level for child in _children(parent) if isinstance(child, list | dict)]
        if not level:
            return False
    return True


def _has_surrogate(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if any("\ud800" <= character <= "\udfff" for character in item):
                return True
        else:
            pending += _children(item)
            pending += item if isinstance(item, dict) else ()
    return False


def _children(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
