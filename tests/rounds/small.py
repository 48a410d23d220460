"""A round that is built in seconds: tiny images, a handful of steps, gates that everything passes."""

from pathlib import Path
from typing import Any

from palladion.documents import write_document
from palladion.rounds.spec import RoundSpec, load_preset

__all__ = ["small_spec", "tree", "write_spec"]


def small_spec(
    *, train: int = 4, test: int = 2, seed: int = 7, trigger: dict[str, Any] | None = None, **training: Any
) -> RoundSpec:
    """Round 1 made tiny."""
    data = load_preset("round-1").model_dump(mode="json", exclude_none=True)
    data |= {"name": "tiny", "title": "Tiny", "description": "", "seed": seed}
    data["splits"] = {"train": {"models": train}, "test": {"models": test}}
    data["images"] |= {"side": 16, "classes": 3, "examples_per_class": 2}
    data["trigger"] |= trigger or {}
    data["training"] |= {"images": 96, "test_images": 50, "steps": 4, "batch": 32} | training
    data["gates"] = {"clean_accuracy": 0.0, "attack_success_rate": 0.0, "attempts": 1}
    return RoundSpec.model_validate(data)


def write_spec(spec: RoundSpec, path: Path) -> Path:
    """Write the specification where the command line can take it from."""
    path.write_text(write_document(spec))
    return path


def tree(directory: Path) -> dict[str, bytes]:
    """Content of every file below the directory, by its path."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }
