from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.execution.staging import copy_open, remove_leftovers, remove_tree, workspace
from palladion.models import ModelEntry, RoundDirectory

MakeRound = Callable[..., Path]


def entry_of(root: Path) -> ModelEntry:
    return RoundDirectory.open(root).split("test").models()[0]


@pytest.mark.parametrize("into", [False, True])
def test_only_the_open_folder_is_copied_and_without_times(make_round: MakeRound, tmp_path: Path, into: bool) -> None:
    entry, copy = entry_of(make_round([True])), tmp_path / "copy"
    if into:
        copy.mkdir()
    copy_open(entry.open, copy, into=into)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert [path.relative_to(copy).as_posix() for path in files] == [
        "clean-example-data/class_0_example_0.png",
        "model/behaviour.py",
        "model/config.json",
    ]
    assert {path.stat().st_mtime for path in (*files, copy, *copy.iterdir())} == {0.0}


def test_what_is_copied_into_a_place_can_be_read_by_all_and_written_by_nobody(
    make_round: MakeRound, tmp_path: Path
) -> None:
    entry = entry_of(make_round([True]))
    (entry.model / "config.json").chmod(0o600)
    copy_open(entry.open, tmp_path, into=True)
    assert (tmp_path / "model" / "config.json").stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o555


def test_the_copy_is_a_copy(make_round: MakeRound, tmp_path: Path) -> None:
    entry = entry_of(make_round([True]))
    copy_open(entry.open, tmp_path / "copy")
    (tmp_path / "copy" / "model" / "config.json").write_text("changed")
    assert (entry.model / "config.json").read_text() == "{}"


def test_a_link_in_a_round_is_refused(make_round: MakeRound, tmp_path: Path) -> None:
    entry = entry_of(make_round([True]))
    (entry.model / "truth").symlink_to(entry.sealed / "ground_truth.csv")
    with pytest.raises(InputError, match="truth: is a link"):
        copy_open(entry.open, tmp_path / "copy")


def test_a_missing_open_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        copy_open(tmp_path / "nowhere", tmp_path / "copy")


def test_folders_without_permissions_are_removed(tmp_path: Path) -> None:
    inner = tmp_path / "root" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    inner.chmod(0)
    inner.parent.chmod(0)
    remove_tree(tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_leftovers_are_removed_and_what_is_in_use_or_not_ours_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    leftover, mine, link = (tmp_path / name for name in ("palladion-run-abcd1234", "palladion-run-data", "elsewhere"))
    (leftover / "active").mkdir(parents=True)
    mine.mkdir()
    link.mkdir()
    (tmp_path / "palladion-run-zyxw9876").symlink_to(link)
    with workspace() as used:
        remove_leftovers()
        assert used.is_dir()
    assert not used.exists()
    assert not leftover.exists()
    assert mine.is_dir()
    assert link.is_dir()
