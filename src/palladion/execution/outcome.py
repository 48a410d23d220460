"""What became of one data point."""

import signal
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from palladion.execution.sandbox.contract import Ended, Limit, Limits
from palladion.scoring import AnswerStatus, parse_answer

__all__ = ["Failure", "Outcome", "judge", "last_words"]

_SHOWN_ANSWER = 40
_SHOWN_LINES, _SHOWN_CHARACTERS = 3, 400
_MEBI = 1 << 20
_AT_LIMIT: dict[Limit, Callable[[Limits], str]] = {
    Limit.TIME: lambda limits: f"it took longer than {limits.seconds:g} s and was killed",
    Limit.CPU: lambda limits: f"it used more than {limits.cpu_seconds:g} s of processor time and was killed",
    Limit.MEMORY: lambda limits: f"it used more than {_size(limits.memory_bytes)} of memory and was killed",
    Limit.PROCESSES: lambda limits: f"it started more than {limits.processes} processes and was killed",
    Limit.SCRATCH: lambda limits: f"it filled its {_size(limits.scratch_bytes)} of scratch space and was killed",
    Limit.OUTPUT: lambda limits: f"it printed more than {_size(limits.output_bytes)} and was killed",
}


class Failure(StrEnum):
    """Why a data point has no probability. The first six are the values of :class:`~.contract.Limit`."""

    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    SCRATCH = "scratch"
    OUTPUT = "output"
    BUDGET = "budget"
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


def judge(ended: Ended, limits: Limits, result: str) -> tuple[float | None, AnswerStatus, Failure | None, str | None]:
    """The probability that a submission has left, its status, and what is wrong, as a code and in words.

    A submission that did not end well has no answer, whatever it wrote before.

    Args:
        ended: how it ended.
        limits: what it could use.
        result: name of its result file.
    """
    if ended.limit is not None:
        return None, AnswerStatus.MISSING, Failure(ended.limit.value), _AT_LIMIT[ended.limit](limits)
    if ended.signal is not None:
        hint = " (out of memory?)" if ended.signal == signal.SIGKILL else ""
        message = f"it was ended by {_signal_name(ended.signal)}{hint}{last_words(ended.stderr)}"
        return None, AnswerStatus.MISSING, Failure.CRASHED, message
    if ended.exit_code != 0:
        message = f"it ended with exit code {ended.exit_code}{last_words(ended.stderr)}"
        return None, AnswerStatus.MISSING, Failure.CRASHED, message
    if ended.answer_fault is not None:
        return None, AnswerStatus.UNPARSABLE, Failure.BAD_ANSWER, f"{result} {ended.answer_fault}"
    text = ended.answer
    probability, status = parse_answer(text)
    if status is AnswerStatus.OK:
        return probability, status, None, None
    if status is AnswerStatus.MISSING:
        what = "wrote no" if text is None else "left an empty"
        return None, status, Failure.NO_ANSWER, f"it {what} {result}{last_words(ended.stderr)}"
    shown = ascii(text if len(text or "") <= _SHOWN_ANSWER else f"{(text or '')[:_SHOWN_ANSWER]}…")
    return None, status, Failure.BAD_ANSWER, f"{result} holds {shown}; it must hold one number from 0 to 1"


def _size(count: int) -> str:
    return f"{count / _MEBI:,.0f} MiB" if count >= _MEBI else f"{count:,} bytes"


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
