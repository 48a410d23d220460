"""What every sandbox does: prepare a data point, run a program on it, collect its answer, kill it all.

A back end is opened for one submission, with all folders that stay the same from data point to data point. It gives
each data point a fresh place of its own, and nothing of it outlasts the data point.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Protocol

from palladion.execution.interpreter import Interpreter

__all__ = [
    "DEFAULT_LIMITS",
    "Bind",
    "Contents",
    "Ended",
    "Layout",
    "Limit",
    "Limits",
    "Prepared",
    "Program",
    "Sandbox",
]

GIBI = 1 << 30


class Limit(StrEnum):
    """The limits of a data point."""

    TIME = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    SCRATCH = "scratch"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one data point may use. At a limit, all that it has started is killed.

    Attributes:
        seconds: wall time; None for no limit.
        memory_bytes: of all its processes and of the files that it writes, which lie in memory.
        processes: processes and threads at a time.
        scratch_bytes: files that it writes: scratch, temporary and shared memory.
        output_bytes: what it prints, standard output and error together.
        cpus: processors' worth of time it gets per second.
        cpu_seconds: processor time of all its processes; None for as much as ``cpus`` give in ``seconds``.
    """

    seconds: float | None = 600.0
    memory_bytes: int = 4 * GIBI
    processes: int = 256
    scratch_bytes: int = 2 * GIBI
    output_bytes: int = 16 << 20
    cpus: int = 1
    cpu_seconds: float | None = None


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder of this machine that the submission sees.

    Attributes:
        source: where it is here.
        name: what it is, a key of :attr:`Layout.binds`: ``submission``, ``learned``, ``train``,
            ``dataset``, ``round``, ``state``.
        writable: what is written there stays.
        links: it is made of links, which lead where they do inside.
    """

    source: Path
    name: str
    writable: bool = False
    links: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What a sandbox holds besides the data point.

    Attributes:
        interpreter: the Python that runs the submission; None for an image, which brings its own.
        binds: folders that it sees.
        preload: modules to import once for all data points, where the back end is warm.
        image: the file of an image submission.
        variables: environment variables beside the sandbox's own.
        gpus: graphics processors that it sees.
    """

    interpreter: Interpreter | None
    binds: tuple[Bind, ...] = ()
    preload: tuple[str, ...] = ()
    image: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are, as the program sees it.

    Attributes:
        python: the interpreter.
        data: the copy of the data point's open folder.
        result: the file that it leaves its answer in.
        scratch: an empty folder.
        binds: where each of :attr:`Contents.binds` is, by its name.
    """

    python: PurePosixPath
    data: PurePosixPath
    result: PurePosixPath
    scratch: PurePosixPath
    binds: dict[str, PurePosixPath]


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run: its arguments, and whether what it prints to standard error is shown as it comes."""

    command: tuple[str, ...]
    show: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        exit_code: what it returned; None where a signal or a limit ended it.
        signal: the signal that ended it, or None.
        limit: the limit that it was killed at, or None.
        seconds: wall time from its start to its end.
        peak_memory_bytes: the most memory that it used at a time; None if not measured.
        stdout: the last of what it printed.
        stderr: the same of standard error.
        answer: the text of its result file; None where there is none.
        answer_fault: what is wrong with the result file so that it was not read, or None.
    """

    exit_code: int | None
    signal: int | None
    limit: Limit | None
    seconds: float
    peak_memory_bytes: int | None
    stdout: str
    stderr: str
    answer: str | None = None
    answer_fault: str | None = None


class Prepared(Protocol):
    """A place for one run, made by :meth:`Sandbox.prepare`. Used once."""

    @property
    def layout(self) -> Layout:
        """Where things are in it."""

    def run(self, program: Program, limits: Limits) -> Ended:
        """Run a program to its end, with all that it started, and collect its answer.

        Raises:
            Cancelled: the sandbox was killed.
            ExecutionError: nothing can be run.
        """

    def discard(self) -> None:
        """Remove it with all that is in it. May be called at any time, and again."""


class Sandbox(Protocol):
    """A back end, open for one submission. Many threads may use it at a time."""

    name: str
    isolates: bool
    """Whether it keeps a submission from what it is not given. Sealed splits ask for it."""

    @property
    def warm(self) -> bool:
        """Whether libraries were imported once for all data points."""

    @property
    def why_cold(self) -> str | None:
        """Why it is not warm though it was asked to be; None where there is no reason to tell."""

    def prepare(self, data: Path | None, limits: Limits) -> Prepared:
        """A fresh place with a copy of a folder, under names and with times that say nothing.

        Raises:
            Cancelled: the sandbox was killed.
            InputError: the folder is missing, or holds a link or a special file.
            ExecutionError: nothing can be prepared.
        """

    def kill(self) -> None:
        """Kill all that runs, and let nothing start any more."""

    def close(self) -> None:
        """Kill what still runs and remove what is left of it."""
