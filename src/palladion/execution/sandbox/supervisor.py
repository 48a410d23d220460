"""The process beside bubblewrap: stages data points, makes their nests, runs programs in them, collects their answers.

One supervisor serves one sandbox. It is told what the sandbox holds in one line of JSON on its socket, and then gets
requests, a line each, that it answers in any order: ``prepare``, ``run``, ``discard``. When the socket closes,
whoever asked is gone, and everything dies.

It has a mount namespace of its own, where the folders that the sandbox shows lie under neutral names; as an ordinary
user, a user namespace as well. A data point lies in a file system in memory that is mounted nowhere on this machine:
its nest gets the root as a descriptor.

::

    evaluation ── supervisor ── setpriv (as root only) ── bwrap ── fork server ── a nest for each data point
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from palladion.execution.sandbox import kernel
from palladion.execution.sandbox.cgroups import ControlGroups
from palladion.execution.sandbox.fork_server import ForkServer, GoneError
from palladion.execution.sandbox.gpus import GpuPool, gpu_devices
from palladion.execution.sandbox.nests import Nest
from palladion.execution.sandbox.seccomp import system_call_filter
from palladion.execution.sandbox.stage import Stage
from palladion.execution.staging import copy_open

__all__ = ["main"]

_T = TypeVar("_T")

# No distribution, container or systemd hands out users from here up to 2^31; one process a user at a time.
_FIRST_FREE_UID = 1879048192
_INODES = 200_000
_SECONDS_TO_STOP = 5.0
_ATTEMPTS = 2


class _StoppedError(Exception):
    """The sandbox is being killed."""


def main() -> None:
    """Serve the socket that is standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    lines = client.makefile("rb")
    try:
        first = lines.readline()
    except ConnectionError:
        return
    if not first.endswith(b"\n"):
        return  # whoever asked is gone
    contents = json.loads(first)
    lock = threading.Lock()

    def answer(number: int, reply: dict[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):
            client.sendall(json.dumps({"number": number, **reply}).encode() + b"\n")

    try:
        supervisor = _Supervisor(contents)
        answer(0, supervisor.start())
    except Exception as error:  # whatever it is, whoever asked must hear of it
        answer(0, {"error": f"the sandbox cannot be set up: {error}"})
        return
    # The threads stay until the end: bwrap dies with the thread that started it.
    pool = ThreadPoolExecutor(max_workers=contents["slots"])
    # Whoever asked may be killed, in the middle of a line too: that is the end, as closing the socket is.
    with contextlib.suppress(ConnectionError):
        for line in lines:
            if line.endswith(b"\n"):
                pool.submit(_serve, supervisor, json.loads(line), answer)
    supervisor.stop()
    os._exit(0)


def _serve(supervisor: "_Supervisor", request: dict[str, Any], answer: Callable[[int, dict[str, Any]], None]) -> None:
    number = request.pop("number")
    try:
        answer(number, getattr(supervisor, request.pop("do"))(**request))
    except _StoppedError:
        answer(number, {"cancelled": True})
    except Exception as error:  # as above
        if supervisor.stopped:  # whatever it is, it came of that
            answer(number, {"cancelled": True})
            return
        problem = getattr(error, "problem", None)
        if problem is not None:
            answer(number, {"input_error": problem, "path": str(error.path)})  # type: ignore[attr-defined]
        else:
            answer(number, {"error": f"{type(error).__name__}: {error}"})


class _Place:
    """Where one data point is: two file systems in memory, mounted nowhere, and the nest that shows them.

    Attributes:
        data: descriptor of the root of the copy.
        work: descriptor of the root of what may be written.
        limits: of what will run there.
    """

    def __init__(self, data: int, work: int, limits: dict[str, Any]) -> None:
        self.data, self.work, self.limits = data, work, limits
        self.server: ForkServer | None = None
        self.nest: Nest | None = None
        self.gpus: list[str] = []


class _Supervisor:
    def __init__(self, contents: dict[str, Any]) -> None:
        self._contents = contents
        self.stopped = False
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._places: dict[int, _Place] = {}
        self._servers: set[ForkServer] = set()
        self._warm: ForkServer | None = None
        self._count = 0
        self._closing = 0
        processors, common = gpu_devices() if contents["gpus"] else ([], [])
        self._gpus, self._gpu_common = GpuPool(processors), common
        self._groups = ControlGroups.find()
        self._root = os.geteuid() == 0
        if self._root:
            self._uid = self._gid = _free_uid()
            kernel.unshare(kernel.CLONE_NEWNS)
        else:
            self._uid, self._gid = os.geteuid(), os.getegid()
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
            kernel.map_own_ids(self._uid, self._gid, self._uid, self._gid)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        self._filter = system_call_filter(counted=self._groups is not None).hex()
        owner = self._uid if self._root else None
        stage = Stage(Path(contents["stage"]), contents, owner, [*processors, *common])
        self._arguments = stage.furnish()
        self._hidden = stage.hidden
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
        except GoneError as error:
            return {"error": f"the sandbox does not start: {error}"}
        report = self._warm.report
        if report["threads"] != 1 or report["shared"]:
            self._close(self._warm)
            self._warm = None
            what = "threads" if report["threads"] != 1 else "shared memory"
            return {**about, "why_cold": f"its libraries start {what} when they are imported", **report}
        return {**about, "warm": True, **report}

    def prepare(self, data: str | None, limits: dict[str, Any]) -> dict[str, Any]:
        """Stage a data point, and make the nest that it will run in."""
        source, work = kernel.new_tmpfs(size="0", mode="0555"), -1
        try:
            if data is not None:
                # Into the empty root itself: what is copied there has the names that open/ has.
                copy_open(Path(data), Path(f"/proc/self/fd/{source}"), into=True)
            kernel.make_read_only(source)
            work = kernel.new_tmpfs(
                size=str(limits["scratch_bytes"]),
                nr_inodes=str(_INODES),
                mode="0700",
                uid=str(self._uid),
                gid=str(self._gid),
            )
            for name in ("scratch", "tmp", "shm"):
                os.mkdir(name, 0o700, dir_fd=work)
                if self._root:
                    os.chown(name, self._uid, self._gid, dir_fd=work)
        except BaseException:
            os.close(source)
            if work >= 0:
                os.close(work)
            raise
        place = _Place(source, work, limits)
        with self._lock:
            self._count += 1
            number = self._count
            self._places[number] = place
        if not self._contents["gpus"]:  # else it would hold processors while another one could use them
            try:
                self._again(lambda: self._make_nest(place))
            except BaseException:
                self.discard(number)
                raise
        return {"place": number}

    def run(
        self, place: int, command: list[str], environment: dict[str, str], limits: dict[str, Any], show: bool
    ) -> dict[str, Any]:
        """Run a program in the nest of a data point."""
        with self._lock:
            found = self._places.get(place)
        if found is None:
            raise _StoppedError

        def attempt() -> dict[str, Any]:
            if found.nest is None:
                self._make_nest(found)
            assert found.nest is not None
            found.nest.limits = {**found.limits, "seconds": limits["seconds"]}
            try:
                return found.nest.run(command, environment, warm=self._warm is not None, show=show)
            except GoneError:
                self._close_nest(found)
                raise

        reply = self._again(attempt)
        if self.stopped:
            raise _StoppedError
        return reply

    def discard(self, place: int) -> dict[str, Any]:
        """Forget a data point, with all that is left of it."""
        with self._lock:
            found = self._places.get(place)
        if found is not None:
            self._close_nest(found)
            os.close(found.data)
            os.close(found.work)
            with self._lock:
                del self._places[place]
        return {}

    def stop(self) -> None:
        """Kill everything."""
        with self._lock:
            self.stopped = True
            places, servers = list(self._places.values()), list(self._servers)
        self._gpus.close()
        for place in places:
            if place.nest is not None:
                place.nest.kill()
        for server in servers:
            server.kill()
        # The threads that run something notice and end; then their control groups can be removed.
        end = time.monotonic() + _SECONDS_TO_STOP
        while any(place.nest is not None and place.nest.running for place in places) and time.monotonic() < end:
            time.sleep(0.002)
        for place in places:
            with contextlib.suppress(OSError):
                self._close_nest(place)
        while self._closing and time.monotonic() < end:
            time.sleep(0.002)

    def _again(self, action: Callable[[], _T]) -> _T:
        """Do something that needs a fork server, with another one where that has died."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return action()
            except GoneError as error:
                if self.stopped:
                    raise _StoppedError from None
                if attempt == _ATTEMPTS:
                    raise RuntimeError(f"the sandbox has died {attempt} times: {error}") from None
        raise AssertionError

    def _make_nest(self, place: _Place) -> None:
        group = None
        limits = place.limits
        server = self._server()
        devices: dict[str, int] = {}
        try:
            if self._groups is not None:
                # One more: the nest's init.
                group = self._groups.make(
                    memory_bytes=limits["memory_bytes"], processes=limits["processes"] + 1, cpus=limits["cpus"]
                )
            if self._contents["gpus"]:
                place.gpus = self._gpus.take(self._contents["gpus"])
                # Passed on as mounts, so that the fork server itself never sees them.
                devices = {device: kernel.open_tree(device) for device in (*place.gpus, *self._gpu_common)}
            writable = [source for source, _ in self._contents["writable"]]
            nest = Nest(server, place.data, place.work, devices, self._filter, group, limits, writable)
        except BaseException:
            if group is not None:
                group.remove()
            if server is not self._warm:
                self._close(server)
            raise
        finally:
            for descriptor in devices.values():
                os.close(descriptor)
        with self._lock:
            place.nest, place.server = nest, server
            if self.stopped:
                nest.kill()

    def _close_nest(self, place: _Place) -> None:
        with self._lock:
            nest, server, gpus = place.nest, place.server, place.gpus
            place.nest, place.server, place.gpus = None, None, []
            self._closing += 1
        try:
            if nest is not None:
                nest.close()
            if server is not None and server is not self._warm:
                self._close(server)
        finally:
            self._gpus.give_back(gpus)
            with self._lock:
                self._closing -= 1

    def _server(self) -> ForkServer:
        """The warm fork server, started anew where it has died; a fresh one where it is to be cold."""
        if self._warm is None:
            return self._start([])
        with self._starting:
            if not self._warm.alive:
                self._close(self._warm)
                self._warm = self._start_warm()
            return self._warm

    def _start_warm(self) -> ForkServer:
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

    def _start(self, preload: list[str]) -> ForkServer:
        command = ["bwrap"]
        if self._root:
            # Never as root: bwrap would keep user 0, and with it the right to write to files in /proc/sys.
            own = str(self._uid)
            command = ["setpriv", "--reuid", own, "--regid", own, "--clear-groups", "--inh-caps=-all"]
            command += ["--bounding-set=-all", "--no-new-privs", "bwrap"]
        if self.stopped:
            raise _StoppedError
        server = ForkServer(command, self._arguments, preload)
        with self._lock:
            self._servers.add(server)
        return server

    def _close(self, server: ForkServer) -> None:
        with self._lock:
            self._servers.discard(server)
        server.close()


def _free_uid() -> int:
    """A user that nobody else is: of this process alone."""
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    wanted = _FIRST_FREE_UID + os.getpid()
    if any(first <= wanted < first + count for first, _, count in ranges):
        return wanted
    # In a container, where only some users are known: one of the last of them.
    first, _, count = max(ranges)
    if count < 2:
        raise OSError("only root is known in this user namespace; the sandbox needs another user to run as")
    return first + count - 1 - os.getpid() % max(1, min(1000, count // 2))


if __name__ == "__main__":
    main()
