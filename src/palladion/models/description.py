"""What a Hugging Face model or a LoRA adapter on disk is, told from its settings and the headers of its weights.

No weight is read and nothing is run, so that a model of 13 GB is described in an instant and a little memory.
"""

from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.models.adapters import Adapter, is_adapter
from palladion.models.attach import attach_faults
from palladion.models.model_files import CONFIG, file_in, printable, read_json
from palladion.models.tensor_files import TensorFile
from palladion.models.weights import INDEX, SINGLE, Weights

__all__ = ["describe_directory", "is_model_directory"]

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
_NUMBERS = (*_SIZES, "vocab_size", "num_labels")


def is_model_directory(path: Path) -> bool:
    """Whether a path is a folder laid out as a model or an adapter."""
    return path.is_dir() and (is_adapter(path) or any((path / name).exists() for name in (CONFIG, SINGLE, INDEX)))


def describe_directory(directory: Path, *, base: Path | None = None) -> dict[str, Any]:
    """What lies in a model's directory.

    Args:
        directory: of a full model or an adapter.
        base: of an adapter, the base that it should fit.

    Returns:
        ``directory``, ``kind`` (``model`` or ``adapter``), ``faults`` (what is wrong, one text each), and as far as it
        can be told ``parameters``, ``dtypes``, ``bytes``, ``shards`` (``file``, ``tensors``, ``bytes``); of a model
        ``architecture``, ``model_type`` and its sizes; of an adapter ``base``, ``task_type``, ``ranks``, ``scalings``,
        ``modules``, ``target_modules``, ``saved`` and, where a base was given, ``fits_base``.
    """
    adapter = is_adapter(directory)
    found: dict[str, Any] = {"directory": str(directory), "kind": "adapter" if adapter else "model", "faults": []}
    try:
        found |= _adapter(directory, base) if adapter else _model(directory)
    except InputError as error:
        found["faults"] = [*found["faults"], *str(error).split("\n")]
    return found


def _model(directory: Path) -> dict[str, Any]:
    config: dict[str, Any] = {}
    faults = []
    try:
        path = file_in(directory, CONFIG)
        if path is None:
            raise InputError(f"holds no {CONFIG}", path=directory)
        config = read_json(path)
    except InputError as error:
        faults.append(str(error))
    if "auto_map" in config:
        faults.append(f"{directory / CONFIG}: asks to run code of its own (auto_map)")
    names = config.get("architectures")
    found: dict[str, Any] = {
        "architecture": printable(str(names[0])) if isinstance(names, list) and names else None,
        "model_type": printable(str(config["model_type"])) if "model_type" in config else None,
    }
    found |= {key: config[key] for key in _NUMBERS if type(config.get(key)) is int}
    try:
        weights = Weights.open(directory)
        found |= {
            "parameters": weights.parameters,
            "dtypes": weights.dtypes,
            "bytes": sum(file.path.stat().st_size for file in weights.shards),
            "shards": [_shard(file) for file in weights.shards],
        }
    except InputError as error:
        faults += str(error).split("\n")
    return found | {"faults": faults}


def _adapter(directory: Path, base: Path | None) -> dict[str, Any]:
    adapter = Adapter.open(directory)
    config = adapter.config
    found: dict[str, Any] = {
        "base": None if config.base is None else printable(config.base),
        "task_type": None if config.task_type is None else printable(config.task_type),
        "parameters": adapter.parameters,
        "dtypes": {dtype: _elements(adapter.file, dtype) for dtype in adapter.dtypes},
        "bytes": adapter.file.path.stat().st_size,
        "shards": [_shard(adapter.file)],
        "ranks": list(adapter.ranks),
        "scalings": sorted({pair.scaling for pair in adapter.pairs.values()}),
        "modules": len(adapter.pairs),
        "target_modules": sorted({printable(module.rpartition(".")[2], 80) for module in adapter.pairs}),
        "saved": {printable(name): list(adapter.file.tensors[stored].shape) for name, stored in adapter.saved.items()},
    }
    if base is not None:
        faults = [f"{directory}: {fault}" for fault in attach_faults(Weights.open(base), adapter)]
        found |= {"fits_base": not faults, "faults": faults}
    return found


def _shard(file: TensorFile) -> dict[str, Any]:
    return {"file": file.path.name, "tensors": len(file.tensors), "bytes": file.path.stat().st_size}


def _elements(file: TensorFile, dtype: str) -> int:
    return sum(file.elements(name) for name, info in file.tensors.items() if info.dtype == dtype)
