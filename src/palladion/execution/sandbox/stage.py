"""What a sandbox of bubblewrap shows besides the data points, laid out in a folder; bubblewrap's arguments for it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palladion.execution.sandbox import kernel
from palladion.execution.staging import copy_open

__all__ = ["UID", "Stage"]

UID = 1000
"""The user that a submission is, as it sees itself."""

_FORK_SERVER_BYTES = 64 << 20
_HERE = Path(__file__).resolve().parent
_NAMES = {
    "/etc/passwd": f"detector:x:{UID}:{UID}::/box/scratch:/bin/sh\n",
    "/etc/group": f"detector:x:{UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
}


class Stage:
    """A folder, mounted for this process alone, where what the sandbox shows lies under neutral names.

    Args:
        folder: where; everything in it goes away with this process's mount namespace.
        contents: what is to be shown, as :mod:`~palladion.execution.sandbox.bubblewrap` describes it.
        owner: whom writable folders are given to; None where they are this user's anyway.
        devices: device files that nests will mount.

    Attributes:
        hidden: no path of this machine shows inside.
    """

    def __init__(self, folder: Path, contents: dict[str, Any], owner: int | None, devices: Sequence[str]) -> None:
        self._folder, self._contents, self._owner, self._devices = folder, contents, owner, devices
        self.hidden = True
        kernel.mount("none", str(folder), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")

    def furnish(self) -> list[str]:
        """Lay out what the sandbox shows; bwrap's arguments. Raises OSError."""
        found = ["--unshare-all", "--unshare-user", "--uid", str(UID), "--gid", str(UID), "--die-with-parent"]
        found += ["--new-session", "--hostname", "sandbox", "--clearenv"]
        for name, value in self._contents["environment"].items():
            found += ["--setenv", name, value]
        found += ["--ro-bind", "/usr", "/usr"]
        for name in ("lib", "lib32", "lib64", "bin", "sbin"):
            if Path("/", name).is_symlink():
                found += ["--symlink", f"usr/{name}", f"/{name}"]
            elif Path("/", name).is_dir():
                found += ["--ro-bind", f"/{name}", f"/{name}"]
        for path in ("/etc/ld.so.cache", "/etc/alternatives"):
            found += ["--ro-bind-try", path, path]
        files = {**_NAMES, **self._contents["files"]}
        for name in ("nest.py", "kernel.py"):
            files[f"/opt/nest/{name}"] = (_HERE / name).read_text()
        for target, text in files.items():
            staged = self._new(target, folder=False)
            staged.write_text(text)
            staged.chmod(0o444)
            os.utime(staged, ns=(0, 0))
            found += ["--ro-bind", str(staged), target]
        for target, link in self._contents["links"].items():
            found += ["--symlink", link, target]
        for source, target in self._contents["folders"]:
            found += ["--ro-bind", str(self._show(source, target)), target]
        for source, target in self._contents["copies"]:
            staged = self._new(target, folder=True)
            copy_open(Path(source), staged, into=True)
            found += ["--ro-bind", str(staged), target]
        for source, target in self._contents["writable"]:
            staged = self._new(target, folder=True)
            if self._owner is not None:
                _give_to(Path(source), self._owner)
            kernel.mount(source, str(staged), None, kernel.MS_BIND)
            found += ["--bind", str(staged), target]
        found += ["--dir", "/data"]
        for folder in ("/box", "/tmp"):  # noqa: S108 - the fork server's own, each nest has others
            found += ["--size", str(_FORK_SERVER_BYTES), "--tmpfs", folder]
        found += ["--dir", "/box/scratch"]
        found += ["--proc", "/proc", "--dev", "/dev"]
        for device in self._devices:
            found += ["--ro-bind", "/dev/null", device]  # a place to mount upon
        return [*found, "--remount-ro", "/dev", "--chdir", "/", "--remount-ro", "/", "--cap-drop", "ALL"]

    def _new(self, target: str, *, folder: bool) -> Path:
        path = self._folder / target.strip("/").replace("/", "-")
        path.mkdir() if folder else path.touch()
        return path

    def _show(self, source: str, target: str) -> Path:
        """A folder of this machine, mounted so that its path here cannot be read inside.

        An overlay of it, named by a relative path. A bind mount would tell its source to everybody who reads
        /proc/self/mountinfo.
        """
        staged = self._new(target, folder=True)
        empty = self._folder / "empty"
        empty.mkdir(exist_ok=True)
        os.chdir(source)
        flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        try:
            # An overlay takes two layers. The second is named by a descriptor, so that its path cannot be read either.
            descriptor = os.open(empty, os.O_PATH | os.O_CLOEXEC)
            try:
                kernel.mount("none", str(staged), "overlay", flags, f"lowerdir=.:/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
        except OSError:
            self.hidden = False
            kernel.mount(source, str(staged), None, kernel.MS_BIND)
            kernel.mount("none", str(staged), None, kernel.MS_BIND | kernel.MS_REMOUNT | flags)
        finally:
            os.chdir("/")
        return staged


def _give_to(folder: Path, uid: int) -> None:
    """Let a folder and all in it belong to a user."""
    os.chown(folder, uid, uid)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), uid, uid, follow_symlinks=False)
