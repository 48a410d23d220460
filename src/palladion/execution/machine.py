"""What this machine has for submissions to use."""

import os
from pathlib import Path

from palladion.errors import InputError
from palladion.execution.sandbox.contract import Limits
from palladion.execution.sandbox.gpus import gpu_devices

__all__ = ["check_machine", "gpus", "memory_bytes", "slots_for"]

_KEPT_SHARE = 0.1


def memory_bytes() -> int:
    """Memory of this machine, or of the container that this runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # not this version of control groups, or "max"
    return total


def gpus() -> int:
    """Graphics processors of this machine that CUDA can use."""
    return len(gpu_devices()[0])


def check_machine(limits: Limits, wanted_gpus: int) -> None:
    """See that a data point can have what it is to have: a submission may ask for anything.

    Raises:
        InputError: this machine has less.
    """
    cores, memory = len(os.sched_getaffinity(0)), memory_bytes()
    for what, wanted, there in (("processors", limits.cpus, cores), ("graphics processors", wanted_gpus, gpus())):
        if wanted > there:
            raise InputError(f"{wanted} {what} are asked for a model; this machine has {there}")
    if limits.memory_bytes > memory:
        raise InputError(
            f"{limits.memory_bytes >> 20} MiB of memory are asked for a model; this machine has {memory >> 20}"
        )


def slots_for(limits: Limits, wanted_gpus: int = 0) -> int:
    """How many data points may run at a time, each with these limits and graphics processors; at least one."""
    possible = [
        len(os.sched_getaffinity(0)) // limits.cpus,
        int(memory_bytes() * (1 - _KEPT_SHARE)) // limits.memory_bytes,
        *([gpus() // wanted_gpus] if wanted_gpus else []),
    ]
    return max(1, min(possible))
