"""The sandboxes of containers. What needs podman runs podman; Apptainer itself is nowhere needed, see the stand-in."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from palladion.errors import ExecutionError, InputError
from palladion.execution.interpreter import own
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox import apptainer, container_folders, podman
from palladion.execution.sandbox.apptainer import ApptainerSandbox
from palladion.execution.sandbox.container_folders import Mount
from palladion.execution.sandbox.container_watch import kill_tree, split
from palladion.execution.sandbox.containers import ContainerSandbox, Spot
from palladion.execution.sandbox.contract import Bind, Contents, Ended, Limit, Limits, Program
from palladion.execution.sandbox.opening import BACK_ENDS, open_sandbox
from palladion.execution.sandbox.podman import PodmanSandbox
from palladion.execution.sandbox.probes import PROBES, examine
from tests.conftest import MakeRound, Palladion

SOURCE = Path(__file__).resolve().parents[2] / "src"
MEBI = 1 << 20
LIMITS = Limits(seconds=30.0, memory_bytes=256 * MEBI, processes=20, scratch_bytes=32 * MEBI, output_bytes=MEBI, cpus=1)
needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
# As an ordinary user nothing can be mounted on this machine, so podman shows folders as they are named here.
ONLY_AS_ROOT = {"paths", "traces"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "id-00000007" / "open"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_text("weights")
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PodmanSandbox]:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    with closing(PodmanSandbox(Contents(own()))) as found:
        yield found


def run(sandbox: ContainerSandbox, code: str, data: Path | None = None, limits: Limits = LIMITS) -> Ended:
    place = sandbox.prepare(data, limits)
    try:
        return place.run(Program((str(sandbox.layout.python), "-c", textwrap.dedent(code))), limits)
    finally:
        place.discard()


def containers() -> list[str]:
    """The names of this process's containers, running or not."""
    wanted = f"label=palladion={podman._owner()}"
    command = ["podman", "ps", "--all", "--filter", wanted, "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def mounted(folder: Path) -> bool:
    return any(
        line.split()[4].startswith(str(folder)) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )


# podman: what every sandbox promises


@needs_podman
def test_podman_keeps_every_promise_of_a_sandbox() -> None:
    findings = examine("podman")
    assert [finding.name for finding in findings] == [probe.name for probe in PROBES]
    excused = set() if os.geteuid() == 0 else ONLY_AS_ROOT
    broken = {finding.name: finding.detail for finding in findings if not finding.held}
    assert {name: detail for name, detail in broken.items() if name not in excused} == {}
    assert containers() == []


def test_the_answer_of_a_detector_is_collected(sandbox: PodmanSandbox, data: Path) -> None:
    ended = run(
        sandbox,
        """
        import pathlib, sys
        assert pathlib.Path("/data/model.pt").read_text() == "weights"
        pathlib.Path("notes").write_text("in the scratch folder")
        pathlib.Path("/box/result.txt").write_text("0.75")
        print("out"); print("err", file=sys.stderr)
        """,
        data,
    )
    assert (ended.exit_code, ended.signal, ended.limit) == (0, None, None)
    assert (ended.answer, ended.answer_fault) == ("0.75", None)
    assert (ended.stdout, ended.stderr) == ("out\n", "err\n")
    assert ended.peak_memory_bytes is not None
    assert MEBI < ended.peak_memory_bytes < LIMITS.memory_bytes


def test_the_seconds_are_the_programs_own(sandbox: PodmanSandbox) -> None:
    started = time.monotonic()
    ended = run(sandbox, "import time; time.sleep(0.3)")
    assert 0.3 <= ended.seconds < time.monotonic() - started - 0.05  # making the container takes longer than that


@pytest.mark.parametrize(
    ("code", "exit_code", "number"),
    [
        ("import sys; sys.exit(3)", 3, None),
        ("import sys; sys.exit(200)", 200, None),
        ("import sys; sys.exit(137)", 137, None),
        ("import os; os.kill(os.getpid(), 11)", None, signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", None, signal.SIGKILL),
        ("import os; os.abort()", None, signal.SIGABRT),
    ],
)
def test_an_exit_code_is_told_from_a_signal(
    sandbox: PodmanSandbox, code: str, exit_code: int | None, number: int | None
) -> None:
    ended = run(sandbox, code)
    assert (ended.exit_code, ended.signal, ended.limit) == (exit_code, number, None)


def test_a_program_that_is_not_there_ends_as_in_a_shell(sandbox: PodmanSandbox) -> None:
    place = sandbox.prepare(None, LIMITS)
    try:
        ended = place.run(Program(("/no/such/program",)), LIMITS)
    finally:
        place.discard()
    assert ended.exit_code == 127
    assert "/no/such/program" in ended.stderr


def test_an_answer_that_failed_is_none(sandbox: PodmanSandbox) -> None:
    ended = run(sandbox, "import sys; open('/box/result.txt', 'w').write('0.5'); sys.exit(1)")
    assert (ended.exit_code, ended.answer) == (1, None)
    assert run(sandbox, "pass").answer is None


def test_a_result_that_is_a_link_is_not_followed(sandbox: PodmanSandbox) -> None:
    ended = run(sandbox, "import os; os.symlink('/etc/passwd', '/box/result.txt')")
    assert ended.answer is None
    assert "symbolic link" in str(ended.answer_fault)


@pytest.mark.parametrize(
    ("limit", "changed", "code"),
    [
        (Limit.TIME, {"seconds": 0.5}, "import time\nwhile True: time.sleep(1)"),
        (Limit.CPU, {"cpu_seconds": 0.3}, "while True: pass"),
        (Limit.MEMORY, {}, "hoard = []\nwhile True: hoard.append(b'x' * (1 << 20))"),
        (
            Limit.PROCESSES,
            {},
            "import os, time\nfor n in range(40):\n  if os.fork() == 0: time.sleep(60)\ntime.sleep(60)",
        ),
        (
            Limit.SCRATCH,
            {},
            "import time\nwith open('f', 'wb', 0) as f:\n  try:\n"
            "    while f.write(bytes(1 << 20)): pass\n  except OSError: time.sleep(60)",
        ),
        (Limit.OUTPUT, {}, "while True: print('x' * 1000)"),
    ],
)
def test_at_a_limit_all_is_killed_and_the_limit_is_told(
    sandbox: PodmanSandbox, limit: Limit, changed: dict[str, float], code: str
) -> None:
    values = {name: getattr(LIMITS, name) for name in Limits.__slots__}
    ended = run(sandbox, code, limits=Limits(**{**values, **changed}))
    assert ended.limit is limit
    assert (ended.exit_code, ended.signal, ended.answer) == (None, None, None)
    assert ended.seconds < 20
    assert containers() == []


def test_what_a_program_leaves_running_ends_with_it(sandbox: PodmanSandbox) -> None:
    started = time.monotonic()
    ended = run(
        sandbox,
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        open("/box/result.txt", "w").write("1")
        """,
    )
    assert (ended.exit_code, ended.answer) == (0, "1")
    assert time.monotonic() - started < 20
    assert containers() == []


def test_the_output_that_is_kept_is_its_end(sandbox: PodmanSandbox) -> None:
    ended = run(sandbox, "print('x' * 100_000 + 'the end')")
    assert ended.stdout.endswith("xthe end\n")
    assert len(ended.stdout) < 20_000


def test_standard_output_can_be_opened_by_its_name(sandbox: PodmanSandbox) -> None:
    ended = run(sandbox, "import os; os.system('echo out >/dev/stdout; echo err >/dev/stderr')")
    assert (ended.stdout, ended.stderr) == ("out\n", "err\n")


def test_the_environment_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("SECRET", "of the organiser")
    with closing(PodmanSandbox(Contents(own(), variables={"OWN": "a, b = c"}), cpus=3)) as sandbox:
        ended = run(sandbox, "import json, os; print(json.dumps(dict(os.environ)))")
    told = json.loads(ended.stdout)
    assert {"HTTPS_PROXY", "https_proxy", "SECRET", "container"} & set(told) == set()
    assert (told["OWN"], told["HOME"], told["OMP_NUM_THREADS"]) == ("a, b = c", "/box/scratch", "3")


def test_process_1_keeps_its_descriptors_to_itself(sandbox: PodmanSandbox) -> None:
    ended = run(
        sandbox,
        """
        import os
        for name in ("/proc/1/fd", "/proc/1/environ", "/proc/1/mem"):
            try:
                os.listdir(name) if name.endswith("fd") else open(name, "rb").read(1)
                print(name)
            except OSError:
                pass
        """,
    )
    assert (ended.exit_code, ended.stdout) == (0, "")


def test_a_program_can_use_worker_processes(sandbox: PodmanSandbox) -> None:
    ended = run(
        sandbox,
        "from multiprocessing import get_context\nif __name__ == '__main__':\n"
        "  with get_context('fork').Pool(2) as pool: print(sum(pool.map(abs, [-1, -2])))",
    )
    assert (ended.exit_code, ended.stdout) == (0, "3\n"), ended.stderr


def test_several_data_points_run_at_a_time(sandbox: PodmanSandbox) -> None:
    found: dict[int, Ended] = {}

    def one(n: int) -> None:
        found[n] = run(sandbox, f"import time; time.sleep(0.2); open('/box/result.txt', 'w').write('0.{n}')")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {n: ended.answer for n, ended in found.items()} == {0: "0.0", 1: "0.1", 2: "0.2"}


@needs_podman
@pytest.mark.parametrize("copied", [True, False])
def test_folders_of_a_submission_are_read_only_and_one_keeps_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    if not copied:
        monkeypatch.setattr(container_folders, "_COPIED_BYTES", -1)
    tmp_path.chmod(0o755)
    submission, state = tmp_path / "team-red", tmp_path / "state"
    submission.mkdir()
    (submission / "entrypoint.py").write_text("print('hello')")
    state.mkdir()
    contents = Contents(own(), (Bind(submission, "submission"), Bind(state, "state", writable=True)))
    with closing(PodmanSandbox(contents)) as sandbox:
        assert {name: str(path) for name, path in sandbox.layout.binds.items()} == {
            "submission": "/submission",
            "state": "/state",
        }
        ended = run(
            sandbox,
            """
            import pathlib
            print(pathlib.Path("/submission/entrypoint.py").read_text())
            for name in ("/submission/x", "/submission/entrypoint.py"):
                try:
                    pathlib.Path(name).write_text("")
                    print("wrote", name)
                except OSError:
                    pass
            pathlib.Path("/state/learned").write_text("weights")
            print(open("/proc/self/mountinfo").read())
            """,
        )
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout.startswith("print('hello')\n")
    assert "wrote" not in ended.stdout
    assert (state / "learned").read_text() == "weights"
    if os.geteuid() == 0:
        assert "team-red" not in ended.stdout
    assert (submission / "entrypoint.py").read_text() == "print('hello')"


def test_a_data_point_with_a_link_is_refused(sandbox: PodmanSandbox, data: Path) -> None:
    (data / "link").symlink_to("/etc/passwd")
    before = sorted(sandbox.stage.folder.iterdir())
    with pytest.raises(InputError, match="link"):
        sandbox.prepare(data, LIMITS)
    assert sorted(sandbox.stage.folder.iterdir()) == before


def test_nothing_is_left_of_a_data_point(sandbox: PodmanSandbox, data: Path) -> None:
    before = sorted(sandbox.stage.folder.iterdir())
    place = sandbox.prepare(data, LIMITS)
    folder = next(iter(set(sandbox.stage.folder.iterdir()) - set(before)))
    place.discard()
    place.discard()
    assert sorted(sandbox.stage.folder.iterdir()) == before
    assert not mounted(folder)


@needs_podman
def test_a_sealed_split_is_evaluated_in_containers(
    make_round: MakeRound, nist_submission: Path, palladion: Palladion
) -> None:
    if os.geteuid() != 0:
        pytest.skip("podman does not keep sealed splits sealed without root: it shows folders as they are named here")
    behaviour = {
        0: 'result.write_text("0.75")',
        1: "import os; os.abort()",
        2: "print(sorted(os.listdir(model))); (scratch / 'x').write_text(''); result.write_text('0.5')",
    }
    round_directory = make_round([True, False, True], behaviour=behaviour)
    done = palladion(
        "evaluate",
        nist_submission,
        "--round",
        round_directory,
        "--sandbox",
        "podman",
        "--memory",
        "512M",
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    assert "podman runs every model in a container of its own" in done.stdout + done.stderr
    outcomes = json.loads(done.stdout)["outcomes"]
    found = {outcome["data_point"]: (outcome["probability"], outcome["error"]) for outcome in outcomes}
    assert found == {"id-00000000": (0.75, None), "id-00000001": (None, "crashed"), "id-00000002": (0.5, None)}


# podman: being killed


@needs_podman
def test_killing_ends_what_runs_and_leaves_no_container(data: Path) -> None:
    sandbox = PodmanSandbox(Contents(own()))
    caught: list[BaseException] = []

    def one() -> None:
        try:
            run(sandbox, "import time; time.sleep(600)", data)
        except BaseException as error:
            caught.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(containers()) == 2)
    sandbox.kill()
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in caught] == [Cancelled, Cancelled]
    assert containers() == []
    with pytest.raises(Cancelled):
        sandbox.prepare(data, LIMITS)
    folder = sandbox.stage.folder
    sandbox.close()
    assert not folder.parent.exists()
    assert not mounted(folder)


@needs_podman
@pytest.mark.parametrize("pause", [0.0, 0.1, 0.2])
def test_killing_while_a_container_is_being_made_leaves_none(pause: float) -> None:
    sandbox = PodmanSandbox(Contents(own()))
    caught: list[BaseException] = []

    def one() -> None:
        try:
            run(sandbox, "import time; time.sleep(600)")
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=one)
    thread.start()
    time.sleep(pause)
    sandbox.close()
    thread.join(30)
    assert [type(error) for error in caught] == [Cancelled]
    assert containers() == []


@needs_podman
def test_a_killed_owner_leaves_nothing_running_and_the_next_one_clears_up(tmp_path: Path) -> None:
    code = f"""
        import sys
        from palladion.execution.interpreter import own
        from palladion.execution.sandbox.contract import Contents, Limits, Program
        from palladion.execution.sandbox.podman import PodmanSandbox, _owner
        sandbox = PodmanSandbox(Contents(own()))
        place = sandbox.prepare(None, Limits(memory_bytes={LIMITS.memory_bytes}))
        print(_owner(), sandbox.stage.folder, flush=True)
        place.run(Program((str(sandbox.layout.python), "-c", "import time; time.sleep(600)")),
                  Limits(memory_bytes={LIMITS.memory_bytes}))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert process.stdout is not None
    owner, folder = process.stdout.readline().split()

    def running() -> str:
        command = ["podman", "ps", "--all", "--filter", f"label=palladion={owner}", "--format", "{{.State}}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().lower()

    try:
        until(lambda: running().startswith(("up", "running")))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    until(lambda: running() == "")
    if os.geteuid() != 0:
        return  # nothing was mounted, and a workspace alone is removed with the others

    def cleared() -> bool:
        with closing(PodmanSandbox(Contents(own()))):
            return not mounted(Path(folder)) and not Path(folder).parent.exists()

    until(cleared)  # at once, unless somebody else is looking for leftovers at this moment as well


@needs_podman
def test_containers_of_owners_that_are_gone_are_removed_and_others_are_not(tmp_path: Path) -> None:
    names = {f"palladion-test-{os.getpid()}-{what}": what for what in ("gone", "here")}
    with closing(PodmanSandbox(Contents(own()))) as sandbox:
        engine, root = sandbox._engine, str(sandbox.stage.root)
        for name, what in names.items():
            owner = podman._owner() if what == "here" else f"{os.getpid()}-1"  # that process was another one
            podman._podman(engine, "create", "--name", name, "--label", f"palladion={owner}", "--rootfs", root, "true")
        try:
            listed = podman._podman(engine, "ps", "--all", "--format", "{{.Names}}").split()
            assert set(names) <= set(listed)
            podman.remove_leftover_containers(engine)
            left = podman._podman(engine, "ps", "--all", "--format", "{{.Names}}").split()
            assert [what for name, what in names.items() if name in left] == ["here"]
        finally:
            podman._podman(engine, "rm", "--force", "--ignore", *names)


# podman: the command line

SPOT = Spot(
    name="palladion-0",
    root=Path("/stage/r"),
    image=None,
    mounts=(Mount(Path("/usr"), "/usr"), Mount(Path("/stage/0/w"), "/box", writable=True)),
    limits=LIMITS,
    command=("/opt/environment/bin/python", "init.py"),
)


def pairs(command: list[str]) -> set[tuple[str, str]]:
    return set(itertools.pairwise(command))


def test_the_command_of_podman_closes_what_can_be_closed() -> None:
    engine = podman.Engine("runc", "cgroupfs", 2_013_265_920, False, 1000, 4096)
    command = podman.arguments(engine, SPOT, {"LD_LIBRARY_PATH": "/opt/python/lib"})
    assert command[:4] == ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", "run"]
    assert {"--rm", "--read-only", "--read-only-tmpfs=false", "--http-proxy=false", "--no-hosts"} <= set(command)
    assert {
        ("--network", "none"),
        ("--cap-drop", "all"),
        ("--security-opt", "no-new-privileges"),
        ("--user", "1000:1000"),
        ("--uidmap", "0:2013265920:65536"),
        ("--memory", f"{256 * MEBI}b"),
        ("--memory-swap", f"{256 * MEBI}b"),
        ("--pids-limit", "21"),
        ("--cpus", "1"),
        ("--pull", "never"),
        ("--volume", "/usr:/usr:ro"),
        ("--volume", "/stage/0/w:/box:rw,nosuid,nodev"),
        ("--env", "LD_LIBRARY_PATH=/opt/python/lib"),
    } <= pairs(command)
    assert command[-4:] == ["--rootfs", "/stage/r", *SPOT.command]
    assert "--privileged" not in command


def test_without_root_the_user_is_mapped_to_itself() -> None:
    command = podman.arguments(podman.Engine(None, None, None, True, 1000, 4096), SPOT, {}, ("/dev/nvidia0",))
    assert command[:2] == ["podman", "run"]
    assert {("--userns", "keep-id:uid=1000,gid=1000"), ("--device", "/dev/nvidia0")} <= pairs(command)
    assert "--uidmap" not in command


def test_podman_runs_no_image_and_is_never_warm(tmp_path: Path, sandbox: PodmanSandbox) -> None:
    with pytest.raises(InputError, match="apptainer"):
        PodmanSandbox(Contents(None, image=tmp_path / "a.sif"))
    assert (sandbox.warm, sandbox.why_cold, sandbox.isolates) == (False, None, True)
    with closing(PodmanSandbox(Contents(own()), warm=True)) as asked:
        assert asked.why_cold == "podman runs every model in a container of its own"


# opening


@pytest.mark.parametrize("name", [name for name in BACK_ENDS if name != "apptainer"])
def test_only_apptainer_runs_images(name: str, tmp_path: Path) -> None:
    if name != "none" and shutil.which({"bubblewrap": "bwrap"}.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    with pytest.raises(InputError, match="--sandbox apptainer"):
        open_sandbox(name, Contents(None, image=tmp_path / "a.sif"), warm=False, slots=1, cpus=1)


@pytest.mark.parametrize("name", ["podman", "apptainer"])
def test_a_missing_program_is_named(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutionError, match=f"no program {name} .bubblewrap is the usual one"):
        open_sandbox(name, Contents(own()), warm=False, slots=1, cpus=1)


# Apptainer: the command line

IMAGE = Spot(
    name="palladion-0",
    root=None,
    image=Path("/images/red.sif"),
    mounts=(Mount(Path("/stage/0/d"), "/data"), Mount(Path("/stage/0/w"), "/box", writable=True)),
    limits=LIMITS,
    command=("--model_filepath", "/data/model.pt"),
)


def test_the_command_of_apptainer_closes_what_can_be_closed() -> None:
    command = apptainer.arguments(apptainer.Engine(), IMAGE)
    assert command[:3] == ["apptainer", "--silent", "run"]
    assert {"--containall", "--no-privs", "--no-eval", "--no-umask", "--net", "--uts"} <= set(command)
    assert {
        ("--network", "none"),
        ("--hostname", "sandbox"),
        ("--no-mount", "hostfs,bind-paths"),
        ("--bind", "/stage/0/d:/data:ro"),
        ("--bind", "/stage/0/w:/box:rw"),
        ("--home", "/stage/0/w/scratch:/box/scratch"),
        ("--pwd", "/box/scratch"),
    } <= pairs(command)
    assert command[-3:] == ["/images/red.sif", "--model_filepath", "/data/model.pt"]
    assert {"--writable", "--writable-tmpfs", "--nv", "--memory", "--security", "--no-init"} & set(command) == set()


def test_a_root_folder_is_an_image_whose_first_process_is_ours() -> None:
    command = apptainer.arguments(apptainer.Engine(), SPOT)
    assert command[:4] == ["apptainer", "--silent", "exec", "--no-init"]
    assert command[-3:] == ["/stage/r", *SPOT.command]


def test_apptainer_gets_a_user_limits_and_graphics_processors_where_there_are_any() -> None:
    command = apptainer.arguments(apptainer.Engine(user=2_013_265_920, limits=True, gpus=True), IMAGE)
    assert {
        ("--security", "uid:2013265920"),
        ("--security", "gid:2013265920"),
        ("--memory", str(256 * MEBI)),
        ("--memory-swap", str(256 * MEBI)),
        ("--cpus", "1"),
    } <= pairs(command)
    assert "--nv" in command


def test_apptainer_hands_on_no_variable_of_this_machine() -> None:
    here = {
        "PATH": "/usr/bin",
        "APPTAINERENV_TOKEN": "secret",
        "SINGULARITYENV_TOKEN": "secret",
        "APPTAINER_BIND": "/home",
        "APPTAINER_CACHEDIR": "/cache",
    }
    found = apptainer.environment(here, {"OWN": "1,2", "HOME": "/box/scratch"})
    assert found == {"PATH": "/usr/bin", "APPTAINER_CACHEDIR": "/cache", "APPTAINERENV_OWN": "1,2"}


# Apptainer: the plumbing, with a stand-in

STAND_IN = """#!/bin/sh
# Stands in for Apptainer in tests: no container, no isolation. An "image" is a shell script; WORK is where /box is.
while [ $# -gt 0 ]; do
  case "$1" in
    --bind) case "$2" in *:/box:rw) WORK="${2%%:*}"; export WORK ;; esac; shift 2 ;;
    --home|--network|--hostname|--no-mount|--pwd|--security|--memory|--memory-swap|--cpus|--pids-limit) shift 2 ;;
    *.sif) break ;;
    *) shift ;;
  esac
done
sh "$@"
code=$?
exit $code
"""


class Runner:
    """Runs "images" with the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "red.sif"
        self.image.touch()
        self.sandbox = ApptainerSandbox(Contents(None, image=self.image))

    def __call__(self, script: str, *arguments: str, limits: Limits = LIMITS) -> Ended:
        self.image.write_text(script)
        place = self.sandbox.prepare(None, limits)
        try:
            return place.run(Program(arguments), limits)
        finally:
            place.discard()


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    programs = tmp_path / "stand-in"
    programs.mkdir()
    (programs / "apptainer").write_text(STAND_IN)
    (programs / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    found = Runner(tmp_path)
    with closing(found.sandbox):
        yield found


def test_an_image_gets_the_arguments_and_its_answer_is_collected(runner: Runner) -> None:
    ended = runner('echo "$@"; echo err >&2; echo 0.25 >"$WORK/result.txt"', "--model_filepath", "/data/a b")
    assert (ended.exit_code, ended.signal, ended.limit) == (0, None, None)
    assert (ended.stdout, ended.stderr) == ("--model_filepath /data/a b\n", "err\n")
    assert ended.answer == "0.25\n"


def test_an_image_reads_nothing_from_standard_input(runner: Runner) -> None:
    assert runner("cat; echo done").stdout == "done\n"


@pytest.mark.parametrize(
    ("script", "exit_code", "number"),
    [("exit 3", 3, None), ("kill -SEGV $$", None, signal.SIGSEGV), ("exit 255", 255, None)],
)
def test_what_apptainer_returns_is_an_exit_code_or_a_signal(
    runner: Runner, script: str, exit_code: int | None, number: int | None
) -> None:
    ended = runner(script)
    assert (ended.exit_code, ended.signal) == (exit_code, number)


def test_an_image_is_killed_at_its_time_limit_with_all_that_it_started(runner: Runner, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    started = time.monotonic()
    ended = runner(f"sleep 600 & echo $! >{noted}; sleep 600", limits=Limits(seconds=0.5, memory_bytes=64 * MEBI))
    assert (ended.limit, ended.exit_code) == (Limit.TIME, None)
    assert time.monotonic() - started < 20
    until(lambda: not alive(int(noted.read_text())))


def test_an_image_that_floods_is_killed(runner: Runner) -> None:
    assert runner("while true; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").limit is Limit.OUTPUT


def test_killing_ends_an_image(runner: Runner, tmp_path: Path) -> None:
    noted, caught = tmp_path / "pid", []

    def one() -> None:
        try:
            runner(f"echo $$ >{noted}.new; mv {noted}.new {noted}; sleep 600")
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=one)
    thread.start()
    until(noted.exists)
    runner.sandbox.kill()
    thread.join(30)
    assert len(caught) == 1
    until(lambda: not alive(int(noted.read_text())))


# helpers of both


def test_128_and_more_means_a_signal_where_there_is_one() -> None:
    assert [split(code) for code in (0, 1, 128, 137, 139, 255, -9)] == [
        (0, None),
        (1, None),
        (128, None),
        (None, 9),
        (None, 11),
        (255, None),
        (None, 9),
    ]


def test_a_tree_of_processes_is_killed_in_whole() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    kill_tree(process.pid)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    until(lambda: not alive(child))


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
