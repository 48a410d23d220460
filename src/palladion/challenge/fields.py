"""What the values of a challenge file may be, each with its reason in words."""

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from palladion.challenge.instants import read_instant
from palladion.errors import InputError
from palladion.sizes import SIZE_PATTERN, parse_size

__all__ = [
    "Count",
    "Fault",
    "Instant",
    "Name",
    "RelativePath",
    "Share",
    "Size",
    "Strict",
    "Title",
    "at_least_one",
    "faults_of",
    "matching",
    "nearest",
    "one_line",
    "together",
]

Fault = tuple[tuple[int | str, ...], str]
"""Where something is wrong, below whatever is checked, and what."""

_NAME = r"[a-z0-9][a-z0-9-]{0,63}"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_PATH = rf"{_PART}(/{_PART}){{0,15}}"
_TYPE: Final = "value_error"


class Strict(BaseModel):
    """Refuses keys that it does not know; cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def matching(pattern: str, meaning: str) -> tuple[AfterValidator, Any]:
    """A validator that says in words what a pattern asks, and the field that tells the JSON Schema of it."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"{text[:80]!a} must be {meaning}")
        return text

    return AfterValidator(check), Field(json_schema_extra={"pattern": f"^{pattern}$"})


def one_line(text: str) -> str:
    """One line of printable text. Raises ValueError."""
    if not text.isprintable() or not text.strip():
        raise ValueError(f"{text[:80]!a} must be one line of printable text")
    return text


def _relative(text: str) -> str:
    # What is wrong with a path is said before what it may be made of.
    if "\\" in text:
        raise ValueError(f"{text[:80]!a} has a backslash in it; write folders with /")
    if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text):
        raise ValueError(f"{text[:80]!a} is absolute; write it relative to the folder of this file")
    if ".." in text.split("/"):
        raise ValueError(f"{text[:80]!a} leads out of the folder of this file by '..'")
    return text


def at_least_one(most: int) -> tuple[AfterValidator, Any]:
    """Asks for one to so many parts, only once each of them is right, and makes them a tuple."""

    def check(parts: Sequence[Any]) -> tuple[Any, ...]:
        if not 0 < len(parts) <= most:
            raise ValueError(f"must hold at least one, and at most {most}")
        return tuple(parts)

    return AfterValidator(check), Field(json_schema_extra={"minItems": 1, "maxItems": most})


def _size(value: object) -> int:
    try:
        return parse_size(value)  # type: ignore[arg-type]
    except InputError as error:
        raise ValueError(str(error)) from None  # what pydantic understands


Name = Annotated[str, *matching(_NAME, "lower-case letters, digits and -, at most 64")]
RelativePath = Annotated[
    str,
    AfterValidator(_relative),
    *matching(_PATH, "names of letters, digits, _, . and - with / between them; none begins with a dot"),
]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True, allow_inf_nan=False)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE_PATTERN}$"}, {"type": "integer", "minimum": 1}]}),
]
Instant = Annotated[
    datetime,
    BeforeValidator(read_instant),
    PlainSerializer(lambda instant: instant.isoformat().replace("+00:00", "Z"), when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def together(model: str, faults: Iterable[Fault], others: Sequence[Any] = ()) -> ValidationError:
    """One error of several faults, each with its place: raised in a validator, pydantic adds where that stands.

    Args:
        model: what was checked.
        faults: what was found.
        others: faults as ``ValidationError.errors()`` lists them.
    """
    listed = [(tuple(other["loc"]), other["type"], other["msg"]) for other in others]
    listed += [(location, _TYPE, message) for location, message in faults]
    return ValidationError.from_exception_data(
        model,
        # Without a context, pydantic leaves braces in the message as they are.
        [
            InitErrorDetails(type=PydanticCustomError(kind, message), loc=location, input=None)
            for location, kind, message in listed
        ],
    )


def faults_of(error: ValidationError) -> list[Any]:
    """The faults of an error, for :func:`together`."""
    return list(error.errors(include_url=False, include_context=False, include_input=False))


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` where there is one like it, and what there is where there is none."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
