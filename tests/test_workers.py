import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.workers import WorkerError, run_tasks


def square(number: int) -> int:
    return number**2


def process_id(_: int) -> int:
    return os.getpid()


def fail(number: int) -> int:
    if number == 2:
        raise InputError("two is not allowed", path="numbers.csv", line=3)
    if number == 3:
        raise RuntimeError("unexpected")
    if number == 5:
        Path("/no/such/folder").write_text("x")
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def touch_later(path: Path) -> None:
    path.with_suffix(".started").touch()
    time.sleep(1.5)
    path.touch()


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_task_is_done_once(jobs: int) -> None:
    assert sorted(run_tasks(square, range(7), jobs=jobs)) == [(i, i**2) for i in range(7)]


def test_no_tasks_give_no_results() -> None:
    assert list(run_tasks(square, [], jobs=2)) == []


def test_every_task_has_a_process_of_its_own() -> None:
    processes = {process for _, process in run_tasks(process_id, range(5), jobs=2)}
    assert len(processes) == 5
    assert os.getpid() not in processes


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (2, r"numbers.csv, line 3: two is not allowed"),
        (3, "RuntimeError: unexpected"),
        (4, "killed by SIGKILL .*fewer jobs"),
        (5, r"^/no/such/folder: No such file or directory$"),
    ],
)
def test_a_failure_says_which_task_and_why(number: int, message: str) -> None:
    with pytest.raises(WorkerError, match=message) as caught:
        list(run_tasks(fail, [0, number], jobs=1))
    assert caught.value.task == 1


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_closing_kills_what_still_runs(tmp_path: Path) -> None:
    path = tmp_path / "late"
    with closing(run_tasks(touch_or_return, [None, path], jobs=2)) as results:
        assert next(results) == (0, None)
        _wait_for(path.with_suffix(".started"))
    time.sleep(2)
    assert not path.exists()


def touch_or_return(path: Path | None) -> None:
    if path is not None:
        touch_later(path)


def test_workers_die_with_the_process_that_asked(tmp_path: Path) -> None:
    path = tmp_path / "late"
    code = (
        "from pathlib import Path\n"
        "from palladion.workers import run_tasks\n"
        "from tests.test_workers import touch_later\n"
        "if __name__ == '__main__':\n"
        f"    list(run_tasks(touch_later, [Path({str(path)!r})], jobs=1))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    _wait_for(path.with_suffix(".started"))
    process.kill()
    process.wait()
    time.sleep(2)
    assert not path.exists()


def test_a_folder_for_temporary_files_with_too_long_a_name_is_told(tmp_path: Path) -> None:
    code = (
        "from palladion.errors import PalladionError\nfrom palladion.workers import run_tasks\n"
        "try:\n    list(run_tasks(abs, [-1], jobs=1))\nexcept PalladionError as error:\n    print(error)\n"
    )
    long = tmp_path / ("long" * 30)
    long.mkdir()
    said = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True
    )
    assert said.stdout.startswith(f"{long}: the name of the folder for temporary files is too long")
