"""Backgrounds from an organiser's own folder of pictures.

The folder may have come from anywhere, so it is hostile until checked: plain PNG and JPEG files only, no links, with
limits on the number of files, their bytes and their pixels. A file that is not what its name says is refused by name;
what is no picture by its name (``LICENSE``, ``labels.csv``, a folder) is passed over.
"""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from palladion.errors import InputError

__all__ = ["LIMIT", "atlas_of_pictures", "pictures_digest"]

LIMIT = 2000
"""Most pictures that are taken from a folder unless the caller says otherwise."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_MOST_NAMES = 200_000  # names in the folder that are looked at, pictures or not
_MOST_BYTES = 32 << 20
_MOST_PIXELS = 50_000_000
_MOST_SCANS = 30  # of a JPEG file: each costs a pass over all the pixels; a usual one has at most a dozen
_LEAST_SIDE = 32  # pixels; anything smaller is an icon, not a background
_MOST_ATLAS_BYTES = 2 << 30
_BEHIND = (128, 128, 128)  # what shows through where a picture is transparent

# How a stored picture is turned to stand upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def atlas_of_pictures(folder: Path, side: int, *, limit: int = LIMIT) -> NDArray[np.uint8]:
    """The pictures of a folder as background tiles: shape ``(pictures, side, side, 3)``, RGB, ordered by file name.

    Each tile is the largest square in the middle of its picture, upright, resized.

    Args:
        folder: holds the pictures, ``*.png``, ``*.jpg`` and ``*.jpeg``; folders in it are not looked into.
        side: height and width of the tiles, pixels.
        limit: most pictures that the folder may hold.

    Raises:
        InputError: the folder holds no pictures or too many, or one of them is a link, too large, too small or
            damaged; it names the file.
    """
    if side < 1:
        raise ValueError(f"a tile has at least 1 pixel a side, not {side}")
    names = _names(folder, limit)
    if len(names) * side * side * 3 > _MOST_ATLAS_BYTES:
        raise InputError(
            f"its {len(names)} pictures as tiles of {side} pixels take more than {_MOST_ATLAS_BYTES >> 30} GiB; "
            "take fewer pictures or smaller tiles",
            path=folder,
        )
    tiles = np.empty((len(names), side, side, 3), dtype=np.uint8)
    for number, (path, content) in enumerate(_contents(folder, names)):
        tiles[number] = _tile(path, content, side)
    tiles.setflags(write=False)
    return tiles


def pictures_digest(folder: Path, *, limit: int = LIMIT) -> str:
    """SHA-256 over the names and the contents of the pictures in a folder, in hexadecimal.

    It changes when a picture is added, removed, renamed or changed, and does not when other files are. The pictures
    are not decoded: this says which they were, not that they are sound.

    Raises:
        InputError: as :func:`atlas_of_pictures`, but for the pictures' content.
    """
    digest = hashlib.sha256()
    for path, content in _contents(folder, _names(folder, limit)):
        # Lengths first, so that no two folders make one text.
        for part in (os.fsencode(path.name), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _names(folder: Path, limit: int) -> list[str]:
    """Names of the pictures in the folder, sorted by code point."""
    if folder.is_symlink():
        raise InputError("is a link; name the folder that it points to", path=folder)
    names = []
    try:
        with os.scandir(folder) as entries:
            for seen, entry in enumerate(entries):
                if seen >= _MOST_NAMES:
                    raise InputError(f"holds more than {_MOST_NAMES} files; give the pictures a folder", path=folder)
                if Path(entry.name).suffix.lower() in _FORMATS:
                    names.append(entry.name)
    except FileNotFoundError:
        raise InputError("there is no such folder", path=folder) from None
    except OSError as error:
        raise InputError(f"cannot be read as a folder: {error.strerror}", path=folder) from None
    if not names:
        raise InputError("holds no pictures (*.png, *.jpg, *.jpeg); put some there or name another folder", path=folder)
    if len(names) > limit:
        raise InputError(
            f"holds {len(names)} pictures, and at most {limit} are taken; move some of them elsewhere", path=folder
        )
    for name in names:
        # Such a name would do to a terminal what its author wants.
        if not name.isprintable():
            raise InputError(f"the picture {name!a} has a name that cannot be printed; rename it", path=folder)
    return sorted(names)


def _contents(folder: Path, names: list[str]) -> Iterator[tuple[Path, bytes]]:
    for name in names:
        yield folder / name, _content(folder / name)


def _content(path: Path) -> bytes:
    """All bytes of a plain file."""
    try:
        # Opened without following a link and without waiting at a pipe, then looked at: nothing can be swapped between.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError("is no plain file; remove it from the folder or rename it", path=path)
            with os.fdopen(handle, "rb", closefd=False) as file:
                content = file.read(_MOST_BYTES + 1)
        finally:
            os.close(handle)
    except OSError as error:
        if path.is_symlink():
            raise InputError("is a link; put the picture itself there", path=path) from None
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"is larger than {_MOST_BYTES >> 20} MiB; save it smaller", path=path)
    return content


def _tile(path: Path, content: bytes, side: int) -> NDArray[np.uint8]:
    expected = _FORMATS[path.suffix.lower()]
    other = "JPEG" if expected == "PNG" else "PNG"
    if content.startswith(b"\xff\xd8" if other == "JPEG" else b"\x89PNG"):
        raise InputError(f"is a {other} picture by its content; name it so or remove it", path=path)
    # The two bytes that start a scan cannot stand in compressed data.
    if expected == "JPEG" and content.count(b"\xff\xda") > _MOST_SCANS:
        raise InputError(f"is stored in more than {_MOST_SCANS} scans; save it again", path=path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(path, content, side, expected)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(path) from None
    except Exception as error:  # a damaged picture can make a decoder raise anything
        reason = " ".join(str(error).split())[:200] if isinstance(error, (OSError, SyntaxError, ValueError)) else ""
        # Pillow tells the address of its buffer where it does not know the format.
        reason = "" if not reason or "cannot identify" in reason else f" ({reason})"
        problem = f"is not a {expected} picture, or a damaged one{reason}; replace or remove it"
        raise InputError(problem, path=path) from None


def _too_many_pixels(path: Path) -> InputError:
    return InputError(f"has more than {_MOST_PIXELS // 1_000_000} million pixels; save it smaller", path=path)


def _decoded(path: Path, content: bytes, side: int, expected: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=[expected]) as image:
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise _too_many_pixels(path)
        if min(width, height) < _LEAST_SIDE:
            raise InputError(
                f"is {width} × {height} pixels; a background needs {_LEAST_SIDE} × {_LEAST_SIDE} or more", path=path
            )
        # A JPEG with previews (MPO) has several pictures as well; its first is the one that is meant.
        if expected == "PNG" and getattr(image, "is_animated", False):
            raise InputError("is animated; save one picture of it", path=path)
        image.draft("RGB", (2 * side, 2 * side))  # large JPEG pictures are decoded at a fraction of their size
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        width, height = image.size
        square = min(width, height)
        left, top = (width - square) // 2, (height - square) // 2
        middle = _rgb(image.crop((left, top, left + square, top + square)))
        tile = middle.resize((side, side), Image.Resampling.LANCZOS)
        turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
        return np.asarray(tile if turn is None else tile.transpose(turn))


def _rgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit RGB: 16-bit grey is scaled (Pillow would cut it off at 255), transparency is filled."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    filled = Image.new("RGBA", layer.size, (*_BEHIND, 255))
    filled.alpha_composite(layer)
    return filled.convert("RGB")
