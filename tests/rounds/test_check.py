"""``palladion round check`` finds every kind of damage and names the file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.rounds.build import build_round
from palladion.rounds.check import check_round
from palladion.rounds.summary import summarise
from tests.rounds.small import small_spec

pytestmark = pytest.mark.slow

ENTRY = "train/models/id-00000000"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("check") / "whole"
    build_round(small_spec(), directory, jobs=2)
    return directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def _poisoned(directory: Path) -> Path:
    return next(path.parent.parent for path in sorted(directory.glob("train/models/*/sealed/trigger.json")))


def _cut_weights(directory: Path) -> Path:
    path = directory / ENTRY / "open/model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    return path


def _other_weights(directory: Path) -> Path:
    path = directory / ENTRY / "open/model/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def _pickle(directory: Path) -> Path:
    path = directory / ENTRY / "open/model/pytorch_model.bin"
    path.write_bytes(b"\x80\x04.")
    return path


def _no_config(directory: Path) -> Path:
    path = directory / ENTRY / "open/model/config.json"
    path.unlink()
    return path


def _other_architecture(directory: Path) -> Path:
    path = directory / ENTRY / "open/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "vit"}))
    return path


def _label_flipped(directory: Path) -> Path:
    path = directory / ENTRY / "sealed/ground_truth.csv"
    path.write_text("1\n" if path.read_text() == "0\n" else "0\n")
    return path


def _metadata_flipped(directory: Path) -> Path:
    path = directory / "train/METADATA.csv"
    text = path.read_text()
    line = text.split("\n")[1]
    flipped = line.replace("True", "False", 1) if line.split(",")[1] == "True" else line.replace("False", "True", 1)
    path.write_text(text.replace(line, flipped))
    return path


def _metadata_edited(directory: Path) -> Path:
    path = directory / "train/METADATA.csv"
    path.write_text(path.read_text().replace(",32,", ",33,", 1))  # the batch
    return path


def _metadata_row_gone(directory: Path) -> Path:
    path = directory / "train/METADATA.csv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], *lines[3:]]))
    return path


def _metadata_gone(directory: Path) -> Path:
    path = directory / "test/METADATA.csv"
    path.unlink()
    return path


def _example_gone(directory: Path) -> Path:
    path = directory / ENTRY / "open/clean-example-data/class_1_example_1.png"
    path.unlink()
    return path


def _example_is_text(directory: Path) -> Path:
    path = directory / ENTRY / "open/clean-example-data/class_1_example_1.png"
    path.write_text("not an image")
    return path


def _sealed_in_open(directory: Path) -> Path:
    model = _poisoned(directory)
    path = model / "open/trigger.json"
    shutil.copy(model / "sealed/trigger.json", path)
    return path


def _other_trigger(directory: Path) -> Path:
    path = _poisoned(directory) / "sealed/trigger.json"
    trigger = json.loads(path.read_text())
    path.write_text(json.dumps(trigger | {"target_class": (trigger["target_class"] + 1) % 3}))
    return path


def _record_of_another(directory: Path) -> Path:
    path = directory / ENTRY / "sealed/training.json"
    shutil.copy(directory / "train/models/id-00000001/sealed/training.json", path)
    return path


def _record_without_attack(directory: Path) -> Path:
    path = _poisoned(directory) / "sealed/training.json"
    record = json.loads(path.read_text())
    record["attempts"][-1]["attack_success_rate"] = None
    path.write_text(json.dumps(record))
    return path


def _record_is_empty(directory: Path) -> Path:
    path = directory / ENTRY / "sealed/training.json"
    path.write_text("{}")
    return path


def _link(directory: Path) -> Path:
    path = directory / ENTRY / "open/clean-example-data/class_1_example_1.png"
    path.unlink()
    path.symlink_to("/etc/passwd")
    return path


def _fifo(directory: Path) -> Path:
    path = directory / ENTRY / "open/clean-example-data/extra"
    os.mkfifo(path)
    return path


def _model_gone(directory: Path) -> Path:
    path = directory / "test/models/id-00000001"
    shutil.rmtree(path)
    return path


def _left_over(directory: Path) -> Path:
    path = directory / "test/models/.partial-id-00000001-x"
    path.mkdir()
    return path


def _stranger(directory: Path) -> Path:
    path = directory / "train/models/id-00000099"
    path.mkdir()
    return path


DAMAGE: list[tuple[Callable[[Path], Path], str]] = [
    (_cut_weights, "cut off"),
    (_other_weights, "is not the file that was trained"),
    (_pickle, "does not belong here"),
    (_no_config, "is missing"),
    (_other_architecture, "names the network 'vit'"),
    (_label_flipped, "as the design says"),
    (_metadata_flipped, "poisoned must be"),
    (_metadata_edited, "differs from what the models' training records say"),
    (_metadata_row_gone, "has no row for id-00000001"),
    (_metadata_gone, "is missing"),
    (_example_gone, "is missing"),
    (_sealed_in_open, "does not belong here"),
    (_other_trigger, "another trigger than the design's"),
    (_record_of_another, "model_name is 'id-00000001' where the design says 'id-00000000'"),
    (_record_without_attack, "says nothing of a poisoned model's trigger, or of its attack success"),
    (_record_is_empty, "is not a training record (round: Field required)"),
    (_link, "is a link"),
    (_fifo, "neither a file nor a directory"),
    (_model_gone, "is missing"),
    (_left_over, "left over from a build that was stopped"),
    (_stranger, "is not a model of this round"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", None))
def test_damage_is_found_in_its_file(copy: Path, damage: Callable[[Path], Path], message: str) -> None:
    path = damage(copy)
    assert any(fault.path == path and message in fault.message for fault in check_round(copy))


def test_an_image_that_is_none_is_named(copy: Path) -> None:
    path = _example_is_text(copy)
    assert any(path.name in str(fault) and "is not a PNG image" in str(fault) for fault in check_round(copy))


def test_faults_come_all_at_once(copy: Path) -> None:
    damaged = {_cut_weights(copy), _metadata_gone(copy), _left_over(copy)}
    assert damaged <= {fault.path for fault in check_round(copy)}


def test_what_is_no_round_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no round\.yaml"):
        check_round(tmp_path)
    (tmp_path / "round.yaml").write_text("[]")
    with pytest.raises(InputError, match="has no splits"):
        check_round(tmp_path)


def test_the_summary_counts_what_is_there(whole: Path, copy: Path) -> None:
    train = summarise(whole).splits[0]
    assert (train.models, train.present, train.poisoned, train.unconverged) == (4, 4, 2, 0)
    assert train.factors is not None
    assert sum(clean + poisoned for clean, poisoned in train.factors["model_architecture"].values()) == 4
    _metadata_gone(copy)
    _model_gone(copy)
    test = summarise(copy).splits[1]
    assert (test.models, test.present, test.poisoned) == (2, 1, None)
