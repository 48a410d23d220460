"""Sizes as people write them: ``512M``, ``4G``."""

import re
from typing import Final

from palladion.errors import InputError

__all__ = ["SIZE_PATTERN", "parse_size", "size_text"]

SIZE_PATTERN: Final = r"[0-9]{1,16}[KMGT]?"
"""What a size looks like that is written as text."""

_SIZE = re.compile(SIZE_PATTERN)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_LARGEST = 1 << 50


def parse_size(size: str | int) -> int:
    """Bytes that ``512M`` or ``4G`` stand for; a number is bytes already. K, M, G and T are powers of 1024.

    Raises:
        InputError: it is no size, or none that a machine can have.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        value = size
    else:
        if not isinstance(size, str) or not _SIZE.fullmatch(size):
            shown = ascii(size[:40]) if isinstance(size, str) else "this"
            raise InputError(f"{shown} is not a size; write a whole number with K, M, G or T, such as 512M or 4G")
        number = size.rstrip("KMGT")
        value = int(number) << _UNITS[size[len(number) :]]
    if not 0 < value <= _LARGEST:
        raise InputError("a size must be more than 0 and at most 1024T")
    return value


def size_text(size: int) -> str:
    """The size as :func:`parse_size` reads it, with the largest unit that leaves a whole number: 536870912 is 512M."""
    for unit, bits in sorted(_UNITS.items(), key=lambda item: -item[1]):
        if size >= 1 << bits and not size % (1 << bits):
            return f"{size >> bits}{unit}"
    return str(size)
