import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from palladion.errors import InputError, PalladionError
from palladion.execution.slots import Stop, Stopped
from palladion.jobs.processes import FailureKind, ProcessFailed, ProcessLimits, call, warm
from tests.conftest import SOURCE
from tests.jobs.conftest import wait_for
from tests.jobs.functions import (
    core_limit,
    die,
    double,
    fill,
    leave,
    refuse,
    rest,
    spin,
    use_files,
)

LIMITS = ProcessLimits(seconds=60.0)


def test_it_returns_what_the_function_returns() -> None:
    assert call(double, LIMITS, None, 20, more=2) == 42
    assert call(os.getpid, LIMITS) != os.getpid()
    warm()


def test_errors_of_palladion_come_back_as_they_are() -> None:
    with pytest.raises(InputError, match="not as it must be"):
        call(refuse, LIMITS, None, InputError)
    with pytest.raises(PalladionError, match="not as it must be") as raised:
        call(refuse, LIMITS, None, PalladionError)
    assert not isinstance(raised.value, InputError | ProcessFailed)


@pytest.mark.parametrize(
    ("function", "arguments", "limits", "kind", "words"),
    [
        (refuse, (KeyError,), LIMITS, FailureKind.ERROR, "a fault of Palladion itself"),
        (fill, (), LIMITS, FailureKind.MEMORY, "more than the 4096 MiB"),
        (rest, (60,), ProcessLimits(seconds=0.3), FailureKind.TIME, "longer than 0.3 s"),
        (spin, (), ProcessLimits(seconds=60, cpu_seconds=1), FailureKind.CPU, "more than 1 s of processor time"),
        (die, (signal.SIGSEGV,), LIMITS, FailureKind.CRASHED, "SIGSEGV"),
        (leave, (), LIMITS, FailureKind.CRASHED, "exit code 3"),
        (die, (signal.SIGKILL,), LIMITS, FailureKind.KILLED, "killed"),
    ],
)
def test_whatever_it_does_is_an_error_in_words(
    function: Callable[..., None],
    arguments: tuple[object, ...],
    limits: ProcessLimits,
    kind: FailureKind,
    words: str,
) -> None:
    with pytest.raises(ProcessFailed, match=words) as raised:
        call(function, limits, None, *arguments)
    assert raised.value.kind is kind
    assert "KeyError" not in str(raised.value)


def test_it_can_be_stopped_at_once_and_not_gracefully() -> None:
    stop = Stop()
    threading.Timer(0.3, stop.now).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        call(rest, LIMITS, stop, 60.0)
    assert time.monotonic() - start < 30
    patient = Stop()
    patient.gracefully()
    assert call(double, LIMITS, patient, 1) == 2


def test_its_temporary_files_are_gone_and_there_is_no_core() -> None:
    name, folder = call(use_files, LIMITS)
    assert Path(name).parent == Path(folder)
    assert not Path(folder).exists()
    assert call(core_limit, LIMITS)[0] == 0


def test_threads_do_not_take_each_others_endings() -> None:
    def one(number: int) -> int | None:
        if number % 3 == 0:
            with pytest.raises(ProcessFailed, match="exit code 3"):
                call(leave, LIMITS)
            return None
        return call(double, LIMITS, None, number)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(30))) == [None if n % 3 == 0 else 2 * n for n in range(30)]


def test_it_dies_with_who_asked_for_it(tmp_path: Path) -> None:
    """Also by SIGKILL, which nobody can catch."""
    noted = tmp_path / "pid"
    code = (
        "from pathlib import Path; from palladion.jobs.processes import *; from tests.jobs import functions as t;"
        f"call(t.note_and_rest, ProcessLimits(), None, Path({str(noted)!r}))"
    )
    path = f"{SOURCE}{os.pathsep}{SOURCE.parent}"
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}) as asking:
        wait_for(lambda: noted.exists() and noted.read_text())
        process = int(noted.read_text())
        asking.kill()
    wait_for(lambda: not _alive(process))


def _alive(process: int) -> bool:
    try:
        # A zombie is dead, and only waits for somebody to look at it.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
