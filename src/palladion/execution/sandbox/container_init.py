"""Process 1 of a container: starts the submission, waits for it, and says how it ended.

A program that is process 1 itself is not what it is elsewhere: signals that it has no handler for do not reach it, and
nobody reaps what it leaves behind. So this one is, and the submission is its child. It also gives the submission the
filter of system calls that the other sandboxes have, and it ends, and the whole container with it, as soon as whoever
asked is gone.

Standard input is the channel to whoever asked, of packets of JSON. This says that it is ready, and is told what to
run; once that has ended, it says how, and waits to be killed, so that the container's control group can still be read.
The submission has no descriptor of the channel, and may not look into this process.

It stands alone: it runs in whatever Python the submission's environment has (3.8 and newer), and imports nothing but
:mod:`kernel`, which lies beside it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time

# As typing's, without the time that importing it takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kernel  # type: ignore[import-not-found,unused-ignore]  # noqa: E402 - it lies beside this file

MAXIMUM_PACKET = 1 << 18


def main() -> None:
    """Run the one program that the channel asks for."""
    channel = socket.socket(fileno=os.dup(0))
    channel.set_inheritable(False)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    kernel.set_dumpable(False)
    kernel.no_new_privileges()
    channel.send(json.dumps({"ready": True}).encode())
    packet = channel.recv(MAXIMUM_PACKET)
    if not packet:
        return
    request = json.loads(packet)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # A signal must have a handler for Python to write its number into the pipe.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        kernel.prevent_core_dumps()
        kernel.filter_system_calls(bytes.fromhex(request["filter"]))
        started = time.monotonic()
        pid = os.fork()
    except OSError as error:
        _say(channel, {"failed": str(error)})
        channel.recv(1)
        return
    if pid == 0:
        _become(request)
    # Theirs alone, so that whoever reads them sees the end.
    os.dup2(0, 1)
    os.dup2(0, 2)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        report = _reap(pid, started)
        if report is not None:
            break
        for descriptor, _ in poll.poll():
            if descriptor != woken:
                return  # whoever asked is gone
            os.read(woken, 1 << 12)
    _say(channel, report)
    channel.recv(1)


def _reap(pid: int, started: float) -> dict[str, Any] | None:
    """Take note of the processes that have ended; how the program did, if it was among them."""
    while True:
        try:
            found, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if found == 0:
            return None
        if found == pid:
            return {
                "status": status,
                "seconds": time.monotonic() - started,
                "peak_memory_bytes": usage.ru_maxrss * 1024,
            }


def _become(request: dict[str, Any]) -> None:
    """In the child: become the program."""
    try:
        kernel.set_dumpable(True)
        os.setsid()
        kernel.close_all_but((0, 1, 2))
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for name, value in request["limits"].items():
            number = getattr(resource, name)
            # Not above what holds already.
            hard = resource.getrlimit(number)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (value, value))
        os.chdir(request["directory"])
        os.umask(0o022)
        os.execve(request["argv"][0], request["argv"], request["environment"])
    except BaseException as error:
        os.write(2, ("%s: %s\n" % (request["argv"][0], error)).encode(errors="replace"))
    os._exit(127)


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    try:
        channel.send(json.dumps(message).encode())
    except OSError:
        pass  # whoever asked is gone


if __name__ == "__main__":
    main()
