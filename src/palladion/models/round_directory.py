"""A round on disk: the one place that knows its layout.

::

    <round>/round.yaml
    <round>/open/                                 what a submission may see with every model: tokenizers, source data
    <round>/<split>/METADATA.csv                  one row a model: its label and its factors
    <round>/<split>/METADATA_DICTIONARY.csv       what each column means
    <round>/<split>/models/id-00000000/open/      what a submission may see
        model/config.json, model/model.safetensors, model/preprocessor_config.json
        model.pt                                  instead of model/ in a round that NIST made: a pickle
        clean-example-data/class_<class>_example_<number>.png
    <round>/<split>/models/id-00000000/sealed/    what it may never see
        ground_truth.csv, training.json, trigger.json, trigger.png, poisoned-example-data/

NIST's rounds name the folder of examples ``clean_example_data`` or ``example_data`` as well; an imported round keeps
the name. ``round.yaml`` of an imported round says ``source: nist`` and which ``family`` of models it holds.

Open and sealed are folders, not lists of file names: only ``open/`` is ever staged for a submission. Everything read
here may come from a stranger: names are checked, links are refused.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from palladion.documents import parse_yaml
from palladion.errors import InputError

__all__ = [
    "CLEAN_EXAMPLES",
    "DEFAULT_FAMILY",
    "EXAMPLE_FOLDERS",
    "FAMILY_NAME",
    "GROUND_TRUTH",
    "METADATA",
    "METADATA_DICTIONARY",
    "MODEL",
    "MODELS",
    "MODEL_NAME",
    "OPEN",
    "PASSES",
    "PICKLE",
    "POISONED_EXAMPLES",
    "ROUND_FILE",
    "SEALED",
    "SOURCES",
    "SOURCE_DATA",
    "SPLITS",
    "TRAINING",
    "TRIGGER",
    "TRIGGER_PICTURE",
    "ModelEntry",
    "RoundDirectory",
    "SplitDirectory",
    "example_name",
    "examples_in",
    "model_in",
    "model_name",
    "parse_label",
    "read_columns",
    "read_labels",
    "read_table",
]

ROUND_FILE = "round.yaml"
SPLITS = ("train", "test", "holdout")
METADATA = "METADATA.csv"
METADATA_DICTIONARY = "METADATA_DICTIONARY.csv"
MODELS = "models"
OPEN, SEALED = "open", "sealed"
MODEL, PICKLE = "model", "model.pt"
CLEAN_EXAMPLES, POISONED_EXAMPLES = "clean-example-data", "poisoned-example-data"
EXAMPLE_FOLDERS = (CLEAN_EXAMPLES, "clean_example_data", "example_data")  # the first that is there is taken
GROUND_TRUTH, TRAINING = "ground_truth.csv", "training.json"
TRIGGER, TRIGGER_PICTURE = "trigger.json", "trigger.png"
MODEL_NAME = re.compile(r"id-[0-9]{8}")
DEFAULT_FAMILY = "image-classification"
FAMILY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SOURCES = ("palladion", "nist")

_MAXIMUM_ROUND_BYTES = 1 << 20
PASSES = ("round_training_dataset_dirpath", "source_dataset_dirpath")
"""Arguments that a round passes to submissions only where its ``round.yaml`` says so, under ``passes``."""
SOURCE_DATA = "source-data"
"""Folder of the source dataset, below :attr:`RoundDirectory.open_files`."""

_MAXIMUM_TABLE_BYTES = 256 << 20
_LABEL_COLUMNS = ("poisoned", "ground_truth")  # Round 0 of NIST has the second name
_POISONED = {"true": True, "false": False}


def model_name(index: int) -> str:
    """Name of the model with this number, as NIST names them."""
    return f"id-{index:08d}"


def example_name(label: int, number: int) -> str:
    """File name of an example image, as NIST names them."""
    return f"class_{label}_example_{number}.png"


def model_in(folder: Path) -> PurePosixPath:
    """Where the model lies in an ``open/`` folder, relative to it: ``model`` or ``model.pt``."""
    return PurePosixPath(PICKLE if not (folder / MODEL).is_dir() and (folder / PICKLE).is_file() else MODEL)


def examples_in(folder: Path) -> PurePosixPath:
    """Where the clean examples lie in an ``open/`` folder, relative to it; the usual name where there are none."""
    return PurePosixPath(next((name for name in EXAMPLE_FOLDERS if (folder / name).is_dir()), CLEAN_EXAMPLES))


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of a split."""

    name: str
    directory: Path

    @property
    def open(self) -> Path:
        """The folder that a submission may see."""
        return self.directory / OPEN

    @property
    def sealed(self) -> Path:
        """The folder that a submission may never see."""
        return self.directory / SEALED

    @property
    def model_in_open(self) -> PurePosixPath:
        """The model's path below :attr:`open`: the same in every copy of that folder."""
        return model_in(self.open)

    @property
    def examples_in_open(self) -> PurePosixPath:
        """The clean examples' path below :attr:`open`: the same in every copy of that folder."""
        return examples_in(self.open)

    @property
    def model(self) -> Path:
        """The Hugging Face directory, or the ``model.pt`` of a round that NIST made."""
        return self.open / self.model_in_open

    @property
    def examples(self) -> Path:
        """The folder of clean examples."""
        return self.open / self.examples_in_open


@dataclass(frozen=True, slots=True)
class SplitDirectory:
    """One split of a round."""

    name: str
    path: Path

    @property
    def metadata(self) -> Path:
        """The table of labels and factors."""
        return self.path / METADATA

    def models(self) -> tuple[ModelEntry, ...]:
        """The models in the order of their names.

        Raises:
            InputError: there are none, or an entry is a link or no directory.
        """
        root = self.path / MODELS
        if not root.is_dir():
            raise InputError(f"has no folder {MODELS}/; is this a split of a round?", path=self.path)
        entries = []
        for directory in sorted(root.iterdir()):
            if not MODEL_NAME.fullmatch(directory.name):
                continue
            if directory.is_symlink() or not directory.is_dir():
                raise InputError("a model must be a directory, not a link or a file", path=directory)
            entries.append(ModelEntry(directory.name, directory))
        if not entries:
            raise InputError("holds no model (a model's directory is named id-00000000)", path=root)
        return tuple(entries)

    def labels(self) -> dict[str, bool]:
        """Whether each model is poisoned, by name, from METADATA.csv.

        Raises:
            InputError: the table is at fault, or a model on disk has no row.
        """
        labels = read_labels(self.metadata)
        absent = [entry.name for entry in self.models() if entry.name not in labels]
        if absent:
            raise InputError(f"has no row for the model {absent[0]}", path=self.metadata)
        return labels

    def clusters(self, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """The cluster of each model, in the order of their names: its words in these columns of METADATA.csv.

        Raises:
            InputError: the table is at fault, has no such column, or no row of a model on disk.
        """
        table = read_table(self.metadata, columns=tuple(columns))
        found = []
        for entry in self.models():
            if entry.name not in table:
                raise InputError(f"has no row for the model {entry.name}", path=self.metadata)
            row = table[entry.name][1]
            found.append(tuple(row[column] for column in columns))
        return found


@dataclass(frozen=True, slots=True)
class RoundDirectory:
    """A round on disk.

    Attributes:
        path: its directory.
        same_as: splits that are another split, each with that one's name.
        family: the kind of models that it holds, such as ``image-classification``.
        source: ``palladion`` for a round that was built here, ``nist`` for one that was imported from NIST's layout.
        counts: number of models of each split that ``round.yaml`` tells it of.
        passes: arguments beyond the data point's own that submissions are called with, of :data:`PASSES`.
        published: whether it is what participants of a stage have of a round: without its seed and its sealed splits.
    """

    path: Path
    same_as: dict[str, str]
    family: str = DEFAULT_FAMILY
    source: str = SOURCES[0]
    counts: dict[str, int] = field(default_factory=dict)
    passes: tuple[str, ...] = ()
    published: bool = False

    @classmethod
    def open(cls, path: Path) -> "RoundDirectory":
        """The round in this directory.

        Raises:
            InputError: there is no ``round.yaml``, or it is not one.
        """
        file = path / ROUND_FILE
        if not path.is_dir():
            raise InputError("there is no such directory", path=path)
        if not file.is_file():
            raise InputError(f"holds no {ROUND_FILE}; is this a round?", path=path)
        data = _read_round_file(file)
        splits = data["splits"]
        same_as = {str(name): str(split["same_as"]) for name, split in splits.items() if split.get("same_as")}
        unknown = [name for name in (*map(str, splits), *same_as.values()) if name not in SPLITS]
        if unknown:
            raise InputError(f"names a split {unknown[0]!r}; there are {', '.join(SPLITS)}", path=file)
        counts = {}
        for name, split in splits.items():
            models = split.get("models")
            if models is not None:
                if type(models) is not int or models < 0:
                    raise InputError(f"splits.{name}.models is {models!r}; it must be a number of models", path=file)
                counts[name] = models
        family = data.get("family", DEFAULT_FAMILY)
        if not isinstance(family, str) or not FAMILY_NAME.fullmatch(family):
            raise InputError(
                f"family is {str(family)[:80]!r}; it must be a name of a-z, 0-9, '.', '_' and '-'", path=file
            )
        source = data.get("source", SOURCES[0])
        if source not in SOURCES:
            raise InputError(f"source is {str(source)[:80]!r}; there are {', '.join(SOURCES)}", path=file)
        passes = data.get("passes", [])
        if not isinstance(passes, list) or any(name not in PASSES for name in passes):
            raise InputError(f"passes must be a list of {' and '.join(PASSES)}", path=file)
        return cls(path, same_as, family, source, counts, tuple(passes), data.get("published") is True)

    @property
    def open_files(self) -> Path | None:
        """The folder of files that a submission may see with every model; None where the round has none.

        Raises:
            InputError: it is a link or a file.
        """
        folder = self.path / OPEN
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InputError("must be a folder, not a link or a file", path=folder)
        return folder if folder.exists() else None

    def is_sealed(self, name: str) -> bool:
        """Whether a split's labels are sealed: of all but the train split, and what is the same as it."""
        return self.same_as.get(name, name) != SPLITS[0]

    def split(self, name: str) -> SplitDirectory:
        """The split of this name; of Round 0's test split, the train split that it is.

        Raises:
            InputError: the round has no such split.
        """
        stored = self.same_as.get(name, name)
        if name not in SPLITS:
            raise InputError(f"there is no split {name!r}; there are {', '.join(SPLITS)}")
        path = self.path / stored
        if not path.is_dir():
            raise InputError(f"this round has no {name} split", path=self.path)
        return SplitDirectory(name, path)


def _read_round_file(file: Path) -> dict[str, Any]:
    """What ``round.yaml`` says; ``splits`` is a mapping of mappings."""
    try:
        with file.open("rb") as handle:
            content = handle.read(_MAXIMUM_ROUND_BYTES + 1)
        if len(content) > _MAXIMUM_ROUND_BYTES:
            raise InputError("is larger than 1 MiB; this is not the file of a round", path=file)
        data, _ = parse_yaml(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", path=file) from None
    splits = data.get("splits") if isinstance(data, dict) else None
    if not isinstance(splits, dict) or not all(isinstance(split, dict) for split in splits.values()):
        raise InputError("has no splits; is this the file of a round?", path=file)
    return dict(data)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file by column name, each with its line in the file."""
    try:
        if path.stat().st_size > _MAXIMUM_TABLE_BYTES:
            raise InputError("is larger than 256 MiB", path=path)
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, skipinitialspace=True, strict=True)
            header = next(reader, None)
            if not header:
                raise InputError("is empty; a header line with column names is needed", path=path)
            columns = [name.strip() for name in header]
            twice = next((name for name, count in Counter(columns).items() if count > 1), None)
            if twice is not None:
                raise InputError(f"has two columns {twice!r}; give each its own name", path=path, line=1)
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(columns):
                    raise InputError(
                        f"has {len(row)} columns where the header has {len(columns)}",
                        path=path,
                        line=reader.line_num,
                    )
                yield reader.line_num, dict(zip(columns, (cell.strip() for cell in row), strict=True))
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", path=path) from None


def read_columns(path: Path) -> tuple[str, ...]:
    """Names of a table's columns, in their order.

    Raises:
        InputError: it is no table, or has no rows.
    """
    for _, row in _rows(path):
        return tuple(row)
    raise InputError("holds no rows", path=path)


def read_table(
    path: Path, *, columns: tuple[str, ...], key: str = "model_name"
) -> dict[str, tuple[int, dict[str, str]]]:
    """A table with a column of names: each row, and its line, by its name.

    Raises:
        InputError: with file and line, for anything at fault: a column missing, a name twice or empty, a ragged row.
    """
    table: dict[str, tuple[int, dict[str, str]]] = {}
    for line, row in _rows(path):
        for column in (key, *columns):
            if column not in row:
                raise InputError(f"has no column {column!r}; it has {', '.join(row)}", path=path, line=1)
        name = row[key]
        if not name:
            raise InputError(f"the {key} is empty", path=path, line=line)
        if name in table:
            raise InputError(f"{name} stands in line {table[name][0]} already", path=path, line=line)
        table[name] = (line, row)
    if not table:
        raise InputError("holds no rows", path=path)
    return table


def parse_label(text: str) -> bool | None:
    """Whether a label says poisoned: True/False, or a number that is 0 or 1; None for anything else."""
    text = text.strip().lower()
    if text in _POISONED:
        return _POISONED[text]
    try:
        return {0.0: False, 1.0: True}.get(float(text))
    except ValueError:
        return None


def read_labels(path: Path) -> dict[str, bool]:
    """Whether each model is poisoned, from a METADATA.csv.

    The label stands in the column ``poisoned`` (or ``ground_truth``, as in NIST's Round 0), as True/False, or as a
    number that is 0 or 1.

    Raises:
        InputError: with file and line, for anything at fault.
    """
    table = read_table(path, columns=())
    labels: dict[str, bool] = {}
    for name, (line, row) in table.items():
        column = next((column for column in _LABEL_COLUMNS if column in row), None)
        if column is None:
            raise InputError("has no column 'poisoned' (or 'ground_truth')", path=path, line=1)
        label = parse_label(row[column])
        if label is None:
            raise InputError(f"{column} is {row[column]!r}; it must be True or False, 1 or 0", path=path, line=line)
        labels[name] = label
    return labels
