"""A program in the sandbox: that it runs as it would outside, that warm and cold are the same, that limits hold."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from palladion.errors import ExecutionError, InputError
from palladion.execution.interpreter import own
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.bubblewrap import BubblewrapSandbox
from palladion.execution.sandbox.contract import Bind, Contents, Limit, Program
from tests.execution.sandbox.conftest import LIMITS, Run


def processes_with(mark: str) -> list[int]:
    """Processes of this machine with a mark among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def leftovers(supervisor: int) -> list[str]:
    """Control groups of a supervisor that has ended."""
    return [str(path) for path in Path("/sys/fs/cgroup").rglob(f"palladion-{supervisor}-*")]


def test_a_script_runs_as_python_runs_it(run: Run) -> None:
    ended = run(
        """
import __main__, json, os, sys
VALUE = 7
print(json.dumps([sys.argv, __name__, __file__, os.getcwd(), __main__.VALUE, sys.path[0], sys.stdin.read()]))
open("/box/result.txt", "w").write("0.25")
""",
        "--x",
        "1",
    )
    assert ended.exit_code == 0, ended.stderr
    script = "/submission/program.py"
    assert json.loads(ended.stdout) == [
        [script, "--x", "1"],
        "__main__",
        script,
        "/box/scratch",
        7,
        "/submission",
        "",
    ]
    assert ended.answer == "0.25"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("raise SystemExit", 0),
        ("raise SystemExit(3)", 3),
        ("import sys; sys.exit('in words')", 1),
        ("import sys; sys.exit(258)", 2),
        ("import os; os._exit(9)", 9),
        ("1 / 0", 1),
        ("def f(:", 1),
        ("import threading, os; threading.Thread(target=lambda: os._exit(5)).start()", 5),
        ("import atexit, os; atexit.register(os._exit, 6)", 6),
    ],
)
def test_exit_codes_are_pythons(run: Run, source: str, code: int) -> None:
    assert run(source).exit_code == code


def test_a_signal_is_told(run: Run) -> None:
    assert run("import os; os.abort()").signal == signal.SIGABRT
    assert run("import os; os.kill(os.getpid(), 15)").signal == signal.SIGTERM


def test_a_traceback_shows_the_submissions_lines_and_no_others(run: Run) -> None:
    ended = run("def f():\n    raise ValueError('no idea')\nf()\n")
    assert "ValueError: no idea" in ended.stderr
    files = [line.split('"')[1] for line in ended.stderr.splitlines() if line.strip().startswith("File ")]
    assert set(files) == {"/submission/program.py"}


def test_what_is_registered_for_the_end_is_run_and_output_is_flushed(run: Run) -> None:
    source = """
import atexit, sys, threading, time
atexit.register(lambda: print("at exit"))
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.stdout.write("no new line")
"""
    assert run(source).stdout.replace("\n", " ").split() == ["no", "new", "linethread", "at", "exit"]


def test_a_program_may_start_processes_and_workers(run: Run) -> None:
    source = """
import multiprocessing, subprocess, sys
def square(x):
    return x * x
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(square, [1, 2, 3]))
    print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout)
"""
    ended = run(source)
    assert ended.stdout.split("\n")[:4] == ["[1, 4, 9]"] * 3 + ["42"], ended.stderr


def test_a_module_is_run_as_python_runs_it(tmp_path: Path, warm: bool) -> None:
    with closing(BubblewrapSandbox(Contents(own()), warm=warm, slots=1)) as sandbox:
        place = sandbox.prepare(None, LIMITS)
        python = str(place.layout.python)
        ended = place.run(Program((python, "-P", "-m", "palladion.detectors.entrypoint", "--help")), LIMITS)
        assert ended.exit_code == 0
        assert ended.stdout.startswith("usage: python -m palladion.detectors.entrypoint")


def test_random_numbers_differ_from_data_point_to_data_point(tmp_path: Path, warm: bool) -> None:
    (tmp_path / "program.py").write_text("import random, numpy; print(random.random(), numpy.random.random())")
    contents = Contents(own(), (Bind(tmp_path, "submission"),), preload=("numpy", "numpy.random"))
    with closing(BubblewrapSandbox(contents, warm=warm, slots=1)) as sandbox:
        drawn = []
        for _ in range(2):
            place = sandbox.prepare(None, LIMITS)
            drawn += place.run(Program((str(place.layout.python), "/submission/program.py")), LIMITS).stdout.split()
            place.discard()
    assert len(set(drawn)) == 4


def test_libraries_are_there_before_the_submission_starts(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print('numpy' in sys.modules, 'palladion' in sys.modules)")
    for warm, expected in ((True, "True"), (False, "False")):
        contents = Contents(own(), (Bind(tmp_path, "submission"),), preload=("numpy", "no_such_library"))
        with closing(BubblewrapSandbox(contents, warm=warm, slots=1)) as sandbox:
            assert (sandbox.warm, sandbox.why_cold) == (warm, None)
            place = sandbox.prepare(None, LIMITS)
            ended = place.run(Program((str(place.layout.python), "/submission/program.py")), LIMITS)
            assert ended.stdout.split()[0] == expected


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("import mmap; note_book = mmap.mmap(-1, 4096)", "shared memory"),
    ],
)
def test_where_a_fork_would_not_be_safe_it_is_cold_and_says_so(
    tmp_path: Path, library: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package of the environment, as far as the sandbox can tell: it lies where its Python looks for modules.
    for name in ("program", "unsafe"):
        (tmp_path / f"{name}.py").write_text("print('well')" if name == "program" else library)
    contents = Contents(
        own(), (Bind(tmp_path, "submission"),), preload=("unsafe",), variables={"PYTHONPATH": "/submission"}
    )
    with closing(BubblewrapSandbox(contents, warm=True, slots=1)) as sandbox:
        assert not sandbox.warm
        assert words in str(sandbox.why_cold)
        place = sandbox.prepare(None, LIMITS)
        assert place.run(Program((str(place.layout.python), "/submission/program.py")), LIMITS).stdout == "well\n"


def test_a_library_that_fails_halfway_is_left_to_the_submission(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("import sys\nsys.half = getattr(sys, 'half', 0) + 1\nraise ImportError('half')")
    (tmp_path / "program.py").write_text("import sys; print(getattr(sys, 'half', 0))")
    contents = Contents(
        own(), (Bind(tmp_path, "submission"),), preload=("half",), variables={"PYTHONPATH": "/submission"}
    )
    with closing(BubblewrapSandbox(contents, warm=True, slots=1)) as sandbox:
        assert sandbox.warm
        place = sandbox.prepare(None, LIMITS)
        assert place.run(Program((str(place.layout.python), "/submission/program.py")), LIMITS).stdout == "0\n"


BOMBS = {
    Limit.TIME: "import time; time.sleep(60)",
    Limit.CPU: "while True: pass",
    Limit.MEMORY: "x = bytearray(b'1' * (1 << 30))",
    Limit.PROCESSES: "import os\nwhile True:\n  try:\n    os.fork()\n  except OSError:\n    pass",
    Limit.SCRATCH: "f = open('f', 'wb', 0)\nwhile True:\n  f.write(bytes(1 << 20))",
    Limit.OUTPUT: "while True: print('x' * 10000)",
}


@pytest.mark.parametrize("groups", ["control groups", "watched"])
@pytest.mark.parametrize("limit", BOMBS)
def test_each_limit_ends_all_and_is_named(run: Run, limit: Limit, groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if groups == "watched":
        monkeypatch.setenv("PALLADION_CGROUP", "none")
    limits = replace(LIMITS, seconds=0.5 if limit is Limit.TIME else 20.0, cpu_seconds=0.4)
    if limit is not Limit.CPU:
        limits = replace(limits, cpu_seconds=None)
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    start = (
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)', '{mark}'])\n"
    )
    ended = run(start + BOMBS[limit], limits=limits)
    if limit is Limit.SCRATCH and ended.limit is None:
        assert "No space left" in ended.stderr  # it got the error before anybody looked
    else:
        assert ended.limit is limit
        assert (ended.exit_code, ended.signal, ended.answer) == (None, None, None)
    assert ended.seconds < 15
    assert processes_with(mark) == []
    assert [leftovers(pid) for pid in run.supervisors] == [[]]


def test_one_that_hits_its_limit_leaves_the_others_alone(tmp_path: Path, warm: bool) -> None:
    (tmp_path / "program.py").write_text(
        "import sys, time\nif sys.argv[1] == 'bomb':\n  x = bytearray(b'1' * (1 << 30))\n"
        "time.sleep(1)\nopen('/box/result.txt', 'w').write('0.5')"
    )
    found = {}
    contents = Contents(own(), (Bind(tmp_path, "submission"),))
    with closing(BubblewrapSandbox(contents, warm=warm, slots=2)) as sandbox:

        def one(what: str) -> None:
            place = sandbox.prepare(None, LIMITS)
            found[what] = place.run(Program((str(place.layout.python), "/submission/program.py", what)), LIMITS)
            place.discard()

        threads = [threading.Thread(target=one, args=(what,)) for what in ("bomb", "honest")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one("after")
    assert found["bomb"].limit is Limit.MEMORY
    assert [found[what].answer for what in ("honest", "after")] == ["0.5", "0.5"]


def test_data_is_copied_and_said_where_it_is_at_fault(tmp_path: Path, warm: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to("/etc/shadow")
    with closing(BubblewrapSandbox(Contents(own()), warm=warm, slots=1)) as sandbox:
        with pytest.raises(InputError, match="is a link") as caught:
            sandbox.prepare(tmp_path / "a", LIMITS)
        assert caught.value.path == tmp_path / "a" / "link"
        with pytest.raises(InputError, match="no such file or folder"):
            sandbox.prepare(tmp_path / "nowhere", LIMITS)


def test_a_writable_folder_keeps_what_is_written(tmp_path: Path, warm: bool) -> None:
    state = tmp_path / "state"
    state.mkdir()
    contents = Contents(own(), (Bind(state, "state", writable=True),))
    with closing(BubblewrapSandbox(contents, warm=warm, slots=1)) as sandbox:
        place = sandbox.prepare(None, LIMITS)
        code = "open('/state/kept', 'w').write('x')"
        assert place.run(Program((str(place.layout.python), "-c", code)), LIMITS).exit_code == (1 if warm else 0)
    assert (state / "kept").exists() is not warm


def test_killing_it_ends_what_runs_and_nothing_starts_any_more(run: Run, tmp_path: Path, warm: bool) -> None:
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    folder = tmp_path / "sleeper"
    folder.mkdir()
    (folder / "program.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(61)', sys.argv[1]])"
    )
    sandbox = BubblewrapSandbox(Contents(own(), (Bind(folder, "submission"),)), warm=warm, slots=1)
    place = sandbox.prepare(None, LIMITS)
    caught: list[BaseException] = []

    def sleep() -> None:
        try:
            place.run(Program((str(place.layout.python), "/submission/program.py", mark)), LIMITS)
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    end = time.monotonic() + 10
    while not processes_with(mark) and time.monotonic() < end:
        time.sleep(0.02)
    assert processes_with(mark)
    sandbox.kill()
    thread.join(timeout=10)
    assert len(caught) == 1
    sandbox.close()
    assert processes_with(mark) == []
    assert leftovers(sandbox._process.pid) == []
    with pytest.raises(Cancelled):
        sandbox.prepare(None, LIMITS)


def test_all_who_wait_hear_that_it_was_killed_though_the_supervisor_could_answer_none(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    (tmp_path / "program.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(61)', sys.argv[1]])"
    )
    sandbox = BubblewrapSandbox(Contents(own(), (Bind(tmp_path, "submission"),)), warm=True, slots=3)
    caught: list[BaseException] = []

    def sleep() -> None:
        try:
            place = sandbox.prepare(None, LIMITS)
            place.run(Program((str(place.layout.python), "/submission/program.py", mark)), LIMITS)
        except BaseException as error:
            caught.append(error)

    threads = [threading.Thread(target=sleep) for _ in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while len(processes_with(mark)) < len(threads) and time.monotonic() < end:
        time.sleep(0.02)
    assert len(processes_with(mark)) == len(threads)  # what is forked warm bears no mark, what it starts does
    sandbox._process.send_signal(signal.SIGSTOP)
    sandbox.kill()
    sandbox._process.kill()
    for thread in threads:
        thread.join(timeout=10)
    assert [type(error) for error in caught] == [Cancelled] * len(threads)
    sandbox.close()


def test_when_the_supervisor_is_killed_all_dies_with_it_and_it_is_said(tmp_path: Path, warm: bool) -> None:
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    (tmp_path / "program.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(61)', sys.argv[1]])"
    )
    sandbox = BubblewrapSandbox(Contents(own(), (Bind(tmp_path, "submission"),)), warm=warm, slots=1)
    place = sandbox.prepare(None, LIMITS)
    caught: list[BaseException] = []

    def sleep() -> None:
        try:
            place.run(Program((str(place.layout.python), "/submission/program.py", mark)), LIMITS)
        except ExecutionError as error:
            caught.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    while not processes_with(mark):
        time.sleep(0.02)
    sandbox._process.kill()
    thread.join(timeout=10)
    assert "supervisor has died" in str(caught[0])
    end = time.monotonic() + 5
    while processes_with(mark) and time.monotonic() < end:
        time.sleep(0.02)
    assert processes_with(mark) == []
    sandbox.close()


def test_a_fork_server_that_dies_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("open('/box/result.txt', 'w').write('0.5')")
    with closing(BubblewrapSandbox(Contents(own(), (Bind(tmp_path, "submission"),)), warm=True, slots=1)) as sandbox:
        for _ in range(2):
            place = sandbox.prepare(None, LIMITS)
            ended = place.run(Program((str(place.layout.python), "/submission/program.py")), LIMITS)
            assert ended.answer == "0.5"
            place.discard()
            children = Path(f"/proc/{sandbox._process.pid}/task")
            for pid in {pid for task in children.iterdir() for pid in (task / "children").read_text().split()}:
                os.kill(int(pid), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_without_bubblewrap_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExecutionError, match="apt-get install bubblewrap"):
        BubblewrapSandbox(Contents(own()), warm=False, slots=1)
