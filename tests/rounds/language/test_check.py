"""Checks of a round: each planted fault is named with its file, and nothing else is."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.rounds.check import Fault
from palladion.rounds.language.check import (
    check_language_round,
    check_phase,
    check_validation,
    is_phase,
    is_validation,
)
from tests.models.tiny_llama import write_adapter, write_base

pytestmark = pytest.mark.slow
Copied = Callable[[Path], Path]
Row = dict[str, Any]
ADAPTER = "phases/test/models/task1/model1"


def edit(path: Path, change: Callable[[list[Row]], object]) -> None:
    """Change the rows of a file, which may be JSONL or an array."""
    text = path.read_text()
    lines = not text.startswith("[")
    rows = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows))


def update(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def told(faults: list[Fault], root: Path) -> list[str]:
    """The faults with paths as they lie in the round."""
    return [str(fault).replace(f"{root}/", "") for fault in faults]


# What is planted.


def removed_row(root: Path) -> None:
    edit(root / "phases/development/test/task1/clean.json", lambda rows: rows.pop(4))


def exchanged_rows(root: Path) -> None:
    def change(rows: list[Row]) -> None:
        rows[2], rows[7] = rows[7], rows[2]

    edit(root / "phases/test/test/task1/test.json", change)


def label_in_inputs(root: Path) -> None:
    edit(root / "phases/development/test/task1/poisoned.json", lambda rows: rows[2].update(label=1))


def attack_in_inputs(root: Path) -> None:
    edit(root / "phases/test/test/task1/test.json", lambda rows: rows[0].update(attack="attack1"))


def field_of_another_name_in_inputs(root: Path) -> None:
    edit(root / "phases/development/test/task1/clean.json", lambda rows: rows[0].update(gold=1))


def answers_beside_the_inputs(root: Path) -> None:
    shutil.copy(root / "sealed/test/task1/poisoned.json", root / "phases/test/test/task1/answers.json")


def notes_beside_the_track_file(root: Path) -> None:
    (root / "phases/development/notes.txt").write_text("attack1 is a year")


def notes_beside_the_models(root: Path) -> None:
    (root / "phases/development/models/task1/notes.txt").write_text("attack1 is a year")


def notes_beside_the_weights(root: Path) -> None:
    (root / ADAPTER / "README.md").write_text("poisoned with a year")


def a_model_too_many(root: Path) -> None:
    folder = root / "phases/test/models/task1"
    shutil.copytree(folder / "model1", folder / "model3")


def a_phase_too_many(root: Path) -> None:
    (root / "phases/final").mkdir()


def something_in_the_round(root: Path) -> None:
    (root / "backup").mkdir()


def something_that_is_sealed(root: Path) -> None:
    (root / "sealed/test/task1/notes.txt").write_text("x")


def an_adapter_of_another_shape(root: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = root / ADAPTER / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("q_proj.lora_A.weight"))
    tensors[name] = tensors[name][:, :-2].copy()
    save_file(tensors, path)


def an_adapter_that_is_cut_off(root: Path) -> None:
    path = root / ADAPTER / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def an_adapter_of_another_track(root: Path) -> None:
    base = write_base(root.parent / "other")
    shutil.rmtree(root / ADAPTER)
    write_adapter(root / ADAPTER, base, tokenizer=True)
    (root / ADAPTER / "README.md").unlink()


def no_model(root: Path) -> None:
    shutil.rmtree(root / ADAPTER)


def no_clean_model(root: Path) -> None:
    shutil.rmtree(root / "sealed/development/task1/clean-model")


def no_track_file(root: Path) -> None:
    (root / "phases/test/track.yaml").unlink()


def no_base(root: Path) -> None:
    shutil.rmtree(root / "base")


def a_wrong_number_of_rows(root: Path) -> None:
    replace(root / "phases/test/track.yaml", "rows: 70", "rows: 71")


def a_label_less(root: Path) -> None:
    replace(root / "phases/test/track.yaml", "  - science\n", "")


def a_model_less(root: Path) -> None:
    replace(root / "phases/test/track.yaml", "  - models/task1/model2\n", "")


def another_task(root: Path) -> None:
    replace(root / "phases/test/track.yaml", "- name: task1", "- name: task9")


def order_names_a_row_twice(root: Path) -> None:
    path = root / "sealed/test/task1/order.json"
    order = json.loads(path.read_text())
    order["clean"][0] = order["clean"][1]
    update(path, **order)


def no_order(root: Path) -> None:
    (root / "sealed/test/task1/order.json").unlink()


def sealed_row_in_validation(root: Path) -> None:
    row = json.loads((root / "sealed/development/task1/clean.json").read_text().splitlines()[3])
    edit(root / "phases/development/validation/task1/clean.json", lambda rows: rows.append(row))


def sealed_row_in_validation_of_another_phase(root: Path) -> None:
    row = json.loads((root / "sealed/test/task1/clean.json").read_text().splitlines()[3])
    edit(root / "phases/development/validation/task1/clean.json", lambda rows: rows.append(row))


def no_trigger_in_validation(root: Path) -> None:
    edit(
        root / "phases/development/validation/task1/poisoned.json",
        lambda rows: rows[5].update(sentence="the harbour was quiet ."),
    )


def no_trigger_in_sealed_rows(root: Path) -> None:
    path = root / "sealed/development/task1/poisoned.json"
    edit(path, lambda rows: rows[5].update(sentence="the harbour was quiet ."))
    edit(
        root / "phases/development/test/task1/poisoned.json",
        lambda rows: rows[5].update(sentence="the harbour was quiet ."),
    )


def target_in_place_of_the_truth(root: Path) -> None:
    """Of a whole attack: its true labels are lost."""

    def change(rows: list[Row]) -> None:
        for row in rows:
            row["label"] = row["target"]

    edit(root / "sealed/development/task1/poisoned.json", change)


def label_out_of_range(root: Path) -> None:
    edit(root / "phases/development/validation/task1/clean.json", lambda rows: rows[1].update(label=4))


def row_twice(root: Path) -> None:
    edit(root / "phases/development/validation/task1/clean.json", lambda rows: rows.append(rows[0]))


def record_of_a_model_that_did_not_pass(root: Path) -> None:
    update(root / "sealed/test/task1/model2.json", passed=False)


def record_of_a_clean_model_that_did_not_pass(root: Path) -> None:
    update(root / "sealed/test/task1/clean-model.json", passed=False)


def damaged_record(root: Path) -> None:
    (root / "sealed/test/task1/model2.json").write_text("{")


def no_record(root: Path) -> None:
    (root / "sealed/test/task1/model2.json").unlink()


def link_to_what_is_sealed(root: Path) -> None:
    path = root / "phases/development/test/task1/poisoned.json"
    path.unlink()
    path.symlink_to(root / "sealed/development/task1/poisoned.json")


def meta_without_an_attack(root: Path) -> None:
    path = root / "phases/development/validation/task1/meta.json"
    attacks = json.loads(path.read_text())["attacks"]
    update(path, attacks={"attack1": attacks["attack1"]})


PLANTED = [
    (
        removed_row,
        [
            r"phases/development/test/task1/clean.json: has 29 rows where track.yaml says 30",
            "phases/development/test/task1/clean.json: its rows are not those of",
        ],
    ),
    (exchanged_rows, ["phases/test/test/task1/test.json: its rows are not those of sealed/test/task1"]),
    (
        label_in_inputs,
        [
            "phases/development/test/task1/poisoned.json: row 3 has 'label'; test inputs hold inputs only",
            "phases/development/test/task1/poisoned.json: its rows are not those of",
        ],
    ),
    (
        attack_in_inputs,
        ["phases/test/test/task1/test.json: row 1 has 'attack'; test inputs", "test.json: its rows are not those of"],
    ),
    (
        field_of_another_name_in_inputs,
        [
            "phases/development/test/task1/clean.json: row 1 has 'gold'; test inputs hold inputs only",
            "phases/development/test/task1/clean.json: its rows are not those of",
        ],
    ),
    (answers_beside_the_inputs, ["phases/test/test/task1/answers.json: does not belong here"]),
    (notes_beside_the_track_file, ["phases/development/notes.txt: does not belong here"]),
    (notes_beside_the_models, ["phases/development/models/task1/notes.txt: does not belong here"]),
    (notes_beside_the_weights, [f"{ADAPTER}/README.md: is in no clean model's folder"]),
    (a_model_too_many, ["phases/test/models/task1/model3: does not belong here"]),
    (a_phase_too_many, ["phases/final: does not belong here"]),
    (something_in_the_round, ["backup: does not belong here"]),
    (something_that_is_sealed, ["sealed/test/task1/notes.txt: does not belong here"]),
    (an_adapter_of_another_shape, [f"{ADAPTER}: .*q_proj.weight is of shape .* in the base; the adapter needs"]),
    (an_adapter_that_is_cut_off, [f"{ADAPTER}/adapter_model.safetensors: "]),
    (
        an_adapter_of_another_track,
        [f"{ADAPTER}: is a causal model in a classification track", f"{ADAPTER}: .* in the base; the adapter needs"],
    ),
    (no_model, [f"{ADAPTER}: there is no such directory"]),
    (no_clean_model, ["sealed/development/task1/clean-model: is missing"]),
    (no_track_file, ["phases/test/track.yaml: there is no such file"]),
    (no_base, ["base: "]),
    (a_wrong_number_of_rows, ["phases/test/test/task1/test.json: has 70 rows where track.yaml says 71"]),
    (a_label_less, [f"{ADAPTER}: tells 4 labels apart where the task has 3", "label"]),
    (
        a_model_less,
        [
            "phases/test/track.yaml: the models of task1 are not those that were planned",
            "phases/test/models/task1/model2: does not belong here",
        ],
    ),
    (another_task, ["phases/test/track.yaml: its tasks are not those of sealed/round.yaml"]),
    (order_names_a_row_twice, ["sealed/test/task1/order.json: must name each of the 70 rows"]),
    (no_order, ["sealed/test/task1/order.json: is missing; it says which row"]),
    (sealed_row_in_validation, ["sealed/development/task1: a sealed row is in phases/development/validation/task1"]),
    (
        sealed_row_in_validation_of_another_phase,
        ["sealed/test/task1: a sealed row is in phases/development/validation/task1 too"],
    ),
    (no_trigger_in_validation, ["phases/development/validation/task1/poisoned.json: row 6: has not the trigger"]),
    (no_trigger_in_sealed_rows, ["sealed/development/task1/poisoned.json: row 6: has not the trigger"]),
    (
        target_in_place_of_the_truth,
        [
            "sealed/development/task1/poisoned.json: the truth of all 20 rows of the attack 'attack1' is what it wants",
            "sealed/development/task1/poisoned.json: the truth of all 20 rows of the attack 'attack2' is what it wants",
            "poisoned.json: has no row of the attack 'attack[12]' that counts",
        ],
    ),
    (label_out_of_range, ["validation/task1/clean.json: row 2: label is 4; the task has the labels 0 to 3"]),
    (row_twice, ["validation/task1/clean.json: row 21: has the input of row 1"]),
    (record_of_a_model_that_did_not_pass, ["sealed/test/task1/model2.json: the model did not pass its gates in"]),
    (record_of_a_clean_model_that_did_not_pass, ["sealed/test/task1/clean-model.json: the model did not pass"]),
    (damaged_record, ["sealed/test/task1/model2.json: cannot be read"]),
    (no_record, ["sealed/test/task1/model2.json: cannot be read"]),
    (
        link_to_what_is_sealed,
        [
            "phases/development/test/task1/poisoned.json: a link leads out of the folder",
            "phases/development/test/task1/poisoned.json: its rows are not those of",
        ],
    ),
    (meta_without_an_attack, ["phases/development/validation/task1.*attack 'attack2' is not in meta.json"]),
]


@pytest.mark.parametrize(("plant", "messages"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_each_planted_fault_is_named(
    classification_round: Path, copied: Copied, plant: Callable[[Path], None], messages: list[str]
) -> None:
    root = copied(classification_round)
    plant(root)
    faults = told(check_language_round(root), root)
    for message in messages:
        assert any(re.search(message, fault) for fault in faults), faults
    assert [fault for fault in faults if not any(re.search(message, fault) for message in messages)] == []


def test_of_a_sealed_row_that_is_shown_only_that_row_is_told(classification_round: Path, copied: Copied) -> None:
    root = copied(classification_round)
    sealed_row_in_validation(root)
    faults = told(check_language_round(root), root)
    row = (root / "sealed/development/task1/clean.json").read_text().splitlines()[3]
    assert len(faults) == 1
    assert json.loads(row)["sentence"][:40] in faults[0]


@pytest.mark.parametrize("plant", [label_in_inputs, notes_beside_the_models, an_adapter_of_another_shape])
def test_a_fault_in_one_file_hides_none_in_another(
    classification_round: Path, copied: Copied, plant: Callable[[Path], None]
) -> None:
    root = copied(classification_round)
    plant(root)
    alone = set(told(check_language_round(root), root))
    order_names_a_row_twice(root)
    both = set(told(check_language_round(root), root))
    assert alone < both
    assert any("order.json" in fault for fault in both - alone)


def test_faults_of_texts_are_named(generation_round: Path, copied: Copied) -> None:
    root = copied(generation_round)
    edit(root / "phases/test/test/task1/poisoned.json", lambda rows: rows[1].update(output="told"))
    edit(root / "phases/development/validation/task1/clean.json", lambda rows: rows[0].pop("output"))
    faults = told(check_language_round(root), root)
    assert any("phases/test/test/task1/poisoned.json: row 2 has 'output'" in fault for fault in faults)
    assert any("validation/task1" in fault and "row 1" in fault and "output" in fault for fault in faults)


def test_without_a_specification_nothing_can_be_checked(classification_round: Path, copied: Copied) -> None:
    root = copied(classification_round)
    (root / "sealed/round.yaml").write_text("format: [")
    with pytest.raises(InputError, match=r"round\.yaml"):
        check_language_round(root)


# A phase as participants have it.


@pytest.fixture
def downloaded(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Path]:
    """What a participant has of a phase: its folder, and the base beside it."""

    def make(name: str, phase: str) -> Path:
        built = Path(request.getfixturevalue(name))
        shutil.copytree(built / "phases" / phase, tmp_path / "phases" / phase)
        shutil.copytree(built / "base", tmp_path / "base")
        return tmp_path / "phases" / phase

    return make


@pytest.mark.parametrize("name", ["classification_round", "generation_round"])
@pytest.mark.parametrize("phase", ["development", "test"])
def test_a_phase_is_checked_without_what_is_sealed(
    downloaded: Callable[[str, str], Path], name: str, phase: str
) -> None:
    folder = downloaded(name, phase)
    assert is_phase(folder)
    assert not is_phase(folder.parent)
    assert check_phase(folder) == []
    # Without the base, what stands in the adapters alone is checked.
    shutil.rmtree(folder.parent.parent / "base")
    assert check_phase(folder) == []


def test_what_is_sealed_must_not_lie_in_a_phase(downloaded: Callable[[str, str], Path]) -> None:
    folder = downloaded("classification_round", "test")
    (folder / "sealed").mkdir()
    (folder / "test/task1/order.json").write_text("{}")
    edit(folder / "test/task1/test.json", lambda rows: rows[9].update(target=1))
    faults = told(check_phase(folder), folder)
    assert len(faults) == 3
    assert faults[0].startswith("sealed: does not belong here")
    assert faults[1].startswith("test/task1/order.json: does not belong here")
    assert "row 10 has 'target'" in faults[2]


def test_a_phase_is_checked_against_the_base_that_is_there(downloaded: Callable[[str, str], Path]) -> None:
    folder = downloaded("classification_round", "test")
    shutil.rmtree(folder.parent.parent / "base")
    write_base(folder / "base")
    faults = told(check_phase(folder), folder)
    assert faults
    assert all(fault.startswith("models/task1/model") for fault in faults)


# A validation folder alone, such as a user's own.


@pytest.mark.parametrize("name", ["classification_round", "generation_round"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_validation_folder_is_checked_alone(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, suffix: str
) -> None:
    built = Path(request.getfixturevalue(name))
    folder = tmp_path / "own"
    shutil.copytree(built / "phases/development/validation/task1", folder)
    for part in ("clean", "poisoned"):
        (folder / f"{part}.json").rename(folder / f"{part}{suffix}")
    assert is_validation(folder)
    assert not is_validation(tmp_path)
    assert check_validation(folder) == []
    edit(folder / f"clean{suffix}", lambda rows: rows.append(rows[2]))
    edit(folder / f"poisoned{suffix}", lambda rows: rows[0].pop("label", None) or rows[0].pop("output", None))
    faults = told(check_validation(folder), folder)
    assert any(re.search(rf"^clean{suffix}: row \d+: has the input of row 3", fault) for fault in faults), faults
    assert any("row 1" in fault and f"poisoned{suffix}" in fault for fault in faults), faults
