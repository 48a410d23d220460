"""Readers of a page: so many connections that are kept open, each asking again as soon as it has been answered.

    python -m benchmarks.shared.load HOST PORT PATH READERS SECONDS [HEADER ...]

Runs as a process of its own, so that it takes nothing from the server but a processor, and prints one line of JSON. It
reads what it is sent and does nothing with it: a client that unpacks and parses would be most of what is measured.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

_WARM: Final = 1.0
"""Seconds at the beginning that do not count: connections are made, and what is cached is made."""


@dataclass(frozen=True)
class Load:
    """What readers have met with.

    Attributes:
        answers: that count.
        faults: answers of another status than 200, and connections that broke.
        bytes: of one body.
        seconds: that it took.
        median, p99, longest: from the first byte of a request to the last one of its answer, in seconds.
    """

    answers: int
    faults: int
    bytes: int
    seconds: float
    median: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


async def load(host: str, port: int, path: str, readers: int, seconds: float, headers: tuple[str, ...] = ()) -> Load:
    """Let them read."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", *headers]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    took: list[float] = []
    faults, size = 0, 0
    began = time.perf_counter()
    counts, ends = began + _WARM, began + _WARM + seconds

    async def reader() -> None:
        nonlocal faults, size
        stream, out = await asyncio.open_connection(host, port, limit=1 << 22)
        try:
            while (start := time.perf_counter()) < ends:
                out.write(request)
                head = await stream.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                await stream.readexactly(length)
                end = time.perf_counter()
                if start >= counts:
                    took.append(end - start)
                    size = length
                    faults += not head.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            faults += 1
        finally:
            out.close()

    await asyncio.gather(*(reader() for _ in range(readers)))
    took.sort()
    if not took:
        return Load(0, faults, size, seconds, float("nan"), float("nan"), float("nan"))
    return Load(
        len(took),
        faults,
        size,
        seconds,
        took[len(took) // 2],
        took[int(0.99 * (len(took) - 1))],
        took[-1],
    )


if __name__ == "__main__":
    host, port, path, readers, seconds, *headers = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(load(host, int(port), path, int(readers), float(seconds), tuple(headers))))))
