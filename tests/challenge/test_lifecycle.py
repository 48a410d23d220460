from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import STEPS, Action, Advance, StageState, StageStatus, Step, due, next_step
from palladion.challenge.lifecycle import (
    STEP_TITLES,
    TRANSITIONS,
    closing_refusal,
    conclusion_refusal,
    next_change,
    opening_refusal,
    opens_after,
    submission_refusal,
    transition_refusal,
)
from palladion.errors import InputError

P, O, C, X = StageState.PLANNED, StageState.OPEN, StageState.CLOSED, StageState.CONCLUDED  # noqa: E741
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
COMMAND, DATE, GOAL = Advance(), Advance(when="date"), Advance(when="goal")


def stages(*states: StageState) -> list[StageStatus]:
    return [StageStatus(f"s{i}", state) for i, state in enumerate(states)]


def test_a_stage_goes_one_way() -> None:
    assert {(a, b) for a, b in product(StageState, StageState) if transition_refusal(a, b) is None} == TRANSITIONS
    assert set(pairwise((P, O, C, X))) == TRANSITIONS


@pytest.mark.parametrize(("state", "to"), sorted(set(product(StageState, StageState)) - TRANSITIONS))
def test_every_other_change_is_refused_in_words(state: StageState, to: StageState) -> None:
    words = transition_refusal(state, to)
    assert words is not None
    assert words.startswith(("is ", "has never"))
    assert state is not to or words == f"is {state} already"


@pytest.mark.parametrize(
    ("states", "name", "refusal"),
    [
        ((P, P), "s0", None),
        ((P, P), "s1", "s0 comes before s1 and has not been open yet"),
        ((O, P), "s1", "s0 comes before s1 and is still open; close or conclude it first"),
        ((C, P), "s1", None),
        ((X, P), "s1", None),
        ((X, C, P), "s2", None),
        ((O, P), "s0", "s0 is open already"),
        ((C,), "s0", "s0 is closed and does not open again; move the end of a stage before it comes"),
        ((X,), "s0", "s0 is concluded: its results are published, so that it cannot open again"),
        ((P, O), "s0", "s1, which comes after s0, is open"),
    ],
)
def test_opening(states: tuple[StageState, ...], name: str, refusal: str | None) -> None:
    assert opening_refusal(stages(*states), name) == refusal


def test_closing_and_concluding() -> None:
    assert closing_refusal(stages(O), "s0") is None
    assert closing_refusal(stages(P), "s0") == "s0 is not open yet, so there is nothing to close"
    assert closing_refusal(stages(C), "s0") == "s0 is closed already"
    # Closing is the first step of a conclusion.
    assert conclusion_refusal(stages(O), "s0") is None
    assert conclusion_refusal(stages(C), "s0") is None
    assert conclusion_refusal(stages(P), "s0") == "s0 has never been open, so there is nothing to conclude"
    assert conclusion_refusal(stages(X), "s0") == "s0 is concluded already"
    assert conclusion_refusal(stages(C, O), "s1") == "s0 comes before s1 and is closed; conclude it first"
    assert conclusion_refusal(stages(X, O), "s1") is None


@pytest.mark.parametrize("ask", [opening_refusal, closing_refusal, conclusion_refusal])
def test_unknown_stages_are_named(ask: object) -> None:
    with pytest.raises(InputError, match="there is no stage 'x'; there are s0, s1"):
        ask(stages(P, P), "x")  # type: ignore[operator]


def test_submissions_are_taken_while_a_stage_is_open() -> None:
    assert submission_refusal(StageStatus("s", O), NOW) is None
    assert submission_refusal(StageStatus("s", C), NOW) == "s is closed and takes no submissions"
    assert submission_refusal(StageStatus("s", X), NOW) == "s is concluded and takes no submissions"
    planned = StageStatus("s", P, opens=NOW + HOUR)
    assert submission_refusal(planned, NOW) == "s is not open yet; it opens Mon 5 Jan 2026, 13:00 UTC"
    assert submission_refusal(replace(planned, opens=None), NOW) == "s is not open yet"
    # Its data may not be there.
    assert submission_refusal(planned, NOW + 2 * HOUR) == "s is not open yet"
    assert submission_refusal(StageStatus("s", O, concluding=True), NOW) is not None


def test_the_end_holds_before_anybody_closes_the_stage() -> None:
    stage = StageStatus("s", O, closes=NOW)
    assert submission_refusal(stage, NOW - TICK) is None
    assert submission_refusal(stage, NOW) == "s closed Mon 5 Jan 2026, 12:00 UTC and takes no submissions"


def test_dates_open_and_close() -> None:
    first = StageStatus("a", P, opens=NOW, closes=NOW + HOUR)
    second = StageStatus("b", P, opens=NOW + 2 * HOUR)
    for advance in (COMMAND, DATE, GOAL):
        assert due([first, second], advance, NOW - TICK) is None
        found = due([first, second], advance, NOW)
        assert found is not None
        assert (found.stage, found.action) == ("a", Action.OPEN)
        assert found.reason == "its beginning was Mon 5 Jan 2026, 12:00 UTC"
        assert due([replace(first, state=O), second], advance, NOW) is None
        closing = due([replace(first, state=O), second], advance, NOW + HOUR)
        assert closing is not None
        assert (closing.stage, closing.action) == ("a", Action.CLOSE)


def test_by_command_nothing_is_concluded_by_itself() -> None:
    closed = StageStatus("a", C, closes=NOW - HOUR, goal_teams=9)
    assert due([closed], COMMAND, NOW) is None


def test_by_date_the_end_concludes() -> None:
    closed = StageStatus("a", C, closes=NOW)
    found = due([closed], DATE, NOW)
    assert found is not None
    assert (found.stage, found.action) == ("a", Action.CONCLUDE)
    assert due([replace(closed, concluding=True)], DATE, NOW) is None
    assert due([replace(closed, closes=None)], DATE, NOW) is None  # it was closed by command
    assert due([closed], DATE, NOW - TICK) is None  # closed before its end


def test_by_goal_enough_teams_conclude() -> None:
    stage = StageStatus("a", O, goal_teams=1)
    found = due([stage], GOAL, NOW)
    assert found is not None
    assert (found.action, found.reason) == (
        Action.CONCLUDE,
        "a team has reached its goal, and the track advances by goal",
    )
    assert due([replace(stage, goal_teams=0)], GOAL, NOW) is None
    two = Advance(when="goal", teams=2)
    assert due([stage], two, NOW) is None
    reached = due([replace(stage, goal_teams=3)], two, NOW)
    assert reached is not None
    assert reached.reason.startswith("3 teams have")
    assert due([replace(stage, concluding=True)], GOAL, NOW) is None
    # It is not forgotten when the stage was closed meanwhile.
    assert due([replace(stage, state=C)], GOAL, NOW) is not None


def test_a_stage_does_not_open_past_the_one_before() -> None:
    second = StageStatus("b", P, opens=NOW)
    assert due([StageStatus("a", O), second], COMMAND, NOW) is None
    assert due([StageStatus("a", P), second], COMMAND, NOW) is None
    found = due([StageStatus("a", C), second], COMMAND, NOW)
    assert found is not None
    assert found.stage == "b"


def test_a_stage_whose_days_have_passed_is_not_opened() -> None:
    assert due([StageStatus("a", P, opens=NOW - 2 * HOUR, closes=NOW - HOUR)], DATE, NOW) is None


def test_the_next_change() -> None:
    found = [
        StageStatus("a", O, opens=NOW - HOUR, closes=NOW + 2 * HOUR),
        StageStatus("b", P, opens=NOW + 3 * HOUR, closes=NOW + 4 * HOUR),
    ]
    assert next_change(found, NOW) == NOW + 2 * HOUR
    assert next_change(found, NOW + 2 * HOUR) == NOW + 3 * HOUR
    assert next_change(found, NOW + 4 * HOUR) is None
    assert next_change(stages(O, P), NOW) is None
    assert next_change([StageStatus("x", X, closes=NOW + HOUR)], NOW) is None


def test_what_opens_after_a_conclusion() -> None:
    assert opens_after(stages(C, P), "s0", NOW) == "s1"
    assert opens_after(stages(X, C), "s1", NOW) is None
    assert opens_after(stages(C, O), "s0", NOW) is None
    dated = [StageStatus("a", C), StageStatus("b", P, opens=NOW + HOUR)]
    # A date that was published holds.
    assert opens_after(dated, "a", NOW) is None
    assert opens_after(dated, "a", NOW + HOUR) == "b"


def test_steps_come_one_after_the_other() -> None:
    assert STEPS == ("close", "await_running", "choose", "holdout", "publish", "install_next", "open_next")
    assert set(STEP_TITLES) == set(STEPS)
    done: list[str] = []
    for step in STEPS:
        assert next_step(done) is step
        done.append(step.value)
    assert next_step(done) is None
    assert next_step(done[::-1]) is None


def test_steps_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="there is no step 'dance' of a conclusion"):
        next_step(["close", "dance"])
    with pytest.raises(InputError, match="the step holdout is recorded as done, and await_running before it is not"):
        next_step({"close", Step.HOLDOUT})


status = st.builds(
    StageStatus,
    name=st.just("s"),
    state=st.just(P),
    opens=st.none() | st.integers(0, 6).map(lambda hours: NOW + hours * HOUR),
    closes=st.none() | st.integers(0, 6).map(lambda hours: NOW + hours * HOUR),
    goal_teams=st.integers(0, 2),
)


@given(
    st.lists(status, min_size=1, max_size=4),
    st.sampled_from([COMMAND, DATE, GOAL, Advance(when="goal", teams=2)]),
    st.lists(st.integers(0, 3), max_size=8),
)
def test_doing_what_is_due_ends_and_never_breaks_a_rule(
    found: list[StageStatus], advance: Advance, waits: list[int]
) -> None:
    track = [replace(stage, name=f"s{i}") for i, stage in enumerate(found)]
    now = NOW
    for wait in [*waits, 10]:
        now += wait * HOUR
        for _ in range(4 * len(track) + 1):
            action = due(track, advance, now)
            if action is None:
                break
            place = next(i for i, stage in enumerate(track) if stage.name == action.stage)
            if action.action is Action.OPEN:
                assert opening_refusal(track, action.stage) is None
                track[place] = replace(track[place], state=O)
            elif action.action is Action.CLOSE:
                assert closing_refusal(track, action.stage) is None
                track[place] = replace(track[place], state=C)
            else:
                assert conclusion_refusal(track, action.stage) is None
                track[place] = replace(track[place], state=X)
            assert sum(stage.state is O for stage in track) <= 1
            started = [stage.state is not P for stage in track]
            assert started == sorted(started, reverse=True)
        else:
            pytest.fail("there is always something due")
