"""Golden images: what filters and weather looked like when somebody last looked.

An intended change of the look is written with ``PALLADION_WRITE_GOLDEN=1 python -m pytest tests/rounds``; look at the
images that changed before they are committed. Without the variable nothing is ever written here.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["assert_golden", "chart"]

_FOLDER = Path(__file__).parent
_WRITE = "PALLADION_WRITE_GOLDEN"


def chart(side: int = 48) -> NDArray[np.float32]:
    """A test chart, shape ``(side, side, 3)`` in [0, 1]: colours from dark to light above, a ramp of greys below.

    ``side`` is a multiple of 12.
    """
    hues = np.array([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)], dtype=np.float32)
    bands = np.repeat(hues, side // 6, axis=0)
    rows = side * 2 // 3
    level = np.linspace(0, 2, rows, dtype=np.float32)[:, None, None]
    # From black to the full colour, then on to white.
    colours = bands[None] * np.minimum(level, 1)
    colours += (1 - colours) * np.maximum(level - 1, 0)
    ramp = np.broadcast_to(np.linspace(0, 1, side, dtype=np.float32)[None, :, None], (side - rows, side, 3))
    return np.concatenate([colours, ramp])


def assert_golden(name: str, image: NDArray[np.float32]) -> None:
    """The image, of shape ``(height, width, 3)`` in 0 to 255, is the golden one within one grey level."""
    path = _FOLDER / f"{name}.png"
    levels = np.rint(image).astype(np.uint8)
    if os.environ.get(_WRITE) == "1":
        Image.fromarray(levels).save(path, optimize=True)
    with Image.open(path) as stored:
        golden = np.asarray(stored.convert("RGB"))
    assert golden.shape == levels.shape
    difference = np.abs(golden.astype(int) - levels)
    assert difference.max() <= 1, (
        f"{name} differs from its golden image by up to {difference.max()} grey levels; if that is meant, "
        f"write it anew with {_WRITE}=1 and look at it"
    )
