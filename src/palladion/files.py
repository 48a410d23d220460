"""Write files so that nobody ever sees half of one."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from palladion.errors import PalladionError

__all__ = ["exclusive", "temporaries", "write_atomically", "written_whole"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``: afterwards the file holds all of it, or what it held before.

    Raises:
        PalladionError: the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                # mkstemp makes files private; give this one the mode any new file would have.
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise PalladionError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def written_whole(path: Path, *, mode: int) -> Iterator[IO[bytes]]:
    """A file to write piece by piece, that gets its name when all is well and else is gone; also after Ctrl-C.

    Args:
        path: a file that is there is replaced when the new one is whole.
        mode: permissions of the new one.

    Raises:
        PalladionError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:
            try:
                yield file
                file.flush()
                os.fchmod(file.fileno(), mode)
                Path(file.name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise PalladionError(f"{path}: cannot be written: {error.strerror or error}") from None


def temporaries(path: Path) -> list[Path]:
    """What :func:`write_atomically` leaves of ``path`` when it is killed: at most a few files, each incomplete."""
    return [found for found in path.parent.glob(f".{path.name}.????????") if found.is_file()]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def exclusive(directory: Path, doing: str) -> Iterator[None]:
    """Hold the directory for one process: a lock on the directory itself, so that no lock file is left behind.

    Raises:
        PalladionError: another process holds it.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PalladionError(f"{directory}: another process is {doing} here; wait for it or stop it") from None
        yield
    finally:
        os.close(handle)
