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

Plane = NDArray[np.float64]

FAMILIES = ("rural", "urban")
TILES = 24
_WINDOWS = 40
TILE_SIDE = 128  # least; two image sides, so that crops of one tile differ


def _falling_noise(rng: np.random.Generator, side: int, exponent: float) -> tuple[Plane, Plane]:
    """Two independent channels of noise with amplitude 1/f^exponent: shape ``(side, side)``, mean 0, deviation 1.

    They are the real and the imaginary part of one transform of complex white noise.
    """
    line = np.fft.fftfreq(side)
    frequency = np.hypot(line[:, None], line[None, :])
    frequency[0, 0] = np.inf
    white = rng.standard_normal((2, side, side))
    field = np.fft.ifft2((white[0] + 1j * white[1]) / frequency**exponent)
    one, other = ((part - part.mean()) / part.std() for part in (field.real, field.imag))
    return one, other


def _coloured(rng: np.random.Generator, side: int, exponent: float, strength: float) -> NDArray[np.float64]:
    """Three channels that share most of their structure, round a random earthy colour."""
    colour = rng.uniform(70.0, 170.0) + rng.uniform(-30.0, 30.0, size=3)
    shared, *own = (*_falling_noise(rng, side, exponent), *_falling_noise(rng, side, exponent))
    channels = [0.85 * shared + 0.5 * channel for channel in own]
    return np.stack(channels, axis=-1) * strength + colour


def _rural(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    return _coloured(rng, side, rng.uniform(0.9, 1.3), rng.uniform(22.0, 40.0))


def _urban(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    tile = _coloured(rng, side, 1.2, 18.0)
    unit = side / TILE_SIDE
    extent = rng.integers(int(6 * unit), int(44 * unit), size=(_WINDOWS, 2))
    corner = rng.integers(int(-8 * unit), side, size=(_WINDOWS, 2))
    colours = rng.uniform(30.0, 215.0, size=(_WINDOWS, 1)) + rng.uniform(-35.0, 35.0, size=(_WINDOWS, 3))
    ends = np.maximum(corner + extent, 0)
    for (top, left), (bottom, right), colour in zip(np.maximum(corner, 0), ends, colours, strict=True):
        window = tile[top:bottom, left:right]
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
