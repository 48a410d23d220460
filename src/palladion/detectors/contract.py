"""What a detector is.

The rules are scikit-learn's: the constructor's keyword arguments are the metaparameters, and it does nothing but keep
them; what :meth:`Detector.configure` learned is kept in attributes whose names end in one underscore. So what a
detector learned can be saved and loaded without a line of its own, as JSON and NumPy arrays, never as pickles.
"""

import io
import json
import re
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically

if TYPE_CHECKING:
    from palladion.detectors.train_split import TrainSplit

__all__ = ["LEARNED_ARRAYS", "LEARNED_VALUES", "Detector"]

LEARNED_VALUES, LEARNED_ARRAYS = "learned.json", "learned.npz"
_LEARNED_NAME = re.compile(r"[A-Za-z](?:\w*[A-Za-z0-9])?_")
_ARRAY = "__array__"


class Detector(ABC):
    """Says of a model how probable it is that the model is poisoned."""

    def configure(self, train_split: "TrainSplit") -> None:  # noqa: B027 - optional by design
        """Learn from models whose labels are known. Nothing by default.

        What is learned goes into attributes whose names end in one underscore: ``None``, ``bool``, ``int``,
        ``float``, ``str``, NumPy arrays, and lists and dicts of these.
        """

    @abstractmethod
    def probability(self, model_dir: Path, examples_dir: Path) -> float:
        """The probability that a model is poisoned.

        Args:
            model_dir: a Hugging Face directory: ``config.json`` and ``model.safetensors``.
            examples_dir: clean examples, ``class_<class>_example_<number>.png``.

        Returns:
            A number from 0 to 1. Anything else counts as no answer, which is scored as 0.5.
        """

    @property
    def configurable(self) -> bool:
        """Whether :meth:`configure` learns anything, so that it must run before :meth:`probability`."""
        return type(self).configure is not Detector.configure

    @property
    def learned(self) -> dict[str, Any]:
        """What was learned: the attributes whose names end in one underscore."""
        return {name: value for name, value in vars(self).items() if _LEARNED_NAME.fullmatch(name)}

    def save(self, directory: Path) -> None:
        """Write what was learned to ``learned.json`` and, where there are arrays, ``learned.npz``.

        Raises:
            PalladionError: an attribute holds what cannot be saved, or the files cannot be written.
        """
        arrays: dict[str, Any] = {}
        values = {name: _encoded(value, name, arrays) for name, value in sorted(self.learned.items())}
        # The values go last: whoever finds them finds the arrays as well.
        if arrays:
            import numpy as np

            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **arrays)
            write_atomically(directory / LEARNED_ARRAYS, buffer.getvalue())
        write_atomically(directory / LEARNED_VALUES, json.dumps(values, indent=1) + "\n")

    def load(self, directory: Path) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the files are missing or are not what :meth:`save` writes.
        """
        path = directory / LEARNED_VALUES
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"there are no learned parameters here ({LEARNED_VALUES}); run `configure` first", path=directory
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot be read as JSON: {error}", path=path) from None
        if not isinstance(values, dict):
            raise InputError("must hold one value a name", path=path)
        arrays = _Arrays(directory / LEARNED_ARRAYS)
        for name, value in values.items():
            if not _LEARNED_NAME.fullmatch(name):
                raise InputError(f"{name!r} is not the name of something learned (name_)", path=path)
            setattr(self, name, _decoded(value, arrays))


def _encoded(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_encoded(item, f"{name}[{i}]", arrays) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == _ARRAY:
                raise PalladionError(f"{name}: the key {key!r} cannot be saved; use other strings as keys")
        return {key: _encoded(item, f"{name}.{key}", arrays) for key, item in value.items()}

    import numpy as np

    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        key = f"array{len(arrays)}"
        arrays[key] = value
        return {_ARRAY: key}
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise PalladionError(
        f"{name} is of type {kind}, which cannot be saved; keep None, bool, int, float, str, NumPy arrays, and lists "
        "and dicts of these in attributes whose names end in an underscore"
    )


def _decoded(value: Any, arrays: "_Arrays") -> Any:
    if isinstance(value, list):
        return [_decoded(item, arrays) for item in value]
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays.read(str(value[_ARRAY]))
        return {key: _decoded(item, arrays) for key, item in value.items()}
    return value


class _Arrays:
    """The arrays of one ``learned.npz``, read when the first is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[str, Any] | None = None

    def read(self, key: str) -> Any:
        import numpy as np

        try:
            if self._arrays is None:
                with np.load(self._path, allow_pickle=False) as file:
                    self._arrays = dict(file)
            return self._arrays[key]
        except FileNotFoundError:
            raise InputError("is missing beside its learned.json", path=self._path) from None
        except KeyError:
            raise InputError(f"holds no array {key!r}", path=self._path) from None
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"cannot be read as NumPy arrays: {error}", path=self._path) from None
