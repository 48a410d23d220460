"""What becomes of a stage: planned, open, closed, concluded; what is due when, and what conclusion does, step by step.

::

    planned ──> open ──> closed ──> concluded

Stages of a track follow each other: at most one is open at a time, and none is open before the one that stands before
it is closed. Nothing here knows the time or changes anything: whoever asks gives ``now`` and does what is due.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from palladion.challenge.instants import in_words
from palladion.challenge.settings import Advance
from palladion.errors import InputError

__all__ = [
    "STEPS",
    "STEP_TITLES",
    "TRANSITIONS",
    "Action",
    "Due",
    "StageState",
    "StageStatus",
    "Step",
    "closing_refusal",
    "conclusion_refusal",
    "due",
    "next_change",
    "next_step",
    "opening_refusal",
    "opens_after",
    "submission_refusal",
    "transition_refusal",
]


class StageState(StrEnum):
    """Where a stage stands."""

    PLANNED = "planned"
    OPEN = "open"
    CLOSED = "closed"
    CONCLUDED = "concluded"


TRANSITIONS: Final = {
    (StageState.PLANNED, StageState.OPEN),
    (StageState.OPEN, StageState.CLOSED),
    (StageState.CLOSED, StageState.CONCLUDED),
}
"""Every change that there is; all others are refused."""

_REFUSALS: Final = {
    (StageState.PLANNED, StageState.CLOSED): "is not open yet, so there is nothing to close",
    (StageState.PLANNED, StageState.CONCLUDED): "has never been open, so there is nothing to conclude",
    (StageState.OPEN, StageState.PLANNED): "is open; what participants have seen cannot be planned anew",
    (StageState.OPEN, StageState.CONCLUDED): "is still open; conclusion closes it first",
    (StageState.CLOSED, StageState.PLANNED): "is closed; what participants have seen cannot be planned anew",
    (StageState.CLOSED, StageState.OPEN): "is closed and does not open again; move the end of a stage before it comes",
    (StageState.CONCLUDED, StageState.PLANNED): "is concluded: its results are published",
    (StageState.CONCLUDED, StageState.OPEN): "is concluded: its results are published, so that it cannot open again",
    (StageState.CONCLUDED, StageState.CLOSED): "is concluded and closed already",
}


def transition_refusal(state: StageState, to: StageState) -> str | None:
    """Why a stage cannot go from one state to another, in words that follow its name; None where it can."""
    if (state, to) in TRANSITIONS:
        return None
    return f"is {state} already" if state is to else _REFUSALS[state, to]


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage as it stands.

    Attributes:
        name: of the stage.
        state: where it stands.
        opens: when it opens by itself; None: never.
        closes: when it closes by itself; None: never.
        goal_teams: how many teams have reached its goal.
        concluding: whether its conclusion has begun.
    """

    name: str
    state: StageState
    opens: datetime | None = None
    closes: datetime | None = None
    goal_teams: int = 0
    concluding: bool = False


def opening_refusal(stages: Sequence[StageStatus], name: str) -> str | None:
    """Why a stage of a track cannot open now, whoever asks, in a whole sentence; None where it can.

    Whether its data is there and checked is not known here.

    Args:
        stages: all of the track, in their order.
        name: of the stage.

    Raises:
        InputError: there is none of this name.
    """
    place = _place(stages, name)
    refusal = transition_refusal(stages[place].state, StageState.OPEN)
    if refusal is not None:
        return f"{name} {refusal}"
    for other in stages[:place]:
        if other.state is StageState.PLANNED:
            return f"{other.name} comes before {name} and has not been open yet"
        if other.state is StageState.OPEN:
            return f"{other.name} comes before {name} and is still open; close or conclude it first"
    later = next((other for other in stages[place + 1 :] if other.state is not StageState.PLANNED), None)
    if later is not None:
        return f"{later.name}, which comes after {name}, is {later.state}"
    return None


def closing_refusal(stages: Sequence[StageStatus], name: str) -> str | None:
    """Why a stage cannot be closed. Arguments, result and errors as :func:`opening_refusal`."""
    refusal = transition_refusal(stages[_place(stages, name)].state, StageState.CLOSED)
    return None if refusal is None else f"{name} {refusal}"


def conclusion_refusal(stages: Sequence[StageStatus], name: str) -> str | None:
    """Why a conclusion cannot begin. An open stage can be concluded, because closing it is the first step.

    Arguments, result and errors as :func:`opening_refusal`.
    """
    place = _place(stages, name)
    if stages[place].state in (StageState.PLANNED, StageState.CONCLUDED):
        return f"{name} {transition_refusal(stages[place].state, StageState.CONCLUDED)}"
    # The holdout of a round is used in the order of the rounds: what the next one opens with is decided before.
    before = next((other for other in stages[:place] if other.state is not StageState.CONCLUDED), None)
    return None if before is None else f"{before.name} comes before {name} and is {before.state}; conclude it first"


def submission_refusal(stage: StageStatus, now: datetime) -> str | None:
    """Why a stage takes no submission at this moment, in a whole sentence; None where it takes one.

    The date counts, not whether somebody has got round to closing the stage: a submission is taken up to the moment
    ``closes``, and not in it.
    """
    if stage.state is StageState.PLANNED:
        when = "" if stage.opens is None or stage.opens <= now else f"; it opens {in_words(stage.opens)}"
        return f"{stage.name} is not open yet{when}"
    if stage.state is not StageState.OPEN:
        return f"{stage.name} is {stage.state} and takes no submissions"
    if stage.closes is not None and stage.closes <= now:
        return f"{stage.name} closed {in_words(stage.closes)} and takes no submissions"
    if stage.concluding:
        return f"{stage.name} is being concluded and takes no submissions"
    return None


class Action(StrEnum):
    """What can be due for a stage."""

    OPEN = "open"
    CLOSE = "close"
    CONCLUDE = "conclude"


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that is due.

    Attributes:
        stage: its name.
        action: what is due.
        reason: why, in words for the audit log.
    """

    stage: str
    action: Action
    reason: str


def due(stages: Sequence[StageStatus], advance: Advance, now: datetime) -> Due | None:
    """What is to be done next for a track; None where nothing is.

    Ask again when it is done: a stage whose days have all passed is not opened, and what closes today is concluded
    after that.

    Args:
        stages: all of the track, in their order.
        advance: its rule.
        now: the time.
    """
    for place, stage in enumerate(stages):
        if stage.state is StageState.OPEN:
            if stage.closes is not None and stage.closes <= now:
                return Due(stage.name, Action.CLOSE, f"its end was {in_words(stage.closes)}")
            if advance.when == "goal" and not stage.concluding and stage.goal_teams >= (advance.teams or 1):
                return _conclude_by_goal(stages, stage)
        elif stage.state is StageState.CLOSED and not stage.concluding:
            if advance.when == "date" and stage.closes is not None and stage.closes <= now:
                reason = f"its end was {in_words(stage.closes)}, and the track advances by date"
                return _if_possible(stages, stage, reason)
            if advance.when == "goal" and stage.goal_teams >= (advance.teams or 1):
                return _conclude_by_goal(stages, stage)
        elif stage.state is StageState.PLANNED and stage.opens is not None and stage.opens <= now:
            over = stage.closes is not None and stage.closes <= now
            if not over and opening_refusal(stages, stages[place].name) is None:
                return Due(stage.name, Action.OPEN, f"its beginning was {in_words(stage.opens)}")
    return None


def _conclude_by_goal(stages: Sequence[StageStatus], stage: StageStatus) -> Due | None:
    teams = "a team has" if stage.goal_teams == 1 else f"{stage.goal_teams} teams have"
    return _if_possible(stages, stage, f"{teams} reached its goal, and the track advances by goal")


def _if_possible(stages: Sequence[StageStatus], stage: StageStatus, reason: str) -> Due | None:
    refused = conclusion_refusal(stages, stage.name) is not None
    return None if refused else Due(stage.name, Action.CONCLUDE, reason)


def next_change(stages: Sequence[StageStatus], now: datetime) -> datetime | None:
    """The next moment after ``now`` at which something may become due by date; None where there is none."""
    dates = [stage.opens for stage in stages if stage.state is StageState.PLANNED]
    dates += [stage.closes for stage in stages if stage.state in (StageState.PLANNED, StageState.OPEN)]
    return min((date for date in dates if date is not None and date > now), default=None)


def opens_after(stages: Sequence[StageStatus], name: str, now: datetime) -> str | None:
    """The stage that opens at the end of a conclusion; None where none does.

    It is the one that follows, unless it has a date to open at that has not come yet: a date that was published holds,
    and :func:`due` opens the stage then.

    Args:
        stages: all of the track, in their order.
        name: of the stage that is being concluded.
        now: the time.

    Raises:
        InputError: there is none of this name.
    """
    following = stages[_place(stages, name) + 1 :]
    if not following or following[0].state is not StageState.PLANNED:
        return None
    opens = following[0].opens
    return following[0].name if opens is None or opens <= now else None


class Step(StrEnum):
    """A step of a conclusion."""

    CLOSE = "close"
    AWAIT_RUNNING = "await_running"
    CHOOSE = "choose"
    HOLDOUT = "holdout"
    PUBLISH = "publish"
    INSTALL_NEXT = "install_next"
    OPEN_NEXT = "open_next"


STEPS: Final = tuple(Step)
"""The steps in their order. Each can be done again without harm, and is recorded when it is done."""

STEP_TITLES: Final = {
    Step.CLOSE: "close the stage to new submissions",
    Step.AWAIT_RUNNING: "wait for submissions that were accepted to end",
    Step.CHOOSE: "choose the best submission of each team, and those that the organiser names",
    Step.HOLDOUT: "run them on the holdout split",
    Step.PUBLISH: "publish the final results",
    Step.INSTALL_NEXT: "install and check the data of the next stage",
    Step.OPEN_NEXT: "open the next stage",
}


def next_step(done: Collection[str]) -> Step | None:
    """The first step that has not been done; None when all have.

    Raises:
        InputError: a step is done whose forerunner is not, or is none.
    """
    strange = [name for name in done if name not in set(STEPS)]
    if strange:
        raise InputError(f"there is no step {strange[0][:40]!a} of a conclusion; there are {', '.join(STEPS)}")
    following = next((step for step in STEPS if step not in done), None)
    if following is not None and len(set(done)) != STEPS.index(following):
        late = next(step for step in STEPS[STEPS.index(following) :] if step in done)
        raise InputError(f"the step {late} is recorded as done, and {following} before it is not")
    return following


def _place(stages: Sequence[StageStatus], name: str) -> int:
    for place, stage in enumerate(stages):
        if stage.name == name:
            return place
    raise InputError(f"there is no stage {name[:80]!a}; there are {', '.join(stage.name for stage in stages)}")
