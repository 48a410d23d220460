"""Challenge files to begin with, commented, as ``palladion challenge new`` writes them."""

import re
from importlib import resources
from typing import Final

from palladion.challenge.fields import nearest
from palladion.errors import InputError

__all__ = ["TEMPLATES", "challenge_text"]

TEMPLATES: Final = ("trojai", "antibad")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def challenge_text(like: str, name: str | None = None) -> str:
    """The text of a challenge file.

    Args:
        like: which one, of :data:`TEMPLATES`.
        name: of the challenge; None, or what cannot be a name, keeps that of the template.

    Raises:
        InputError: there is none of this name.
    """
    if like not in TEMPLATES:
        raise InputError(f"there is no challenge {like[:80]!a} to begin with; {nearest(like, TEMPLATES)}")
    text = (resources.files(__package__) / f"{like}.yaml").read_text(encoding="utf-8")
    if name is not None and name != like and _NAME.fullmatch(name):
        # Quoted, because YAML takes 2026 and no for something else than text.
        text = text.replace(f"\nname: {like}\n", f'\nname: "{name}"\n', 1)
    return text
