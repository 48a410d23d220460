"""What is done already, so that an interrupted evaluation goes on where it was."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from palladion.errors import PalladionError
from palladion.execution.outcome import Outcome
from palladion.files import write_atomically
from palladion.models import SplitDirectory

__all__ = ["FileJournal", "Journal", "cache_directory", "key", "split_identity"]

_JOURNAL = "journal.jsonl"


def cache_directory() -> Path:
    """Palladion's cache of this user: ``$XDG_CACHE_HOME/palladion``, or ``~/.cache/palladion``."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # By the specification, a relative path there is to be ignored.
    return (root if root.is_absolute() else Path.home() / ".cache") / "palladion"


def key(*parts: str | float | None) -> str:
    """A name for all of this together: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def split_identity(split: SplitDirectory) -> str:
    """A name for what the models of a split are: the names, sizes and times of their open files.

    Contents are not read: they may be gigabytes, and who builds a round anew gets new times.
    """
    digest = hashlib.sha256()
    for entry in split.models():
        for path in sorted(entry.open.rglob("*")):
            status = path.lstat()
            name = path.relative_to(split.path)
            digest.update(f"{name} {status.st_mode} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Journal(Protocol):
    """The outcomes of one evaluation so far, wherever they are kept. Used by one thread, that of the evaluation.

    What :attr:`outcomes` holds when the evaluation begins is not run again; each of the others is added once.
    """

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """By data point: those that were there, and those that were added."""

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, for good before this returns. Whatever is raised ends the evaluation and all that runs."""

    def remove(self) -> None:
        """The evaluation is complete: what was only kept to go on with may go."""


class FileJournal:
    """A journal in a file, one line of JSON a data point.

    Args:
        directory: where they are kept; is made.
        names: the data points of the evaluation. Outcomes of others are left out.
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        self._directory = directory
        self._path = directory / _JOURNAL
        known = set(names)
        self.outcomes: dict[str, Outcome] = {}
        for line in self._lines():
            try:
                outcome = Outcome.from_dict(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # half a line, or another version's
            if outcome.data_point in known:
                self.outcomes[outcome.data_point] = outcome
        write_atomically(self._path, "".join(map(_line, self.outcomes.values())))

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, on disk before this returns."""
        self.outcomes[outcome.data_point] = outcome
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(outcome))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PalladionError(f"{self._path}: cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        """Forget everything: the evaluation is complete."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PalladionError(f"{self._path}: cannot be read: {error.strerror}") from None


def _line(outcome: Outcome) -> str:
    return json.dumps(outcome.to_dict()) + "\n"
