"""What the directory of a language model holds, told from its settings and headers; nothing of it is run.

Two kinds are read, both as the Hugging Face libraries write them: full models (``config.json``, weights in
safetensors, a tokenizer) and LoRA adapters of PEFT. A directory that asks to run code of its own, to fetch
something, or to be taken apart in a way that is not known here, is refused.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.models.adapter_config import ADAPTER_CONFIG
from palladion.models.adapters import Adapter, is_adapter
from palladion.models.model_files import CONFIG, file_in, printable, read_json
from palladion.models.safetensors_header import TensorInfo
from palladion.models.weights import Weights

__all__ = ["LanguageModelFiles", "Task", "describe", "identity", "resolve_base"]

_MOST_FILES = 10_000
_MAXIMUM_BYTES = 256 << 20
_MAXIMUM_SETTINGS_BYTES = 16 << 20
_MAXIMUM_TEMPLATE_BYTES = 1 << 20
_SETTINGS = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_TEMPLATE_FOLDER = "additional_chat_templates"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_READ_ENDINGS = {".json", ".jinja", ".txt", ".model", ".safetensors"}
# Larger files are known by their header, size and time of change instead of all their bytes.
_HASHED_BYTES = 64 << 20

_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_IMPLEMENTATION = re.compile(r"[a-z0-9_]{1,40}")
_CAUSAL, _CLASSIFIER = re.compile(r"\w+(?:ForCausalLM|LMHeadModel)"), re.compile(r"\w+ForSequenceClassification")
_HEAD = re.compile(r"(?:.*\.)?(?:score|classifier|classifier\.out_proj)\.weight")
_DEEPEST = 32
# Numbers for which lists are made, of layers or of names, before any weight is looked at.
_COUNT = re.compile(r"n_layers?|num_.*(?:layers|experts)|.*_layers|num_labels", re.IGNORECASE)
_LARGEST_COUNT = 10_000


class Task(StrEnum):
    """What a language model answers with: a text, or a label."""

    CAUSAL = "causal"
    CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class LanguageModelFiles:
    """A language model as it lies on disk.

    Attributes:
        directory: where it lies.
        task: whether it writes text or gives labels.
        architecture: name of its class; None for adapters, and where ``config.json`` does not say.
        model_type: the family's name in ``transformers``; None for adapters.
        labels: number of labels, from the shape of the head in the weights; None for models that write text.
        weights: where its tensors are; None for adapters.
        adapter: factors and settings; None for full models.
        tokenizer: whether a tokenizer lies in the directory.
    """

    directory: Path
    task: Task
    architecture: str | None
    model_type: str | None
    labels: int | None
    weights: Weights | None
    adapter: Adapter | None
    tokenizer: bool

    @property
    def kind(self) -> str:
        """``full`` or ``adapter``."""
        return "full" if self.adapter is None else "adapter"

    @property
    def base(self) -> str | None:
        """What an adapter says its base is: a path, or a name on the Hugging Face Hub."""
        return None if self.adapter is None else self.adapter.config.base

    @property
    def parameters(self) -> int:
        """Number of elements of all tensors in the directory."""
        held = self.weights if self.adapter is None else self.adapter
        assert held is not None
        return held.parameters


def describe(directory: Path) -> LanguageModelFiles:
    """Read what a directory holds. Neither torch nor transformers is needed.

    Raises:
        InputError: it holds neither a full language model nor a LoRA adapter; its weights are pickled; it asks for
            code of its own; its files contradict each other, are too large, or are links that lead out of it.
    """
    if not directory.is_dir():
        raise InputError("there is no such directory", path=directory)
    _check_files(directory)
    tokenizer = any(file_in(directory, name) is not None for name in _TOKENIZERS)
    if is_adapter(directory):
        return _describe_adapter(directory, tokenizer)
    config_path = file_in(directory, CONFIG)
    if config_path is None:
        raise InputError(f"holds neither {CONFIG} nor {ADAPTER_CONFIG}; is this a language model?", path=directory)
    config = read_json(config_path)
    _check_config(config, config_path)
    weights = Weights.open(directory)
    architecture = _architecture(config, config_path)
    heads = _heads({name: weights.info(name) for name in weights.places})
    if architecture is None:
        task = Task.CLASSIFIER if heads else Task.CAUSAL
    else:
        task = Task.CLASSIFIER if _CLASSIFIER.fullmatch(architecture) else Task.CAUSAL
    labels = _labels(heads, directory) if task is Task.CLASSIFIER else None
    return LanguageModelFiles(directory, task, architecture, config["model_type"], labels, weights, None, tokenizer)


def resolve_base(files: LanguageModelFiles, base: Path | None = None) -> Path:
    """The directory of an adapter's base: ``base``, or what the adapter names if that is a directory here.

    A relative path counts from the adapter's directory.

    Raises:
        InputError: there is no such directory.
    """
    if base is not None:
        if not base.is_dir():
            raise InputError("there is no such directory; --base is the folder of the base model", path=base)
        return base
    named = files.base
    if not named:
        raise InputError("does not say what its base is; give it with --base", path=files.directory)
    try:
        candidate = files.directory.resolve() / named
        if candidate.is_dir():
            return candidate.resolve()
    except (OSError, ValueError):  # too long, or with a null byte: no path at all
        pass
    raise InputError(
        f"its base is '{printable(named)}', which is no directory here (counted from the adapter's folder); nothing is "
        "fetched: download the base and give its folder with --base",
        path=files.directory,
    )


def identity(directory: Path) -> str:
    """A name for the contents of a model's directory: 64 hexadecimal digits.

    Files of more than 64 MiB count with name, size, time of change and first megabyte.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix not in _READ_ENDINGS or not path.is_file():
            continue
        status = path.stat()
        digest.update(f"{path.name!r} {status.st_size}\n".encode())
        with path.open("rb") as file:
            if status.st_size > _HASHED_BYTES:
                digest.update(f"{status.st_mtime_ns}\n".encode())
                digest.update(file.read(1 << 20))
            else:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _describe_adapter(directory: Path, tokenizer: bool) -> LanguageModelFiles:
    adapter = Adapter.open(directory)
    heads = _heads({inner: adapter.file.tensors[outer] for inner, outer in adapter.saved.items()})
    task_type = adapter.config.task_type
    if task_type not in (None, "CAUSAL_LM", "SEQ_CLS"):
        raise InputError(
            f"is an adapter for {printable(str(task_type), 40)}; CAUSAL_LM and SEQ_CLS are read", path=directory
        )
    classifies = task_type == "SEQ_CLS" or (task_type is None and bool(heads))
    labels = _labels(heads, directory) if classifies else None
    task = Task.CLASSIFIER if classifies else Task.CAUSAL
    return LanguageModelFiles(directory, task, None, None, labels, None, adapter, tokenizer)


def _architecture(config: dict[str, Any], path: Path) -> str | None:
    named = config.get("architectures")
    if not named:
        return None
    if not isinstance(named, list) or not isinstance(named[0], str):
        raise InputError("architectures must be a list of names", path=path)
    if not _CAUSAL.fullmatch(named[0]) and not _CLASSIFIER.fullmatch(named[0]):
        raise InputError(
            f"is of the architecture {printable(named[0], 80)}; causal language models (…ForCausalLM) and classifiers "
            "of sequences (…ForSequenceClassification) are read",
            path=path,
        )
    return named[0]


def _heads(tensors: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
    return {name: info for name, info in tensors.items() if _HEAD.fullmatch(name) and len(info.shape) == 2}


def _labels(heads: dict[str, TensorInfo], directory: Path) -> int:
    rows = {info.shape[0] for info in heads.values()}
    if not rows:
        raise InputError("is a classifier without the weights of its head (score or classifier)", path=directory)
    if len(rows) > 1 or not 0 < max(rows) <= _LARGEST_COUNT:
        shown = ", ".join(f"{printable(name, 80)} {info.shape}" for name, info in list(heads.items())[:4])
        raise InputError(f"has heads from which the number of labels cannot be told: {shown}", path=directory)
    return rows.pop()


def _check_files(directory: Path) -> None:
    """Refuse links that lead out and files that are larger than any of their kind, whatever reads them later."""
    for number, entry in enumerate(directory.iterdir()):
        if number >= _MOST_FILES:
            raise InputError(f"holds more than {_MOST_FILES:,} files", path=directory)
        if entry.name == _TEMPLATE_FOLDER:
            _check_templates(entry)
        elif entry.is_symlink():
            file_in(directory, entry.name)
        if entry.suffix in _READ_ENDINGS - {".safetensors"} and entry.is_file():
            most = _MAXIMUM_TEMPLATE_BYTES if entry.name in _TEMPLATES else _MAXIMUM_BYTES
            if entry.stat().st_size > most:
                raise InputError(f"is larger than {most >> 20} MiB", path=entry)
    for name in _SETTINGS:
        path = file_in(directory, name)
        if path is not None:
            settings = read_json(path, most_bytes=_MAXIMUM_SETTINGS_BYTES)
            if any(key == "auto_map" for key, _ in _entries(settings, path)):
                raise InputError("asks to run code of its own (auto_map); refused", path=path)


def _check_templates(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise InputError("must be a folder", path=folder)
    for number, entry in enumerate(folder.iterdir()):
        file_in(folder, entry.name)
        if number >= 100 or entry.stat().st_size > _MAXIMUM_TEMPLATE_BYTES:
            raise InputError("holds too many templates, or one of more than 1 MiB", path=folder)


def _check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse settings by which opening the model would run or fetch something, or never end."""
    if not isinstance(config.get("model_type"), str) or not _MODEL_TYPE.fullmatch(config["model_type"]):
        raise InputError("names no model_type; is this a Hugging Face model?", path=path)
    if config.get("is_encoder_decoder"):
        raise InputError("is an encoder with a decoder; causal models and classifiers are read", path=path)
    if config.get("quantization_config"):
        raise InputError(
            "has weights that were quantised before they were saved; give the unquantised model, and --bits 4 or 8 to "
            "quantise it when it is opened",
            path=path,
        )
    for key, value in _entries(config, path):
        if key == "auto_map":
            raise InputError("asks to run code of its own (auto_map); refused", path=path)
        if key in ("transformers_weights", "distributed_config", "fusion_config") and value is not None:
            raise InputError(f"has the setting {key}, which is not known here; refused", path=path)
        if key.endswith("implementation") and value is not None:
            # Names with a slash are kernels, which transformers would fetch and run.
            names = value.values() if isinstance(value, dict) else [value]
            if not all(isinstance(name, str) and _IMPLEMENTATION.fullmatch(name) for name in names):
                raise InputError(f"asks for {key} {printable(str(value), 80)}; refused", path=path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            most = _LARGEST_COUNT if _COUNT.fullmatch(key) else 1e15
            if not math.isfinite(value) or abs(value) > most:
                raise InputError(f"{printable(key, 60)} is {value!r}; at most {most:g} is read", path=path)


def _entries(settings: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth."""
    level = [settings]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                yield from item.items()
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
        if not level:
            return
    raise InputError(f"has objects more than {_DEEPEST} deep within each other", path=path)
