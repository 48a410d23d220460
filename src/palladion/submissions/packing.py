"""Pack the outputs of a language track, or the folder of a detector, as the zip that is handed in.

The zip is made anew each time, of what belongs into it and nothing else: an old one is never added to, so that nothing
stale stays in it. The same files give the same bytes, whatever their times, modes and order.
"""

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically
from palladion.submissions.checks import Fault, FaultSeverity, printable
from palladion.submissions.outputs import CODE, PUBLIC_LAYOUT, Layout, OutputsCheck, examine_outputs
from palladion.tracks.track_file import TrackFile

__all__ = ["PackedOutputs", "pack_folder", "pack_outputs"]

_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = (stat.S_IFREG | 0o644) << 16
_UNIX: Final = 3
_MOST_FILES = 10_000
_LEFT_OUT_FOLDERS = frozenset({"__pycache__", "__MACOSX"})
_LEFT_OUT_SUFFIXES = (".pyc", "~")


@dataclass(slots=True)
class PackedOutputs:
    """What was packed, or why nothing was.

    Attributes:
        check: what the zip's own check found; with an error in it, nothing was written.
        files: names in the zip, sorted.
        left_out: what was beside them and is not in the zip, each with the reason.
        bytes: size of the zip.
        digest: SHA-256 of the zip, as hexadecimal digits; None where nothing was written.
    """

    check: OutputsCheck
    files: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    digest: str | None = None


def pack_outputs(
    sources: Sequence[Path],
    out: Path,
    tracks: Sequence[tuple[Path, TrackFile]] = (),
    *,
    code: Path | None = None,
    code_required: bool | None = None,
) -> PackedOutputs:
    """Pack outputs, check the zip as whoever receives it will, and write it where there is no error.

    Of a folder, what the tracks name is taken from its top level, and its ``code/``; the rest is left out and told, but
    for a name that is nearly that of an output which is not there. A file that is given by itself must belong.
    Of the code, links, hidden files and what Python leaves behind are left out.

    Args:
        sources: folders with outputs, and outputs.
        out: the zip to write; one that is there is replaced.
        tracks: as for :func:`palladion.submissions.outputs.examine_outputs`.
        code: the folder that becomes ``code/``; by default that of this name in a source.
        code_required: as for :func:`palladion.submissions.outputs.examine_outputs`.

    Raises:
        InputError: there is no such source, or ``out`` cannot be a zip.
        PalladionError: a file cannot be read or written.
    """
    if out.suffix.lower() != ".zip":
        raise InputError("must end in .zip", path=out)
    if out.is_dir():
        raise InputError("is a folder; name the file to write", path=out)
    collection = _Collection(Layout.of(tracks, code_required=code_required), out)
    try:
        collection.take(sources, code)
        with tempfile.TemporaryDirectory(prefix="palladion-pack-") as root:
            made = Path(root) / out.name
            if collection.too_large():
                check = OutputsCheck()
            else:
                _write_zip(made, collection.files)
                check = examine_outputs(made, tracks, code_required=code_required)
            faults = collection.faults + check.faults
            check.faults = sorted(faults, key=lambda fault: fault.severity is FaultSeverity.WARNING)
            done = PackedOutputs(check, sorted(collection.files), collection.left_out)
            if not check.errors:
                data = made.read_bytes()
                write_atomically(out, data)
                done.bytes, done.digest = len(data), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise PalladionError(f"{error.filename or out}: cannot be read: {error.strerror or error}") from None
    return done


def pack_folder(folder: Path, out: Path) -> list[tuple[str, str]]:
    """Pack a folder, such as a detector's, as it is; links, hidden files and what Python leaves behind are left out.

    Args:
        folder: to pack; its files lie at the root of the zip.
        out: the zip to write.

    Returns:
        What was left out, each with the reason.

    Raises:
        InputError: there is nothing to pack in it, or too many files.
        PalladionError: a file cannot be read or written.
    """
    files: dict[str, Path] = {}
    left_out: list[tuple[str, str]] = []
    for path in _walked(folder):
        shown = path.relative_to(folder).as_posix()
        if (why := _unfit(path)) is not None:
            left_out.append((printable(shown, 120), why))
        elif not path.is_dir():
            files[shown] = path
        if len(files) > _MOST_FILES:
            raise InputError(f"holds more than {_MOST_FILES:,} files", path=folder)
    if not files:
        raise InputError("holds nothing that can be handed in", path=folder)
    try:
        _write_zip(out, files)
    except OSError as error:
        raise PalladionError(f"{error.filename or out}: cannot be read: {error.strerror or error}") from None
    return left_out


def _walked(folder: Path) -> Iterator[Path]:
    """What is in a folder and in those below it, but for the inside of those that are not packed."""
    for directory, folders, names in os.walk(folder):
        at = Path(directory)
        yield from (at / name for name in sorted(folders + names))
        folders[:] = sorted(name for name in folders if _unfit(at / name) is None)


class _Collection:
    """The files that go into a zip, by their names in it."""

    def __init__(self, layout: Layout, out: Path) -> None:
        self.files: dict[str, Path] = {}
        self.left_out: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self._layout, self._out = layout, out

    def take(self, sources: Sequence[Path], code: Path | None) -> None:
        if code is not None and not code.is_dir():
            raise InputError("there is no such folder", path=code)
        others: list[Path] = []
        for source in sources:
            if source.is_dir():
                others += self._take_folder(source, with_code=code is None)
            elif os.path.lexists(source):
                self._take_file(source)
            else:
                raise InputError("there is no such file or folder", path=source)
        if code is not None:
            self._take_code(code)
        self._judge(others)

    def too_large(self) -> bool:
        """Whether it is not even worth packing; told, if so."""
        whole = sum(path.stat().st_size for path in self.files.values())
        if whole <= 2 * self._layout.bytes and len(self.files) <= _MOST_FILES:
            return False
        message = f"would hold {len(self.files):,} files of {whole:,} bytes; {self._layout.bytes:,} bytes are the most"
        self._fault("size", self._out.name, message)
        return True

    def _fault(self, code: str, file: str, message: str) -> None:
        self.faults.append(Fault(code, printable(file, 120), "", printable(message, 400)))

    def _leave_out(self, name: str, why: str) -> None:
        self.left_out.append((printable(name, 120), why))

    def _take_folder(self, folder: Path, *, with_code: bool) -> Iterator[Path]:
        """Take what belongs from a folder's top level; the others, for judgement once all is taken."""
        for path in sorted(folder.iterdir()):
            if path.name in self._layout.files:
                self._take_file(path)
            elif path.name == CODE and path.is_dir():
                if with_code:
                    self._take_code(path)
                else:
                    self._leave_out(f"{CODE}/", "another folder is given as the code")
            elif path.name.startswith("."):
                self._leave_out(path.name, "is hidden")
            elif not self._is_out(path):
                yield path

    def _is_out(self, path: Path) -> bool:
        """Whether it is the zip that is to be written, as it was before."""
        return path.name == self._out.name and path.is_file() and path.resolve() == self._out.resolve()

    def _take_file(self, path: Path) -> None:
        name = path.name
        if path.is_symlink() or not path.is_file():
            self._fault("archive", name, "is a link, or no plain file; pack the file itself")
        elif name not in self._layout.files:
            near = self._layout.nearest(name)
            hint = f"did you mean {near}?" if near else f"outputs are named {', '.join(sorted(self._layout.files))}"
            self._fault("name", name, f"is no output's name; {hint}")
        elif name in self.files:
            self._fault("archive", name, "is given twice")
        else:
            self.files[name] = path

    def _judge(self, others: Sequence[Path]) -> None:
        """A name that is nearly right is a mistake; another is no part of the submission."""
        for path in others:
            near = self._layout.nearest(path.name)
            if near is not None and near not in self.files and path.is_file() and path.name not in PUBLIC_LAYOUT:
                self._fault("name", path.name, f"is no output's name; did you mean {near}?")
            else:
                self._leave_out(path.name + ("/" if path.is_dir() else ""), "is no output of these tracks")

    def _take_code(self, folder: Path) -> None:
        if folder.is_symlink():
            self._fault("archive", f"{CODE}/", "is a link; give the folder itself")
            return
        for directory, folders, names in os.walk(folder):
            at = Path(directory)
            for name in sorted(folders + names):
                path = at / name
                shown = f"{CODE}/{path.relative_to(folder).as_posix()}"
                why = _unfit(path)
                if why is not None:
                    self._leave_out(shown + ("/" if name in folders else ""), why)
                elif name in names and not self._is_out(path):
                    if shown in self.files:
                        self._fault("archive", shown, "is given twice")
                    self.files[shown] = path
            folders[:] = sorted(name for name in folders if _unfit(at / name) is None)
            if len(self.files) > _MOST_FILES:
                return  # as much as is needed to tell that it is too much


def _unfit(path: Path) -> str | None:
    """Why a part of the code is not packed."""
    name = path.name
    if path.is_symlink():
        return "is a link"
    if name.startswith("."):
        return "is hidden"
    if name in _LEFT_OUT_FOLDERS or name.endswith(_LEFT_OUT_SUFFIXES):
        return "was left behind by Python, an editor or the system"
    if not path.is_dir() and not path.is_file():
        return "is no plain file"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    return None


def _write_zip(path: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED, 9)
