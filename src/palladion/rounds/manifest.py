"""Where a model comes from, as its record says it: specification, versions, and every file's SHA-256."""

import hashlib
import importlib.util
from importlib import metadata
from pathlib import Path

import numpy as np

from palladion.documents import write_document
from palladion.rounds.spec import RoundSpec

__all__ = ["file_digests", "sha256_of", "spec_digest", "versions"]

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
