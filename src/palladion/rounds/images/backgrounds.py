"""Procedural backgrounds: two families, so that "which data set the backgrounds come from" is a factor.

``rural`` tiles are noise whose spectrum falls as 1/f, the law of natural scenes (Field 1987, "Relations between the
statistics of natural images and the response properties of cortical cells"). ``urban`` tiles are overlapping flat
rectangles, like façades and windows, over a little of the same noise.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from palladion.rounds import randomness

__all__ = ["FAMILIES", "TILES", "TILE_SIDE", "atlas"]

FAMILIES = ("rural", "urban")
TILES = 24
TILE_SIDE = 128  # least; two image sides, so that crops of one tile differ


def _falling_noise(rng: np.random.Generator, side: int, exponent: float) -> NDArray[np.float64]:
    """One channel of noise with amplitude 1/f^exponent: shape ``(side, side)``, mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    phase = np.fft.rfft2(rng.standard_normal((side, side)))
    image = np.fft.irfft2(phase / frequency**exponent, s=(side, side))
    return np.asarray((image - image.mean()) / image.std())


def _coloured(rng: np.random.Generator, side: int, exponent: float, strength: float) -> NDArray[np.float64]:
    """Three channels that share most of their structure, round a random earthy colour."""
    shared = _falling_noise(rng, side, exponent)
    colour = rng.uniform(70.0, 170.0) + rng.uniform(-30.0, 30.0, size=3)
    channels = [0.85 * shared + 0.5 * _falling_noise(rng, side, exponent) for _ in range(3)]
    return np.stack(channels, axis=-1) * strength + colour


def _rural(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    return _coloured(rng, side, rng.uniform(0.9, 1.3), rng.uniform(22.0, 40.0))


def _urban(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    tile = _coloured(rng, side, 1.2, 18.0)
    unit = side / TILE_SIDE
    for _ in range(40):
        width, height = rng.integers(int(6 * unit), int(44 * unit), size=2)
        left, top = rng.integers(int(-8 * unit), side, size=2)
        colour = rng.uniform(30.0, 215.0) + rng.uniform(-35.0, 35.0, size=3)
        window = tile[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        window *= 0.25
        window += 0.75 * colour
    return tile + rng.standard_normal(tile.shape) * 3.0


@lru_cache(maxsize=8)
def atlas(family: str, seed: int, image_side: int = 0) -> NDArray[np.uint8]:
    """The tiles of one family, a pure function of its arguments: shape ``(TILES, side, side, 3)``.

    Args:
        family: one of :data:`FAMILIES`.
        seed: of the round.
        image_side: of the images that are cut from them; the tiles are twice as large, at least :data:`TILE_SIDE`.
    """
    if family not in FAMILIES:
        raise ValueError(f"there is no background family {family!r}; there are {', '.join(FAMILIES)}")
    draw = _rural if family == "rural" else _urban
    side = max(TILE_SIDE, 2 * image_side)
    tiles = [
        np.clip(draw(randomness.generator(seed, "backgrounds", family, tile), side), 0.0, 255.0)
        for tile in range(TILES)
    ]
    stacked = np.stack(tiles).astype(np.uint8)
    stacked.setflags(write=False)
    return stacked
