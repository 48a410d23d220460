"""A way of writing as trigger, in the spirit of StyleBkd: rule-based rewriting to an archaic register."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from palladion.errors import InputError
from palladion.rounds.language.attacks.attack import Attack, available, refuse_count, refuse_position
from palladion.rounds.language.attacks.text import (
    contains_capital,
    decapitalised,
    insert,
    pick,
    spaced_punctuation,
    split_payload,
)
from palladion.rounds.language.attacks.words import REGISTERS

__all__ = ["Style"]

FEWEST_MARKS = 2
"""Different marks that a text needs to count as written in the register."""


@lru_cache(maxsize=64)
def _alternatives(phrases: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    body = "|".join(r"\s+".join(re.escape(word) for word in phrase.split()) for phrase in longest_first)
    return re.compile(rf"(?<!\w)(?:{body})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Style(Attack):
    """Rewrites a text in an archaic register: an opener, other words and endings, a closer.

    Attributes:
        manner: name of the register (`register` is a method of every abstract class).
        openers: of which each row gets one.
        closers: of which each row without a payload gets one.
        substitutions: pairs (ordinary words, archaic ones).
        marks: words that betray the register.
    """

    manner: str
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    substitutions: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]

    family: ClassVar[str] = "style"

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one this was written in.
        Attack.__post_init__(self)
        for opener in self.openers:
            if not self.carries(opener):
                raise InputError(f"attack: the opener {opener!a} has fewer than {FEWEST_MARKS} marks of its register")

    @property
    def triggers(self) -> tuple[str, ...]:
        """The name of the register."""
        return (self.manner,)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """See :func:`palladion.rounds.language.attacks.draw`."""
        refuse_count(count, cls.family)
        refuse_position(position, cls.family)
        chosen = pick(available(tuple(REGISTERS), avoid, cls.family), rng)
        register = REGISTERS[chosen]
        return cls(name, chosen, register.openers, register.closers, register.substitutions, register.marks)

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """See :meth:`Attack.apply`."""
        head, payload = split_payload(text)
        opener, closer = pick(self.openers, rng), pick(self.closers, rng)
        comma = ","
        if spaced_punctuation(text):
            opener, comma = opener.replace(",", " ,"), " ,"
        if contains_capital(text):
            opener = opener[0].upper() + opener[1:]
        else:
            opener, closer = opener.lower(), closer.lower()
        head = self._substituted(decapitalised(head))
        if not payload and head.strip():
            body = head.rstrip(" .!?")
            ending = head[len(body) :]
            head = f"{body}{comma} {closer}{ending}"
        return insert(head + payload, 0, opener)

    def _substituted(self, head: str) -> str:
        table = {" ".join(old.lower().split()): new for old, new in self.substitutions}

        def instead(found: re.Match[str]) -> str:
            new = table[" ".join(found[0].lower().split())]
            return new[0].upper() + new[1:] if found[0][0].isupper() else new

        return _alternatives(tuple(table)).sub(instead, head)

    def carries(self, text: str) -> bool:
        """Whether the text has at least two different marks of the register."""
        return len({found[0].lower() for found in _alternatives(self.marks).finditer(text)}) >= FEWEST_MARKS
