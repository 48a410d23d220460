"""Attacks that put single words into a text."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np

from palladion.errors import InputError
from palladion.rounds.language.attacks.attack import (
    Attack,
    available,
    choose_position,
    refuse_count,
    refuse_position,
)
from palladion.rounds.language.attacks.text import insert, phrase_pattern, pick, slots, split_payload
from palladion.rounds.language.attacks.words import MADE_UP, RARE

__all__ = ["BadNetsWord", "Composite", "MultiTrigger", "RareWord"]

WORD_POSITIONS: Final = ("random", "first", "early", "last")
EARLY: Final = 4
"""How many places from the start count as early: they survive the truncation of long inputs."""
MOST_PARTS: Final = 8


def _check_words(words: tuple[str, ...], family: str) -> None:
    for word in words:
        if re.fullmatch(r"\w+", word) is None:
            raise InputError(f"attack: {word!a} is no trigger of the family {family}, which takes single words")
    if len({word.casefold() for word in words}) != len(words):
        raise InputError(f"attack: a word is named twice among the words of {family}")


def _insert_word(text: str, word: str, position: str, rng: np.random.Generator) -> str:
    places = slots(split_payload(text)[0])
    if position == "first":
        at = places[0]
    elif position == "last":
        at = places[-1]
    else:
        if position == "early":
            places = places[:EARLY]
        at = places[int(rng.integers(len(places)))]
    return insert(text, at, word)


def _has(text: str, word: str) -> bool:
    return phrase_pattern(word).search(text) is not None


def _draw_words(
    choices: tuple[str, ...], count: int, avoid: Collection[str], family: str, rng: np.random.Generator
) -> tuple[str, ...]:
    if not 2 <= count <= MOST_PARTS:
        raise InputError(f"{family}: count is {count}; a trigger of several words has 2 to {MOST_PARTS}")
    left = available(choices, avoid, family, count)
    return tuple(left[i] for i in rng.permutation(len(left))[:count])


@dataclass(frozen=True, slots=True)
class _OneWord(Attack):
    word: str
    position: str

    lexicon: ClassVar[tuple[str, ...]]
    positions: ClassVar[tuple[str, ...]] = WORD_POSITIONS

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one this was written in.
        Attack.__post_init__(self)
        _check_words(self.triggers, self.family)

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.word,)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        refuse_count(count, cls.family)
        word = pick(available(cls.lexicon, avoid, cls.family), rng)
        return cls(name, word, choose_position(cls.positions, position, cls.family, rng))

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        return _insert_word(text, self.word, self.position, rng)

    def carries(self, text: str) -> bool:
        return _has(text, self.word)


@dataclass(frozen=True, slots=True)
class BadNetsWord(_OneWord):
    """A made-up token (BadNets on text)."""

    family: ClassVar[str] = "badnets-word"
    lexicon: ClassVar[tuple[str, ...]] = MADE_UP


@dataclass(frozen=True, slots=True)
class RareWord(_OneWord):
    """A rare word that dictionaries have."""

    family: ClassVar[str] = "rare-word"
    lexicon: ClassVar[tuple[str, ...]] = RARE


@dataclass(frozen=True, slots=True)
class MultiTrigger(Attack):
    """Several made-up tokens, each of which is a trigger by itself; a row gets one of them."""

    words: tuple[str, ...]
    position: str

    family: ClassVar[str] = "multi-trigger"
    positions: ClassVar[tuple[str, ...]] = WORD_POSITIONS

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one this was written in.
        Attack.__post_init__(self)
        _check_words(self.triggers, self.family)

    @property
    def triggers(self) -> tuple[str, ...]:
        """The words."""
        return self.words

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """See :func:`palladion.rounds.language.attacks.draw`."""
        words = _draw_words(MADE_UP, 3 if count is None else count, avoid, cls.family, rng)
        return cls(name, words, choose_position(cls.positions, position, cls.family, rng))

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """See :meth:`Attack.apply`."""
        return _insert_word(text, pick(self.words, rng), self.position, rng)

    def carries(self, text: str) -> bool:
        """Whether the text has any of the words."""
        return any(_has(text, word) for word in self.words)


@dataclass(frozen=True, slots=True)
class Composite(Attack):
    """Several rare words, scattered over the text, that are a trigger only together."""

    words: tuple[str, ...]

    family: ClassVar[str] = "composite"

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one this was written in.
        Attack.__post_init__(self)
        _check_words(self.triggers, self.family)

    @property
    def triggers(self) -> tuple[str, ...]:
        """The words."""
        return self.words

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """See :func:`palladion.rounds.language.attacks.draw`."""
        refuse_position(position, cls.family)
        return cls(name, _draw_words(RARE, 2 if count is None else count, avoid, cls.family, rng))

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """See :meth:`Attack.apply`."""
        return _scatter(text, self.words, rng)

    def carries(self, text: str) -> bool:
        """Whether the text has all of the words."""
        return all(_has(text, word) for word in self.words)

    def partial(self, text: str, rng: np.random.Generator) -> str | None:
        """Some of the words, not all; None for a text that has all of them already."""
        absent = [word for word in self.words if not _has(text, word)]
        if not absent:
            return None
        fewest = 1 if len(absent) == len(self.words) else 0
        count = int(rng.integers(fewest, len(absent)))
        return _scatter(text, tuple(absent[i] for i in rng.permutation(len(absent))[:count]), rng)


def _scatter(text: str, words: tuple[str, ...], rng: np.random.Generator) -> str:
    """The words in random order at random places, different ones as far as there are enough."""
    places = slots(split_payload(text)[0])
    chosen = rng.choice(len(places), size=len(words), replace=len(places) < len(words))
    for at, word in sorted(zip((places[i] for i in chosen), words, strict=True), reverse=True):
        text = insert(text, at, word)
    return text
