"""What is told, what it is worth, and what attackers make of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from palladion.challenge import Feedback, Telling, Told, label_bits, leak_budget, metric_of
from palladion.challenge.feedback import level_of
from palladion.scoring import PointScores
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

ENTROPY, AREA = metric_of("detection", "cross_entropy"), metric_of("detection", "roc_auc")


def one(team: str, asked: int, better: bool, **values: Told) -> Telling:
    return Telling(team, asked, better, values)


def test_labels_have_the_bits_of_their_base_rate() -> None:
    def points(poisoned: int) -> PointScores:
        arrays = {"probability": np.full(100, 0.5), "poisoned": np.arange(100) < poisoned, "cluster": np.arange(100)}
        return PointScores("detection", arrays)

    assert label_bits(points(50)) == pytest.approx(100)
    assert label_bits(points(2)) == pytest.approx(14.14, abs=0.01)
    rows = PointScores("generation", {"t/utility": np.zeros(7), "t/success": np.zeros(3), "t/attack": np.zeros(3, int)})
    assert label_bits(rows) == 10


def test_rounded_numbers_by_hand() -> None:
    feedback = Feedback(policy="rounded", digits=1)
    told = one("a", 0, True, roc_auc=Told(0.7, "0.7", "", 0.6, 0.9))
    found = leak_budget(feedback, [AREA], [told, told], labels=1000)
    # One of 11 values, of 8 lower ends up to it, and of 4 upper ends from it; and all that twice.
    assert found.bits == pytest.approx(2 * math.log2(11 * 8 * 4))
    assert found.teams[0].share == found.share == pytest.approx(found.bits / 1000)
    assert not found.over


def test_single_tasks_count_as_well() -> None:
    overall, accuracy = metric_of("classification", "overall"), metric_of("classification", "cacc")
    values = {"overall": Told(70.0, "70"), "task1/cacc": Told(80.0, "80"), "task1/other": Told(1.0, "1")}
    found = leak_budget(
        Feedback(policy="rounded", digits=0), [overall, accuracy], [Telling("a", 0, True, values)], labels=700
    )
    assert found.bits == pytest.approx(math.log2(201) + math.log2(101))


def test_a_bootstrap_ladder_by_hand() -> None:
    tellings = [
        one("a", 0, True, roc_auc=Told(0.7, "0.70")),
        one("a", 1, False, roc_auc=Told(0.7, "0.70", "again")),
        one("a", 2, True, roc_auc=Told(0.8, "0.80")),
        one("b", 0, False, roc_auc=Told(None, "–")),
    ]
    found = leak_budget(DEFAULT, [AREA], tellings, labels=200, goals=["b"])
    levels = [level_of(DEFAULT, asked) for asked in range(3)]
    # The second value is one of 31 from 0.7 on.
    bits = -math.log2(levels[0]) + math.log2(101) - math.log2(1 - levels[1]) - math.log2(levels[2]) + math.log2(31)
    assert [leak.team for leak in found.teams] == ["a", "b"]
    assert found.teams[0].bits == pytest.approx(bits)
    assert found.teams[1].bits == pytest.approx(1 - math.log2(1 - levels[0]))
    assert found.bits == pytest.approx(bits + found.teams[1].bits)
    assert found.over
    assert "1 team has more than 10 %" in found.words


def test_a_hundred_submissions_without_progress_tell_next_to_nothing() -> None:
    found = leak_budget(DEFAULT, [AREA], [one("a", asked, False) for asked in range(100)], labels=100)
    assert found.bits < 0.1
    ladder = Feedback(policy="ladder", step=0.01)
    assert leak_budget(ladder, [AREA], [one("a", asked, False) for asked in range(100)], labels=100).bits == 100


def test_whole_numbers_tell_everything_and_no_more_than_that() -> None:
    tellings = [one("a", asked, True, cross_entropy=Told(0.123, "0.123")) for asked in range(5)]
    found = leak_budget(EXACT, [ENTROPY], tellings, labels=150)
    assert (found.bits, found.share) == (150, 1.0)
    assert leak_budget(EXACT, [ENTROPY], tellings[:1], labels=150).bits == 52


def test_clipping_leaves_fewer_values() -> None:
    told = [one("a", 0, True, cross_entropy=Told(0.5, "0.50"))]
    wide, clipped = (leak_budget(Feedback(clip=clip), [ENTROPY], told, labels=150).bits for clip in (None, 0.01))
    assert wide - clipped == pytest.approx(math.log2((1 - math.log(1e-12) / 0.01) / (1 - math.log(0.01) / 0.01)))


def test_nothing_told_is_nothing_leaked() -> None:
    found = leak_budget(Feedback(policy="none"), [AREA], [one("a", 0, False)], labels=100)
    assert (found.bits, found.teams, found.over) == (0, (), False)
    assert found.words == "Nothing has been told yet."
