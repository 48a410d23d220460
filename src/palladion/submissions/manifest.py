"""``submission.yaml``: what a submission asks of the machine that runs it. Optional, as every key of it is."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from palladion.documents import load_document
from palladion.errors import InputError
from palladion.sizes import parse_size

__all__ = ["MANIFEST", "Manifest", "load_manifest", "parse_size"]

MANIFEST = "submission.yaml"

_MAXIMUM_BYTES = 16 << 10


def _size(value: object) -> object:
    if value is None:
        return None
    try:
        return parse_size(value)  # type: ignore[arg-type]
    except InputError as error:
        raise ValueError(str(error)) from None  # what pydantic understands


class Manifest(BaseModel):
    """What ``submission.yaml`` says, or would say by default.

    Attributes:
        environment: name of the virtual environment that it runs in; None for the default one.
        script: the top-level file that is called, where it is neither ``entrypoint.py`` nor ``detector.py``.
        cpus: processor cores for one data point.
        memory: bytes for one data point; None for what the machine gives by default.
        gpus: graphics processors for one data point.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Annotated[str, Field(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\z")] | None = None
    script: Annotated[str, Field(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.py\z")] | None = None
    cpus: Annotated[int, Field(ge=1, le=4096, strict=True)] = 1
    memory: Annotated[int | None, BeforeValidator(_size)] = None
    gpus: Annotated[int, Field(ge=0, le=1024, strict=True)] = 0


def load_manifest(directory: Path) -> Manifest:
    """What the ``submission.yaml`` in a folder says; the defaults where there is none.

    Raises:
        InputError: it is not YAML, or has keys or values that it may not have.
    """
    path = directory / MANIFEST
    if not path.is_file():
        return Manifest()
    if path.stat().st_size > _MAXIMUM_BYTES:
        raise InputError("is larger than 16 KiB; it holds a few settings only", path=path)
    if not path.read_bytes().strip():
        return Manifest()
    try:
        return load_document(path, Manifest)
    except ValueError as error:
        # YAML's own readers of dates and of numbers with thousands of digits.
        raise InputError(f"is not YAML: {str(error)[:100]!a}", path=path) from None
