import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.rounds.images.weather import fog, rain
from tests.rounds.golden import assert_golden, chart

Images = NDArray[np.float32]


def _noise(count: int, height: int, width: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).uniform(0, 255, (count, height, width, 3)).astype(np.float32)


def _flat(count: int, side: int, level: float) -> Images:
    return np.full((count, side, side, 3), level, dtype=np.float32)


@pytest.mark.parametrize("number", [0, 1])
def test_rain_and_fog_look_as_they_did(number: int) -> None:
    images, index = chart(48)[None] * 255, np.array([number])
    assert_golden(f"rain-{number}", rain(images, 11, index)[0])
    assert_golden(f"fog-{number}", fog(images, np.array([0.5], dtype=np.float32), 11, index)[0])


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=5),
    st.integers(0, 2**64 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
)
@settings(max_examples=30, deadline=None)
def test_weather_is_the_same_whatever_is_rendered_beside_it(
    numbers: list[int], stream: int, height: int, width: int
) -> None:
    index = np.array(numbers)
    images = _noise(len(index), height, width)
    opacity = np.linspace(0, 1, len(index), dtype=np.float32)
    wet, hazy = rain(images, stream, index), fog(images, opacity, stream, index)
    for shown in (wet, hazy):
        assert shown.shape == images.shape
        assert shown.dtype == np.float32
        assert np.isfinite(shown).all()
        assert shown.min() >= 0
        assert shown.max() <= 255
    for position in range(len(index)):
        part = slice(position, position + 1)
        assert (rain(images[part], stream, index[part])[0] == wet[position]).all()
        assert (fog(images[part], opacity[part], stream, index[part])[0] == hazy[position]).all()


def test_large_batches_are_the_same_as_their_parts_and_the_input_is_left_alone() -> None:
    images, index = _noise(70, 48, 48), np.arange(70)  # several steps of the loop
    kept, opacity = images.copy(), np.full(70, 0.4, dtype=np.float32)
    wet, hazy = rain(images, 5, index), fog(images, opacity, 5, index)
    part = slice(23, 61)
    assert (rain(images[part], 5, index[part]) == wet[part]).all()
    assert (fog(images[part], opacity[part], 5, index[part]) == hazy[part]).all()
    assert (images == kept).all()


def test_each_sample_and_each_stream_has_weather_of_its_own() -> None:
    images, index, opacity = _flat(8, 32, 100), np.arange(8), np.full(8, 0.4, dtype=np.float32)
    for shown, elsewhere in (
        (rain(images, 1, index), rain(images, 2, index)),
        (fog(images, opacity, 1, index), fog(images, opacity, 2, index)),
    ):
        assert len({image.tobytes() for image in [*shown, *elsewhere]}) == 16


@pytest.mark.parametrize("side", [32, 48, 64])
def test_rain_darkens_a_little_and_changes_the_mean_within_bounds(side: int) -> None:
    mean = rain(_flat(300, side, 120), 3, np.arange(300)).mean(axis=(1, 2, 3)) / 120
    assert mean.min() > 0.7
    assert mean.max() < 1.0
    assert mean.std() > 0.02


@pytest.mark.parametrize("side", [32, 64, 128])
def test_streaks_cover_as_much_of_an_image_of_any_size(side: int) -> None:
    night = rain(_flat(40, side, 0), 3, np.arange(40))
    assert night.max() <= 200 * 0.75 + 1e-3
    cover = (night[..., 0] > 10).mean(axis=(1, 2))
    assert cover.min() > 0.04
    assert 0.12 < cover.mean() < 0.3
    assert cover.max() < 0.5


def test_streaks_run_downwards_and_lean_to_either_side_and_grow_with_the_image() -> None:
    def together(image: Images, down: int, across: int) -> float:
        """How alike the image and itself moved this far are: their correlation."""
        height, width = image.shape
        moved = image[down:, max(across, 0) : width + min(across, 0)]
        still = image[: height - down, max(-across, 0) : width - max(across, 0)]
        return float(np.corrcoef(moved.ravel(), still.ravel())[0, 1])

    night = rain(_flat(60, 96, 0), 7, np.arange(60))[..., 0]
    down = np.mean([max(together(image, 3, shift) for shift in (-1, 0, 1)) for image in night])
    across = np.mean([together(image, 0, 3) for image in night])
    assert down > 0.4
    assert across < 0.15
    lean = [together(image, 4, 1) - together(image, 4, -1) for image in night]
    assert min(lean) < -0.2
    assert max(lean) > 0.2
    # At a sixth of the side, nearly a streak's length, half of what overlapped is gone, whatever the size.
    small = rain(_flat(60, 24, 0), 7, np.arange(60))[..., 0]
    assert np.mean([together(image, 4, 0) for image in small]) < 0.15
    assert np.mean([together(image, 4, 0) for image in night]) > 0.25


def test_rain_blurs_what_lies_behind_it() -> None:
    images = _noise(20, 48, 48)
    wet = rain(images, 3, np.arange(20))
    assert np.abs(np.diff(wet, axis=2)).mean() < 0.6 * np.abs(np.diff(images, axis=2)).mean()


@pytest.mark.parametrize("opacity", [0.1, 0.3, 0.6])
def test_fog_hides_the_share_that_was_asked_for(opacity: float) -> None:
    share = np.full(200, opacity, dtype=np.float32)
    mean = fog(_flat(200, 32, 0), share, 9, np.arange(200)).mean(axis=(1, 2, 3)) / 225
    assert mean.mean() == pytest.approx(opacity, rel=0.02)
    assert mean == pytest.approx(np.full(200, opacity), rel=0.25)


def test_no_fog_is_no_change_and_thick_fog_leaves_something_to_see() -> None:
    images, index = _noise(6, 24, 24), np.arange(6)
    assert (fog(images, np.zeros(6, dtype=np.float32), 1, index) == images).all()
    thick = fog(images, np.ones(6, dtype=np.float32), 1, index)
    assert (thick.std(axis=(1, 2, 3)) > 1).all()


def test_fog_brightens_the_dark_and_dims_what_is_lighter_than_itself() -> None:
    share, index = np.full(20, 0.5, dtype=np.float32), np.arange(20)
    assert fog(_flat(20, 16, 0), share, 1, index).min() > 10
    assert np.abs(fog(_flat(20, 16, 225), share, 1, index) - 225).max() < 1e-3
    assert fog(_flat(20, 16, 255), share, 1, index).max() < 255


def test_fog_is_thicker_far_away_and_has_no_edges() -> None:
    shown = fog(_flat(100, 48, 0), np.full(100, 0.5, dtype=np.float32), 2, np.arange(100))[..., 0] / 225
    assert shown[:, :8].mean() > 1.5 * shown[:, -8:].mean()
    for axis in (1, 2):
        assert np.abs(np.diff(shown, axis=axis)).max() < 0.08
    # The banks: columns differ within an image, and not alike in all images.
    assert shown.mean(axis=1).std(axis=1).mean() > 0.02
    assert shown.mean(axis=0).mean(axis=0).std() < 0.02


def test_no_images_are_no_images() -> None:
    none, index = np.empty((0, 8, 8, 3), dtype=np.float32), np.arange(0)
    assert rain(none, 1, index).shape == none.shape
    assert fog(none, np.empty(0, dtype=np.float32), 1, index).shape == none.shape
