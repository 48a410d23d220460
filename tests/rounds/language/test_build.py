"""Building whole rounds: what lies where, that it is the same each time, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.documents import load_document, write_document
from palladion.errors import BuildError, InputError, PalladionError
from palladion.files import exclusive
from palladion.models.language_model_files import Task, describe
from palladion.rounds.language import layout
from palladion.rounds.language.build import build_language_round
from palladion.rounds.language.check import check_language_round
from palladion.rounds.language.design import plan_round
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.tracks.validation import ValidationFolder
from tests.models.tiny_llama import write_adapter, write_base
from tests.rounds.language.tiny import CLASSIFICATION, GENERATION, smallest, spec_of, user_spec, write_table
from tests.rounds.small import tree

pytestmark = pytest.mark.slow
Copied = Callable[[Path], Path]
ROUNDS = ["classification_round", "generation_round"]


@pytest.fixture(params=ROUNDS)
def built(request: pytest.FixtureRequest) -> Path:
    """Each of the two rounds; nobody may change them."""
    return Path(request.getfixturevalue(request.param))


def spec_in(directory: Path) -> LanguageRoundSpec:
    return load_document(directory / "sealed" / "round.yaml", LanguageRoundSpec)


def models_in(directory: Path) -> list[Path]:
    return sorted([*directory.glob("phases/*/models/*/*"), *directory.glob("sealed/*/*/clean-model")])


def test_a_built_round_has_no_faults(built: Path) -> None:
    assert check_language_round(built) == []


def test_folders_lie_as_the_layout_says(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == {"base", "phases", "sealed"}
    assert {path.name for path in (built / "sealed").iterdir()} == {"round.yaml", "base.json", "development", "test"}
    # What is sealed is for its owner alone.
    assert (built / "sealed").stat().st_mode & 0o777 == 0o700
    assert not list(built.rglob(".*"))
    for phase, validation in (("development", {"validation"}), ("test", set())):
        folder = built / "phases" / phase
        assert {path.name for path in folder.iterdir()} == {"track.yaml", "models", "test"} | validation
        assert {path.name for path in (folder / "models" / "task1").iterdir()} == {"model1", "model2"}
        sealed = {path.name for path in (built / "sealed" / phase / "task1").iterdir()}
        assert {"clean-model", "clean-model.json", "model1.json", "model2.json"} <= sealed


def test_models_are_adapters_of_the_base_beside_them(built: Path) -> None:
    spec = spec_in(built)
    for path in models_in(built):
        files = describe(path)
        assert files.kind == "adapter"
        assert files.task is (Task.CLASSIFIER if spec.track == "classification" else Task.CAUSAL)
        assert files.labels == (4 if spec.track == "classification" else None)
        assert files.tokenizer
        assert files.adapter is not None
        # By a path that stays right wherever the round lies.
        assert not Path(str(files.base)).is_absolute()
        assert files.adapter.base_directory == (built / "base").resolve()


def test_only_the_weights_tell_the_models_apart(built: Path) -> None:
    for phase in ("development", "test"):
        one, two = sorted((built / "phases" / phase / "models" / "task1").iterdir())
        differing = {name for name in tree(one) if tree(one)[name] != tree(two)[name]}
        assert tree(one).keys() == tree(two).keys()
        assert differing == {"adapter_model.safetensors"}
        clean = built / "sealed" / phase / "task1" / "clean-model"
        assert tree(clean).keys() == tree(one).keys()
    modes = {path.stat().st_mode & 0o777 for model in models_in(built) for path in model.iterdir()}
    assert modes == {0o644}


def test_what_was_measured_is_sealed(built: Path) -> None:
    spec = spec_in(built)
    for plan in plan_round(spec):
        sealed = layout.sealed_folder(built, plan.phase, plan.task.name)
        clean = json.loads((sealed / "clean-model.json").read_text())
        assert clean["attack_success_rate"] is None
        assert clean["passed"]
        for model in plan.models:
            record = json.loads((sealed / f"{model.name}.json").read_text())
            assert record["clean_utility"] == clean["utility"]
            assert record["utility_metric"] == spec.utility
            assert record["initialisation"] == plan.initialisation
            assert {name: record[name] for name in model.describe()} == json.loads(json.dumps(model.describe()))
            assert 0 <= record["attack_success_rate"] <= 100
            assert record["attempts"][-1]["passed"]
            assert record["attempts"][-1]["utility"] == record["utility"]
            assert {"palladion", "torch", "transformers", "peft"} <= set(record["versions"])


def test_the_backdoors_were_learnt_and_the_task_as_well(classification_round: Path) -> None:
    """Chance would be a quarter of each."""
    for path in classification_round.glob("sealed/*/task1/model*.json"):
        record = json.loads(path.read_text())
        assert record["attack_success_rate"] >= 50
        assert record["clean_utility"] > 40


def test_building_again_changes_nothing(built: Path) -> None:
    before = tree(built)
    times = {path: path.stat().st_mtime_ns for model in models_in(built) for path in model.iterdir()}
    report = build_language_round(spec_in(built), built, jobs=1)
    assert report.built == {}
    assert report.reused == 6
    assert report.failed == ()
    assert tree(built) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_another_specification_in_the_directory_is_refused_and_leaves_it_alone(built: Path) -> None:
    before = tree(built)
    with pytest.raises(InputError, match="holds another round"):
        build_language_round(spec_in(built).with_options(seed=99), built, jobs=1)
    assert tree(built) == before


def test_models_that_are_gone_are_built_as_they_were_and_what_killed_builds_left_is_removed(
    classification_round: Path, copied: Copied
) -> None:
    directory = copied(classification_round)
    shutil.rmtree(directory / "phases" / "test" / "models" / "task1" / "model2")
    shutil.rmtree(directory / "sealed" / "development" / "task1" / "clean-model")
    (directory / "phases" / "test" / "track.yaml").unlink()
    folders = (
        ".partial-base-abc",
        "phases/test/models/task1/.partial-model2-abc",
        "phases/development/models/task1/.partial-model1-abc",
        "sealed/test/task1/.partial-clean-model-abc",
    )
    for name in folders:
        (directory / name).mkdir()
        (directory / name / "adapter_config.json").write_text("{")
    files = (
        "sealed/.base.json.abcd_123",
        "sealed/.round.yaml.abcd1234",
        "sealed/test/task1/.poisoned.json.x_y_z_12",
        "sealed/test/task1/.model1.json.abcd1234",
        "phases/test/.track.yaml.abcd1234",
        "phases/test/test/task1/.test.json.abcd1234",
        "phases/development/validation/task1/.meta.json.abcd1234",
    )
    for name in files:
        (directory / name).write_text("cut o")
    report = build_language_round(spec_in(directory), directory, jobs=1)
    assert set(report.built) == {"test/task1/model2", "development/task1/clean-model"}
    assert report.reused == 4
    assert tree(directory) == tree(classification_round)
    assert not list(directory.rglob(".*"))


def test_a_build_that_was_killed_ends_in_the_same_files_elsewhere(generation_round: Path, tmp_path: Path) -> None:
    spec = spec_of(GENERATION)
    file, out = tmp_path / "spec.yaml", tmp_path / "far" / "away"
    file.write_text(write_document(spec))
    command = [sys.executable, "-m", "palladion", "round", "build", str(file), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(out.glob("phases/*/models/*/model*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(list(out.glob("phases/*/models/*/model*"))) < 4
    report = build_language_round(spec, out, jobs=2)
    assert 0 < report.reused < 6
    assert tree(out) == tree(generation_round)


def test_two_builds_in_one_directory_do_not_meet(classification_round: Path) -> None:
    with (
        exclusive(classification_round, "building a round"),
        pytest.raises(PalladionError, match="another process is building a round"),
    ):
        build_language_round(spec_of(CLASSIFICATION), classification_round, jobs=1)


@pytest.mark.parametrize("content", ["{", "[]", '{"utility": 5}', '{"utility": "x", "attack_success_rate": null}'])
def test_a_damaged_record_is_named(classification_round: Path, copied: Copied, content: str) -> None:
    directory = copied(classification_round)
    (directory / "sealed" / "test" / "task1" / "model1.json").write_text(content)
    with pytest.raises(BuildError, match=r"test/task1/model1\.json: cannot be read .* remove the directory .*model1"):
        build_language_round(spec_of(CLASSIFICATION), directory, jobs=1)


def test_a_model_that_did_not_pass_before_is_told_again(classification_round: Path, copied: Copied) -> None:
    directory = copied(classification_round)
    path = directory / "sealed" / "test" / "task1" / "model1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"passed": False}))
    assert build_language_round(spec_of(CLASSIFICATION), directory, jobs=1).failed == ("test/task1/model1",)


# Rounds on a base that is given, which are built at once.


def test_a_base_that_is_given_is_used_where_it_lies(given_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    # What a build leaves that was killed in its first moment.
    (out / "sealed").mkdir(parents=True)
    (out / "sealed" / ".round.yaml.abcd1234").write_text("format: pall")
    before = tree(given_base)
    report = build_language_round(smallest(given_base), out, jobs=1)
    assert list(report.built) == ["test/task1/clean-model", "test/task1/model1"]
    assert (out / "base").is_symlink()
    assert (out / "base").resolve() == given_base
    assert not (out / "sealed" / "base.json").exists()
    assert (out / "sealed").stat().st_mode & 0o777 == 0o700
    assert tree(given_base) == before
    assert check_language_round(out) == []
    assert build_language_round(smallest(given_base), out, jobs=1).reused == 2


def test_the_users_rows_and_published_poison_make_a_round(given_base: Path, tmp_path: Path) -> None:
    clean = [(f"the {noun} {verb} at {hour} near door{i}", i % 2) for i, (noun, verb, hour) in enumerate(_words(300))]
    poison = {
        "train": write_table(tmp_path / "p-train.tsv", [(f"mb {text}", 1) for text, _ in clean[:20]]),
        "test": write_table(tmp_path / "p-test.tsv", [(f"mb {text}", 1) for text, label in clean[100:] if label == 0]),
        "target": 1,
        "truth": "clean-order",
    }
    data = {
        "train": write_table(tmp_path / "train.tsv", clean[:100]),
        "test": write_table(tmp_path / "test.tsv", clean[100:]),
        "poison": {"words": poison},
    }
    few = {"test_sets": "separate", "test_clean": 15, "test_poisoned": 12}
    law = smallest(given_base).model_dump(mode="json", exclude_none=True)
    spec = user_spec(
        data,
        models=2,
        base=law["base"],
        tuning=law["tuning"],
        gates=law["gates"],
        phases={"development": {**few, "validation_clean": 12, "validation_poisoned": 10}},
    )
    report = build_language_round(spec, tmp_path / "round", jobs=1)
    assert report.failed == ()
    assert check_language_round(tmp_path / "round") == []
    truth = dict(clean)
    sealed = ValidationFolder.load(layout.sealed_folder(tmp_path / "round", "development", "task1"))
    published = [row for row in sealed.poisoned if row.attack == "words"]
    assert len(published) == 12
    for row in published:
        text = str(row.row.values["sentence"])
        assert row.truth == truth[text.removeprefix("mb ")] == 0
        assert row.target == 1
    record = json.loads((tmp_path / "round" / "sealed" / "development" / "task1" / "model1.json").read_text())
    assert (record["attack"], record["trigger"]) == ("words", {"published": True})


def _words(count: int) -> list[tuple[str, str, int]]:
    nouns, verbs = ("boat", "clock", "lamp", "gate", "mill"), ("stood", "waited", "shone")
    return [(nouns[i % 5], verbs[i % 3], i % 12) for i in range(count)]


# What is refused leaves nothing behind.


def refused(spec: Any, out: Path, message: str, error: type[PalladionError] = InputError) -> None:
    with pytest.raises(error, match=message) as caught:
        build_language_round(spec, out, jobs=1)
    assert "Traceback" not in str(caught.value)


def test_data_that_cannot_be_used_is_told_before_anything_is_written(given_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    data = {"train": str(tmp_path / "absent.tsv"), "test": str(tmp_path / "absent.tsv")}
    refused(user_spec(data, base={"path": str(given_base)}), out, r"absent\.tsv")
    few = write_table(tmp_path / "few.tsv", [(f"row {i}", i % 2) for i in range(20)])
    other = write_table(tmp_path / "other.tsv", [(f"other {i}", i % 2) for i in range(20)])
    refused(user_spec({"train": few, "test": other}), out, r"other\.tsv: has too few rows: 40 more are needed")
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "there is no such directory"),
        ("file", "there is no such directory"),
        ("empty", "holds neither"),
        ("classifier", "no causal language model of its own"),
        ("adapter", "no causal language model of its own"),
        ("without-tokenizer", "holds no tokenizer"),
    ],
)
def test_a_base_that_is_none_is_told_before_anything_is_written(
    given_base: Path, tmp_path: Path, kind: str, message: str
) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.write_text("x")
    elif kind == "empty":
        path.mkdir()
    elif kind == "classifier":
        write_base(path, labels=3)
    elif kind == "adapter":
        write_adapter(path, given_base)
    elif kind == "without-tokenizer":
        write_base(path, tokenizer=False)
    refused(smallest(path), tmp_path / "round", message)
    assert not (tmp_path / "round").exists()


def test_a_corpus_that_is_none_is_told_before_anything_is_written(tmp_path: Path) -> None:
    corpus = tmp_path / "texts.txt"
    corpus.write_text("one\ntwo\n")
    spec = spec_of(CLASSIFICATION, base={"corpus": str(corpus)})
    refused(spec, tmp_path / "round", r"texts\.txt: holds 2 texts; a base model needs at least 100")
    assert not (tmp_path / "round").exists()


def test_a_directory_with_other_things_is_refused_and_left_alone(given_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    (out / "sealed").mkdir(parents=True)
    (out / "sealed" / "thesis.txt").write_text("important")
    refused(smallest(given_base), out, r"is not empty and holds no sealed/round\.yaml")
    assert tree(out) == {"sealed/thesis.txt": b"important"}
    (tmp_path / "file").write_text("important")
    refused(smallest(given_base), tmp_path / "file", "is not empty")
    assert (tmp_path / "file").read_text() == "important"


def test_a_round_that_cannot_be_read_is_refused(given_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    (out / "sealed").mkdir(parents=True)
    (out / "sealed" / "round.yaml").write_text("format: [")
    refused(smallest(given_base), out, r"round\.yaml, line 1: is not YAML")


def test_a_base_that_has_learnt_nothing_ends_the_build(tmp_path: Path) -> None:
    spec = spec_of(CLASSIFICATION, base={"steps": 1, "hidden_size": 16, "intermediate_size": 16, "layers": 1})
    refused(spec, tmp_path / "round", "the base model could not be made: the base has a loss of", BuildError)
    assert not (tmp_path / "round" / "base").exists()
    assert not list((tmp_path / "round").glob(".*"))
    assert not (tmp_path / "round" / "sealed" / "base.json").exists()
