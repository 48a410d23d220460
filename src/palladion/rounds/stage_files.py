"""Which files of a round participants may have in a stage, and what its data is known by.

What may be had is a list of what is known to be open, never all but what is known to be sealed. Of a detection round
that is the train split with its labels and the files for all models; nothing of ``test/`` and ``holdout/``. Of a
language round it is the base and what ``track.yaml`` of the stage's own phase names.

A round that was built here can be built again from its seed, sealed labels and all. So nobody gets the seed:
``round.yaml`` is replaced by one without it, its column is cut out of METADATA.csv, and the records of the trainings
are left out. Links are refused: nobody chose to publish what they lead to.

The service's downloads and ``palladion round publish`` both ask here.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from palladion.documents import parse_yaml
from palladion.errors import InputError
from palladion.models import round_directory
from palladion.models.round_directory import RoundDirectory
from palladion.rounds import nist
from palladion.rounds.language import layout
from palladion.rounds.transfer import check_plain, listing
from palladion.tracks.sealed import CLEAN, META, POISONED
from palladion.tracks.track_file import TRACK_FILE, load_track

__all__ = ["PublishedFile", "detection_files", "identity_of", "language_files"]

_SEED: Final = re.compile(r"seed", re.IGNORECASE)
"""Columns that may hold the seed of a round, ``master_seed`` above all, or one that was drawn from it."""
_SAID: Final = ("name", "title", "description")
"""What ``round.yaml`` says in words."""
_TOLD: Final = {round_directory.GROUND_TRUTH, round_directory.TRIGGER, round_directory.TRIGGER_PICTURE}
_VALIDATION: Final = {CLEAN, POISONED, META, f"{CLEAN}l", f"{POISONED}l"}
_MAXIMUM_TABLE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file that participants may have.

    Attributes:
        name: where it lies, with ``/`` between folders.
        path: the file; None where it is made for them.
        content: of a file that is made for them; None where it is as it lies there.
    """

    name: str
    path: Path | None
    content: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes.

        Raises:
            InputError: it is no plain file any more.
        """
        if self.content is not None:
            return len(self.content)
        assert self.path is not None
        return check_plain(self.path).st_size


def detection_files(rounds: RoundDirectory, *, dry_run: bool) -> Iterator[PublishedFile]:
    """The files of a detection round that participants may have, in the order of their names.

    Args:
        rounds: the round.
        dry_run: whether the test split is told of, which is then the train split.

    Raises:
        InputError: a file or folder is a link, or is none; there is no train split.
    """
    root = rounds.path
    split = round_directory.SPLITS[0]
    if split in rounds.same_as:
        raise InputError(f"its {split} split is that of {rounds.same_as[split]}, which is sealed", path=root)
    if _there(root, round_directory.OPEN):
        yield from _known(_tree(root, round_directory.OPEN), (round_directory.OPEN,), _is_shared)
    yield PublishedFile(round_directory.ROUND_FILE, None, _public_round_file(rounds, dry_run=dry_run))
    ours = rounds.source == round_directory.SOURCES[0]
    for name in sorted(nist.CARRIED):
        if _there(root, split, name):
            yield _plain(root, split, name)
    for name in (round_directory.METADATA, round_directory.METADATA_DICTIONARY):
        if _there(root, split, name):
            yield _table(_plain(root, split, name)) if ours else _plain(root, split, name)
    models = _folder(root, split, round_directory.MODELS)
    for path in sorted(models.iterdir()):
        if not round_directory.MODEL_NAME.fullmatch(path.name):
            continue
        sealed_too = _is_told if ours else None
        for part, known in ((round_directory.OPEN, nist.may_be_open), (round_directory.SEALED, sealed_too)):
            parts = (split, round_directory.MODELS, path.name, part)
            if _there(root, *parts):
                yield from _known(_tree(root, *parts), parts, known)


def language_files(root: Path, phase: str) -> Iterator[PublishedFile]:
    """The files of a language round that participants of one phase may have: the base, and what ``track.yaml`` names.

    Raises:
        InputError: a file or folder is a link, or is none; ``track.yaml`` is at fault.
    """
    yield from _base(root)
    folder = _folder(root, layout.PHASES, phase)
    inner = (layout.PHASES, phase)
    track_file = _plain(root, *inner, TRACK_FILE)
    track = load_track(folder)
    yield track_file
    for task in track.tasks:
        for model in task.models:
            yield from _tree(root, *inner, *PurePosixPath(model).parts)
        if task.validation is not None:
            place = PurePosixPath(task.validation)
            # Rows and what the attacks want, and whatever else lies there is not for anybody.
            for file in _tree(root, *inner, *place.parts):
                if PurePosixPath(file.name).relative_to(PurePosixPath(*inner) / place).as_posix() in _VALIDATION:
                    yield file
        for output in task.outputs:
            yield _plain(root, *inner, *PurePosixPath(output.inputs).parts)


def identity_of(root: Path, *parts: str) -> str:
    """What data is known by: a digest over names and contents of all files below some parts of a round.

    Reads every byte. The first part that is a link is followed, because the base of a language round may be one.

    Args:
        root: of the round.
        parts: files and folders in it, with ``/`` between folders; what is not there is left out.

    Raises:
        InputError: a file is a link, or cannot be read.
    """
    whole = hashlib.sha256()
    for part in sorted(parts):
        path = root / part
        files: dict[str, Path] = {}
        if path.is_dir():
            files = {f"{part}/{inner}": file for inner, file in listing(path).items()}
        elif path.exists():
            check_plain(path)
            files = {part: path}
        for name, file in files.items():
            try:
                with file.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                raise InputError(f"cannot be read: {error.strerror}", path=file) from None
            whole.update(f"{digest} {name}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _base(root: Path) -> Iterator[PublishedFile]:
    """The base model. Its folder may be a link, as ``palladion round build --base`` makes one: to anywhere but here."""
    base = root / layout.BASE
    if not base.is_symlink():
        yield from _tree(root, layout.BASE)
        return
    target, here = base.resolve(), root.resolve()
    if not target.is_dir():
        raise InputError("leads to no folder", path=base)
    if target.is_relative_to(here) or here.is_relative_to(target):
        raise InputError("is a link to what is not the base alone; a base lies outside of its round", path=base)
    for inner, path in listing(target).items():
        yield PublishedFile(f"{layout.BASE}/{inner}", path)


def _there(root: Path, *parts: str) -> bool:
    return os.path.lexists(root.joinpath(*parts))


def _folder(root: Path, *parts: str) -> Path:
    """A folder below the root, none of whose own folders is a link."""
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise InputError("is a link; links are not followed: put the folder itself here", path=path)
        if not path.is_dir():
            raise InputError("there is no such folder", path=path)
    return path


def _plain(root: Path, *parts: str) -> PublishedFile:
    path = _folder(root, *parts[:-1]) / parts[-1]
    check_plain(path)
    return PublishedFile("/".join(parts), path)


def _tree(root: Path, *parts: str) -> Iterator[PublishedFile]:
    place = "/".join(parts)
    for inner, path in listing(_folder(root, *parts)).items():
        yield PublishedFile(f"{place}/{inner}", path)


def _known(
    files: Iterator[PublishedFile], parts: tuple[str, ...], known: Callable[[PurePosixPath], bool] | None
) -> Iterator[PublishedFile]:
    """The files of a folder that are known by their place in it; all where nothing says which those are."""
    folder = PurePosixPath(*parts)
    for file in files:
        if known is None or known(PurePosixPath(file.name).relative_to(folder)):
            yield file


def _is_shared(inner: PurePosixPath) -> bool:
    return inner.parts[0] in nist.SHARED


def _is_told(inner: PurePosixPath) -> bool:
    """What is told of a model of the train split that was built here: its label, its trigger and what that does."""
    examples = inner.parts[0] == round_directory.POISONED_EXAMPLES and len(inner.parts) == 2 and inner.suffix == ".png"
    return examples or str(inner) in _TOLD


def _public_round_file(rounds: RoundDirectory, *, dry_run: bool) -> bytes:
    """What a round is, without what it can be built from."""
    train, test = round_directory.SPLITS[:2]
    count = len(rounds.split(train).models())
    splits: dict[str, object] = {train: {"models": count}}
    if dry_run and rounds.same_as.get(test) == train:
        splits[test] = {"same_as": train}
    file = rounds.path / round_directory.ROUND_FILE
    try:
        said, _ = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"cannot be read: {error}", path=file) from None
    data = {
        "published": True,
        **{key: said[key] for key in _SAID if isinstance(said.get(key), str) and said[key]},
        "family": rounds.family,
        "source": rounds.source,
        "passes": list(rounds.passes),
        "splits": splits,
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def _table(file: PublishedFile) -> PublishedFile:
    """A table without the columns, and a dictionary without the rows, of seeds."""
    assert file.path is not None
    if check_plain(file.path).st_size > _MAXIMUM_TABLE_BYTES:
        raise InputError("is larger than 256 MiB", path=file.path)
    try:
        rows = list(csv.reader(io.StringIO(file.path.read_text(encoding="utf-8-sig"), newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not CSV: {error}", path=file.path) from None
    columns = {i for i, name in enumerate(rows[0] if rows else ()) if _SEED.search(name)}
    kept = [[cell for i, cell in enumerate(row) if i not in columns] for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row for row in kept if not row or not _SEED.search(row[0]))
    return PublishedFile(file.name, None, text.getvalue().encode())
