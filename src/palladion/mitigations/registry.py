"""Mitigations by name: the built-in ones, and those that installed packages add."""

import importlib
import inspect
from importlib import metadata

from palladion.errors import InputError
from palladion.mitigations.contract import Mitigation

__all__ = ["GROUP", "load_mitigation", "mitigations"]

GROUP = "palladion.mitigations"
# Also named in pyproject.toml, for whoever lists entry points; known here so that they work from a checkout.
_BUILT_IN = {
    "undefended": "palladion.mitigations.undefended:Undefended",
    "merge": "palladion.mitigations.merge:MeanMerge",
    "vote": "palladion.mitigations.vote:MajorityVote",
}


def mitigations() -> dict[str, str]:
    """Target (``package.module:Class``) by name. Imports none of them."""
    installed = {point.name: point.value for point in metadata.entry_points(group=GROUP)}
    return installed | _BUILT_IN


def load_mitigation(name: str) -> type[Mitigation]:
    """Import the mitigation of this name. This runs code of the package that it is from.

    Raises:
        InputError: there is none of this name, or it cannot be loaded.
    """
    known = mitigations()
    if name not in known:
        raise InputError(f"there is no mitigation {name!r}; there are {', '.join(sorted(known))}")
    module_name, _, class_name = known[name].partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise InputError(f"the mitigation {name} cannot be loaded: {error}") from None
    except AttributeError:
        raise InputError(f"the mitigation {name} cannot be loaded: {module_name} has no {class_name!r}") from None
    if not (isinstance(found, type) and issubclass(found, Mitigation)) or inspect.isabstract(found):
        raise InputError(f"{known[name]} is not a class with Mitigation as its base and a method restore")
    return found
