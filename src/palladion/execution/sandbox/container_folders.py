"""The folders of this machine that containers show: those of a sandbox, and those of each data point.

What is shown lies under neutral names in a workspace: as root in file systems in memory, so that neither names nor
numbers of files tell where they come from, and the scratch space has a size; as an ordinary user in plain folders,
whose size is watched.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import palladion
from palladion.errors import ExecutionError
from palladion.execution.interpreter import Interpreter, Link
from palladion.execution.sandbox import kernel
from palladion.execution.sandbox.answers import read_answer
from palladion.execution.sandbox.contract import Bind, Contents, Limits
from palladion.execution.staging import copy_open, remove_tree, workspace

__all__ = ["BASE", "ENVIRONMENT", "PACKAGE", "RESULT", "UID", "Mount", "Place", "Stage", "remove_leftover_mounts"]

UID = 1000
"""The user that a submission is, as it sees itself."""

BASE, ENVIRONMENT, PACKAGE = PurePosixPath("/opt/python"), PurePosixPath("/opt/environment"), "/opt/palladion"
"""Where the Python, its virtual environment, and this package are."""

RESULT = "result.txt"

_COPIED_BYTES = 256 << 20
_INODES = 200_000
_UMOUNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_WORKSPACE = re.compile(r"/palladion-run-[a-z0-9_]{8}(?=/|$)")
_FOLDERS = ("usr", "etc", "proc", "dev", "sys", "run", "tmp", "var", "var/tmp", "data", "box", "box/scratch", "opt")
_FILES = {
    "etc/passwd": f"detector:x:{UID}:{UID}::/box/scratch:/bin/sh\n",
    "etc/group": f"detector:x:{UID}:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/hostname": "sandbox\n",
    "etc/resolv.conf": "",
    "run/.containerenv": "",
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of this machine that a container shows.

    Attributes:
        source: where it is here.
        target: where it is there.
        writable: whether it can be written to.
    """

    source: Path
    target: str
    writable: bool = False


class Stage:
    """Where a sandbox keeps what all its containers show.

    Args:
        contents: what the sandbox holds besides the data points.
        owner: the number that the submission's user has on this machine.

    Raises:
        InputError: a folder of the submission holds links or special files.
        ExecutionError: it cannot be laid out.
    """

    def __init__(self, contents: Contents, owner: int) -> None:
        self._owner = owner
        self._exit = contextlib.ExitStack()
        self._in_memory = os.geteuid() == 0
        try:
            self._open(contents)
        except OSError as error:
            self.close()
            raise ExecutionError(f"the containers' folders cannot be laid out: {error}") from None
        except BaseException:
            self.close()
            raise

    def _open(self, contents: Contents) -> None:
        self.folder = self._exit.enter_context(workspace(public=True)) / "s"
        self.folder.mkdir()
        if self._in_memory:
            kernel.mount("none", str(self.folder), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=711")
            self._exit.callback(_unmount, self.folder)
        else:
            # Others may pass, as the container's user does, but not look around.
            self.folder.chmod(0o711)
        self.mounts: list[Mount] = []
        self.root: Path | None = None
        if contents.image is None:
            assert contents.interpreter is not None
            self._furnish(contents.interpreter)
        for bind in contents.binds:
            self._show_bind(bind)

    def _furnish(self, interpreter: Interpreter) -> None:
        """Make a root folder in which a Python runs."""
        self.root = root = self.folder / "r"
        root.mkdir()
        for name in _FOLDERS:
            (root / name).mkdir()
        for name, text in _FILES.items():
            (root / name).write_text(text)
        (root / "etc" / "mtab").symlink_to("/proc/mounts")
        self.mounts.append(Mount(Path("/usr"), "/usr"))
        for name in ("lib", "lib32", "lib64", "bin", "sbin"):
            here = Path("/", name)
            if here.is_symlink():
                (root / name).symlink_to(f"usr/{name}")
            elif here.is_dir():
                (root / name).mkdir()
                self.mounts.append(Mount(here, f"/{name}"))
        if Path("/etc/ld.so.cache").is_file():
            shutil.copyfile("/etc/ld.so.cache", root / "etc" / "ld.so.cache")
        if Path("/etc/alternatives").is_dir():
            shutil.copytree("/etc/alternatives", root / "etc" / "alternatives", symlinks=True)
        for path, content in interpreter.files(BASE, ENVIRONMENT).items():
            place = root / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                place.symlink_to(content.target)
            else:
                place.write_text(content)
        for source, target in interpreter.mounts(BASE, ENVIRONMENT):
            self._show(source, str(target))
        self._show(Path(palladion.__file__).resolve().parent, f"{PACKAGE}/palladion")

    def _show_bind(self, bind: Bind) -> None:
        target = f"/{bind.name}"
        source = bind.source.resolve()
        if bind.writable:
            if self._in_memory:
                _give_to(source, self._owner)
            self._add(Mount(source, target, writable=True))
        elif _size(source) <= _COPIED_BYTES:
            copy = self.folder / f"c{len(self.mounts)}"
            copy.mkdir()
            copy_open(source, copy, into=True)
            self._add(Mount(copy, target))
        else:
            self._show(source, target)

    def _show(self, source: Path, target: str) -> None:
        """A folder of this machine, so that its path here cannot be read inside, where that is possible.

        As root it is shown through an overlay: a bind mount would tell its source to everybody who reads
        /proc/self/mountinfo, and an overlay tells the names by which it was made, here those of descriptors.
        """
        if self._in_memory:
            staged, empty = self.folder / f"b{len(self.mounts)}", self.folder / "e"
            staged.mkdir()
            empty.mkdir(exist_ok=True)
            flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
            lower = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, empty)]
            try:
                names = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in lower)
                kernel.mount("none", str(staged), "overlay", flags, f"lowerdir={names}")
                source = staged
            except OSError:
                pass  # no overlay on this file system: it is shown as it is, and the probes say so
            finally:
                for descriptor in lower:
                    os.close(descriptor)
        self._add(Mount(source, target))

    def _add(self, mount: Mount) -> None:
        self.mounts.append(mount)
        if self.root is not None:
            (self.root / mount.target.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def place(self, data: Path | None, limits: Limits) -> "Place":
        """Folders of one data point. Raises InputError, OSError."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(0o711)
        try:
            return Place(folder, data, limits, self._owner, in_memory=self._in_memory)
        except BaseException:
            _empty(folder)
            raise

    def close(self) -> None:
        """Remove it."""
        self._exit.close()


class Place:
    """The folders of one data point: ``data``, read-only, and ``work``.

    Args:
        folder: an empty folder to make them in.
        data: what to copy.
        limits: of the data point.
        owner: the number of the submission's user.
        in_memory: make file systems in memory for them; this takes root.
    """

    def __init__(self, folder: Path, data: Path | None, limits: Limits, owner: int, *, in_memory: bool) -> None:
        self.data, self.work = folder / "d", folder / "w"
        self._folder, self._limits, self._in_memory = folder, limits, in_memory
        self._lock = threading.Lock()
        self._closed = False
        self.data.mkdir(0o755)
        self.work.mkdir(0o700)
        if not in_memory:
            if data is not None:
                copy_open(data, self.data, into=True)
            self._handle = os.open(self.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._subfolders(None)
            return
        source = kernel.new_tmpfs(size="0", mode="0555")
        try:
            if data is not None:
                # Into the empty root itself: what is copied there has the names that open/ has.
                copy_open(data, Path(f"/proc/self/fd/{source}"), into=True)
            kernel.make_read_only(source)
            kernel.attach(source, str(self.data))
        finally:
            os.close(source)
        self._handle = kernel.new_tmpfs(
            size=str(limits.scratch_bytes), nr_inodes=str(_INODES), mode="0700", uid=str(owner), gid=str(owner)
        )
        try:
            self._subfolders(owner)
            kernel.attach(self._handle, str(self.work))
        except BaseException:
            os.close(self._handle)
            raise

    def _subfolders(self, owner: int | None) -> None:
        for name in ("scratch", "tmp", "shm"):
            os.mkdir(name, 0o700, dir_fd=self._handle)
            if owner is not None:
                os.chown(name, owner, owner, dir_fd=self._handle)

    def mounts(self) -> tuple[Mount, ...]:
        """What a container shows of it."""
        return (
            Mount(self.data, "/data"),
            Mount(self.work, "/box", writable=True),
            Mount(self.work / "tmp", "/tmp", writable=True),  # noqa: S108 - the sandbox's own
            Mount(self.work / "tmp", "/var/tmp", writable=True),  # noqa: S108
            Mount(self.work / "shm", "/dev/shm", writable=True),  # noqa: S108
        )

    def used(self) -> tuple[int, bool]:
        """Bytes of the scratch space that are used, and whether it is full."""
        if self._in_memory:
            files = os.statvfs(self._handle)
            return (files.f_blocks - files.f_bfree) * files.f_frsize, files.f_bavail == 0 or files.f_favail == 0
        return 0, _is_full(self.work, self._limits.scratch_bytes, _INODES)

    def answer(self) -> tuple[str | None, str | None]:
        """The text of the result file, and what is wrong with it; see ``Ended``."""
        try:
            return read_answer(self._handle, RESULT), None
        except ValueError as error:
            return None, str(error)

    def close(self) -> None:
        """Remove it; again is no harm."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        os.close(self._handle)
        _empty(self._folder)


def remove_leftover_mounts() -> None:
    """Remove what was left mounted by processes that were killed before they could, and their workspaces."""
    if os.geteuid() != 0:
        return
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # Blanks in a path are written as \040; such a workspace is left alone.
        path = line.split()[4]
        match = _WORKSPACE.search(path)
        if match is None or path != f"{path[: match.end()]}/s":
            continue
        root = Path(path).parent
        handle = _take(root)
        if handle is not None:
            _unmount(Path(path))
            remove_tree(root)
            os.close(handle)


def _empty(folder: Path) -> None:
    """Remove the folder of a place with what is mounted in it."""
    for name in ("d", "w"):
        _unmount(folder / name)
    remove_tree(folder)


def _take(root: Path) -> int | None:
    """Lock a workspace, as its owner did; None where that lives, or somebody else is removing it at this moment."""
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except BlockingIOError:
        pass
    os.close(handle)
    return None


def _unmount(target: Path) -> None:
    """Take away what is mounted on a folder, and below, if anything is; who still uses it can go on."""
    ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(target), _UMOUNT_DETACH | _UMOUNT_NOFOLLOW)


def _give_to(folder: Path, owner: int) -> None:
    """Let a folder and all in it belong to a user."""
    os.chown(folder, owner, owner)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), owner, owner, follow_symlinks=False)


def _is_full(folder: Path, most_bytes: int, most_files: int) -> bool:
    """Whether there is as much in a folder as may be. Looks no further once that is clear: somebody is filling it."""
    size = count = 0
    for root, folders, names in os.walk(folder):
        count += len(folders) + len(names)
        for name in names:
            with contextlib.suppress(OSError):  # it may vanish meanwhile
                size += Path(root, name).lstat().st_size
        if size >= most_bytes or count >= most_files:
            return True
    return False


def _size(folder: Path) -> int:
    return sum(Path(root, name).lstat().st_size for root, _, names in os.walk(folder) for name in names)
