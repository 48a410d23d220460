import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from palladion.errors import InputError
from palladion.rounds.images.pictures import atlas_of_pictures, pictures_digest


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _plain(width: int, height: int, colour: tuple[int, int, int] = (200, 100, 50)) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def _noisy(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_that_claims(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header says that it has this size."""
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = _png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + _png_chunk(b"IEND", b"")


def _tile(folder: Path, name: str, content: bytes, side: int = 32) -> NDArray[np.uint8]:
    """The tile that a folder with this one picture gives."""
    (folder / name).write_bytes(content)
    atlas = atlas_of_pictures(folder, side)
    assert atlas.shape == (1, side, side, 3)
    assert atlas.dtype == np.uint8
    tile: NDArray[np.uint8] = atlas[0]
    return tile


def test_a_tile_is_the_middle_square_of_its_picture(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert (_tile(tmp_path, "wide.png", _encoded(Image.fromarray(wide), "PNG")) == (0, 255, 0)).all()
    tall = Image.fromarray(wide.transpose(1, 0, 2))
    assert (_tile(tmp_path, "wide.png", _encoded(tall, "PNG")) == (0, 255, 0)).all()


def test_a_picture_of_the_tiles_size_comes_out_unchanged_and_others_are_resized(tmp_path: Path) -> None:
    image = _noisy(64, 64)
    assert (_tile(tmp_path, "a.png", _encoded(image, "PNG"), 64) == np.asarray(image)).all()
    blocks = np.asarray(image).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    smaller = _tile(tmp_path, "a.png", _encoded(image, "PNG"), 32)
    assert np.corrcoef(smaller.ravel(), blocks.ravel())[0, 1] > 0.85  # a sharper mean than over blocks
    assert _tile(tmp_path, "a.png", _encoded(image, "PNG"), 100).shape == (100, 100, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "A.JPG"])
@pytest.mark.parametrize("size", [(60, 40), (3000, 2000)])
def test_jpeg_pictures_of_any_size_are_taken(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    tile = _tile(tmp_path, name, _encoded(_plain(*size), "JPEG"))
    assert np.abs(tile.astype(int) - (200, 100, 50)).max() <= 3


def test_a_large_jpeg_picture_keeps_what_a_tile_can_show(tmp_path: Path) -> None:
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, np.arange(512) // 4 % 2 == 1] = 255
    # Four pixels of the picture are one of the tile.
    tile = _tile(tmp_path, "a.jpg", _encoded(Image.fromarray(stripes), "JPEG"), 128).astype(int)
    assert (tile[:, 1::2] - tile[:, ::2]).min() > 150


def test_tiles_are_ordered_by_name_and_not_by_when_they_came(tmp_path: Path) -> None:
    levels = {"b.png": 20, "a2.png": 30, "a10.png": 40, "Z.PNG": 50}
    for name, level in levels.items():
        (tmp_path / name).write_bytes(_encoded(_plain(32, 32, (level,) * 3), "PNG"))
    atlas = atlas_of_pictures(tmp_path, 16)
    assert [int(tile[0, 0, 0]) for tile in atlas] == [50, 40, 30, 20]
    assert (atlas_of_pictures(tmp_path, 16) == atlas).all()
    with pytest.raises(ValueError, match="read-only"):
        atlas[0] = 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_are_stood_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """The camera's note in the file is followed, as every viewer does."""
    upright = np.zeros((64, 96, 3), dtype=np.uint8)
    upright[:32, 16:48], upright[:32, 48:80], upright[32:, 16:48] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # How the camera stores it: what the orientation says is undone (EXIF 2.32, 4.6.4 A).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    name = "a.png" if kind == "PNG" else "a.jpg"
    tile = _tile(tmp_path, name, _encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})))
    corners = [tuple(int(value > 128) for value in tile[y, x]) for y, x in ((8, 8), (8, 24), (24, 8), (24, 24))]
    assert corners == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]


def test_a_nonsensical_orientation_is_passed_over(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 77
    assert (_tile(tmp_path, "a.png", _encoded(_plain(32, 32), "PNG", exif=exif)) == (200, 100, 50)).all()


def _sixteen_bit_colour() -> bytes:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0x8000, 0x4000, 0xFFFF) * 40 for _ in range(40))
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _png_chunk(b"IDAT", zlib.compress(rows)) + _png_chunk(b"IEND", b"")


def _palette(*, transparent: bool) -> bytes:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return _encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


_GREY = (128, 128, 128)
_MODES: dict[str, tuple[str, Callable[[], bytes], tuple[int, int, int]]] = {
    "grey": ("a.png", lambda: _encoded(Image.new("L", (40, 40), 90), "PNG"), (90, 90, 90)),
    "black and white": ("a.png", lambda: _encoded(Image.new("1", (40, 40), 1), "PNG"), (255, 255, 255)),
    "16-bit grey": (
        "a.png",
        lambda: _encoded(Image.fromarray(np.full((40, 40), 0x8000, dtype=np.uint16)), "PNG"),
        _GREY,
    ),
    "16-bit colour": ("a.png", _sixteen_bit_colour, (128, 64, 255)),
    "palette": ("a.png", lambda: _palette(transparent=False), (200, 100, 50)),
    # Whatever hides where a picture is transparent is not shown.
    "transparent palette": ("a.png", lambda: _palette(transparent=True), _GREY),
    "transparent": ("a.png", lambda: _encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 0)), "PNG"), _GREY),
    "opaque": ("a.png", lambda: _encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 255)), "PNG"), (255, 0, 0)),
    "half transparent": ("a.png", lambda: _encoded(Image.new("LA", (40, 40), (255, 128)), "PNG"), (192, 192, 192)),
    "colour key": ("a.png", lambda: _encoded(_plain(40, 40), "PNG", transparency=(200, 100, 50)), _GREY),
    "grey JPEG": ("a.jpg", lambda: _encoded(Image.new("L", (40, 40), 90), "JPEG"), (90, 90, 90)),
    "CMYK JPEG": ("a.jpg", lambda: _encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "JPEG with previews": (
        "a.jpg",
        lambda: _encoded(_plain(40, 40, (10, 200, 10)), "MPO", save_all=True, append_images=[_plain(20, 20)]),
        (10, 200, 10),
    ),
}


@pytest.mark.parametrize("mode", _MODES)
def test_every_kind_of_pixel_becomes_its_colour(tmp_path: Path, mode: str) -> None:
    name, make, colour = _MODES[mode]
    assert np.abs(_tile(tmp_path, name, make()).astype(int) - colour).max() <= 2


_ATTACKS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "text": ("a.png", lambda: b"once upon a time", "is not a PNG picture"),
    "text as JPEG": ("a.jpg", lambda: b"once upon a time", "is not a JPEG picture"),
    "nothing": ("a.png", lambda: b"", "is not a PNG picture"),
    "GIF": ("a.png", lambda: _encoded(_plain(40, 40), "GIF"), "is not a PNG picture"),
    "SVG": ("a.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a PNG picture"),
    "JPEG named PNG": ("a.png", lambda: _encoded(_plain(40, 40), "JPEG"), "is a JPEG picture by its content"),
    "PNG named JPEG": ("a.jpg", lambda: _encoded(_plain(40, 40), "PNG"), "is a PNG picture by its content"),
    "half a PNG": ("a.png", lambda: _encoded(_noisy(64, 64), "PNG")[:6000], "damaged"),
    "half a JPEG": ("a.jpg", lambda: _encoded(_noisy(64, 64), "JPEG")[:1500], "damaged"),
    "fewer pixels than claimed": ("a.png", lambda: _png_that_claims(100, 100), "damaged"),
    "8000 × 8000 claimed": ("a.png", lambda: _png_that_claims(8000, 8000), "more than 50 million pixels"),
    "10000 × 10000 claimed": ("a.png", lambda: _png_that_claims(10_000, 10_000), "more than 50 million pixels"),
    "2³¹ × 2³¹ claimed": ("a.png", lambda: _png_that_claims(2**31 - 1, 2**31 - 1), "more than 50 million pixels"),
    "one row of 60 million": ("a.png", lambda: _png_that_claims(60_000_000, 1), "more than 50 million pixels"),
    "a real bomb": (
        "a.png",
        lambda: _encoded(Image.new("1", (9000, 9000)), "PNG"),
        "more than 50 million pixels",
    ),
    "0 × 0 claimed": ("a.png", lambda: _png_that_claims(0, 0), "0 × 0|not a PNG"),
    "1 × 1": ("a.png", lambda: _encoded(_plain(1, 1), "PNG"), "is 1 × 1 pixels; a background needs 32 × 32"),
    "a line": ("a.jpg", lambda: _encoded(_plain(500, 31), "JPEG"), "is 500 × 31 pixels"),
    "animated": (
        "a.png",
        lambda: _encoded(_plain(40, 40), "PNG", save_all=True, append_images=[_noisy(40, 40)]),
        "is animated",
    ),
    "a thousand scans": (
        "a.jpg",
        lambda: _encoded(_plain(40, 40), "JPEG")[:-2] + b"\xff\xda\x00\x02" * 1000 + b"\xff\xd9",
        "more than 30 scans",
    ),
    "text that unpacks to much more": (
        "a.png",
        lambda: (
            _encoded(_plain(40, 40), "PNG")[:33]
            + _png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 24)))
            + _encoded(_plain(40, 40), "PNG")[33:]
        ),
        "damaged",
    ),
    "too many bytes": ("a.png", lambda: bytes((32 << 20) + 1), "is larger than 32 MiB"),
}


@pytest.mark.parametrize("attack", _ATTACKS)
def test_a_hostile_file_is_refused_by_name(tmp_path: Path, attack: str) -> None:
    name, make, problem = _ATTACKS[attack]
    (tmp_path / "0.png").write_bytes(_encoded(_plain(40, 40), "PNG"))
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=problem) as caught:
        atlas_of_pictures(tmp_path, 32)
    assert caught.value.path == tmp_path / name
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    kind, name = data.draw(st.sampled_from([("PNG", "a.png"), ("JPEG", "a.jpg")]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = bytearray(_encoded(_noisy(33, 32), kind, exif=exif))
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        content[position] = value
    del content[data.draw(st.sampled_from([len(content), len(content) // 2, 40])) :]
    (tmp_path / name).write_bytes(content)
    try:
        shape, named = atlas_of_pictures(tmp_path, 8).shape, tmp_path / name
    except InputError as error:
        shape, named = (1, 8, 8, 3), error.path or tmp_path
    (tmp_path / name).unlink()
    assert shape == (1, 8, 8, 3)
    assert named == tmp_path / name


def _both(folder: Path) -> list[Callable[[], object]]:
    """Both ways to read a folder."""
    return [lambda: atlas_of_pictures(folder, 32), lambda: pictures_digest(folder)]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.png", tmp_path / "pictures"
    outside.write_bytes(_encoded(_plain(40, 40), "PNG"))
    folder.mkdir()
    for target in (outside, Path("/dev/zero"), Path("nowhere"), Path("a.png")):
        (folder / "a.png").symlink_to(target)
        for use in _both(folder):
            with pytest.raises(InputError, match=r"a\.png: is a link"):
                use()
        (folder / "a.png").unlink()
    (folder / "a.png").write_bytes(outside.read_bytes())
    (tmp_path / "link").symlink_to(folder)
    for use in _both(tmp_path / "link"):
        with pytest.raises(InputError, match="is a link; name the folder"):
            use()


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for use in _both(tmp_path):
        with pytest.raises(InputError, match="no plain file"):
            use()
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").mkdir()
    for use in _both(tmp_path):
        with pytest.raises(InputError, match="no plain file"):
            use()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("free")
    (tmp_path / "more").mkdir()
    for use in _both(tmp_path):
        with pytest.raises(InputError, match=r"holds no pictures \(\*\.png"):
            use()
    for use in _both(tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no such folder"):
            use()
    for use in _both(tmp_path / "LICENSE.txt"):
        with pytest.raises(InputError, match="cannot be read as a folder"):
            use()


def test_there_is_a_limit_to_the_number_of_pictures(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(_encoded(_plain(32, 32), "PNG"))
    assert len(atlas_of_pictures(tmp_path, 8, limit=4)) == 4
    with pytest.raises(InputError, match="holds 4 pictures, and at most 3"):
        atlas_of_pictures(tmp_path, 8, limit=3)
    with pytest.raises(InputError, match="holds 4 pictures, and at most 3"):
        pictures_digest(tmp_path, limit=3)


def test_tiles_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_encoded(_plain(32, 32), "PNG"))
    with pytest.raises(InputError, match="smaller tiles"):
        atlas_of_pictures(tmp_path, 40_000)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        atlas_of_pictures(tmp_path, 0)


@pytest.mark.parametrize("name", ["a\x1b[2J.png", "a\nb.png", os.fsdecode(b"a\xff.png")])
def test_a_name_that_would_play_with_the_terminal_is_refused_and_shown_harmless(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_encoded(_plain(32, 32), "PNG"))
    for use in _both(tmp_path):
        with pytest.raises(InputError, match="cannot be printed; rename it") as caught:
            use()
        assert str(caught.value).isprintable()


def test_what_is_no_picture_by_its_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_encoded(_plain(32, 32), "PNG"))
    before = pictures_digest(tmp_path)
    (tmp_path / "labels.csv").write_text("a,1\n")
    (tmp_path / "b.png.txt").write_text("no picture")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.png").write_text("not looked into")
    assert len(atlas_of_pictures(tmp_path, 8)) == 1
    assert pictures_digest(tmp_path) == before


def test_the_digest_is_over_lengths_names_and_contents(tmp_path: Path) -> None:
    for name, content in (("b.jpg", b"two"), ("a.png", b"one!")):
        (tmp_path / name).write_bytes(content)
    lengths = [number.to_bytes(8, "big") for number in (5, 4, 5, 3)]
    expected = lengths[0] + b"a.png" + lengths[1] + b"one!" + lengths[2] + b"b.jpg" + lengths[3] + b"two"
    assert pictures_digest(tmp_path) == hashlib.sha256(expected).hexdigest()


def test_the_digest_tells_any_change_of_the_pictures(tmp_path: Path) -> None:
    first = tmp_path / "a.png"
    first.write_bytes(b"one")
    digests = [pictures_digest(tmp_path)]
    first.write_bytes(b"One")
    digests.append(pictures_digest(tmp_path))
    first.rename(tmp_path / "b.png")
    digests.append(pictures_digest(tmp_path))
    (tmp_path / "c.png").write_bytes(b"")
    digests.append(pictures_digest(tmp_path))
    assert len(set(digests)) == 4
    (tmp_path / "c.png").unlink()
    assert pictures_digest(tmp_path) == digests[2]
