"""The back end that runs submissions under bubblewrap: talks to the supervisor that does all the work.

See :mod:`~palladion.execution.sandbox.supervisor` and :mod:`~palladion.execution.sandbox.nest`.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import palladion
from palladion.errors import ExecutionError, InputError
from palladion.execution.interpreter import Link
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.contract import Contents, Ended, Layout, Limit, Limits, Program
from palladion.execution.staging import workspace

__all__ = ["BubblewrapSandbox"]

_BASE, _ENVIRONMENT, _PACKAGE = PurePosixPath("/opt/python"), PurePosixPath("/opt/environment"), "/opt/palladion"
_COPIED_BYTES = 256 << 20
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SECONDS_TO_STOP = 15.0


class BubblewrapSandbox:
    """A sandbox of bubblewrap, with a fork server in it where it is warm.

    Args:
        contents: what it holds besides the data points.
        warm: import libraries once, and fork for each data point.
        slots: data points that run at a time.
        cpus: threads that libraries are told to start.

    Raises:
        ExecutionError: it cannot be set up; the message says why.
    """

    name = "bubblewrap"
    isolates = True

    def __init__(self, contents: Contents, *, warm: bool, slots: int, cpus: int = 1) -> None:
        if shutil.which("bwrap") is None:
            raise ExecutionError(
                "bubblewrap is not installed; install it (Debian, Ubuntu: apt-get install bubblewrap), "
                "or choose another sandbox"
            )
        assert contents.interpreter is not None
        self._variables = {
            "PATH": f"{_ENVIRONMENT}/bin:/usr/bin:/bin",
            "HOME": "/box/scratch",
            "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
            "LANG": "C.UTF-8",
            "PYTHONPATH": _PACKAGE,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONNOUSERSITE": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            **dict.fromkeys(_THREADS, str(cpus)),
            **contents.interpreter.variables(_BASE),
            **contents.variables,
        }
        self.layout = Layout(
            python=contents.interpreter.executable(_BASE, _ENVIRONMENT),
            data=PurePosixPath("/data"),
            result=PurePosixPath("/box/result.txt"),
            scratch=PurePosixPath("/box/scratch"),
            binds={bind.name: PurePosixPath("/", bind.name) for bind in contents.binds},
        )
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._count = 0
        self._stopped = False
        self._exit = contextlib.ExitStack()
        try:
            self._open(contents, warm, slots)
        except BaseException:
            self.close()
            raise

    def _open(self, contents: Contents, warm: bool, slots: int) -> None:
        stage = self._exit.enter_context(workspace(public=True))
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._exit.callback(ours.close)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "palladion.execution.sandbox.supervisor"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_search())},
                start_new_session=True,
            )
        about: Future[dict[str, Any]] = Future()
        self._waiting[0] = about
        self._reader = threading.Thread(target=self._read, name="palladion-sandbox", daemon=True)
        self._reader.start()
        self._send(_described(contents, str(stage), self._variables, warm=warm, slots=slots))
        self.about = _checked(about.result())

    @property
    def warm(self) -> bool:
        """Whether libraries were imported once for all data points."""
        return bool(self.about["warm"])

    @property
    def why_cold(self) -> str | None:
        """Why it is not warm though it was asked to be; None where it is."""
        why: str | None = self.about["why_cold"]
        return why

    def prepare(self, data: Path | None, limits: Limits) -> "_Place":
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        source = None if data is None else str(data.absolute())
        return _Place(self, self._ask("prepare", data=source, limits=asdict(limits))["place"])

    def kill(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        self._stopped = True
        with contextlib.suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        self.kill()
        process = getattr(self, "_process", None)
        if process is not None:
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._exit.close()

    def __enter__(self) -> "BubblewrapSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, place: int, program: Program, limits: Limits) -> Ended:
        reply = self._ask(
            "run",
            place=place,
            command=list(program.command),
            environment=self._variables,
            limits=asdict(limits),
            show=program.show,
        )
        return Ended(**{**reply, "limit": None if reply["limit"] is None else Limit(reply["limit"])})

    def _ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._stopped:
                raise Cancelled
            self._count += 1
            number = self._count
            self._waiting[number] = future
        with contextlib.suppress(OSError):  # it is gone, and the reader says so
            self._send({"number": number, "do": what, **arguments})
        return _checked(future.result())

    def _tell(self, what: str, **arguments: Any) -> None:
        """Ask for something without waiting for it."""
        with self._lock:
            if self._stopped:
                return
            self._count += 1
            number = self._count
        with contextlib.suppress(OSError):
            self._send({"number": number, "do": what, **arguments})

    def _send(self, request: dict[str, Any]) -> None:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)

    def _read(self) -> None:
        """Hand out the replies, until the supervisor is gone."""
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                reply = json.loads(line)
                with self._lock:
                    future = self._waiting.pop(reply.pop("number"), None)
                if future is not None:
                    future.set_result(reply)
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            gone = {"cancelled": True} if self._stopped else {"error": "the sandbox's supervisor has died"}
            self._stopped = True
        for future in waiting.values():
            future.set_result(gone)


class _Place:
    """See :class:`~palladion.execution.sandbox.contract.Prepared`."""

    def __init__(self, sandbox: BubblewrapSandbox, number: int | None) -> None:
        self._sandbox, self._number = sandbox, number
        self.layout = sandbox.layout

    def run(self, program: Program, limits: Limits) -> Ended:
        assert self._number is not None
        return self._sandbox._run(self._number, program, limits)

    def discard(self) -> None:
        if self._number is not None:
            # Nobody waits for it: while it is cleared away, the next one runs.
            self._sandbox._tell("discard", place=self._number)
            self._number = None


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    if "cancelled" in reply:  # left in it: all who still waited at the end were given this one reply
        raise Cancelled
    if "input_error" in reply:
        raise InputError(reply["input_error"], path=reply["path"])
    if "error" in reply:
        raise ExecutionError(f"{reply['error']}; palladion doctor says what this machine lacks")
    return reply


def _described(contents: Contents, stage: str, variables: dict[str, str], *, warm: bool, slots: int) -> dict[str, Any]:
    """What the supervisor is told."""
    interpreter = contents.interpreter
    assert interpreter is not None
    files = interpreter.files(_BASE, _ENVIRONMENT)
    folders = [(str(source), str(target)) for source, target in interpreter.mounts(_BASE, _ENVIRONMENT)]
    package = Path(palladion.__file__).resolve().parent
    folders.append((str(package), f"{_PACKAGE}/palladion"))
    copies, writable = [], []
    for bind in contents.binds:
        pair = (str(bind.source.resolve()), f"/{bind.name}")
        if bind.writable:
            writable.append(pair)
        elif not bind.links and _size(bind.source) <= _COPIED_BYTES:
            copies.append(pair)
        else:
            folders.append(pair)
    return {
        "stage": stage,
        "slots": 2 * slots + 2,
        "warm": warm,
        "preload": list(contents.preload),
        "environment": variables,
        "gpus": contents.gpus,
        "folders": folders,
        "copies": copies,
        "writable": writable,
        "files": {str(path): text for path, text in files.items() if isinstance(text, str)},
        "links": {str(path): str(link.target) for path, link in files.items() if isinstance(link, Link)},
    }


def _size(folder: Path) -> int:
    return sum(Path(root, name).lstat().st_size for root, _, names in os.walk(folder) for name in names)


def _search() -> list[str]:
    """Where the supervisor finds this package, whatever way it was found here."""
    return [str(Path(palladion.__file__).resolve().parents[1])]
