"""Attach an adapter to its base: see that they fit, and write the model that they make together.

Both work on the files, a block of rows at a time: a 7B model is merged in a few hundred megabytes of memory.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.models.adapters import Adapter
from palladion.models.model_files import CONFIG, copy_companions, new_directory, printable, read_json, write_json
from palladion.models.tensor_files import FLOATS, TensorFile, as_bytes, bytes_of, torch_dtype, write_tensors
from palladion.models.weights import INDEX, SINGLE, Weights

__all__ = ["TensorType", "attach_faults", "check_attach", "merge_into", "write_merged", "write_shards"]

TensorType = tuple[str, tuple[int, ...]]
"""Type and shape of a tensor."""

_MOST_FAULTS = 20
_LANGUAGE_HEAD = "lm_head."


def attach_faults(base: Weights, adapter: Adapter) -> list[str]:
    """Every reason why the adapter does not fit the base; only headers are looked at."""
    faults = []
    for module in adapter.pairs:
        name, shown = _name_in(base, f"{module}.weight"), printable(module)
        if name is None:
            faults.append(f"the base has no tensor {shown}.weight")
            continue
        info, needed = base.info(name), adapter.weight_shape(module)
        if info.shape != needed:
            faults.append(f"{shown}.weight is of shape {_by(info.shape)} in the base; the adapter needs {_by(needed)}")
        elif info.dtype not in FLOATS:
            faults.append(f"{shown}.weight is stored as {printable(info.dtype)}; an update needs {', '.join(FLOATS)}")
    for short, stored in adapter.saved.items():
        name, shape = _name_in(base, short), adapter.file.tensors[stored].shape
        # A tensor that the base lacks is a new head.
        if name is not None and base.info(name).shape != shape:
            there = _by(base.info(name).shape)
            faults.append(f"{printable(short)} is of shape {there} in the base; the adapter holds {_by(shape)}")
    return faults


def check_attach(base: Weights, adapter: Adapter) -> None:
    """See that the adapter fits the base.

    Raises:
        InputError: it does not; the message has the reasons, up to twenty of them.
    """
    faults = attach_faults(base, adapter)
    if faults:
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise InputError(
            f"does not fit the base {base.directory}: " + "; ".join(faults[:_MOST_FAULTS]) + more,
            path=adapter.directory,
        )


def merge_into(base: Path, adapter: Path, out: Path) -> None:
    """Write the model that an adapter and its base make together: a Hugging Face directory with the base's shards.

    The directory is there only when it is complete; see :func:`write_merged` for what it holds.

    Raises:
        InputError: one cannot be read, or they do not fit; or something is at ``out`` already.
    """
    with new_directory(out) as target:
        write_merged(base, adapter, target)


def write_merged(base: Path, adapter: Path, out: Path) -> None:
    """Write the model that an adapter and its base make together into the empty folder ``out``.

    Each weight is W + scaling · B @ A, computed in float32 and stored in W's own type. Tensors that the adapter holds
    in full replace the base's. Of an adapter for classification, the language model's head is left out.

    Raises:
        InputError: one cannot be read, or they do not fit.
    """
    weights, lora = Weights.open(base), Adapter.open(adapter)
    check_attach(weights, lora)
    classifies = lora.config.task_type == "SEQ_CLS"
    updates = {_name_in(weights, f"{module}.weight"): module for module in lora.pairs}
    replaced = {_name_in(weights, short) or short: stored for short, stored in lora.saved.items()}
    shards: dict[str, dict[str, TensorType]] = {
        file.path.name: {
            name: (info.dtype, info.shape)
            for name, info in file.tensors.items()
            if not (classifies and name.startswith(_LANGUAGE_HEAD))
        }
        for file in weights.shards
    }
    usual = next((dtype for dtype in weights.dtypes if dtype in FLOATS), "F32")
    types = {name: (weights.info(name).dtype, weights.info(name).shape) for name in weights.places}
    added = {name: (usual, lora.file.tensors[stored].shape) for name, stored in replaced.items() if name not in types}
    types |= added
    shards[weights.shards[-1].path.name] |= added

    def pieces(name: str) -> Iterator[Any]:
        if name not in updates and name not in replaced:
            yield from weights.places[name].raw(name)
            return
        file, stored = (lora.file, replaced[name]) if name in replaced else (weights.places[name], name)
        rows = lora.update_rows(updates[name]) if name in updates else None
        dtype = torch_dtype(types[name][0], file.path, name)
        for first, block in file.blocks(stored):
            merged = block.float()
            if rows is not None:
                merged = merged + rows(first, first + block.shape[0])
            _see_that_it_is_finite(merged, name, file)
            yield as_bytes(merged.to(dtype))

    copy_companions(base, out)
    # The adapter's tokenizer is the one that it was trained with.
    copy_companions(adapter, out, passed_over=(CONFIG,))
    write_shards(out, shards, pieces)
    heads = [shape[0] for _, shape in added.values() if len(shape) == 2]
    if classifies and heads:
        write_json(out / CONFIG, _as_classifier(read_json(base / CONFIG), heads[0]))


def write_shards(
    directory: Path, shards: Mapping[str, Mapping[str, TensorType]], pieces: Callable[[str], Iterator[Any]]
) -> None:
    """Write the shards of a model, and their index where it needs one.

    Args:
        directory: folder to write into.
        shards: of each file, the type and shape of each tensor by name; a file without tensors is not written.
        pieces: gives the bytes of the tensor of a name, in pieces.
    """
    shards = {file_name: tensors for file_name, tensors in shards.items() if tensors}
    for file_name, tensors in shards.items():
        write_tensors(directory / file_name, tensors, pieces)
    if set(shards) != {SINGLE}:
        places = {name: file_name for file_name, tensors in shards.items() for name in tensors}
        size = sum(bytes_of(*kind) for tensors in shards.values() for kind in tensors.values())
        write_json(directory / INDEX, {"metadata": {"total_size": size}, "weight_map": places})


def _name_in(base: Weights, name: str) -> str | None:
    """The base's name of a tensor that the adapter names; bases without a head were saved without ``model.``."""
    return next((found for found in (name, name.removeprefix("model.")) if found in base.places), None)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _see_that_it_is_finite(tensor: Any, name: str, file: TensorFile) -> None:
    if not tensor.isfinite().all():
        raise InputError(f"the tensor {printable(name)!r} holds numbers that are not finite", path=file.path)


def _as_classifier(config: dict[str, Any], labels: int) -> dict[str, Any]:
    """The settings of a causal language model as those of a classifier over this many labels."""
    names = [str(name) for name in config.get("architectures") or []]
    known = config.get("id2label")
    changed = config | {"architectures": [name.replace("ForCausalLM", "ForSequenceClassification") for name in names]}
    if not isinstance(known, dict) or len(known) != labels:
        changed["id2label"] = {str(i): f"LABEL_{i}" for i in range(labels)}
        changed["label2id"] = {f"LABEL_{i}": i for i in range(labels)}
    return changed
