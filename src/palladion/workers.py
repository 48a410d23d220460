"""Run independent tasks in worker processes: one fresh process a task, so many at a time.

Every task starts from the same state, so that its result depends neither on the tasks before it nor on how many run
at a time. The processes come from a fork server that has imported the heavy modules once (a hundredth of a second a
task instead of seconds). They die with the process that asked for them, however that one dies.
"""

import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing import connection
from typing import Any, TypeVar

from palladion.errors import PalladionError

__all__ = ["WorkerError", "run_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerError(PalladionError):
    """A task failed; :attr:`task` is its position."""

    def __init__(self, message: str, task: int) -> None:
        super().__init__(message)
        self.task = task


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, preload: Sequence[str] = ()
) -> Generator[tuple[int, Result], None, None]:
    """Run ``function`` on every task and yield ``(position, result)`` in the order in which they finish.

    Closing the iterator, an error or Ctrl-C kills the tasks that still run.

    Args:
        function: importable by name, as everything that crosses processes.
        tasks: what to run it on.
        jobs: how many run at a time, 1 or more.
        preload: modules that the fork server imports once.

    Raises:
        WorkerError: a task raised an error, or its process died.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["palladion.workers", *preload])
    running: dict[connection.Connection, tuple[int, Any]] = {}
    waiting = iter(enumerate(tasks))
    # The parent of a worker is the fork server, whose death is the sign that this process is gone.
    try:
        while True:
            while len(running) < max(jobs, 1):
                following = next(waiting, None)
                if following is None:
                    break
                position, task = following
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(function, task, sender), daemon=True)
                _start(process)
                sender.close()
                running[receiver] = (position, process)
            if not running:
                return
            for ready in connection.wait(list(running)):
                assert isinstance(ready, connection.Connection)
                receiver = ready
                position, process = running.pop(receiver)
                try:
                    succeeded, value = receiver.recv()
                except EOFError:
                    process.join()
                    raise WorkerError(_death(process.exitcode), position) from None
                finally:
                    receiver.close()
                process.join()
                if not succeeded:
                    raise WorkerError(str(value), position)
                yield position, value
    finally:
        for receiver, (_, process) in running.items():
            process.kill()
            process.join()
            receiver.close()


def _start(process: Any) -> None:
    # The fork server is started by the first task and ignores SIGINT from then on; Ctrl-C in the middle of starting
    # it would leave it half-started, so the signal waits until it runs.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
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


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (out of memory? run fewer jobs at a time)" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"
    return f"the worker ended with exit code {exit_code} and no result"


def _die_with_parent() -> None:
    # The process that forked us is the fork server, which lives as long as any worker: the kernel's own signal at a
    # parent's death would never come.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _work(function: Callable[[Any], Any], task: Any, sender: connection.Connection) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        outcome = (True, function(task))
    except PalladionError as error:
        outcome = (False, str(error))
    except OSError as error:  # a full disk, a missing permission: nobody needs to know from which line
        outcome = (False, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception:  # whatever a task raises is reported to the parent, with where it came from
        outcome = (False, traceback.format_exc())
    sender.send(outcome)
    sender.close()
