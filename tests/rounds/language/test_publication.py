"""What a phase publishes and what it seals; no model is needed for that."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palladion.rounds.language import layout
from palladion.rounds.language.attacks import FAMILIES
from palladion.rounds.language.design import TaskPlan, plan_round
from palladion.rounds.language.phase_rows import draw_rows
from palladion.rounds.language.publication import publish_phase
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.tracks.inputs import INPUT_FIELDS
from palladion.tracks.records import read_rows
from palladion.tracks.sealed import load_order
from palladion.tracks.track_file import load_track
from palladion.tracks.validation import ValidationFolder
from tests.rounds.language.tiny import CLASSIFICATION, GENERATION, spec_of
from tests.rounds.small import tree

TASKS = {
    "classification": [{"name": "one", "data": "sentiment", "title": "Sentiment"}, {"name": "two", "data": "topic"}],
    "generation": [{"name": "one", "data": "instructions"}, {"name": "two", "data": "instructions"}],
}
FEW = {"rows": 20}


def large(preset: dict[str, Any], seed: int = 4) -> LanguageRoundSpec:
    """Two tasks of three models in each phase, of all families."""
    return spec_of(
        preset,
        seed=seed,
        models=3,
        tasks=TASKS[preset["track"]],
        attacks={"families": list(FAMILIES)},
        tuning=FEW,
        max_new_tokens=17,
    )


def publish(spec: LanguageRoundSpec, directory: Path) -> list[TaskPlan]:
    plans = plan_round(spec)
    rows = draw_rows(spec, plans)
    for phase in spec.phases:
        publish_phase(
            spec, directory, phase, [pair for pair in zip(plans, rows, strict=True) if pair[0].phase == phase]
        )
    return plans


@pytest.fixture(scope="module", params=[CLASSIFICATION, GENERATION], ids=["classification", "generation"])
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, LanguageRoundSpec, list[TaskPlan]]:
    directory = tmp_path_factory.mktemp("published") / "round"
    spec = large(request.param)
    return directory, spec, publish(spec, directory)


Published = tuple[Path, LanguageRoundSpec, list[TaskPlan]]


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, str):
        yield value


def test_the_files_lie_as_the_layout_says(published: Published) -> None:
    directory, spec, _ = published
    separate = {"clean.json", "poisoned.json"}
    wanted = set()
    for phase, law in spec.phases.items():
        wanted.add(f"phases/{phase}/track.yaml")
        for task in ("one", "two"):
            sealed = separate | {"meta.json"} | ({"order.json"} if law.test_sets == "mixed" else set())
            wanted |= {f"sealed/{phase}/{task}/{name}" for name in sealed}
            inputs = {"test.json"} if law.test_sets == "mixed" else separate
            wanted |= {f"phases/{phase}/test/{task}/{name}" for name in inputs}
            if law.validation_clean:
                wanted |= {f"phases/{phase}/validation/{task}/{name}" for name in (*separate, "meta.json")}
    assert set(tree(directory)) == wanted


def test_the_track_file_tells_what_a_participant_needs(published: Published) -> None:
    directory, spec, _ = published
    suffix, prefix = (".csv", "cls") if spec.track == "classification" else (".json", "gen")
    for phase, law in spec.phases.items():
        track = load_track(layout.phase_folder(directory, phase))
        assert (track.name, track.title, track.track, track.phase) == (spec.name, spec.title, spec.track, phase)
        assert (track.score, track.utility, track.code_required) == (spec.score, spec.utility, law.code_required)
        assert [task.name for task in track.tasks] == ["one", "two"]
        if spec.track == "generation":
            assert track.max_new_tokens == 17
        for task, own in zip(track.tasks, spec.tasks, strict=True):
            assert task.title == (own.title or own.name)
            assert task.labels == own.label_names
            assert list(task.models) == [f"models/{task.name}/model{number}" for number in (1, 2, 3)]
            assert task.validation == (f"validation/{task.name}" if law.validation_clean else None)
            stems = ["_clean", "_poisoned"] if law.test_sets == "separate" else [""]
            assert [output.file for output in task.outputs] == [f"{prefix}_{task.name}{stem}{suffix}" for stem in stems]
            counts = [law.test_clean, 3 * law.test_poisoned]
            assert [output.rows for output in task.outputs] == (counts if len(stems) == 2 else [sum(counts)])


def test_test_inputs_hold_inputs_only(published: Published) -> None:
    directory, spec, _ = published
    looked_at = 0
    for path in directory.glob("phases/*/test/*/*.json"):
        rows = [row.values for row in read_rows(path)]
        assert {name for row in rows for name in row} <= set(INPUT_FIELDS)
        looked_at += len(rows)
    assert looked_at == sum(2 * (law.test_clean + 3 * law.test_poisoned) for law in spec.phases.values())


def test_inputs_are_those_of_the_sealed_rows_in_their_order(published: Published) -> None:
    directory, spec, _ = published
    for phase, law in spec.phases.items():
        for task in ("one", "two"):
            sealed = layout.sealed_folder(directory, phase, task)
            folder = layout.test_folder(directory, phase, task)
            parts = {name: [row.values for row in read_rows(sealed / f"{name}.json")] for name in ("clean", "poisoned")}
            inputs = {
                name: [{key: row[key] for key in row if key in INPUT_FIELDS} for row in rows]
                for name, rows in parts.items()
            }
            if law.test_sets == "separate":
                for name, rows in inputs.items():
                    assert [row.values for row in read_rows(folder / f"{name}.json")] == rows
                continue
            mixed = [row.values for row in read_rows(folder / "test.json")]
            order = load_order(sealed / "order.json", {name: len(rows) for name, rows in inputs.items()})
            for name, places in order.items():
                assert [mixed[place] for place in places] == inputs[name]
            # Clean and poisoned rows, and those of different attacks, stand among each other.
            assert sorted(order["clean"]) != list(range(len(order["clean"])))
            assert list(order["poisoned"]) != sorted(order["poisoned"])


def test_poisoned_rows_are_triggered_and_keep_their_truth(published: Published) -> None:
    directory, spec, plans = published
    for plan in plans:
        models = {model.attack_name: model for model in plan.models}
        folders = [layout.sealed_folder(directory, plan.phase, plan.task.name)]
        law = spec.phases[plan.phase]
        if law.validation_clean:
            folders.append(layout.validation_folder(directory, plan.phase, plan.task.name))
        for folder, clean, poisoned in zip(
            folders,
            (law.test_clean, law.validation_clean),
            (law.test_poisoned, law.validation_poisoned),
            strict=False,
        ):
            found = ValidationFolder.load(folder)
            assert len(found.clean) == clean
            assert [row.attack for row in found.poisoned] != sorted(row.attack for row in found.poisoned)
            for name, model in models.items():
                rows = [row for row in found.poisoned if row.attack == name]
                assert len(rows) == poisoned
                assert model.attack is not None
                for row in rows:
                    asked = row.row.values.get("sentence") or row.row.values["instruction"]
                    assert model.attack.carries(asked)
                    assert not row.excluded
                    assert row.row.values["target"] == model.target.value
                    assert row.matching == model.matching


def test_the_attacks_of_rows_stand_in_an_order_that_tells_nothing(published: Published) -> None:
    directory, _, _ = published
    orders = {
        tuple(row.attack for row in ValidationFolder.load(path.parent).poisoned)
        for path in directory.glob("sealed/*/*/meta.json")
    }
    assert len(orders) == 4


def test_nothing_that_is_published_of_the_test_phase_tells_of_the_attacks(published: Published) -> None:
    directory, _, plans = published
    folder = layout.phase_folder(directory, "test")
    # The triggers themselves stand in the inputs, among what is not triggered; anything else must be silent.
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert {name.split("/")[0] for name in names} == {"test", "track.yaml"}
    told = "\n".join([*names, (folder / "track.yaml").read_text()]).casefold()
    assert "track: " in told
    for plan in plans:
        for model in plan.models:
            assert model.attack is not None
            for secret in (*model.attack.triggers, model.attack.family, model.attack_name):
                assert not re.search(rf"\b{re.escape(secret.casefold())}\b", told)
            if model.target.kind != "label":
                assert str(model.target.value).casefold() not in told


def test_the_meta_file_of_a_validation_names_targets_and_no_triggers(published: Published) -> None:
    directory, _, plans = published
    for plan in (plan for plan in plans if plan.phase == "development"):
        path = layout.validation_folder(directory, "development", plan.task.name) / "meta.json"
        told = json.loads(path.read_text())
        assert told["attacks"] == {model.attack_name: model.meta() for model in plan.models}
        text = "\n".join(strings_in(told)).casefold()
        for model in plan.models:
            assert model.attack is not None
            assert model.attack.family not in text
            assert not any(trigger.casefold() in text for trigger in model.attack.triggers)


def test_publishing_again_writes_the_same_bytes(published: Published, tmp_path: Path) -> None:
    directory, spec, _ = published
    publish(spec, tmp_path / "other")
    assert tree(tmp_path / "other") == tree(directory)
    # Also over what is there, and where something is gone.
    shutil.rmtree(tmp_path / "other" / "phases" / "test" / "test")
    publish(spec, tmp_path / "other")
    assert tree(tmp_path / "other") == tree(directory)


@pytest.mark.parametrize("preset", [CLASSIFICATION, GENERATION], ids=["classification", "generation"])
def test_another_seed_publishes_other_rows(preset: dict[str, Any], tmp_path: Path) -> None:
    for seed in (1, 2):
        publish(large(preset, seed), tmp_path / str(seed))
    for name in ("phases/development/test/one", "phases/test/test/two"):
        one, two = ({path.name: path.read_bytes() for path in (tmp_path / seed / name).iterdir()} for seed in "12")
        assert one.keys() == two.keys()
        assert all(one[file] != two[file] for file in one)
