import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from palladion.errors import ExecutionError
from palladion.execution.processes import Cancelled, Finished, Processes, environment

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
# Leaves a process behind that has its own session, ignores what can be ignored, and says its id.
DAEMON = (
    "import os, signal, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'], start_new_session=True, "
    "stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid, flush=True)"
)


def run(code: str, directory: Path, *, time_limit: float | None = 20, processes: Processes | None = None) -> Finished:
    command = [sys.executable, "-c", code]
    return (processes or Processes()).run(command, environment=ENVIRONMENT, directory=directory, time_limit=time_limit)


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so within five seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_the_exit_code_and_the_output_come_back(tmp_path: Path) -> None:
    finished = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path)
    assert (finished.exit_code, finished.signal, finished.timed_out) == (3, None, False)
    assert (finished.stdout, finished.stderr) == ("out\n", "err\n")


def test_a_signal_is_told_from_an_exit_code(tmp_path: Path) -> None:
    finished = run("import os; os.kill(os.getpid(), 11)", tmp_path)
    assert (finished.exit_code, finished.signal) == (None, signal.SIGSEGV)


def test_wall_time_and_processor_time_are_the_programs_own(tmp_path: Path) -> None:
    asleep = run("import time; time.sleep(0.5)", tmp_path)
    assert 0.5 <= asleep.seconds < 3
    assert asleep.cpu_seconds < 0.4
    busy = run("import time\nwhile time.process_time() < 0.5: pass", tmp_path)
    assert 0.5 <= busy.cpu_seconds < 3


def test_peak_memory_is_the_programs_own(tmp_path: Path) -> None:
    small, large = run("pass", tmp_path), run("b'x' * (200 << 20)", tmp_path)
    assert small.peak_memory_bytes is not None
    assert large.peak_memory_bytes is not None
    assert small.peak_memory_bytes < 100 << 20
    assert 200 << 20 <= large.peak_memory_bytes < 300 << 20


def test_peak_memory_is_not_that_of_a_large_parent(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from palladion.execution.processes import Processes; large = b'x' * (500 << 20); "
        f"print(Processes().run(['/bin/true'], environment={{}}, directory=Path({str(tmp_path)!r})).peak_memory_bytes)"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=source).stdout
    assert int(output) < 100 << 20


def test_at_the_time_limit_all_descendants_die(tmp_path: Path) -> None:
    start = time.monotonic()
    code = f"{DAEMON}; signal.signal(signal.SIGTERM, signal.SIG_IGN); import time; time.sleep(600)"
    finished = run(code, tmp_path, time_limit=1)
    assert finished.timed_out
    assert 1 <= finished.seconds < 3
    assert time.monotonic() - start < 5
    assert gone(int(finished.stdout))


def test_what_a_program_leaves_behind_dies_with_it(tmp_path: Path) -> None:
    finished = run(DAEMON, tmp_path)
    assert finished.exit_code == 0
    assert gone(int(finished.stdout))


def test_nothing_survives_the_death_of_palladion(tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.mkdir()
    inner = f"{DAEMON}; print(os.getpid(), file=open('pids', 'a')); print(p.pid, file=open('pids', 'a')); "
    inner += "import time; time.sleep(600)"
    code = (
        "from pathlib import Path; import sys; from palladion.execution.processes import Processes; "
        f"here = Path({str(tmp_path)!r}); "
        f"Processes().run([sys.executable, '-c', {inner!r}], environment={{}}, directory=here, "
        "remove=[here / 'staged'])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2] / "src")
    pids: list[int] = []
    for _ in range(200):
        time.sleep(0.05)
        if (tmp_path / "pids").exists():
            pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
        if len(pids) == 2:
            break
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    assert all(gone(pid) for pid in pids)
    for _ in range(100):
        if not staged.exists():
            break
        time.sleep(0.05)
    assert not staged.exists()


def test_stop_ends_what_runs_and_lets_nothing_start(tmp_path: Path) -> None:
    processes = Processes()
    threading.Timer(0.3, processes.stop).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        run("import time; time.sleep(600)", tmp_path, processes=processes)
    assert time.monotonic() - start < 5
    with pytest.raises(Cancelled):
        run("pass", tmp_path, processes=processes)


def test_of_a_flood_only_the_end_is_kept(tmp_path: Path) -> None:
    finished = run("import sys; sys.stderr.write('x' * (30 << 20)); sys.stderr.write('the end')", tmp_path)
    assert finished.exit_code == 0
    assert finished.stderr.endswith("xthe end")
    assert len(finished.stderr) < 100_000


def test_a_program_sees_nothing_but_what_it_is_given(tmp_path: Path) -> None:
    code = "import os, sys; print(dict(os.environ), os.listdir('/proc/self/fd'), repr(sys.stdin.read()), os.getcwd())"
    finished = run(code, tmp_path)
    # Descriptor 3 is the one that lists the folder; LC_CTYPE is Python's own doing.
    assert finished.stdout == f"{ ({**ENVIRONMENT, 'LC_CTYPE': 'C.UTF-8'}) } ['0', '1', '2', '3'] '' {tmp_path}\n"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"/no/such/program could not be run: .*No such file"):
        Processes().run(["/no/such/program"], environment={}, directory=tmp_path)


def test_a_program_that_kills_its_watcher_has_failed(tmp_path: Path) -> None:
    finished = run("import os, time; os.kill(os.getppid(), 9); time.sleep(600)", tmp_path)
    assert finished.exit_code is None
    assert finished.peak_memory_bytes is None


def test_the_environment_tells_nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", "/elsewhere"]))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    given = environment(tmp_path)
    assert "SECRET_TOKEN" not in given
    assert given["HOME"] == str(tmp_path)
    assert given["OMP_NUM_THREADS"] == "1"
    # The program runs elsewhere, so that relative paths would mean something else.
    assert given["PYTHONPATH"] == f"{Path('src').absolute()}:/elsewhere"
