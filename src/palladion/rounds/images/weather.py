"""Rain and fog, on finished scenes: pure functions of (stream, index) for each sample.

NIST's rounds draw both with the ``albumentations`` package. These have the same look: rain as slanted grey streaks
over a darker, softer picture; fog as haze that thickens with distance and drifts in banks.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from palladion.rounds import randomness
from palladion.rounds.images.raster import blur

__all__ = ["fog", "rain"]

FloatArray = NDArray[np.float32]

_CHUNK_PIXELS = 1 << 16  # the working set of a step stays in the cache
_RAIN_SALT = 0x4A17  # rain, fog and the scene itself draw from streams of their own
_FOG_SALT = 0xF06

_STREAK_GREY = 200.0
_STREAK_OPACITY = (0.35, 0.75)
_COVER = (0.08, 0.2)  # share of the image under streaks
_LENGTH = (0.1, 0.18)  # of a streak, as a fraction of the image's side
_WIDTH = 1 / 128  # the same; at least one pixel
_SLANT = 0.35  # largest step sideways per pixel down, about 19 degrees
_DARKENING = (0.72, 0.88)

_FOG_GREY = 225.0
_FOG_MOST = 0.97  # never nothing but fog
_FOG_SLOPE = 0.35  # density at the top, where a scene is farthest, is 1 + this; at the bottom 1 − this
_BANKS = 3  # waves that the density is made of
_BANK_DEPTH = 0.5


def _between(low_high: tuple[float, float], u: NDArray[np.float64]) -> FloatArray:
    low, high = low_high
    return np.asarray(low + (high - low) * u, dtype=np.float32)


def rain(images: FloatArray, stream: int, index: NDArray[np.int64]) -> FloatArray:
    """The images in rain: the same shape, a new array.

    The number of streaks and their length and width grow with the image, so that the rain looks alike at every size.

    Args:
        images: shape ``(n, height, width, 3)``, grey levels 0 to 255.
        stream: key of the random stream (:func:`palladion.rounds.randomness.key`).
        index: which samples of it these are, shape ``(n,)``.
    """
    result = np.empty(images.shape, dtype=np.float32)
    for part in _chunks(images):
        _rain(images[part], stream ^ _RAIN_SALT, index[part], out=result[part])
    return result


def fog(images: FloatArray, opacity: FloatArray, stream: int, index: NDArray[np.int64]) -> FloatArray:
    """The images in fog: the same shape, a new array.

    Args:
        images: shape ``(n, height, width, 3)``, grey levels 0 to 255.
        opacity: mean share of the fog's grey in each image, 0 (none) to 1; shape ``(n,)``. The densest fog comes out
            somewhat thinner (0.9 as about 0.8), since nothing is hidden altogether.
        stream: key of the random stream (:func:`palladion.rounds.randomness.key`).
        index: which samples of it these are, shape ``(n,)``.
    """
    result = np.empty(images.shape, dtype=np.float32)
    for part in _chunks(images):
        share = _density(stream ^ _FOG_SALT, index[part], *images.shape[1:3])
        share *= opacity[part, None, None].astype(np.float32)
        np.clip(share, 0, _FOG_MOST, out=share)
        _blend(images[part], share, _FOG_GREY, out=result[part])
    return result


def _chunks(images: FloatArray) -> Iterator[slice]:
    count, height, width, _ = images.shape
    step = max(1, _CHUNK_PIXELS // max(1, height * width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _blend(images: FloatArray, share: FloatArray, grey: float, *, out: FloatArray) -> None:
    """Images with this share, of shape ``(n, height, width)``, of a grey."""
    # Repeated for the three channels first: a loop over three numbers at a time is several times slower.
    shares = np.repeat(share.reshape(-1), 3).reshape(images.shape)
    np.subtract(np.float32(grey), images, out=out)
    out *= shares
    out += images
    np.clip(out, 0, 255, out=out)


def _rain(images: FloatArray, stream: int, index: NDArray[np.int64], *, out: FloatArray) -> None:
    height, width = images.shape[1:3]
    side = math.sqrt(height * width)
    thickness = max(1.0, _WIDTH * side)
    shortest = _LENGTH[0] * side
    streaks = max(1, round(_COVER[1] * height * width / (shortest * thickness)))
    overall = randomness.uniform(stream, index, 4 + 3 * streaks)
    u = overall[:, 4:].reshape(len(index), 3, streaks)
    slant = np.float32(_SLANT) * (2 * overall[:, 0] - 1).astype(np.float32)
    length = np.float32(side) * _between(_LENGTH, overall[:, 1])
    dark = _between(_DARKENING, overall[:, 2])
    # As many streaks as cover the drawn share; the others are there, but nothing is seen of them.
    number = _between(_COVER, overall[:, 3]) * np.float32(height * width / thickness) / length
    opacity = _between(_STREAK_OPACITY, u[:, 2])
    opacity *= np.arange(streaks)[None, :] < number[:, None]

    # They start above and beside the image as well, so that its edges are not dry.
    top = u[:, 0] * (height + length[:, None]) - length[:, None]
    left = _between((-0.2, 1.2), u[:, 1]) * np.float32(width)
    cover = _streaks(
        height,
        width,
        top=top.astype(np.float32),
        left=left,
        length=length,
        slant=slant,
        thickness=thickness,
        opacity=opacity,
    )
    softened = blur(images, max(1, round(side / 64)))
    softened *= dark[:, None, None, None]
    _blend(softened, cover, _STREAK_GREY, out=out)


def _streaks(
    height: int,
    width: int,
    *,
    top: FloatArray,
    left: FloatArray,
    length: FloatArray,
    slant: FloatArray,
    thickness: float,
    opacity: FloatArray,
) -> FloatArray:
    """Opacity of the rain at every pixel: shape ``(n, height, width)``.

    A streak is drawn row by row: in each row it covers ``thickness`` pixels, partly the first and the last of them.

    Args:
        height: of the images, pixels.
        width: of the images, pixels.
        top: row in which each streak starts, shape ``(n, streaks)``.
        left: its column there, the same shape.
        length: of the streaks of each image, pixels, shape ``(n,)``.
        slant: columns that they move per row, shape ``(n,)``.
        thickness: pixels.
        opacity: of each streak, shape as ``top``.
    """
    samples = len(top)
    rows = np.arange(math.ceil(float(_LENGTH[1]) * math.sqrt(height * width)) + 1, dtype=np.float32)
    row = np.floor(top)[..., None] + rows
    seen = (row >= 0) & (row < height) & (rows <= length[:, None, None]) & (opacity[..., None] > 0)
    image, streak, step = np.nonzero(seen)
    at = left[image, streak] + slant[image] * rows[step]
    down = row[image, streak, step].astype(np.int64)
    strength = opacity[image, streak]
    first = np.floor(at)
    total = np.zeros(samples * height * width, dtype=np.float64)
    for column in range(math.ceil(thickness) + 1):
        across = first + np.float32(column)
        # The part of this pixel between the streak's left and right edge.
        covered = np.minimum(across + 1, at + np.float32(thickness)) - np.maximum(across, at)
        kept = np.nonzero((covered > 0) & (across >= 0) & (across < width))[0]
        place = (image[kept] * height + down[kept]) * width + across[kept].astype(np.int64)
        total += np.bincount(place, weights=(strength * covered)[kept], minlength=len(total))
    return np.minimum(total, _STREAK_OPACITY[1]).astype(np.float32).reshape(samples, height, width)


def _density(stream: int, index: NDArray[np.int64], height: int, width: int) -> FloatArray:
    """How thick the fog is at every pixel, 1 on average over many samples: shape ``(n, height, width)``.

    Banks are a sum of long waves in random directions, by cos(a + b) = cos a · cos b − sin a · sin b, so that no
    cosine is taken for each pixel.
    """
    y = ((np.arange(height) + 0.5) * (2.0 / height) - 1.0).astype(np.float32)
    x = ((np.arange(width) + 0.5) * (2.0 / width) - 1.0).astype(np.float32)
    u = randomness.uniform(stream, index, 3 * _BANKS).reshape(len(index), 3, _BANKS)
    angle = 2 * np.pi * u[:, 0]
    frequency = np.pi * (0.5 + u[:, 1])  # a half to one and a half waves over the image
    kx, ky = ((frequency * turned).astype(np.float32) for turned in (np.cos(angle), np.sin(angle)))
    phase = (2 * np.pi * u[:, 2]).astype(np.float32)
    density = np.empty((len(index), height, width), dtype=np.float32)
    density[:] = (1 - np.float32(_FOG_SLOPE) * y)[None, :, None]
    weight = np.float32(_BANK_DEPTH / _BANKS)
    for bank in range(_BANKS):
        down = ky[:, bank, None] * y[None, :]
        across = kx[:, bank, None] * x[None, :] + phase[:, bank, None]
        density += (weight * np.cos(down))[:, :, None] * np.cos(across)[:, None, :]
        density -= (weight * np.sin(down))[:, :, None] * np.sin(across)[:, None, :]
    return density
