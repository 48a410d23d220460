from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from palladion.execution.outcome import Failure, Outcome
from palladion.jobs.ledger import ERRORS, kept, rebuilt
from palladion.scoring import AnswerStatus
from palladion.storage import tables

SECONDS = st.floats(0, 1e6)
NAMES = st.from_regex(r"id-[0-9]{8}", fullmatch=True)
BAD = st.sampled_from([AnswerStatus.UNPARSABLE, AnswerStatus.NOT_FINITE, AnswerStatus.OUT_OF_RANGE])


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """What an evaluation may come to on one data point."""
    error = draw(st.none() | st.sampled_from(list(Failure)))
    status = AnswerStatus.OK
    if error is not None:
        status = draw(BAD) if error is Failure.BAD_ANSWER else AnswerStatus.MISSING
    return Outcome(
        data_point=draw(NAMES),
        probability=draw(st.floats(0, 1)) if error is None else None,
        error=error,
        message=None if error is None else draw(st.text()),
        seconds=draw(SECONDS),
        overhead_seconds=draw(SECONDS),
        peak_memory_bytes=draw(st.none() | st.integers(0, 1 << 40)),
        status=status,
    )


@given(outcomes(), st.booleans())
def test_what_is_kept_is_what_scores_are_made_of(outcome: Outcome, sealed: bool) -> None:
    new = kept(outcome, sealed=sealed)
    assert new.error is None or new.error in ERRORS
    again = rebuilt(tables.Outcome(evaluation_id="e", **asdict(new)))
    for name in ("data_point", "probability", "error", "status", "seconds", "peak_memory_bytes"):
        assert getattr(again, name) == getattr(outcome, name), name
    assert again.message == (None if sealed else outcome.message)


@given(outcomes())
def test_of_a_sealed_split_nothing_is_kept_that_the_submission_wrote(outcome: Outcome) -> None:
    assert kept(outcome, sealed=True).message is None
