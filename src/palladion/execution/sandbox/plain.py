"""The back end that isolates nothing: plain processes of this user, for one's own detectors.

The submission is told neither the model's name nor its label, but nothing keeps it from looking for them. Of the
limits, only wall time is held.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from palladion.execution.processes import Processes, environment
from palladion.execution.sandbox.answers import read_answer
from palladion.execution.sandbox.contract import Contents, Ended, Layout, Limit, Limits, Program
from palladion.execution.staging import copy_open, workspace

__all__ = ["PlainSandbox"]

_DATA, _WORK, _RESULT = "active", "scratch", "result.txt"


class PlainSandbox:
    """No sandbox at all.

    Args:
        contents: what submissions see.
    """

    name = "none"
    isolates = False
    warm = False
    why_cold = None

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._processes = Processes()

    def prepare(self, data: Path | None, limits: Limits) -> "_Place":
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        del limits
        return _Place(self._contents, self._processes, data)

    def kill(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        self._processes.stop()

    def close(self) -> None:
        """See :class:`~palladion.execution.sandbox.contract.Sandbox`."""
        self.kill()


class _Place:
    """See :class:`~palladion.execution.sandbox.contract.Prepared`."""

    def __init__(self, contents: Contents, processes: Processes, data: Path | None) -> None:
        self._contents, self._processes = contents, processes
        self._exit = ExitStack()
        # Short: a submission's worker processes meet at sockets below its folder for temporary files.
        self._root = self._exit.enter_context(workspace(short=data is None))
        try:
            self._scratch = self._root / _WORK
            self._scratch.mkdir()
            if data is not None:
                copy_open(data, self._root / _DATA)
            else:
                (self._root / _DATA).mkdir()
        except BaseException:
            self._exit.close()
            raise
        interpreter = contents.interpreter
        self.layout = Layout(
            python=PurePosixPath(sys.executable if interpreter is None else interpreter.python),
            data=PurePosixPath(self._root / _DATA),
            result=PurePosixPath(self._root / _DATA / _RESULT),
            scratch=PurePosixPath(self._scratch),
            binds={bind.name: PurePosixPath(bind.source) for bind in contents.binds},
        )

    def run(self, program: Program, limits: Limits) -> Ended:
        finished = self._processes.run(
            program.command,
            environment={**environment(self._scratch), **self._contents.variables},
            directory=self._scratch,
            time_limit=limits.seconds,
            show=program.show,
            remove=[self._root],
        )
        answer, fault = None, None
        if finished.exit_code == 0:
            answer, fault = self._answer()
        return Ended(
            exit_code=None if finished.timed_out else finished.exit_code,
            signal=None if finished.timed_out else finished.signal,
            limit=Limit.TIME if finished.timed_out else None,
            seconds=finished.seconds,
            peak_memory_bytes=finished.peak_memory_bytes,
            stdout=finished.stdout,
            stderr=finished.stderr,
            answer=answer,
            answer_fault=fault,
        )

    def discard(self) -> None:
        self._exit.close()

    def _answer(self) -> tuple[str | None, str | None]:
        try:
            folder = os.open(self._root / _DATA, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return None, None
        try:
            return read_answer(folder, _RESULT), None
        except ValueError as error:
            return None, str(error)
        finally:
            os.close(folder)
