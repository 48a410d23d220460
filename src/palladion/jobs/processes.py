"""One function call in a process of its own, within limits: for whatever reads what strangers have sent.

The process comes from a fork server that has imported what is needed once, so that a call costs a hundredth of a second
and not the start of an interpreter. It dies with the process that asked for it, however that one dies, and whatever it
does - use up its memory, run for ever, crash - is an error in words here.

The function is ours, and only its data is not; this is no sandbox for code that is not ours.
"""

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import connection
from typing import Any, Final, ParamSpec, TypeVar

from palladion.errors import InputError, PalladionError
from palladion.execution.slots import Stop, Stopped

__all__ = ["CHECKING", "PRELOAD", "SCORING", "FailureKind", "ProcessFailed", "ProcessLimits", "call", "warm"]

P = ParamSpec("P")
Result = TypeVar("Result")

PRELOAD: Final = (
    "palladion.jobs.children",
    "sacrebleu",
    # A program that was started by its path, as the command palladion is, is run anew in every process, up to where it
    # asks whether it is the main one: what it imports until then must be there already.
    "palladion.cli",
)
"""What the fork server imports. It is started by the first call; where something else has started one before, each
process imports what it needs by itself."""

_log = logging.getLogger(__name__)
_LOOK = 0.1  # seconds between looks at whether it is to stop
# multiprocessing asks for exit codes of all processes whenever one is started, and two threads that ask at the same
# time get one answer between them.
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one call may use.

    Attributes:
        seconds: wall time.
        cpu_seconds: processor time.
        memory: bytes of address space, with what the fork server has imported.
    """

    seconds: float = 300.0
    cpu_seconds: int = 300
    memory: int = 4 << 30


SCORING: Final = ProcessLimits()
CHECKING: Final = ProcessLimits(seconds=120.0, cpu_seconds=120)


class FailureKind(StrEnum):
    """How a call came to no end of its own."""

    TIME = "time"
    CPU = "cpu"
    MEMORY = "memory"
    KILLED = "killed"
    """By somebody else: the kernel, perhaps, because the machine has no memory left."""
    CRASHED = "crashed"
    ERROR = "error"
    """An error that is none of Palladion's: a fault of the function."""


class ProcessFailed(PalladionError):  # noqa: N818
    """A call came to no end of its own.

    Args:
        kind: how.
        message: the same in words that may be shown to anybody.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def call(
    function: Callable[P, Result],
    limits: ProcessLimits,
    stop: Stop | None = None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Result:
    """What ``function(*args, **kwargs)`` returns in a process of its own.

    Temporary files of it lie in a folder that is gone afterwards, however it ended.

    Args:
        function: importable by name; its arguments and what it returns cross processes.
        limits: what it may use.
        stop: kills it, where it is asked for at once.
        args: of the function.
        kwargs: of the function.

    Raises:
        ProcessFailed: it was killed at a limit, crashed, or has a fault.
        Stopped: ``stop`` was asked for at once.
        PalladionError: what the function raised; InputError where it was one.
    """
    from palladion.execution.staging import workspace

    context = _context()
    with workspace() as folder:
        receiver, sender = context.Pipe(duplex=False)
        task = (function, args, kwargs)
        process = context.Process(target=_work, args=(task, limits, str(folder), sender), daemon=True)
        with receiver:
            try:
                _start(process)
            finally:
                sender.close()
            try:
                answer = _answer(receiver, limits.seconds, stop)
            finally:
                process.kill()
                connection.wait([process.sentinel])
                with _starting:
                    process.join()
    if answer is None:
        raise _death(process.exitcode, limits)
    kind, value = answer
    if kind == "result":
        result: Result = value
        return result
    if kind == "memory":
        raise ProcessFailed(FailureKind.MEMORY, _words(FailureKind.MEMORY, limits))
    if kind == "error":
        _log.error("a function in a process of its own has a fault:\n%s", value)
        raise ProcessFailed(FailureKind.ERROR, "a fault of Palladion itself; the log of the service says more")
    raise (InputError if kind == "input" else PalladionError)(value)


def warm() -> None:
    """Start the fork server and let it import what it needs, so that the first call is as fast as the others."""
    call(os.getpid, ProcessLimits())


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return context


def _start(process: Any) -> None:
    # The fork server is started by the first call, and ignores SIGINT from then on; Ctrl-C in the middle of starting it
    # would leave it half-started, so the signal waits until it runs.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _starting:
            process.start()
    except OSError as error:
        if "AF_UNIX path too long" not in str(error):
            raise
        raise PalladionError(
            f"{tempfile.gettempdir()}: the name of the folder for temporary files is too long for a socket in it; set "
            "TMPDIR to a shorter one"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _answer(receiver: Any, seconds: float, stop: Stop | None) -> tuple[str, Any] | None:
    """What the process says; None: it is gone and has said nothing."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise ProcessFailed(FailureKind.TIME, f"it took longer than {seconds:g} s and was killed")
        if receiver.poll(min(left, _LOOK)):
            break
        if stop is not None and stop.at_once:
            raise Stopped("stopped")
    try:
        answer: tuple[str, Any] = receiver.recv()
    except (EOFError, pickle.UnpicklingError):
        return None
    return answer


def _death(exit_code: int | None, limits: ProcessLimits) -> ProcessFailed:
    if exit_code == -signal.SIGXCPU:
        return ProcessFailed(FailureKind.CPU, _words(FailureKind.CPU, limits))
    if exit_code == -signal.SIGKILL:
        return ProcessFailed(FailureKind.KILLED, "its process was killed; the machine may have had no memory left")
    how = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = signal.Signals(-exit_code).name
    return ProcessFailed(FailureKind.CRASHED, f"its process crashed ({how})")


def _words(kind: FailureKind, limits: ProcessLimits) -> str:
    if kind is FailureKind.CPU:
        return f"it took more than {limits.cpu_seconds} s of processor time and was killed"
    return f"it needs more than the {limits.memory >> 20} MiB of memory that there are for it"


# --- in the process ---------------------------------------------------------------------------------------------------


def _work(task: tuple[Any, Any, Any], limits: ProcessLimits, folder: str, sender: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        os.chdir(folder)
    except OSError:
        os._exit(1)  # who asked is gone, and its folder with it
    # What is left there when we are killed is removed with the folder, and not left in the system's own.
    tempfile.tempdir = folder
    os.environ["TMPDIR"] = folder
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
    ):
        _limit(what, most)
    function, args, kwargs = task
    answer: tuple[str, Any]
    try:
        answer = ("result", function(*args, **kwargs))
    except MemoryError:
        answer = ("memory", None)
    except InputError as error:
        answer = ("input", str(error))
    except PalladionError as error:
        answer = ("told", str(error))
    except Exception:  # whatever it is, it is told to the parent
        answer = ("error", traceback.format_exc())
    try:
        sender.send(answer)
    except MemoryError:
        sender.send(("memory", None))
    except OSError:
        os._exit(1)  # who asked is gone


def _limit(what: int, most: int) -> None:
    """Set a limit; where less is allowed already, that stays."""
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (least, hard if what == resource.RLIMIT_CPU else least))


def _die_with_parent() -> None:
    # Who forked us is the fork server, which lives as long as any process of it: the kernel's own signal at a parent's
    # death would never come.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
