import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.scoring import ranks
from palladion.scoring.ranks import pair_wins, twice_wins

from .strategies import Scored, random_answers, scored


def all_pairs(probability: np.ndarray, poisoned: np.ndarray) -> np.ndarray:
    """Twice the wins of every (poisoned, clean) pair, by its definition."""
    a, b = probability[poisoned][:, None], probability[~poisoned][None, :]
    return np.asarray(2 * (a > b) + (a == b))


@given(scored())
def test_twice_wins_against_all_pairs(data: Scored) -> None:
    probability, poisoned = data
    wins, pairs = twice_wins(probability, poisoned), all_pairs(probability, poisoned)
    assert wins[poisoned].tolist() == pairs.sum(axis=1).tolist()
    assert wins[~poisoned].tolist() == pairs.sum(axis=0).tolist()


@pytest.mark.parametrize("at_once", [1, 5, 1 << 21])
@pytest.mark.parametrize("elements", [1, 64, 1 << 22])
@pytest.mark.parametrize("pair_cost", [1e-4, 1, 1e9])
def test_pair_wins_against_all_pairs_however_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, at_once: int, elements: int, pair_cost: float
) -> None:
    monkeypatch.setattr(ranks, "_PAIRS_AT_ONCE", at_once)
    monkeypatch.setattr(ranks, "_BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(ranks, "_PAIR_COST", pair_cost)
    generator = np.random.default_rng(3)
    for decimals in (0, 1, 2, 6):
        probability, poisoned = random_answers(150, seed=decimals, decimals=decimals)
        unit = generator.integers(0, 6, 150)
        expected = np.zeros((6, 6))
        np.add.at(
            expected,
            (unit[poisoned][:, None], unit[~poisoned][None, :]),
            all_pairs(probability, poisoned),
        )
        wins = pair_wins(probability, poisoned, unit, slice(0, 6), slice(0, 6))
        assert wins.tolist() == expected.tolist()


@given(scored(), st.integers(1, 9))
def test_pair_wins_add_up_to_twice_wins(data: Scored, units: int) -> None:
    probability, poisoned = data
    unit = np.arange(probability.size) % units
    wins = pair_wins(probability, poisoned, unit, slice(0, units), slice(0, units))
    assert wins.sum() == twice_wins(probability, poisoned)[poisoned].sum()
