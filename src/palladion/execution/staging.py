"""Copies that say nothing but what is in them, and fresh folders to put them in.

Neither the path nor the times of the files tell which model a copy of ``open/`` is of. Sealed files are never copied:
they do not lie below ``open/``.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from palladion.errors import InputError

__all__ = ["copy_open", "remove_leftovers", "remove_tree", "workspace"]

_PREFIX = "palladion-run-"
_WORKSPACE = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # mkdtemp's names
_LONG_PATH, _SHORT_BASE = 40, "/tmp"  # noqa: S108 - only a base for a folder with a random name


@contextlib.contextmanager
def workspace(*, short: bool = False, public: bool = False) -> Iterator[Path]:
    """A fresh folder; it is removed at the end, whatever is in it by then.

    Args:
        short: it is for small files, and its path must be short: the path of a socket has 107 bytes at most, and
            Python's worker processes meet at one that lies 36 deeper.
        public: other users must be able to reach it.
    """
    base = tempfile.gettempdir()
    if public and not all(folder.stat().st_mode & stat.S_IXOTH for folder in (Path(base), *Path(base).parents)):
        base = _SHORT_BASE
    if short and len(base) > _LONG_PATH and os.access(_SHORT_BASE, os.W_OK):
        base = _SHORT_BASE
    while True:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        handle = _hold(root)
        if handle is not None:
            break  # else it was taken for a leftover before it could be held
    try:
        if public:
            root.chmod(0o755)
        yield root
    finally:
        remove_tree(root)
        os.close(handle)


def remove_leftovers() -> None:
    """Remove the workspaces of processes that were killed before they could; those in use are held by a lock."""
    for base in {tempfile.gettempdir(), _SHORT_BASE}:
        for root in Path(base).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                if not _WORKSPACE.fullmatch(root.name) or root.lstat().st_uid != os.geteuid():
                    continue
                handle = _hold(root)
                if handle is not None:
                    remove_tree(root)
                    os.close(handle)


def _hold(root: Path) -> int | None:
    """Lock a workspace for as long as the descriptor is open; None if another process holds it or has removed it."""
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if root.exists():
            return handle
    except BlockingIOError:
        pass
    os.close(handle)
    return None


def copy_open(source: Path, target: Path, *, into: bool = False) -> None:
    """Copy a folder in the order of the names, with all times set to 1970.

    Args:
        source: what to copy.
        target: the copy.
        into: the target is there already; everybody may read what is put into it, and nobody write.

    Raises:
        InputError: the folder is missing, or holds a link or a special file.
    """
    try:
        if not into:
            target.mkdir()
        for name in sorted(os.listdir(source)):  # noqa: PTH208 - names are what is needed
            path, copy = source / name, target / name
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if into:
                    copy.mkdir()
                copy_open(path, copy, into=into)
            elif stat.S_ISREG(mode):
                shutil.copyfile(path, copy, follow_symlinks=False)
                if into:
                    copy.chmod(0o444)
                os.utime(copy, ns=(0, 0))
            else:
                raise InputError("is a link or a special file; a round holds plain files and folders", path=path)
        if into:
            target.chmod(0o555)
        os.utime(target, ns=(0, 0))
    except FileNotFoundError as error:
        raise InputError("there is no such file or folder", path=error.filename) from None
    except NotADirectoryError as error:
        raise InputError("is not a folder", path=error.filename) from None


def remove_tree(root: Path) -> None:
    """Remove a folder, also where a submission has taken the permissions away from what is in it.

    What a link leads to is left alone: of a link in the folder's place, the link is removed.
    """
    if root.is_symlink():
        root.unlink()
        return
    for _ in range(2):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        # Walks top down, so that each folder can be entered once its own permissions are back.
        for folder, folders, _files in os.walk(root, followlinks=False):
            for name in ("", *folders):
                path = Path(folder, name)
                if not path.is_symlink():
                    with contextlib.suppress(OSError):
                        path.chmod(0o700)
