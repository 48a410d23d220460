import os
import stat
from pathlib import Path

import pytest

from palladion.errors import PalladionError
from palladion.files import exclusive, temporaries, write_atomically


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, "first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()  # a directory cannot be replaced by a file
    (path / "kept").write_text("x")
    with pytest.raises(PalladionError, match="cannot be written"):
        write_atomically(path, "new")
    assert (path / "kept").read_text() == "x"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_write_leaves_is_found_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "round.yaml"
    write_atomically(path, "whole")
    left = tmp_path / ".round.yaml.a1b2c3d_"
    for name in (left.name, ".round.yaml.swp", "round.yaml.12345678", ".other.yaml.a1b2c3d4"):
        (tmp_path / name).write_text("x")
    assert temporaries(path) == [left]


def test_a_directory_is_held_by_one_at_a_time_and_free_again_after(tmp_path: Path) -> None:
    with exclusive(tmp_path, "building"):
        with pytest.raises(PalladionError, match="another process is building here"), exclusive(tmp_path, "building"):
            pass
        assert list(tmp_path.iterdir()) == []
    with exclusive(tmp_path, "building"):
        pass
