from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.execution.staging import remove_leftovers, remove_tree, staged, workspace
from palladion.models import RoundDirectory

MakeRound = Callable[..., Path]


def test_only_the_open_folder_is_copied_and_nothing_names_the_model(make_round: MakeRound) -> None:
    entry = RoundDirectory.open(make_round([True])).split("test").models()[0]
    with staged(entry.open) as data_point:
        files = sorted(path for path in data_point.root.rglob("*") if path.is_file())
        names = [path.relative_to(data_point.root).as_posix() for path in files]
        assert names == [
            "active/clean-example-data/class_0_example_0.png",
            "active/model/behaviour.py",
            "active/model/config.json",
        ]
        assert not any(entry.name in str(path) for path in files)
        paths = data_point.paths
        assert (paths.model / "config.json").is_file()
        assert paths.examples.is_dir()
        assert list(paths.scratch.iterdir()) == []
        assert not paths.result.exists()
        times = {path.stat().st_mtime for path in (*files, paths.model, paths.examples, data_point.active)}
        assert times == {0.0}
    assert not data_point.root.exists()


def test_the_copy_is_a_copy(make_round: MakeRound) -> None:
    entry = RoundDirectory.open(make_round([True])).split("test").models()[0]
    with staged(entry.open) as data_point:
        (data_point.paths.model / "config.json").write_text("changed")
    assert (entry.model / "config.json").read_text() == "{}"


def test_a_link_in_a_round_is_refused(make_round: MakeRound) -> None:
    entry = RoundDirectory.open(make_round([True])).split("test").models()[0]
    (entry.model / "truth").symlink_to(entry.sealed / "ground_truth.csv")
    with pytest.raises(InputError, match="truth: is a link"), staged(entry.open):
        pass


def test_a_missing_open_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"), staged(tmp_path / "nowhere"):
        pass


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
