"""Control groups: limits on memory, processes and processor time of all that one data point starts.

Both versions of the kernel's interface are spoken. Version 2 needs a group that may be written to: the root's where
Palladion runs as root, else the one that ``PALLADION_CGROUP`` names (a folder below ``/sys/fs/cgroup`` that was
delegated to this user; ``none`` does without). Where neither is there,
:mod:`~palladion.execution.sandbox.usage` watches instead.
"""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ControlGroup", "ControlGroups", "Counts"]

_ROOT = Path("/sys/fs/cgroup")
_NAME = re.compile(r"palladion-([0-9]+)-[0-9]+")
_PERIOD = 100_000  # microseconds in which a share of the processors is counted
_SECONDS_TO_REMOVE = 5.0
_VERSION_1 = ("memory", "pids", "cpu", "cpuacct")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a control group has counted so far.

    Attributes:
        peak_memory_bytes: the most memory at a time, files in memory and the kernel's part with it.
        killed_for_memory: a process was killed because the limit was reached.
        refused_processes: a process was not started because the limit was reached.
        cpu_seconds: processor time.
    """

    peak_memory_bytes: int
    killed_for_memory: bool
    refused_processes: bool
    cpu_seconds: float


class ControlGroup:
    """The control group of one data point.

    Args:
        directories: its folder of each controller; of version 2, one folder under the name of each.
        version: 1 or 2.
    """

    def __init__(self, directories: dict[str, Path], version: int) -> None:
        self._directories, self._version = directories, version

    def add(self, pid: int) -> None:
        """Put a process into it. Raises OSError."""
        for directory in set(self._directories.values()):
            (directory / "cgroup.procs").write_text(str(pid))

    def counts(self) -> Counts:
        """What it has counted. Raises OSError."""
        memory, pids = self._directories["memory"], self._directories["pids"]
        if self._version == 2:
            return Counts(
                peak_memory_bytes=_number(memory / "memory.peak"),
                killed_for_memory=_field(memory / "memory.events", "oom_kill") > 0,
                refused_processes=_field(pids / "pids.events", "max") > 0,
                cpu_seconds=_field(self._directories["cpu"] / "cpu.stat", "usage_usec") / 1e6,
            )
        return Counts(
            peak_memory_bytes=_number(memory / "memory.max_usage_in_bytes"),
            killed_for_memory=_field(memory / "memory.oom_control", "oom_kill") > 0,
            refused_processes=_field(pids / "pids.events", "max") > 0,
            cpu_seconds=_number(self._directories["cpuacct"] / "cpuacct.usage") / 1e9,
        )

    def remove(self) -> None:
        """Remove it; its processes must be gone, or go within a moment."""
        end = time.monotonic() + _SECONDS_TO_REMOVE
        for directory in set(self._directories.values()):
            while True:
                try:
                    directory.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > end:
                        break
                    time.sleep(0.002)


class ControlGroups:
    """Makes the control groups of this process. Made by :meth:`find`."""

    def __init__(self, parents: dict[str, Path], version: int) -> None:
        self._parents, self.version = parents, version
        self._count = 0

    @classmethod
    def find(cls) -> "ControlGroups | None":
        """What there is on this machine that may be written to; None where there is nothing."""
        if os.environ.get("PALLADION_CGROUP") == "none":
            return None
        found = cls._find_version_2() or cls._find_version_1()
        if found is None:
            return None
        found._remove_leftovers()
        try:
            # A group that cannot be limited is none: a container may show the files and refuse to write them.
            found.make(memory_bytes=1 << 30, processes=8, cpus=1).remove()
        except OSError:
            return None
        return found

    @classmethod
    def _find_version_2(cls) -> "ControlGroups | None":
        named = os.environ.get("PALLADION_CGROUP")
        parent = Path(named) if named else _ROOT
        if not (parent / "cgroup.subtree_control").exists() or not os.access(parent, os.W_OK):
            return None
        wanted = ("memory", "pids", "cpu")
        with contextlib.suppress(OSError):
            (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))
        try:
            enabled = (parent / "cgroup.subtree_control").read_text().split()
        except OSError:
            return None
        return cls(dict.fromkeys(wanted, parent), 2) if set(wanted) <= set(enabled) else None

    @classmethod
    def _find_version_1(cls) -> "ControlGroups | None":
        parents = {name: _ROOT / name for name in _VERSION_1}
        usable = all((path / "cgroup.procs").exists() and os.access(path, os.W_OK) for path in parents.values())
        return cls(parents, 1) if usable else None

    def make(self, *, memory_bytes: int, processes: int, cpus: float) -> ControlGroup:
        """A new group with these limits. Raises OSError."""
        self._count += 1
        name = f"palladion-{os.getpid()}-{self._count}"
        directories = {controller: parent / name for controller, parent in self._parents.items()}
        group = ControlGroup(directories, self.version)
        quota = int(cpus * _PERIOD)
        try:
            for directory in set(directories.values()):
                directory.mkdir()
            if self.version == 2:
                directory = directories["memory"]
                (directory / "memory.max").write_text(str(memory_bytes))
                _write_if_there(directory / "memory.swap.max", "0")
                _write_if_there(directory / "memory.oom.group", "1")
                (directory / "pids.max").write_text(str(processes))
                (directory / "cpu.max").write_text(f"{quota} {_PERIOD}")
            else:
                (directories["memory"] / "memory.limit_in_bytes").write_text(str(memory_bytes))
                # Memory and swap together; absent where the kernel does not count swap.
                _write_if_there(directories["memory"] / "memory.memsw.limit_in_bytes", str(memory_bytes))
                (directories["pids"] / "pids.max").write_text(str(processes))
                _write_if_there(directories["cpu"] / "cpu.cfs_period_us", str(_PERIOD))
                _write_if_there(directories["cpu"] / "cpu.cfs_quota_us", str(quota))
        except OSError:
            group.remove()
            raise
        return group

    def _remove_leftovers(self) -> None:
        """Remove the groups of processes that were killed before they could."""
        for parent in set(self._parents.values()):
            for directory in parent.glob("palladion-*"):
                match = _NAME.fullmatch(directory.name)
                if match and not Path(f"/proc/{match[1]}").exists():
                    with contextlib.suppress(OSError):
                        directory.rmdir()


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0  # memory.peak is younger than version 2 itself


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
