import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import METRICS, Entry, best_of_each_team, metric_of, rank
from palladion.challenge.metrics import Metric
from palladion.challenge.ranking import is_scored

START = datetime(2026, 1, 5, tzinfo=UTC)
LOWER, HIGHER = metric_of("detection", "cross_entropy"), metric_of("detection", "roc_auc")


def entry(team: str, value: float | None, minute: int = 0, submission: str = "") -> Entry[None]:
    return Entry(team, submission or f"{team}-{minute}", value, START + timedelta(minutes=minute), None)


def board(entries: list[Entry[None]], metric: Metric) -> list[tuple[int | None, str]]:
    return [(ranked.rank, ranked.entry.team) for ranked in rank(entries, metric)]


def test_lower_is_better_where_the_table_says_so() -> None:
    entries = [entry("a", 0.5), entry("b", 0.1), entry("c", 0.9)]
    assert board(entries, LOWER) == [(1, "b"), (2, "a"), (3, "c")]
    assert board(entries, HIGHER) == [(1, "c"), (2, "a"), (3, "b")]


def test_ties_share_the_rank_and_the_earlier_comes_first() -> None:
    entries = [entry("a", 0.5, 3), entry("b", 0.5, 1), entry("c", 0.1, 9), entry("d", 0.5, 2), entry("e", 0.7)]
    assert board(entries, LOWER) == [(1, "c"), (2, "b"), (2, "d"), (2, "a"), (5, "e")]


def test_of_the_same_moment_the_id_decides() -> None:
    entries = [entry("a", 0.5, submission="z"), entry("b", 0.5, submission="y")]
    assert board(entries, LOWER) == [(1, "b"), (1, "a")]


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", [LOWER, HIGHER], ids=lambda metric: metric.name)
def test_what_is_missing_stands_last_without_a_rank(missing: float | None, metric: Metric) -> None:
    entries = [entry("x", missing), entry("a", 0.0, 1), entry("b", 1.0, 2)]
    ranked = board(entries, metric)
    assert ranked[-1] == (None, "x")
    assert [place for place, _ in ranked] == [1, 2, None]


def test_the_best_of_each_team() -> None:
    entries = [
        entry("a", 0.5, 1),
        entry("a", 0.2, 2),
        entry("a", 0.2, 3),
        entry("a", None, 4),
        entry("b", None, 5),
        entry("b", math.nan, 6),
        entry("c", 0.1, 7),
    ]
    best = best_of_each_team(entries, LOWER)
    assert [(one.team, one.submission) for one in best] == [("c", "c-7"), ("a", "a-2"), ("b", "b-5")]
    assert best_of_each_team([], LOWER) == []


entries_strategy = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.none() | st.floats() | st.sampled_from([0.0, -0.0, 0.5]),
        st.integers(0, 3),
    ),
    max_size=12,
).map(
    lambda rows: [entry(team, value, minute, f"{i:02}") for i, (team, value, minute) in enumerate(rows)],
)


@given(entries_strategy, st.sampled_from(METRICS), st.randoms())
def test_a_board_is_in_order_whatever_is_on_it(entries: list[Entry[None]], metric: Metric, random: object) -> None:
    ranked = rank(entries, metric)
    assert sorted(one.entry.submission for one in ranked) == sorted(one.submission for one in entries)
    scored = [one for one in ranked if is_scored(one.entry.value)]
    # All that have a value stand before all that have none.
    assert ranked[: len(scored)] == scored
    assert all(one.rank is None for one in ranked[len(scored) :])
    for place, one in enumerate(scored, 1):
        better = sum(metric.is_better(other.entry.value or 0.0, one.entry.value or 0.0) for other in scored)
        assert one.rank == better + 1
        assert one.rank <= place
    # The order of what comes in does not matter.
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [one.entry.submission for one in rank(shuffled, metric)] == [one.entry.submission for one in ranked]


@given(entries_strategy, st.sampled_from(METRICS))
def test_no_entry_of_a_team_is_better_than_its_best(entries: list[Entry[None]], metric: Metric) -> None:
    best = {one.team: one for one in best_of_each_team(entries, metric)}
    assert set(best) == {one.team for one in entries}
    for one in entries:
        chosen = best[one.team]
        if one.value is not None and is_scored(one.value):
            assert chosen.value is not None
            assert not metric.is_better(one.value, chosen.value)
