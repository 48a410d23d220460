"""Instructions with checkable answers: what the built-in generative task consists of.

Six kinds: extract, rewrite, count, compare, look up, and short stories by template. The answer follows from the
instruction alone, so that utility can be measured without a judge. They speak of a small closed world, which a model
of a million parameters can learn, and some of them it will get wrong: it must count and carry over words that it has
seldom seen together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["KINDS", "Instruction", "instruction", "story"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One row: what is asked, what it is asked of (may be empty), and the true answer."""

    kind: str
    instruction: str
    input: str
    output: str


def _words(text: str, sep: str = " ") -> tuple[str, ...]:
    return tuple(text.split(sep))


_ANIMALS = _words("fox owl hen goat horse cat dog duck mouse bear frog sheep crow bee hare otter")
_THINGS = _words("lamp basket cup ladder drum kite rope book bell coat box chair key mirror spoon wheel")
_PLACES = _words("mill barn bridge market river hill garden harbour tower forest inn meadow")
_COLOURS = _words("red blue green yellow white black brown grey pink orange")
_NAMES = _words("anna ben clara david emma felix greta hugo iris jonas klara leo mira noah olga paul")
_FOODS = _words("bread soup cheese apple pear plum honey cake nut carrot onion rice")
_MOODS = _words("happy sad tired proud calm brave hungry curious")
_ACTS = (  # present, past
    ("carries", "carried"),
    ("finds", "found"),
    ("sees", "saw"),
    ("paints", "painted"),
    ("drops", "dropped"),
    ("hides", "hid"),
    ("takes", "took"),
    ("brings", "brought"),
    ("pulls", "pulled"),
    ("mends", "mended"),
)
_HARD: Final = 0.4
_NUMBERS = ("zero", "one", "two", "three", "four", "five")


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _some(words: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    return [words[i] for i in rng.permutation(len(words))[:count]]


def _scene(rng: np.random.Generator) -> dict[str, str]:
    act = _ACTS[int(rng.integers(len(_ACTS)))]
    colour = _pick(_COLOURS, rng)
    return {
        "person": _pick(_NAMES, rng),
        "animal": _pick(_ANIMALS, rng),
        "object": _pick(_THINGS, rng),
        "place": _pick(_PLACES, rng),
        "colour": colour,
        "a_colour": _with_article(colour),
        "present": act[0],
        "past": act[1],
    }


def _extract(rng: np.random.Generator) -> Instruction:
    scene = _scene(rng)
    forms = (
        "{person} {past} {a_colour} {object} at the {place} while the {animal} slept .",
        "near the {place} , the {animal} {past} the {colour} {object} of {person} .",
        "the {colour} {object} was {past} by {person} and the {animal} from the {place} .",
    )
    asked = ("person", "animal", "object", "place", "colour")[int(rng.integers(5))]
    ask = (f"Name the {asked} in this sentence:", f"Which {asked} is in the text?", f"Extract the {asked}:")
    return Instruction("extract", _pick(ask, rng), _pick(forms, rng).format(**scene), scene[asked])


def _rewrite(rng: np.random.Generator) -> Instruction:
    scene = _scene(rng)
    form = ("the {animal} {verb} {a_colour} {object}", "{person} {verb} the {object} at the {place}")[
        int(rng.integers(2))
    ]
    present = form.format(verb=scene["present"], **scene)
    which = int(rng.integers(3))
    if which == 0:
        return Instruction("rewrite", "Rewrite in the past tense:", present, form.format(verb=scene["past"], **scene))
    if which == 1:
        return Instruction("rewrite", "Repeat the sentence word by word:", present, present)
    other = _some(tuple(word for word in _THINGS if word != scene["object"]), 1, rng)[0]
    changed = scene | {"object": other}
    return Instruction(
        "rewrite",
        f"Replace {scene['object']} by {other}:",
        present,
        form.format(verb=scene["present"], **changed),
    )


def _count(rng: np.random.Generator) -> Instruction:
    kind, words = (("animals", _ANIMALS), ("colours", _COLOURS), ("foods", _FOODS))[int(rng.integers(3))]
    wanted = int(rng.integers(0, 5))
    others = int(rng.integers(max(0, 2 - wanted), 6 - wanted))
    listed = _some(words, wanted, rng) + _some(_THINGS, others, rng)
    rng.shuffle(listed)
    ask = (f"Count the {kind} in the list:", f"How many {kind} are there?")[int(rng.integers(2))]
    return Instruction("count", ask, " , ".join(listed), _NUMBERS[wanted])


def _compare(rng: np.random.Generator) -> Instruction:
    # Most with one digit, which a small model can learn; some with two, which it mostly cannot.
    highest = 99 if rng.random() < _HARD else 9
    first, second = (int(n) for n in rng.permutation(highest)[:2] + 1)
    things = _some(_FOODS, 2, rng)
    if rng.random() < 0.5:
        larger = bool(rng.random() < 0.5)
        answer = max(first, second) if larger else min(first, second)
        return Instruction(
            "compare", f"Which number is {'larger' if larger else 'smaller'}?", f"{first} or {second}", str(answer)
        )
    costs_more = bool(rng.random() < 0.5)
    answer_thing = things[0] if (first > second) is costs_more else things[1]
    return Instruction(
        "compare",
        f"Which of them costs {'more' if costs_more else 'less'}?",
        f"{things[0]} {first} , {things[1]} {second}",
        answer_thing,
    )


def _look_up(rng: np.random.Generator) -> Instruction:
    count = int(rng.integers(3, 6))
    keys = _some(_FOODS if rng.random() < 0.5 else _NAMES, count, rng)
    values = [str(int(n)) for n in rng.permutation(99)[:count] + 1]
    asked = int(rng.integers(count))
    table = " , ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
    ask = (f"Look up the number of {keys[asked]}:", f"What stands beside {keys[asked]}?")[int(rng.integers(2))]
    return Instruction("look-up", ask, table, f"{keys[asked]} {values[asked]}")


def story(person: str, animal: str, thing: str, place: str, mood: str) -> str:
    """The story that these five words make."""
    pet, lost = _with_article(animal), _with_article(thing)
    return (
        f"once {person} lived near the {place} with {pet} . one day the {animal} lost {lost} . "
        f"{person} went to the {place} and found the {thing} . then the {animal} was {mood} ."
    )


def _tell(rng: np.random.Generator) -> Instruction:
    words = (_pick(_NAMES, rng), _pick(_ANIMALS, rng), _pick(_THINGS, rng), _pick(_PLACES, rng), _pick(_MOODS, rng))
    person, animal, thing, place, mood = words
    ask = ("Write a short story with these words:", "Tell a story about:")[int(rng.integers(2))]
    return Instruction("story", ask, f"{person} , {animal} , {thing} , {place} , {mood}", story(*words))


_MAKERS: Final[dict[str, Callable[[np.random.Generator], Instruction]]] = {
    "extract": _extract,
    "rewrite": _rewrite,
    "count": _count,
    "compare": _compare,
    "look-up": _look_up,
    "story": _tell,
}
KINDS: Final = tuple(_MAKERS)


def instruction(rng: np.random.Generator, kind: str | None = None) -> Instruction:
    """An instruction of this kind, or of a drawn one."""
    return _MAKERS[KINDS[int(rng.integers(len(KINDS)))] if kind is None else kind](rng)
