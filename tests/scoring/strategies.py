"""Random answers for the property tests, and published ones."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Scored = tuple[NDArray[np.float64], NDArray[np.bool_]]


@st.composite
def scored(draw: st.DrawFn, *, most: int = 40, both: bool = True, grid: int = 16) -> Scored:
    """Probabilities on a coarse grid (so that many are equal, and 1 − p is exact) and labels."""
    n = draw(st.integers(2 if both else 1, most))
    probability = np.array(draw(st.lists(st.integers(0, grid), min_size=n, max_size=n))) / grid
    poisoned = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if both:
        poisoned[:2] = [False, True]
    return probability, poisoned


def random_answers(n: int, *, seed: int = 0, decimals: int = 2) -> Scored:
    """A middling detector's answers with ties; both classes are present from n = 2."""
    generator = np.random.default_rng(seed)
    poisoned = generator.random(n) < 0.5
    poisoned[:2] = [False, True]
    probability = np.clip(generator.normal(0.4 + 0.2 * poisoned, 0.2), 0, 1).round(decimals)
    return probability, poisoned


def perspecta() -> tuple[list[float], list[int]]:
    """What gives the numbers NIST published for Perspecta in round 1: 91 of 100 right, at 0.9 or 0.1."""
    poisoned = [1] * 50 + [0] * 50
    wrong = set(range(5)) | set(range(50, 54))
    return [0.9 if bool(y) != (i in wrong) else 0.1 for i, y in enumerate(poisoned)], poisoned
