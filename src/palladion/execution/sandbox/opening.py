"""Open the sandbox that was asked for, or say what it lacks."""

import shutil
from collections.abc import Callable

from palladion.errors import ExecutionError, InputError
from palladion.execution.sandbox.apptainer import ApptainerSandbox
from palladion.execution.sandbox.bubblewrap import BubblewrapSandbox
from palladion.execution.sandbox.contract import Contents, Sandbox
from palladion.execution.sandbox.plain import PlainSandbox
from palladion.execution.sandbox.podman import PodmanSandbox

__all__ = ["BACK_ENDS", "DEFAULT_BACK_END", "PROGRAMS", "available", "open_sandbox"]

DEFAULT_BACK_END = "bubblewrap"
BACK_ENDS = ("bubblewrap", "apptainer", "podman", "none")
PROGRAMS = {"bubblewrap": "bwrap", "apptainer": "apptainer", "podman": "podman"}


def available(name: str) -> bool:
    """Whether a back end's program is installed."""
    return name == "none" or shutil.which(PROGRAMS[name]) is not None


def open_sandbox(name: str, contents: Contents, *, warm: bool, slots: int, cpus: int) -> Sandbox:
    """A sandbox for one submission.

    Args:
        name: one of :data:`BACK_ENDS`.
        contents: what it holds besides the data points.
        warm: import libraries once for all data points, where the back end can.
        slots: data points that run at a time.
        cpus: processors of each.

    Raises:
        InputError: there is no such back end, or it cannot run an image.
        ExecutionError: it is not installed, or cannot be set up here.
    """
    if name not in BACK_ENDS:
        raise InputError(f"there is no sandbox {name!r}; there are {', '.join(BACK_ENDS)}")
    if not available(name):
        other = "apt-get install bubblewrap" if name == DEFAULT_BACK_END else f"{DEFAULT_BACK_END} is the usual one"
        raise ExecutionError(f"{name} is not installed: there is no program {PROGRAMS[name]} ({other})")
    if contents.image is not None and name != "apptainer":
        raise InputError(
            f"is an image, which the sandbox {name} cannot run; use --sandbox apptainer", path=contents.image
        )
    make: dict[str, Callable[[], Sandbox]] = {
        "bubblewrap": lambda: BubblewrapSandbox(contents, warm=warm, slots=slots, cpus=cpus),
        "apptainer": lambda: ApptainerSandbox(contents, warm=warm, cpus=cpus),
        "podman": lambda: PodmanSandbox(contents, warm=warm, cpus=cpus),
        "none": lambda: PlainSandbox(contents),
    }
    return make[name]()
