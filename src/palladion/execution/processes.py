"""Run one program: limited, measured, and with nothing of it left running afterwards.

Everything that a submission's code does happens in a process that was started here. The program gets no standard
input, an environment of our making, and a session of its own.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import ExecutionError
from palladion.execution import launcher

__all__ = ["Cancelled", "Finished", "Processes", "environment"]

_KEPT_OUTPUT_BYTES = 16 << 10
# What a program may need to start at all; nothing that tells whom or what it runs for.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Cancelled(Exception):  # noqa: N818 - no fault of anybody
    """The program was killed because :meth:`Processes.stop` was called."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Attributes:
        exit_code: what it returned; None where a signal ended it.
        signal: the signal that ended it, or None.
        timed_out: it was killed at its time limit.
        seconds: wall time from its start to its end.
        cpu_seconds: processor time of it and of the processes that it waited for.
        peak_memory_bytes: the largest resident memory of it, or of a process that it waited for; None where nobody
            was left to measure it.
        stdout: the last of what it printed.
        stderr: the same of standard error.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None
    stdout: str
    stderr: str


class Processes:
    """The programs that run at this moment, so that all of them can be stopped. May be used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        time_limit: float | None = None,
        show: bool = False,
        remove: Sequence[Path] = (),
    ) -> Finished:
        """Run a program to its end.

        Args:
            command: the program, by its path, and its arguments.
            environment: all of its environment variables.
            directory: where it runs.
            time_limit: seconds of wall time; then it and all that it started are killed.
            show: its standard error is this process's.
            remove: folders to remove if this process dies meanwhile.

        Raises:
            Cancelled: :meth:`stop` was called.
            ExecutionError: the program could not be started.
        """
        request = {
            "argv": list(command),
            "environment": dict(environment),
            "directory": str(directory),
            "time_limit": time_limit,
            "keep": _KEPT_OUTPUT_BYTES,
            "show": show,
            "remove": [str(path) for path in remove],
        }
        assert launcher.__file__ is not None
        with self._lock:
            if self._stopped:
                raise Cancelled
            # A session of its own: Ctrl-C must not reach it, as it has to clean up.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", launcher.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if show else subprocess.DEVNULL,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            except (BrokenPipeError, ValueError):
                pass  # it was killed, or stop() has closed the pipe; the missing reply says so
            text = process.stdout.read()
        finally:
            with self._lock:
                self._running.discard(process)
            self._close(process)
            process.wait()
        if self._stopped:
            raise Cancelled
        if not text:
            # The launcher writes in every case; so the program has killed it, and with it itself.
            return Finished(None, 9, False, 0.0, 0.0, None, "", "the program killed the process that watched it")
        reply = json.loads(text)
        if reply.pop("cancelled"):
            raise Cancelled
        if "error" in reply:
            raise ExecutionError(f"{command[0]} could not be run: {reply['error']}")
        return Finished(**reply)

    def stop(self) -> None:
        """Kill all that run, and let nothing start any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                self._close(process)

    @staticmethod
    def _close(process: "subprocess.Popen[bytes]") -> None:
        """Close the launcher's standard input, on which it kills its program."""
        assert process.stdin is not None
        # What was still to be written cannot be; the pipe is closed all the same.
        with contextlib.suppress(OSError):
            process.stdin.close()


def environment(scratch: Path) -> dict[str, str]:
    """The environment variables of a submission.

    One thread a library, so that as many data points run at a time as there are cores, and the answers do not depend
    on how many; set ``OMP_NUM_THREADS`` to have it otherwise. No library asks the network for models.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = {name: os.environ.get(name, os.environ.get("OMP_NUM_THREADS", "1")) for name in _THREADS}
    search = [str(Path(part).absolute()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return {
        **passed,
        **threads,
        **({"PYTHONPATH": os.pathsep.join(search)} if search else {}),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        # A submission's folder stays as it was submitted.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
