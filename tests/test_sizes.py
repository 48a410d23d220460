import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1"), (1023, "1023"), (1024, "1K"), (1536, "1536"), (512 << 20, "512M"), (5 << 40, "5T")]
)
def test_the_largest_unit_that_leaves_a_whole_number(size: int, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(1, 1 << 50) | st.integers(1, 1000).map(lambda n: n << 30))
def test_what_is_told_is_read(size: int) -> None:
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "4 G", "4g", "-1", "4GB", "²G", "0", "2000T", True, None, 1.0])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="size"):
        parse_size(text)
