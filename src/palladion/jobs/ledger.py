"""The outcomes of an evaluation, kept in the database as they come: the journal of evaluations of a service.

An evaluation that was interrupted, by whatever, goes on with the data points that are not there. Each outcome is kept
in a transaction that names the lease of the job; a worker that has lost it can add nothing, and is stopped by that.

What is kept of a data point of a sealed split: the probability or an error from a closed list, seconds and memory. The
message of an outcome is kept of open splits alone, for it may hold what the submission printed, and the submission may
print what it was shown.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import Session

from palladion.execution.outcome import Failure, Outcome
from palladion.jobs.work import Work
from palladion.scoring import AnswerStatus
from palladion.storage import evaluations, queue
from palladion.storage import tables as rows
from palladion.storage.evaluations import NewOutcome

__all__ = ["ERRORS", "LedgerJournal", "kept", "rebuilt"]

_BAD_ANSWERS: Final = (AnswerStatus.UNPARSABLE, AnswerStatus.NOT_FINITE, AnswerStatus.OUT_OF_RANGE)
ERRORS: Final = frozenset(
    {*(failure.value for failure in Failure if failure is not Failure.BAD_ANSWER), *(str(s) for s in _BAD_ANSWERS)}
)
"""What the ledger calls an error. A bad answer is called by what is bad about it."""


def kept(outcome: Outcome, *, sealed: bool) -> NewOutcome:
    """An outcome as the ledger keeps it.

    Args:
        outcome: of one data point.
        sealed: nothing that the submission may have written itself is kept.
    """
    error = None
    if outcome.error is not None or outcome.probability is None:
        error = str(outcome.error or Failure.NO_ANSWER)
        if outcome.error is Failure.BAD_ANSWER:
            error = str(outcome.status)
        assert error in ERRORS
    return NewOutcome(
        point=outcome.data_point,
        answer=None if error is not None else outcome.probability,
        error=error,
        seconds=outcome.seconds,
        memory=outcome.peak_memory_bytes,
        message=None if sealed or error is None else outcome.message,
    )


def rebuilt(row: rows.Outcome) -> Outcome:
    """The outcome that :func:`kept` was made of, as far as it is kept."""
    error, status = None, AnswerStatus.OK
    if row.error is not None:
        bad = row.error in {str(each) for each in _BAD_ANSWERS}
        error = Failure.BAD_ANSWER if bad else Failure(row.error)
        status = AnswerStatus(row.error) if bad else AnswerStatus.MISSING
    return Outcome(
        data_point=row.point,
        probability=None if row.answer is None else float(row.answer),
        error=error,
        message=row.message,
        seconds=row.seconds or 0.0,
        overhead_seconds=0.0,
        peak_memory_bytes=row.memory,
        status=status,
    )


class LedgerJournal:
    """The journal of one evaluation. Used by the thread of that evaluation.

    Args:
        work: the job, which is an evaluation's.
        sealed: nothing that the submission may have written itself is kept.

    Attributes:
        outcomes: by data point.
    """

    def __init__(self, work: Work, *, sealed: bool) -> None:
        self._work, self._sealed = work, sealed
        self._database = work.service.database
        with self._database.read() as tx:
            found = evaluations.outcomes(tx, work.job.subject)
        self._outcomes = {row.point: rebuilt(row) for row in found}

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """By data point."""
        return self._outcomes

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome.

        Raises:
            LeaseLost: the evaluation is somebody else's by now.
        """
        self.add_all([outcome])

    def add_all(self, outcomes: list[Outcome]) -> None:
        """Keep several, all or none. Raises as :meth:`add`."""
        self._database.run(self._keep, outcomes)
        self._outcomes.update((outcome.data_point, outcome) for outcome in outcomes)

    def remove(self) -> None:
        """Nothing: what is in the ledger stays there."""

    def _keep(self, tx: Session, outcomes: list[Outcome]) -> None:
        work = self._work
        found = [kept(outcome, sealed=self._sealed) for outcome in outcomes]
        evaluations.add_outcomes(tx, work.job.subject, work.lease, found)
        queue.progressed(tx, work.job.id, work.lease)
