"""The back end that runs submissions in containers of podman.

There is no image: a container has an empty root folder with this machine's ``/usr`` and the submission's Python in it.
As root, the container's users are numbers that nobody else has on this machine; as an ordinary user, podman's rootless
mode lets the submission be that user, and nobody else.

See :mod:`~palladion.execution.sandbox.containers` for all that is not podman's own.
"""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import ExecutionError, InputError
from palladion.execution.sandbox.container_folders import UID
from palladion.execution.sandbox.containers import ContainerSandbox, Spot, free_users
from palladion.execution.sandbox.contract import Contents, Limits, Program

__all__ = ["Engine", "PodmanSandbox", "arguments", "remove_leftover_containers"]

_LABEL = "palladion"
_USERS = 65536
_RESOURCES = ((resource.RLIMIT_NPROC, 32768), (resource.RLIMIT_NOFILE, 4096))
_SECONDS_TO_TRY = 60.0
_SECONDS_FOR_PODMAN = 60.0
_WHERE_RUNTIMES_ARE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_works: dict[bool, "Engine"] = {}  # by whether users are mapped: what was found to work in this process


@dataclass(frozen=True, slots=True)
class Engine:
    """How podman is called on this machine.

    Attributes:
        runtime: the program that makes the containers; None for podman's own choice.
        groups: who makes control groups; None for podman's own choice.
        users: the first of the numbers that the container's users have here, as root; None where they are not mapped.
        rootless: podman runs as an ordinary user.
        processes: limit of resources, which podman would set higher than some machines allow.
        files: the same of open files.
    """

    runtime: str | None
    groups: str | None
    users: int | None
    rootless: bool
    processes: int
    files: int

    @property
    def globals(self) -> list[str]:
        """The options that stand before podman's command."""
        found = [] if self.runtime is None else [f"--runtime={self.runtime}"]
        return found if self.groups is None else [*found, f"--cgroup-manager={self.groups}"]


class PodmanSandbox(ContainerSandbox):
    """Containers of podman.

    Args:
        contents: what they hold besides the data points.
        warm: whether it was asked to be warm.
        cpus: threads that libraries are told to start.

    Raises:
        InputError: the submission is an image.
        ExecutionError: podman cannot be used here; the message says why.
    """

    name = "podman"

    def __init__(self, contents: Contents, *, warm: bool = False, cpus: int = 1) -> None:
        if contents.image is not None:
            raise InputError(
                "is an Apptainer image, which podman cannot run; use the sandbox apptainer", path=contents.image
            )
        if shutil.which("podman") is None:
            raise ExecutionError(
                "podman is not installed; install it (Debian, Ubuntu: apt-get install podman), "
                "or choose another sandbox"
            )
        self._rootless = os.geteuid() != 0
        users = None if self._rootless else free_users(_USERS)
        self._python_variables = {} if contents.interpreter is None else {"LD_LIBRARY_PATH"}
        self._gpus = contents.gpus
        super().__init__(contents, warm=warm, cpus=cpus, owner=os.geteuid() if self._rootless else UID + (users or 0))
        try:
            self._engine = self._find_engine(users)
            remove_leftover_containers(self._engine)
        except BaseException:
            self.close()
            raise

    def _find_engine(self, users: int | None) -> Engine:
        """The first way of calling podman that works. What works is kept for this process."""
        known = _works.get(users is not None)
        if known is not None:
            return known
        failed = []
        for engine in _candidates(users, rootless=self._rootless):
            self._engine = engine
            place = self.prepare(None, Limits(memory_bytes=256 << 20, scratch_bytes=1 << 20))
            try:
                program = Program((str(self.layout.python), "-I", "-S", "-c", ""))
                ended = place.run(program, Limits(seconds=_SECONDS_TO_TRY, memory_bytes=256 << 20, processes=16))
            except ExecutionError as error:
                failed.append(f"with {engine.runtime or 'its own runtime'}: {error}")
                continue
            finally:
                place.discard()
            if ended.exit_code == 0:
                _works[users is not None] = engine
                return engine
            failed.append(f"with {engine.runtime or 'its own runtime'}: Python does not start: {ended.stderr[-300:]}")
        raise ExecutionError("; ".join(failed))

    def command(self, spot: Spot) -> list[str]:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`."""
        needed = {key: value for key, value in self.variables.items() if key in self._python_variables}
        return arguments(self._engine, spot, needed, _devices() if self._gpus else ())

    def environment(self) -> Mapping[str, str]:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`."""
        return _environment()

    def remove(self, name: str) -> None:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`."""
        _podman(self._engine, "rm", "--force", "--time", "0", "--ignore", name)


def arguments(engine: Engine, spot: Spot, variables: Mapping[str, str], devices: tuple[str, ...] = ()) -> list[str]:
    """The command that makes a container, runs its program and removes it.

    Args:
        engine: how podman is called.
        spot: the container.
        variables: environment variables of process 1.
        devices: files of devices that it sees.
    """
    assert spot.root is not None
    limits = spot.limits
    memory = f"{limits.memory_bytes}b"
    found = ["podman", *engine.globals, "run", "--rm", "--name", spot.name, "--label", f"{_LABEL}={_owner()}"]
    # Standard input is the channel to process 1; what is printed goes straight into our pipes, and into no log.
    found += ["--interactive", "--log-driver", "passthrough", "--pull", "never"]
    found += ["--network", "none", "--hostname", "sandbox", "--no-hosts", "--http-proxy=false"]
    found += ["--ipc", "private", "--pid", "private", "--uts", "private", "--cgroupns", "private"]
    found += ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]
    found += ["--security-opt", "no-new-privileges", "--user", f"{UID}:{UID}"]
    if engine.rootless:
        found += ["--userns", f"keep-id:uid={UID},gid={UID}"]
    elif engine.users is not None:
        mapped = f"0:{engine.users}:{_USERS}"
        found += ["--uidmap", mapped, "--gidmap", mapped]
    # One process more than the submission may have: process 1 is not its own.
    found += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(limits.processes + 1)]
    found += ["--cpus", str(limits.cpus)]
    found += ["--ulimit", "core=1:1", "--ulimit", f"nofile={engine.files}:{engine.files}"]
    found += ["--ulimit", f"nproc={engine.processes}:{engine.processes}"]
    for device in devices:
        found += ["--device", device]
    for key, value in variables.items():
        found += ["--env", f"{key}={value}"]
    for mount in spot.mounts:
        option = "rw,nosuid,nodev" if mount.writable else "ro"
        found += ["--volume", f"{mount.source}:{mount.target}:{option}"]
    return [*found, "--workdir", "/", "--rootfs", str(spot.root), *spot.command]


def remove_leftover_containers(engine: Engine) -> None:
    """Remove containers whose owners were killed before they could. Their programs are dead: process 1 saw to that."""
    wanted = f'{{{{.ID}}}} {{{{index .Labels "{_LABEL}"}}}}'
    listed = _podman(engine, "ps", "--all", "--filter", f"label={_LABEL}", "--format", wanted)
    for line in listed.splitlines():
        identifier, _, owner = line.partition(" ")
        if not _lives(owner):
            _podman(engine, "rm", "--force", "--time", "0", "--ignore", identifier)


def _candidates(users: int | None, *, rootless: bool) -> list[Engine]:
    # systemd makes the groups where it runs; podman asks it by default, also where it does not.
    groups = None if Path("/run/systemd/system").is_dir() else "cgroupfs"
    path = os.environ.get("PATH", "") + os.pathsep + _WHERE_RUNTIMES_ARE
    runtimes: list[str | None] = [name for name in ("crun", "runc") if shutil.which(name, path=path)]
    processes, files = (_at_most(value, most) for value, most in _RESOURCES)
    return [Engine(runtime, groups, users, rootless, processes, files) for runtime in (runtimes or [None])]


def _at_most(kind: int, wanted: int) -> int:
    """What may be set as a limit of resources. Podman's own defaults ask for more than some machines give."""
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _environment() -> dict[str, str]:
    """What podman itself needs; nothing of it reaches a container. Runtimes may lie where users do not look."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}{os.pathsep if path else ''}{_WHERE_RUNTIMES_ARE}"}


def _podman(engine: Engine, *words: str) -> str:
    """What a command of podman's prints; nothing where it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["podman", *engine.globals, *words],  # noqa: S607 - found on the PATH, as users find it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            text=True,
            timeout=_SECONDS_FOR_PODMAN,
            start_new_session=True,
            check=True,
        ).stdout
    return ""


def _devices() -> tuple[str, ...]:
    return tuple(str(path) for path in sorted(Path("/dev").glob("nvidia*")) if path.is_char_device())


def _owner() -> str:
    """Name this process in a way that no later one is called."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _lives(owner: str) -> bool:
    pid, _, started = owner.partition("-")
    return pid.isdigit() and started == _started(int(pid))


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty where it is gone."""
    try:
        # The name of the program stands in brackets and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
