"""The sentences of pages, all in one file a language: ``texts/en.yaml``."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["FOLDER", "Texts", "texts"]

FOLDER: Final = Path(__file__).parent / "texts"
_PLURAL: Final = frozenset({"one", "other"})


class Texts:
    """The sentences of one language.

    A sentence has a key such as ``board.rank`` and may have places to fill in, as :meth:`str.format` has them. One that
    depends on a number has two forms, ``one`` and ``other``, and takes the number as ``n``.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._texts = dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8"))))

    def __call__(self, key: str, /, **values: Any) -> str:
        """A sentence.

        Args:
            key: of the sentence.
            **values: to fill in.

        Raises:
            LookupError: there is no such sentence, or a value is missing.
        """
        found = self._texts[key]
        if not isinstance(found, str):
            found = found["one" if values["n"] == 1 else "other"]
        return found.format(**values) if "{" in found else found

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


@functools.cache
def texts(language: str = "en") -> Texts:
    """The sentences of a language, read once."""
    return Texts(FOLDER / f"{language}.yaml")


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | Mapping[str, str]]]:
    for name, value in tree.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping) and set(value) != _PLURAL:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value if isinstance(value, Mapping) else str(value).strip()
