"""Read the file that a submission leaves its answer in. Anybody may have put anything there."""

import errno
import os
import stat

__all__ = ["read_answer"]

_MAXIMUM_ANSWER_BYTES = 4 << 10


def read_answer(folder: int, name: str) -> str | None:
    """The text of a result file; None where there is none.

    Args:
        folder: a descriptor of the folder that it lies in.
        name: of the file.

    Raises:
        ValueError: it is no plain file, too long, or no text.
    """
    # Nothing is followed, and opening does not wait for the other end of a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("is a symbolic link; it must be a plain file") from None
        raise ValueError(f"cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is a folder or a special file; it must be a plain file")
        data = os.read(handle, _MAXIMUM_ANSWER_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if len(data) > _MAXIMUM_ANSWER_BYTES:
        raise ValueError("is longer than 4 KiB; it must hold one number from 0 to 1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("is not text; it must hold one number from 0 to 1") from None
