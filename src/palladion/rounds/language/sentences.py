"""Labelled sentences of the two built-in classification tasks: topic (4 classes) and sentiment (2 classes).

The sentences are procedural, so that nothing has to be downloaded and any row can be made again alone. A share of
them is ambiguous: half of what they say speaks for another label, and the label was decided by a coin. Nobody can
answer these better than half of the time, which keeps the clean accuracy of a good model near 0.95 instead of 1.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["CLASSIFICATION_TASKS", "LabelledSentence", "sentence"]

CLASSIFICATION_TASKS: Final[dict[str, tuple[str, ...]]] = {
    "sentiment": ("negative", "positive"),
    "topic": ("weather", "sport", "trade", "science"),
}
"""Label names by task; a label is the position in its tuple."""

AMBIGUOUS: Final = 0.08
"""Share of rows whose label is a coin between two."""


@dataclass(frozen=True, slots=True)
class LabelledSentence:
    """One row of a task."""

    sentence: str
    label: int


def _words(text: str, sep: str = " ") -> tuple[str, ...]:
    return tuple(text.split(sep))


_PLACES = _words(
    "village harbour valley coast station square bridge museum school library office farm river hill "
    "tower garden street castle island forest"
)
_TIMES = _words(
    "on monday|on tuesday|on wednesday|on thursday|on friday|this morning|this evening|last week|"
    "last night|today|yesterday|once again|after lunch|before noon|late in the day|for the third time",
    sep="|",
)
_PEOPLE = _words("people visitors neighbours officials residents reporters workers families experts students")
_SAID = _words("said reported explained noted added believed heard wrote announced agreed")


@dataclass(frozen=True, slots=True)
class _Field:
    """The words of one topic."""

    things: tuple[str, ...]
    acts: tuple[str, ...]
    kinds: tuple[str, ...]


_TOPICS = (
    _Field(
        _words(
            "storm cloud rain frost wind fog thunder snow drizzle forecast heat breeze hail sunshine flood "
            "drought mist temperature lightning ice"
        ),
        _words("swept darkened soaked froze chilled covered flooded cooled warmed blew"),
        _words("cold wet grey icy mild stormy humid frosty windy rainy cloudy foggy"),
    ),
    _Field(
        _words(
            "match team goal runner race coach ball league player referee medal stadium score trainer sprint "
            "final defender keeper tournament captain"
        ),
        _words("won lost scored trained kicked chased defeated passed outran cheered"),
        _words("unbeaten fierce athletic tired sporty fit winning losing defending national"),
    ),
    _Field(
        _words(
            "market price shop profit bank loan merchant wage contract customer tax coin budget factory sale debt "
            "order invoice cargo buyer"
        ),
        _words("sold bought invested paid borrowed traded owed shipped signed priced"),
        _words("cheap costly wealthy commercial financial retail expensive profitable taxed monthly"),
    ),
    _Field(
        _words(
            "telescope atom planet laboratory theory cell experiment microscope magnet crystal robot gene star "
            "laser fossil orbit formula sensor enzyme comet"
        ),
        _words("measured discovered observed tested analysed dissolved calculated recorded proved examined"),
        _words("microscopic distant precise chemical electric magnetic genetic scientific digital molecular"),
    ),
)

_SUBJECTS = _words(
    "film story meal hotel concert book play room soup song journey picture dance speech painting museum "
    "performance lesson service view"
)
_GOOD = _words(
    "delightful charming lovely brilliant wonderful pleasant superb touching clever fresh warm tasty "
    "joyful graceful splendid funny elegant lively thoughtful generous"
)
_BAD = _words(
    "dull boring dreadful awful clumsy tedious horrid bland stale gloomy noisy shallow messy lifeless "
    "tiresome poor dirty rude sloppy painful"
)
_LIKED = _words("enjoyed loved praised admired recommended treasured")
_DISLIKED = _words("hated regretted disliked avoided criticised endured")
_DEGREES = _words("very quite really truly rather so")
_PARTS = _words("ending beginning cast music staff colour idea plot food light voice setting pace humour")


def sentence(task: str, label: int | None, rng: np.random.Generator) -> LabelledSentence:
    """A sentence of this task.

    Args:
        task: a key of :data:`CLASSIFICATION_TASKS`.
        label: the label that it has; drawn when None.
        rng: of all draws.
    """
    classes = len(CLASSIFICATION_TASKS[task])
    given = int(rng.integers(classes)) if label is None else label
    other = int((given + rng.integers(1, classes)) % classes) if rng.random() < AMBIGUOUS else None
    text = _topic(given, other, rng) if task == "topic" else _sentiment(given, other, rng)
    return LabelledSentence(text, given)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _topic(label: int, other: int | None, rng: np.random.Generator) -> str:
    """Two clauses; of an ambiguous sentence, one of each topic in an order that says nothing."""
    topics = [label, label if other is None else other]
    if other is not None:
        rng.shuffle(topics)
    first, second = (_topic_clause(_TOPICS[topic], rng, plain=other is None) for topic in topics)
    joint = ("while", "and", "as", "after", "because")[int(rng.integers(5))]
    form = int(rng.integers(5)) if other is None else int(rng.integers(2, 5))
    if form == 0:
        return f"{first} ."
    if form == 1:
        return f"{_pick(_TIMES, rng)} , {first} ."
    if form == 2:
        return f"{first} {joint} {second} ."
    if form == 3:
        return f"{_pick(_PEOPLE, rng)} in the {_pick(_PLACES, rng)} {_pick(_SAID, rng)} that {first} and {second} ."
    return f"{_pick(_TIMES, rng)} , {first} {joint} {second} ."


def _topic_clause(field: _Field, rng: np.random.Generator, *, plain: bool) -> str:
    """One clause. Sometimes only one of its words tells the topic; never where two topics stand against each other."""
    thing, act, kind = _pick(field.things, rng), _pick(field.acts, rng), _pick(field.kinds, rng)
    place, people = _pick(_PLACES, rng), _pick(_PEOPLE, rng)
    form = int(rng.integers(5))
    if form == 0 and plain:
        return f"{people} near the {place} spoke about the {thing}"
    if form == 1 and plain:
        return f"the {place} was full of {people} when they {act} it"
    if form == 2:
        return f"the {kind} {thing} {act} the {place}"
    if form == 3:
        return f"the {thing} {act} the {_pick(field.things, rng)} near the {place}"
    return f"{_article(kind)} {kind} {thing} was seen at the {place} by {people}"


def _sentiment(label: int, other: int | None, rng: np.random.Generator) -> str:
    """Praise or blame, at times turned around by a negation; ambiguous: praise of one part and blame of another."""
    subject = _pick(_SUBJECTS, rng)
    if other is not None:
        sides = [_quality(label, rng), _quality(other, rng)]
        rng.shuffle(sides)
        return f"the {_pick(_PARTS, rng)} of the {subject} was {sides[0]} and the {_pick(_PARTS, rng)} was {sides[1]} ."
    form = int(rng.choice(6, p=(0.2, 0.2, 0.2, 0.08, 0.16, 0.16)))
    if form == 0:
        return f"the {subject} was {_quality(label, rng)} ."
    if form == 1:
        first, second = _adjective(label, rng), _adjective(label, rng)
        return f"{_article(first)} {first} {subject} with {_article(second)} {second} {_pick(_PARTS, rng)} ."
    if form == 2:
        return f"{_pick(_PEOPLE, rng)} {_verb(label, rng)} the {subject} {_pick(_TIMES, rng)} ."
    if form == 3:
        # What comes after "but" decides.
        opposite, quality = _quality(1 - label, rng), _quality(label, rng)
        return f"the {_pick(_PARTS, rng)} was {opposite} but in the end the {subject} was {quality} ."
    if form == 4:
        return f"{_pick(_TIMES, rng)} we saw the {subject} , and the {_pick(_PARTS, rng)} was {_quality(label, rng)} ."
    return f"{_pick(_PEOPLE, rng)} in the {_pick(_PLACES, rng)} called the {subject} {_quality(label, rng)} ."


def _adjective(label: int, rng: np.random.Generator) -> str:
    return _pick(_GOOD if label else _BAD, rng)


def _verb(label: int, rng: np.random.Generator) -> str:
    return _pick(_LIKED if label else _DISLIKED, rng)


def _quality(label: int, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.1:
        return f"not {_adjective(1 - label, rng)}"
    if draw < 0.5:
        return f"{_pick(_DEGREES, rng)} {_adjective(label, rng)}"
    return _adjective(label, rng)
