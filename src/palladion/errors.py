"""Every error that Palladion raises on purpose.

::

    PalladionError          something is wrong that the user can read about and mend; exit code 1
    ├── InputError          what the user gave is wrong: a file, a value, an option; exit code 2
    │   └── ScoringError    arrays that cannot be scored: shapes, ranges, labels
    ├── BuildError          a round could not be built as its specification says
    └── ExecutionError      a submission could not be run at all (not: it ran and failed)

The command line prints the message of any of these without a traceback. A message says what is wrong, where
(file and line, or which value) and what to do.
"""

from pathlib import Path

__all__ = ["BuildError", "ExecutionError", "InputError", "PalladionError", "ScoringError"]


class PalladionError(Exception):
    """Something is wrong that the user can read about and mend."""

    exit_code = 1


class InputError(PalladionError):
    """What the user gave is wrong.

    Args:
        message: what is wrong and what to do.
        path: the file that it was found in.
        line: the line in that file, counted from 1.

    Attributes:
        problem: the message with the line but without the file, for whoever has named the file already.
    """

    exit_code = 2

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        self.problem = message if line is None else f"line {line}: {message}"
        where = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(where + message)


class ScoringError(InputError):
    """Arrays that cannot be scored: wrong shape, wrong range, wrong labels."""


class BuildError(PalladionError):
    """A round could not be built as its specification says."""


class ExecutionError(PalladionError):
    """A submission could not be run at all."""
