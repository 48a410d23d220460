"""What a tree of processes uses, read from /proc: for machines where no control group can be written to."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "usage_of"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes uses at this moment.

    Attributes:
        memory_bytes: what would be free if they were gone; memory shared with others counts by its share.
        threads: of all processes together.
        cpu_seconds: processor time so far, with that of the children that were waited for.
    """

    memory_bytes: int
    threads: int
    cpu_seconds: float


def usage_of(root: int) -> Usage:
    """What a process and all its descendants use; nothing where it is gone.

    In a process namespace nobody can leave the tree: what loses its parent becomes a child of the namespace's init.
    """
    children: dict[int, list[int]] = {}
    threads: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are what is needed
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the program stands in brackets and may hold anything.
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            pid = int(name)
            children.setdefault(int(fields[1]), []).append(pid)
            ticks[pid] = sum(map(int, fields[11:15]))
            threads[pid] = int(fields[17])
    tree = [root] if root in threads else []
    for pid in tree:
        tree += children.get(pid, [])
    return Usage(
        memory_bytes=sum(map(_memory, tree)),
        threads=sum(threads[pid] for pid in tree),
        cpu_seconds=sum(ticks[pid] for pid in tree) / _TICKS,
    )


def _memory(pid: int) -> int:
    # What is shared with the fork server counts once for all that share it; where that may not be read, in full.
    for file, wanted in ((f"/proc/{pid}/smaps_rollup", b"Pss_Anon:"), (f"/proc/{pid}/status", b"RssAnon:")):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(file).read_bytes().splitlines():
                if line.startswith(wanted):
                    return int(line.split()[1]) * 1024
    return 0
