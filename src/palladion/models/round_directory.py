"""A round on disk: the one place that knows its layout.

::

    <round>/round.yaml
    <round>/<split>/METADATA.csv                  one row a model: its label and its factors
    <round>/<split>/METADATA_DICTIONARY.csv       what each column means
    <round>/<split>/models/id-00000000/open/      what a submission may see
        model/config.json, model/model.safetensors, model/preprocessor_config.json
        clean-example-data/class_<class>_example_<number>.png
    <round>/<split>/models/id-00000000/sealed/    what it may never see
        ground_truth.csv, training.json, trigger.json, trigger.png, poisoned-example-data/

Open and sealed are folders, not lists of file names: only ``open/`` is ever staged for a submission. Everything read
here may come from a stranger: names are checked, links are refused.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from palladion.errors import InputError

__all__ = [
    "CLEAN_EXAMPLES",
    "GROUND_TRUTH",
    "METADATA",
    "METADATA_DICTIONARY",
    "MODEL",
    "MODELS",
    "MODEL_NAME",
    "OPEN",
    "POISONED_EXAMPLES",
    "ROUND_FILE",
    "SEALED",
    "SPLITS",
    "TRAINING",
    "TRIGGER",
    "TRIGGER_PICTURE",
    "ModelEntry",
    "RoundDirectory",
    "SplitDirectory",
    "example_name",
    "model_name",
    "read_labels",
    "read_table",
]

ROUND_FILE = "round.yaml"
SPLITS = ("train", "test", "holdout")
METADATA = "METADATA.csv"
METADATA_DICTIONARY = "METADATA_DICTIONARY.csv"
MODELS = "models"
OPEN, SEALED = "open", "sealed"
MODEL = "model"
CLEAN_EXAMPLES, POISONED_EXAMPLES = "clean-example-data", "poisoned-example-data"
GROUND_TRUTH, TRAINING = "ground_truth.csv", "training.json"
TRIGGER, TRIGGER_PICTURE = "trigger.json", "trigger.png"
MODEL_NAME = re.compile(r"id-[0-9]{8}")

_MAXIMUM_TABLE_BYTES = 256 << 20
_LABEL_COLUMNS = ("poisoned", "ground_truth")  # Round 0 of NIST has the second name
_POISONED = {"true": True, "false": False}


def model_name(index: int) -> str:
    """Name of the model with this number, as NIST names them."""
    return f"id-{index:08d}"


def example_name(label: int, number: int) -> str:
    """File name of an example image, as NIST names them."""
    return f"class_{label}_example_{number}.png"


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
    def model(self) -> Path:
        """The Hugging Face directory."""
        return self.open / MODEL

    @property
    def examples(self) -> Path:
        """The folder of clean example images."""
        return self.open / CLEAN_EXAMPLES


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


@dataclass(frozen=True, slots=True)
class RoundDirectory:
    """A round on disk."""

    path: Path
    same_as: dict[str, str]

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
        try:
            with file.open(encoding="utf-8") as handle:
                data = yaml.safe_load(handle.read(1 << 20))
            splits = data["splits"]
            same_as = {str(name): str(split["same_as"]) for name, split in splits.items() if split.get("same_as")}
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise InputError(f"cannot be read: {error}", path=file) from None
        except (KeyError, TypeError, AttributeError):
            raise InputError("has no splits; is this the file of a round?", path=file) from None
        unknown = [name for pair in same_as.items() for name in pair if name not in SPLITS]
        if unknown:
            raise InputError(f"names a split {unknown[0]!r}; there are {', '.join(SPLITS)}", path=file)
        return cls(path, same_as)

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
        label = _POISONED.get(row[column].lower())
        if label is None:
            try:
                label = {0.0: False, 1.0: True}[float(row[column])]
            except (ValueError, KeyError):
                raise InputError(
                    f"{column} is {row[column]!r}; it must be True or False, 1 or 0", path=path, line=line
                ) from None
        labels[name] = label
    return labels
