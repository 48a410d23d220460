"""What the back ends of containers share: where a submission finds things, how it is watched, how it is ended.

A container is made for every data point. What it shows is laid out by
:mod:`~palladion.execution.sandbox.container_folders`; how its program is watched stands in
:mod:`~palladion.execution.sandbox.container_watch`.

A Python submission runs on an empty root folder with this machine's ``/usr`` in it. Process 1 of its container is
:mod:`~palladion.execution.sandbox.container_init`, to which this talks through the container's standard input.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from palladion.errors import ExecutionError
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.cgroups import ControlGroup
from palladion.execution.sandbox.container_folders import (
    BASE,
    ENVIRONMENT,
    PACKAGE,
    RESULT,
    Mount,
    Place,
    Stage,
    remove_leftover_mounts,
)
from palladion.execution.sandbox.container_watch import SECONDS_TO_END, Outputs, Watch, group_of, kill_tree, split
from palladion.execution.sandbox.contract import Contents, Ended, Layout, Limits, Program
from palladion.execution.sandbox.seccomp import system_call_filter

__all__ = ["PREFIX", "ContainerSandbox", "Spot", "free_users", "init_command"]

PREFIX = "palladion-"
"""What the names of containers begin with; the rest is drawn by lot."""

_INIT = f"{PACKAGE}/palladion/execution/sandbox/container_init.py"
_SECONDS_TO_START = 60.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_CREDENTIALS = struct.Struct("=3i")


@dataclass(frozen=True, slots=True)
class Spot:
    """What the command that starts a container is made of.

    Attributes:
        name: of the container.
        root: its root folder; None for an image.
        image: the file of an image; None for a root folder.
        mounts: what it shows, outer folders first.
        limits: of the data point.
        command: what runs in it.
    """

    name: str
    root: Path | None
    image: Path | None
    mounts: tuple[Mount, ...]
    limits: Limits
    command: tuple[str, ...]


class ContainerSandbox(ABC):
    """A back end that makes a container for every data point.

    Args:
        contents: what it holds besides the data points.
        warm: whether it was asked to be warm, which it cannot be.
        cpus: threads that libraries are told to start.
        owner: the number that the submission's user has on this machine.

    Raises:
        InputError: see :class:`Stage`.
        ExecutionError: it cannot be set up; the message says why.
    """

    name: str
    isolates = True
    warm = False
    alone = True
    """Whether the submission's user has no other processes than the container's, as the kernel counts them."""

    def __init__(self, contents: Contents, *, warm: bool, cpus: int, owner: int) -> None:
        self.why_cold = f"{self.name} runs every model in a container of its own" if warm else None
        self.contents = contents
        self._lock = threading.Condition()
        self._running: set[_Handle] = set()
        self._stopped = False
        self.variables = _variables(contents, cpus)
        self.layout = Layout(
            python=PurePosixPath("python3")
            if contents.interpreter is None
            else contents.interpreter.executable(BASE, ENVIRONMENT),
            data=PurePosixPath("/data"),
            result=PurePosixPath("/box") / RESULT,
            scratch=PurePosixPath("/box/scratch"),
            binds={bind.name: PurePosixPath("/", bind.name) for bind in contents.binds},
        )
        if contents.image is None:
            system_call_filter()  # there is none for every architecture; better known now than with the first model
        remove_leftover_mounts()
        self._owner = owner
        self.stage = Stage(contents, owner)

    def prepare(self, data: Path | None, limits: Limits) -> "_Prepared":
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        if self._stopped:
            raise Cancelled
        try:
            return _Prepared(self, self.stage.place(data, limits))
        except OSError as error:
            if self._stopped:
                raise Cancelled from None
            raise ExecutionError(f"the data point cannot be laid out for {self.name}: {error}") from None

    def kill(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        with self._lock:
            self._stopped = True
            for handle in self._running:
                handle.end()

    def close(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        self.kill()
        with self._lock:
            self._lock.wait_for(lambda: not self._running, SECONDS_TO_END)
        self.stage.close()

    def run(self, place: Place, program: Program, limits: Limits) -> Ended:
        """Run a program in a container of its own. Raises Cancelled, ExecutionError."""
        with self._registered() as handle, contextlib.ExitStack() as exits:
            outputs = Outputs(show=program.show, limit=limits.output_bytes)
            exits.callback(outputs.close)
            if os.geteuid() == 0:
                # So that it may open them by name as well: /dev/stdout.
                for descriptor in (outputs.out_there, outputs.err_there):
                    os.fchown(descriptor, self._owner, self._owner)
            if self.contents.image is None:
                return self._run_under_init(place, program, limits, handle, outputs)
            return self._run_image(place, program, limits, handle, outputs)

    def _run_under_init(
        self, place: Place, program: Program, limits: Limits, handle: "_Handle", outputs: Outputs
    ) -> Ended:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            spot = self._spot(place, limits, init_command(self.layout.python))
            process = self._popen(spot, theirs.fileno(), outputs)
            theirs.close()
            try:
                handle.watch(lambda: _hang_up(ours))
                pid = self._await_init(ours, process, outputs)
                pidfd = os.pidfd_open(pid)
                try:
                    handle.watch(lambda: _kill(pidfd))
                    group = self._group(pid, limits)
                    try:
                        return self._watch_init(
                            ours, pid, pidfd, group, place=place, program=program, limits=limits, outputs=outputs
                        )
                    finally:
                        _kill(pidfd)
                        self._end_group(group)
                finally:
                    handle.forget()
                    os.close(pidfd)
            finally:
                handle.forget()
                # Nobody asks any more: process 1, if there is one by now, ends.
                _hang_up(ours)
                self._finish(process, spot.name)

    def _watch_init(
        self,
        channel: socket.socket,
        pid: int,
        pidfd: int,
        group: ControlGroup | None,
        *,
        place: Place,
        program: Program,
        limits: Limits,
        outputs: Outputs,
    ) -> Ended:
        outputs.started()
        watch = Watch(
            pid=pid,
            pidfd=pidfd,
            kill=lambda: _kill(pidfd),
            outputs=outputs,
            place=place,
            group=group,
            limits=limits,
            channel=channel,
        )
        request = {
            "argv": list(program.command),
            "environment": self.variables,
            "directory": str(self.layout.scratch),
            "limits": _resource_limits(limits, watched=group is None, alone=self.alone),
            "filter": system_call_filter(counted=group is not None).hex(),
        }
        try:
            channel.send(json.dumps(request).encode())
        except OSError as error:
            raise self._cancelled_or(f"the program cannot be passed into its container: {error}") from None
        seconds = watch.wait()
        if self._stopped:
            raise Cancelled
        if "failed" in watch.report:
            raise ExecutionError(
                f"{self.name} made a container, and nothing can be run in it: {watch.report['failed']}"
            )
        status = watch.report.get("status")
        code = os.waitstatus_to_exitcode(status) if isinstance(status, int) else -int(signal.SIGKILL)
        return _ended(code if code >= 0 else None, -code if code < 0 else None, watch, seconds, place, outputs)

    def _run_image(self, place: Place, program: Program, limits: Limits, handle: "_Handle", outputs: Outputs) -> Ended:
        spot = self._spot(place, limits, program.command)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            # It waits for a line until it is in its control group, so that nothing of it is outside.
            process = self._popen(spot, reader, outputs, wait=True)
            pidfd = os.pidfd_open(process.pid)
            group: ControlGroup | None = None
            try:
                handle.watch(lambda: kill_tree(process.pid))
                group = self._group(process.pid, limits)
                watch = Watch(
                    pid=process.pid,
                    pidfd=pidfd,
                    kill=lambda: kill_tree(process.pid),
                    outputs=outputs,
                    place=place,
                    group=group,
                    limits=limits,
                    channel=None,
                )
                outputs.started()
                with contextlib.suppress(BrokenPipeError):
                    os.write(writer, b"\n")
                seconds = watch.wait()
            finally:
                handle.forget()
                kill_tree(process.pid)
                self._finish(process, spot.name)
                os.close(pidfd)
                self._end_group(group)
        finally:
            os.close(reader)
            os.close(writer)
        if self._stopped:
            raise Cancelled
        code, ended_by = split(process.returncode)
        return _ended(code, ended_by, watch, seconds, place, outputs)

    def _spot(self, place: Place, limits: Limits, command: Sequence[str]) -> Spot:
        return Spot(
            name=PREFIX + secrets.token_hex(8),
            root=self.stage.root,
            image=self.contents.image,
            mounts=(*self.stage.mounts, *place.mounts()),
            limits=limits,
            command=tuple(command),
        )

    def _popen(self, spot: Spot, stdin: int, outputs: Outputs, *, wait: bool = False) -> "subprocess.Popen[bytes]":
        command, environment = self.command(spot), self.environment()
        if wait:
            command = ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh", *command]
        try:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=outputs.out_there,
                stderr=outputs.err_there,
                env=dict(environment),
                cwd="/",
                # Ctrl-C must not reach it: it has to clear up.
                start_new_session=True,
            )
        except OSError as error:
            raise ExecutionError(f"{command[0]} cannot be started: {error.strerror}") from None
        outputs.close_theirs()
        return process

    def _await_init(self, channel: socket.socket, process: "subprocess.Popen[bytes]", outputs: Outputs) -> int:
        """Wait until process 1 is there; its process id, which the kernel tells."""
        poll = select.poll()
        for descriptor in (channel.fileno(), outputs.out, outputs.err):
            poll.register(descriptor, select.POLLIN)
        end = time.monotonic() + _SECONDS_TO_START
        data = b""
        ancillary: list[tuple[int, int, bytes]] = []
        while time.monotonic() < end:
            events = [descriptor for descriptor, _ in poll.poll(1000)]
            if channel.fileno() in events:
                with contextlib.suppress(OSError):
                    data, ancillary, _, _ = channel.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
                break
            for descriptor in events:
                if not outputs.read(descriptor):
                    poll.unregister(descriptor)
        for level, kind, content in ancillary:
            if data and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return int(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
        _hang_up(channel)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        outputs.drain()
        said = outputs.stderr.strip()[-500:] or "it says nothing"
        raise self._cancelled_or(f"{self.name} cannot start a container here: {said}")

    def _finish(self, process: "subprocess.Popen[bytes]", name: str) -> None:
        """Wait for the program that has made a container to clear up."""
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.remove(name)

    def _cancelled_or(self, message: str) -> Exception:
        return (
            Cancelled()
            if self._stopped
            else ExecutionError(f"{message}; palladion doctor says what this machine lacks")
        )

    @contextlib.contextmanager
    def _registered(self) -> "Iterator[_Handle]":
        handle = _Handle()
        with self._lock:
            if self._stopped:
                raise Cancelled
            self._running.add(handle)
        try:
            yield handle
        finally:
            with self._lock:
                self._running.discard(handle)
                self._lock.notify_all()

    @abstractmethod
    def command(self, spot: Spot) -> list[str]:
        """The command that makes a container, runs what is to run in it, and removes it."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Environment variables of that command."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a container whose command did not end by itself."""

    def _group(self, pid: int, limits: Limits) -> ControlGroup | None:
        """The control group of a container; None where nothing is counted. May put the process into one."""
        del limits
        return group_of(pid)

    def _end_group(self, group: ControlGroup | None) -> None:
        """Remove a control group, if it is this back end's: one that came with the container goes with it."""
        del group


class _Handle:
    """How a run is ended at once: by what was named last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = False
        self._how: Callable[[], None] | None = None

    def watch(self, how: Callable[[], None]) -> None:
        """From now on, this ends it."""
        with self._lock:
            self._how = how
            if self._ended:
                how()

    def forget(self) -> None:
        """Nothing is left to be ended."""
        with self._lock:
            self._how = None

    def end(self) -> None:
        """End it, now or as soon as there is a way."""
        with self._lock:
            self._ended = True
            if self._how is not None:
                self._how()


class _Prepared:
    """See :class:`~palladion.execution.sandbox.contract.Prepared`."""

    def __init__(self, sandbox: ContainerSandbox, place: Place) -> None:
        self._sandbox, self._place = sandbox, place
        self.layout = sandbox.layout

    def run(self, program: Program, limits: Limits) -> Ended:
        return self._sandbox.run(self._place, program, limits)

    def discard(self) -> None:
        self._place.close()


def init_command(python: PurePosixPath) -> tuple[str, ...]:
    """The program that process 1 of a Python submission's container is."""
    return (str(python), "-I", "-S", "-B", _INIT)


def free_users(count: int) -> int | None:
    """The first of a range of numbers of users that nobody else has; None in a container where they are not known.

    No distribution and no container engine hands out numbers from here up to 2^31.
    """
    first = 0x78000000 + os.getpid() % 2047 * 65536
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        start, _, length = map(int, line.split())
        if start <= first and first + count <= start + length:
            return first
    return None


def _kill(pidfd: int) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _hang_up(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)


def _ended(
    code: int | None, ended_by: int | None, watch: Watch, seconds: float, place: Place, outputs: Outputs
) -> Ended:
    answer, fault = place.answer() if code == 0 and watch.limit is None else (None, None)
    return Ended(
        exit_code=None if watch.limit else code,
        signal=None if watch.limit else ended_by,
        limit=watch.limit,
        seconds=seconds,
        peak_memory_bytes=watch.peak_memory_bytes or watch.report.get("peak_memory_bytes"),
        stdout=outputs.stdout,
        stderr=outputs.stderr,
        answer=answer,
        answer_fault=fault,
    )


def _variables(contents: Contents, cpus: int) -> dict[str, str]:
    """Environment variables of the submission. An image keeps those of its own that say where its programs are."""
    ours = {
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        **dict.fromkeys(_THREADS, str(cpus)),
    }
    if contents.interpreter is not None:
        ours |= {
            "PATH": f"{ENVIRONMENT}/bin:/usr/bin:/bin",
            "HOME": "/box/scratch",
            "LANG": "C.UTF-8",
            "PYTHONPATH": PACKAGE,
            **contents.interpreter.variables(BASE),
        }
    return {**ours, **contents.variables}


def _resource_limits(limits: Limits, *, watched: bool, alone: bool) -> dict[str, int]:
    found = {"RLIMIT_FSIZE": limits.scratch_bytes, "RLIMIT_NOFILE": 4096}
    if limits.cpu_seconds is not None:
        found["RLIMIT_CPU"] = int(limits.cpu_seconds) + 2
    if watched:
        # Room to overshoot: what is watched from outside is seen a moment later.
        found["RLIMIT_DATA"] = limits.memory_bytes * 5 // 4 + (512 << 20)
        if alone:
            found["RLIMIT_NPROC"] = limits.processes + 3
    return found
