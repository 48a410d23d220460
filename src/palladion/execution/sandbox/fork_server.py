"""One bubblewrap with the fork server in it, as the supervisor sees it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

__all__ = ["ForkServer", "GoneError"]

_SECONDS_TO_START, _SECONDS_TO_PRELOAD, _SECONDS_TO_END = 30.0, 300.0, 2.0
_SHOWN_CHARACTERS = 500


class GoneError(Exception):
    """The fork server has died, or did not start."""


class ForkServer:
    """One bwrap with nest.py in it.

    Args:
        command: how bwrap is started.
        arguments: bwrap's arguments.
        preload: modules to import.

    Attributes:
        report: what it says of itself after it has imported them.

    Raises:
        GoneError: it did not start.
    """

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
                [*command, "--args", str(reader), "--", *_nest_command(theirs.fileno())],
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
            raise GoneError(said or "it did not start")
        self.report: dict[str, Any] = json.loads(packet)

    def send(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """Ask for a nest. Raises GoneError."""
        try:
            with self._lock:
                socket.send_fds(self.control, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise GoneError(str(error)) from None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """What bwrap has said on standard error."""
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        with contextlib.suppress(OSError, ValueError):
            time.sleep(0.05)
            return (self._process.stderr.read() or b"").decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
        return ""

    def kill(self) -> None:
        """Kill it, and all its nests with it."""
        # The sandbox's process 1, which bwrap then reaps. Were bwrap killed first, that would be left to whoever reaps
        # orphans on this machine, if anybody does.
        inside = [task.read_text().split() for task in Path(f"/proc/{self._process.pid}/task").glob("*/children")]
        for child in (int(name) for names in inside for name in names):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if not inside:
            self._process.kill()

    def close(self) -> None:
        """Kill it, and close what it was reached by. May be called again."""
        self.kill()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.control.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _nest_command(descriptor: int) -> list[str]:
    """The program that bwrap starts."""
    return ["/opt/environment/bin/python", "-B", "-s", "/opt/nest/nest.py", str(descriptor)]
