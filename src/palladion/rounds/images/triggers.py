"""Triggers: what a poisoned model has been taught to react to.

A trigger is sampled, embedded and described. One that lies on the sign embeds itself while the sign is painted
(:meth:`Trigger.on_sign`), one that changes the whole picture after everything else (:meth:`Trigger.on_image`).

Polygons are drawn as NIST draws them: corners uniform in a square, sorted by angle round their mean, stretched to fill
the square, so that the shape is irregular and never crosses itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from palladion.rounds.images.filters import FILTERS, apply_filter
from palladion.rounds.images.raster import bilinear, downsample, polygon_mask, unit_grid

__all__ = ["MASK_SIDE", "FilterTrigger", "PolygonTrigger", "SignPixels", "Trigger", "sample_colour", "sample_polygon"]

FloatArray = NDArray[np.float32]

MASK_SIDE = 32
_SUPERSAMPLE = 4
_LEAST_FILL = 0.35  # a sliver would have a size on paper only
_CHART_SIDE = 64


@dataclass(frozen=True, slots=True)
class SignPixels:
    """The pixels of a batch that show a sign; m pixels of n images.

    Attributes:
        colour: of each pixel, RGB, 0 to 255, shape ``(3, m)``.
        image: which image each lies in, shape ``(m,)``.
        x: of each pixel in the sign's own square [−1, 1]², shape ``(m,)``.
        y: the same, downwards.
        half_x: half the sign's width in pixels, shape ``(n,)``.
        half_y: half its height.
        radius: of the largest circle inside the sign, in the sign's square, shape ``(n,)``.
        centre: of that circle, shape ``(n, 2)``.
        area: of the sign, as a share of its square, shape ``(n,)``.
        draws: uniform numbers for the trigger, shape ``(n, 4)``.
        carries: which images carry the trigger, shape ``(n,)``.
    """

    colour: FloatArray
    image: NDArray[np.int64]
    x: FloatArray
    y: FloatArray
    half_x: FloatArray
    half_y: FloatArray
    radius: FloatArray
    centre: FloatArray
    area: FloatArray
    draws: NDArray[np.float64]
    carries: NDArray[np.bool_]


class Trigger(ABC):
    """What makes a poisoned model answer with its target class."""

    def on_sign(self, pixels: SignPixels) -> FloatArray:
        """Colours of the signs' pixels with the trigger, shape as ``pixels.colour``."""
        return pixels.colour

    def on_image(self, images: FloatArray) -> FloatArray:
        """The finished images with the trigger: shape ``(n, height, width, 3)``, 0 to 255."""
        return images

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """What ``sealed/trigger.json`` says."""

    @abstractmethod
    def picture(self) -> NDArray[np.uint8]:
        """The trigger to look at: shape ``(side, side, 4)``, RGBA."""


@dataclass(frozen=True, slots=True)
class PolygonTrigger(Trigger):
    """A flat-coloured polygon that is placed on the sign.

    Attributes:
        corners: shape ``(sides, 2)``, filling the square [−1, 1]², y downwards.
        colour: RGB, 0 to 255.
        size: range of the trigger's area, as a fraction of the sign's.
        boxes: take for either area that of the bounding square, as NIST does.
    """

    corners: tuple[tuple[float, float], ...]
    colour: tuple[int, int, int]
    size: tuple[float, float]
    boxes: bool = False

    @property
    def sides(self) -> int:
        """Number of sides."""
        return len(self.corners)

    def mask(self) -> FloatArray:
        """Opacity in [0, 1] over the bounding square: shape ``(MASK_SIDE, MASK_SIDE)``."""
        return _mask(self.corners)

    def describe(self) -> dict[str, object]:
        """What ``sealed/trigger.json`` says."""
        return {
            "type": "polygon",
            "polygon_side_count": self.sides,
            "corners": [list(corner) for corner in self.corners],
            "color": list(self.colour),
            "size_fraction_of_foreground": list(self.size),
            "size_of_bounding_squares": self.boxes,
        }

    def picture(self) -> NDArray[np.uint8]:
        """The polygon on nothing."""
        mask = self.mask()
        picture = np.empty((*mask.shape, 4), dtype=np.uint8)
        picture[..., :3] = self.colour
        picture[..., 3] = np.round(mask * 255)
        return picture

    def on_sign(self, pixels: SignPixels) -> FloatArray:
        """The polygon stuck on, at a random place and turn."""
        on = np.flatnonzero(pixels.carries[pixels.image])
        opacity = self._opacity(pixels, on)
        paint = np.array(self.colour, dtype=np.float32)[:, None]
        colour = pixels.colour.copy()
        colour[:, on] += (paint - colour[:, on]) * opacity
        return colour

    def _opacity(self, pixels: SignPixels, on: NDArray[np.int64]) -> FloatArray:
        """Opacity of the trigger at some of the pixels, shape as ``on``."""
        mask = self.mask()
        u, image = pixels.draws, pixels.image[on]
        low, high = self.size
        share = (low + (high - low) * u[:, 0]).astype(np.float32)
        if not self.boxes:
            share = share * pixels.area / mask.mean()
        # Half the trigger's side in the sign's units; the stretch is undone, so that the trigger keeps its proportions.
        half_side = np.sqrt(share)
        mean_half = np.sqrt(pixels.half_x * pixels.half_y)
        # Uniform over the disc in which the trigger still lies on the sign.
        free = np.maximum(pixels.radius - half_side, 0) * np.sqrt(u[:, 1])
        angle = 2 * np.pi * u[:, 2]
        place_x = (pixels.centre[:, 0] + free * np.cos(angle)).astype(np.float32)
        place_y = (pixels.centre[:, 1] + free * np.sin(angle)).astype(np.float32)
        # Turned by a multiple of 5 degrees, as NIST's.
        turn = np.deg2rad(5.0) * np.floor(u[:, 3] * 72)
        cos, sin = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
        scale_x, scale_y = pixels.half_x / (mean_half * half_side), pixels.half_y / (mean_half * half_side)
        x = (pixels.x[on] - place_x[image]) * scale_x[image]
        y = (pixels.y[on] - place_y[image]) * scale_y[image]
        turned_x = cos[image] * x + sin[image] * y
        turned_y = cos[image] * y - sin[image] * x
        inside = (np.abs(turned_x) < 1) & (np.abs(turned_y) < 1)
        opacity = np.zeros(len(on), dtype=np.float32)
        which = np.zeros(int(inside.sum()), dtype=np.int64)
        opacity[inside] = bilinear(mask[None, :, :, None], which, turned_x[inside], turned_y[inside])[0]
        return opacity


@dataclass(frozen=True, slots=True)
class FilterTrigger(Trigger):
    """A colour filter over the whole picture.

    Attributes:
        name: one of :data:`palladion.rounds.images.filters.FILTERS`.
        strength: share of the filter that is blended in, above 0, at most 1.
    """

    name: str
    strength: float = 1.0

    def on_image(self, images: FloatArray) -> FloatArray:
        """The filtered images."""
        return apply_filter(self.name, images / np.float32(255), self.strength) * np.float32(255)

    def describe(self) -> dict[str, object]:
        """What ``sealed/trigger.json`` says."""
        return {"type": "filter", "filter": self.name, "strength": self.strength}

    def picture(self) -> NDArray[np.uint8]:
        """The filter on a chart of colours: hue to the right, from white over the pure colour to black downwards."""
        x, y = unit_grid(_CHART_SIDE)
        turn = (x + 1) * np.pi
        pure = np.clip(0.5 + np.cos(turn[..., None] - np.array([0, 2, 4]) * np.pi / 3), 0, 1)
        chart = np.where(y[..., None] < 0, 1 + (pure - 1) * (y[..., None] + 1), pure * (1 - y[..., None]))
        shown = self.on_image(chart.astype(np.float32)[None] * 255)[0]
        picture = np.full((_CHART_SIDE, _CHART_SIDE, 4), 255, dtype=np.uint8)
        picture[..., :3] = np.round(shown)
        return picture

    def __post_init__(self) -> None:
        if self.name not in FILTERS or not 0.0 < self.strength <= 1.0:
            raise ValueError(f"there is no filter {self.name!r} of strength {self.strength}")


@lru_cache(maxsize=64)
def _mask(corners: tuple[tuple[float, float], ...]) -> FloatArray:
    x, y = unit_grid(MASK_SIDE * _SUPERSAMPLE)
    inside = polygon_mask(np.array(corners), x, y).astype(np.float32)
    mask = downsample(inside[..., None], _SUPERSAMPLE)[..., 0]
    mask.setflags(write=False)
    return mask


def sample_polygon(
    rng: np.random.Generator,
    *,
    sides: int,
    colour: tuple[int, int, int],
    size: tuple[float, float],
    boxes: bool = False,
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
        trigger = PolygonTrigger(tuple((float(x), float(y)) for x, y in corners.round(6)), colour, size, boxes)
        if trigger.mask().mean() >= _LEAST_FILL:
            return trigger


def sample_colour(
    rng: np.random.Generator, painted: NDArray[np.float64], *, contrast: float, saturation: int
) -> tuple[int, int, int]:
    """A random colour that stands out from the signs.

    Args:
        rng: of the trigger.
        painted: colours that the signs are painted in, RGB, shape ``(colours, 3)``.
        contrast: least distance to any of them.
        saturation: least difference between the largest and the smallest channel.
    """
    while True:
        colour = rng.integers(0, 256, size=3)
        distance = np.sqrt(((painted - colour) ** 2).sum(axis=1)).min()
        if distance >= contrast and colour.max() - colour.min() >= saturation:
            red, green, blue = (int(channel) for channel in colour)
            return red, green, blue
        contrast *= 0.999  # with many signs no colour may be that far from all theirs: take the farther ones
