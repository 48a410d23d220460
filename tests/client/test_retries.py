from hypothesis import given
from hypothesis import strategies as st

from palladion.client.retries import Patience

PATIENCE = Patience(tries=5, first=1.0, longest=6.0, asked=30.0)


def test_waits_grow_up_to_a_limit_and_end() -> None:
    longest = [PATIENCE.wait(failures, draw=lambda: 1.0) for failures in range(1, 6)]
    assert longest == [1.0, 2.0, 4.0, 6.0, None]
    shortest = [PATIENCE.wait(failures, draw=lambda: 0.0) for failures in range(1, 5)]
    assert shortest == [0.5, 1.0, 2.0, 3.0]


def test_a_server_is_asked_no_sooner_than_it_wants() -> None:
    assert PATIENCE.wait(1, 10.0, draw=lambda: 0.0) == 10.125
    assert PATIENCE.wait(1, 10.0, draw=lambda: 1.0) == 10.25
    # It wants to be left alone for longer than anybody waits for a program.
    assert PATIENCE.wait(1, 31.0) is None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_no_wait_is_longer_than_the_longest(failures: int, drawn: float) -> None:
    wait = Patience(tries=20_000, first=0.5, longest=8.0).wait(failures, draw=lambda: drawn)
    assert wait is not None
    assert 0.25 <= wait <= 8.0
