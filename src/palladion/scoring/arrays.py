"""Checks of the arrays that come in: what passes here can be computed with, everything else is refused.

Every function returns a fresh or shared NumPy array of a fixed dtype and raises
:class:`palladion.errors.ScoringError` with the name of the argument and the index of the first bad element.
"""

from collections.abc import Hashable, Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.errors import ScoringError

__all__ = [
    "as_groups",
    "as_labels",
    "as_numbers",
    "as_probabilities",
    "as_whole_numbers",
    "check_confidence",
    "check_count",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def as_numbers(values: ArrayLike, *, name: str, length: int | None = None) -> Floats:
    """``values`` as finite float64, shape (n,), n ≥ 1 (and n = ``length`` if that is given)."""
    array = _one_dimension(values, name=name, length=length)
    if array.dtype.kind == "O":
        _refuse(np.array([not isinstance(x, Real) for x in array]), array, name, "not a number")
    elif array.dtype.kind not in "biuf":
        raise ScoringError(f"{name}[0] is {array[0]!s}, not a number")
    try:
        numbers = array.astype(np.float64)
    except OverflowError:
        raise ScoringError(f"{name} holds a number too large for a float") from None
    _refuse(~np.isfinite(numbers), array, name, "not finite")
    return numbers


def as_probabilities(values: ArrayLike, *, name: str = "probability", length: int | None = None) -> Floats:
    """``values`` as float64 in [0, 1], shape (n,), n ≥ 1."""
    numbers = as_numbers(values, name=name, length=length)
    _refuse((numbers < 0) | (numbers > 1), numbers, name, "outside [0, 1]")
    return numbers


def as_labels(values: ArrayLike, *, name: str = "poisoned", length: int | None = None) -> Booleans:
    """``values`` (booleans or 0/1) as booleans, shape (n,), n ≥ 1."""
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        return _one_dimension(values, name=name, length=length).astype(np.bool_, copy=False)
    numbers = as_numbers(values, name=name, length=length)
    _refuse((numbers != 0) & (numbers != 1), numbers, name, "neither 0 nor 1")
    return numbers.astype(np.bool_)


def as_whole_numbers(
    values: ArrayLike, *, name: str, lowest: int, highest: int | None = None, length: int | None = None
) -> Integers:
    """``values`` as int64 in [``lowest``, ``highest``], shape (n,), n ≥ 1; no floats, no booleans."""
    array = _one_dimension(values, name=name, length=length)
    if array.dtype.kind not in "iu":
        raise ScoringError(f"{name} must hold whole numbers; {name}[0] is {array[0]!s} ({array.dtype})")
    numbers = array.astype(np.int64)
    _refuse(numbers < lowest, array, name, f"below {lowest}")
    if highest is not None:
        _refuse(numbers > highest, array, name, f"above {highest}")
    return numbers


def as_groups(
    values: Sequence[Hashable] | NDArray[np.generic], *, name: str, length: int
) -> tuple[NDArray[np.intp], list[Hashable]]:
    """Number the groups that ``values`` name, in the order of their first appearance.

    Args:
        values: n hashable values of any kind, none of them None or NaN.
        name: of the argument, for messages.
        length: the n that is needed.

    Returns:
        The number of each element's group, shape (n,), and the groups' names.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ScoringError(f"{name} must have one dimension; the shape is {values.shape}")
    # Python's own values, through a dict: an array of mixed values would turn 1 and "1" into one group.
    items: Sequence[Hashable] = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(items, str):
        raise ScoringError(f"{name} must be a list of names, not one string")
    if len(items) != length:
        raise ScoringError(f"{name} has {len(items)} elements where {length} are needed")
    number: dict[Hashable, int] = {}
    try:
        groups = np.array([number.setdefault(item, len(number)) for item in items], dtype=np.intp)
    except TypeError as error:
        raise ScoringError(f"{name} must be hashable: {error}") from None
    for item, group in number.items():
        if item is None or item != item:
            raise ScoringError(f"{name}[{int((groups == group).argmax())}] is {item}; it must name a group")
    return groups, list(number)


def check_confidence(confidence: float) -> None:
    """Raise ScoringError unless 0 < ``confidence`` < 1."""
    if not 0 < confidence < 1:
        raise ScoringError(f"confidence is {confidence}; it must lie between 0 and 1, as in 0.95")


def check_count(value: int, *, name: str, lowest: int) -> None:
    """Raise ScoringError unless ``value`` is a whole number of at least ``lowest``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < lowest:
        raise ScoringError(f"{name} is {value!r}; it must be a whole number of at least {lowest}")


def _one_dimension(values: ArrayLike, *, name: str, length: int | None) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.asarray(values)
    except ValueError:
        raise ScoringError(f"{name} must be one flat list of numbers; its elements differ in shape") from None
    if array.ndim != 1:
        raise ScoringError(f"{name} must have one dimension; its shape is {array.shape}")
    if array.size == 0:
        raise ScoringError(f"{name} is empty; at least one data point is needed")
    if length is not None and array.size != length:
        raise ScoringError(f"{name} has {array.size} elements where {length} are needed")
    return array


def _refuse(bad: Booleans, array: NDArray[np.generic], name: str, why: str) -> None:
    if bad.any():
        index = int(bad.argmax())
        raise ScoringError(f"{name}[{index}] is {array[index]!s}, {why}")
