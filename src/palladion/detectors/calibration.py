"""From features to probabilities: a small logistic regression for train splits of a dozen to a thousand models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palladion.errors import InputError

__all__ = ["LogisticCalibration"]

_STEPS = 100


@dataclass(frozen=True, slots=True)
class LogisticCalibration:
    """Probability = σ(intercept + weights · standardised features), kept within ``margin`` of 0 and 1.

    Attributes:
        mean: of each feature over the train split, shape ``(features,)``.
        scale: standard deviation of each feature.
        weights: of the standardised features.
        intercept: log odds at the mean.
        margin: no probability comes nearer than this to 0 or 1. From n models nobody can learn that the next one is
            never an exception: 1 / (n + 2) is Laplace's rule of succession.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    margin: float

    @classmethod
    def fit(cls, features: ArrayLike, poisoned: ArrayLike, *, ridge: float = 0.1) -> "LogisticCalibration":
        """Maximum penalised likelihood, by Newton's method with step halving.

        Args:
            features: shape ``(n, features)``, finite.
            poisoned: shape ``(n,)``.
            ridge: weight of the penalty ½·ridge·|weights|². It keeps the weights finite where the classes separate.

        Raises:
            InputError: a class is absent, or a feature is not finite.
        """
        x = np.asarray(features, dtype=np.float64)
        y = np.asarray(poisoned, dtype=np.float64)
        if x.ndim != 2 or y.shape != x.shape[:1] or not np.isfinite(x).all():
            raise InputError("calibration needs finite features of shape (models, features), and a label for each")
        if not 0 < y.sum() < len(y):
            raise InputError("calibration needs poisoned and clean models; the train split has one kind alone")
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale == 0] = 1.0
        design = np.column_stack([(x - mean) / scale, np.ones(len(y))])
        penalty = np.append(np.full(x.shape[1], ridge), 0.0)

        def loss(parameters: NDArray[np.float64]) -> float:
            odds = design @ parameters
            return float((np.logaddexp(0, odds) - y * odds).sum() + 0.5 * (penalty * parameters**2).sum())

        parameters = np.zeros(design.shape[1])
        parameters[-1] = np.log(y.mean() / (1 - y.mean()))
        for _ in range(_STEPS):
            p = _sigmoid(design @ parameters)
            gradient = design.T @ (p - y) + penalty * parameters
            hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
            step = np.linalg.solve(hessian, gradient)
            size = 1.0
            while loss(parameters - size * step) > loss(parameters) and size > 1e-6:
                size /= 2
            parameters = parameters - size * step
            if np.abs(size * step).max() < 1e-9:
                break
        return cls(
            tuple(mean.tolist()),
            tuple(scale.tolist()),
            tuple(parameters[:-1].tolist()),
            float(parameters[-1]),
            1.0 / (len(y) + 2),
        )

    def probability(self, features: ArrayLike) -> float:
        """The probability for one model's features, shape ``(features,)``."""
        x = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        p = float(_sigmoid(np.atleast_1d(x @ np.asarray(self.weights) + self.intercept))[0])
        return min(max(p, self.margin), 1.0 - self.margin)


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -odds))
