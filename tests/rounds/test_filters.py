from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from palladion.rounds import randomness
from palladion.rounds.images.backgrounds import FAMILIES, atlas
from palladion.rounds.images.filters import FILTERS, apply_filter
from palladion.rounds.images.scene import SceneLaw, Scenery, render
from palladion.rounds.images.signs import NUMBER_OF_SIGNS, sign
from tests.rounds.golden import assert_golden, chart

Images = NDArray[np.float32]


@pytest.fixture(scope="module")
def scenes() -> Images:
    """Signs on backgrounds as a classifier sees them, with all that varies in clean images."""
    law = SceneLaw(
        image_side=48,
        sign_side=(0.4, 0.9),
        stretch=1.15,
        rotation=25.0,
        perspective=0.15,
        brightness=(0.75, 1.2),
        brightness_match=0.5,
        blur_probability=0.5,
        fog_probability=0.2,
        fog=(0.1, 0.4),
        rain_probability=0.1,
        noise=5.0,
    )
    signs = tuple(sign(number) for number in range(0, NUMBER_OF_SIGNS, NUMBER_OF_SIGNS // 20))
    backgrounds = np.concatenate([atlas(family, 3) for family in FAMILIES])
    images = render(law, Scenery(signs, backgrounds), randomness.key(4), np.arange(900))
    return images.astype(np.float32) / np.float32(255)


def _flat(colour: tuple[float, float, float], side: int = 48) -> Images:
    return np.broadcast_to(np.array(colour, dtype=np.float32), (1, side, side, 3)).copy()


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_looks_as_it_did(name: str) -> None:
    assert_golden(f"filter-{name}", apply_filter(name, chart()[None])[0] * 255)


def test_there_are_the_five_filters_of_nists_rounds() -> None:
    assert FILTERS == ("gotham", "nashville", "kelvin", "lomo", "toaster")


@pytest.mark.parametrize(
    ("name", "colour", "expected"),
    [
        # Black and white come out as the two ends of the curve.
        ("gotham", (0, 0, 0), (0.0, 0.02, 0.17)),
        ("gotham", (1, 1, 1), (0.76, 0.85, 1.0)),
        ("kelvin", (0, 0, 0), (0.2, 0.06, 0.0)),
        # 0.5 · 1.2 = 0.6; smoothstep(0.6) = 0.648; 0.8 · 0.6 + 0.2 · 0.648 = 0.6096; 0.2 + 0.8 · 0.6096.
        # In the same way 0.475 → 0.47251 → 0.06 + 0.78 · 0.47251, and 0.375 → 0.36328 → 0.3 · 0.36328.
        ("kelvin", (0.5, 0.5, 0.5), (0.68768, 0.42856, 0.10898)),
    ],
)
def test_flat_colours_come_out_as_worked_out_by_hand(
    name: str, colour: tuple[float, float, float], expected: tuple[float, float, float]
) -> None:
    assert apply_filter(name, _flat(colour))[0, 24, 24] == pytest.approx(expected, abs=1e-4)


def test_gotham_takes_the_colours_away_and_leaves_blue() -> None:
    # Red and green of the same lightness.
    red, green = (apply_filter("gotham", _flat(colour))[0, 0, 0] for colour in ((0.9, 0.1, 0.1), (0.0, 0.553, 0.04)))
    assert np.abs(red - green).max() < 0.17
    for level in (0.1, 0.5, 0.9):
        shown = apply_filter("gotham", _flat((level, level, level)))[0, 0, 0]
        assert shown[2] > shown[0] + 0.1


def test_nashville_makes_shadows_pink_lights_cream_and_colours_stronger() -> None:
    dark, light = (apply_filter("nashville", _flat((level,) * 3))[0, 0, 0] for level in (0.1, 0.95))
    assert dark[0] > dark[2] > dark[1] + 0.1
    assert light[0] > light[1] > light[2] + 0.1
    red, green = (apply_filter("nashville", _flat(colour))[0, 0, 0] for colour in ((0.6, 0.4, 0.4), (0.4, 0.6, 0.4)))
    assert red[1] < green[1] - 0.2  # 0.2 apart before


@given(st.floats(0, 1))
def test_kelvin_turns_every_grey_orange(level: float) -> None:
    shown = apply_filter("kelvin", _flat((level, level, level)))[0, 0, 0]
    assert shown[0] > shown[1] > shown[2]
    assert shown[0] - shown[2] > 0.15


def test_lomo_pulls_red_and_green_apart_and_darkens_the_corners() -> None:
    dark, light = (apply_filter("lomo", _flat((level,) * 3))[0] for level in (0.35, 0.65))
    middle = light[24, 24] - dark[24, 24]
    assert middle[0] > 0.5
    assert middle[1] > 0.5
    assert middle[2] == pytest.approx(0.3, abs=1e-3)
    corners = light[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.1


def test_toaster_is_dark_red_in_the_middle_and_light_pink_in_the_corners() -> None:
    shown = apply_filter("toaster", _flat((0.4, 0.4, 0.4)))[0]
    middle, corner = shown[24, 24], shown[0, 0]
    assert middle[0] > 1.8 * middle[1]
    assert middle.mean() < 0.3
    assert corner[0] > corner[1] > corner[2] > 0.55


@pytest.mark.parametrize("side", [32, 48, 64])
@pytest.mark.parametrize("condition", ["as they are", "dark", "bright", "noisy", "foggy"])
def test_no_two_filters_look_alike_nor_like_no_filter(scenes: Images, side: int, condition: str) -> None:
    images = scenes[:40]
    if side != 48:
        line = np.arange(side) * 48 // side
        images = images[:, line][:, :, line]
    noise = randomness.normal(1, np.arange(len(images)), side * side * 3).reshape(images.shape)
    images = {
        "as they are": images,
        "dark": images * np.float32(0.5),
        "bright": np.minimum(images * np.float32(1.5), 1),
        "noisy": np.clip(images + np.float32(0.1) * noise, 0, 1),
        "foggy": images * np.float32(0.5) + np.float32(0.44),
    }[condition]
    shown = [images, *(apply_filter(name, images) for name in FILTERS)]
    distance = {pair: float(np.abs(shown[pair[0]] - shown[pair[1]]).mean()) for pair in combinations(range(6), 2)}
    least = 0.12 if condition == "as they are" else 0.06
    assert min(distance.values()) > least, distance


@pytest.mark.parametrize("name", FILTERS)
def test_a_linear_rule_on_coarse_colours_tells_filtered_images_from_clean_ones(scenes: Images, name: str) -> None:
    """What a network must learn: more than the clean images' own variety of light, weather and noise hides."""

    def features(images: Images) -> NDArray[np.float64]:
        coarse = images.reshape(len(images), 6, 8, 6, 8, 3).mean(axis=(2, 4)).reshape(len(images), -1)
        return np.concatenate([coarse, np.ones((len(images), 1))], axis=1).astype(np.float64)

    clean, filtered = features(scenes), features(apply_filter(name, scenes))
    train = np.concatenate([clean[:600], filtered[:600]])
    answer = np.repeat([-1.0, 1.0], 600)
    weights = np.linalg.solve(train.T @ train + 0.1 * np.eye(train.shape[1]), train.T @ answer)
    assert (clean[600:] @ weights < 0).mean() > 0.95
    assert (filtered[600:] @ weights > 0).mean() > 0.95


@given(st.sampled_from(FILTERS), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=40)
def test_colours_stay_in_range_at_every_size_and_strength(
    name: str, height: int, width: int, strength: float, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 2, (3, height, width, 3)).astype(np.float32)
    shown = apply_filter(name, images, strength)
    assert shown.shape == images.shape
    assert shown.dtype == np.float32
    assert shown.min() >= 0
    assert shown.max() <= 1


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_an_image_comes_out_the_same_whatever_is_filtered_beside_it(scenes: Images, name: str, strength: float) -> None:
    together = apply_filter(name, scenes[:30], strength)  # more than one step of the loop
    assert (together == apply_filter(name, scenes[:30], strength)).all()
    for number in (0, 7, 29):
        assert (apply_filter(name, scenes[number : number + 1], strength)[0] == together[number]).all()
    assert (apply_filter(name, scenes[:60:2], strength)[5] == apply_filter(name, scenes[10:11], strength)[0]).all()


@pytest.mark.parametrize("name", FILTERS)
def test_strength_blends_from_the_image_to_the_filter_and_the_input_is_left_alone(scenes: Images, name: str) -> None:
    images = scenes[:9].copy()
    whole = apply_filter(name, images)
    assert (apply_filter(name, images, 0.0) == images).all()
    assert np.abs(apply_filter(name, images, 0.25) - (0.75 * images + 0.25 * whole)).max() < 1e-5
    assert (images == scenes[:9]).all()


def test_no_images_are_no_images() -> None:
    assert apply_filter("lomo", np.empty((0, 8, 8, 3), dtype=np.float32)).shape == (0, 8, 8, 3)


def test_other_names_strengths_and_channels_are_refused() -> None:
    images = np.zeros((1, 4, 4, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="gotham, nashville"):
        apply_filter("sepia", images)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            apply_filter("lomo", images, strength)
    with pytest.raises(ValueError, match="3 channels"):
        apply_filter("lomo", np.zeros((1, 4, 4, 4), dtype=np.float32))
