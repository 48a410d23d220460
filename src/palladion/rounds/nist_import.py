"""Import a round in one of NIST's layouts: its files are sorted into open and sealed, and none of them is run.

A model's pickle is copied byte by byte and never opened. Stopped at any moment, the same import goes on where it was.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from palladion.errors import InputError, PalladionError
from palladion.files import exclusive, temporaries, write_atomically
from palladion.models import round_directory as layout
from palladion.progress import progress
from palladion.rounds import nist
from palladion.rounds.transfer import Content, add_file, difference, listing, place, remove_unfinished
from palladion.submissions.families import FAMILIES
from palladion.submissions.families import family as known_family

__all__ = ["ImportReport", "import_nist"]

_NAME_COLUMNS = ("model_name", "model_id")  # the second is that of the round of PDF files
_LABEL_COLUMNS = ("poisoned", "ground_truth")
_KINDS = {"clean": False, "benign": False, "poisoned": True, "watermarked": True, "triggered": True, "trojaned": True}
_MAXIMUM_DICTIONARY_BYTES = 16 << 20
_FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        split: the split that was imported into.
        models: number of models that the split holds now.
        poisoned: how many of them are poisoned.
        imported: number of models that this call brought.
        notices: what the organiser should know of, a sentence each.
    """

    split: str
    models: int
    poisoned: int
    imported: int
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """A METADATA.csv: where each model's row stands, its cells, and its label where it has one."""

    path: Path
    columns: tuple[str, ...]
    lines: dict[str, int]
    rows: dict[str, dict[str, str]]
    labels: dict[str, bool]


def import_nist(
    directory: Path, round_: Path, *, split: str | None = None, family: str | None = None, link: bool = False
) -> ImportReport:
    """Import a directory in NIST's layout as one split of a round; a round takes one call for each of its splits.

    Args:
        directory: what NIST published of the split.
        round_: the round to make, or to add to.
        split: train, test or holdout; None takes it from the directory's name.
        family: the family of rounds, by which submissions are called; None leaves what the round says, and takes that
            of a new round from the directory's path, or else ``image-classification``.
        link: give the files a second name (a hard link) instead of a copy.

    Raises:
        InputError: the directory is in no such layout, its labels are missing or contradict each other, a file is a
            link, or the round holds something else. All faults of the labels are told at once.
        PalladionError: the round cannot be written.
    """
    split = split or nist.guess_split(directory.resolve().name)
    if split is None:
        raise InputError(f"says nothing of its split; give --split with {', '.join(layout.SPLITS)}", path=directory)
    if split not in layout.SPLITS:
        raise InputError(f"--split: there is no split {split!r}; there are {', '.join(layout.SPLITS)}")
    new = not (round_ / layout.ROUND_FILE).exists()
    if family is not None:
        known_family(family)
    told = family or (_guess_family(directory) if new else None)
    _apart(directory, round_)
    dataset = nist.find_dataset(directory)
    table = _read_table(dataset.table) if dataset.table else None
    labels, truths = _labels(dataset, table)
    _see_models(dataset)
    _claim(round_, family)
    with exclusive(round_, "importing a round"):
        target = round_ / split
        models = target / layout.MODELS
        try:
            models.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PalladionError(f"{models}: cannot be made: {error.strerror}") from None
        remove_unfinished(models)
        for file in (round_ / layout.ROUND_FILE, target / layout.METADATA, target / layout.METADATA_DICTIONARY):
            for unfinished in temporaries(file):
                unfinished.unlink(missing_ok=True)
        metadata, poisoned = _merge(target / layout.METADATA, table, labels)
        present = {path.name for path in models.iterdir() if layout.MODEL_NAME.fullmatch(path.name)}
        present |= set(dataset.models)
        _write_round_file(round_, split, len(present), told or layout.DEFAULT_FAMILY)
        _share(dataset.shared, round_ / layout.OPEN)
        for name, source in dataset.carried.items():
            add_file(source, target / name)
        imported, hidden = _place_models(dataset, models, labels, truths, table, link=link)
        write_atomically(target / layout.METADATA_DICTIONARY, _dictionary(dataset.dictionary))
        # The table comes last: a split that has one is complete.
        write_atomically(target / layout.METADATA, metadata)
    notices = [*_notices(dataset, table, hidden)]
    if new and told is None:
        file = round_ / layout.ROUND_FILE
        notices.append(f"the family is taken to be {layout.DEFAULT_FAMILY}; if it is another, write it into {file}")
    counted = sum(poisoned.get(name, False) for name in present)
    return ImportReport(split, len(present), counted, imported, tuple(notices))


def _apart(directory: Path, round_: Path) -> None:
    source, target = directory.resolve(), round_.resolve()
    if source == target or target.is_relative_to(source / layout.MODELS):
        raise InputError("--out must lie outside of what is imported", path=round_)


def _read_table(path: Path) -> _Table:
    columns = layout.read_columns(path)
    key = next((name for name in _NAME_COLUMNS if name in columns), None)
    if key is None:
        raise InputError(f"has no column 'model_name' (or 'model_id'); it has {', '.join(columns)}", path=path, line=1)
    table = layout.read_table(path, columns=(), key=key)
    found = _Table(path, columns, {}, {}, {})
    # Only in a table without another label is model_type one, and only if it says so in every row.
    by_kind = key == "model_id" and all(row.get("model_type", "").lower() in _KINDS for _, row in table.values())
    for written, (line, row) in table.items():
        name = layout.model_name(int(written)) if key == "model_id" and _is_number(written) else written
        if not layout.MODEL_NAME.fullmatch(name):
            raise InputError(f"{written!r} is no name of a model, such as id-00000000", path=path, line=line)
        if name in found.rows:
            raise InputError(f"{name} stands in line {found.lines[name]} already", path=path, line=line)
        told: dict[str, bool] = {}
        for column in _LABEL_COLUMNS:
            if row.get(column):
                label = layout.parse_label(row[column])
                if label is None:
                    raise InputError(
                        f"{column} is {row[column][:40]!r}; it must be True or False, 1 or 0", path=path, line=line
                    )
                told[column] = label
        if len(set(told.values())) > 1:
            said = " and ".join(f"{column} is {row[column]}" for column in told)
            raise InputError(f"{said}: they contradict each other", path=path, line=line)
        if by_kind and not told:
            told["model_type"] = _KINDS[row["model_type"].lower()]
        found.lines[name] = line
        found.rows[name] = row
        if told:
            found.labels[name] = next(iter(told.values()))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("00000000")


def _labels(dataset: nist.Dataset, table: _Table | None) -> tuple[dict[str, bool], dict[str, Path]]:
    """Each model's label, of the table's rows without a model as well, and the files that the labels stand in."""
    labels = dict(table.labels) if table else {}
    said_in = {name: f"{table.path}, line {table.lines[name]}," for name in labels} if table else {}
    truths: dict[str, Path] = {}
    faults = []
    for name, folder in dataset.models.items():
        files = [folder / layout.GROUND_TRUTH]
        if name in dataset.truths:
            files.append(dataset.truths[name] / layout.GROUND_TRUTH)
        for file in files:
            if not file.exists() and not file.is_symlink():
                continue
            label = nist.read_ground_truth(file)
            if labels.setdefault(name, label) != label:
                said = f"says {_said(label)} where {said_in[name]} says {_said(labels[name])}"
                faults.append(f"{file}: {said}; one of them is to be mended")
            said_in.setdefault(name, str(file))
            truths.setdefault(name, file)
        if name not in labels:
            where = f"{table.path} has no label for it" if table else f"there is no {layout.METADATA}"
            faults.append(f"{folder}: has no label: it holds no {layout.GROUND_TRUTH}, and {where}")
    if table:
        unsaid = [name for name in table.rows if name not in labels and name not in dataset.models]
        faults += [f"{table.path}, line {table.lines[name]}: has no label for {name}" for name in unsaid]
    _refuse(faults)
    return labels, truths


def _see_models(dataset: nist.Dataset) -> None:
    faults = []
    for folder in dataset.models.values():
        inside = [folder / name for name in (layout.PICKLE, *nist.CHECKPOINTS)]
        if not any(path.exists() for path in inside) and not nist.holds_checkpoint(folder):
            faults.append(f"{folder}: holds neither {layout.PICKLE} nor a Hugging Face directory")
    _refuse(faults)


def _refuse(faults: list[str]) -> None:
    if len(faults) > _FAULTS_SHOWN:
        faults = [*faults[:_FAULTS_SHOWN], f"and {len(faults) - _FAULTS_SHOWN} more faults"]
    if faults:
        raise InputError("\n".join(faults))


def _claim(round_: Path, family: str | None) -> None:
    """Make sure that the directory is empty, or holds an imported round of this family."""
    file = round_ / layout.ROUND_FILE
    if file.exists():
        there = layout.RoundDirectory.open(round_)
        if there.source != "nist":
            raise InputError("holds a round that was built here; import into another directory", path=round_)
        if family not in (None, there.family):
            raise InputError(f"holds a round of the family {there.family}, not {family}", path=round_)
        return
    if round_.exists() and not round_.is_dir():
        raise InputError("is not a directory", path=round_)
    if round_.is_dir() and set(round_.iterdir()) - set(temporaries(file)):
        raise InputError(f"is not empty and holds no {layout.ROUND_FILE}; choose another directory", path=round_)
    try:
        round_.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", path=round_) from None


def _guess_family(directory: Path) -> str | None:
    """The longest name of a family that the path ends with, as ``cyber-pdf-dec2022/train-dataset`` does."""
    path = "/".join(directory.resolve().parts[-3:]).lower()
    told = [name for name in FAMILIES if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z])", path)]
    return max(told, key=len, default=None)


def _write_round_file(round_: Path, split: str, models: int, family: str) -> None:
    file = round_ / layout.ROUND_FILE
    name = round_.resolve().name
    data: dict[str, object] = {
        "name": name,
        "title": name,
        "family": family,
        "source": "nist",
    }
    counts: dict[str, int] = {}
    if file.exists():
        counts = layout.RoundDirectory.open(round_).counts
        data |= yaml.safe_load(file.read_text(encoding="utf-8"))  # the organiser may have given it another title
    counts = counts | {split: models}
    data["splits"] = {each: {"models": counts[each]} for each in layout.SPLITS if each in counts}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_atomically(file, text)


def _share(shared: Mapping[str, Path], target: Path) -> None:
    for name, source in shared.items():
        if source.is_symlink():
            raise InputError("is a link; links are not followed: put the file itself here", path=source)
        if source.is_dir():
            for inner, path in listing(source).items():
                add_file(path, target / name / inner)
        else:
            add_file(source, target / name)


def _place_models(
    dataset: nist.Dataset,
    models: Path,
    labels: Mapping[str, bool],
    truths: Mapping[str, Path],
    table: _Table | None,
    *,
    link: bool,
) -> tuple[int, list[Path]]:
    """Bring every model that is not there yet; how many, and which files were sealed for what they say."""
    imported = 0
    hidden: list[Path] = []
    with progress(len(dataset.models), "importing models") as shown:
        for name, folder in dataset.models.items():
            files: dict[PurePosixPath, Content] = {}
            for place_, content, telling in _sorted_files(folder, dataset.truths.get(name)):
                if files.setdefault(place_, content) is not content:
                    raise InputError(f"holds two files that are both {place_} of a round; take one away", path=folder)
                if telling and isinstance(content, Path):
                    hidden.append(content)
            truth = PurePosixPath(layout.SEALED, layout.GROUND_TRUTH)
            files.setdefault(truth, truths.get(name, b"1\n" if labels[name] else b"0\n"))
            architecture = table.rows.get(name, {}).get("model_architecture", "") if table else ""
            if architecture not in ("", "None") and PurePosixPath(layout.OPEN, nist.REDUCED_CONFIG) not in files:
                # The older rounds have none, and their tokenizers are found by it.
                reduced = json.dumps({"model_architecture": architecture}).encode() + b"\n"
                for config in (nist.REDUCED_CONFIG, nist.CONFIG):
                    files[PurePosixPath(layout.OPEN, config)] = reduced
            if (models / name).exists():
                differs = difference(files, models / name)
                if differs:
                    raise InputError(
                        f"is there already and is not {folder}: {differs}. Remove it, or import into another round",
                        path=models / name,
                    )
            else:
                place(files, models / name, link=link)
                imported += 1
            shown.advance(name)
    return imported, hidden


def _sorted_files(folder: Path, truths: Path | None) -> Iterator[tuple[PurePosixPath, Content, bool]]:
    """A model's files with their places, and whether one was sealed only because it tells of the label."""
    checkpoint = nist.holds_checkpoint(folder)
    sealed = PurePosixPath(layout.SEALED)
    for inner, path in listing(folder).items():
        place_ = nist.open_place(inner, checkpoint=checkpoint)
        # The network's own settings are no place for a label, and hold words such as these.
        guarded = inner.suffix == ".json" and place_ is not None and place_.parts[0] not in nist.CHECKPOINTS
        telling = guarded and nist.tells_label(path)
        if place_ is None or telling:
            yield sealed / inner, path, telling
            continue
        yield PurePosixPath(layout.OPEN) / place_, path, False
        if place_.name == nist.REDUCED_CONFIG:
            # Detectors read config.json: NIST's harness gives them the reduced one under that name.
            yield PurePosixPath(layout.OPEN, nist.CONFIG), path, False
    if truths is not None:
        for inner, path in listing(truths).items():
            if inner == PurePosixPath(layout.GROUND_TRUTH) and (folder / inner).exists():
                continue  # both are there and say the same
            yield sealed / inner, path, False


def _merge(path: Path, table: _Table | None, labels: Mapping[str, bool]) -> tuple[str, dict[str, bool]]:
    """METADATA.csv of the split and its labels: the rows of this import, and those that stand there already."""
    columns = ["model_name", "poisoned"]
    rows: dict[str, dict[str, str]] = {}
    merged: dict[str, bool] = {}
    if path.exists():
        merged = layout.read_labels(path)
        rows = {name: row for name, (_, row) in layout.read_table(path, columns=()).items()}
        columns += [column for column in layout.read_columns(path) if column not in columns]
    for name, label in labels.items():
        if merged.get(name, label) != label:
            raise InputError(f"says that {name} is {_said(merged[name])}; now it is {_said(label)}", path=path)
        merged[name] = label
        row = table.rows.get(name, {}) if table else {}
        rows[name] = rows.get(name, {}) | row
    if table:
        columns += [column for column in table.columns if column not in columns]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for name in sorted(rows):
        writer.writerow([name, str(merged[name]), *(rows[name].get(column, "") for column in columns[2:])])
    return out.getvalue(), merged


def _said(poisoned: bool) -> str:
    return "poisoned" if poisoned else "clean"


def _dictionary(path: Path | None) -> str:
    """METADATA_DICTIONARY.csv in three columns, also where NIST's explanations hold commas without quotes."""
    known = {
        "model_name": ("name of the model's directory", "string"),
        "poisoned": ("whether the model has a trojan", "boolean"),
    }
    if path is not None:
        if path.stat().st_size > _MAXIMUM_DICTIONARY_BYTES:
            raise InputError("is larger than 16 MiB", path=path)
        text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\0", "")
        try:
            rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), skipinitialspace=True)]
        except csv.Error as error:
            raise InputError(f"is not CSV: {error}", path=path) from None
        for name, *rest in (row for row in rows[1:] if any(row)):
            explanation, kind = (rest[:-1], rest[-1]) if len(rest) > 1 else (rest, "")
            known[name] = (", ".join(cell for cell in explanation if cell), kind)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Column Name", "Explanation", "Data Type"])
    writer.writerows([name, *said] for name, said in known.items())
    return out.getvalue()


def _notices(dataset: nist.Dataset, table: _Table | None, hidden: list[Path]) -> Iterator[str]:
    if table is None:
        yield f"{dataset.path} holds no {layout.METADATA}: labels come from {layout.GROUND_TRUTH}, factors are unknown"
    else:
        rowless = [name for name in dataset.models if name not in table.rows]
        if rowless:
            yield f"{table.path} has no row for {_some(rowless)}: only the label is known"
        absent = [name for name in table.rows if name not in dataset.models]
        if absent:
            yield f"{table.path} has rows without a model: {_some(absent)}"
    if hidden:
        yield (
            f"{_some([str(path) for path in hidden])}: open by name, but says something about a trigger or cannot be "
            "read; sealed"
        )
    if dataset.ignored:
        yield f"not a model, passed over: {_some(list(dataset.ignored))}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
