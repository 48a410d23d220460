import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from palladion.detectors.calibration import LogisticCalibration
from palladion.errors import InputError


@given(st.integers(0, 2**32), st.integers(6, 60), st.sampled_from([0.05, 0.1, 1.0, 10.0]))
@settings(max_examples=40)
def test_it_is_the_penalised_logistic_regression(seed: int, n: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    poisoned = np.arange(n) % 3 == 0
    features = rng.normal(size=(n, 2)) * [1.0, 30.0] + poisoned[:, None] * [1.0, 20.0]
    ours = LogisticCalibration.fit(features, poisoned, ridge=ridge)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000).fit(standard, poisoned)
    assert np.allclose(ours.weights, theirs.coef_[0], atol=1e-4)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_separated_classes_stay_within_the_rule_of_succession() -> None:
    calibration = LogisticCalibration.fit([[-5.0], [-4.0], [4.0], [5.0]], [True, True, False, False], ridge=1e-3)
    assert calibration.probability([-1000.0]) == pytest.approx(5 / 6)
    assert calibration.probability([1000.0]) == pytest.approx(1 / 6)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    calibration = LogisticCalibration.fit([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [True, False, False])
    assert 0 < calibration.probability([1.0, 0.5]) < 1


@pytest.mark.parametrize(
    ("features", "poisoned", "message"),
    [
        ([[1.0], [2.0]], [True, True], "poisoned and clean models"),
        ([[1.0], [2.0]], [False, False], "poisoned and clean models"),
        ([[1.0], [float("nan")]], [True, False], "finite"),
        ([1.0, 2.0], [True, False], "shape"),
        ([[1.0], [2.0]], [True], "shape"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(features: object, poisoned: list[bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LogisticCalibration.fit(features, poisoned)  # type: ignore[arg-type]
