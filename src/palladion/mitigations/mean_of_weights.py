"""The mean of several full models, tensor by tensor.

Models that were tuned from one base have as the mean of their weights the base plus the mean of their updates.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.models.attach import TensorType, write_shards
from palladion.models.model_files import CONFIG, copy_companions, printable, read_json
from palladion.models.tensor_files import FLOATS, as_bytes, same_bytes, torch_dtype
from palladion.models.weights import Weights

__all__ = ["write_mean_of_weights"]

_SAME_SETTINGS = ("model_type", "architectures")
_MOST_FAULTS = 20


def write_mean_of_weights(models: Sequence[Path], out: Path) -> None:
    """Write the model whose tensors are the means of the models' tensors.

    A few million elements are in memory at a time, summed in float64. Types are the models' own, float32 where they
    differ; tensors of whole numbers must be the same in all. Shards, settings and the tokenizer are the first model's.

    Args:
        models: Hugging Face directories.
        out: an empty folder.

    Raises:
        InputError: the models differ in their tensors or architecture, or hold numbers that are not finite.
    """
    opened = [Weights.open(model) for model in models]
    _check(opened)
    first = opened[0]
    types = {name: _type(opened, name) for name in first.places}
    shards = {file.path.name: {name: types[name] for name in file.tensors} for file in first.shards}

    def pieces(name: str) -> Iterator[Any]:
        if types[name][0] not in FLOATS:
            yield from first.places[name].raw(name)
            return
        dtype = torch_dtype(types[name][0], first.directory, name)
        for group in zip(*(weights.places[name].pieces(name) for weights in opened), strict=True):
            mean = sum(piece.double() for piece in group) / len(group)
            if not mean.isfinite().all():
                raise InputError(
                    f"the tensor {printable(name)!r} of one of the models holds numbers that are not finite",
                    path=first.directory,
                )
            yield as_bytes(mean.to(dtype))

    copy_companions(first.directory, out)
    write_shards(out, shards, pieces)


def _type(opened: Sequence[Weights], name: str) -> TensorType:
    dtypes = {weights.info(name).dtype for weights in opened}
    return dtypes.pop() if len(dtypes) == 1 else "F32", opened[0].info(name).shape


def _check(opened: Sequence[Weights]) -> None:
    first = opened[0]
    ours = read_json(first.directory / CONFIG)
    faults = []
    for other in opened[1:]:
        told = f"{other.directory} differs from {first.directory}: "
        theirs = read_json(other.directory / CONFIG)
        faults += [
            f"{told}{key} is {_shown(theirs.get(key))}, not {_shown(ours.get(key))}"
            for key in _SAME_SETTINGS
            if ours.get(key) != theirs.get(key)
        ]
        faults += [
            f"{told}only one of them has the tensor {printable(name, 120)}"
            for name in sorted(set(first.places) ^ set(other.places))
        ]
        for name in sorted(set(first.places) & set(other.places)):
            one, two, shown = first.info(name), other.info(name), printable(name, 120)
            if one.shape != two.shape:
                faults.append(f"{told}{shown} is of shape {two.shape}, not {one.shape}")
            elif not {one.dtype, two.dtype} <= set(FLOATS) and not same_bytes(
                first.places[name], other.places[name], name
            ):
                faults.append(f"{told}{shown} holds whole numbers, and others")
    if faults:
        more = f"\n… and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise InputError("\n".join(faults[:_MOST_FAULTS]) + more)


def _shown(value: Any) -> str:
    return printable(str(value), 80)
