"""What is told, what it is worth, and what attackers make of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.challenge import (
    Feedback,
    Labels,
    Metric,
    TeamLeak,
    Telling,
    Told,
    labels_of,
    leak_budget,
    metric_of,
    most_right,
)
from palladion.scoring import PointScores, base_rate_cross_entropy
from tests.challenge.attacks import Split, balanced, bet, boost, climb, decode, detector, read_off, successors

Floats = NDArray[np.float64]

EXACT = Feedback(policy="exact", digits=5)
DEFAULT = Feedback()
ALL = ("cross_entropy", "roc_auc", "brier", "accuracy")
SEEDS = 12


# --- Reading labels off -----------------------------------------------------------------------------------------------


def recovered(feedback: Feedback, seed: int) -> float:
    """Share of 300 labels that are right after 24 submissions."""
    rng = np.random.default_rng(seed)
    labels = balanced(300, rng)
    return float((read_off(Split(labels, feedback), 24) == labels).mean())


def test_five_digits_give_all_labels_away() -> None:
    # The text of a table, with its five digits, and not the value with all that a float has.
    assert [recovered(EXACT, seed) for seed in range(3)] == [1.0] * 3


@pytest.mark.parametrize("feedback", [DEFAULT, Feedback(clip=0.01), Feedback(level=0.2)], ids=str)
def test_the_default_policy_gives_no_labels_away(feedback: Feedback) -> None:
    assert np.mean([recovered(feedback, seed) for seed in range(5)]) <= 0.55


# --- Random probes ----------------------------------------------------------------------------------------------------

Attack = Callable[..., Floats]
ATTACKS: dict[str, tuple[Attack, tuple[str, ...], dict[str, Any]]] = {
    "boost an area": (boost, ("roc_auc",), {}),
    "boost a cross-entropy": (boost, ("cross_entropy",), {}),
    "climb an area": (climb, ("roc_auc",), {}),
    "climb a cross-entropy": (climb, ("cross_entropy",), {}),
    "climb in small steps": (climb, ("cross_entropy",), {"changed": 0.03}),
    "decode all metrics": (decode, ALL, {}),
    "decode all metrics and intervals": (decode, ALL, {"intervals": True}),
}


def areas(name: str, feedback: Feedback, *, start: float = 0.0, seeds: int = SEEDS, **more: Any) -> tuple[float, float]:
    """The mean areas under the ROC curve before and after 100 submissions on 100 models, over the same sealed labels.

    Args:
        name: of the attack.
        feedback: the policy.
        start: how much is known before, as of :func:`detector`.
        seeds: how often it is tried.
        more: for the attack.
    """
    attack, metrics, options = ATTACKS[name]
    options = options | more
    intervals = options.pop("intervals", False)
    before, after = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        split = Split(balanced(100, rng), feedback, metrics, intervals)
        known = detector(split.labels, start, rng) if start else None
        before.append(0.5 if known is None else split.auc(known))
        after.append(split.auc(attack(split, 100, rng, start=known, **options)))
    return float(np.mean(before)), float(np.mean(after))


@pytest.mark.parametrize("name", ATTACKS)
def test_random_probes_win_against_exact_scores(name: str) -> None:
    _, after = areas(name, EXACT, seeds=2)
    assert after > 0.65


@pytest.mark.parametrize("name", ATTACKS)
def test_random_probes_learn_nothing_from_the_default_policy(name: str) -> None:
    _, after = areas(name, DEFAULT)
    assert after <= 0.55


@pytest.mark.parametrize("name", ["boost a cross-entropy", "climb a cross-entropy", "decode all metrics"])
def test_rounding_alone_does_not_help(name: str) -> None:
    _, after = areas(name, Feedback(policy="rounded", digits=3), seeds=4)
    assert after > 0.65


@pytest.mark.parametrize("shift", [0.545, 1.812], ids=["weak", "good"])
@pytest.mark.parametrize("name", ["climb a cross-entropy", "climb an area", "decode all metrics and intervals"])
def test_who_knows_something_learns_little_more_from_the_default_policy(name: str, shift: float) -> None:
    """The start is a detector of an area of 0.65 or 0.9. The decoder hands in what it knows little by little, so that
    it makes progress and is told new values, and reads labels off them.
    """
    more: dict[str, Any] = {"growth": 20, "size": 0.3} if name.startswith("decode") else {}
    before, after = areas(name, DEFAULT, start=shift, **more)
    assert after <= before + 0.05
    # The same attackers, where values are told as they are.
    before, after = areas(name, EXACT, start=shift, seeds=2, **more)
    assert after > before + 0.05


@pytest.mark.parametrize("prevalence", [0.5, 0.1])
@pytest.mark.parametrize("metric", ["cross_entropy", "roc_auc"])
def test_bets_that_are_probably_won_win_nothing(metric: str, prevalence: float) -> None:
    def area(feedback: Feedback, seed: int) -> float:
        rng = np.random.default_rng(seed)
        split = Split(balanced(100, rng, prevalence), feedback, (metric,))
        return split.auc(bet(split, 100, rng))

    assert np.mean([area(DEFAULT, seed) for seed in range(SEEDS)]) <= 0.55
    assert np.mean([area(EXACT, seed) for seed in range(4)]) > 0.65


@pytest.mark.parametrize("hidden", [1.0, 0.5])
def test_who_holds_knowledge_back_wins_nothing_with_it(hidden: float) -> None:
    """A detector of an area of 0.9 that first hands in half of what it knows, and bets on the rest."""
    gains = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        split = Split(balanced(100, rng), DEFAULT)
        known = detector(split.labels, 1.812, rng)
        gains.append(split.auc(bet(split, 100, rng, start=known, hidden=hidden, luck=0.1)) - split.auc(known))
    assert np.mean(gains) <= 0.05


# --- Honest progress --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cross_entropy", "roc_auc"])
def test_who_makes_progress_is_told(metric: str) -> None:
    """A detector of an area of 0.75, then one of 0.9, on 150 models: the new one is told, and it is right."""
    told_first, told_second, off = 0, 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        split = Split(balanced(150, rng), DEFAULT, (metric, "roc_auc"), intervals=seed < 5)
        weak, better = successors(split.labels, rng)
        told_first += split.submit(weak)[0]
        told, values = split.submit(better)
        told_second += told
        if told:
            area = values["roc_auc"]
            assert area.value is not None
            off.append(abs(area.value - split.auc(better)))
            assert seed >= 5 or (area.low is not None and area.low <= split.auc(better))
    assert told_first >= 30
    assert told_second >= 36
    assert max(off) <= 0.005 + 1e-9


def test_who_makes_no_progress_is_told_the_best_again() -> None:
    rng = np.random.default_rng(0)
    split = Split(balanced(300, rng), DEFAULT)
    good = detector(split.labels, 1.812, rng)
    told, first = split.submit(good)
    assert told
    told, again = split.submit(np.full(300, 0.5))
    assert not told
    assert again["cross_entropy"].value == first["cross_entropy"].value
    assert "best is told again" in again["cross_entropy"].note


def test_nobody_without_progress_is_told_more_often_than_the_level() -> None:
    """Teams that hand in random answers thirty times."""
    told = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        split = Split(balanced(60, rng), Feedback(level=0.2))
        told += any(split.submit(1 / (1 + np.exp(rng.choice([-0.5, 0.5], size=60))))[0] for _ in range(30))
    assert told / 100 <= 0.2 + 2 * (0.2 * 0.8 / 100) ** 0.5


# --- The budget -------------------------------------------------------------------------------------------------------

ENTROPY, AREA, ACCURACY = (metric_of("detection", name) for name in ("cross_entropy", "roc_auc", "accuracy"))
OVERALL, CLEAN = metric_of("classification", "overall"), metric_of("classification", "cacc")
HUNDRED, THOUSAND = Labels(100, 50), Labels(1000, 500)
LADDER = Feedback(policy="ladder", step=0.01)
log2 = math.log2


def one(team: str, better: bool, scorer: str = "", **values: Told) -> Telling:
    return Telling(team, better, values, scorer)


def area(value: float) -> Told:
    return Told(value, f"{value:.2f}")


NO = one("a", False, roc_auc=Told(None, "–"))


def bits(feedback: Feedback, *tellings: Telling, metric: Metric = AREA, labels: Labels = THOUSAND) -> float:
    return leak_budget(feedback, [metric], tellings, labels=labels).bits


def test_labels_have_the_bits_of_their_base_rate() -> None:
    def points(poisoned: int) -> PointScores:
        arrays = {"probability": np.full(100, 0.5), "poisoned": np.arange(100) < poisoned, "cluster": np.arange(100)}
        return PointScores("detection", arrays)

    assert labels_of(points(50)) == HUNDRED
    assert HUNDRED.bits == pytest.approx(100)
    assert labels_of(points(2)).bits == pytest.approx(14.14, abs=0.01)
    assert labels_of(points(0)).bits == 0
    rows = PointScores("generation", {"t/utility": np.zeros(7), "t/success": np.zeros(3), "t/attack": np.zeros(3, int)})
    assert labels_of(rows) == Labels(10)
    assert Labels(10).bits == 10


def test_a_bootstrap_ladder_by_hand() -> None:
    # One decision of one: 2 · C(1, 1). The area is one of 51, from guessing on.
    assert bits(DEFAULT, one("a", True, roc_auc=area(0.7))) == pytest.approx(log2(2 * 51))
    # Its interval has one of six widths, or is everything.
    told = one("a", True, roc_auc=Told(0.7, "0.70", "", 0.6, 0.8))
    assert bits(DEFAULT, told) == pytest.approx(log2(2 * 51 * 7))
    # Of three submissions two were told: 4 · C(3, 2). The second value is one of 31, from 0.7 on.
    again = one("a", False, roc_auc=Told(0.7, "0.70", "again", 0.6, 0.8))
    found = bits(DEFAULT, told, again, one("a", True, roc_auc=Told(0.8, "0.80", "", 0.7, 0.9)))
    assert found == pytest.approx(log2(4 * 3) + log2(51 * 7) + log2(31 * 7))
    # A cross-entropy is one of 70, from ln 2 down; where one in ten is poisoned, of 34.
    told = one("a", True, cross_entropy=area(0.5))
    assert bits(DEFAULT, told, metric=ENTROPY) == pytest.approx(log2(2 * 70))
    assert bits(DEFAULT, told, metric=ENTROPY, labels=Labels(1000, 100)) == pytest.approx(log2(2 * 34))


def test_where_there_is_no_guess_the_first_is_told_without_a_decision() -> None:
    values = [one("a", True, overall=area(value)) for value in (70.0, 80.0)]
    # One of 201, and then of 31; and of the one decision that there was, 2 · C(1, 1).
    assert bits(DEFAULT, *values[:1], metric=OVERALL, labels=Labels(700)) == pytest.approx(log2(201))
    assert bits(DEFAULT, *values, metric=OVERALL, labels=Labels(700)) == pytest.approx(log2(201) + log2(2 * 31))


def test_a_ladder_by_hand() -> None:
    first = one("a", True, roc_auc=area(0.3))
    assert bits(LADDER, first) == pytest.approx(log2(101))
    # Nothing new after it: nothing more.
    assert bits(LADDER, first, *[NO] * 99) == pytest.approx(log2(101))
    # The second of three decisions: 4 · C(3, 1); it is one of 70 above 0.3.
    found = bits(LADDER, first, NO, one("a", True, roc_auc=area(0.4)), NO)
    assert found == pytest.approx(log2(101) + log2(4 * 3) + log2(70))
    # There is one rung above 0.99, and no news in it but that it was reached.
    found = bits(LADDER, one("a", True, roc_auc=area(0.99)), one("a", True, roc_auc=area(1.0)))
    assert found == pytest.approx(log2(101) + log2(2))


def test_clipping_leaves_fewer_values() -> None:
    told = one("a", True, cross_entropy=area(0.5))
    clipped = Feedback(policy="ladder", step=0.01, clip=0.01)
    # Up to 27.64, in steps; and up to 4.61.
    assert bits(LADDER, told, metric=ENTROPY) == pytest.approx(log2(2765))
    assert bits(clipped, told, metric=ENTROPY) == pytest.approx(log2(462))


def test_rounded_numbers_by_hand() -> None:
    told = one("a", True, roc_auc=Told(0.7, "0.7", "", 0.6, 0.9))
    found = leak_budget(Feedback(policy="rounded", digits=1), [AREA], [told, told], labels=THOUSAND)
    # One of 11 values, of 8 lower ends up to it, and of 4 upper ends from it; and all that twice.
    assert found.bits == pytest.approx(2 * log2(11 * 8 * 4))
    assert found.teams == (TeamLeak("a", found.bits, found.share, 2, 2),)
    assert found.share == pytest.approx(found.bits / 1000)
    assert not found.over


def test_single_tasks_count_as_well() -> None:
    values = {"overall": Told(70.0, "70"), "task1/cacc": Told(80.0, "80"), "task1/other": Told(1.0, "1")}
    found = leak_budget(
        Feedback(policy="rounded", digits=0), [OVERALL, CLEAN], [Telling("a", True, values)], labels=Labels(700)
    )
    assert found.bits == pytest.approx(log2(201) + log2(101))


def test_numbers_that_are_told_whole_count_all_their_digits_or_all_that_there_are() -> None:
    value, ends = Told(0.75, "0.7500"), Told(0.75, "0.7500", "", 0.5, 0.9)
    exact = Feedback(policy="exact")
    assert bits(exact, one("a", True, cross_entropy=value), metric=ENTROPY) == 52
    assert bits(exact, one("a", True, cross_entropy=ends), metric=ENTROPY) == 3 * 52
    # The accuracy of a hundred models is one of 101, an area one of 50 · 50 pairs, or halves.
    assert bits(exact, one("a", True, accuracy=value), metric=ACCURACY, labels=HUNDRED) == pytest.approx(log2(101))
    assert bits(exact, one("a", True, roc_auc=value), labels=HUNDRED) == pytest.approx(log2(5001))
    # So no number of digits tells more.
    fine = Feedback(policy="rounded", digits=12)
    assert bits(fine, one("a", True, roc_auc=value), labels=HUNDRED) == pytest.approx(log2(5001))


def test_nobody_is_told_more_than_there_is() -> None:
    tellings = [one("a", True, cross_entropy=Told(0.123, "0.123"))] * 5
    found = leak_budget(EXACT, [ENTROPY], [*tellings, *[one("b", True, cross_entropy=area(0.5))] * 5], labels=HUNDRED)
    assert [(leak.team, leak.bits, leak.share) for leak in found.teams] == [("a", 100, 1.0), ("b", 100, 1.0)]
    assert (found.bits, found.share, found.over) == (100, 1.0, True)
    assert "2 teams have more than 10 %" in found.words
    assert "enough for all of them" in found.words


def test_the_goal_is_a_decision_as_well() -> None:
    def found(feedback: Feedback, submission: int, *tellings: Telling) -> float:
        return leak_budget(feedback, [AREA], tellings, labels=HUNDRED, goals={"a": submission}).bits

    nothing = Feedback(policy="none")
    # That the first has reached it is one bit, and that the third is the first to do so, one of 3 · 4.
    assert found(nothing, 1, NO) == 1
    assert found(nothing, 3, NO, NO, NO) == pytest.approx(log2(12))
    assert found(DEFAULT, 1, one("a", True, roc_auc=area(0.7))) == pytest.approx(1 + log2(2 * 51))
    # Somebody who has no values at all is counted too.
    (leak,) = leak_budget(nothing, [AREA], [], labels=HUNDRED, goals={"b": 2}).teams
    assert leak == TeamLeak("b", log2(6), log2(6) / 100, 0, 2)


def test_what_is_scored_again_is_told_once_more() -> None:
    told = [one("a", True, scorer, roc_auc=area(0.7)) for scorer in ("1", "2")]
    found = leak_budget(DEFAULT, [AREA], told, labels=THOUSAND)
    # From guessing on in either case, and not from what the other version told.
    assert found.bits == pytest.approx(2 * log2(2 * 51))
    assert found.teams == (TeamLeak("a", found.bits, found.share, 2, 1),)


def test_teams_are_counted_by_themselves_and_together() -> None:
    tellings = [one("b", True, roc_auc=area(0.7)), NO, NO, one("c", False)]
    found = leak_budget(DEFAULT, [AREA], tellings, labels=HUNDRED, goals={"a": 2})
    assert [(leak.team, leak.tellings, leak.submissions) for leak in found.teams] == [
        ("b", 1, 1),
        ("a", 0, 2),
        ("c", 0, 1),
    ]
    assert found.bits == pytest.approx(log2(2 * 51) + log2(6))
    assert found.share == pytest.approx(log2(2 * 51) / 100)
    assert not found.over
    assert "worth 7 of them at most (7 %)" in found.words
    assert "nobody could have more than 65 % of the labels right on average, where guessing has 50 %" in found.words


@pytest.mark.parametrize("feedback", [DEFAULT, LADDER, EXACT, Feedback(policy="none")], ids=str)
def test_nothing_told_is_nothing_leaked(feedback: Feedback) -> None:
    for tellings in ([], [NO], [NO] * 100):
        found = leak_budget(feedback, [AREA], tellings, labels=HUNDRED)
        assert (found.bits, found.share, found.over) == (0, 0, False)
        assert found.words == "Nothing has been told yet."
        assert [leak.submissions for leak in found.teams] == ([len(tellings)] if tellings else [])


def test_labels_that_are_all_alike_have_nothing_to_tell() -> None:
    found = leak_budget(EXACT, [ENTROPY], [one("a", True, cross_entropy=area(0.5))], labels=Labels(100, 0))
    assert (found.bits, found.share, found.over) == (0, 0, False)


def test_the_warning_says_something() -> None:
    """The default on a hundred models: once is below 10 %, twice above; on a thousand, seven times are below."""

    def over(labels: Labels, times: int) -> bool:
        tellings = [
            one("a", True, cross_entropy=Told(value, "", "", 0.0, 1.0)) for value in np.linspace(0.6, 0.3, times)
        ]
        return leak_budget(DEFAULT, [ENTROPY], tellings, labels=labels).over

    assert [over(HUNDRED, times) for times in (1, 2, 3)] == [False, True, True]
    assert [over(THOUSAND, times) for times in (1, 2, 7, 20)] == [False, False, False, True]


def transcripts(feedback: Feedback) -> st.SearchStrategy[list[Telling]]:
    """What a policy can have told of an area: values of a ladder only go up."""
    number = st.integers(50, 100).map(lambda percent: percent / 100)

    def made(steps: list[tuple[bool, float, bool]]) -> list[Telling]:
        told, best = [], None
        for better, value, ends in steps:
            if feedback.policy == "none" or not better:
                told.append(NO)
                continue
            best = value if best is None or feedback.policy in ("exact", "rounded") else max(best, value)
            told.append(one("a", True, roc_auc=Told(best, "", "", 0.0, 1.0) if ends else Told(best, "")))
        return told

    return st.lists(st.tuples(st.booleans(), number, st.booleans()), max_size=30).map(made)


@given(st.sampled_from([DEFAULT, LADDER, EXACT, Feedback(policy="rounded"), Feedback(policy="none")]), st.data())
def test_more_tellings_say_no_less_and_none_more_than_the_labels(feedback: Feedback, data: st.DataObject) -> None:
    tellings = data.draw(transcripts(feedback))
    labels = data.draw(st.integers(2, 300).flatmap(lambda n: st.builds(Labels, st.just(n), st.integers(0, n))))
    found = [bits(feedback, *tellings[:count], labels=labels) for count in range(len(tellings) + 1)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] <= labels.bits
    if not any(telling.better for telling in tellings):
        assert found[-1] == 0
    elif labels.bits:
        assert found[-1] > 0


@given(st.integers(1, 12))
def test_decisions_are_in_a_code_but_for_the_bit_of_who_was_told_nothing(submissions: int) -> None:
    """Kraft's inequality: the codes of all ways in which so many decisions can end have a sum of at most 1, if that
    nothing was told costs a bit, and everything else one more.
    """
    values = one("a", True)  # told, but no number, so that it is the decisions alone that cost
    ends = [
        bits(DEFAULT, *(values if end >> place & 1 else NO for place in range(submissions)), labels=Labels(10_000))
        for end in range(2**submissions)
    ]
    assert sum(2 ** -(1 + cost) for cost in ends) <= 1 + 1e-9


def test_who_is_told_a_tenth_of_the_bits_gets_no_more_than_two_thirds_right() -> None:
    # 1 - H(0.316) is 0.1.
    assert most_right(HUNDRED, 10) == pytest.approx(0.684, abs=5e-4)
    assert most_right(THOUSAND, 100) == pytest.approx(most_right(HUNDRED, 10))
    assert most_right(HUNDRED, 0) == pytest.approx(0.5)
    assert most_right(HUNDRED, 100) == most_right(HUNDRED, 1e9) == 1
    # Guessing the base rate has nine of ten right.
    assert most_right(Labels(100, 10), 0) == most_right(Labels(100, 90), 0) == pytest.approx(0.9)
    assert most_right(Labels(100), 10) is None
    assert most_right(Labels(100, 0), 0) == 1


@given(st.integers(1, 500), st.data())
def test_whoever_has_labels_right_was_told_as_much(points: int, data: st.DataObject) -> None:
    labels = Labels(points, data.draw(st.integers(0, points)))
    told = data.draw(st.floats(0, labels.bits))
    right = most_right(labels, told)
    assert right is not None
    assert labels.poisoned is not None
    assert max(labels.poisoned, points - labels.poisoned) / points - 1e-9 <= right <= 1
    needed = labels.bits - points * base_rate_cross_entropy(1 - right) / math.log(2)
    assert needed == pytest.approx(told, abs=1e-4)
