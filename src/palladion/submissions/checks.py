"""Check a submission before it costs anybody anything: the header and the schema that NIST's harness asks for.

A fault is an ``error`` where NIST's harness would refuse the submission; nothing with an error should be queued. It is
a ``warning`` where the submission can run, but probably not as it was meant to. A ``detector.py`` needs no schema, so
there the header's faults are warnings. Running a submission locally asks for none of this: NIST's own example, whose
header nobody may submit, runs as it is.

The schema comes from whoever submits. It is read within limits, refers to nothing outside itself, and is only applied
in a process of its own, see :mod:`palladion.submissions.validation`.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from palladion.errors import InputError, PalladionError
from palladion.submissions.families import DEFAULT_FAMILY, Family
from palladion.submissions.submission import LEARNED_PARAMETERS, METAPARAMETERS, SCHEMA, Kind, Submission
from palladion.submissions.validation import NOT_INSTALLED

__all__ = ["TECHNIQUE_TYPES", "Fault", "FaultSeverity", "check_submission", "printable"]

TECHNIQUE_TYPES: Final = (
    "Weight Analysis",
    "Trigger Inversion",
    "Attribution Analysis",
    "Jacobian Inspection",
    "Other",
)
"""What ``technique_type`` may hold; upper and lower case are the same."""

_HEADER = ("technique", "technique_description", "technique_changes", "technique_type", "commit_id", "repo_name")
_MAXIMUM_BYTES, _MAXIMUM_DEPTH = 1 << 20, 32
_MAXIMUM_FAULTS = 50
_TIME_LIMIT = 10.0
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_REFERENCES = ("$dynamicRef", "$recursiveRef")
_ANCHORS = ("$id", "id", "$anchor", "$dynamicAnchor")
# SHA-256 of the header's texts in NIST's example, each after its key and a line break: what was left as it stood there.
_EXAMPLE_TEXTS = frozenset(
    {
        "30f3a335b5c0f7f8e53df211d6881d4592bd6114c6d8680531604d0b5720d746",
        "6d627efa5fbc044916fd3fcb59766b544bcc61e64cf659ceb644e1ad996c9bb0",
        "9900f3343516750b5e112dbc645d6c4869a81b9ba05424091b90ff53d78a3da4",
        "abe975678b8878357d838e3162923cbd2ed9c7a6ee3d4cf1e88fd9d72874e211",
    }
)


class FaultSeverity(StrEnum):
    """How bad a fault is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to change in a submission.

    Attributes:
        code: what kind of fault, from a closed list: ``json``, ``header``, ``header.example``, ``schema``,
            ``schema.slow``, ``reference``, ``metaparameters``, ``arguments``, ``image``; those of outputs are listed in
            :mod:`palladion.submissions.outputs`.
        file: the file it is in, by its name in the submission.
        where: the place in the file, keys joined by dots; empty for the whole of it.
        message: what is wrong and what to do; printable.
        severity: how bad it is.
    """

    code: str
    file: str
    where: str
    message: str
    severity: FaultSeverity = FaultSeverity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{self.severity}: {place}: {self.message}"


def check_submission(submission: Submission, family: Family = DEFAULT_FAMILY) -> list[Fault]:
    """All faults of a submission, at most 50; none means that it may be queued.

    Nothing of the submission is run.

    Args:
        submission: what to check. A reference detector has no faults; of an image, only the file's form is seen.
        family: the rounds that it is for.

    Raises:
        PalladionError: what checks schemas is not installed.
    """
    if submission.image is not None:
        return list(_check_image(submission.image))
    if submission.directory is None:
        return []
    faults = list(_check_arguments(submission, family))
    schema_path, parameters_path = submission.directory / SCHEMA, submission.directory / METAPARAMETERS
    if schema_path.is_file():
        faults += _check_schema_files(schema_path, parameters_path)
    elif submission.kind is Kind.ENTRYPOINT:
        faults.append(Fault("schema", SCHEMA, "", "is missing; NIST's contract asks for it"))
    if submission.kind is not Kind.ENTRYPOINT:
        faults = [
            replace(fault, severity=FaultSeverity.WARNING) if fault.code.startswith("header") else fault
            for fault in faults
        ]
    faults = [
        replace(fault, where=printable(fault.where, 120), message=printable(fault.message, 400)) for fault in faults
    ]
    return sorted(faults, key=lambda fault: fault.severity is FaultSeverity.WARNING)[:_MAXIMUM_FAULTS]


def _check_image(path: Path) -> Iterator[Fault]:
    with path.open("rb") as file:
        start = file.read(64)
    # The format's magic stands behind the line that starts the image as a program.
    if start[32:41] != b"SIF_MAGIC":
        yield Fault("image", path.name, "", "is no Apptainer image; build one with: apptainer build NAME.sif FILE.def")


def _check_arguments(submission: Submission, family: Family) -> Iterator[Fault]:
    """An option that the program does not know makes argparse stop it."""
    known = submission.arguments
    if submission.kind is not Kind.ENTRYPOINT or known is None:
        return
    for name in family.infer:
        if name not in known and name not in family.optional and name not in family.flags:
            yield Fault(
                "arguments",
                submission.program or "",
                "",
                f"does not declare --{name}, which is passed for rounds of the family {family.name}; "
                f'add parser.add_argument("--{name}")',
                FaultSeverity.WARNING,
            )
    if submission.learned_parameters is None and not submission.configurable:
        yield Fault(
            "arguments",
            LEARNED_PARAMETERS,
            "",
            "holds nothing, and the program has no subcommand configure to fill it; put in what it learned",
            FaultSeverity.WARNING,
        )


# --- the files --------------------------------------------------------------------------------------------------------


def _check_schema_files(schema_path: Path, parameters_path: Path) -> list[Fault]:
    faults: list[Fault] = []
    documents: list[dict[str, Any]] = []
    for path in (schema_path, parameters_path):
        if path is parameters_path and not path.is_file():
            return [*faults, Fault("metaparameters", path.name, "", "is missing; the schema describes it")]
        try:
            documents.append(_read_object(path))
        except InputError as error:
            faults.append(Fault("json", path.name, "", error.problem))
    if len(documents) < 2:
        return faults
    schema, parameters = documents
    faults += _check_header(schema)
    refused = list(_check_references(schema))
    faults += refused or _check_shape(schema)
    faults += _check_names(schema, parameters)
    # Not applied where it could lead elsewhere, or lacks what makes it a schema.
    return faults if refused else [*faults, *_apply(schema, parameters)]


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object, read more strictly than Python does.

    Raises:
        InputError: it is none; or has a name twice, a number that is none, or too much of anything.
    """
    if path.stat().st_size > _MAXIMUM_BYTES:
        raise InputError("is larger than 1 MiB")
    try:
        value = json.loads(
            path.read_bytes().decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise InputError(f"is nested more than {_MAXIMUM_DEPTH} deep") from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8") from None
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"is not JSON: {getattr(error, 'msg', error)}", line=line) from None
    if not isinstance(value, dict):
        raise InputError("must be a JSON object: one value a name")
    level: list[Any] = [value]
    for _ in range(_MAXIMUM_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
    if level:
        raise InputError(f"is nested more than {_MAXIMUM_DEPTH} deep")
    return value


def _children(value: object) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in inner if isinstance(part, dict | list)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the name {twice[:60]!r} stands twice in one object")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


# --- the header -------------------------------------------------------------------------------------------------------


def _check_header(schema: dict[str, Any]) -> Iterator[Fault]:
    if "$schema" not in schema:
        yield Fault(
            "schema", SCHEMA, "$schema", 'is missing; write "$schema": "http://json-schema.org/draft-07/schema#"'
        )
    if "title" not in schema:
        yield Fault("header", SCHEMA, "title", "is missing; name your detector", FaultSeverity.WARNING)
    for key in _HEADER:
        if key not in schema:
            yield Fault("header", SCHEMA, key, "is missing; the header must say it")
    for key in ("title", *_HEADER):
        value = schema.get(key)
        if key == "technique_type" or value is None:
            continue
        if not isinstance(value, str):
            yield Fault("header", SCHEMA, key, "must be a text")
        elif not value.strip():
            yield Fault("header", SCHEMA, key, "is empty; NIST's example leaves it so, and it must be filled in")
        elif hashlib.sha256(f"{key}\n{value}".encode(errors="replace")).hexdigest() in _EXAMPLE_TEXTS:
            yield Fault("header.example", SCHEMA, key, "is still the text of NIST's example; write what yours does")
    if "technique_type" in schema:
        yield from _check_technique_type(schema["technique_type"])


def _check_technique_type(value: object) -> Iterator[Fault]:
    if not isinstance(value, list) or not value:
        yield Fault(
            "header", SCHEMA, "technique_type", f"must be a list with at least one of: {', '.join(TECHNIQUE_TYPES)}"
        )
        return
    known = {name.casefold() for name in TECHNIQUE_TYPES}
    for part in value[:10]:
        if not isinstance(part, str) or part.casefold() not in known:
            shown = repr(part[:60]) if isinstance(part, str) else "one that is no text"
            yield Fault(
                "header", SCHEMA, "technique_type", f"there is no type {shown}; there are {', '.join(TECHNIQUE_TYPES)}"
            )


# --- the schema -------------------------------------------------------------------------------------------------------


def _check_references(schema: dict[str, Any]) -> Iterator[Fault]:
    """References that lead out of the schema, or change where others lead."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, list):
            waiting += [(_join(where, i), part) for i, part in enumerate(value)]
            continue
        if not isinstance(value, dict):
            continue
        # A property may have any of these names; its value is a schema then, and no text.
        reference = value.get("$ref")
        if isinstance(reference, str) and not (reference == "#" or reference.startswith("#/")):
            message = f"refers to {reference[:80]!r}; only references within the schema (#/definitions/…) are followed"
            yield Fault("reference", SCHEMA, _join(where, "$ref"), message)
        for key in _REFERENCES:
            if isinstance(value.get(key), str):
                yield Fault("reference", SCHEMA, _join(where, key), "is not followed; use $ref")
        for key in _ANCHORS:
            if where and isinstance(value.get(key), str) and not where.endswith(("enum", "const", "default")):
                yield Fault("reference", SCHEMA, _join(where, key), "names a part of the schema; leave it out")
        waiting += [(_join(where, key), part) for key, part in value.items()]


def _check_shape(schema: dict[str, Any]) -> Iterator[Fault]:
    """What NIST's checker asks beyond JSON Schema: bounds and choices for everything."""
    if schema.get("type") != "object":
        yield Fault("schema", SCHEMA, "type", 'must be "object"')
    if schema.get("additionalProperties") is not False:
        yield Fault("schema", SCHEMA, "additionalProperties", "must be false, so that no metaparameter goes unseen")
    if not isinstance(schema.get("properties"), dict):
        yield Fault("schema", SCHEMA, "properties", "must be an object that describes each metaparameter")
        return
    properties = _Properties(schema)
    for name, part in schema["properties"].items():
        yield from properties.check(_join("properties", name), part, frozenset())


class _Properties:
    """Checks the descriptions of metaparameters; what many of them refer to is checked once."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._checked: set[str] = set()

    def check(self, where: str, part: object, seen: frozenset[str]) -> Iterator[Fault]:
        if not isinstance(part, dict):
            message = 'must be an object such as {"type": "number", "minimum": 0, "maximum": 1}'
            yield Fault("schema", SCHEMA, where, message)
            return
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield from self._follow(where, reference, seen)
            return
        choices = [key for key in ("oneOf", "anyOf", "allOf") if isinstance(part.get(key), list)]
        if choices:
            for key in choices:
                for i, choice in enumerate(part[key]):
                    yield from self.check(_join(_join(where, key), i), choice, seen)
            return
        if "enum" in part or "const" in part:
            if "enum" in part and not (isinstance(part["enum"], list) and part["enum"]):
                yield Fault("schema", SCHEMA, _join(where, "enum"), "must be a list with at least one value")
            return
        kinds = part.get("type")
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            yield from self._check_type(where, part, kind, seen)

    def _follow(self, where: str, reference: str, seen: frozenset[str]) -> Iterator[Fault]:
        target = _resolve(self._root, reference)
        if reference in seen:
            yield Fault("reference", SCHEMA, where, f"{reference[:80]!r} refers to itself")
        elif len(seen) > _MAXIMUM_DEPTH:
            yield Fault("reference", SCHEMA, where, f"refers on and on, more than {_MAXIMUM_DEPTH} times")
        elif target is None:
            yield Fault("reference", SCHEMA, where, f"{reference[:80]!r} is not in the schema")
        elif reference not in self._checked:
            self._checked.add(reference)
            yield from self.check(where, target, seen | {reference})

    def _check_type(self, where: str, part: dict[str, Any], kind: object, seen: frozenset[str]) -> Iterator[Fault]:
        if kind in ("number", "integer"):
            bounds = []
            for bound in ("minimum", "maximum"):
                value = part.get(bound, part.get(f"suggested_{bound}"))
                if isinstance(value, bool) or not isinstance(value, int | float):
                    yield Fault("schema", SCHEMA, where, f"has no {bound}; add it, or suggested_{bound}, as a number")
                else:
                    bounds.append(value)
            if len(bounds) == 2 and bounds[0] > bounds[1]:
                yield Fault("schema", SCHEMA, where, "has a minimum above its maximum")
        elif kind == "string":
            yield Fault("schema", SCHEMA, where, "has no enum; list the texts that it may be")
        elif kind == "array":
            items = part.get("items")
            for item in items if isinstance(items, list) else [items]:
                yield from self.check(_join(where, "items"), item, seen)
        elif kind == "object":
            message = "is an object within an object, which NIST's checker refuses; flatten it"
            yield Fault("schema", SCHEMA, where, message)
        elif kind not in ("boolean", "null"):
            shown = repr(kind[:40]) if isinstance(kind, str) else "none"
            message = f"has the type {shown}; use number, integer, string, boolean or array"
            yield Fault("schema", SCHEMA, where, message)


def _join(where: str, key: str | int) -> str:
    # A long key above many others would be copied for each of them.
    return f"{where}.{str(key)[:60]}".removeprefix(".")


def _resolve(root: dict[str, Any], reference: str) -> object:
    value: Any = root
    for word in reference.removeprefix("#").split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _check_names(schema: dict[str, Any], parameters: dict[str, Any]) -> Iterator[Fault]:
    described = schema.get("properties")
    if not isinstance(described, dict):
        return
    for name in sorted(set(described) - set(parameters)):
        message = "is missing; the schema describes it, so give it a value"
        yield Fault("metaparameters", METAPARAMETERS, name, message)
    for name in sorted(set(parameters) - set(described)):
        message = f"is not in {SCHEMA}; describe it there, or leave it out"
        yield Fault("metaparameters", METAPARAMETERS, name, message)


def _apply(schema: dict[str, Any], parameters: dict[str, Any]) -> Iterator[Fault]:
    """Validate in another process, which may be killed."""
    found = None
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "palladion.submissions.validation"],
            input=json.dumps({"schema": schema, "instance": parameters}).encode(),
            capture_output=True,
            timeout=_TIME_LIMIT,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            check=False,
        )
        if done.returncode == NOT_INSTALLED:
            raise PalladionError("jsonschema is not installed; metaparameters cannot be checked without it")
        if done.returncode == 0:
            found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        pass
    if found is None:
        message = "takes too long, or too much memory, to be applied; simplify its patterns"
        yield Fault("schema.slow", SCHEMA, "", message)
        return
    for part, where, message in found:
        if part == "schema":
            yield Fault("schema", SCHEMA, where, message)
        elif not message.startswith("Additional properties"):  # told before, name by name
            yield Fault("metaparameters", METAPARAMETERS, where, f"does not fit the schema: {message}")


def printable(text: str, most: int) -> str:
    """``text`` cut to ``most`` characters, with escapes for what cannot be printed.

    Names and values come from the submission: no control characters reach a terminal.
    """
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
