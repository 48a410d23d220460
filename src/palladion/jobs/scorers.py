"""Versions of the scorer.

Whoever changes what a score comes out as adds a version here and leaves the old ones: evaluations that were begun with
one are ended with it, also after an update of Palladion.
"""

from dataclasses import dataclass
from typing import Final

from palladion.errors import PalladionError

__all__ = ["SCORERS", "SCORER_VERSION", "Scorer", "scorer"]


@dataclass(frozen=True, slots=True)
class Scorer:
    """One version of the scorer.

    Attributes:
        version: its name.
        seed: of the intervals: the same submission gets the same ones.
    """

    version: str
    seed: int = 0


SCORER_VERSION: Final = "1"
"""The version that new stages start with."""
SCORERS: Final = {SCORER_VERSION: Scorer(SCORER_VERSION)}
"""The versions that this program can score with."""


def scorer(version: str) -> Scorer:
    """The scorer of a version.

    Raises:
        PalladionError: this program does not know it.
    """
    found = SCORERS.get(version)
    if found is None:
        known = ", ".join(SCORERS)
        raise PalladionError(f"there is no version {version[:40]!a} of the scorer here; there is {known}")
    return found
