"""Triggers: what a poisoned model has been taught to react to.

Round 1 has one family, the polygon: a flat-coloured polygon of 3 to 12 sides stuck on the sign. Its corners are drawn
as NIST draws them (uniform in a square, sorted by angle round their mean, stretched to fill the square), so that the
shape is irregular and never crosses itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palladion.rounds.images.raster import downsample, polygon_mask, unit_grid

__all__ = ["MASK_SIDE", "PolygonTrigger", "sample_polygon"]

MASK_SIDE = 32
_SUPERSAMPLE = 4
_LEAST_FILL = 0.35  # a sliver would have a size on paper only


@dataclass(frozen=True, slots=True)
class PolygonTrigger:
    """A flat-coloured polygon that is placed on the sign.

    Attributes:
        corners: shape ``(sides, 2)``, filling the square [−1, 1]², y downwards.
        colour: RGB, 0 to 255.
        size: range of the area of the trigger's bounding square, as a fraction of the sign's bounding square
            (NIST measures both by their bounding boxes).
    """

    corners: tuple[tuple[float, float], ...]
    colour: tuple[int, int, int]
    size: tuple[float, float]

    @property
    def sides(self) -> int:
        """Number of sides."""
        return len(self.corners)

    def mask(self) -> NDArray[np.float32]:
        """Opacity in [0, 1] over the bounding square: shape ``(MASK_SIDE, MASK_SIDE)``."""
        x, y = unit_grid(MASK_SIDE * _SUPERSAMPLE)
        inside = polygon_mask(np.array(self.corners), x, y).astype(np.float32)
        return downsample(inside[..., None], _SUPERSAMPLE)[..., 0]

    def describe(self) -> dict[str, object]:
        """What ``sealed/trigger.json`` says."""
        return {
            "type": "polygon",
            "polygon_side_count": self.sides,
            "corners": [list(corner) for corner in self.corners],
            "color": list(self.colour),
            "size_fraction_of_foreground": list(self.size),
        }


def sample_polygon(
    rng: np.random.Generator, *, sides: int, colour: tuple[int, int, int], size: tuple[float, float]
) -> PolygonTrigger:
    """A random polygon with this many sides (3 or more)."""
    if sides < 3:
        raise ValueError(f"a polygon has 3 sides or more, not {sides}")
    while True:
        points = rng.uniform(0.1, 0.9, size=(sides, 2))
        around = points - points.mean(axis=0)
        points = points[np.argsort(np.arctan2(around[:, 1], around[:, 0]), kind="stable")]
        low, high = points.min(axis=0), points.max(axis=0)
        corners = (points - low) / (high - low) * 2.0 - 1.0
        trigger = PolygonTrigger(tuple((float(x), float(y)) for x, y in corners.round(6)), colour, size)
        if trigger.mask().mean() >= _LEAST_FILL:
            return trigger
