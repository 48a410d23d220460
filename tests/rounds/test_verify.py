"""``palladion round verify`` recomputes, and finds whatever was changed after the build."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palladion.errors import InputError
from palladion.models.safetensors_header import read_header
from palladion.rounds.build import build_round
from palladion.rounds.check import check_round
from palladion.rounds.spec import RoundSpec
from palladion.rounds.verify import verify_round
from tests.rounds.small import small_spec

pytestmark = pytest.mark.slow

ENTRY = "train/models/id-00000000"


def both_types(*, adversarial: bool = False) -> RoundSpec:
    """Polygons and filters on one class or all, so that every way to make a trigger is verified."""
    data = small_spec().model_dump(mode="json", exclude_none=True)
    data["trigger"] |= {"types": ["polygon", "filter"], "sources": [1, "all"], "filter": {"strength": [0.8, 1.0]}}
    data["design"] = {"cells": ["trigger_type", "sources"]}
    if adversarial:
        law = {"methods": ["pgd", "fbf"], "eps": [8], "ratio": [1.0], "iterations": [2]}
        data["training"]["adversarial"] = law
    return RoundSpec.model_validate(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("verify") / "whole"
    build_round(both_types(), directory, jobs=2)
    return directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def test_what_was_built_is_verified_and_comes_out_again_to_the_last_bit(whole: Path) -> None:
    assert check_round(whole) == []
    report = verify_round(whole, jobs=2, retrain=6)
    assert report.faults == ()
    assert report.models == 6
    assert len(report.retrained) == 6
    assert report.notes == ()


def test_adversarial_training_is_reproducible_and_verified(tmp_path: Path) -> None:
    build_round(both_types(adversarial=True), tmp_path / "round", jobs=2)
    assert check_round(tmp_path / "round") == []
    assert verify_round(tmp_path / "round", jobs=2, retrain=2).faults == ()


def _poisoned(directory: Path) -> Path:
    return next(path.parent.parent for path in sorted(directory.glob("train/models/*/sealed/trigger.json")))


def _record(directory: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = directory / "sealed/training.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _pixel(directory: Path) -> str:
    path = directory / ENTRY / "open/clean-example-data/class_1_example_0.png"
    image = np.asarray(Image.open(path)).copy()
    image[3, 3, 0] ^= 1
    Image.fromarray(image).save(path)
    return "1 of 6 images differ"


def _weights(directory: Path) -> str:
    path = directory / ENTRY / "open/model/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return "model.safetensors: differs"


def _accuracy(directory: Path) -> str:
    def better(record: dict[str, object]) -> None:
        attempts = record["attempts"]
        assert isinstance(attempts, list)
        attempts[-1]["clean_accuracy"] += 0.02

    _record(directory / ENTRY, better)
    return "clean_accuracy is"


def _attack(directory: Path) -> str:
    def none(record: dict[str, object]) -> None:
        attempts = record["attempts"]
        assert isinstance(attempts, list)
        attempts[-1]["attack_success_rate"] = None

    _record(_poisoned(directory), none)
    return "attack_success_rate is None"


def _trigger(directory: Path) -> str:
    _record(_poisoned(directory), lambda record: record.update(trigger={"type": "polygon"}))
    return "describes another trigger"


def _specification(directory: Path) -> str:
    path = directory / "round.yaml"
    path.write_text(path.read_text().replace("noise: 5.0", "noise: 4.0"))
    return "spec_sha256 differs"


def _extra(directory: Path) -> str:
    (directory / ENTRY / "open/note.txt").write_text("poisoned")
    return "note.txt: is not in the record"


def _gone(directory: Path) -> str:
    (directory / ENTRY / "sealed/ground_truth.csv").unlink()
    return "ground_truth.csv: is missing"


def _no_record(directory: Path) -> str:
    (directory / ENTRY / "sealed/training.json").write_text("[]")
    return "is not a training record"


@pytest.mark.parametrize(
    "damage", [_pixel, _weights, _accuracy, _attack, _trigger, _specification, _extra, _gone, _no_record]
)
def test_every_change_is_found_and_named(copy: Path, damage: Callable[[Path], str]) -> None:
    expected = damage(copy)
    found = [str(fault) for fault in verify_round(copy, jobs=2).faults]
    assert any(expected in fault for fault in found), found


def test_another_network_with_a_record_to_match_is_found_by_training_again(copy: Path) -> None:
    # Whoever changes the weights and every digest in the record is found by their accuracy, or by training them again.
    import hashlib

    weights = copy / ENTRY / "open/model/model.safetensors"
    read_header(weights)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()

    def forge(record: dict[str, object]) -> None:
        files = record["files"]
        assert isinstance(files, dict)
        files["open/model/model.safetensors"] = record["weights_sha256"] = digest

    _record(copy / ENTRY, forge)
    found = [str(fault) for fault in verify_round(copy, jobs=2, retrain=6).faults]
    assert any("trained again, it comes out otherwise: open/model/model.safetensors" in fault for fault in found)


def test_another_version_is_noted_and_compared_less_strictly(copy: Path) -> None:
    def older(record: dict[str, object]) -> None:
        versions = record["versions"]
        assert isinstance(versions, dict)
        versions["torch"] = "1.0"

    _record(copy / ENTRY, older)
    report = verify_round(copy, jobs=2)
    assert report.faults == ()
    assert any("torch 1.0" in note for note in report.notes)


def test_a_round_that_was_not_built_here_cannot_be_verified(tmp_path: Path) -> None:
    (tmp_path / "round.yaml").write_text(
        "name: other\nsource: nist\nfamily: image-classification\nsplits: {train: 1}\n"
    )
    with pytest.raises(InputError):
        verify_round(tmp_path, jobs=1)
