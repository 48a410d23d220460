"""Detectors by name, and the classes that targets stand for.

A target is ``package.module:Class``, or the path of a ``detector.py`` with one detector class in it.
"""

import importlib
import inspect
import sys
from importlib import metadata
from pathlib import Path

from palladion.detectors.contract import Detector
from palladion.errors import InputError

__all__ = ["GROUP", "load_detector", "reference_detectors"]

GROUP = "palladion.detectors"
# Also named in pyproject.toml, for whoever lists entry points; known here so that they work from a checkout.
_BUILT_IN = {
    "constant": "palladion.detectors.constant:ConstantDetector",
    "inversion": "palladion.detectors.inversion:InversionDetector",
}


def reference_detectors() -> dict[str, str]:
    """Target by name: the built-in detectors, and those that installed packages add. Imports none of them."""
    installed = {point.name: point.value for point in metadata.entry_points(group=GROUP)}
    return installed | _BUILT_IN


def load_detector(target: str) -> type[Detector]:
    """Import the class that ``target`` stands for. This runs code of the target.

    Raises:
        InputError: there is no such module, file or class.
    """
    if target.endswith(".py"):
        return _from_file(Path(target))
    module_name, _, class_name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        extra = "; install what it needs: pip install 'palladion[models]'" if error.name != module_name else ""
        raise InputError(f"the detector {target} cannot be loaded: {error}{extra}") from None
    except AttributeError:
        raise InputError(f"the module {module_name} has no class {class_name!r}") from None
    if not _is_detector(found):
        raise InputError(f"{target} is not a class with Detector as its base")
    return found  # type: ignore[no-any-return]


def _from_file(path: Path) -> type[Detector]:
    if not path.is_file():
        raise InputError("there is no such file", path=path)
    # Worker processes find the module by this name and the same search path.
    sys.path.insert(0, str(path.parent.resolve()))
    module = importlib.import_module(path.stem)
    if module.__file__ is None or Path(module.__file__).resolve() != path.resolve():
        raise InputError(f"there is another module named {path.stem} ({module.__file__}); rename it", path=path)
    found = [value for value in vars(module).values() if _is_detector(value) and value.__module__ == module.__name__]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise InputError(
            f"must hold exactly one class with palladion.detectors.Detector as its base and a method probability; "
            f"it holds {names}",
            path=path,
        )
    return found[0]  # type: ignore[no-any-return]


def _is_detector(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Detector) and not inspect.isabstract(value)
