"""Pack what participants may have of a round as one zip, which any file server can give out.

What they may have is said by :mod:`palladion.rounds.stage_files`, for this as for the downloads of a service. Here each
byte of it is looked at once more on its way: a zip that is out cannot be called back. Only a round that
``palladion round check`` finds no fault in is packed, and nothing is written where a file holds the seed of the round
or is a copy of one that is sealed.

The same round gives the same bytes, on every machine: names in order, one time, one mode, and nothing is compressed,
for that depends on the version of zlib. What is large in a round is weights and pictures, which do not get smaller.
"""

import hashlib
import itertools
import json
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import yaml

from palladion.documents import parse_yaml
from palladion.errors import InputError
from palladion.files import written_whole
from palladion.models import round_directory
from palladion.models.round_directory import RoundDirectory
from palladion.progress import progress
from palladion.rounds.check import Fault, check_round
from palladion.rounds.language import layout
from palladion.rounds.language.check import check_language_round
from palladion.rounds.stage_contract import seed_notes
from palladion.rounds.stage_files import PublishedFile, detection_files, language_files
from palladion.rounds.transfer import listing, open_plain

__all__ = ["Publication", "publish_round"]

_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""Of every file: when a model was made tells nothing then, and the same round gives the same bytes."""
_MODE: Final = (stat.S_IFREG | 0o644) << 16
_UNIX: Final = 3
_BLOCK: Final = 1 << 22
_FAULTS_SHOWN: Final = 20
_FEWEST_DIGITS: Final = 10
"""A shorter number stands in a large file by chance; a seed that short can be guessed anyway, which is told."""
_MAXIMUM_JSON_BYTES: Final = 64 << 20
_LARGE: Final = 1 << 24
_ONE_OF_A_KIND: Final = {".safetensors", ".pt", ".bin", ".png"}
"""Weights and pictures: one that is there twice is a copy. Configurations and label files are often the same."""
_COMMON: Final = "base-model"
"""Folder of the weights that the models of some imported rounds have in common."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was packed.

    Attributes:
        files: how many files.
        bytes: size of the zip.
        sha256: of the zip, hexadecimal digits.
        notes: what the organiser should know, a sentence each.
    """

    files: int
    bytes: int
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A round as it is to be published.

    Attributes:
        files: what participants may have.
        sealed: folders of what they may not, each of a model, a phase or the like.
        seeds: from which what is sealed can be made again.
        settings: the file that it was built from, where sealed splits come from it.
        ours: whether it was built here.
    """

    files: tuple[PublishedFile, ...]
    sealed: tuple[Path, ...]
    seeds: frozenset[int]
    settings: Path | None
    ours: bool


def publish_round(directory: Path, out: Path, *, phase: str | None = None, force: bool = False) -> Publication:
    """Pack what participants may have of a round.

    Of a round of models that is the train split with its labels, and the files for all models; of a language round the
    base and one phase. The zip is written under another name and renamed when it is complete.

    Args:
        directory: the round.
        out: the zip to write.
        phase: of a language round; may be left out where it has one only.
        force: replace a file that is there.

    Raises:
        InputError: there is no such round, it has a fault, a file of it is not to be given out, or ``out`` cannot be
            the zip.
        PalladionError: the zip cannot be written.
    """
    _see_target(directory, out, force=force)
    if layout.is_language_round(directory):
        source = _language(directory, phase)
    elif phase is not None:
        raise InputError("--phase: only rounds of language tracks have phases")
    else:
        source = _detection(directory)
    notes = [] if source.settings is None else seed_notes(directory, source.settings)
    look = _Inspection(source)
    with written_whole(out, mode=0o644) as file:
        _write(file, source.files, look)
        file.flush()
        with Path(file.name).open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
            size = whole.tell()
    return Publication(len(source.files), size, digest, tuple(notes))


def _see_target(directory: Path, out: Path, *, force: bool) -> None:
    if out.suffix.lower() != ".zip":
        raise InputError("must end in .zip", path=out)
    if out.is_dir():
        raise InputError("is a folder; name the file to write", path=out)
    if os.path.lexists(out) and not force:
        raise InputError("is there already; --force replaces it", path=out)
    if out.resolve().is_relative_to(directory.resolve()):
        raise InputError("--out must lie outside of the round", path=out)


def _detection(directory: Path) -> _Source:
    rounds = RoundDirectory.open(directory)
    files = tuple(detection_files(rounds, dry_run=True))
    _refuse(check_round(directory))
    splits = [name for name in round_directory.SPLITS if name not in rounds.same_as and rounds.is_sealed(name)]
    there = [rounds.split(name) for name in splits if (directory / name).is_dir()]
    folders = tuple(entry.directory for split in there for entry in split.models())
    file = directory / round_directory.ROUND_FILE
    ours = rounds.source == round_directory.SOURCES[0]
    seeds = _seed_in(file) if ours else _seeds_in_common(rounds)
    return _Source(files, folders, seeds, file if ours and folders else None, ours)


def _language(directory: Path, phase: str | None) -> _Source:
    if phase is None:
        phases = sorted(path.name for path in (directory / layout.PHASES).iterdir() if path.is_dir())
        if len(phases) != 1:
            raise InputError(
                "a language round is published a phase at a time, each when it begins; give --phase "
                + " or ".join(phases),
                path=directory,
            )
        phase = phases[0]
    layout.existing_phase(directory, phase)
    files = tuple(language_files(directory, phase))
    _refuse(check_language_round(directory))
    sealed = directory / layout.SEALED
    file = sealed / layout.ROUND_FILE
    return _Source(files, (sealed,), _seed_in(file), file, ours=True)


def _refuse(faults: Sequence[Fault]) -> None:
    if not faults:
        return
    told = ["only a round that `palladion round check` finds no fault in is published; there are"]
    told += [str(fault) for fault in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        told.append(f"and {len(faults) - _FAULTS_SHOWN} more faults")
    raise InputError("\n".join(told))


def _seed_in(file: Path) -> frozenset[int]:
    try:
        data, _ = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"cannot be read: {error}", path=file) from None
    seed = data.get("seed") if isinstance(data, dict) else None
    return frozenset() if type(seed) is not int else frozenset({seed})


def _seeds_in_common(rounds: RoundDirectory) -> frozenset[int]:
    """The seeds that several models of an imported round have.

    NIST gave each model a seed of its own. One that they share is that of a round that was built here and exported.
    """
    found: Counter[str] = Counter()
    for split in rounds.counts:
        table = rounds.path / split / round_directory.METADATA
        try:
            rows = round_directory.read_table(table, columns=("master_seed",))
        except InputError:
            continue  # it names no seeds
        found.update(row["master_seed"] for _, row in rows.values())
    return frozenset(int(text) for text, models in found.items() if models > 1 and text.isdecimal() and len(text) < 80)


class _Inspection:
    """Looks at what is given out while it is copied."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._patterns = tuple(dict.fromkeys(itertools.chain.from_iterable(map(_forms, sorted(source.seeds)))))
        self._copies = self._digests()

    def _digests(self) -> Mapping[str, Path]:
        """The weights and pictures that are sealed, by their SHA-256, where one that is given out is as long."""
        sizes = {file.size for file in self._source.files if self._is_one_of_a_kind(PurePosixPath(file.name))}
        found: dict[str, Path] = {}
        for folder in self._source.sealed:
            for inner, path in listing(folder).items():
                # The same photographs are clean examples of many of NIST's models.
                example = not self._source.ours and inner.suffix == ".png" and round_directory.OPEN in inner.parts
                if inner.suffix in _ONE_OF_A_KIND and _COMMON not in inner.parts and not example:
                    if path.lstat().st_size not in sizes:
                        continue
                    with open_plain(path) as content:
                        found[hashlib.file_digest(content, "sha256").hexdigest()] = path
        return found

    def _is_one_of_a_kind(self, name: PurePosixPath) -> bool:
        # What NIST told of its train split is told again, whether or not a sealed split has the like.
        told = self._source.ours or round_directory.SEALED not in name.parts
        return name.suffix in _ONE_OF_A_KIND and _COMMON not in name.parts and told

    def watch(self, file: PublishedFile, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of a file, as they come.

        Raises:
            InputError: it is not to be given out. Then some of the pieces have come already.
        """
        path = file.path or file.name
        name = PurePosixPath(file.name)
        if "\\" in file.name or ":" in file.name:
            raise InputError("has a sign in its name that means something else on other systems", path=path)
        digest = hashlib.sha256() if self._is_one_of_a_kind(name) else None
        keeps = self._source.ours and name.suffix == ".json" and file.size <= _MAXIMUM_JSON_BYTES
        whole: list[bytes] = []
        kept = max(map(len, self._patterns), default=1) - 1
        before = b""
        for piece in pieces:
            if self._patterns:
                seen = before + piece  # a seed may lie across the border of two pieces
                if any(pattern in seen for pattern in self._patterns):
                    problem = "holds the seed of the round, from which what is sealed can be made again"
                    raise InputError(problem, path=path)
                before = seen[-kept:]
            if digest is not None:
                digest.update(piece)
            if keeps:
                whole.append(piece)
            yield piece
        if digest is not None and (copy := self._copies.get(digest.hexdigest())) is not None:
            raise InputError(f"is the same as {copy}, which is sealed", path=path)
        if keeps and (key := _seed_key(b"".join(whole))) is not None:
            raise InputError(f"names a seed ({key!a}); whoever has one may make again what is sealed", path=path)


def _forms(seed: int) -> Iterator[bytes]:
    """How a number may stand in a file: in decimal or hexadecimal digits, or as 64 bits in either order."""
    decimal = str(seed)
    if len(decimal) < _FEWEST_DIGITS:
        return
    yield decimal.encode()
    yield from (f"{seed:x}".encode(), f"{seed:X}".encode())
    if seed < 1 << 64:
        yield from (seed.to_bytes(8, "little"), seed.to_bytes(8, "big"))


def _seed_key(content: bytes) -> str | None:
    """A key that names a seed, anywhere in a JSON file of settings; None in rows of texts, and in what is no JSON."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None
    waiting: list[Any] = [values] if isinstance(values, dict) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                # Words of a vocabulary have small numbers.
                if "seed" in key.lower() and type(inner) is int and inner >= _LARGE:
                    return str(key)
                waiting.append(inner)
        elif isinstance(value, list):
            waiting += value
    return None


def _write(file: IO[bytes], files: Sequence[PublishedFile], look: _Inspection) -> None:
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
        progress(len(files), "publishing files") as shown,
    ):
        for published in sorted(files, key=lambda each: each.name):
            entry = zipfile.ZipInfo(published.name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            entry.file_size = size = published.size  # tells zipfile whether it needs ZIP64
            written = 0
            with archive.open(entry, "w") as target:
                for piece in look.watch(published, _pieces(published)):
                    written += len(piece)
                    if written > size:
                        break
                    target.write(piece)
            if written != size:
                raise InputError("was changed while it was read", path=published.path)
            shown.advance(published.name)


def _pieces(published: PublishedFile) -> Iterator[bytes]:
    if published.path is None:
        yield published.content or b""
        return
    try:
        with open_plain(published.path) as file:
            while piece := file.read(_BLOCK):
                yield piece
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=published.path) from None
