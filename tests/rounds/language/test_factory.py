"""Models that miss their gates, and what is kept of models."""

import json
from pathlib import Path

import pytest

from palladion.models.language_model_files import describe
from palladion.rounds.language.build import LanguageBuildReport, build_language_round
from palladion.rounds.language.check import check_language_round
from palladion.rounds.language.design import plan_round
from palladion.rounds.language.factory import ModelRecord
from palladion.rounds.language.summary import summarise_language
from tests.rounds.language.tiny import smallest


@pytest.fixture(scope="module")
def failed(given_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LanguageBuildReport]:
    """A round of whole models with gates that nothing passes."""
    spec = smallest(
        given_base,
        tuning={"method": "full", "initialisation": ["independent"], "learning_rate": 1e-4},
        gates={"attempts": 2, "attack_success_rate": 100, "utility_loss": 0},
    )
    directory = tmp_path_factory.mktemp("failed") / "round"
    return directory, build_language_round(spec, directory, jobs=1)


Failed = tuple[Path, LanguageBuildReport]


@pytest.mark.slow
def test_a_model_that_misses_its_gates_is_tried_again_then_kept_marked_and_named(failed: Failed) -> None:
    directory, report = failed
    assert report.failed == ("test/task1/model1",)
    record = json.loads((directory / "sealed" / "test" / "task1" / "model1.json").read_text())
    assert not record["passed"]
    assert [attempt["passed"] for attempt in record["attempts"]] == [False, False]
    # Each time with other numbers and another order.
    assert record["attempts"][0]["loss"] != record["attempts"][1]["loss"]
    assert report.built["test/task1/model1"].attempts == tuple(record["attempts"])
    model = directory / "phases" / "test" / "models" / "task1" / "model1"
    assert describe(model).kind == "full"
    assert not list(model.parent.glob(".*"))


@pytest.mark.slow
def test_the_clean_model_has_no_gates(failed: Failed) -> None:
    directory, report = failed
    assert report.built["test/task1/clean-model"].passed
    record = json.loads((directory / "sealed" / "test" / "task1" / "clean-model.json").read_text())
    assert len(record["attempts"]) == 1
    assert record["clean_utility"] is None
    assert "trigger" not in record


@pytest.mark.slow
def test_check_and_summary_tell_of_it(failed: Failed) -> None:
    directory, _ = failed
    (fault,) = check_language_round(directory)
    assert fault.path == directory / "sealed" / "test" / "task1" / "model1.json"
    assert "did not pass its gates in 2 attempts: utility " in fault.message
    (model,) = summarise_language(directory)["phases"]["test"][0]["models"]
    assert (model["passed"], model["attempts"]) == (False, 2)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["independent", "shared"])
def test_another_attempt_keeps_the_first_numbers_where_they_are_shared(
    given_base: Path, tmp_path: Path, level: str
) -> None:
    """A task whose adapters share their first numbers shares them whatever happened on the way.

    Steps so small that an adapter's first numbers can still be told: B begins at 0, so that A hardly moves.
    """
    from safetensors.numpy import load_file

    spec = smallest(
        given_base,
        tuning={"initialisation": [level], "learning_rate": 1e-9, "rows": 16},
        gates={"attempts": 2, "attack_success_rate": 100, "utility_loss": 0},
        seed=8,
    )
    report = build_language_round(spec, tmp_path / "round", jobs=1)
    assert report.failed == ("test/task1/model1",)
    first = []
    for folder in ("sealed/test/task1/clean-model", "phases/test/models/task1/model1"):
        tensors = load_file(tmp_path / "round" / folder / "adapter_model.safetensors")
        first.append({name: tensor.round(5).tobytes() for name, tensor in tensors.items() if "lora_A" in name})
    assert plan_round(spec)[0].initialisation == level
    assert (first[0] == first[1]) is (level == "shared")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model1.json"
    path.write_text('{"utility": 5, "attack_success_rate": 6, "passed": true, "attempts": [{"loss": 1}], "more": 1}')
    assert ModelRecord.read(path) == ModelRecord(5.0, 6.0, True, ({"loss": 1},))
    path.write_text('{"utility": 5, "attack_success_rate": null, "passed": false, "attempts": []}')
    assert ModelRecord.read(path) == ModelRecord(5.0, None, False, ())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "{}",
        '{"utility": null, "attack_success_rate": 1, "passed": true, "attempts": []}',
        '{"utility": 1, "attack_success_rate": "much", "passed": true, "attempts": []}',
        '{"utility": 1, "attack_success_rate": [], "passed": true, "attempts": []}',
        '{"utility": 1, "attack_success_rate": 1, "passed": true, "attempts": 3}',
        '{"utility": 1, "attack_success_rate": 1, "attempts": []}',
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model1.json"
    path.write_text(content)
    with pytest.raises((ValueError, KeyError, TypeError)):
        ModelRecord.read(path)
    with pytest.raises(OSError, match="absent"):
        ModelRecord.read(tmp_path / "absent.json")
