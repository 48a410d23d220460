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
TILE_SIDE = 128


def _falling_noise(rng: np.random.Generator, exponent: float) -> NDArray[np.float64]:
    """One channel of noise with amplitude 1/f^exponent: shape ``(TILE_SIDE, TILE_SIDE)``, mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(TILE_SIDE)[:, None], np.fft.rfftfreq(TILE_SIDE)[None, :])
    frequency[0, 0] = np.inf
    phase = np.fft.rfft2(rng.standard_normal((TILE_SIDE, TILE_SIDE)))
    image = np.fft.irfft2(phase / frequency**exponent, s=(TILE_SIDE, TILE_SIDE))
    return np.asarray((image - image.mean()) / image.std())


def _coloured(rng: np.random.Generator, exponent: float, strength: float) -> NDArray[np.float64]:
    """Three channels that share most of their structure, round a random earthy colour."""
    shared = _falling_noise(rng, exponent)
    colour = rng.uniform(70.0, 170.0) + rng.uniform(-30.0, 30.0, size=3)
    channels = [0.85 * shared + 0.5 * _falling_noise(rng, exponent) for _ in range(3)]
    return np.stack(channels, axis=-1) * strength + colour


def _rural(rng: np.random.Generator) -> NDArray[np.float64]:
    return _coloured(rng, rng.uniform(0.9, 1.3), rng.uniform(22.0, 40.0))


def _urban(rng: np.random.Generator) -> NDArray[np.float64]:
    tile = _coloured(rng, 1.2, 18.0)
    for _ in range(40):
        width, height = rng.integers(6, 44, size=2)
        left, top = rng.integers(-8, TILE_SIDE, size=2)
        colour = rng.uniform(30.0, 215.0) + rng.uniform(-35.0, 35.0, size=3)
        window = tile[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        window *= 0.25
        window += 0.75 * colour
    return tile + rng.standard_normal(tile.shape) * 3.0


@lru_cache(maxsize=8)
def atlas(family: str, seed: int) -> NDArray[np.uint8]:
    """The tiles of one family: shape ``(TILES, TILE_SIDE, TILE_SIDE, 3)``, a pure function of its arguments."""
    if family not in FAMILIES:
        raise ValueError(f"there is no background family {family!r}; there are {', '.join(FAMILIES)}")
    draw = _rural if family == "rural" else _urban
    tiles = [
        np.clip(draw(randomness.generator(seed, "backgrounds", family, tile)), 0.0, 255.0) for tile in range(TILES)
    ]
    stacked = np.stack(tiles).astype(np.uint8)
    stacked.setflags(write=False)
    return stacked
