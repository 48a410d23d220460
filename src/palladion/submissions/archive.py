"""Unpack submissions that come as zip or tar archives, without trusting anything that an archive says of itself.

Names are checked before anything is written, bytes are counted while they are inflated, and what was unpacked
appears all at once or not at all.
"""

import contextlib
import errno
import gzip
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from palladion.errors import InputError, PalladionError
from palladion.submissions.submission import Submission

__all__ = ["EntryFault", "Limits", "opened", "unpack", "unpack_as_it_is", "zip_names"]

_CHUNK = 1 << 16
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
# What macOS adds to archives; no part of a submission.
_LEFT_OUT = frozenset({"__MACOSX", ".DS_Store"})
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Control and format characters, halves of surrogate pairs, line and paragraph separators: they hide what a name is.
_HIDING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        entries: files and folders.
        total_bytes: bytes of all files.
        ratio: how many times its packed size a file may have; does not count for the first ``ratio_free_bytes``.
        ratio_free_bytes: see ``ratio``.
        directory_bytes: size of a zip archive's table of contents, and of one header of a tar archive.
        depth: folders within each other.
        name_bytes: length of a name with its folders.
    """

    entries: int = 10_000
    total_bytes: int = 8 << 30
    ratio: int = 200
    ratio_free_bytes: int = 10 << 20
    directory_bytes: int = 4 << 20
    depth: int = 32
    name_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class EntryFault:
    """An entry of an archive that may not be unpacked.

    Attributes:
        name: of the entry, as the archive has it; it may hold anything.
        message: what is wrong, with the name in a form that can be printed.
    """

    name: str
    message: str


@contextlib.contextmanager
def opened(submission: Path | str, limits: Limits | None = None) -> Iterator[Submission]:
    """The submission in a folder, an image or an archive, or the reference detector of this name.

    An archive is unpacked to a temporary folder, which is removed at the end.

    Raises:
        InputError: as :meth:`Submission.load` and :func:`unpack`.
    """
    path = Path(submission)
    suffix = next((end for end in _SUFFIXES if path.name.lower().endswith(end)), None)
    if suffix is None or not path.is_file():
        yield Submission.load(submission)
        return
    with tempfile.TemporaryDirectory(prefix="palladion-submission-") as root:
        target = Path(root) / (path.name[: -len(suffix)] or "submission")
        unpack(path, target, limits)
        yield Submission.load(target)


def unpack(archive: Path, target: Path, limits: Limits | None = None) -> None:
    """Unpack a zip, tar or tar.gz archive to the new folder ``target``.

    A single folder around everything else is left out. Files get the mode 0644, folders 0755, and all of them the
    time 0.

    Raises:
        InputError: the archive is damaged, or holds what a submission may not; then nothing is left of it.
        PalladionError: ``target`` cannot be written.
    """
    _unpack_to(archive, target, limits or Limits(), None)


def unpack_as_it_is(archive: Path, target: Path, limits: Limits | None = None) -> list[EntryFault]:
    """Unpack a zip archive to the new folder ``target``, with everything where and as it is in the archive.

    No folder is left out, and nothing that macOS added. An entry that may not be unpacked is left out and told, so that
    all of them can be told at once. Modes and times are those of :func:`unpack`.

    Raises:
        InputError: the archive is damaged as a whole, no zip archive, or holds more than it may.
        PalladionError: ``target`` cannot be written.
    """
    faults: list[EntryFault] = []
    _unpack_to(archive, target, limits or Limits(), faults)
    return faults


def zip_names(archive: Path, limits: Limits | None = None) -> list[str]:
    """The names in a zip archive's table of contents, as it has them: they may hold anything.

    Raises:
        InputError: it is damaged, no zip archive, or its table of contents is too large.
    """
    limits = limits or Limits()
    with (
        _told(archive),
        _plain(archive) as file,
        zipfile.ZipFile(_CappedFile(file, archive, limits.directory_bytes)) as contents,
    ):
        return [entry.filename for entry in contents.infolist()]


def _unpack_to(archive: Path, target: Path, limits: Limits, faults: list[EntryFault] | None) -> None:
    if os.path.lexists(target):
        raise InputError("is there already; an archive is unpacked to a new folder", path=target)
    with _told(archive), _plain(archive) as file:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}.", dir=target.parent))
        try:
            _unpack(file, archive, temporary / "all", limits, faults)
            _publish(temporary / "all", target, archive, as_it_is=faults is not None)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _plain(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError("is no plain file", path=archive)
        yield file


@contextlib.contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Whatever goes wrong with an archive, in words."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # a strange file can make the libraries below raise anything
        # What they are made to ask of the file system is at fault then, not the file system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            where = error.filename or archive
            raise PalladionError(f"{where}: cannot be unpacked: {error.strerror}") from None
        what = ascii(str(error)[:200]).strip("'\"")
        raise InputError(f"is damaged, or is no archive: {what or type(error).__name__}", path=archive) from None


def _unpack(file: IO[bytes], archive: Path, root: Path, limits: Limits, faults: list[EntryFault] | None) -> None:
    size = os.fstat(file.fileno()).st_size
    start = file.read(512)
    file.seek(0)
    writer = _Writer(archive, root, size, limits, left_out=frozenset() if faults is not None else _LEFT_OUT)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _unpack_zip(file, archive, writer, limits, faults)
    elif faults is not None:
        raise InputError("is no zip archive; pack these files as a .zip", path=archive)
    elif start.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=file, mode="rb") as inflated:
            _unpack_tar(inflated, archive, writer, size, limits)
    elif start[257:262] == b"ustar":
        _unpack_tar(file, archive, writer, size, limits)
    else:
        raise InputError("is neither a zip nor a tar nor a tar.gz archive", path=archive)


def _unpack_zip(
    file: IO[bytes], archive: Path, writer: "_Writer", limits: Limits, faults: list[EntryFault] | None
) -> None:
    capped = _CappedFile(file, archive, limits.directory_bytes)
    # Reads the whole table of contents at once, hence the cap.
    with zipfile.ZipFile(capped) as contents:
        entries = contents.infolist()
        if len(entries) > limits.entries:
            raise InputError(f"holds {len(entries)} entries; {limits.entries} is the most", path=archive)
        # All names before anything is written.
        claimed = []
        for entry in entries:
            with _entry_told(entry, faults):
                place = writer.claim(_zip_name(entry, archive), folder=entry.is_dir())
                _check_packing(entry, archive)
                claimed.append((entry, place))
        for entry, place in claimed:
            if entry.is_dir():
                writer.folder(place)
                continue
            with _damage_told(entry, place, writer, faults), contents.open(entry) as content:
                writer.file(place, content, entry.compress_size)


def _check_packing(entry: zipfile.ZipInfo, archive: Path) -> None:
    name = _shown(entry.filename)
    if entry.flag_bits & _ENCRYPTED:
        raise InputError(f"{name} is encrypted", path=archive)
    if entry.compress_type not in _METHODS:
        raise InputError(f"{name} is packed by an unusual method; use the usual one (deflate)", path=archive)
    if entry.is_dir() and entry.file_size:
        raise InputError(f"{name} is a folder with content", path=archive)


@contextlib.contextmanager
def _entry_told(entry: zipfile.ZipInfo, faults: list[EntryFault] | None) -> Iterator[None]:
    """Where faults are gathered, an entry at fault is told, and the next one is looked at."""
    try:
        yield
    except InputError as error:
        if faults is None:
            raise
        faults.append(EntryFault(entry.orig_filename, error.problem))


@contextlib.contextmanager
def _damage_told(
    entry: zipfile.ZipInfo, place: tuple[str, ...] | None, writer: "_Writer", faults: list[EntryFault] | None
) -> Iterator[None]:
    """The same for what only shows when an entry is inflated; limits end it all."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        if faults is None:
            raise
        writer.remove(place)
        faults.append(EntryFault(entry.orig_filename, f"{_shown(entry.filename)} is damaged; pack it anew"))


def _zip_name(entry: zipfile.ZipInfo, archive: Path) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise InputError(f"{_shown(entry.filename)} is a link; pack plain files and folders only", path=archive)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{_shown(entry.filename)} is no plain file; pack plain files and folders only", path=archive)
    if (kind == stat.S_IFDIR) is not entry.is_dir() and kind != 0:
        raise InputError(f"{_shown(entry.filename)} is said to be both a file and a folder", path=archive)
    if entry.orig_filename != entry.filename:
        # zipfile cuts names at a zero byte.
        raise InputError(f"the name {_shown(entry.orig_filename)} has a control character in it", path=archive)
    return entry.filename


def _unpack_tar(file: IO[bytes] | gzip.GzipFile, archive: Path, writer: "_Writer", packed: int, limits: Limits) -> None:
    # Each entry has headers of its own, of a few blocks at most.
    most = limits.total_bytes + limits.entries * 8192 + (1 << 20)
    forward = _Forward(file, archive, limits.directory_bytes, most, max(packed * limits.ratio, limits.ratio_free_bytes))
    with tarfile.open(fileobj=forward, mode="r:") as contents:
        for count, entry in enumerate(contents, 1):
            if count > limits.entries:
                raise InputError(f"holds more than {limits.entries} entries", path=archive)
            name = entry.name
            if entry.issym() or entry.islnk():
                raise InputError(f"{_shown(name)} is a link; pack plain files and folders only", path=archive)
            if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or entry.issparse():
                raise InputError(f"{_shown(name)} is no plain file; pack plain files and folders only", path=archive)
            if name in (".", "./") and entry.isdir():
                continue  # what `tar -C folder .` begins with
            place = writer.claim(name, folder=entry.isdir())
            if entry.isdir():
                writer.folder(place)
                continue
            content = contents.extractfile(entry)
            assert content is not None
            writer.file(place, content, None)
    # tarfile takes the first block that is no header for the end; a whole archive ends with blocks of zeros.
    whole = forward.last.count(0) == tarfile.BLOCKSIZE
    while whole and (rest := forward.read(_CHUNK)):
        whole = not rest.strip(b"\0")
    if not whole:
        raise InputError("is damaged: it is cut off, or the next entry is none", path=archive)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Writer:
    """Writes below one folder, after checking names against all that came before."""

    def __init__(self, archive: Path, root: Path, packed: int, limits: Limits, *, left_out: frozenset[str]) -> None:
        self._archive, self._root, self._packed, self._limits = archive, root, packed, limits
        self._left_out = left_out
        self._written = 0
        # How each path is spelt, whether it is a folder, and whether it had an entry of its own.
        self._claimed: dict[tuple[str, ...], tuple[tuple[str, ...], bool, bool]] = {}
        root.mkdir(mode=0o755)

    def claim(self, name: str, *, folder: bool) -> tuple[str, ...] | None:
        """The parts of a name that is fit to be written; None for what is left out.

        Raises:
            InputError: the name leads elsewhere, or two names come to the same.
        """
        parts = self._parts(name)
        for depth in range(1, len(parts) + 1):
            part, last = parts[:depth], depth == len(parts)
            key = tuple(_folded(word) for word in part)
            before = self._claimed.get(key)
            if before is None:
                self._claimed[key] = (part, folder or not last, last)
                continue
            spelt, is_folder, own = before
            if spelt != part:
                raise self._refused(name, f"differs from {_shown('/'.join(spelt))} only by case or by accents' codes")
            if is_folder is not (folder or not last):
                raise self._refused(name, f"needs {_shown('/'.join(part))} to be both a file and a folder")
            if last:
                if own:
                    raise self._refused(name, "is there twice")
                self._claimed[key] = (part, is_folder, True)
        return None if self._left_out & set(parts) else parts

    def folder(self, place: tuple[str, ...] | None) -> None:
        if place is not None:
            self._root.joinpath(*place).mkdir(parents=True, exist_ok=True)

    def file(self, place: tuple[str, ...] | None, content: _Readable, packed: int | None) -> None:
        """Write a file; also what is left out is read, as it counts."""
        if place is None:
            self._copy(content, None, packed, "")
            return
        path = self._root.joinpath(*place)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            self._copy(content, file, packed, "/".join(place))

    def remove(self, place: tuple[str, ...] | None) -> None:
        """Take back what was written of a file."""
        if place is not None:
            self._root.joinpath(*place).unlink(missing_ok=True)

    def _copy(self, content: _Readable, file: IO[bytes] | None, packed: int | None, name: str) -> None:
        size = 0
        limits = self._limits
        while data := content.read(_CHUNK):
            size += len(data)
            self._written += len(data)
            if self._written > limits.total_bytes:
                raise InputError(f"holds more than {limits.total_bytes:,} bytes when unpacked", path=self._archive)
            for what, whole, part in (
                ("the archive", self._written, self._packed),
                (_shown(name), size, self._packed if packed is None else packed),
            ):
                if whole > limits.ratio_free_bytes and whole > limits.ratio * part:
                    raise InputError(
                        f"{what} unpacks to more than {limits.ratio} times its size; leave out what is only padding",
                        path=self._archive,
                    )
            if file is not None:
                file.write(data)

    def _parts(self, name: str) -> tuple[str, ...]:
        limits = self._limits
        if "\\" in name:
            raise self._refused(name, "has a backslash in it; write folders with /")
        if name.startswith("/") or _DRIVE.match(name):
            raise self._refused(name, "is absolute; pack names that are relative")
        if any(unicodedata.category(character) in _HIDING for character in name):
            raise self._refused(name, "has a control character in it, or is not UTF-8")
        if len(name.encode()) > limits.name_bytes:
            raise self._refused(name, f"is longer than {limits.name_bytes} bytes")
        parts = tuple(name.removeprefix("./").removesuffix("/").split("/"))
        if ".." in parts:
            raise self._refused(name, "leads out of the folder by '..'")
        if any(part in ("", ".") for part in parts):
            raise self._refused(name, "has an empty part in it")
        if any(len(part.encode()) > 255 for part in parts):
            raise self._refused(name, "has a part of more than 255 bytes")
        if len(parts) > limits.depth:
            raise self._refused(name, f"lies more than {limits.depth} folders deep")
        return parts

    def _refused(self, name: str, why: str) -> InputError:
        return InputError(f"the name {_shown(name)} {why}", path=self._archive)


class _CappedFile(io.RawIOBase):
    """A file that refuses to be read in pieces larger than a limit: what an archive declares is no reason to."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, archive: Path, most: int) -> None:
        super().__init__()
        self._file, self._archive, self._most = file, archive, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        asked = self._most + 1 if size is None or size < 0 else size
        if not whole and asked > self._most:
            raise self._too_large()
        data = self._file.read(asked)
        if len(data) > self._most:
            raise self._too_large()
        return data

    def _too_large(self) -> InputError:
        return InputError(
            f"has a table of contents, or a header, of more than {self._most:,} bytes", path=self._archive
        )


class _Forward(_CappedFile):
    """The same for a stream that is only read forward, with a limit on how far."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, archive: Path, most: int, end: int, ratio_end: int) -> None:
        super().__init__(file, archive, most)
        self._place, self._end, self._ratio_end = 0, end, ratio_end
        self.last = b""  # what was read last

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence != os.SEEK_SET or offset < self._place:
            raise InputError("is damaged: a header leads backwards", path=self._archive)
        while self._place < offset:
            if not self.read(min(_CHUNK, offset - self._place)):
                break
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        data = self.last = super().read(size)
        self._place += len(data)
        if self._place > self._end:
            raise InputError("holds more bytes than it may when unpacked", path=self._archive)
        if self._place > self._ratio_end:
            raise InputError("unpacks to far more than its size; leave out what is only padding", path=self._archive)
        return data


def _publish(unpacked: Path, target: Path, archive: Path, *, as_it_is: bool) -> None:
    if not as_it_is:
        inside = list(unpacked.iterdir())
        if not inside:
            raise InputError("holds nothing", path=archive)
        if len(inside) == 1 and inside[0].is_dir():
            unpacked = inside[0]
    for root, _, names in os.walk(unpacked, topdown=False):
        for name in names:
            path = Path(root, name)
            path.chmod(0o644)
            os.utime(path, (0, 0))
        Path(root).chmod(0o755)
        os.utime(root, (0, 0))
    unpacked.rename(target)


def _folded(name: str) -> str:
    """The same for all names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else name[:77] + "...")
