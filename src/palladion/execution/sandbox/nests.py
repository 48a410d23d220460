"""One nest, as the supervisor sees it: made, run in, watched, killed."""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from palladion.execution.sandbox.answers import read_answer
from palladion.execution.sandbox.cgroups import ControlGroup
from palladion.execution.sandbox.contract import Limit
from palladion.execution.sandbox.fork_server import ForkServer, GoneError
from palladion.execution.sandbox.usage import usage_of

__all__ = ["Nest"]

_TICK = 0.05
_KEPT_OUTPUT_BYTES = 16 << 10
_SECONDS_TO_FURNISH, _SECONDS_TO_DIE, _SECONDS_TO_WEIGH = 60.0, 10.0, 1.0
_MAXIMUM_FILES = 200_000
_MAXIMUM_PACKET = 1 << 16
_CREDENTIALS = struct.Struct("=3i")
# What a terminal may take for orders; not tab, new line and return.
_CONTROL_CHARACTERS = bytes({*range(32), 127} - {9, 10, 13})


class Nest:
    """A nest for one run of a program.

    Args:
        server: what forks it.
        data: descriptor of the root of the data point's file system.
        work: the same of the file system that may be written to.
        devices: device files to mount in it, each with a descriptor of its mount.
        system_calls: the filter, as hexadecimal digits.
        group: its control group, which is removed with it; None where there is none.
        limits: the limits, by the names of :class:`~palladion.execution.sandbox.contract.Limits`.
        writable: folders of this machine that it may write to: their files count as scratch.

    Raises:
        GoneError: the fork server has died.
        RuntimeError: the kernel does not allow it.

    Attributes:
        limits: as given.
        running: whether a program runs in it.
    """

    def __init__(
        self,
        server: ForkServer,
        data: int,
        work: int,
        devices: Mapping[str, int],
        system_calls: str,
        group: ControlGroup | None,
        limits: dict[str, Any],
        writable: Sequence[str] = (),
    ) -> None:
        self._work, self._group, self.limits, self._writable = work, group, limits, writable
        self._weighed = self._seconds = 0.0
        self.running = self._over = False
        self._show = False
        self._printed = self._peak = 0
        self._limit: Limit | None = None
        self._report: dict[str, Any] = {}
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._out, out = os.pipe2(os.O_CLOEXEC)
        self._err, err = os.pipe2(os.O_CLOEXEC)
        self._kept = {self._out: bytearray(), self._err: bytearray()}
        self.pidfd = -1
        try:
            request = {
                "mounts": ["/data", "/box", *devices],
                "binds": [["/box/tmp", "/tmp"], ["/box/shm", "/dev/shm"]],  # noqa: S108 - the nest's own
                "filter": system_calls,
            }
            try:
                server.send(request, [theirs.fileno(), out, err, data, work, *devices.values()])
            finally:
                theirs.close()
                os.close(out)
                os.close(err)
            self._pid = self._await()
            self.pidfd = os.pidfd_open(self._pid)
            if group is not None:
                group.add(self._pid)
        except BaseException:
            self.close()
            raise
        for descriptor in self._kept:
            os.set_blocking(descriptor, False)
        self._channel.setblocking(False)

    def kill(self) -> None:
        """Kill the init, and the kernel kills all others in the nest before anybody is told."""
        if self.pidfd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kill what is alive, and remove what is left."""
        self.kill()
        if self.pidfd >= 0:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            poll.poll(_SECONDS_TO_DIE * 1000)
            os.close(self.pidfd)
            self.pidfd = -1
        self._channel.close()
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept = {}
        if self._group is not None:
            self._group.remove()
            self._group = None

    def _await(self) -> int:
        """Wait until it is furnished; its init's process id, which the kernel tells."""
        self._channel.settimeout(_SECONDS_TO_FURNISH)
        try:
            data, ancillary, _, _ = self._channel.recvmsg(_MAXIMUM_PACKET, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError as error:
            raise GoneError(f"no nest was made: {error}") from None
        if not data:
            raise GoneError("no nest was made")
        message = json.loads(data)
        if "failed" in message:
            raise RuntimeError(f"no nest could be made: {message['failed']}")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return int(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
        raise RuntimeError("the kernel did not tell the process id of the nest")

    def _resource_limits(self) -> dict[str, int]:
        limits = self.limits
        found = {"RLIMIT_FSIZE": limits["scratch_bytes"], "RLIMIT_NOFILE": 4096}
        if limits["cpu_seconds"] is not None:
            found["RLIMIT_CPU"] = int(limits["cpu_seconds"]) + 2
        if self._group is None:
            found["RLIMIT_NPROC"] = limits["processes"] + 1  # the init
            # Room to overshoot: what is watched from outside is seen a moment later.
            found["RLIMIT_DATA"] = limits["memory_bytes"] * 5 // 4 + (512 << 20)
        return found

    def run(self, command: list[str], environment: dict[str, str], *, warm: bool, show: bool) -> dict[str, Any]:
        """Run a program to its end; how it ended, as :class:`~palladion.execution.sandbox.contract.Ended` has it.

        Raises:
            GoneError: the nest died before the program could start.
        """
        order = {
            "argv": command,
            "environment": environment,
            "directory": "/box/scratch",
            "limits": self._resource_limits(),
            "warm": warm,
        }
        self._show = show
        self.running = True
        try:
            self._start(order)
            self._over = True
            return self._result()
        finally:
            self.running = False

    def _start(self, order: dict[str, Any]) -> None:
        started = time.monotonic()
        try:
            self._channel.send(json.dumps(order).encode())
        except OSError as error:
            raise GoneError(str(error)) from None
        self._wait(started)
        self._seconds = time.monotonic() - started

    def _result(self) -> dict[str, Any]:
        for descriptor in self._kept:
            while self._limit is not Limit.OUTPUT and self._read(descriptor):
                pass
        self._look()
        if "failed" in self._report:
            raise RuntimeError(f"the nest could not be closed off: {self._report['failed']}")
        status = self._report.get("status")
        code = None if not isinstance(status, int) else os.waitstatus_to_exitcode(status)
        if code is None and self._limit is None:
            code = -signal.SIGKILL
        if self._limit is not None:
            code = None
        answer, fault = None, None
        if code == 0:
            try:
                answer = read_answer(self._work, "result.txt")
            except ValueError as error:
                fault = str(error)
        told = self._report.get("seconds")
        return {
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "limit": self._limit,
            # The nest's own clock starts with the program; ours includes waking up.
            "seconds": min(told, self._seconds) if isinstance(told, float) else self._seconds,
            "peak_memory_bytes": self._peak or self._report.get("peak_memory_bytes"),
            "stdout": self._kept[self._out].decode(errors="replace"),
            "stderr": self._kept[self._err].decode(errors="replace"),
            "answer": answer,
            "answer_fault": fault,
        }

    def _wait(self, started: float) -> None:
        poll = select.poll()
        for descriptor in (self.pidfd, self._channel.fileno(), *self._kept):
            poll.register(descriptor, select.POLLIN)
        limit = self.limits["seconds"]
        looked = started
        while True:
            now = time.monotonic()
            if limit is not None and now - started >= limit and not self._report:
                self._limit = self._limit or Limit.TIME
            elif now - looked >= _TICK:
                self._look()
                looked = now
            if self._limit is not None:
                self.kill()
            wait = _TICK if limit is None else min(_TICK, max(0.0, started + limit - now))
            for descriptor, _ in poll.poll(wait * 1000 + 1):
                if descriptor == self.pidfd:
                    self._hear()
                    return
                if descriptor == self._channel.fileno():
                    if not self._hear():
                        poll.unregister(descriptor)
                    elif self._report.get("alone") is True and self._limit is None:
                        return  # but for the init nothing is alive, so nothing can change any more
                elif not self._read(descriptor):
                    poll.unregister(descriptor)

    def _hear(self) -> bool:
        """Read what the init says of the end; whether there may be more."""
        try:
            data = self._channel.recv(4096)
        except OSError:
            return False
        if data and not self._report:
            with contextlib.suppress(ValueError):
                message = json.loads(data)
                if isinstance(message, dict):
                    self._report = message
        return bool(data)

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        if self._show and descriptor == self._err and data:
            with contextlib.suppress(OSError):
                os.write(2, data.translate(None, _CONTROL_CHARACTERS))
        kept = self._kept[descriptor]
        kept += data
        del kept[:-_KEPT_OUTPUT_BYTES]
        self._printed += len(data)
        if self._printed > self.limits["output_bytes"]:
            self._limit = self._limit or Limit.OUTPUT
        return bool(data)

    def _look(self) -> None:
        """See whether a limit was reached."""
        cpu_limit = self.limits["cpu_seconds"]
        if self._group is not None:
            counts = self._group.counts()
            self._peak = max(self._peak, counts.peak_memory_bytes)
            memory, processes, cpu = counts.killed_for_memory, counts.refused_processes, counts.cpu_seconds
        else:
            usage = usage_of(self._pid)
            files = os.statvfs(self._work)
            used = usage.memory_bytes + (files.f_blocks - files.f_bfree) * files.f_frsize
            self._peak = max(self._peak, used)
            memory = used > self.limits["memory_bytes"]
            processes = usage.threads > self.limits["processes"]
            cpu = usage.cpu_seconds
        if self._limit is None:
            if memory:
                self._limit = Limit.MEMORY
            elif processes:
                self._limit = Limit.PROCESSES
            elif cpu_limit is not None and cpu > cpu_limit:
                self._limit = Limit.CPU
            elif self._scratch_is_full():
                self._limit = Limit.SCRATCH

    def _scratch_is_full(self) -> bool:
        files = os.statvfs(self._work)
        if files.f_bavail == 0 or files.f_favail == 0:
            return True
        # Seldom, and once more when all is over.
        if not self._writable or (not self._over and time.monotonic() - self._weighed < _SECONDS_TO_WEIGH):
            return False
        self._weighed = time.monotonic()
        return any(_weight(folder) > self.limits["scratch_bytes"] for folder in self._writable)


def _weight(folder: str) -> float:
    """Bytes that the files below a folder take on disk; infinitely many where they cannot be counted."""
    total = count = 0
    faults: list[OSError] = []
    for root, _, names in os.walk(folder, onerror=faults.append):
        for name in names:
            count += 1
            with contextlib.suppress(FileNotFoundError):
                try:
                    total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118
                except FileNotFoundError:
                    raise
                except OSError as error:
                    faults.append(error)
        if count > _MAXIMUM_FILES:
            return float("inf")
    if any(not isinstance(fault, FileNotFoundError) for fault in faults):
        return float("inf")  # too deep to be walked, say
    return total
