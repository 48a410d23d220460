"""Watch the program in a container: what it prints, what it uses, when it ends; and end it."""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from palladion.execution.sandbox.cgroups import ControlGroup
from palladion.execution.sandbox.container_folders import Place
from palladion.execution.sandbox.contract import Limit, Limits
from palladion.execution.sandbox.usage import usage_of

__all__ = ["SECONDS_TO_END", "Outputs", "Watch", "group_of", "kill_tree", "split"]

SECONDS_TO_END = 30.0
"""How long what was killed may take to be gone."""

_KEPT_OUTPUT_BYTES = 16 << 10
_TICK = 0.05


class Outputs:
    """The two pipes that a program prints to; the last bytes of each are kept.

    Args:
        show: what comes on standard error is printed here as well.
        limit: bytes of both together.
    """

    def __init__(self, *, show: bool, limit: int) -> None:
        self._show, self._limit = show, limit
        self.out, self.out_there = os.pipe2(os.O_CLOEXEC)
        self.err, self.err_there = os.pipe2(os.O_CLOEXEC)
        for descriptor in (self.out, self.err):
            os.set_blocking(descriptor, False)
        self._kept = {self.out: bytearray(), self.err: bytearray()}
        self._printed = 0
        self._started = False

    def started(self) -> None:
        """What was printed until now came from what makes containers: forget it."""
        self.drain()
        for kept in self._kept.values():
            kept.clear()
        self._printed, self._started = 0, True

    def close_theirs(self) -> None:
        """Close the ends that the program writes to."""
        for descriptor in (self.out_there, self.err_there):
            os.close(descriptor)
        self.out_there = self.err_there = -1

    def close(self) -> None:
        """Close all ends."""
        for descriptor in (self.out, self.err, self.out_there, self.err_there):
            if descriptor >= 0:
                os.close(descriptor)

    def read(self, descriptor: int) -> bool:
        """Read what is there; whether there was something."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        if self._show and self._started and descriptor == self.err and data:
            with contextlib.suppress(OSError):
                os.write(2, data)
        kept = self._kept[descriptor]
        kept += data
        del kept[:-_KEPT_OUTPUT_BYTES]
        self._printed += len(data)
        return bool(data)

    def drain(self) -> None:
        """Read all that is there, up to the limit."""
        for descriptor in self._kept:
            while not self.flooded and self.read(descriptor):
                pass

    @property
    def flooded(self) -> bool:
        """Whether more was printed than may be."""
        return self._printed > self._limit

    @property
    def stdout(self) -> str:
        """The last of standard output."""
        return self._kept[self.out].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The last of standard error."""
        return self._kept[self.err].decode(errors="replace")


class Watch:
    """A program that runs, from its start to its end or to its limit.

    Args:
        pid: of the process whose descendants count, itself with them.
        pidfd: of the process whose end is the end.
        kill: end everything at once.
        channel: where process 1 says how the program ended; None where only the end itself is seen.
    """

    def __init__(
        self,
        *,
        pid: int,
        pidfd: int,
        kill: Callable[[], None],
        outputs: Outputs,
        place: Place,
        group: ControlGroup | None,
        limits: Limits,
        channel: socket.socket | None,
    ) -> None:
        self._pid, self._pidfd, self._kill, self._outputs = pid, pidfd, kill, outputs
        self._place, self._group, self._limits, self._channel = place, group, limits, channel
        self.limit: Limit | None = None
        self.peak_memory_bytes = 0
        self.report: dict[str, Any] = {}
        # What making the container took is not the program's.
        self._cpu_before = self._cpu_seconds() if channel is not None else 0.0

    def wait(self) -> float:
        """Wait for the end, and see to it that it comes; seconds that it took."""
        started = looked = time.monotonic()
        poll = select.poll()
        for descriptor in (self._pidfd, self._outputs.out, self._outputs.err):
            poll.register(descriptor, select.POLLIN)
        if self._channel is not None:
            poll.register(self._channel.fileno(), select.POLLIN)
        limit = self._limits.seconds
        ended: float | None = None
        while ended is None:
            now = time.monotonic()
            if limit is not None and now - started >= limit:
                self.limit = self.limit or Limit.TIME
            elif now - looked >= _TICK:
                self._look()
                looked = time.monotonic()
            if self._outputs.flooded:
                self.limit = self.limit or Limit.OUTPUT
            if self.limit is not None:
                self._kill()
            wait = _TICK if limit is None else min(_TICK, max(0.0, started + limit - now))
            for descriptor, _ in poll.poll(wait * 1000 + 1):
                if descriptor == self._pidfd:
                    ended = time.monotonic()
                elif self._channel is not None and descriptor == self._channel.fileno():
                    if self._hear():
                        ended = time.monotonic()
                    poll.unregister(descriptor)
                elif not self._outputs.read(descriptor):
                    poll.unregister(descriptor)
        self._look()
        self._kill()
        # Once its process 1 is gone, so are all others, and what they have printed is in the pipes.
        select.select([self._pidfd], [], [], SECONDS_TO_END)
        self._outputs.drain()
        if self._outputs.flooded:
            self.limit = self.limit or Limit.OUTPUT
        told = self.report.get("seconds")
        seconds = ended - started
        return min(told, seconds) if isinstance(told, float) else seconds

    def _hear(self) -> bool:
        assert self._channel is not None
        try:
            message = json.loads(self._channel.recv(4096))
        except (OSError, ValueError):
            return False
        if isinstance(message, dict):
            self.report = message
        return bool(self.report)

    def _look(self) -> None:
        """See whether a limit was reached."""
        used, full = self._place.used()
        try:
            counts = self._group.counts() if self._group is not None else None
        except OSError:
            return  # the container is being taken down
        if counts is not None:
            memory, processes = counts.killed_for_memory, counts.refused_processes
            peak, cpu = counts.peak_memory_bytes, counts.cpu_seconds
        else:
            usage = usage_of(self._pid)
            peak, cpu = usage.memory_bytes + used, usage.cpu_seconds
            # Process 1 is not the program's.
            memory, processes = peak > self._limits.memory_bytes, usage.threads > self._limits.processes + 1
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak)
        if self.limit is not None:
            return
        limit = self._limits.cpu_seconds
        if memory:
            self.limit = Limit.MEMORY
        elif processes:
            self.limit = Limit.PROCESSES
        elif limit is not None and cpu - self._cpu_before > limit:
            self.limit = Limit.CPU
        elif full:
            self.limit = Limit.SCRATCH

    def _cpu_seconds(self) -> float:
        try:
            return usage_of(self._pid).cpu_seconds if self._group is None else self._group.counts().cpu_seconds
        except OSError:
            return 0.0


def group_of(pid: int) -> ControlGroup | None:
    """The control group that a process was put into; None where it cannot be read.

    Args:
        pid: of the process.
    """
    root = Path("/sys/fs/cgroup")
    found: dict[str, Path] = {}
    unified: Path | None = None
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0":
            path = PurePosixPath(name)
            # crun puts what runs into a group below the one that it limits.
            unified = root / str(path.parent if path.name == "container" else path).lstrip("/")
        else:
            found |= {controller: root / controllers / name.lstrip("/") for controller in controllers.split(",")}
    if "memory" in found:
        wanted = ("memory", "pids", "cpuacct")
        group = ControlGroup({key: found[key] for key in wanted if key in found}, 1)
    elif unified is not None and unified != root:
        group = ControlGroup(dict.fromkeys(("memory", "pids", "cpu"), unified), 2)
    else:
        return None
    try:
        group.counts()
    except (OSError, KeyError):
        return None
    return group


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants; containers below it die with their process 1."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are what is needed
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name of the program stands in brackets and may hold anything.
                parent = int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    tree = [pid]
    for found in tree:
        tree += children.get(found, [])
    # Found first, killed afterwards: whoever loses its parent is no descendant any more.
    for found in tree:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(found, signal.SIGKILL)


def split(code: int) -> tuple[int | None, int | None]:
    """Exit code and signal, from what a program that makes containers returned.

    It returns what the submission did, and 128 and more where a signal ended that, as shells do.
    """
    if code < 0:
        return None, -code
    try:
        return (None, int(signal.Signals(code - 128))) if code > 128 else (code, None)
    except ValueError:
        return code, None
