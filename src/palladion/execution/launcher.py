"""Start one program, wait for it, measure it, and leave nothing of it running.

A script of its own, run as ``python -I -S launcher.py``. It reads one line of JSON from standard input,
runs the program to its end, and writes one line of JSON to standard output. When standard input closes,
whoever asked is gone or has changed his mind: the program is killed.

Why a program in between: on ``exec`` Linux carries the high-water mark of the memory of the process that
forked over to the one that starts, so a child started straight from a large process would report that one's
memory as its own. This one is small. It is also the subreaper of all that the program starts: a daemon that
the program leaves behind becomes a child of this process and is killed, so the next data point starts on a
quiet machine.

Request::

    argv: [str]           the program, by its path
    environment: {str: str}
    directory: str        where it runs
    time_limit: float     seconds of wall time, then everything is killed; null for none
    keep: int             how many of the last bytes of its output are returned, of each stream
    show: bool            standard error goes where this process's own goes, instead of being returned
    remove: [str]         folders that are removed if whoever asked is gone

Reply::

    error: str            it could not be started; then there is nothing else
    exit_code, signal     one of them, the other is null
    timed_out, cancelled  whether it was killed for its time, or because standard input closed
    seconds, cpu_seconds  wall time from its start to its end; processor time
    peak_memory_bytes     the largest resident memory of it or of a process that it waited for
    stdout, stderr        the last bytes of its output
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time

# As typing's, without the time that importing it takes: this starts once for every data point.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CHUNK = 1 << 16
_SECONDS_TO_KILL = 10.0


def main() -> None:
    """Serve the one request."""
    request = json.loads(_line(0))
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reply = _Run(request).finish()
    if reply["cancelled"]:
        import shutil

        for folder in request["remove"]:
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(reply).encode() + b"\n")


class _Run:
    """One run of the program."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.time_limit: float | None = request["time_limit"]
        self.keep: int = request["keep"]
        self.end: tuple[int, Any, float] | None = None  # wait status, usage, when
        self.timed_out = self.cancelled = False
        self.output: dict[int, bytearray] = {}  # what was read, by descriptor
        self.woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A signal must have a handler for Python to write its number into the pipe.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.stdout, out = os.pipe()
        self.output[self.stdout] = bytearray()
        self.stderr: int | None = None
        err = None
        if not request["show"]:
            self.stderr, err = os.pipe()
            self.output[self.stderr] = bytearray()
        failed, fail = os.pipe()  # closes at exec; what is written there says why there was none
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(request, out, err, fail)
        os.close(out)
        os.close(fail)
        if err is not None:
            os.close(err)
        self.error = os.read(failed, _CHUNK).decode(errors="replace")
        os.close(failed)

    def finish(self) -> dict[str, Any]:
        """Wait for the end; the reply."""
        self._wait()
        _kill_everything(self._reap)
        for descriptor in self.output:  # what was written before the end
            os.set_blocking(descriptor, False)
            while self._read(descriptor):
                pass
        if self.error:
            return {"error": self.error, "cancelled": self.cancelled}
        if self.end is None:
            return {"error": "it could not be killed", "cancelled": self.cancelled}
        status, usage, ended = self.end
        code = os.waitstatus_to_exitcode(status)
        return {
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "timed_out": self.timed_out,
            "cancelled": self.cancelled,
            "seconds": ended - self.started,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "stdout": self.output[self.stdout].decode(errors="replace"),
            "stderr": "" if self.stderr is None else self.output[self.stderr].decode(errors="replace"),
        }

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(0, select.POLLIN | select.POLLHUP)
        poll.register(self.woken, select.POLLIN)
        for descriptor in self.output:
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while True:
            self._reap()
            if self.end is not None:
                return
            left = None
            if self.time_limit is not None:
                left = self.started + self.time_limit - time.monotonic()
                if left <= 0:
                    self.timed_out = True
                    return
            # Milliseconds, rounded up: else the last one would be spent in a busy loop.
            for descriptor, _ in poll.poll(None if left is None else left * 1000 + 1):
                if descriptor == 0:
                    self.cancelled = True
                    return
                if descriptor == self.woken:
                    os.read(self.woken, _CHUNK)
                elif not self._read(descriptor):
                    poll.unregister(descriptor)

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        kept = self.output[descriptor]
        kept += data
        del kept[: -self.keep]
        return bool(data)

    def _reap(self) -> bool:
        """Take note of the processes that have ended; whether there are no others."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.pid:
                self.end = status, usage, time.monotonic()


def _become(request: dict[str, Any], out: int, err: int | None, fail: int) -> None:
    """In the child: become the program."""
    try:
        os.setsid()
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(2 if err is None else err, 2)
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(request["directory"])
        os.execve(request["argv"][0], request["argv"], request["environment"])  # noqa: S606
    except OSError as error:
        os.write(fail, f"{error.filename or request['argv'][0]}: {error.strerror}".encode())
    finally:
        os._exit(127)


def _kill_everything(reap: Callable[[], bool]) -> None:
    """Kill all descendants, also those that are born meanwhile, until there are none."""
    end = time.monotonic() + _SECONDS_TO_KILL
    pause = 0.001
    while not reap() and time.monotonic() < end:
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if reap():
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _descendants() -> list[int]:
    """Process ids of all descendants, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib takes time to import
        if name.isdigit():
            path = f"/proc/{name}/stat"
            with contextlib.suppress(OSError, ValueError, IndexError), open(path, "rb") as file:  # noqa: PTH123
                # The name of the program stands in brackets and may hold anything.
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        new = children.get(todo.pop(), [])
        found += new
        todo += new
    return found


def _line(descriptor: int) -> bytearray:
    """One line, read without reading beyond it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data = os.read(descriptor, _CHUNK)
        if not data:
            sys.exit(1)
        line += data
    return line


if __name__ == "__main__":
    main()
