"""Small raster helpers that signs and triggers share."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["bilinear", "blur", "downsample", "polygon_mask", "unit_grid"]


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


def bilinear(
    textures: NDArray[np.float32], which: NDArray[np.int64], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bilinear samples: shape ``(channels, n)``.

    Args:
        textures: shape ``(count, side, side, channels)``, each of them over [−1, 1]², y downwards.
        which: texture of each sample, shape ``(n,)``.
        x: of each sample, in [−1, 1].
        y: the same.
    """
    side = textures.shape[1]
    flat = textures.reshape(-1, textures.shape[-1])
    scale = np.float32(side / 2)
    px = np.clip((x + 1) * scale - np.float32(0.5), 0, side - 1.001).astype(np.float32)
    py = np.clip((y + 1) * scale - np.float32(0.5), 0, side - 1.001).astype(np.float32)
    left, top = px.astype(np.int32), py.astype(np.int32)
    px -= left
    py -= top
    start = (which.astype(np.int32) * side + top) * side + left

    def corner(offset: int) -> NDArray[np.float32]:
        # Whole texels are taken, then planes made of them: steps over planes are several times faster than over the
        # few channels of a texel. take() with clipping beats indexing too; start is within bounds already.
        return np.ascontiguousarray(flat.take(start + offset, axis=0, mode="clip").T)

    upper, lower = corner(0), corner(side)
    upper += (corner(1) - upper) * px
    lower += (corner(side + 1) - lower) * px
    upper += (lower - upper) * py
    return np.asarray(upper)


def blur(images: NDArray[np.float32], passes: int = 1) -> NDArray[np.float32]:
    """The images after so many 3 × 3 binomial blurs, the pixels at the edge repeated.

    Args:
        images: shape ``(n, height, width, channels)``.
        passes: how many.
    """
    for _ in range(passes):
        rows = np.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
        images = rows[:, 1:-1] * np.float32(2)
        images += rows[:, :-2]
        images += rows[:, 2:]
        columns = np.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
        images = columns[:, :, 1:-1] * np.float32(2)
        images += columns[:, :, :-2]
        images += columns[:, :, 2:]
        images *= np.float32(1 / 16)
    return images
