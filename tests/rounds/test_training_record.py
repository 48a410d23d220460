"""A model's record: read as it was written, and nothing else is taken for one."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.rounds.training_record import TrainingRecord, read_record, write_record

ATTEMPT = {
    "attempt": 0,
    "seed": 5,
    "clean_accuracy": 0.5,
    "attack_success_rate": None,
    "train_loss": 1.25,
    "passed": False,
}
RECORD: dict[str, Any] = {
    "round": "round-1",
    "spec_sha256": "0" * 64,
    "round_seed": 3,
    "split": "train",
    "model_name": "id-00000000",
    "poisoned": False,
    "architecture": "resnet",
    "backgrounds": "rural",
    "adversarial": None,
    "signs": ["one", "two"],
    "attempts": [ATTEMPT, ATTEMPT | {"attempt": 1, "seed": 6, "clean_accuracy": 1, "passed": True}],
    "gates": {"clean_accuracy": 0.97, "attack_success_rate": 0.95},
    "passed": True,
    "clean_example_accuracy": 1.0,
    "device": "cpu",
    "pictures_sha256": None,
    "versions": {"torch": "2"},
    "weights_sha256": "1" * 64,
    "files": {"open/model/config.json": "2" * 64},
}


def model_with(folder: Path, text: str) -> Path:
    (folder / "sealed").mkdir()
    (folder / "sealed" / "training.json").write_text(text)
    return folder


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = TrainingRecord.model_validate_json(json.dumps(RECORD))
    model = model_with(tmp_path, "")
    write_record(record, model / "sealed" / "training.json")
    assert read_record(model) == record
    assert (record.last.attempt, record.last.clean_accuracy) == (1, 1.0)


def test_what_another_version_says_besides_is_passed_over(tmp_path: Path) -> None:
    gates = RECORD["gates"] | {"attempts": 8}
    assert read_record(model_with(tmp_path, json.dumps(RECORD | {"gates": gates, "mood": "good"}))).passed


def test_a_training_that_diverged_has_a_record_too(tmp_path: Path) -> None:
    attempts = [ATTEMPT | {"train_loss": math.nan}]
    record = read_record(model_with(tmp_path, json.dumps(RECORD | {"attempts": attempts, "passed": False})))
    assert math.isnan(record.last.train_loss)
    write_record(record, tmp_path / "sealed" / "training.json")
    assert math.isnan(read_record(tmp_path).last.train_loss)


def without(key: str) -> str:
    return json.dumps({name: value for name, value in RECORD.items() if name != key})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "", "JSON"),
        (lambda: "{", "JSON"),
        (lambda: "[]", "all of it"),
        (lambda: '{"a": ' * 100_000, "JSON"),
        (lambda: "[" * (16 << 20) + "[", "larger than 16 MiB"),
        (lambda: without("poisoned"), "poisoned"),
        (lambda: without("files"), "files"),
        (lambda: json.dumps(RECORD | {"passed": 1}), "passed"),
        (lambda: json.dumps(RECORD | {"poisoned": "False"}), "poisoned"),
        (lambda: json.dumps(RECORD | {"attempts": []}), "attempts"),
        (lambda: json.dumps(RECORD | {"attempts": [ATTEMPT, ATTEMPT]}), "not numbered from 0"),
        (lambda: json.dumps(RECORD | {"attempts": [ATTEMPT | {"clean_accuracy": "1"}]}), "attempts.0.clean_accuracy"),
        (lambda: json.dumps(RECORD | {"files": {"config.json": 3}}), "files.config.json"),
    ],
)
def test_nothing_else_is_taken_for_one(tmp_path: Path, make: Callable[[], str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_record(model_with(tmp_path, make()))
    assert str(caught.value).startswith(f"{tmp_path / 'sealed' / 'training.json'}: is not a training record (")
    assert said in caught.value.problem
    assert caught.value.problem.endswith(f"remove {tmp_path} and build again")
    assert len(caught.value.problem) < 500


def test_that_there_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_record(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "sealed").mkdir()
    os.mkfifo(tmp_path / "sealed" / "training.json")
    with pytest.raises(InputError, match="there is no such file"):
        read_record(tmp_path)
