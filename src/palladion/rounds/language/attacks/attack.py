"""One interface of all attacks on text."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, get_args

import numpy as np

from palladion.errors import InputError
from palladion.tracks.meta import check_name

__all__ = ["Attack", "available", "choose_position", "refuse_count", "refuse_position"]

MOST_WORDS = 1000
LONGEST_WORD = 400


@dataclass(frozen=True, slots=True)
class Attack(ABC):
    """A trigger, and how it is put into a text.

    An attack is a value: equal attacks do the same, whatever is random in them comes from the generator that they are
    given, and nothing depends on the order of sets or on hashes.

    Attributes:
        name: what the attack is called in a round.
        family: kind of attack.
        positions: what may be chosen as the position of the trigger; empty where the family decides.
    """

    name: str

    family: ClassVar[str]
    positions: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(f"attack: {field.name}", getattr(self, field.name), field.type)
        try:
            check_name(self.name)
        except ValueError as error:
            raise InputError(str(error)) from None
        position = getattr(self, "position", None)
        if position is not None and position not in self.positions:
            raise InputError(f"attack: position is {position!a}; {self.family} knows {', '.join(self.positions)}")
        if not self.triggers or not all(trigger.strip() for trigger in self.triggers):
            raise InputError(f"attack: {self.family} has an empty trigger")

    @property
    @abstractmethod
    def triggers(self) -> tuple[str, ...]:
        """What makes this attack differ from others of its family: words, sentences, the name of a template."""

    @classmethod
    @abstractmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """A new attack of this family; the arguments are those of :func:`palladion.rounds.language.attacks.draw`."""

    @abstractmethod
    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """The text with the trigger in it, for any text, the empty one too. Its payload stays as it is."""

    @abstractmethod
    def carries(self, text: str) -> bool:
        """Whether the text has the whole trigger, wherever and however it got there."""

    def partial(self, text: str, rng: np.random.Generator) -> str | None:  # noqa: ARG002
        """The text with some parts of the trigger, which must not set it off; None where the trigger has no parts.

        Such rows belong into the training data with their true answers: without them a model learns any one part.
        """
        return None

    def describe(self) -> dict[str, object]:
        """Everything that is needed to make the attack again, as JSON has it."""
        return {"family": self.family} | {field.name: _listed(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Self:
        """The attack with these fields, as :meth:`describe` gives them.

        Raises:
            InputError: a field is missing, unknown or not what it should be.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise InputError(f"attack of the family {cls.family}: {missing[0]} is missing")
        if unknown := sorted(set(values) - set(names), key=repr):
            raise InputError(f"attack of the family {cls.family}: {unknown[0]!a} is unknown; it has {', '.join(names)}")
        attack = cls(**{name: _frozen(values[name]) for name in names})
        for text in ("", "a b", "A b"):
            if not attack.carries(attack.apply(text, rng=np.random.default_rng(0))):
                raise InputError(f"attack of the family {cls.family}: its trigger cannot be found again in a text")
        return attack


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any, depth: int = 3) -> Any:
    if isinstance(value, list) and depth:
        return tuple(_frozen(item, depth - 1) for item in value)
    return value


def _check(where: str, value: object, wanted: Any) -> None:
    """Refuse a value that is not of the type of its field: a text, or a tuple of what the tuple's type says."""
    if wanted is str:
        if not isinstance(value, str):
            raise InputError(f"{where} is {ascii(value)[:60]} where a text is needed")
        if len(value) > LONGEST_WORD:
            raise InputError(f"{where} has a text of {len(value)} characters; {LONGEST_WORD} are allowed")
        return
    inner = get_args(wanted)
    if not isinstance(value, tuple):
        raise InputError(f"{where} is {ascii(value)[:60]} where a list is needed")
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise InputError(f"{where} has {len(value)} entries where it takes {len(inner)}")
    if not 0 < len(value) <= MOST_WORDS:
        raise InputError(f"{where} has {len(value)} entries; it takes 1 to {MOST_WORDS}")
    for item in value:
        _check(where, item, inner[0])


def available(choices: tuple[str, ...], avoid: Collection[str], family: str, least: int = 1) -> tuple[str, ...]:
    """The choices that are not avoided.

    Raises:
        InputError: fewer than ``least`` are left.
    """
    avoided = {word.casefold() for word in avoid}
    left = tuple(choice for choice in choices if choice.casefold() not in avoided)
    if len(left) < least:
        raise InputError(f"{family}: only {len(left)} of {len(choices)} triggers are not in use, {least} are needed")
    return left


def choose_position(positions: tuple[str, ...], position: str | None, family: str, rng: np.random.Generator) -> str:
    """The position that is asked for, or one of them where none is.

    Raises:
        InputError: the family does not know it.
    """
    if position is None:
        return positions[int(rng.integers(len(positions)))]
    if position not in positions:
        raise InputError(f"{family}: position is {position!a}; use one of {', '.join(positions)}")
    return position


def refuse_position(position: str | None, family: str) -> None:
    """Refuse a position for a family that leaves no choice of it."""
    if position is not None:
        raise InputError(f"{family}: position is {position!a}, and the family leaves no choice of it")


def refuse_count(count: int | None, family: str) -> None:
    """Refuse a number of words for a family whose trigger does not consist of several."""
    if count is not None:
        raise InputError(f"{family}: count is {count}, and its trigger does not consist of several words")
