"""The back end that runs submissions in containers of Apptainer: images (``.sif``), and Python submissions as well.

.. warning::
    This was written from Apptainer's public documentation (1.1 and newer) and has not been run with Apptainer itself:
    its tests only look at the command line, and at what is done with exit codes, output and limits. Whoever has
    Apptainer should see what ``palladion doctor --sandbox apptainer`` says before anything depends on it.

An image is started with ``apptainer run``, as NIST's harness does, and its runscript gets the arguments. A Python
submission runs with ``apptainer exec`` on the same root folder that podman gets. As root, the submission runs as a user
that nobody else is on this machine; else as the user that starts it.

See :mod:`~palladion.execution.sandbox.containers` for all that is not Apptainer's own.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import ExecutionError
from palladion.execution.sandbox.cgroups import ControlGroup, ControlGroups
from palladion.execution.sandbox.container_folders import UID
from palladion.execution.sandbox.container_watch import group_of
from palladion.execution.sandbox.containers import ContainerSandbox, Spot, free_users
from palladion.execution.sandbox.contract import Contents, Limits

__all__ = ["ApptainerSandbox", "Engine", "arguments", "environment"]

# Where Apptainer keeps its own files may be said; all else that it would take from there, and hand on to submissions,
# may not.
_KEPT = ("APPTAINER_CACHEDIR", "APPTAINER_TMPDIR", "APPTAINER_CONFIGDIR")
_PREFIXES = ("APPTAINER", "SINGULARITY")


@dataclass(frozen=True, slots=True)
class Engine:
    """How Apptainer is called on this machine.

    Attributes:
        user: the number of the user that the submission is, as root; None where it is the one who calls.
        limits: Apptainer makes the control groups; False where they are made here, or usage is watched.
        gpus: Nvidia's devices and libraries are shown.
    """

    user: int | None = None
    limits: bool = False
    gpus: bool = False


class ApptainerSandbox(ContainerSandbox):
    """Containers of Apptainer. Not run with Apptainer itself so far: see the module.

    Args:
        contents: what they hold besides the data points.
        warm: whether it was asked to be warm.
        cpus: threads that libraries are told to start.

    Raises:
        ExecutionError: Apptainer cannot be used here; the message says why.
    """

    name = "apptainer"
    alone = False  # installed with setuid, it makes no user namespace: all that the user runs would count

    def __init__(self, contents: Contents, *, warm: bool = False, cpus: int = 1) -> None:
        if shutil.which("apptainer") is None:
            raise ExecutionError(
                "Apptainer is not installed; install it (https://apptainer.org/docs/admin/main/installation.html), "
                "or choose another sandbox"
            )
        root = os.geteuid() == 0
        user = (free_users(1) or UID) if root else None
        self._groups = ControlGroups.find()
        self._engine = Engine(user, self._groups is None and _delegates_groups(), contents.gpus > 0)
        super().__init__(contents, warm=warm, cpus=cpus, owner=os.geteuid() if user is None else user)

    def command(self, spot: Spot) -> list[str]:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`."""
        return arguments(self._engine, spot)

    def environment(self) -> Mapping[str, str]:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`."""
        return environment(os.environ, self.variables)

    def remove(self, name: str) -> None:
        """See :class:`~palladion.execution.sandbox.containers.ContainerSandbox`. Apptainer's have no names."""

    def _group(self, pid: int, limits: Limits) -> ControlGroup | None:
        if self._groups is None:
            return group_of(pid) if self._engine.limits else None
        try:
            # Processes of Apptainer's own are in it as well: its starter, and process 1.
            group = self._groups.make(
                memory_bytes=limits.memory_bytes, processes=limits.processes + _own_processes(self), cpus=limits.cpus
            )
        except OSError as error:
            raise ExecutionError(f"no control group can be made for a container: {error}") from None
        group.add(pid)
        return group

    def _end_group(self, group: ControlGroup | None) -> None:
        if group is not None and self._groups is not None:
            group.remove()


def arguments(engine: Engine, spot: Spot) -> list[str]:
    """The command that makes a container, runs its program and removes it.

    Args:
        engine: how Apptainer is called.
        spot: the container.
    """
    image = spot.image if spot.image is not None else spot.root
    limits = spot.limits
    # Of an image, the runscript is the program. For a root folder, process 1 is ours, so none of Apptainer's.
    found = ["apptainer", "--silent", *(["run"] if spot.image is not None else ["exec", "--no-init"])]
    # Of this machine nothing is shown that is not named: not the home, not the working folder, not the temporary ones.
    found += ["--containall", "--no-mount", "hostfs,bind-paths", "--no-umask", "--no-eval", "--no-privs"]
    found += ["--net", "--network", "none", "--uts", "--hostname", "sandbox"]
    if engine.user is not None:
        found += ["--security", f"uid:{engine.user}", "--security", f"gid:{engine.user}"]
    if engine.limits:
        memory = str(limits.memory_bytes)
        found += ["--memory", memory, "--memory-swap", memory, "--cpus", str(limits.cpus)]
        found += ["--pids-limit", str(limits.processes + 2)]
    if engine.gpus:
        found += ["--nv"]
    for mount in spot.mounts:
        found += ["--bind", f"{mount.source}:{mount.target}:{'rw' if mount.writable else 'ro'}"]
        if mount.target == "/box":
            found += ["--home", f"{mount.source / 'scratch'}:/box/scratch"]
    return [*found, "--pwd", "/box/scratch", str(image), *spot.command]


def environment(here: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of Apptainer itself; those with a prefix it hands on, without the prefix.

    Args:
        here: of this process.
        wanted: of the submission.
    """
    kept = {key: value for key, value in here.items() if key in _KEPT or not key.startswith(_PREFIXES)}
    # HOME is refused there; it is set by --home.
    return {**kept, **{f"APPTAINERENV_{key}": value for key, value in wanted.items() if key != "HOME"}}


def _own_processes(sandbox: ApptainerSandbox) -> int:
    """Processes and threads in a container's control group that are not the submission's.

    Of a root folder only process 1 is put into it. Of an image all of Apptainer is, whose starter has as many threads
    as Go's runtime takes, and more on larger machines.
    """
    return 1 if sandbox.contents.image is None else 32 + 4 * (os.cpu_count() or 1)


def _delegates_groups() -> bool:
    """Whether Apptainer can have systemd make control groups for this user."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").is_file()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return unified and (os.geteuid() == 0 or (runtime is not None and Path(runtime, "bus").exists()))
