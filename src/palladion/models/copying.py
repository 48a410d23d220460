"""Copy a model or an adapter: its weights, settings and tokenizer, and nothing else that lies beside them."""

import shutil
from pathlib import Path

from palladion.models.adapter_config import ADAPTER_CONFIG
from palladion.models.adapters import ADAPTER_WEIGHTS, Adapter, is_adapter
from palladion.models.model_files import copy_companions, file_in, read_json, write_json
from palladion.models.weights import INDEX, Weights

__all__ = ["copy_model", "name_base"]


def copy_model(source: Path, target: Path) -> None:
    """Copy the model or adapter in ``source`` into the folder ``target``; links become files.

    Raises:
        InputError: it cannot be read, or is not whole.
    """
    if is_adapter(source):
        Adapter.open(source)
        names = [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    else:
        names = [file.path.name for file in Weights.open(source).shards]
        names += [INDEX] if file_in(source, INDEX) else []
    copy_companions(source, target)
    for name in names:
        shutil.copyfile(source / name, target / name)


def name_base(adapter: Path, base: str | None) -> None:
    """Write what the base of the adapter in this folder is called.

    Raises:
        InputError: its settings cannot be read.
    """
    path = adapter / ADAPTER_CONFIG
    write_json(path, read_json(path) | {"base_model_name_or_path": base})
