"""What is called in processes of its own in tests. Here stand no imports that take long: each process makes them."""

import os
import resource
import tempfile
import time
from pathlib import Path


def double(number: int, *, more: int = 0) -> int:
    return 2 * number + more


def refuse(kind: type[Exception]) -> None:
    raise kind("it is not as it must be")


def fill() -> int:
    return len(bytearray(8 << 30))


def spin() -> None:
    while True:
        pass


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def leave() -> None:
    os._exit(3)


def rest(seconds: float) -> None:
    time.sleep(seconds)


def use_files() -> list[str]:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return [file.name, str(Path.cwd())]


def core_limit() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def note_and_rest(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)
