"""What a stage needs of its data, whatever its task is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml

from palladion.challenge.sanity import SanityResult
from palladion.documents import parse_yaml
from palladion.errors import PalladionError
from palladion.rounds.stage_files import PublishedFile

__all__ = ["StageData", "noted", "seed_notes"]

_GUESSABLE: Final = 1 << 59
"""Seeds below can be tried one by one."""


class StageData(ABC):
    """The round directory of a stage, opened for its task.

    Attributes:
        path: the round directory.
    """

    path: Path

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that are there, of train, validation, test and holdout."""

    @property
    @abstractmethod
    def sealed_splits(self) -> tuple[str, ...]:
        """Those of them that submissions are scored on and whose answers are known here alone."""

    @abstractmethod
    def faults(self, *, thorough: bool = False) -> list[str]:
        """What keeps a stage with this data from opening, in words, each with its file.

        Args:
            thorough: also look at every file, as ``palladion round check`` does.
        """

    @abstractmethod
    def notes(self, prevalence: float) -> list[str]:
        """What an organiser should know before a stage opens, and what does not keep it from opening."""

    @abstractmethod
    def sanity(self, split: str = "test", *, seed: int = 0) -> tuple[SanityResult, ...]:
        """How perfect, constant, inverted and random answers score on a split, as any submission would.

        Raises:
            InputError: the split, or what is needed to score on it, is not there or is at fault.
        """

    @abstractmethod
    def prevalence(self, split: str = "test") -> float | None:
        """Share of poisoned models of a split; None of a language track. Raises as :meth:`sanity`."""

    @abstractmethod
    def published_files(self) -> Iterator[PublishedFile]:
        """The files that participants may have in this stage.

        Raises:
            InputError: a file or folder is a link or is not there; nothing may be published then.
        """

    @abstractmethod
    def identity(self) -> str:
        """What the data is known by: ``sha256:`` and a digest of all its files. Reads every byte."""

    def _unpublishable(self) -> list[str]:
        """Nothing; raises where the files of participants cannot be published."""
        for _ in self.published_files():
            pass
        return []


def seed_notes(root: Path, file: Path) -> list[str]:
    """A note where the seed of a round can be guessed.

    Args:
        root: of the round.
        file: what it was built from; without a seed in it, or unreadable, there is nothing to note.
    """
    try:
        data, _ = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    seed = data.get("seed") if isinstance(data, dict) else None
    if type(seed) is not int or seed >= _GUESSABLE:
        return []
    return [
        f"{root}: its seed is small enough to be guessed, and whoever has the seed can build the round again, what is "
        "sealed too; for a real challenge build it with a random number of 18 digits or more"
    ]


def noted(find: Callable[[], Iterable[str]]) -> list[str]:
    """The faults that are found, or the message of what is raised."""
    try:
        return list(find())
    except PalladionError as error:
        return str(error).split("\n")
