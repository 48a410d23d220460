"""Graphics processors of this machine, handed out to data points: each is one data point's at a time."""

import re
import stat
import threading
from pathlib import Path

__all__ = ["GpuPool", "gpu_devices"]

_PROCESSOR = re.compile(r"nvidia[0-9]+")


def gpu_devices(folder: Path = Path("/dev")) -> tuple[list[str], list[str]]:
    """Device files of NVIDIA's driver: of each processor, and those that all of them need."""
    names = [path for path in sorted(folder.glob("nvidia*")) if stat.S_ISCHR(path.stat().st_mode)]
    own = [str(path) for path in names if _PROCESSOR.fullmatch(path.name)]
    return own, [str(path) for path in names if str(path) not in own]


class GpuPool:
    """Processors that are free. May be used by many threads.

    Args:
        processors: their device files.
    """

    def __init__(self, processors: list[str]) -> None:
        self._free = list(processors)
        self._changed = threading.Condition()
        self._closed = False

    def take(self, count: int) -> list[str]:
        """Wait until so many are free, and take them; none once the pool is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._free) >= count)
            if self._closed:
                return []
            taken, self._free = self._free[:count], self._free[count:]
            return taken

    def give_back(self, processors: list[str]) -> None:
        """They are free again."""
        with self._changed:
            self._free += processors
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
