"""Small raster helpers that signs and triggers share."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["downsample", "polygon_mask", "unit_grid"]


def unit_grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel centres of a ``side`` × ``side`` image over [−1, 1]²: x to the right, y downwards."""
    line = (np.arange(side) + 0.5) * (2.0 / side) - 1.0
    x, y = np.meshgrid(line, line)
    return x, y


def polygon_mask(corners: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie inside the polygon (even–odd rule).

    Args:
        corners: shape ``(n, 2)``, in order round the polygon.
        x: x of the points, any shape.
        y: y of the points, the same shape.
    """
    inside = np.zeros(x.shape, dtype=np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def downsample(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean over ``factor`` × ``factor`` blocks of an image of shape ``(height, width, channels)``."""
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
