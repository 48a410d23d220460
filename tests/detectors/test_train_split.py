import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.detectors import TrainSplit
from palladion.errors import InputError, PalladionError

MakeRound = Callable[..., Path]

MODULE = """
import os
from pathlib import Path

def name_of(model_dir, examples_dir):
    with open({counter!r}, "a") as file:
        file.write(f"{{model_dir.parent.parent.name}}\\n")
    if Path({fault!r}).exists() and model_dir.parent.parent.name == "id-00000002":
        raise ValueError("no such layer")
    return (model_dir.parent.parent.name, os.getpid())

def unfit(model_dir, examples_dir):
    return {{1, 2}}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Functions of a module that worker processes can import: give a name, get the function."""
    name = f"features_{abs(hash(tmp_path))}"
    text = MODULE.format(counter=str(tmp_path / "runs"), fault=str(tmp_path / "fault"))
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    imported = __import__(name)
    return lambda function: getattr(imported, function)


def test_models_stand_in_the_order_of_their_names_with_labels(make_round: MakeRound) -> None:
    root = make_round([True, False, True])
    split = TrainSplit(root / "train")
    assert [model.name for model in split] == ["id-00000000", "id-00000001", "id-00000002"]
    assert split.poisoned == [True, False, True]
    assert (split[0].model_dir / "config.json").is_file()
    assert split[0].examples_dir.is_dir()
    assert len(split) == 3
    assert TrainSplit(root / "train" / "models").poisoned == split.poisoned


def test_a_folder_that_is_no_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        TrainSplit(tmp_path)


def test_map_gives_results_in_order_from_processes_of_their_own(
    make_round: MakeRound, module: Callable[..., Callable[[Path, Path], object]]
) -> None:
    split = TrainSplit(make_round([True, False, True]) / "train", jobs=2)
    results = split.map(module("name_of"), "names")
    assert [name for name, _ in results] == ["id-00000000", "id-00000001", "id-00000002"]
    assert len({pid for _, pid in results}) == 3
    assert isinstance(results[0], list)  # as JSON gives it, whether it was kept in between or not


def test_map_goes_on_where_it_was(
    make_round: MakeRound, module: Callable[..., Callable[[Path, Path], object]], tmp_path: Path
) -> None:
    split = TrainSplit(make_round([True, False, True]) / "train", tmp_path / "scratch")
    (tmp_path / "fault").touch()
    with pytest.raises(PalladionError, match=r"id-00000002: names: (?s:.*)no such layer"):
        split.map(module("name_of"), "names")
    (tmp_path / "fault").unlink()
    journal = tmp_path / "scratch" / "names.jsonl"
    with journal.open("a") as file:
        file.write('["id-00000002", ["half a li')
    results = split.map(module("name_of"), "names")
    assert [name for name, _ in results] == ["id-00000000", "id-00000001", "id-00000002"]
    assert (tmp_path / "runs").read_text().split() == [*(f"id-0000000{i}" for i in range(3)), "id-00000002"]
    assert split.map(module("name_of"), "names") == results
    assert len((tmp_path / "runs").read_text().split()) == 4


def test_map_starts_over_where_a_model_changed(
    make_round: MakeRound, module: Callable[..., Callable[[Path, Path], object]], tmp_path: Path
) -> None:
    split = TrainSplit(make_round([True, False]) / "train", tmp_path / "scratch")
    split.map(module("name_of"), "names")
    (split[1].model_dir / "config.json").write_text('{"changed": true}')
    split.map(module("name_of"), "names")
    assert len((tmp_path / "runs").read_text().split()) == 4


def test_a_result_that_cannot_be_kept_is_named(
    make_round: MakeRound, module: Callable[..., Callable[[Path, Path], object]]
) -> None:
    with pytest.raises(PalladionError, match=r"id-00000000: features: the result cannot be kept .*tolist"):
        TrainSplit(make_round([True]) / "train").map(module("unfit"), "features")


def test_workers_find_modules_by_the_same_search_path(
    make_round: MakeRound, module: Callable[..., Callable[[Path, Path], object]]
) -> None:
    function = module("name_of")
    assert function.__module__ in sys.modules
    assert TrainSplit(make_round([True]) / "train").map(function)[0][0] == "id-00000000"
