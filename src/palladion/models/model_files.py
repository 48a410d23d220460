"""The files of a model's directory: found without being led out of it, read within bounds, written as a whole.

Directories come from strangers. A file may be a link only where the link stays inside the directory, or leads from a
snapshot of a Hugging Face cache to that cache's own ``blobs`` folder, as such caches are made.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from palladion.errors import InputError, PalladionError

__all__ = [
    "CONFIG",
    "copy_companions",
    "file_in",
    "new_directory",
    "printable",
    "read_json",
    "refuse_pickles",
    "write_json",
]

CONFIG = "config.json"

_MAXIMUM_JSON_BYTES = 1 << 20
_MAXIMUM_COMPANION_BYTES = 256 << 20
# What a model's directory holds beside weights: settings and tokenizers. No code, no pickles.
_COMPANION = re.compile(
    r"(?:(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|merges\.txt|vocab\.txt|tokenizer\.model|spiece\.model|chat_template\.(?:jinja|json))"
)

_PICKLED = re.compile(r"(?:pytorch_model|adapter_model|model)[A-Za-z0-9._-]*\.(?:bin|pt|pth|ckpt)(?:\.index\.json)?")


def file_in(directory: Path, name: str) -> Path | None:
    """The plain file of this name in a model's directory; None where there is none.

    Raises:
        InputError: it is a link that leads out of the directory, or no plain file.
    """
    path = directory / name
    if not path.is_symlink() and not path.exists():
        return None
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise InputError("is a link that leads nowhere", path=path) from None
    home = directory.resolve()
    homes = [home]
    if home.parent.name == "snapshots":
        homes.append(home.parent.parent / "blobs")
    if not any(real.is_relative_to(allowed) for allowed in homes):
        raise InputError("is a link that leads out of the model's directory; refused", path=path)
    if not real.is_file():
        raise InputError("is no plain file", path=path)
    return path


def read_json(path: Path, *, most_bytes: int = _MAXIMUM_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file; NaN and Infinity are refused.

    Raises:
        InputError: it cannot be read, is too large, or holds no object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"is larger than {most_bytes >> 20} MiB", path=path)
        data = json.loads(content.decode("utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise InputError("is missing", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {str(error)[:200]}", path=path) from None
    if not isinstance(data, dict):
        raise InputError("must hold an object", path=path)
    return data


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not allowed")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON as the Hugging Face libraries do: two spaces, sorted keys."""
    path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def copy_companions(source: Path, target: Path, *, passed_over: Collection[str] = ()) -> None:
    """Copy settings and tokenizer files, which are known by their names; weights, code and pickles stay behind.

    Args:
        source: folder of a model.
        target: folder to copy into.
        passed_over: names of files that are not copied.

    Raises:
        InputError: one is a link that leads out, or is too large.
    """
    for name in sorted(entry.name for entry in source.iterdir()):
        if not _COMPANION.fullmatch(name) or name in passed_over:
            continue
        path = file_in(source, name)
        assert path is not None
        if path.stat().st_size > _MAXIMUM_COMPANION_BYTES:
            raise InputError("is larger than 256 MiB", path=path)
        shutil.copyfile(path, target / name)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``path`` when the block ends well and vanishes when it does not.

    Raises:
        InputError: there is something at ``path`` already.
        PalladionError: it cannot be written.
    """
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise InputError("is there already; give a path where nothing is, or remove it", path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", dir=path.parent))
        try:
            yield temporary
            # mkdtemp makes private folders; give this one the mode any new folder would have.
            mask = os.umask(0o077)
            os.umask(mask)
            temporary.chmod(0o777 & ~mask)
            temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise PalladionError(f"{error.filename or path}: cannot be written: {error.strerror or error}") from None


def refuse_pickles(directory: Path) -> None:
    """Say of a directory with pickled weights alone why they are not opened.

    Raises:
        InputError: there are such files.
    """
    pickled = sorted(path.name for path in directory.iterdir() if _PICKLED.fullmatch(path.name))
    if pickled:
        raise InputError(
            f"has its weights as a pickle ({printable(pickled[0])}), which can run code and is not opened; see what it "
            "would run with `palladion inspect`, and save the model anew as safetensors (save_pretrained of a current "
            "transformers or peft does) on a machine that you can lose",
            path=directory,
        )


def printable(text: str, most: int = 200) -> str:
    """The text as it can be shown: what is not printable escaped, and no longer than ``most`` characters."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[:most])
    return shown if len(text) <= most else f"{shown}…"
