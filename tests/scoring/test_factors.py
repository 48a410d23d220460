import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import cross_entropy, delong_interval, mean_cross_entropy, roc_auc
from palladion.scoring.factors import Factor, analyse_factors, factors_of

TRUTH = np.arange(40) % 2 == 1


def column(*values: str) -> list[str]:
    """The values again and again, in blocks of two, so that each has as many poisoned as clean data points."""
    return [values[(i // 2) % len(values)] for i in range(TRUTH.size)]


def names(columns: dict[str, list[str]]) -> list[str]:
    return [factor.name for factor in factors_of(columns, TRUTH)]


# --- Which columns are factors ----------------------------------------------------------------------------------------


def test_the_label_is_the_first_factor_where_there_are_both_classes() -> None:
    (label,) = factors_of({}, TRUTH)
    assert (label.name, label.levels) == ("poisoned", ("clean", "poisoned"))
    assert label.index.tolist() == TRUTH.astype(int).tolist()
    assert factors_of({}, np.ones(3)) == ()


def test_words_and_few_numbers_are_levels_and_numbers_are_in_their_order() -> None:
    found = factors_of({"size": column("10", "9", "2.5"), "kind": column("b", "a")}, TRUTH)
    assert [factor.levels for factor in found[1:]] == [("2.5", "9", "10"), ("a", "b")]
    assert found[1].index.tolist()[:6] == [2, 2, 1, 1, 0, 0]
    assert found[1].at("9").sum() == np.sum(np.array(column("10", "9", "2.5")) == "9")
    with pytest.raises(ScoringError, match=r"size has no level '7'; it has 2\.5, 9, 10"):
        found[1].at("7")


def test_what_does_not_apply_is_no_level() -> None:
    trigger = ["polygon" if i % 4 == 1 else "filter" if TRUTH[i] else "None" for i in range(40)]
    (_, found) = factors_of({"trigger": trigger}, TRUTH)
    assert found.levels == ("filter", "polygon")
    assert (found.index == -1).tolist() == (~TRUTH).tolist()


@pytest.mark.parametrize(
    "values",
    [
        column("same"),
        ["nan"] * 40,
        ["x"] * 20 + [""] * 20,
        [f"word {i}" for i in range(40)],
        column("short", "long " * 40),
    ],
    ids=["constant", "nothing", "one level", "all distinct words", "free text"],
)
def test_columns_that_are_no_factors(values: list[str]) -> None:
    assert names({"column": values}) == ["poisoned"]


@pytest.mark.parametrize("name", ["model_name", "master_seed", "seed", "model_id"])
def test_what_only_names_data_points_is_no_factor(name: str) -> None:
    assert names({name: column("1", "2")}) == ["poisoned"]
    assert names({"provided": column("1", "2")}) == ["poisoned", "provided"]


def test_many_numbers_are_cut_into_groups_of_about_the_same_size() -> None:
    (_, found) = factors_of({"accuracy": [f"{0.9 + i / 1000}" for i in range(40)]}, TRUTH)
    assert found.levels == ("0.9 to 0.909", "0.91 to 0.919", "0.92 to 0.929", "0.93 to 0.939")
    assert np.bincount(found.index).tolist() == [10, 10, 10, 10]


def test_equal_numbers_stay_together_and_every_group_has_its_own_name() -> None:
    skewed = ["0"] * 26 + [f"{1 + i * 1e-9!r}" for i in range(14)]
    (_, found) = factors_of({"x": skewed}, TRUTH)
    assert len(set(found.index[:26].tolist())) == 1
    assert len(set(found.levels)) == len(found.levels)
    (_, large) = factors_of({"x": [str(9000 + 11 * i) for i in range(40)]}, TRUTH)
    assert large.levels[0] == "9000 to 9100"


def test_of_columns_that_tell_the_same_the_one_with_words_is_kept() -> None:
    columns = {
        "background_level": column("0", "1", "2"),
        "background": column("road", "city", "kitti"),
        "images": column("98", "97", "96"),
        "ground_truth": [str(int(label)) for label in TRUTH],
    }
    label, background = factors_of(columns, TRUTH)
    assert (label.name, label.same) == ("poisoned", ("ground_truth",))
    assert (background.name, background.same) == ("background", ("background_level", "images"))


def test_measurements_are_not_taken_for_one_another() -> None:
    one, other = [str(i / 7) for i in range(40)], [str(((i * 7) % 40) / 3) for i in range(40)]
    assert names({"one": one, "other": other}) == ["poisoned", "one", "other"]


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ScoringError, match="short has 2 values where 40 are needed"):
        factors_of({"short": ["a", "b"]}, TRUTH)


# --- Results and mean effects -----------------------------------------------------------------------------------------


def probabilities(seed: int = 0) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.random.default_rng(seed).uniform(0.02, 0.98, TRUTH.size)
    return found


def test_results_are_the_scores_of_the_data_points_of_a_level() -> None:
    p = probabilities()
    missing = np.arange(40) < 3
    found = analyse_factors(p, TRUTH, factors_of({"kind": column("a", "b")}, TRUTH), missing=missing, replicates=200)
    mask = np.array(column("a", "b")) == "a"
    (result,) = [r for r in found.results if (r.factor, r.level) == ("kind", "a")]
    assert (result.n, result.poisoned, result.missing) == (20, 10, 2)
    assert result.cross_entropy == pytest.approx(mean_cross_entropy(p[mask], TRUTH[mask]))
    assert result.roc_auc == roc_auc(p[mask], TRUTH[mask])
    assert result.roc_auc_interval == delong_interval(p[mask], TRUTH[mask])
    assert not result.against_all
    assert result.cross_entropy_interval is not None
    assert result.cross_entropy_interval.low < result.cross_entropy < result.cross_entropy_interval.high
    assert found.grand_mean == pytest.approx(mean_cross_entropy(p, TRUTH))


def test_a_level_of_one_class_is_compared_with_all_of_the_other() -> None:
    p = probabilities()
    trigger = ["polygon" if i % 4 == 1 else "filter" if TRUTH[i] else "" for i in range(40)]
    found = analyse_factors(p, TRUTH, factors_of({"trigger": trigger}, TRUTH), replicates=50)
    (result,) = [r for r in found.results if r.level == "polygon"]
    compared = (np.array(trigger) == "polygon") | ~TRUTH
    assert result.against_all
    assert result.n == result.poisoned == 10
    assert result.roc_auc == roc_auc(p[compared], TRUTH[compared])


def test_mean_effects_by_hand() -> None:
    # Cross-entropies of 1 nat at level a, 2 at b and 3 at c, whatever the label: means 1, 2, 3 and 2.
    kind = ["abc"[(i // 2) % 3] for i in range(36)]
    truth = np.arange(36) % 2 == 1
    right = np.exp([-{"a": 1.0, "b": 2.0, "c": 3.0}[k] for k in kind])
    p = np.where(truth, right, 1 - right)
    found = analyse_factors(p, truth, factors_of({"kind": kind}, truth), replicates=300)
    effects = {e.level: e for e in found.effects if e.factor == "kind"}
    assert {level: e.effect for level, e in effects.items()} == pytest.approx({"a": -1.0, "b": 0.0, "c": 1.0}, abs=1e-9)
    for effect in effects.values():
        assert effect.interval is not None
        assert effect.interval.low - 1e-9 <= effect.effect <= effect.interval.high + 1e-9
    # The label makes no difference, and is not crossed with anything.
    assert found.crossed == ("kind",)
    assert found.effects[0].level in "ac"


def test_a_trigger_is_compared_with_other_triggers() -> None:
    truth = np.arange(40) % 2 == 1
    size = ["" if not truth[i] else "small" if i % 4 == 1 else "large" for i in range(40)]
    right = np.exp([-{"": 9.0, "small": 1.0, "large": 2.0}[s] for s in size])
    found = analyse_factors(np.where(truth, right, 1 - right), truth, factors_of({"size": size}, truth), replicates=100)
    effects = {e.level: e.effect for e in found.effects if e.factor == "size"}
    assert effects == pytest.approx({"small": -0.5, "large": 0.5})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_weighted_effects_of_a_factor_add_up_to_nothing(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.permutation(np.arange(60) % 2 == 0)
    kind = [str(level) for level in generator.integers(levels, size=60)]
    found = analyse_factors(generator.random(60), truth, factors_of({"kind": kind}, truth), replicates=10)
    assert sum(e.n * e.effect for e in found.effects if e.factor == "kind") == pytest.approx(0, abs=1e-9)


def test_too_few_data_points_have_no_interval() -> None:
    kind = ["rare"] * 4 + ["common"] * 36
    found = analyse_factors(probabilities(), TRUTH, factors_of({"kind": kind}, TRUTH), replicates=100)
    known = {e.level: e.interval is not None for e in found.effects if e.factor == "kind"}
    assert known == {"rare": False, "common": True}
    # What is not known is not shown before what is.
    assert found.effects[-1].level == "rare"


def test_intervals_cover_an_effect_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        kind = column("a", "b")
        right = np.clip(generator.beta(4, 2, 40), 0.01, 0.99)
        found = analyse_factors(
            np.where(TRUTH, right, 1 - right), TRUTH, factors_of({"kind": kind}, TRUTH), replicates=300, seed=trial
        )
        interval = next(e.interval for e in found.effects if (e.factor, e.level) == ("kind", "a"))
        assert interval is not None
        covered += interval.low <= 0 <= interval.high
    assert covered >= 50


def test_the_seed_decides_and_the_comparisons_are_counted() -> None:
    factors = factors_of({"kind": column("a", "b"), "size": column("1", "2", "3")}, TRUTH)
    p = probabilities()
    one, same, other = (analyse_factors(p, TRUTH, factors, replicates=100, seed=seed) for seed in (3, 3, 4))
    assert one == same
    assert one.effects != other.effects
    shown = sum(e.interval is not None for e in one.effects) + sum(i.interval is not None for i in one.interactions)
    assert one.comparisons == shown
    assert one.by_chance == pytest.approx(0.05 * shown)


# --- Interactions -----------------------------------------------------------------------------------------------------


def crossed_data(
    means: dict[tuple[str, str], float], each: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, list[str]]]:
    """Data points with exactly these mean cross-entropies, half of each cell poisoned."""
    rows = [(cell, i % 2 == 1) for cell in means for i in range(each)]
    truth = np.array([label for _, label in rows])
    right = np.exp([-means[cell] for cell, _ in rows])
    columns = {"first": [cell[0] for cell, _ in rows], "second": [cell[1] for cell, _ in rows]}
    return np.where(truth, right, 1 - right), truth, columns


def test_the_interaction_of_two_levels_is_the_difference_of_differences() -> None:
    p, truth, columns = crossed_data({("a", "x"): 1.0, ("a", "y"): 1.5, ("b", "x"): 2.0, ("b", "y"): 4.5})
    found = analyse_factors(p, truth, factors_of(columns, truth), replicates=200)
    pair = [i for i in found.interactions if set(i.factors) == {"first", "second"}]
    # (4.5 - 2) - (1.5 - 1): once, for the other three cells tell the same.
    assert [i.difference for i in pair] == pytest.approx([2.0])
    assert set(pair[0].levels) == {"b", "y"}
    assert pair[0].n == 12


def test_what_adds_up_does_not_interact() -> None:
    means = {(a, b): 1.0 + i + 0.5 * j for i, a in enumerate("abc") for j, b in enumerate("xyz")}
    p, truth, columns = crossed_data(means)
    found = analyse_factors(p, truth, factors_of(columns, truth), replicates=50)
    pair = [i for i in found.interactions if set(i.factors) == {"first", "second"}]
    assert len(pair) == 9
    assert [i.difference for i in pair] == pytest.approx([0.0] * 9, abs=1e-9)


def test_of_more_levels_each_is_compared_with_the_mean_of_the_others() -> None:
    means = {(a, b): 1.0 for a in "abc" for b in "xy"} | {("c", "y"): 4.0}
    p, truth, columns = crossed_data(means)
    found = analyse_factors(p, truth, factors_of(columns, truth), replicates=50)
    pair = {i.levels if i.factors[0] == "first" else i.levels[::-1]: i.difference for i in found.interactions
            if set(i.factors) == {"first", "second"}}  # fmt: skip
    # c: (4 - 1) - (1 - 1); a and b: (1 - 1) - (2.5 - 1).
    assert pair == pytest.approx({("c", "y"): 3.0, ("a", "y"): -1.5, ("b", "y"): -1.5})


def test_combinations_with_too_few_data_points_are_named() -> None:
    p, truth, columns = crossed_data({("a", "x"): 1.0, ("a", "y"): 1.25, ("b", "x"): 2.0, ("b", "y"): 4.5})
    keep = np.array([not (a == "b" and b == "y") for a, b in zip(*columns.values(), strict=True)])
    kept = {name: [v for v, k in zip(values, keep, strict=True) if k] for name, values in columns.items()}
    found = analyse_factors(p[keep], truth[keep], factors_of(kept, truth[keep]), replicates=20)
    assert not [i for i in found.interactions if set(i.factors) == {"first", "second"}]
    assert {"first", "second"} in [set(pair) for pair in found.not_crossed]


def test_so_many_factors_are_crossed_as_are_wanted() -> None:
    columns = {f"factor {i}": column(*"abcd"[: 2 + i % 3]) if i % 2 else column("u", "v", "w", "x") for i in range(3)}
    factors = factors_of(columns, TRUTH)
    assert analyse_factors(probabilities(), TRUTH, factors, replicates=20, most_crossed=0).interactions == ()
    assert len(analyse_factors(probabilities(), TRUTH, factors, replicates=20, most_crossed=2).crossed) == 2


# --- Odd data ---------------------------------------------------------------------------------------------------------


def test_perfect_answers_have_no_effects_to_cross() -> None:
    found = analyse_factors(TRUTH.astype(float), TRUTH, factors_of({"kind": column("a", "b")}, TRUTH), replicates=20)
    assert found.crossed == ()
    assert all(abs(effect.effect) < 1e-12 for effect in found.effects)


def test_a_subset_with_one_level_has_nothing_to_compare() -> None:
    whole = factors_of({"kind": column("a", "b")}, TRUTH)
    chosen = np.flatnonzero(np.array(column("a", "b")) == "a")
    found = analyse_factors(
        probabilities()[chosen], TRUTH[chosen], [factor.of(chosen) for factor in whole], replicates=20
    )
    assert {result.factor for result in found.results} == {"poisoned"}


def test_no_factors_and_one_data_point() -> None:
    found = analyse_factors([0.3], [1], [], replicates=10)
    assert (found.results, found.effects, found.interactions, found.comparisons) == ((), (), (), 0)
    assert found.grand_mean == pytest.approx(float(cross_entropy([0.3], [1])[0]))


def test_a_factor_of_other_data_points_is_refused() -> None:
    with pytest.raises(ScoringError, match="kind has 2 data points where 40 are needed"):
        analyse_factors(probabilities(), TRUTH, [Factor("kind", ("a", "b"), np.array([0, 1]))])
