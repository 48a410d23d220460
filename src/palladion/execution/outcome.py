"""What became of one data point."""

import errno
import os
import signal
import stat
import unicodedata
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from palladion.execution.processes import Finished
from palladion.scoring import AnswerStatus, parse_answer

__all__ = ["Failure", "Outcome", "judge", "last_words", "read_answer"]

_MAXIMUM_ANSWER_BYTES = 4 << 10
_SHOWN_ANSWER = 40
_SHOWN_LINES, _SHOWN_CHARACTERS = 3, 400


class Failure(StrEnum):
    """Why a data point has no probability."""

    TIMEOUT = "timeout"
    CRASHED = "crashed"
    NO_ANSWER = "no_answer"
    BAD_ANSWER = "bad_answer"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one data point.

    Attributes:
        data_point: its name.
        probability: the answer; None where there is none that can be used.
        error: why there is none.
        message: the same in words; None where there is an answer.
        seconds: wall time of the submission's process.
        overhead_seconds: wall time that running this data point took beyond that.
        peak_memory_bytes: the largest resident memory of the submission's process; None if not measured.
        status: of the answer, as the scoring counts it.
    """

    data_point: str
    probability: float | None
    error: Failure | None
    message: str | None
    seconds: float
    overhead_seconds: float
    peak_memory_bytes: int | None
    status: AnswerStatus

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Outcome":
        """What :meth:`to_dict` gave."""
        error = None if values["error"] is None else Failure(values["error"])
        return cls(**{**values, "error": error, "status": AnswerStatus(values["status"])})


def judge(
    finished: Finished, active: Path, result: str, *, time_limit: float | None
) -> tuple[float | None, AnswerStatus, Failure | None, str | None]:
    """The probability that a finished submission has left, its status, and what is wrong, as a code and in words.

    A submission that did not end well has no answer, whatever it wrote before.
    """
    if finished.timed_out:
        message = f"it took longer than {time_limit:g} s and was killed"
        return None, AnswerStatus.MISSING, Failure.TIMEOUT, message
    if finished.signal is not None:
        hint = " (out of memory?)" if finished.signal == signal.SIGKILL else ""
        message = f"it was ended by {_signal_name(finished.signal)}{hint}{last_words(finished.stderr)}"
        return None, AnswerStatus.MISSING, Failure.CRASHED, message
    if finished.exit_code != 0:
        message = f"it ended with exit code {finished.exit_code}{last_words(finished.stderr)}"
        return None, AnswerStatus.MISSING, Failure.CRASHED, message
    try:
        text = read_answer(active, result)
    except ValueError as error:
        return None, AnswerStatus.UNPARSABLE, Failure.BAD_ANSWER, f"{result} {error}"
    probability, status = parse_answer(text)
    if status is AnswerStatus.OK:
        return probability, status, None, None
    if status is AnswerStatus.MISSING:
        what = "wrote no" if text is None else "left an empty"
        return None, status, Failure.NO_ANSWER, f"it {what} {result}{last_words(finished.stderr)}"
    shown = ascii(text if len(text or "") <= _SHOWN_ANSWER else f"{(text or '')[:_SHOWN_ANSWER]}…")
    return None, status, Failure.BAD_ANSWER, f"{result} holds {shown}; it must hold one number from 0 to 1"


def read_answer(active: Path, result: str) -> str | None:
    """The text of a result file, which anybody may have put there; None where there is none.

    Raises:
        ValueError: it is no plain file, too long, or no text.
    """
    try:
        # Nothing is followed, and opening does not wait for the other end of a pipe.
        folder = os.open(active, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        handle = os.open(result, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("is a symbolic link; it must be a plain file") from None
        raise ValueError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(folder)
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(output: str) -> str:
    """The last lines of an output, fit to be printed: they may hold anything."""
    lines = [line.strip() for line in output.splitlines() if line.strip()][-_SHOWN_LINES:]
    text = " | ".join("".join(c for c in line if unicodedata.category(c)[0] != "C") for line in lines)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"…{text[-_SHOWN_CHARACTERS:]}"
    return f"; its last words: {text}" if text else ""
