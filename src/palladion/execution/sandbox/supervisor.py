"""The process beside bubblewrap: stages data points, starts their nests, limits them, and collects their answers.

One supervisor serves one sandbox. It is told what the sandbox holds in one line of JSON on its socket, and then gets
requests, a line each, that it answers in any order: ``prepare``, ``run``, ``discard``. When the socket closes,
whoever asked is gone, and everything dies.

It has a mount namespace of its own, where the folders that the sandbox shows lie under neutral names; as an ordinary
user, a user namespace as well. A data point lies in a file system in memory that is mounted nowhere on this machine:
the nest gets its root as a descriptor. See :mod:`~palladion.execution.sandbox.nest` for what happens inside.

::

    evaluation ── supervisor ── setpriv (as root only) ── bwrap ── nest.py ── a nest for each data point
"""

import contextlib
import json
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from palladion.execution.sandbox import kernel
from palladion.execution.sandbox.answers import read_answer
from palladion.execution.sandbox.cgroups import ControlGroup, ControlGroups
from palladion.execution.sandbox.contract import Limit
from palladion.execution.sandbox.seccomp import system_call_filter
from palladion.execution.sandbox.usage import usage_of
from palladion.execution.staging import copy_open

__all__ = ["main"]

UID = 1000
"""The user that a submission is, as it sees itself."""

_FIRST_FREE_UID = 1879048192
# No distribution, container or systemd hands out users from here up to 2^31; one process a user at a time.
_TICK = 0.05
_KEPT_OUTPUT_BYTES = 16 << 10
_SECONDS_TO_START, _SECONDS_TO_PRELOAD, _SECONDS_TO_FURNISH = 30.0, 300.0, 60.0
_INODES = 200_000
_FORK_SERVER_BYTES = 64 << 20
# What a terminal may take for orders; not tab, new line and return.
_CONTROL_CHARACTERS = bytes({*range(32), 127} - {9, 10, 13})
_HERE = Path(__file__).resolve().parent
_CREDENTIALS = struct.Struct("=3i")
_NAMES = {
    "/etc/passwd": f"detector:x:{UID}:{UID}::/work/scratch:/bin/sh\n",
    "/etc/group": f"detector:x:{UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
}


class _GoneError(Exception):
    """The fork server has died."""


class _StoppedError(Exception):
    """The sandbox is being killed."""


def main() -> None:
    """Serve the socket that is standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    lines = client.makefile("rb")
    contents = json.loads(lines.readline())
    lock = threading.Lock()

    def answer(number: int, reply: dict[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):
            client.sendall(json.dumps({"number": number, **reply}).encode() + b"\n")

    try:
        supervisor = _Supervisor(contents)
    except OSError as error:
        answer(0, {"error": f"the sandbox cannot be set up: {error}"})
        return
    answer(0, supervisor.start())
    # The threads stay until the end: bwrap dies with the thread that started it.
    pool = ThreadPoolExecutor(max_workers=contents["slots"])
    for line in lines:
        request = json.loads(line)
        pool.submit(_serve, supervisor, request, answer)
    supervisor.stop()
    os._exit(0)


def _serve(supervisor: "_Supervisor", request: dict[str, Any], answer: Callable[[int, dict[str, Any]], None]) -> None:
    number = request.pop("number")
    try:
        answer(number, getattr(supervisor, request.pop("do"))(**request))
    except _StoppedError:
        answer(number, {"cancelled": True})
    except Exception as error:  # whatever it is, whoever asked must hear of it
        problem = getattr(error, "problem", None)
        if problem is not None:
            answer(number, {"input_error": problem, "path": str(error.path)})  # type: ignore[attr-defined]
        else:
            answer(number, {"error": f"{type(error).__name__}: {error}"})


class _ForkServer:
    """One bwrap with nest.py in it."""

    def __init__(self, command: list[str], arguments: list[str], preload: list[str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # By a descriptor: the arguments of process 1 can be read inside.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            packed = "\0".join([*arguments, ""]).encode(errors="surrogateescape")
            assert os.write(writer, packed) == len(packed)
            os.close(writer)
            self._process = subprocess.Popen(
                [*command, "--args", str(reader), "--", *nest_command(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(reader, theirs.fileno()),
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )
        finally:
            os.close(reader)
            theirs.close()
        self.control = ours
        self._lock = threading.Lock()
        ours.settimeout(_SECONDS_TO_PRELOAD if preload else _SECONDS_TO_START)
        try:
            ours.send(json.dumps({"preload": preload}).encode())
            packet = ours.recv(1 << 16)
        except OSError:
            packet = b""
        ours.settimeout(None)
        if not packet:
            self._process.kill()
            said = self.last_words()
            self.close()
            raise _GoneError(said or "it did not start")
        self.report: dict[str, Any] = json.loads(packet)

    def send(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """Ask for a nest. Raises _GoneError."""
        try:
            with self._lock:
                socket.send_fds(self.control, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise _GoneError(str(error)) from None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        with contextlib.suppress(OSError, ValueError):
            time.sleep(0.05)
            return (self._process.stderr.read() or b"").decode(errors="replace").strip()[-500:]
        return ""

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.control.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def nest_command(descriptor: int) -> list[str]:
    """The program that bwrap starts."""
    return ["/opt/environment/bin/python", "-B", "-s", "/opt/nest/nest.py", str(descriptor)]


class _Place:
    """Where one data point is: two file systems in memory, mounted nowhere."""

    def __init__(self, data: int, work: int) -> None:
        self.data, self.work = data, work
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.data)
            os.close(self.work)


class _Supervisor:
    def __init__(self, contents: dict[str, Any]) -> None:
        self._contents = contents
        self._stage = Path(contents["stage"])
        self._stopped = False
        self._lock = threading.Lock()
        self._places: dict[int, _Place] = {}
        self._running: set[int] = set()  # pidfds
        self._servers: set[_ForkServer] = set()
        self._warm: _ForkServer | None = None
        self._count = 0
        self._root = os.geteuid() == 0
        self._groups = ControlGroups.find()
        if self._root:
            self._uid = _free_uid()
            kernel.unshare(kernel.CLONE_NEWNS)
        else:
            self._uid = os.geteuid()
            gid = os.getegid()
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
            kernel.map_own_ids(self._uid, gid, self._uid, gid)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        nowhere = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("none", str(self._stage), "tmpfs", nowhere, "mode=755")
        self._filter = system_call_filter(counted=self._groups is not None).hex()
        self._hidden = True
        self._arguments = self._furnish()
        os.chdir("/")

    def start(self) -> dict[str, Any]:
        """Start the fork server where it is to be warm; what the other side must know."""
        about: dict[str, Any] = {
            "control_groups": None if self._groups is None else self._groups.version,
            "paths_hidden": self._hidden,
            "warm": False,
            "why_cold": None,
        }
        if not self._contents["warm"]:
            return about
        try:
            self._warm = self._start_warm()
        except _GoneError as error:
            return {"error": f"the sandbox does not start: {error}"}
        report = self._warm.report
        if report["threads"] != 1 or report["shared"]:
            self._close(self._warm)
            self._warm = None
            what = "threads" if report["threads"] != 1 else "shared memory"
            return {**about, "why_cold": f"its libraries start {what} when they are imported", **report}
        return {**about, "warm": True, **report}

    def _start_warm(self) -> _ForkServer:
        """A fork server with the libraries in it that can be imported beforehand."""
        preload = self._contents["preload"]
        server = self._start(preload)
        if server.report["failed"]:
            # A module that was left in the middle may not be imported again: start without those, or without any.
            self._close(server)
            preload = [name for name in preload if name not in server.report["failed"]]
            server = self._start(preload)
            if server.report["failed"]:
                self._close(server)
                preload = []
                server = self._start(preload)
            self._contents["preload"] = preload
        return server

    def prepare(self, data: str | None, scratch_bytes: int) -> dict[str, Any]:
        """Stage a data point."""
        source, work = kernel.new_tmpfs(size="0", mode="0555"), -1
        try:
            if data is not None:
                # Into the empty root itself: what is copied there has the names that open/ has.
                copy_open(Path(data), Path(f"/proc/self/fd/{source}"), into=True)
            kernel.set_mount_attributes(source, kernel.MOUNT_ATTR_RDONLY)
            owner = str(self._uid)
            work = kernel.new_tmpfs(
                size=str(scratch_bytes), nr_inodes=str(_INODES), mode="0700", uid=owner, gid=str(self._gid)
            )
            for name in ("scratch", "tmp", "shm"):
                os.mkdir(name, 0o700, dir_fd=work)
                if self._root:
                    os.chown(name, self._uid, self._uid, dir_fd=work)
        except BaseException:
            os.close(source)
            if work >= 0:
                os.close(work)
            raise
        with self._lock:
            self._count += 1
            self._places[self._count] = _Place(source, work)
            return {"place": self._count}

    def discard(self, place: int) -> dict[str, Any]:
        """Forget a data point."""
        with self._lock:
            found = self._places.pop(place, None)
        if found is not None:
            found.close()
        return {}

    def run(
        self, place: int, command: list[str], environment: dict[str, str], limits: dict[str, Any], show: bool
    ) -> dict[str, Any]:
        """Run a program in a nest of its own."""
        with self._lock:
            found = self._places[place]
        for attempt in (1, 2):
            try:
                return self._run(found, command, environment, limits, show)
            except _GoneError as error:
                if self._stopped:
                    raise _StoppedError from None
                if attempt == 2:
                    return {"error": f"the sandbox has died twice: {error}"}
        raise AssertionError

    def stop(self) -> None:
        """Kill everything."""
        with self._lock:
            self._stopped = True
            for pidfd in self._running:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            servers = list(self._servers)
        for server in servers:
            server.close()
        end = time.monotonic() + 5.0  # the threads remove their control groups
        while self._running and time.monotonic() < end:
            time.sleep(0.005)

    @property
    def _gid(self) -> int:
        return self._uid if self._root else os.getegid()

    def _start(self, preload: list[str]) -> _ForkServer:
        command = ["bwrap"]
        if self._root:
            # Never as root: bwrap would keep user 0, and with it the right to write to files in /proc/sys.
            own = str(self._uid)
            command = ["setpriv", "--reuid", own, "--regid", own, "--clear-groups", "--inh-caps=-all"]
            command += ["--bounding-set=-all", "--no-new-privs", "bwrap"]
        server = _ForkServer(command, self._arguments, preload)
        with self._lock:
            self._servers.add(server)
        return server

    def _close(self, server: _ForkServer) -> None:
        with self._lock:
            self._servers.discard(server)
        server.close()

    def _server(self) -> _ForkServer:
        """The warm fork server, started anew where it has died; a fresh one where it is to be cold."""
        if not self._contents["warm"] or self._warm is None:
            return self._start([])
        with self._lock:
            alive = self._warm.alive
        if not alive:
            self._close(self._warm)
            self._warm = self._start_warm()
        return self._warm

    def _run(
        self, place: _Place, command: list[str], environment: dict[str, str], limits: dict[str, Any], show: bool
    ) -> dict[str, Any]:
        server = self._server()
        warm = server is self._warm
        group = None
        ends: list[int] = []
        try:
            if self._groups is not None:
                # One more: the nest's init.
                group = self._groups.make(
                    memory_bytes=limits["memory_bytes"], processes=limits["processes"] + 1, cpus=limits["cpus"]
                )
            channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with channel, theirs:
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                out, out_there = os.pipe2(os.O_CLOEXEC)
                err, err_there = os.pipe2(os.O_CLOEXEC)
                ends = [out, out_there, err, err_there]
                devices = self._devices()
                passed = [theirs.fileno(), out_there, err_there, place.data, place.work, *devices.values()]
                request = {
                    "argv": command,
                    "environment": environment,
                    "directory": "/work/scratch",
                    "mounts": ["/data", "/work", *devices],
                    "binds": [["/work/tmp", "/tmp"], ["/work/shm", "/dev/shm"]],  # noqa: S108
                    "limits": self._resource_limits(limits),
                    "filter": self._filter,
                    "warm": warm,
                }
                try:
                    server.send(request, passed)
                finally:
                    for descriptor in devices.values():
                        os.close(descriptor)
                theirs.close()
                os.close(out_there)
                os.close(err_there)
                ends = [out, err]
                pid = self._await_nest(channel)
                run = _Run(place, channel, pid, (out, err), group, limits, show)
                with self._lock:
                    if self._stopped:
                        run.kill()
                    self._running.add(run.pidfd)
                try:
                    if group is not None:
                        group.add(pid)
                    return run.finish()
                finally:
                    with self._lock:
                        self._running.discard(run.pidfd)
                    run.kill()
                    os.close(run.pidfd)
        finally:
            for descriptor in ends:
                os.close(descriptor)
            if group is not None:
                group.remove()
            if not warm:
                self._close(server)
            if self._stopped:
                raise _StoppedError

    def _await_nest(self, channel: socket.socket) -> int:
        """Wait until the nest is furnished; its init's process id, which the kernel tells."""
        channel.settimeout(_SECONDS_TO_FURNISH)
        try:
            data, ancillary, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError as error:
            raise _GoneError(f"no nest was made: {error}") from None
        if not data:
            raise _GoneError("no nest was made")
        message = json.loads(data)
        if "failed" in message:
            raise RuntimeError(f"no nest could be made: {message['failed']}")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return int(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
        raise RuntimeError("the kernel did not tell the process id of the nest")

    def _resource_limits(self, limits: dict[str, Any]) -> dict[str, int]:
        found = {
            "RLIMIT_CORE": 0,
            "RLIMIT_FSIZE": limits["scratch_bytes"],
            "RLIMIT_NOFILE": 4096,
        }
        if limits["cpu_seconds"] is not None:
            found["RLIMIT_CPU"] = int(limits["cpu_seconds"]) + 2
        if self._groups is None:
            found["RLIMIT_NPROC"] = limits["processes"] + 2  # the keeper and the init
            # Room to overshoot: what is watched from outside is seen a moment later.
            found["RLIMIT_DATA"] = limits["memory_bytes"] * 5 // 4 + (512 << 20)
        return found

    def _devices(self) -> dict[str, int]:
        """Graphics processors, as mounts to be passed on; the fork server itself never sees them."""
        return {device: kernel.open_tree(device) for device in self._gpu_devices()}

    def _gpu_devices(self) -> list[str]:
        if not self._contents["gpus"]:
            return []
        return [str(path) for path in sorted(Path("/dev").glob("nvidia*")) if stat.S_ISCHR(path.stat().st_mode)]

    def _furnish(self) -> list[str]:
        """Lay out under the stage what the sandbox shows; bwrap's arguments."""
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
            if self._root:
                _give_to(Path(source), self._uid)
            kernel.mount(source, str(staged), None, kernel.MS_BIND)
            found += ["--bind", str(staged), target]
        found += ["--dir", "/data"]
        for folder in ("/work", "/tmp"):  # noqa: S108 - the fork server's own, each nest has others
            found += ["--size", str(_FORK_SERVER_BYTES), "--tmpfs", folder]
        found += ["--dir", "/work/scratch"]
        found += ["--proc", "/proc", "--dev", "/dev"]
        for device in self._gpu_devices():
            found += ["--ro-bind", "/dev/null", device]  # a place to mount upon
        return [*found, "--remount-ro", "/dev", "--chdir", "/", "--remount-ro", "/", "--cap-drop", "ALL"]

    def _new(self, target: str, *, folder: bool) -> Path:
        path = self._stage / target.strip("/").replace("/", "-")
        path.mkdir() if folder else path.touch()
        return path

    def _show(self, source: str, target: str) -> Path:
        """A folder of this machine, mounted so that its path here cannot be read inside.

        An overlay of it, named by a relative path. A bind mount would tell its source to everybody who reads
        /proc/self/mountinfo.
        """
        staged = self._new(target, folder=True)
        empty = self._stage / "empty"
        empty.mkdir(exist_ok=True)
        os.chdir(source)
        flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        try:
            kernel.mount("none", str(staged), "overlay", flags, f"lowerdir=.:{empty}")
        except OSError:
            self._hidden = False
            kernel.mount(source, str(staged), None, kernel.MS_BIND)
            kernel.mount("none", str(staged), None, kernel.MS_BIND | kernel.MS_REMOUNT | flags)
        finally:
            os.chdir("/")
        return staged


class _Run:
    """One program in its nest, from "go" to the end of its last process."""

    def __init__(
        self,
        place: _Place,
        channel: socket.socket,
        pid: int,
        outputs: tuple[int, int],
        group: ControlGroup | None,
        limits: dict[str, Any],
        show: bool,
    ) -> None:
        self._place, self._channel, self._pid, self._group = place, channel, pid, group
        self._limits, self._show = limits, show
        self._out, self._err = outputs
        self._kept = {descriptor: bytearray() for descriptor in outputs}
        self._printed = 0
        self._peak = 0
        self._limit: Limit | None = None
        self._report: dict[str, Any] = {}
        self.pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        """Kill the nest's init, and the kernel kills all others in it before anybody is told."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def finish(self) -> dict[str, Any]:
        """Let the program go, and wait for the end of it."""
        for descriptor in self._kept:
            os.set_blocking(descriptor, False)
        self._channel.setblocking(False)
        started = time.monotonic()
        with contextlib.suppress(OSError):
            self._channel.send(b"go")
        self._wait(started)
        seconds = time.monotonic() - started
        for descriptor in self._kept:
            while self._limit is not Limit.OUTPUT and self._read(descriptor):
                pass
        self._look()
        status = self._report.get("status")
        code = None if not isinstance(status, int) else os.waitstatus_to_exitcode(status)
        if code is None and self._limit is None:
            code = -signal.SIGKILL
        if self._limit is not None:
            code = None
        answer, fault = None, None
        if code == 0:
            try:
                answer = read_answer(self._place.work, "result.txt")
            except ValueError as error:
                fault = str(error)
        told = self._report.get("seconds")
        return {
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "limit": self._limit,
            # The nest's own clock starts with the program; ours includes waking up.
            "seconds": min(told, seconds) if isinstance(told, float) else seconds,
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
        limit = self._limits["seconds"]
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
        if self._printed > self._limits["output_bytes"]:
            self._limit = self._limit or Limit.OUTPUT
        return bool(data)

    def _look(self) -> None:
        """See whether a limit was reached."""
        cpu_limit = self._limits["cpu_seconds"]
        if self._group is not None:
            counts = self._group.counts()
            self._peak = max(self._peak, counts.peak_memory_bytes)
            memory, processes, cpu = counts.killed_for_memory, counts.refused_processes, counts.cpu_seconds
        else:
            usage = usage_of(self._pid)
            files = os.statvfs(self._place.work)
            used = usage.memory_bytes + (files.f_blocks - files.f_bfree) * files.f_frsize
            self._peak = max(self._peak, used)
            memory = used > self._limits["memory_bytes"]
            processes = usage.threads > self._limits["processes"]
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
        files = os.statvfs(self._place.work)
        return files.f_bavail == 0 or files.f_favail == 0


def _give_to(folder: Path, uid: int) -> None:
    """Let a folder and all in it belong to a user."""
    os.chown(folder, uid, uid)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), uid, uid, follow_symlinks=False)


def _free_uid() -> int:
    """A user that nobody else is: of this process alone."""
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    wanted = _FIRST_FREE_UID + os.getpid()
    if any(first <= wanted < first + count for first, _, count in ranges):
        return wanted
    # In a container, where only some users are known: the last of them.
    first, _, count = max(ranges)
    if count < 2:
        raise OSError("only root is known in this user namespace; the sandbox needs another user to run as")
    return first + count - 1 - os.getpid() % max(1, min(1000, count // 2))


if __name__ == "__main__":
    main()
