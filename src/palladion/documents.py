"""Read YAML documents that people write, with faults that name the file and the line.

A document is checked as a whole: every fault is reported at once. Unknown keys are refused, with the known key that
comes nearest.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from palladion.errors import InputError

__all__ = ["load_document", "parse_document", "parse_yaml", "validate_document", "write_document"]

Document = TypeVar("Document", bound=BaseModel)
_MAXIMUM_BYTES = 1 << 20


def load_document(path: Path, model: type[Document]) -> Document:
    """Read ``path`` as a ``model``.

    Raises:
        InputError: the file cannot be read, is not YAML or does not fit the model; every fault with its line.
    """
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            raise InputError("is larger than 1 MiB; this is not a file of settings", path=path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None
    return parse_document(text, path, model)


def parse_document(text: str, path: Path, model: type[Document]) -> Document:
    """Read ``text``, which came from ``path``, as a ``model``. Raises as :func:`load_document`."""
    try:
        data, node = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise InputError(f"is not YAML: {error.problem}", path=path, line=line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"is not YAML: {error}", path=path) from None
    return validate_document(data, path, model, node)


def parse_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """What a YAML text says, and the tree that tells the lines.

    Aliases are refused: a few lines of them stand for more than there is memory.

    Raises:
        yaml.YAMLError: it is not YAML, or has an alias.
        RecursionError: it is nested too deeply.
    """
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AliasToken):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not supported; write it out", problem_mark=token.start_mark
            )
    return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)


def validate_document(
    data: object, source: Path | str, model: type[Document], node: yaml.Node | None = None
) -> Document:
    """Check ``data``, which came from ``source``, as a ``model``; ``node`` tells the lines, where there are any.

    Raises:
        InputError: it does not fit; every fault is told.
    """
    if not isinstance(data, dict):
        raise InputError("must hold keys and values", path=source)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = [_fault(fault, node, model, source) for fault in error.errors(include_url=False)]
        raise InputError("\n".join(faults)) from None


def write_document(document: BaseModel) -> str:
    """The document as YAML text: keys in the model's order, the same text for the same document."""
    data = document.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _fault(fault: Any, node: yaml.Node | None, model: type[BaseModel], path: Path | str) -> str:
    location = tuple(fault["loc"])
    line = _line(node, location)
    where = f"{path}, line {line}" if line else str(path)
    name = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        known = _keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: there is no key {name!r}; {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {name}: {message}" if name else f"{where}: {message}"


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    """Line of the deepest part of ``location`` that the document has, counted from 1."""
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the model has at ``location``."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = fields[part].annotation
        else:
            # A list's index or a mapping's key: the value type is the last argument.
            arguments = getattr(current, "__args__", ())
            current = arguments[-1] if arguments else None
    return list(getattr(current, "model_fields", {}))
