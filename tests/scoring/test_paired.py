from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import Bootstrap, PointScores, cross_entropy, metric_value, paired_draws
from tests.scoring.test_point_scores import language

rng = np.random.default_rng(5)
POISONED = rng.permutation(np.arange(60) < 30)
CLUSTER = np.arange(60) // 4


def points_of(
    probability: NDArray[Any], poisoned: NDArray[Any] = POISONED, cluster: NDArray[Any] = CLUSTER
) -> PointScores:
    return PointScores("detection", {"probability": probability, "poisoned": poisoned, "cluster": cluster})


def test_detection_is_drawn_as_its_intervals_are() -> None:
    p = rng.random(60)
    plan = Bootstrap(POISONED, clusters=CLUSTER, replicates=50, seed=7)
    draws = paired_draws([points_of(p)], "cross_entropy", replicates=50, seed=7)
    assert np.array_equal(draws[0], plan.means(cross_entropy(p, POISONED)))
    draws = paired_draws([points_of(p)], "roc_auc", replicates=50, seed=7)
    aucs = plan.aucs(p)
    assert aucs is not None
    assert np.array_equal(draws[0], aucs)


@pytest.mark.parametrize("metric", ["cross_entropy", "roc_auc", "brier", "accuracy"])
def test_all_submissions_are_drawn_alike(metric: str) -> None:
    one, other = points_of(rng.random(60)), points_of(rng.random(60))
    draws = paired_draws([one, other, one], metric, replicates=100)
    assert draws.shape == (3, 100)
    assert np.array_equal(draws[0], draws[2])
    assert np.array_equal(draws[1], paired_draws([other], metric, replicates=100)[0])
    # Around the value itself.
    for row, points in zip(draws, (one, other, one), strict=True):
        value = metric_value(points, metric)
        assert value is not None
        assert abs(row.mean() - value) < 4 * row.std() / 10 + 0.02


@pytest.mark.parametrize("metric", ["overall", "cacc", "asr"])
@pytest.mark.parametrize("score", ["geometric", "difference"])
def test_language_is_drawn_around_its_value(metric: str, score: str) -> None:
    rows = np.random.default_rng(1)
    arrays = {
        "t/utility": 100.0 * (rows.random(200) < 0.8),
        "t/success": 100.0 * (rows.random(150) < 0.3),
        "t/attack": np.arange(150) % 3,
    }
    one = PointScores("classification", arrays)
    better = PointScores("classification", arrays | {"t/utility": np.full(200, 100.0)})
    draws = paired_draws([one, better], metric, score=score, replicates=500)  # type: ignore[arg-type]
    value = metric_value(one, metric, score=score)  # type: ignore[arg-type]
    assert draws[0].mean() == pytest.approx(value, abs=1.0)
    assert 1.0 < draws[0].std() < 6.0
    if metric == "asr":
        assert np.array_equal(draws[0], draws[1])
    else:
        assert (draws[1] > draws[0]).all()


def test_a_task_without_answers_is_the_worst_in_every_resample() -> None:
    nothing = np.zeros(0)
    without = language(**{"task2/utility": nothing, "task2/success": nothing, "task2/attack": nothing.astype(int)})
    draws = paired_draws([language(), without], "overall", replicates=20)
    assert (draws[1] < draws[0]).all()
    both = paired_draws([language(), without], "asr", replicates=20)
    assert both[1] == pytest.approx(both[0] + 50)  # the attack of task2 never succeeded: 0 becomes 100, of two tasks


@given(st.integers(0, 1000))
def test_a_seed_is_a_seed(seed: int) -> None:
    p = points_of(np.linspace(0, 1, 60))
    draws = paired_draws([p], "brier", replicates=5, seed=seed)
    assert np.array_equal(draws, paired_draws([p], "brier", replicates=5, seed=seed))
    assert not np.array_equal(draws, paired_draws([p], "brier", replicates=5, seed=seed + 1))


def test_what_is_not_of_the_same_data_points_is_refused() -> None:
    p = np.full(60, 0.5)
    with pytest.raises(ScoringError, match="no submission"):
        paired_draws([], "brier")
    with pytest.raises(ScoringError, match="other data points"):
        paired_draws([points_of(p), points_of(p, ~POISONED)], "brier")
    with pytest.raises(ScoringError, match="other data points"):
        paired_draws([points_of(p), points_of(p, cluster=np.arange(60))], "brier")
    with pytest.raises(ScoringError, match="same tasks"):
        paired_draws([points_of(p), language()], "brier")
    with pytest.raises(ScoringError, match="other rows of task1"):
        paired_draws([language(), language(**{"task1/attack": np.array([0, 1, 1])})], "overall")


def test_what_cannot_be_drawn_is_refused() -> None:
    p = points_of(np.full(60, 0.5))
    with pytest.raises(ScoringError, match="no mean over data points"):
        paired_draws([p], "expected_calibration_error")
    with pytest.raises(ScoringError, match="all data points have one label"):
        paired_draws([points_of(np.full(60, 0.5), np.ones(60, dtype=bool))], "roc_auc")
    with pytest.raises(ScoringError, match="has no draws"):
        paired_draws([language()], "utility")
