import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from palladion.errors import ScoringError
from palladion.scoring import Bootstrap, bootstrap, cross_entropy, normal_interval, roc_auc

from .strategies import Scored, random_answers, scored


def clustered(n: int = 400, clusters: int = 25, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers in clusters of all three kinds: all clean, mixed, all poisoned."""
    probability, poisoned = random_answers(n, seed=seed)
    cluster = np.random.default_rng(seed).integers(0, clusters, n)
    poisoned[cluster == 0] = False
    poisoned[cluster == 1] = True
    return probability, poisoned, cluster


@pytest.mark.parametrize("by_matrix", [True, False])
@pytest.mark.parametrize("in_clusters", [True, False])
def test_resampled_aucs_are_scikit_learns_weighted_ones(
    monkeypatch: pytest.MonkeyPatch, by_matrix: bool, in_clusters: bool
) -> None:
    probability, poisoned, cluster = clustered()
    plan = Bootstrap(poisoned, clusters=cluster if in_clusters else None, replicates=30, seed=5)
    monkeypatch.setattr(bootstrap, "_MATRIX_UNITS", 4096 if by_matrix else 0)
    aucs = plan.aucs(probability)
    assert aucs is not None
    for replicate, auc in enumerate(aucs):
        expected = roc_auc_score(poisoned, probability, sample_weight=plan.weights(replicate))
        assert auc == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(scored(), st.integers(1, 12), st.integers(0, 1000))
def test_both_ways_to_resample_the_auc_agree_exactly(data: Scored, clusters: int, seed: int) -> None:
    probability, poisoned = data
    cluster = (np.arange(probability.size) * 7) % clusters
    plan = Bootstrap(poisoned, clusters=cluster, replicates=20, seed=seed)
    by_sorting = plan._by_sorting(probability)
    assert plan._by_matrix(plan._pair_wins(probability)).tolist() == by_sorting.tolist()
    assert np.all((by_sorting >= 0) & (by_sorting <= 1))


def test_resampled_means_are_weighted_means() -> None:
    probability, poisoned, cluster = clustered()
    plan = Bootstrap(poisoned, clusters=cluster, replicates=20)
    values = cross_entropy(probability, poisoned)
    expected = [np.average(values, weights=plan.weights(r)) for r in range(20)]
    assert plan.means(values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("in_clusters", [True, False])
def test_units_are_drawn_whole_and_within_their_strata(in_clusters: bool) -> None:
    _, poisoned, cluster = clustered()
    plan = Bootstrap(poisoned, clusters=cluster if in_clusters else None, replicates=50)
    assert plan.units == (25 if in_clusters else 400)
    for replicate in range(50):
        weights = plan.weights(replicate)
        if in_clusters:
            drawn = np.array([weights[cluster == c][0] for c in range(25)])
            assert np.all(weights == drawn[cluster])
            assert (drawn[0], drawn[1], drawn.sum()) == (1, 1, 25)
        else:
            assert weights[poisoned].sum() == poisoned.sum()
            assert weights[~poisoned].sum() == (~poisoned).sum()
    assert len({plan.weights(r).tobytes() for r in range(50)}) == 50


def test_every_unit_is_drawn_once_on_average() -> None:
    plan = Bootstrap([0] * 10 + [1] * 10, replicates=1000)
    mean = np.mean([plan.weights(r) for r in range(1000)], axis=0)
    assert mean == pytest.approx(np.ones(20), abs=5 * math.sqrt(0.9 / 1000))


def test_the_plan_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    probability, poisoned, cluster = clustered()
    values = cross_entropy(probability, poisoned)
    plan = Bootstrap(poisoned, clusters=cluster, replicates=40, seed=1)
    longer = Bootstrap(poisoned, clusters=cluster, replicates=60, seed=1)
    other = Bootstrap(poisoned, clusters=cluster, replicates=40, seed=2)
    aucs = plan.aucs(probability)
    assert aucs is not None
    assert aucs.tolist() == longer.aucs(probability)[:40].tolist()  # type: ignore[index]
    assert aucs.tolist() != other.aucs(probability).tolist()  # type: ignore[union-attr]
    monkeypatch.setattr(bootstrap, "_KEPT_WEIGHTS", 0)
    monkeypatch.setattr(bootstrap, "_BLOCK_WEIGHTS", 75)
    drawn_anew = Bootstrap(poisoned, clusters=cluster, replicates=40, seed=1)
    assert drawn_anew.aucs(probability).tolist() == aucs.tolist()  # type: ignore[union-attr]
    assert drawn_anew.means(values) == pytest.approx(plan.means(values), rel=1e-13)


def test_what_clusters_are_called_does_not_matter() -> None:
    probability, poisoned, cluster = clustered()
    names = [f"architecture-{99 - c}" for c in cluster.tolist()]
    pairs = [(c, "polygon") for c in cluster.tolist()]
    expected = Bootstrap(poisoned, clusters=cluster, replicates=10).aucs(probability)
    assert expected is not None
    for clusters in (names, pairs, np.array(names), cluster * 10.0):
        aucs = Bootstrap(poisoned, clusters=clusters, replicates=10).aucs(probability)
        assert aucs is not None
        assert aucs.tolist() == expected.tolist()


def test_perfectly_correlated_clusters_widen_the_intervals() -> None:
    # Twenty copies of each of thirty answers: the truth is thirty data points, not six hundred.
    probability, poisoned = random_answers(30, seed=4)
    values = cross_entropy(probability, poisoned)
    few = Bootstrap(poisoned, seed=1)
    copied = Bootstrap(np.repeat(poisoned, 20), seed=1)
    whole = Bootstrap(np.repeat(poisoned, 20), clusters=np.repeat(np.arange(30), 20), seed=1)

    def widths(plan: Bootstrap, copies: int) -> tuple[float, float]:
        aucs = plan.aucs(np.repeat(probability, copies))
        assert aucs is not None
        means = plan.interval(plan.means(np.repeat(values, copies)))
        return means.high - means.low, np.subtract(*plan.interval(aucs)[::-1])

    assert widths(whole, 20) == pytest.approx(widths(few, 1), rel=1e-9)
    for wide, narrow in zip(widths(whole, 20), widths(copied, 20), strict=True):
        assert wide / narrow == pytest.approx(math.sqrt(20), rel=0.15)


def test_the_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    plan = Bootstrap(np.arange(2000) % 2, seed=3)
    interval, normal = plan.interval(plan.means(values)), normal_interval(values)
    assert interval.low == pytest.approx(normal.low, abs=0.004)
    assert interval.high == pytest.approx(normal.high, abs=0.004)
    assert interval.low < values.mean() < interval.high


def test_the_interval_is_made_of_percentiles() -> None:
    plan = Bootstrap([0, 1], replicates=101)
    assert plan.interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert plan.interval(np.arange(101.0)[::-1], confidence=0.8) == pytest.approx((10, 90))


def test_a_constant_has_an_interval_of_no_width() -> None:
    plan = Bootstrap([0, 1, 1, 0, 1], clusters=[1, 1, 2, 2, 3], replicates=50)
    means = plan.means([math.log(2)] * 5)
    assert set(means.tolist()) == {means[0]}
    assert means[0] == pytest.approx(math.log(2), rel=1e-15)


def test_intervals_contain_the_estimates() -> None:
    for seed in range(10):
        probability, poisoned, cluster = clustered(seed=seed)
        plan = Bootstrap(poisoned, clusters=cluster, replicates=200, seed=seed)
        values, aucs, auc = (
            cross_entropy(probability, poisoned),
            plan.aucs(probability),
            roc_auc(probability, poisoned),
        )
        assert aucs is not None
        assert auc is not None
        assert plan.interval(aucs).low < auc < plan.interval(aucs).high
        assert plan.interval(plan.means(values)).low < values.mean() < plan.interval(plan.means(values)).high


@pytest.mark.parametrize("by_matrix", [True, False])
def test_identical_submissions_differ_by_exactly_nothing(monkeypatch: pytest.MonkeyPatch, by_matrix: bool) -> None:
    monkeypatch.setattr(bootstrap, "_MATRIX_UNITS", 4096 if by_matrix else 0)
    probability, poisoned, cluster = clustered()
    plan = Bootstrap(poisoned, clusters=cluster, replicates=99)
    values = cross_entropy(probability, poisoned)
    for difference in (
        plan.mean_difference(values, values.copy()),
        plan.auc_difference(probability, probability.copy()),
    ):
        assert difference is not None
        assert (difference.estimate, difference.interval, difference.p_value) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize("by_matrix", [True, False])
def test_paired_differences_are_those_of_the_same_resamples(monkeypatch: pytest.MonkeyPatch, by_matrix: bool) -> None:
    monkeypatch.setattr(bootstrap, "_MATRIX_UNITS", 4096 if by_matrix else 0)
    a, poisoned, cluster = clustered()
    b = np.clip(a + np.random.default_rng(8).normal(0, 0.05, a.size), 0, 1)
    plan = Bootstrap(poisoned, clusters=cluster, replicates=300)
    difference, aucs_a, aucs_b = plan.auc_difference(a, b), plan.aucs(a), plan.aucs(b)
    assert difference is not None
    assert aucs_a is not None
    assert aucs_b is not None
    auc_a, auc_b = roc_auc(a, poisoned), roc_auc(b, poisoned)
    assert auc_a is not None
    assert auc_b is not None
    assert difference.estimate == pytest.approx(auc_a - auc_b, abs=1e-12)
    assert difference.interval == pytest.approx(plan.interval(aucs_a - aucs_b), abs=1e-12)
    apart = plan.interval(aucs_a)
    assert difference.interval.high - difference.interval.low < (apart.high - apart.low) / 2

    ce_a, ce_b = cross_entropy(a, poisoned), cross_entropy(b, poisoned)
    means = plan.mean_difference(ce_a, ce_b)
    assert means.estimate == pytest.approx(ce_a.mean() - ce_b.mean(), abs=1e-12)
    assert means.interval == pytest.approx(plan.interval(plan.means(ce_a) - plan.means(ce_b)), abs=1e-12)


def test_the_p_value_counts_the_resamples_beyond_zero() -> None:
    poisoned = np.arange(40) % 2
    values = np.random.default_rng(1).normal(0.3, 1, 40)
    plan = Bootstrap(poisoned, replicates=199)
    below = int((plan.means(values) <= 0).sum())
    assert 0 < below < 100
    p_value = plan.mean_difference(values, np.zeros(40)).p_value
    assert p_value == pytest.approx(2 * (1 + below) / 200)
    assert plan.mean_difference(np.zeros(40), values).p_value == p_value


def test_a_clear_difference_has_the_smallest_p_value_there_is() -> None:
    plan = Bootstrap([0, 1] * 10, replicates=199)
    assert plan.mean_difference(np.arange(20.0) + 5, np.zeros(20)).p_value == 2 / 200
    difference = plan.auc_difference([0.1, 0.9] * 10, [0.9, 0.1] * 10)
    assert difference is not None
    assert (difference.estimate, difference.interval, difference.p_value) == (1.0, (1.0, 1.0), 2 / 200)


def test_p_values_of_equally_good_submissions_are_seldom_small() -> None:
    generator = np.random.default_rng(0)
    poisoned = np.arange(100) % 2
    small = 0
    for trial in range(200):
        plan = Bootstrap(poisoned, replicates=199, seed=trial)
        small += plan.mean_difference(generator.normal(size=100), generator.normal(size=100)).p_value <= 0.05
    assert 2 <= small <= 24  # 10 expected


def test_one_class_has_means_but_no_aucs() -> None:
    plan = Bootstrap([1, 1, 1], replicates=9)
    assert plan.aucs([0.1, 0.2, 0.3]) is None
    assert plan.auc_difference([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) is None
    assert plan.means([1.0, 2.0, 3.0]).shape == (9,)


def test_the_plan_is_not_changed_by_what_it_was_made_of() -> None:
    poisoned = np.array([True, False, True, False])
    plan = Bootstrap(poisoned, replicates=9)
    poisoned[:] = True
    assert plan.aucs([0.9, 0.1, 0.8, 0.2]) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": [1, 2]}, "clusters has 2 elements where 3"),
        ({"clusters": "abc"}, "clusters must be a list"),
        ({"clusters": [[1], [2], [3]]}, "hashable"),
        ({"clusters": np.ones((3, 1))}, "one dimension"),
        ({"clusters": ["a", None, "b"]}, r"clusters\[1\] is None"),
        ({"clusters": [1.0, 2.0, math.nan]}, r"clusters\[2\] is nan"),
        ({"replicates": 0}, "replicates"),
        ({"replicates": 10.0}, "replicates"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_plans_that_cannot_be_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        Bootstrap([0, 1, 1], **options)  # type: ignore[arg-type]


def test_values_must_fit_the_plan() -> None:
    plan = Bootstrap([0, 1, 1], replicates=9)
    with pytest.raises(ScoringError, match="values has 2"):
        plan.means([1.0, 2.0])
    with pytest.raises(ScoringError, match="probability has 4"):
        plan.aucs([0.1] * 4)
    with pytest.raises(ScoringError, match=r"probability_b\[2\]"):
        plan.auc_difference([0.1] * 3, [0.1, 0.1, 1.1])
    with pytest.raises(ScoringError, match="samples has 8"):
        plan.interval([0.1] * 8)
    with pytest.raises(ScoringError, match="replicate is 9"):
        plan.weights(9)
