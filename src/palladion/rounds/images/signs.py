"""Foreground signs: fictional traffic signs, drawn from formulas.

A sign is a shape, a colour scheme and an icon: 8 × 8 × 12 = 768 distinct signs, none of them a real country's and
none of them a file. NIST's rounds use about 600 such signs as PNG files.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from palladion.rounds.images.raster import downsample, polygon_mask, unit_grid

__all__ = ["ICONS", "NUMBER_OF_SIGNS", "SCHEMES", "SHAPES", "Sign", "sign", "texture"]

_SUPERSAMPLE = 4
_BORDER = 0.8  # the inner field is this much of the outer shape
_AREAS = (0.36, 0.51, 0.13)  # border, field and icon of the whole sign: least squares over the drawn ones

SHAPES: dict[str, tuple[int, float]] = {
    # name: (corners, rotation of the first corner in degrees from straight up); 0 corners is a circle
    "circle": (0, 0.0),
    "triangle": (3, 0.0),
    "inverted-triangle": (3, 180.0),
    "square": (4, 45.0),
    "diamond": (4, 0.0),
    "pentagon": (5, 0.0),
    "hexagon": (6, 30.0),
    "octagon": (8, 22.5),
}

SCHEMES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    # name: (border, field, icon) as RGB
    "red-on-white": ((200, 24, 32), (245, 245, 245), (20, 20, 20)),
    "white-on-red": ((245, 245, 245), (190, 20, 30), (250, 250, 250)),
    "white-on-blue": ((240, 240, 240), (24, 72, 176), (250, 250, 250)),
    "black-on-yellow": ((20, 20, 20), (248, 208, 32), (16, 16, 16)),
    "white-on-green": ((240, 245, 240), (16, 128, 72), (250, 250, 250)),
    "black-on-orange": ((24, 24, 24), (244, 132, 24), (16, 16, 16)),
    "blue-on-white": ((24, 64, 168), (244, 246, 250), (24, 64, 168)),
    "yellow-on-brown": ((236, 200, 96), (112, 64, 32), (250, 220, 120)),
}

ICONS: tuple[str, ...] = (
    "bar",
    "pillar",
    "cross",
    "saltire",
    "disc",
    "ring",
    "square",
    "wedge-up",
    "wedge-down",
    "wedge-left",
    "wedge-right",
    "twin-dots",
)

NUMBER_OF_SIGNS = len(SHAPES) * len(SCHEMES) * len(ICONS)


@dataclass(frozen=True, slots=True)
class Sign:
    """One foreground sign."""

    shape: str
    scheme: str
    icon: str

    @property
    def name(self) -> str:
        """Such as ``octagon/white-on-red/bar``."""
        return f"{self.shape}/{self.scheme}/{self.icon}"

    @property
    def colour(self) -> NDArray[np.float64]:
        """Mean colour of the sign, RGB, 0 to 255; of every icon as if it were as large as they are on average."""
        return np.array(_AREAS) @ np.array(SCHEMES[self.scheme], dtype=np.float64)

    @property
    def inscribed_radius(self) -> float:
        """Radius of the largest circle inside the sign, where the sign's bounding square is [−1, 1]²."""
        corners, _ = SHAPES[self.shape]
        if corners == 0:
            return 1.0
        return float(np.cos(np.pi / corners)) * _bounding_scale(self.shape)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of that circle in the same square, y downwards."""
        _, (offset_x, offset_y) = _outline(self.shape)
        return offset_x, offset_y

    @property
    def area(self) -> float:
        """The sign's area, as a share of that of its bounding square."""
        corners, _ = _outline(self.shape)
        if corners is None:
            return float(np.pi / 4)
        x, y = corners.T
        return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 8)


def sign(number: int) -> Sign:
    """The sign with this number, 0 ≤ number < :data:`NUMBER_OF_SIGNS`."""
    if not 0 <= number < NUMBER_OF_SIGNS:
        raise ValueError(f"there are {NUMBER_OF_SIGNS} signs, numbered from 0, and none is {number}")
    rest, icon = divmod(number, len(ICONS))
    shape, scheme = divmod(rest, len(SCHEMES))
    return Sign(list(SHAPES)[shape], list(SCHEMES)[scheme], ICONS[icon])


@lru_cache(maxsize=len(SHAPES))
def _outline(shape: str) -> tuple[NDArray[np.float64] | None, tuple[float, float]]:
    """Corners of the shape stretched to touch its bounding square, and where its centre went."""
    corners, turn = SHAPES[shape]
    if corners == 0:
        return None, (0.0, 0.0)
    angles = np.deg2rad(turn) + 2 * np.pi * np.arange(corners) / corners
    points = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 2.0 / (high - low).max()
    middle = (low + high) / 2
    centre = -middle * scale
    return (points - middle) * scale, (float(centre[0]), float(centre[1]))


def _bounding_scale(shape: str) -> float:
    corners, turn = SHAPES[shape]
    angles = np.deg2rad(turn) + 2 * np.pi * np.arange(corners) / corners
    points = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    return float(2.0 / (points.max(axis=0) - points.min(axis=0)).max())


def _icon_mask(icon: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The icon inside [−1, 1]², y downwards."""
    radius = np.hypot(x, y)
    match icon:
        case "bar":
            return (np.abs(y) < 0.3) & (np.abs(x) < 0.9)
        case "pillar":
            return (np.abs(x) < 0.3) & (np.abs(y) < 0.9)
        case "cross":
            return ((np.abs(x) < 0.25) & (np.abs(y) < 0.85)) | ((np.abs(y) < 0.25) & (np.abs(x) < 0.85))
        case "saltire":
            reach = np.maximum(np.abs(x), np.abs(y)) < 0.75
            return reach & ((np.abs(x - y) < 0.35) | (np.abs(x + y) < 0.35))
        case "disc":
            return radius < 0.7
        case "ring":
            return (radius < 0.85) & (radius > 0.48)
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) < 0.62
        case "wedge-up":
            return (y < 0.65) & (np.abs(x) < (y + 0.85) * 0.6)
        case "wedge-down":
            return (y > -0.65) & (np.abs(x) < (0.85 - y) * 0.6)
        case "wedge-left":
            return (x < 0.65) & (np.abs(y) < (x + 0.85) * 0.6)
        case "wedge-right":
            return (x > -0.65) & (np.abs(y) < (0.85 - x) * 0.6)
        case "twin-dots":
            return np.hypot(np.abs(x) - 0.5, y) < 0.38
    raise ValueError(f"there is no icon {icon!r}")


@lru_cache(maxsize=128)
def texture(sign: Sign, side: int = 32) -> NDArray[np.float32]:
    """The sign as RGBA in [0, 1], alpha not multiplied in: shape ``(side, side, 4)``.

    The sign's bounding square fills the texture. Drawn at four times the size and averaged down.
    """
    x, y = unit_grid(side * _SUPERSAMPLE)
    corners, (centre_x, centre_y) = _outline(sign.shape)

    def inside(share: float) -> NDArray[np.bool_]:
        inner_x, inner_y = (x - centre_x) / share + centre_x, (y - centre_y) / share + centre_y
        if corners is None:
            return np.hypot(inner_x, inner_y) < 1.0
        return polygon_mask(corners, inner_x, inner_y)

    reach = sign.inscribed_radius * _BORDER * 0.78
    border, field, icon = (np.array(colour, dtype=np.float32) / 255 for colour in SCHEMES[sign.scheme])
    rgba = np.zeros((*x.shape, 4), dtype=np.float32)
    rgba[..., :3] = border
    rgba[inside(_BORDER), :3] = field
    rgba[_icon_mask(sign.icon, (x - centre_x) / reach, (y - centre_y) / reach) & inside(_BORDER), :3] = icon
    rgba[..., 3] = inside(1.0)
    small = downsample(rgba, _SUPERSAMPLE)
    small.setflags(write=False)
    return small
