import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.rounds import randomness

streams = st.integers(0, 2**64 - 1)
indices = st.lists(st.integers(0, 2**40), min_size=1, max_size=20)


@given(streams, indices, st.integers(1, 5))
def test_a_sample_is_the_same_whatever_is_drawn_beside_it(stream: int, index: list[int], draws: int) -> None:
    together = randomness.uniform(stream, np.array(index), draws)
    for position, one in enumerate(index):
        alone = randomness.uniform(stream, np.array([one]), draws)
        assert (alone[0] == together[position]).all()


@given(streams, st.integers(0, 2**40))
def test_more_draws_begin_with_the_fewer(stream: int, index: int) -> None:
    few, many = (randomness.uniform(stream, np.array([index]), draws) for draws in (3, 9))
    assert (few[0] == many[0, :3]).all()


def test_uniform_numbers_are_uniform_and_uncorrelated() -> None:
    u = randomness.uniform(randomness.key(1, "test"), np.arange(20_000), 4)
    assert u.min() >= 0
    assert u.max() < 1
    # Kolmogorov–Smirnov at p = 1e-6 for n = 20,000 is 2.7 / √n.
    for column in u.T:
        distance = np.abs(np.sort(column) - (np.arange(len(column)) + 0.5) / len(column)).max()
        assert distance < 2.7 / np.sqrt(len(column))
    between = np.asarray(np.corrcoef(u.T))[np.triu_indices(4, 1)]
    neighbours = np.asarray(np.corrcoef(u[:-1, 0], u[1:, 0]))[0, 1]
    assert np.abs([*between, neighbours]).max() < 5 / np.sqrt(len(u))


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    z = randomness.normal(randomness.key(2, "test"), np.arange(1000), 200)
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert z.var() == pytest.approx(1.0, abs=0.01)
    assert 3.5 < np.abs(z).max() <= 4.33


def test_paths_name_different_streams() -> None:
    paths: list[tuple[int | str, ...]] = [
        (1,),
        ("1",),
        (1, 1),
        (1, "a"),
        ("a", 1),
        ("ab",),
        ("a", "b"),
        (2**40,),
        (0, 1),
    ]
    assert len({randomness.key(*path) for path in paths}) == len(paths)


def test_a_known_draw_stays_what_it_is() -> None:
    # Pinned: a change here changes every round that was ever built.
    assert randomness.key(1, "train", 7, "images") == 18178658896159878442
    assert randomness.uniform(12345, np.array([0, 1, 2**33]), 1)[:, 0].tolist() == [
        0.5299265033461161,
        0.9213247044170458,
        0.9342702801894304,
    ]


@pytest.mark.parametrize("path", [(), (-1,)])
def test_a_path_that_names_no_stream_is_refused(path: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="path"):
        randomness.key(*path)
