"""The layouts in which NIST publishes its rounds, and which of their files a submission may see.

::

    <dataset>/METADATA.csv, METADATA_DICTIONARY.csv
    <dataset>/models/id-00000000/model.pt, ground_truth.csv, ...    the first rounds have id-00000000/ at the root
    <dataset>/groundtruth/id-00000000/ground_truth.csv              a test server's: labels in a tree of their own
    <dataset>/tokenizers/, source-data/, embeddings/, scale_params.npy

NIST copies a model's folder less a list of names that are to be hidden, and what nobody thought of gets through. Here
it is the other way round: what is not known to be open is sealed.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from palladion.errors import InputError
from palladion.models import round_directory as layout
from palladion.rounds.transfer import check_plain

__all__ = [
    "CARRIED",
    "CHECKPOINTS",
    "CONFIG",
    "GROUND_TRUTH_TREE",
    "REDUCED_CONFIG",
    "SHARED",
    "SPLIT_FOLDERS",
    "Dataset",
    "find_dataset",
    "guess_split",
    "holds_checkpoint",
    "is_checkpoint_file",
    "may_be_open",
    "open_place",
    "read_ground_truth",
    "tells_label",
]

CONFIG, REDUCED_CONFIG = "config.json", "reduced-config.json"
GROUND_TRUTH_TREE = "groundtruth"
SHARED = ("tokenizers", "embeddings", "source-data", "scale_params.npy")
SPLIT_FOLDERS = {split: f"{split}-dataset" for split in layout.SPLITS}
CARRIED = ("DATA_LICENSE.txt", "DATA_LICENCE.txt", "README.txt")

# Folders of a Hugging Face checkpoint, and what they are called in open/.
CHECKPOINTS = {
    layout.MODEL: layout.MODEL,
    "fine-tuned-model": layout.MODEL,
    "base-model": "base-model",
    "tokenizer": "tokenizer",
}
_WEIGHTS = re.compile(r"(model|pytorch_model|adapter_model)(-[0-9]{5}-of-[0-9]{5})?\.(safetensors|bin)")
_CHECKPOINT_FILES = re.compile(
    r"(added_tokens|(adapter_|generation_|image_processor_|preprocessor_|processor_|tokenizer_)?config|tokenizer|vocab|"
    r"special_tokens_map|chat_template|(model\.safetensors|pytorch_model\.bin)\.index)\.json|"
    r"(tokenizer|spiece|sentencepiece\.bpe)\.model|(vocab|merges)\.txt|chat_template\.jinja"
)
_EXAMPLE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".npy", ".npz", ".txt", ".json", ".csv"}
_TELLING = re.compile(r"poison|trigger|trojan|backdoor|watermark|spurious|ground.?truth", re.IGNORECASE)
_CLASS_EXAMPLE = re.compile(r"class_[0-9]+_example_[0-9]+\.[a-z]+")
_CLEAN = re.compile(r"clean[-_]example[-_]data\.json")
_MAXIMUM_JSON_BYTES = 64 << 20
_MAXIMUM_LABEL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split as NIST publishes it.

    Attributes:
        path: its directory.
        models: the models' folders by name, in the order of the names.
        truths: folders of a separate tree of labels, by model.
        table: METADATA.csv, or None.
        dictionary: METADATA_DICTIONARY.csv, or None.
        shared: files and folders for all models, by name.
        carried: licence and reading matter.
        ignored: names beside the models that are none.
    """

    path: Path
    models: dict[str, Path]
    truths: dict[str, Path]
    table: Path | None
    dictionary: Path | None
    shared: dict[str, Path] = field(default_factory=dict)
    carried: dict[str, Path] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def guess_split(name: str) -> str | None:
    """The split that a folder's name tells of, as ``train-dataset`` does; None where it tells of none or of two."""
    told = {word for word in re.split(r"[^a-z]+", name.lower()) if word in layout.SPLITS}
    return told.pop() if len(told) == 1 else None


def find_dataset(directory: Path) -> Dataset:
    """What lies in a directory in one of NIST's layouts; only names are looked at.

    Raises:
        InputError: there is no model, or an entry is a link or has another name than NIST gives.
    """
    if not directory.is_dir():
        raise InputError("there is no such directory", path=directory)
    tree = directory / layout.MODELS
    if not tree.is_dir():
        tree = directory
    models, ignored = _models(tree)
    if not models:
        inner = next((path.name for path in sorted(directory.glob("*-dataset")) if path.is_dir()), None)
        hint = f"; give {directory / inner}" if inner else ""
        raise InputError(f"holds no model: neither {layout.MODELS}/id-00000000/ nor id-00000000/{hint}", path=directory)
    truth_tree = directory / GROUND_TRUTH_TREE
    truths = _models(truth_tree)[0] if truth_tree.is_dir() else {}
    table, dictionary = (
        _first(directory / name, truth_tree / name) for name in (layout.METADATA, layout.METADATA_DICTIONARY)
    )
    # On NIST's server a split is <round>/train-dataset/, and what all splits share lies beside it.
    roots = [directory, directory.parent] if directory.name in SPLIT_FOLDERS.values() else [directory]
    shared = {name: root / name for root in reversed(roots) for name in SHARED if _present(root / name)}
    carried = {name: directory / name for name in CARRIED if _present(directory / name)}
    return Dataset(
        directory,
        models,
        truths,
        table,
        dictionary,
        shared,
        carried,
        tuple(ignored) if tree != directory else (),
    )


def _present(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _first(*paths: Path) -> Path | None:
    for path in paths:
        if _present(path):
            check_plain(path)
            return path
    return None


def _models(tree: Path) -> tuple[dict[str, Path], list[str]]:
    if tree.is_symlink():
        raise InputError("is a link; links are not followed: give the folder itself", path=tree)
    models: dict[str, Path] = {}
    others = []
    for path in sorted(tree.iterdir()):
        if not path.name.startswith("id-"):
            others.append(path.name)
        elif not layout.MODEL_NAME.fullmatch(path.name):
            raise InputError("is no name of a model: NIST's are id- and eight digits, as id-00000000", path=path)
        elif path.is_symlink() or not path.is_dir():
            raise InputError("a model must be a directory, not a link or a file", path=path)
        else:
            models[path.name] = path
    return models, others


def is_checkpoint_file(name: str) -> bool:
    """Whether a Hugging Face checkpoint holds files of this name and a submission may see them."""
    return bool(_CHECKPOINT_FILES.fullmatch(name) or _WEIGHTS.fullmatch(name))


def holds_checkpoint(folder: Path) -> bool:
    """Whether a Hugging Face checkpoint lies directly in a model's folder, as in NIST's rounds of instruct models.

    Its ``config.json`` is then the network's and not the list of all that is hidden about the model.
    """
    if not any(_WEIGHTS.fullmatch(path.name) for path in folder.iterdir()):
        return False
    try:
        settings = _read_json(folder / CONFIG)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and isinstance(settings.get("model_type"), str)


def open_place(path: PurePosixPath, *, checkpoint: bool = False) -> PurePosixPath | None:
    """Where a file of a model goes in ``open/``, or None: it is sealed.

    Args:
        path: the file in the model's folder.
        checkpoint: :func:`holds_checkpoint` of that folder.
    """
    name = path.name
    if len(path.parts) == 1:
        if checkpoint and is_checkpoint_file(name):
            return PurePosixPath(layout.MODEL, name)
        return path if name in (layout.PICKLE, REDUCED_CONFIG) or _CLEAN.fullmatch(name) else None
    if len(path.parts) != 2:
        return None
    folder = path.parts[0]
    if folder in CHECKPOINTS:
        return PurePosixPath(CHECKPOINTS[folder], name) if is_checkpoint_file(name) else None
    if folder not in layout.EXAMPLE_FOLDERS or path.suffix.lower() not in _EXAMPLE_SUFFIXES or _TELLING.search(name):
        return None
    # A folder that is not called clean may hold others as well: there the file itself must say so.
    said = "clean" in folder or _CLASS_EXAMPLE.fullmatch(name) or name.startswith("clean")
    return path if said else None


def may_be_open(path: PurePosixPath) -> bool:
    """Whether a file may lie at this path of an imported model's ``open/``."""
    return path == PurePosixPath(CONFIG) or open_place(path) == path


def tells_label(path: Path) -> bool:
    """Whether a JSON file that is open by its name says something about a trigger, or cannot be read to find out."""
    try:
        waiting = [_read_json(path)]
    except (OSError, ValueError, RecursionError):
        return True
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            for key, inner in value.items():
                if _TELLING.search(str(key)) and not _says_no(str(key), inner):
                    return True
                waiting.append(inner)
    return False


def _says_no(key: str, value: object) -> bool:
    # 0 denies "poisoned", but it is a class under "poisoned_label".
    return value in (None, "", [], {}) or value is False or (value == 0 and key.lower().endswith("ed"))


def _read_json(path: Path) -> Any:
    if check_plain(path).st_size > _MAXIMUM_JSON_BYTES:
        raise ValueError("is larger than 64 MiB")
    return json.loads(path.read_text(encoding="utf-8"))


def read_ground_truth(path: Path) -> bool:
    """The label in a model's ground_truth.csv: a single line with 0 or 1.

    Raises:
        InputError: it holds something else.
    """
    if check_plain(path).st_size > _MAXIMUM_LABEL_BYTES:
        raise InputError("is larger than a label; it must hold a single line with 0 or 1", path=path)
    text = path.read_bytes().decode("utf-8", errors="replace").strip()
    label = layout.parse_label(text)
    if label is None:
        raise InputError(f"holds {text[:40]!r}; it must hold a single line with 0 or 1", path=path, line=1)
    return label
