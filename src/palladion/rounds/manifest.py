"""What a model's record says of where the model comes from: specification, versions, and every file's SHA-256."""

import hashlib
import importlib.util
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from palladion.documents import write_document
from palladion.errors import BuildError
from palladion.models import round_directory as layout
from palladion.rounds.spec import RoundSpec

__all__ = ["file_digests", "sha256_of", "spec_digest", "training_record", "versions"]

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(directory: Path, *, but: Path) -> dict[str, str]:
    """SHA-256 of every file below a model's directory but one, by its path from there, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != but)
    return {path.relative_to(directory).as_posix(): sha256_of(path) for path in files}


def spec_digest(spec: RoundSpec) -> str:
    """SHA-256 of the specification as ``round.yaml`` holds it, with one attempt at a model.

    How many there may be decides nothing of a model that has passed, and may be raised for those that have not.
    """
    once = spec.with_options(seed=None, models={}, attempts=1)
    return hashlib.sha256(write_document(once).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what decides a model's bits."""
    import safetensors
    import torch
    import transformers

    import palladion

    vision = {"torchvision": metadata.version("torchvision")} if importlib.util.find_spec("torchvision") else {}
    return vision | {
        "palladion": palladion.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "numpy": np.__version__,
    }


def training_record(model: Path) -> dict[str, Any]:
    """The record of a model that was built here, with one attempt or more.

    Args:
        model: its directory.

    Raises:
        BuildError: there is none that can be read.
    """
    path = model / layout.SEALED / layout.TRAINING
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not record["attempts"]:
            raise ValueError("it holds no attempts")
    except (OSError, ValueError, KeyError) as error:
        problem = f"cannot be read ({error}); remove the directory {model} and build again"
        raise BuildError(f"{path}: {problem}") from None
    return record
