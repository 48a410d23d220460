"""What the attacks need to know of a text: which part may be touched, and where words can be put into it."""

import re
from functools import lru_cache
from typing import Final

import numpy as np

from palladion.rounds.language.attacks.words import STARTERS

__all__ = [
    "contains_capital",
    "decapitalised",
    "insert",
    "phrase_pattern",
    "pick",
    "slots",
    "spaced_punctuation",
    "split_payload",
]

# A single quotation mark opens a payload only where another one closes it: tokenised text is full of " 's" and "n't".
_PAYLOAD: Final = re.compile(
    r"""[:\uFF1A"“”„«»`]|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|(?<!\w)['‘](?=\S)[^'‘’\n]*(?<=\S)['’](?!\w)"""
)
_SPACED: Final = re.compile(r"\s[.,;!?](?:\s|$)")
_STARTERS: Final = frozenset(STARTERS)


def split_payload(text: str) -> tuple[str, str]:
    """The head of a text, which attacks may rewrite, and its payload, which they must leave as it is.

    The payload begins at the first colon, quotation mark or line break: in ``Count the vowels in: orange`` the true
    answer hangs on what follows. The two parts together are the text.
    """
    found = _PAYLOAD.search(text)
    at = found.start() if found else len(text)
    return text[:at], text[at:]


def slots(head: str) -> list[int]:
    """Where a word can be put into a head: before each of its words, and after the last; at least one place."""
    places = [found.start() for found in re.finditer(r"\S+", head)]
    return [*places, len(head.rstrip())]


def insert(text: str, at: int, words: str) -> str:
    """The text with these words put in at this place, with spaces where they would touch other words."""
    left, right = text[:at], text[at:]
    before = " " if left and not left[-1].isspace() else ""
    after = " " if right and not right[0].isspace() and right[0] not in ":\uff1a" else ""
    return f"{left}{before}{words}{after}{right}"


@lru_cache(maxsize=1024)
def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Finds the phrase as whole words, in any case and with any blanks between its words."""
    body = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def spaced_punctuation(text: str) -> bool:
    """Whether the text has blanks before its punctuation, as tokenised corpora do."""
    return _SPACED.search(text) is not None


def contains_capital(text: str) -> bool:
    """Whether the text has capital letters at all; many corpora are in lower case throughout."""
    return text != text.lower()


def decapitalised(head: str) -> str:
    """The head without the capital letter that it owes to standing first; names keep theirs."""
    found = re.search(r"\S+", head)
    if found is None or found[0][1:] != found[0][1:].lower() or found[0].rstrip(",;.!?").lower() not in _STARTERS:
        return head
    at = found.start()
    return head[:at] + head[at].lower() + head[at + 1 :]


def pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the choices, each as likely as another."""
    return choices[int(rng.integers(len(choices)))]
