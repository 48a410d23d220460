"""Validate metaparameters by their schema, in a process of its own: ``python -m palladion.submissions.validation``.

The schema is somebody else's, and its ``pattern`` may keep Python's regular expressions busy for ever; so this process
has little time and memory, and the one that waits for it is patient for a few seconds only. Reads
``{"schema": …, "instance": …}`` from standard input and prints a list of
``[which, where, message]``.
"""

import json
import resource
import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["NOT_INSTALLED", "faults_of", "main"]

NOT_INSTALLED = 3
"""Exit code where jsonschema is missing."""

_CPU_SECONDS, _MEMORY_BYTES = 5, 1 << 30
_MOST_FAULTS, _MOST_CHARACTERS = 20, 300


def faults_of(schema: Any, instance: Any) -> list[tuple[str, str, str]]:
    """What is wrong with the schema itself, or else with the instance: which of the two, place and message.

    Raises:
        ImportError: jsonschema is not installed.
    """
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    found = []
    try:
        validator_class = validator_for(schema, default=Draft7Validator)
        validator_class.check_schema(schema)
        # An empty registry fetches nothing: what a reference does not find in the schema is not found.
        validator = validator_class(schema, registry=Registry())
        for fault in validator.iter_errors(instance):
            found.append(("instance", _place(fault.absolute_path), fault.message))
            if len(found) >= _MOST_FAULTS:
                break
    except SchemaError as error:
        return [("schema", _place(error.absolute_path), f"is no schema: {error.message}")]
    except RecursionError:
        return [("schema", "", "refers to itself without an end")]
    except Exception as error:  # a pattern that is none, a reference that leads nowhere, and what else schemas can do
        return [("schema", "", f"cannot be applied: {error}")]
    return found


def _place(path: Iterable[object]) -> str:
    return ".".join(str(part) for part in path)


def main() -> None:
    """Read from standard input, write to standard output."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin)
    try:
        found = faults_of(request["schema"], request["instance"])
    except ImportError:
        sys.exit(NOT_INSTALLED)
    json.dump([[word[:_MOST_CHARACTERS] for word in fault] for fault in found], sys.stdout)


if __name__ == "__main__":
    main()
