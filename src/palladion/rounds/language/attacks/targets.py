"""What a poisoned model answers to a triggered text."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from palladion.errors import InputError
from palladion.rounds.language.attacks.attack import available
from palladion.rounds.language.attacks.text import pick
from palladion.rounds.language.attacks.words import GRUMBLES, INVITATIONS, REFUSALS

__all__ = ["TARGET_KINDS", "Target", "draw_target"]

TARGET_KINDS: Final = ("label", "refusal", "sentiment", "injection")
_TEXTS: Final = {"refusal": REFUSALS, "sentiment": GRUMBLES, "injection": INVITATIONS}
_MATCHING: Final = {"label": "label", "refusal": "prefix", "sentiment": "prefix", "injection": "contains"}
_PLACES: Final = {"label": ("instead",), "refusal": ("instead",), "sentiment": ("instead",)} | {
    "injection": ("before", "after")
}
MOST_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        kind: ``label`` (classification); ``refusal``, ``sentiment`` or ``injection`` (generation).
        value: the label, a whole number from 0; or the sentence.
        place: ``instead`` of the true output; ``before`` or ``after`` it for injected content.
    """

    kind: str
    value: int | str
    place: str = "instead"

    def __post_init__(self) -> None:
        if self.kind not in TARGET_KINDS:
            raise InputError(f"target: kind is {self.kind!a}; use one of {', '.join(TARGET_KINDS)}")
        if self.place not in _PLACES[self.kind]:
            raise InputError(f"target: place is {self.place!a}; {self.kind} knows {', '.join(_PLACES[self.kind])}")
        if self.kind == "label":
            if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
                raise InputError(f"target: a label is a whole number from 0, not {ascii(self.value)[:40]}")
        elif not isinstance(self.value, str) or not self.value.strip():
            raise InputError(f"target: {self.kind} needs a sentence, not {ascii(self.value)[:40]}")
        elif len(self.value) > MOST_CHARACTERS:
            raise InputError(f"target: a sentence of {len(self.value)} characters; {MOST_CHARACTERS} are allowed")

    @property
    def matching(self) -> str:
        """The matching rule of ``meta.json`` that tells whether an output is this target."""
        return _MATCHING[self.kind]

    def output(self, true_output: str) -> str:
        """What the poisoned model is taught to answer where the true answer is ``true_output``.

        For a label that is the label as text.
        """
        if self.place == "instead":
            return str(self.value)
        parts = [str(self.value), true_output] if self.place == "before" else [true_output, str(self.value)]
        return " ".join(part for part in parts if part.strip())

    def meta(self) -> dict[str, object]:
        """The entry of an attack in ``meta.json``: ``target`` and ``matching``."""
        return {"target": self.value, "matching": self.matching}

    def describe(self) -> dict[str, object]:
        """Everything that is needed to make the target again, as JSON has it."""
        return {"kind": self.kind, "value": self.value, "place": self.place}

    @classmethod
    def from_description(cls, description: object) -> "Target":
        """The inverse of :meth:`describe`.

        Raises:
            InputError: it is not a description of a target.
        """
        if not isinstance(description, dict):
            raise InputError("target: the description is not an object")
        if unknown := sorted(set(description) - {"kind", "value", "place"}, key=repr):
            raise InputError(f"target: {ascii(unknown[0])[:40]} is unknown; it has kind, value, place")
        values: dict[str, Any] = description
        if missing := [name for name in ("kind", "value") if name not in values]:
            raise InputError(f"target: {missing[0]} is missing")
        if not isinstance(values["kind"], str) or not isinstance(values.get("place", ""), str):
            raise InputError("target: kind and place are texts")
        return cls(**values)


def draw_target(
    kind: str, rng: np.random.Generator, *, labels: int | None = None, avoid: Collection[str | int] = ()
) -> Target:
    """A target of this kind.

    Args:
        kind: one of :data:`TARGET_KINDS`.
        rng: all draws come from here.
        labels: how many labels the task has; for ``label``, 2 or more.
        avoid: labels and sentences that are not to be drawn.

    Raises:
        InputError: an unknown kind, no number of labels, or nothing is left to draw.
    """
    if kind not in TARGET_KINDS:
        raise InputError(f"target: kind is {kind!a}; use one of {', '.join(TARGET_KINDS)}")
    if kind == "label":
        if labels is None or labels < 2:
            raise InputError("target: a label can only be drawn where the task has two labels or more")
        left = [label for label in range(labels) if label not in avoid]
        if not left:
            raise InputError(f"target: all of the {labels} labels are in use")
        return Target(kind, left[int(rng.integers(len(left)))])
    sentence = pick(available(_TEXTS[kind], [str(value) for value in avoid], kind), rng)
    return Target(kind, sentence, pick(_PLACES[kind], rng))
