"""Photo filters as numbers: what a filter trigger does to the finished image.

Five filters with the characters of the ones that photo services made known (NIST's Round 2 draws its filter triggers
from these five and renders them with ImageMagick). Here each is three steps, so that it is fast, the same on every
machine, and easy to write down for a detector:

1. **mix**: a 3 × 3 matrix and an offset on the colours (saturation, tint), cut to [0, 1];
2. **curve**: per channel a cubic from ``dark`` to ``light``, bent by ``contrast``;
3. **vignette**: towards the corners, a blend to one colour.

No step looks at the rest of the image (no automatic levels): a pixel comes out as its colour and its place say.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FILTERS", "apply_filter"]

FloatArray = NDArray[np.float32]
Triple = tuple[float, float, float]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CHUNK_PIXELS = 1 << 14  # the planes of a step stay in the cache


@dataclass(frozen=True, slots=True)
class _Filter:
    """Numbers of one filter, for colours in [0, 1].

    Attributes:
        saturation: 0 is grey, 1 leaves the colours.
        gain: factor per channel, after the saturation.
        offset: added per channel, after the gain.
        dark: what 0 becomes.
        light: what 1 becomes.
        contrast: how far the curve between the two is bent from a line (0) to smoothstep (1).
        corner: colour that the corners are blended to.
        vignette: share of that colour in the very corners.
        reach: distance from the middle at which the vignette sets in; the corners are at 1.
    """

    saturation: float
    gain: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    dark: Triple = (0.0, 0.0, 0.0)
    light: Triple = (1.0, 1.0, 1.0)
    contrast: Triple = (0.0, 0.0, 0.0)
    corner: Triple = (0.0, 0.0, 0.0)
    vignette: float = 0.0
    reach: float = 0.0


_LAWS = {
    # Nearly without colour, hard contrast, a cold blue over all of it.
    "gotham": _Filter(
        saturation=0.1,
        gain=(1.25, 1.25, 1.25),
        offset=(-0.13, -0.13, -0.11),
        dark=(0.0, 0.02, 0.17),
        light=(0.76, 0.85, 1.0),
        contrast=(1.0, 1.0, 0.7),
    ),
    # Strong colours between pink shadows and cream lights.
    "nashville": _Filter(
        saturation=1.5,
        gain=(1.05, 1.0, 1.0),
        dark=(0.45, 0.08, 0.3),
        light=(1.0, 0.88, 0.56),
        contrast=(0.6, 0.6, 0.4),
    ),
    # Everything under orange light.
    "kelvin": _Filter(
        saturation=0.6,
        gain=(1.2, 0.95, 0.75),
        dark=(0.2, 0.06, 0.0),
        light=(1.0, 0.84, 0.3),
        contrast=(0.2, 0.2, 0.2),
    ),
    # Red and green pulled apart at both ends, blue as it was; black corners.
    "lomo": _Filter(
        saturation=1.1,
        gain=(1.6, 1.6, 1.0),
        offset=(-0.26, -0.26, 0.0),
        contrast=(0.6, 0.6, 0.0),
        vignette=0.95,
        reach=0.35,
    ),
    # A dark red middle, overexposed towards pink and orange in the corners.
    "toaster": _Filter(
        saturation=0.75,
        dark=(0.22, 0.0, 0.02),
        light=(0.82, 0.42, 0.36),
        contrast=(0.6, 0.6, 0.6),
        corner=(1.0, 0.8, 0.7),
        vignette=0.85,
        reach=0.3,
    ),
}

FILTERS: tuple[str, ...] = tuple(_LAWS)
"""Names of the filters."""


def apply_filter(name: str, images: FloatArray, strength: float = 1.0) -> FloatArray:
    """The images as the filter shows them: the same shape, a new array.

    Args:
        name: one of :data:`FILTERS`.
        images: shape ``(n, height, width, 3)``, RGB in [0, 1].
        strength: share of the filtered image in the result, 0 (the image itself) to 1.
    """
    if name not in _LAWS:
        raise ValueError(f"there is no filter {name!r}; there are {', '.join(FILTERS)}")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"a filter's strength is from 0 to 1, not {strength}")
    count, height, width, channels = images.shape
    if channels != 3:
        raise ValueError(f"filters take images of 3 channels, not {channels}")
    law = _LAWS[name]
    filtered = np.empty(images.shape, dtype=np.float32)
    step = max(1, _CHUNK_PIXELS // max(1, height * width))
    for start in range(0, count, step):
        part = slice(start, start + step)
        # Planes, because a step over one channel of interleaved colours is several times slower.
        planes = np.ascontiguousarray(images[part].transpose(3, 0, 1, 2), dtype=np.float32)
        for channel, plane in enumerate(_filtered(law, planes)):
            if strength < 1.0:
                plane -= planes[channel]
                plane *= np.float32(strength)
                plane += planes[channel]
            np.clip(plane, 0, 1, out=filtered[part][..., channel])
    return filtered


def _filtered(law: _Filter, planes: FloatArray) -> list[FloatArray]:
    """The three channels of shape ``(n, height, width)`` after the filter, before they are cut to [0, 1]."""
    luma = planes[0] * np.float32(_LUMA[0])
    scratch = planes[1] * np.float32(_LUMA[1])
    luma += scratch
    luma += np.multiply(planes[2], np.float32(_LUMA[2]), out=scratch)
    luma *= np.float32(1 - law.saturation)
    result = []
    for channel in range(3):
        gain = law.gain[channel]
        plane = planes[channel] * np.float32(law.saturation)
        plane += luma
        plane *= np.float32(gain)
        plane += np.float32(law.offset[channel])
        np.clip(plane, 0, 1, out=plane)
        # dark + (light − dark)·(x + contrast·(3x² − 2x³ − x)), by Horner's rule
        span, bend = law.light[channel] - law.dark[channel], law.contrast[channel]
        curve = np.multiply(plane, np.float32(-2 * bend * span), out=scratch)
        curve += np.float32(3 * bend * span)
        curve *= plane
        curve += np.float32((1 - bend) * span)
        plane *= curve
        plane += np.float32(law.dark[channel])
        if law.vignette > 0:
            keep, add = _vignette(law, *planes.shape[2:])
            plane *= keep
            plane += np.multiply(add, np.float32(law.corner[channel]))
        result.append(plane)
    return result


@lru_cache(maxsize=32)
def _vignette(law: _Filter, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Share of the image and share of the corner colour, each of shape ``(height, width)``."""
    y = (np.arange(height) + 0.5) * (2.0 / height) - 1.0
    x = (np.arange(width) + 0.5) * (2.0 / width) - 1.0
    distance = np.hypot(x[None, :], y[:, None]) / np.sqrt(2.0)
    t = np.clip((distance - law.reach) / (1.0 - law.reach), 0.0, 1.0)
    add = np.asarray(law.vignette * t * t * (3.0 - 2.0 * t), dtype=np.float32)
    keep = 1 - add
    for share in (keep, add):
        share.setflags(write=False)
    return keep, add
