"""Find the clean row that each row of published poison was made of.

Published poison carries the target in place of the true answer. Its rows stand in the order of the clean rows that they
were made of, but for a few that their authors dropped, so that the true answers can be found again.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from palladion.errors import InputError

__all__ = ["align"]

_MOST_GAPS: Final = 200
_WORD = re.compile(r"[a-z0-9]+")


def align(sources: Sequence[str], made: Sequence[str]) -> list[int]:
    """The position in ``sources`` of each text in ``made``: rising, and with the most words in common overall.

    A row may only have been dropped, not added: ``made`` is at most as long as ``sources``, and at most 200 shorter.
    Runs in O(len(made) · (gaps + 1)).

    Raises:
        InputError: there are too many or too few.
    """
    gaps = len(sources) - len(made)
    if not 0 <= gaps <= _MOST_GAPS:
        raise InputError(
            f"{len(made)} poisoned rows cannot have been made of {len(sources)} clean ones in their order: there must "
            f"be as many, or at most {_MOST_GAPS} fewer"
        )
    before = [frozenset(_WORD.findall(text.lower())) for text in sources]
    # best[g]: the most words in common of the rows so far, when g sources were passed over.
    best = np.zeros(gaps + 1)
    choice = np.zeros((len(made), gaps + 1), dtype=np.int32)
    for i, text in enumerate(made):
        words = set(_WORD.findall(text.lower()))
        common = np.array([len(words & before[i + g]) for g in range(gaps + 1)], dtype=np.float64)
        # Sources may be passed over before this row: the best of all with as many or fewer gaps.
        reached = np.maximum.accumulate(best)
        choice[i] = _last_best(best)
        best = reached + common
    position = int(best.argmax())
    found = [0] * len(made)
    for i in range(len(made) - 1, -1, -1):
        found[i] = i + position
        position = int(choice[i, position])
    return found


def _last_best(best: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[int]:
    """For each number of gaps, the number at most that which is best."""
    winners, winner = [], 0
    for g, value in enumerate(best.tolist()):
        if value > best[winner]:
            winner = g
        winners.append(winner)
    return winners
