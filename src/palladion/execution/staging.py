"""What a submission gets to see of one data point: a copy of its open folder, under names that say nothing.

::

    <fresh folder>/active/      copy of open/; here the submission leaves result.txt
    <fresh folder>/scratch/     empty

Neither the path nor the times of the files tell which model it is. Sealed files are never copied: they do not lie
below ``open/``.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import InputError
from palladion.models.round_directory import CLEAN_EXAMPLES, MODEL
from palladion.submissions import DataPointPaths

__all__ = ["RESULT", "Staged", "copy_open", "remove_leftovers", "remove_tree", "staged", "workspace"]

RESULT = "result.txt"
_PREFIX = "palladion-run-"
_WORKSPACE = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # mkdtemp's names
_LONG_PATH, _SHORT_BASE = 40, "/tmp"  # noqa: S108 - only a base for a folder with a random name


@dataclass(frozen=True, slots=True)
class Staged:
    """One staged data point.

    Attributes:
        root: the fresh folder.
        active: the folder with the copy.
        scratch: the empty folder.
    """

    root: Path
    active: Path
    scratch: Path

    @property
    def paths(self) -> DataPointPaths:
        """The paths as the submission is given them."""
        return DataPointPaths(self.active / MODEL, self.active / CLEAN_EXAMPLES, self.active / RESULT, self.scratch)


@contextlib.contextmanager
def workspace(*, short: bool = False) -> Iterator[Path]:
    """A fresh folder; it is removed at the end, whatever is in it by then.

    Args:
        short: it is for small files, and its path must be short: the path of a socket has 107 bytes at most, and
            Python's worker processes meet at one that lies 36 deeper.
    """
    base = tempfile.gettempdir()
    if short and len(base) > _LONG_PATH and os.access(_SHORT_BASE, os.W_OK):
        base = _SHORT_BASE
    while True:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        handle = _hold(root)
        if handle is not None:
            break  # else it was taken for a leftover before it could be held
    try:
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


@contextlib.contextmanager
def staged(source: Path) -> Iterator[Staged]:
    """Copy an ``open/`` folder into a :func:`workspace`.

    Raises:
        InputError: ``open/`` is missing, or holds a link or a special file.
    """
    with workspace() as root:
        scratch = root / "scratch"
        scratch.mkdir()
        copy_open(source, root / "active")
        yield Staged(root, root / "active", scratch)


def copy_open(source: Path, target: Path) -> None:
    """Copy a folder in the order of the names, with all times set to 1970. Raises as :func:`staged`."""
    try:
        target.mkdir()
        for name in sorted(os.listdir(source)):  # noqa: PTH208 - names are what is needed
            path, copy = source / name, target / name
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                copy_open(path, copy)
            elif stat.S_ISREG(mode):
                shutil.copyfile(path, copy, follow_symlinks=False)
                os.utime(copy, ns=(0, 0))
            else:
                raise InputError("is a link or a special file; a round holds plain files and folders", path=path)
        os.utime(target, ns=(0, 0))
    except FileNotFoundError as error:
        raise InputError("there is no such file or folder", path=error.filename) from None
    except NotADirectoryError as error:
        raise InputError("is not a folder", path=error.filename) from None


def remove_tree(root: Path) -> None:
    """Remove a folder, also where a submission has taken the permissions away from what is in it."""
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
