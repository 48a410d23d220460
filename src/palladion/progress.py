"""Progress of long jobs: a bar with what is left and the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "progress"]

_SECONDS_BETWEEN_LINES = 15.0


class Progress(Protocol):
    """What a job tells about itself."""

    def advance(self, note: str = "") -> None:
        """One more of the job's items is done; ``note`` says something about it."""

    def say(self, line: str) -> None:
        """Print a line without disturbing the bar."""


class _Bar:
    def __init__(self, total: int, label: str) -> None:
        # Rich takes a tenth of a second to import: only a job that runs pays for it.
        from rich import progress as rich_progress
        from rich.console import Console

        self._progress = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            # Models take from seconds to a minute; half an hour of history smooths the estimate.
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}", style="dim"),
            console=Console(stderr=True),
            speed_estimate_period=1800.0,
        )
        self._task = self._progress.add_task(label, total=total, note="")
        self._progress.start()

    def advance(self, note: str = "") -> None:
        self._progress.update(self._task, advance=1, note=note)

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, total: int, label: str) -> None:
        self._total, self._label = total, label
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, note: str = "") -> None:  # noqa: ARG002 - a line now and then has no room for it
        self._done += 1
        now = time.monotonic()
        if self._done < self._total and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        left = (now - self._start) / self._done * (self._total - self._done)
        tail = f", about {left:.0f} s left" if self._done < self._total else f" in {now - self._start:.0f} s"
        self.say(f"{self._label}: {self._done} of {self._total}{tail}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        pass


@contextmanager
def progress(total: int, label: str) -> Iterator[Progress]:
    """Show the progress of a job of ``total`` items on standard error."""
    shown: _Bar | _Lines = _Bar(total, label) if sys.stderr.isatty() else _Lines(total, label)
    try:
        yield shown
    finally:
        shown.close()
