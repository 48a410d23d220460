from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import Allowed, Earlier, Ending, Quota, Quotas, Refused, decide, usage_words
from palladion.challenge.quotas import DAY, quota_words

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
EXAMPLE = Quotas(scored=Quota(per_day=3, total=100), attempted=Quota(per_day=10), concurrent=2)


def ago(hours: float, ending: Ending = Ending.SCORED) -> Earlier:
    return Earlier(NOW - timedelta(hours=hours), ending)


def refused(quotas: Quotas, earlier: list[Earlier], now: datetime = NOW) -> Refused:
    decision = decide(quotas, earlier, now)
    assert isinstance(decision, Refused)
    return decision


def test_without_limits_everything_is_allowed() -> None:
    many = [ago(0, Ending.RUNNING)] * 1000
    decision = decide(Quotas(), many, NOW)
    assert isinstance(decision, Allowed)
    assert (decision.usage.scored.today, decision.usage.running) == (1000, 1000)
    assert decision.usage.scored.left is None
    assert usage_words(decision.usage, NOW) == ()
    assert quota_words(Quotas()) == "no limit"


def test_a_day_is_any_24_hours() -> None:
    quotas = Quotas(scored=Quota(per_day=2))
    earlier = [ago(24), ago(1)]
    # What was accepted 24 hours ago has just fallen out; a moment before, it had not.
    assert isinstance(decide(quotas, earlier, NOW), Allowed)
    before = refused(quotas, earlier, NOW - TICK)
    assert before.next_slot == NOW
    # Midnight means nothing.
    late = datetime(2026, 1, 5, 23, 59, tzinfo=UTC)
    spent = [Earlier(late, Ending.SCORED), Earlier(late, Ending.SCORED)]
    assert isinstance(decide(quotas, spent, late + timedelta(minutes=2)), Refused)


def test_the_next_slot_is_when_enough_have_fallen_out() -> None:
    # Of five where three are allowed, three must fall out before there is room for one more.
    quotas = Quotas(scored=Quota(per_day=3))
    earlier = [ago(hours) for hours in (2, 20, 10, 15, 5)]
    assert refused(quotas, earlier).next_slot == NOW - timedelta(hours=10) + DAY


def test_failed_ones_give_back_scored_but_not_attempted() -> None:
    quotas = Quotas(scored=Quota(per_day=2), attempted=Quota(per_day=4))
    failed = [ago(1, Ending.FAILED), ago(2, Ending.FAILED)]
    decision = decide(quotas, [*failed, ago(3)], NOW)
    assert isinstance(decision, Allowed)
    assert (decision.usage.scored.today, decision.usage.attempted.today) == (1, 3)
    assert (decision.usage.scored.left, decision.usage.attempted.left) == (1, 1)
    more = refused(quotas, [*failed, ago(3, Ending.FAILED), ago(4, Ending.FAILED)])
    assert "4 of 4 attempted submissions in 24 hours are used" in more.reason
    assert "scored" not in more.reason
    assert more.next_slot == NOW + timedelta(hours=20)


def test_what_still_runs_counts_as_scored() -> None:
    quotas = Quotas(scored=Quota(total=2))
    decision = refused(quotas, [ago(100), ago(1, Ending.RUNNING)])
    assert decision.reason == "all 2 scored submissions are used up; 1 still running count until they fail"
    assert decision.next_slot is None


def test_a_total_is_used_up_for_good() -> None:
    decision = refused(Quotas(attempted=Quota(total=2)), [ago(9000), ago(8000, Ending.FAILED)])
    assert decision.reason == "all 2 attempted submissions are used up"
    assert decision.next_slot is None
    assert usage_words(decision.usage, NOW) == ("attempted: 2 of 2 in total, used up",)


def test_concurrent_ones_must_end() -> None:
    decision = refused(EXAMPLE, [ago(1, Ending.RUNNING), ago(100, Ending.RUNNING), ago(2)])
    assert decision.reason == "2 of 2 submissions at a time are running; wait for one to end"
    assert decision.next_slot is None


def test_of_several_refusals_the_latest_slot_counts() -> None:
    quotas = Quotas(scored=Quota(per_day=1), attempted=Quota(per_day=2))
    decision = refused(quotas, [ago(20), ago(1, Ending.FAILED)])
    assert decision.next_slot == NOW + timedelta(hours=4)
    decision = refused(quotas, [ago(2), ago(20, Ending.FAILED)])
    assert decision.next_slot == NOW + timedelta(hours=22)
    # One that no time helps leaves no slot at all.
    assert refused(Quotas(scored=Quota(per_day=1), attempted=Quota(total=1)), [ago(1)]).next_slot is None


def test_the_reason_names_the_time() -> None:
    quotas = Quotas(scored=Quota(per_day=2))
    earlier = [Earlier(NOW - timedelta(hours=20, seconds=-30), Ending.SCORED), ago(3)]
    decision = refused(quotas, earlier)
    # 16:00:30 is told as 16:01, when the slot is there.
    assert decision.reason == (
        "2 of 2 scored submissions in 24 hours are used; next slot Mon 5 Jan 2026, 16:01 UTC (in 4 hours)"
    )


def test_what_is_left_is_told() -> None:
    earlier = [ago(1), ago(2), ago(30), ago(3, Ending.FAILED), ago(0.1, Ending.RUNNING)]
    decision = decide(EXAMPLE, earlier, NOW)
    assert usage_words(decision.usage, NOW) == (
        "scored: 3 of 3 in 24 hours, 4 of 100 in total, next slot Tue 6 Jan 2026, 10:00 UTC (in 22 hours)",
        "attempted: 4 of 10 in 24 hours, next slot now",
        "running: 1 of 2 at a time",
    )
    assert quota_words(EXAMPLE) == "scored: 3 in 24 hours, 100 in total; attempted: 10 in 24 hours; 2 at a time"


def test_a_clock_that_is_ahead_counts_all_the_same() -> None:
    ahead = [Earlier(NOW + timedelta(minutes=1), Ending.SCORED)]
    decision = refused(Quotas(scored=Quota(per_day=1)), ahead)
    assert decision.next_slot == NOW + timedelta(minutes=1) + DAY


limits = st.none() | st.integers(1, 4)
quota_strategy = st.builds(Quota, per_day=limits, total=st.none() | st.integers(1, 12))
quotas_strategy = st.builds(
    Quotas, scored=quota_strategy, attempted=quota_strategy, concurrent=st.none() | st.integers(1, 3)
)
steps = st.lists(
    st.tuples(
        st.sampled_from([timedelta(0), TICK, timedelta(minutes=7), timedelta(hours=5), DAY - TICK, DAY]),
        st.sampled_from(list(Ending)),
    ),
    max_size=25,
)


@given(quotas_strategy, steps)
def test_no_window_ever_holds_more_than_the_quota(quotas: Quotas, story: list[tuple[timedelta, Ending]]) -> None:
    now, accepted = NOW, list[Earlier]()
    for wait, ending in story:
        now += wait
        if isinstance(decide(quotas, accepted, now), Allowed):
            # What runs has ended by the next time, unless it is said to run on.
            accepted.append(Earlier(now, ending))
    for quota, counted in (
        (quotas.scored, [one for one in accepted if one.ending is not Ending.FAILED]),
        (quotas.attempted, accepted),
    ):
        if quota.total is not None:
            assert len(counted) <= quota.total
        for first in counted:
            window = [one for one in counted if first.accepted <= one.accepted < first.accepted + DAY]
            if quota.per_day is not None:
                assert len(window) <= quota.per_day
    if quotas.concurrent is not None:
        assert sum(one.ending is Ending.RUNNING for one in accepted) <= quotas.concurrent


earlier_strategy = st.lists(
    st.builds(
        Earlier,
        accepted=st.integers(0, 3 * 86_400).map(lambda seconds: NOW - timedelta(seconds=seconds)),
        ending=st.sampled_from(list(Ending)),
    ),
    max_size=12,
)


@given(quotas_strategy, earlier_strategy)
def test_the_slot_that_is_named_is_there_and_not_a_moment_before(quotas: Quotas, earlier: list[Earlier]) -> None:
    decision = decide(quotas, earlier, NOW)
    if isinstance(decision, Allowed):
        return
    assert decision.reason
    if decision.next_slot is None:
        # No time will do: not even a year from now, if nothing else happens.
        assert isinstance(decide(quotas, earlier, NOW + timedelta(days=365)), Refused)
        return
    assert decision.next_slot > NOW
    assert isinstance(decide(quotas, earlier, decision.next_slot), Allowed)
    assert isinstance(decide(quotas, earlier, decision.next_slot - TICK), Refused)


@given(quotas_strategy, earlier_strategy, st.integers(0, 11))
def test_a_failure_gives_back_a_score_and_no_attempt(quotas: Quotas, earlier: list[Earlier], at: int) -> None:
    if at >= len(earlier) or earlier[at].ending is Ending.FAILED:
        return
    after = [*earlier[:at], Earlier(earlier[at].accepted, Ending.FAILED), *earlier[at + 1 :]]
    was, now = decide(quotas, earlier, NOW).usage, decide(quotas, after, NOW).usage
    assert now.scored.total == was.scored.total - 1
    assert now.attempted == was.attempted
    assert now.running == was.running - (earlier[at].ending is Ending.RUNNING)


@given(quotas_strategy, earlier_strategy, st.randoms())
def test_the_order_of_submissions_does_not_matter(quotas: Quotas, earlier: list[Earlier], random: object) -> None:
    shuffled = list(earlier)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(quotas, shuffled, NOW) == decide(quotas, earlier, NOW)


@pytest.mark.parametrize("used", range(4))
def test_what_is_left_goes_down_to_nothing(used: int) -> None:
    usage = decide(Quotas(scored=Quota(per_day=3, total=4)), [ago(i) for i in range(used)], NOW).usage
    assert usage.scored.left == 3 - used
