"""Export a round to NIST's layout, so that what was written for NIST's rounds runs on it."""

import filecmp
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from palladion.errors import InputError, PalladionError
from palladion.files import exclusive, temporaries, write_atomically
from palladion.models import round_directory as layout
from palladion.models.image_classifier import load_classifier
from palladion.progress import progress
from palladion.rounds import nist
from palladion.rounds.transfer import Content, add_file, difference, listing, place, remove_unfinished

__all__ = ["ExportReport", "Form", "export_nist"]

Form = Literal["pickle", "directory"]

_EXAMPLE = re.compile(r"class_([0-9]{1,6})_example_[0-9]+\.png")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        models: number of models of each split that was exported.
        exported: number of models that this call wrote.
    """

    models: dict[str, int]
    exported: int


@dataclass(frozen=True, slots=True)
class _Trees:
    """Where a split's files go; one tree where labels and models are not kept apart."""

    models: Path
    sealed: Path | None
    tables: Path


def export_nist(
    round_: Path, out: Path, *, split: str | None = None, form: Form | None = None, test_server: bool = False
) -> ExportReport:
    """Export a round, or one split of it, as ``<out>/<split>-dataset/``.

    Args:
        round_: the round.
        out: the directory to make, or to go on in.
        split: the split; None exports all that the round has.
        form: ``pickle`` writes each network as the ``model.pt`` that NIST has (a pickle: opening it runs what it
            says), ``directory`` keeps the model as it is; None writes pickles of a round that was built here and
            keeps the models of one that was imported.
        test_server: keep everything sealed, the tables as well, in a tree ``groundtruth/`` of its own.

    Raises:
        InputError: the round is not complete, its labels contradict each other, or ``out`` holds another export.
        PalladionError: the export cannot be written.
    """
    rounds = layout.RoundDirectory.open(round_)
    splits = _splits(rounds, split)
    form = form or ("pickle" if rounds.source == layout.SOURCES[0] else "directory")
    if out.resolve().is_relative_to(round_.resolve()):
        raise InputError("--out must lie outside of the round", path=out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PalladionError(f"{out}: cannot be made: {error.strerror}") from None
    exported = 0
    models: dict[str, int] = {}
    with exclusive(out, "exporting a round"):
        if rounds.open_files is not None:
            for inner, path in listing(rounds.open_files).items():
                add_file(path, out / inner)
        for name in splits:
            target = out / nist.SPLIT_FOLDERS[name]
            models[name], done = _export_split(rounds, rounds.split(name), target, form, test_server)
            exported += done
    return ExportReport(models, exported)


def _splits(rounds: layout.RoundDirectory, split: str | None) -> list[str]:
    if split is not None:
        if split in rounds.same_as:
            raise InputError(f"--split: here {split} is the {rounds.same_as[split]} split; export that")
        rounds.split(split)
        return [split]
    return [name for name in layout.SPLITS if name not in rounds.same_as and (rounds.path / name).is_dir()]


def _export_split(
    rounds: layout.RoundDirectory, split: layout.SplitDirectory, target: Path, form: Form, test_server: bool
) -> tuple[int, int]:
    if not split.metadata.is_file():
        raise InputError(f"has no {layout.METADATA}: the split is not complete", path=split.path)
    labels = split.labels()
    table = layout.read_table(split.metadata, columns=())
    entries = split.models()
    truths = target / nist.GROUND_TRUTH_TREE
    trees = _Trees(target / layout.MODELS, truths if test_server else None, truths if test_server else target)
    other = target / layout.METADATA if test_server else truths
    metadata = split.metadata.read_bytes()
    written = trees.tables / layout.METADATA
    if other.exists() or (written.exists() and written.read_bytes() != metadata):
        raise InputError("holds another export; choose another directory", path=target)
    for folder in (trees.models, trees.sealed):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
    for unfinished in (*temporaries(written), *temporaries(trees.tables / layout.METADATA_DICTIONARY)):
        unfinished.unlink(missing_ok=True)
    exported = 0
    with progress(len(entries), f"exporting {split.name}") as shown:
        for entry in entries:
            opened, sealed = _files(rounds, entry, labels[entry.name], table[entry.name][1], form)
            both = [name for name in opened if name in sealed]
            if both:
                raise InputError(f"holds {both[0]} among what is open and what is sealed", path=entry.directory)
            new = False
            if trees.sealed is not None:
                # The labels come first: whoever sees a model can have its label.
                new = _put(sealed, trees.sealed / entry.name, entry)
            else:
                opened |= sealed
            exported += _put(opened, trees.models / entry.name, entry) or new
            shown.advance(f"{split.name}/{entry.name}")
    for name in nist.CARRIED:
        if (split.path / name).is_file():
            add_file(split.path / name, target / name)
    dictionary = split.path / layout.METADATA_DICTIONARY
    if dictionary.is_file():
        write_atomically(trees.tables / layout.METADATA_DICTIONARY, dictionary.read_bytes())
    # The table comes last: a split that has one is complete.
    write_atomically(written, metadata)
    return len(entries), exported


def _put(files: Mapping[PurePosixPath, Content], target: Path, entry: layout.ModelEntry) -> bool:
    """Write a model's folder unless it is there; whether it was not."""
    if target.exists():
        differs = difference(files, target)
        if differs:
            raise InputError(f"is not an export of {entry.directory}: {differs}. Remove it", path=target)
        return False
    place(files, target)
    return True


def _files(
    rounds: layout.RoundDirectory, entry: layout.ModelEntry, poisoned: bool, row: Mapping[str, str], form: Form
) -> tuple[dict[PurePosixPath, Content], dict[PurePosixPath, Content]]:
    """A model's files in NIST's layout: what NIST lets a submission see, and what not."""
    opened: dict[PurePosixPath, Content] = dict(listing(entry.open))
    sealed: dict[PurePosixPath, Content] = dict(listing(entry.sealed)) if entry.sealed.is_dir() else {}
    truth = entry.sealed / layout.GROUND_TRUTH
    if PurePosixPath(layout.GROUND_TRUTH) not in sealed:
        sealed[PurePosixPath(layout.GROUND_TRUTH)] = b"1\n" if poisoned else b"0\n"
    elif nist.read_ground_truth(truth) != poisoned:
        raise InputError(f"contradicts {layout.METADATA} of its split; mend the round first", path=truth)
    if rounds.source == layout.SOURCES[0]:
        _add_nists_own(opened, sealed, entry, row)
    # A detector's config.json is the reduced one; NIST's own folder has the full one under that name, or the network's.
    config, reduced = PurePosixPath(nist.CONFIG), PurePosixPath(nist.REDUCED_CONFIG)
    if {config, reduced} <= set(opened) and filecmp.cmp(entry.open / config, entry.open / reduced, shallow=False):
        del opened[config]
    return _with_model(opened, entry, form, config in sealed or rounds.source == layout.SOURCES[0]), sealed


def _with_model(
    opened: dict[PurePosixPath, Content], entry: layout.ModelEntry, form: Form, config_taken: bool
) -> dict[PurePosixPath, Content]:
    folder = PurePosixPath(layout.MODEL)
    network = [name for name in opened if name.is_relative_to(folder)]
    if not network:
        return opened
    if form == "pickle":
        kept = {name: content for name, content in opened.items() if name not in network}
        return {PurePosixPath(layout.PICKLE): lambda path: _save_pickle(entry.open / folder, path), **kept}
    parts = {name.parts[0] for name in opened}
    if parts & {"base-model", "tokenizer"}:
        place_ = PurePosixPath("fine-tuned-model")
    else:
        # NIST's instruct models lie directly in the model's folder.
        place_ = folder if config_taken else PurePosixPath()
    return {place_ / name.relative_to(folder) if name in network else name: content for name, content in opened.items()}


def _save_pickle(model: Path, target: Path) -> None:
    """Save the whole network as NIST does, with what Python needs to make it again."""
    network = load_classifier(model)
    import torch

    torch.save(network, target)


def _add_nists_own(
    opened: dict[PurePosixPath, Content],
    sealed: dict[PurePosixPath, Content],
    entry: layout.ModelEntry,
    row: Mapping[str, str],
) -> None:
    """What NIST's rounds have beside what a round that was built here has."""
    # Only what the network shows by itself may stand in the reduced configuration.
    reduced = {key: row[key] for key in ("model_architecture", "number_classes", "img_size_pixels") if row.get(key)}
    opened[PurePosixPath(nist.REDUCED_CONFIG)] = _json(reduced)
    sealed[PurePosixPath(nist.CONFIG)] = _json(dict(row))
    for name in list(opened):
        example = _EXAMPLE.fullmatch(name.name)
        if example and name.parent == entry.examples_in_open:
            opened[name.with_suffix(".json")] = _json(int(example[1]))


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
