"""Put a model's files where they belong: all of them or none, and never through a link."""

import filecmp
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path, PurePosixPath

from palladion.errors import InputError, PalladionError
from palladion.rounds.factory import PARTIAL

__all__ = ["Content", "add_file", "check_plain", "difference", "listing", "open_plain", "place", "remove_unfinished"]

Content = Path | bytes | Callable[[Path], None]
"""Where a file comes from: another file, these bytes, or a function that writes it to the path it is given."""

_MAXIMUM_FILES, _MAXIMUM_DEPTH = 200_000, 16
_MAXIMUM_FILE_BYTES = 1 << 40
_BLOCK = 1 << 22


def check_plain(path: Path) -> os.stat_result:
    """See that a path is a plain file of a sane size, and no link to one.

    Raises:
        InputError: it is not.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    if stat.S_ISLNK(status.st_mode):
        raise InputError("is a link; links are not followed: put the file itself here", path=path)
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a plain file", path=path)
    if status.st_size > _MAXIMUM_FILE_BYTES:
        raise InputError("is larger than 1 TiB", path=path)
    return status


def listing(folder: Path) -> dict[PurePosixPath, Path]:
    """Every file below a folder by its path in there, in the order of the names.

    Raises:
        InputError: something is a link, a special file or has a name that cannot be printed, or there is too much.
    """
    found: dict[PurePosixPath, Path] = {}
    waiting = [PurePosixPath()]
    while waiting:
        inner = waiting.pop()
        if len(inner.parts) > _MAXIMUM_DEPTH:
            raise InputError(f"lies more than {_MAXIMUM_DEPTH} folders deep", path=folder / inner)
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                path = folder / inner / entry.name
                if not entry.name.isprintable():
                    raise InputError(f"holds the name {entry.name!r}, which cannot be printed", path=folder / inner)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(inner / entry.name)
                    continue
                check_plain(path)
                found[inner / entry.name] = path
                if len(found) > _MAXIMUM_FILES:
                    raise InputError(f"holds more than {_MAXIMUM_FILES} files", path=folder)
    return dict(sorted(found.items()))


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file to read it; what turns into a link meanwhile is not followed.

    Raises:
        InputError: it is no plain file.
        OSError: it cannot be opened.
    """
    check_plain(path)
    # Without O_NONBLOCK, opening what has become a named pipe would wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError("is not a plain file", path=path)
    return os.fdopen(handle, "rb")


def _copy(source: Path, target: Path) -> None:
    """Copy one plain file. Raises as :func:`open_plain`."""
    with open_plain(source) as read, target.open("xb") as write:
        shutil.copyfileobj(read, write, _BLOCK)


def place(files: Mapping[PurePosixPath, Content], directory: Path, *, link: bool = False) -> None:
    """Make a directory with these files. It is filled under another name and renamed when it is complete.

    Args:
        files: each file's content, by its path in the directory.
        directory: must not be there yet; its parent must.
        link: give files a second name (a hard link) instead of a copy.

    Raises:
        InputError: a file to be copied is no plain file, or cannot be linked.
        PalladionError: the directory cannot be written.
    """
    try:
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise PalladionError(f"{directory}: cannot be made: {error.strerror or error}") from None
    try:
        for inner, content in files.items():
            target = partial / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            elif not isinstance(content, Path):
                content(target)
            elif link:
                check_plain(content)
                _link(content, target)
            else:
                _copy(content, target)
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes private folders
        partial.rename(directory)
    except OSError as error:
        # A disk that is full names no file.
        raise PalladionError(f"{error.filename or directory}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there is none any more where all went well


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        raise InputError(f"cannot be linked ({error.strerror}); use --copy", path=source) from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def difference(files: Mapping[PurePosixPath, Content], directory: Path) -> str | None:
    """What a directory has other than these files, by names and sizes; None where it is the same.

    Raises:
        InputError: the directory holds links or special files.
    """
    there = listing(directory)
    for inner in sorted(set(files) ^ set(there)):
        return f"{inner} is {'missing' if inner in files else 'not part of it'}"
    for inner, content in files.items():
        size = there[inner].lstat().st_size
        wanted = (
            len(content)
            if isinstance(content, bytes)
            else check_plain(content).st_size
            if isinstance(content, Path)
            else size
        )
        if size != wanted:
            return f"{inner} has {size} bytes, not {wanted}"
    return None


def add_file(source: Path, target: Path) -> None:
    """Copy a file that splits of a round have in common, or see that it is there already.

    Raises:
        InputError: it is no plain file, or another file is there.
        PalladionError: it cannot be written.
    """
    check_plain(source)
    if target.is_symlink() or target.exists():
        if target.is_symlink() or not filecmp.cmp(source, target, shallow=False):
            raise InputError(f"is another file than {source}; the splits of a round have it in common", path=target)
        return
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        _copy(source, unfinished)
        unfinished.rename(target)
    except OSError as error:
        raise PalladionError(f"{error.filename or target}: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a :func:`place` that was killed has left in a folder."""
    for leftover in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)
