"""Text from outside, as it may be stored: PostgreSQL takes neither NUL nor half of a surrogate pair."""

import unicodedata

from palladion.errors import InputError

__all__ = ["check_word", "fold", "one_line", "plain", "storable"]

# Control and format characters, surrogates, separators of lines and paragraphs: they hide what a text says.
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: str, most: int) -> str:
    """The text with what cannot be shown replaced by ``?``, newlines and tabs kept, at most ``most`` characters."""
    shown = "".join("?" if unicodedata.category(c) in _HIDING and c not in "\n\t" else c for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def one_line(text: str, most: int) -> str:
    """As :func:`plain`, with every run of white space as one space."""
    # Cut before anything is gone through: the text may be of any length.
    return plain(" ".join(text[: 4 * most + 4].split()), most)


def fold(name: str) -> str:
    """The name as it is compared: case, width and spaces make no difference."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def storable(text: str) -> bool:
    """Whether both databases can keep the text as it is."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def check_word(text: str, what: str) -> None:
    """That the text can stand for something in a table.

    Raises:
        InputError: it is empty, longer than 200 characters, or cannot be stored.
    """
    if not 1 <= len(text) <= 200 or not storable(text):
        raise InputError(f"{text[:80]!a} is not {what}: 1 to 200 characters")
