"""What a detector answered, one probability a model, as the untrusted data that it is.

A data point without a usable answer is scored with the probability 0.5, as NIST does (cross-entropy 0.6931 in
place of the missing value), and is counted, so that a table can say "7 of 144 missing".
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from palladion.errors import ScoringError

__all__ = ["UNANSWERED_PROBABILITY", "AnswerStatus", "Answers", "parse_answer"]

UNANSWERED_PROBABILITY = 0.5
"""The probability that stands in for an answer that cannot be used."""

T = TypeVar("T")

# Python's float() also reads 1_0 and the digits of every script; a result file means neither.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


class AnswerStatus(StrEnum):
    """What became of the answer for one data point."""

    OK = "ok"
    MISSING = "missing"
    UNPARSABLE = "unparsable"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"


def parse_answer(text: str | None) -> tuple[float | None, AnswerStatus]:
    """Read the text of one result file.

    Args:
        text: the whole text, or None where there is no file.

    Returns:
        The probability and ``ok``, or None and what is wrong: ``missing`` (None or blank), ``unparsable``
        (not one decimal number), ``not_finite`` (nan, inf, or too large for a float), ``out_of_range``
        (outside [0, 1], judged on the number as written: nothing is clipped).
    """
    if text is None:
        return None, AnswerStatus.MISSING
    if not isinstance(text, str):
        return None, AnswerStatus.UNPARSABLE
    literal = text.strip()
    if not literal:
        return None, AnswerStatus.MISSING
    if _NOT_FINITE.fullmatch(literal):
        return None, AnswerStatus.NOT_FINITE
    if not _NUMBER.fullmatch(literal):
        return None, AnswerStatus.UNPARSABLE
    return _judge(float(literal))


def _judge(number: float) -> tuple[float | None, AnswerStatus]:
    if not math.isfinite(number):
        return None, AnswerStatus.NOT_FINITE
    if not 0 <= number <= 1:
        return None, AnswerStatus.OUT_OF_RANGE
    return number, AnswerStatus.OK


def _read_value(value: float | None) -> tuple[float | None, AnswerStatus]:
    if value is None:
        return None, AnswerStatus.MISSING
    # JSON's true is not a probability, although Python counts with it.
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None, AnswerStatus.UNPARSABLE
    try:
        return _judge(float(value))
    except OverflowError:  # an int of more than 308 digits
        return None, AnswerStatus.OUT_OF_RANGE


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of one submission, one a data point, in the order of the data points.

    Build it with :meth:`from_values` or :meth:`from_text`.

    Attributes:
        probability: float64, shape (n,), read-only; 0.5 where the status is not ``ok``.
        status: n statuses.
    """

    probability: NDArray[np.float64]
    status: tuple[AnswerStatus, ...]

    def __post_init__(self) -> None:
        if self.probability.shape != (len(self.status),):
            raise ScoringError(
                f"{len(self.status)} statuses do not fit probabilities of shape {self.probability.shape}"
            )
        self.probability.setflags(write=False)

    def __len__(self) -> int:
        return len(self.status)

    @classmethod
    def from_values(cls, values: Sequence[float | None] | NDArray[np.floating]) -> Self:
        """From numbers, with None where there is no answer; what is no number at all counts as unparsable."""
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim == 1:
            numbers = values.astype(np.float64)
            finite = np.isfinite(numbers)
            outside = finite & ((numbers < 0) | (numbers > 1))
            status = np.where(finite, np.where(outside, 2, 0), 1).tolist()
            meaning = (AnswerStatus.OK, AnswerStatus.NOT_FINITE, AnswerStatus.OUT_OF_RANGE)
            numbers[~finite | outside] = UNANSWERED_PROBABILITY
            return cls(numbers, tuple([meaning[code] for code in status]))
        return cls._gather(values.tolist() if isinstance(values, np.ndarray) else values, _read_value)

    @classmethod
    def from_text(cls, texts: Sequence[str | None]) -> Self:
        """From the texts of result files, each read by :func:`parse_answer`."""
        return cls._gather(texts, parse_answer)

    @classmethod
    def _gather(cls, items: Sequence[T | None], read: Callable[[T | None], tuple[float | None, AnswerStatus]]) -> Self:
        if isinstance(items, str):
            raise ScoringError("answers must be a sequence with one element a data point, not one string")
        pairs = [read(item) for item in items]
        numbers = [UNANSWERED_PROBABILITY if number is None else number for number, _ in pairs]
        return cls(np.array(numbers, dtype=np.float64), tuple([status for _, status in pairs]))

    @property
    def ok(self) -> int:
        """How many answers are used as they were given."""
        return self.status.count(AnswerStatus.OK)

    @property
    def missing(self) -> int:
        """How many data points have no probability: no answer, not a number, or not a finite one."""
        return len(self.status) - self.ok - self.out_of_range

    @property
    def out_of_range(self) -> int:
        """How many answers lie outside [0, 1]: an error of that data point, which counts as 0.5 too."""
        return self.status.count(AnswerStatus.OUT_OF_RANGE)
