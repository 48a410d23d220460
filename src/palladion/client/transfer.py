"""Progress of bytes that travel: a bar with speed and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from palladion.client.words import size_in_words

__all__ = ["Transfer", "TransferFactory", "silent", "transfer"]

_SECONDS_BETWEEN_LINES = 15.0


class Transfer(Protocol):
    """What a transfer tells about itself."""

    def reached(self, count: int) -> None:
        """So many bytes of all are done; fewer than before where some have to travel again."""

    def say(self, line: str) -> None:
        """Print a line without disturbing the bar."""


TransferFactory = Callable[[int, str], AbstractContextManager[Transfer]]
"""Shows a transfer of so many bytes, under a label: :func:`transfer`, or :func:`silent`."""


class _Silent:
    def reached(self, count: int) -> None:
        pass

    def say(self, line: str) -> None:
        pass


class _Bar:
    def __init__(self, total: int, label: str) -> None:
        # Rich takes a tenth of a second to import: only a transfer that is shown pays for it.
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(label, total=total)
        self._progress.start()

    def reached(self, count: int) -> None:
        self._progress.update(self._task, completed=count)

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, total: int, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._label, self._clock = total, label, clock
        self._first: int | None = None
        self._start = self._last = clock()

    def reached(self, count: int) -> None:
        now = self._clock()
        if self._first is None:
            # What lay there before says nothing about the speed.
            self._first, self._start = count, now
        if count >= self._total or now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        done, seconds = count - self._first, now - self._start
        left = f", about {seconds / done * (self._total - count):.0f} s left" if done > 0 else ""
        self.say(f"{self._label}: {size_in_words(count)} of {size_in_words(self._total)}{left}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        pass


@contextmanager
def transfer(total: int, label: str) -> Iterator[Transfer]:
    """Show a transfer of ``total`` bytes on standard error."""
    shown: _Bar | _Lines = _Bar(total, label) if sys.stderr.isatty() else _Lines(total, label)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def silent(total: int, label: str) -> Iterator[Transfer]:  # noqa: ARG001 - as :func:`transfer` is called
    """Show nothing."""
    yield _Silent()
