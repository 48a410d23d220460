"""Scenes: a sign on a background, seen by a camera, with or without a trigger on the sign.

:func:`render` is a pure function of its arguments: sample ``i`` comes out the same whatever else is rendered in the
same call. It works on whole batches; the order of its steps is NIST's (trojai-round-generation,
``traffic_lmdb_mp.py``): sign → perspective, rotation, size, place → trigger on the sign → brightness matched to the
background → composite → blur → fog → rain → sensor noise → trigger on the whole image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palladion.rounds import randomness
from palladion.rounds.images.raster import bilinear, blur
from palladion.rounds.images.signs import Sign, texture
from palladion.rounds.images.triggers import SignPixels, Trigger
from palladion.rounds.images.weather import fog, rain

__all__ = ["SceneLaw", "Scenery", "render"]

FloatArray = NDArray[np.float32]

_BATCH = 64  # images a step: the working set stays in the cache
_DRAWS = 24  # random numbers a sample, one column each
_SMALL_TEXTURE, _LARGE_TEXTURE = 32, 256
_LARGEST_SMALL_IMAGE = 64


@dataclass(frozen=True, slots=True)
class SceneLaw:
    """How scenes vary. Ranges are uniform, from low to high.

    Attributes:
        image_side: height and width of the image, pixels.
        sign_side: side of the sign's bounding square, as a fraction of ``image_side``.
        stretch: height over width of the sign is within this factor of 1, either way; None draws width and height
            apart, both from ``sign_side``.
        rotation: largest rotation of the sign, degrees.
        perspective: largest perspective coefficient; 0 is none.
        brightness: factor on the whole image.
        brightness_match: how far the sign's brightness is moved to the background's, 0 to 1; None is NIST's rule,
            under which some signs come out black or blown out.
        blur_probability: share of the images that are blurred (3 × 3 binomial).
        fog_probability: share of the images with fog.
        fog: opacity of the fog.
        rain_probability: share of the images with rain.
        noise: standard deviation of the sensor noise, grey levels of 255.
    """

    image_side: int
    sign_side: tuple[float, float]
    stretch: float | None
    rotation: float
    perspective: float
    brightness: tuple[float, float]
    brightness_match: float | None
    blur_probability: float
    fog_probability: float
    fog: tuple[float, float]
    rain_probability: float
    noise: float


@dataclass(frozen=True, slots=True)
class Scenery:
    """What one model's images show: one sign a class, and the backgrounds."""

    signs: tuple[Sign, ...]
    backgrounds: NDArray[np.uint8]

    def label(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """True class of these samples: balanced by construction."""
        return index % len(self.signs)


def render(
    law: SceneLaw,
    scenery: Scenery,
    stream: int,
    index: NDArray[np.int64],
    *,
    trigger: Trigger | None = None,
    triggered: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Render samples of a stream: shape ``(len(index), side, side, 3)``, RGB.

    Args:
        law: how scenes vary.
        scenery: the signs and the backgrounds.
        stream: key of the random stream (:func:`palladion.rounds.randomness.key`).
        index: which samples of it.
        trigger: the trigger, if any sample carries one.
        triggered: which of the samples carry it, shape ``(len(index),)``.
    """
    if triggered is not None and triggered.any() and trigger is None:
        raise ValueError("samples cannot carry a trigger where there is none")
    side = law.image_side
    images = np.empty((len(index), side, side, 3), dtype=np.uint8)
    for start in range(0, len(index), _BATCH):
        part = slice(start, start + _BATCH)
        carries = None if triggered is None else triggered[part]
        images[part] = _render_batch(law, scenery, stream, index[part], trigger, carries)
    return images


def _between(low_high: tuple[float, float], u: NDArray[np.float64]) -> FloatArray:
    low, high = low_high
    return np.asarray(low + (high - low) * u, dtype=np.float32)


def _render_batch(
    law: SceneLaw,
    scenery: Scenery,
    stream: int,
    index: NDArray[np.int64],
    trigger: Trigger | None,
    triggered: NDArray[np.bool_] | None,
) -> NDArray[np.uint8]:
    u = randomness.uniform(stream, index, _DRAWS)
    label = scenery.label(index)
    side = law.image_side
    canvas = _background(scenery.backgrounds, side, u[:, 0:4])

    # The sign's place: its half sides in pixels, its turn, its centre, all of it inside the image.
    half = _between(law.sign_side, u[:, 4]) * (side / 2)
    if law.stretch is None:
        half_x, half_y = half, _between(law.sign_side, u[:, 5]) * (side / 2)
    else:
        stretch = np.exp(np.log(law.stretch) * (2 * u[:, 5] - 1)).astype(np.float32)
        half_x, half_y = half / np.sqrt(stretch), half * np.sqrt(stretch)
    turn = np.deg2rad(law.rotation) * (2 * u[:, 6] - 1)
    cos, sin = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
    reach_x = np.minimum(np.abs(half_x * cos) + np.abs(half_y * sin), side / 2)
    reach_y = np.minimum(np.abs(half_x * sin) + np.abs(half_y * cos), side / 2)
    centre_x = (reach_x + (side - 2 * reach_x) * u[:, 7]).astype(np.float32)
    centre_y = (reach_y + (side - 2 * reach_y) * u[:, 8]).astype(np.float32)
    tilt = (law.perspective * (2 * u[:, 9:11] - 1)).astype(np.float32)

    # Image to sign: turn back and divide by the half sides, which is a sum of one term a column and one a row; then the
    # projective division.
    line = np.arange(side, dtype=np.float32) + np.float32(0.5)
    across, down = line - centre_x[:, None], line - centre_y[:, None]
    x_across, x_down = across * (cos / half_x)[:, None], down * (sin / half_x)[:, None]
    y_across, y_down = across * (-sin / half_y)[:, None], down * (cos / half_y)[:, None]
    depth_across = 1 + tilt[:, :1] * x_across + tilt[:, 1:] * y_across
    depth_down = tilt[:, :1] * x_down + tilt[:, 1:] * y_down
    depth = depth_across[:, None, :] + depth_down[:, :, None]
    sign_x, sign_y = x_across[:, None, :] + x_down[:, :, None], y_across[:, None, :] + y_down[:, :, None]
    sign_x /= depth
    sign_y /= depth

    where = np.flatnonzero(np.maximum(np.abs(sign_x), np.abs(sign_y)) < 1)
    x, y = sign_x.ravel().take(where), sign_y.ravel().take(where)
    image = where // (side * side)
    texture_side = _SMALL_TEXTURE if side <= _LARGEST_SMALL_IMAGE else _LARGE_TEXTURE
    textures = np.stack([texture(sign, texture_side) for sign in scenery.signs])
    sampled = bilinear(textures, label.take(image), x, y)
    colour, opacity = sampled[:3], sampled[3]
    colour *= np.float32(255)

    carries = np.zeros(len(index), dtype=np.bool_) if triggered is None else triggered
    if trigger is not None and carries.any():
        colour = trigger.on_sign(
            SignPixels(
                colour=colour,
                image=image,
                x=x,
                y=y,
                half_x=half_x,
                half_y=half_y,
                radius=np.array([sign.inscribed_radius for sign in scenery.signs], dtype=np.float32)[label],
                centre=np.array([sign.centre for sign in scenery.signs], dtype=np.float32)[label],
                area=np.array([sign.area for sign in scenery.signs], dtype=np.float32)[label],
                draws=u[:, 11:15],
                carries=carries,
            )
        )

    pixels = canvas.reshape(-1, 3)
    behind = np.ascontiguousarray(pixels.take(where, axis=0).T)
    colour *= _brightness_gain(law, canvas, colour, opacity, image).take(image)
    colour -= behind
    colour *= opacity
    colour += behind
    pixels[where] = colour.T

    canvas *= _between(law.brightness, u[:, 16])[:, None, None, None]
    blurred = np.nonzero(u[:, 17] < law.blur_probability)[0]
    if len(blurred):
        canvas[blurred] = blur(canvas[blurred])
    foggy = np.nonzero(u[:, 18] < law.fog_probability)[0]
    if len(foggy):
        canvas[foggy] = fog(canvas[foggy], _between(law.fog, u[foggy, 19]), stream, index[foggy])
    rainy = np.nonzero(u[:, 20] < law.rain_probability)[0]
    if len(rainy):
        canvas[rainy] = rain(canvas[rainy], stream, index[rainy])
    if law.noise > 0:
        noise = randomness.normal(stream ^ 0x5EED, index, side * side * 3).reshape(canvas.shape)
        canvas += noise * np.float32(law.noise)
    np.clip(canvas, 0, 255, out=canvas)
    if trigger is not None and carries.any():
        canvas[carries] = np.clip(trigger.on_image(canvas[carries]), 0, 255)
    # Rounded, not cut off, so that the mean grey level is kept.
    return (canvas + np.float32(0.5)).astype(np.uint8)


def _background(tiles: NDArray[np.uint8], side: int, u: NDArray[np.float64]) -> FloatArray:
    """Random crops of the tiles, mirrored or not."""
    slack = tiles.shape[1] - side + 1
    places = (u[:, :3] * np.array([len(tiles), slack, slack])).astype(np.int64)
    canvas = np.empty((len(u), side, side, 3), dtype=np.float32)
    for picture, (tile, top, left), mirrored in zip(canvas, places.tolist(), u[:, 3] >= 0.5, strict=True):
        crop = tiles[tile, top : top + side, left : left + side]
        picture[:] = crop[:, ::-1] if mirrored else crop
    return canvas


def _brightness_gain(
    law: SceneLaw, canvas: FloatArray, colour: FloatArray, opacity: FloatArray, image: NDArray[np.int64]
) -> FloatArray:
    """Factor that moves the mean brightness of each sign towards that of its background, within [0.6, 1.5]."""
    count = len(canvas)
    weight = np.bincount(image, weights=opacity, minlength=count) + 1e-6
    grey = (colour[0] + colour[1] + colour[2]) * opacity
    light = np.bincount(image, weights=grey, minlength=count) / (3 * weight)
    if law.brightness_match is None:
        root_mean_square = np.sqrt((canvas**2).mean(axis=(1, 2, 3)))
        return np.asarray(np.abs(light - root_mean_square) / 35.6, dtype=np.float32)
    ratio = np.clip(canvas.mean(axis=(1, 2, 3)) / np.maximum(light, 1.0), 0.6, 1.5)
    return np.asarray(1 + law.brightness_match * (ratio - 1), dtype=np.float32)
