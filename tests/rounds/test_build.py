import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palladion.errors import InputError, PalladionError
from palladion.files import exclusive
from palladion.models import RoundDirectory
from palladion.models.image_classifier import load_classifier, load_examples
from palladion.rounds.build import build_round
from palladion.rounds.check import check_round
from palladion.rounds.spec import RoundSpec, load_preset
from palladion.rounds.verify import verify_round
from tests.rounds.small import small_spec, tree, write_spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rounds") / "tiny"
    report = build_round(small_spec(), directory, jobs=2)
    assert len(report.built) == 6
    assert report.failed == ()
    return directory


def test_a_built_round_has_no_faults(built: Path) -> None:
    assert check_round(built) == []


def test_every_model_lies_as_the_layout_says(built: Path) -> None:
    split = RoundDirectory.open(built).split("train")
    labels = split.labels()
    assert sorted(labels.values()) == [False, False, True, True]
    for entry in split.models():
        assert {path.name for path in entry.directory.iterdir()} == {"open", "sealed"}
        assert {path.name for path in entry.open.iterdir()} == {"model", "clean-example-data"}
        assert {path.name for path in entry.examples.iterdir()} == {
            f"class_{label}_example_{number}.png" for label in range(3) for number in range(2)
        }
        sealed = {path.name for path in entry.sealed.iterdir()}
        extra = {"trigger.json", "trigger.png", "poisoned-example-data"} if labels[entry.name] else set()
        assert sealed == {"ground_truth.csv", "training.json"} | extra
        assert (entry.sealed / "ground_truth.csv").read_text() == f"{int(labels[entry.name])}\n"


def test_nothing_open_tells_poisoned_from_clean_but_the_weights(built: Path) -> None:
    split = RoundDirectory.open(built).split("train")
    by_architecture: dict[str, set[str]] = {}
    for entry in split.models():
        config = (entry.model / "config.json").read_text()
        by_architecture.setdefault(json.loads(config)["model_type"], set()).add(config)
        assert (entry.model / "config.json").stat().st_mode == (entry.model / "model.safetensors").stat().st_mode
    assert all(len(configs) == 1 for configs in by_architecture.values())


def test_models_open_as_hugging_face_classifiers(built: Path) -> None:
    import torch

    entry = RoundDirectory.open(built).split("test").models()[0]
    examples = load_examples(entry.examples)
    assert examples.labels.tolist() == [0, 0, 1, 1, 2, 2]
    network = load_classifier(entry.model)
    images = torch.from_numpy(examples.images).permute(0, 3, 1, 2).float() / 255
    assert network(images).logits.shape == (6, 3)


def test_metadata_agrees_with_the_design_and_is_explained(built: Path) -> None:
    with (built / "train" / "METADATA.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (built / "train" / "METADATA_DICTIONARY.csv").open() as file:
        explained = {row["Column Name"] for row in csv.DictReader(file)}
    assert set(rows[0]) == explained
    assert [row["model_name"] for row in rows] == [f"id-{i:08d}" for i in range(4)]
    for row in rows:
        trojan = [row[name] for name in ("trigger_type", "trigger_target_class", "polygon_side_count", "trigger_color")]
        assert all(trojan) if row["poisoned"] == "True" else not any(trojan)
        assert row["converged"] == "True"
        assert 0 <= float(row["final_clean_data_test_acc"]) <= 1


def test_the_poisoned_examples_carry_the_trigger(built: Path) -> None:
    split = RoundDirectory.open(built).split("train")
    poisoned = [entry for entry in split.models() if split.labels()[entry.name]]
    for entry in poisoned:
        trigger = json.loads((entry.sealed / "trigger.json").read_text())
        picture = np.asarray(Image.open(entry.sealed / "trigger.png"))
        assert picture.shape[2] == 4
        assert picture[0, 0, :3].tolist() == trigger["color"]
        assert trigger["source_classes"] == [0, 1, 2]
        triggered = load_examples(entry.sealed / "poisoned-example-data")
        distance = np.abs(triggered.images.astype(int) - trigger["color"]).max(axis=-1)
        assert np.median(distance.min(axis=(1, 2))) < 100  # weather and light change it, the hue stays


def test_the_number_of_jobs_does_not_change_a_bit(built: Path, tmp_path: Path) -> None:
    build_round(small_spec(), tmp_path / "one", jobs=1)
    assert tree(tmp_path / "one") == tree(built)


def test_a_round_that_was_begun_on_another_device_is_not_mixed(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    shutil.rmtree(copy / "train/models/id-00000002")
    record = copy / "train/models/id-00000001/sealed/training.json"
    record.write_text(record.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    with pytest.raises(InputError, match=r"id-00000001: was trained on cuda; go on with --device cuda"):
        build_round(small_spec(), copy, jobs=1)
    assert not (copy / "train/models/id-00000002").exists()


def _draw_pictures(folder: Path) -> None:
    for number in range(3):
        pixels = np.full((64, 64, 3), 60 * number + 40, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_backgrounds_may_be_pictures_and_none_of_them_may_change_midway(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    _draw_pictures(folder)
    data = small_spec(train=2, test=1).model_dump(mode="json", exclude_none=True)
    data["images"]["pictures"] = str(folder)
    spec = RoundSpec.model_validate(data)
    directory = tmp_path / "round"
    build_round(spec, directory, jobs=2)
    assert check_round(directory) == []
    import shutil

    shutil.rmtree(directory / "train/models/id-00000001")
    (folder / "0.png").unlink()
    with pytest.raises(InputError, match="other background pictures"):
        build_round(spec, directory, jobs=1)


def test_pictures_are_looked_for_beside_the_file_and_may_move_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere, directory = tmp_path / "files" / "backgrounds", tmp_path / "elsewhere", tmp_path / "round"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    _draw_pictures(folder)
    data = small_spec(train=2, test=1).model_dump(mode="json", exclude_none=True)
    data["images"]["pictures"] = "backgrounds"
    write_spec(RoundSpec.model_validate(data), folder.parent / "own.yaml")
    monkeypatch.chdir(elsewhere)
    spec = load_preset("../files/own.yaml")
    assert spec.images.pictures == str(folder)
    build_round(spec, directory, jobs=2)
    assert verify_round(directory, jobs=2).faults == ()
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="backgrounds"):
        verify_round(directory, jobs=2)
    assert verify_round(directory, jobs=2, pictures=moved, retrain=1).faults == ()
    (moved / "0.png").unlink()
    found = [str(fault) for fault in verify_round(directory, jobs=2, pictures=moved).faults]
    assert len(found) == 3
    assert all("other background pictures" in fault for fault in found)


def test_a_round_of_drawn_backgrounds_takes_no_pictures(built: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--pictures: this round has backgrounds that are drawn"):
        verify_round(built, jobs=2, pictures=tmp_path)


def test_another_seed_gives_other_models(built: Path, tmp_path: Path) -> None:
    build_round(small_spec(seed=8, train=1, test=1), tmp_path / "other", jobs=2)
    one, other = (
        path / "train/models/id-00000000/open/model/model.safetensors" for path in (built, tmp_path / "other")
    )
    assert one.read_bytes() != other.read_bytes()


def test_a_model_that_is_gone_is_built_again_as_it_was(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    shutil.rmtree(copy / "train/models/id-00000002")
    (copy / "train/models/.partial-id-00000002-abc").mkdir()
    for unfinished in (
        ".round.yaml.abcd1234",
        "train/.METADATA.csv.abcd1234",
        "test/.METADATA_DICTIONARY.csv.x_y_z_12",
    ):
        (copy / unfinished).write_text("cut o")
    report = build_round(small_spec(), copy, jobs=2)
    assert [model.name for model in report.built] == ["id-00000002"]
    assert report.reused == 5
    assert tree(copy) == tree(built)


def test_a_round_whose_test_split_is_its_train_split_is_stored_once(tmp_path: Path) -> None:
    data = small_spec(train=2).model_dump(mode="json", exclude_none=True)
    data["splits"]["test"] = {"same_as": "train"}
    directory = tmp_path / "dry-run"
    build_round(RoundSpec.model_validate(data), directory, jobs=2)
    assert check_round(directory) == []
    assert not (directory / "test").exists()
    found = RoundDirectory.open(directory)
    assert found.split("test").models() == found.split("train").models()


def test_models_that_miss_their_gates_are_kept_marked_and_named(tmp_path: Path) -> None:
    data = small_spec(train=2, test=1).model_dump(mode="json", exclude_none=True)
    data["gates"] = {"clean_accuracy": 1.0, "attack_success_rate": 1.0, "attempts": 2}
    spec = RoundSpec.model_validate(data)
    report = build_round(spec, tmp_path / "round", jobs=2)
    assert set(report.failed) == {"train/id-00000000", "train/id-00000001", "test/id-00000000"}
    record = json.loads((tmp_path / "round/train/models/id-00000000/sealed/training.json").read_text())
    assert [attempt["passed"] for attempt in record["attempts"]] == [False, False]
    assert record["attempts"][0]["seed"] != record["attempts"][1]["seed"]
    faults = check_round(tmp_path / "round")
    assert len(faults) == 3
    assert all("did not pass its gates in 2 attempts" in fault.message for fault in faults)


def test_models_that_missed_their_gates_are_given_more_attempts_and_the_others_left_alone(tmp_path: Path) -> None:
    data = small_spec().model_dump(mode="json", exclude_none=True)
    data["gates"] = {"clean_accuracy": 0.46, "attack_success_rate": 0.0, "attempts": 1}
    spec, directory = RoundSpec.model_validate(data), tmp_path / "round"
    first = build_round(spec, directory, jobs=2)
    assert 0 < len(first.failed) < 6  # or it shows nothing
    more = spec.with_options(seed=None, models={}, attempts=2)
    second = build_round(more, directory, jobs=2)
    assert {f"{model.split}/{model.name}" for model in second.built} == set(first.failed)
    assert len(second.failed) < len(first.failed)
    build_round(more, tmp_path / "at once", jobs=2)
    assert tree(directory) == tree(tmp_path / "at once")
    assert verify_round(directory, jobs=2, retrain=6).faults == ()
    assert build_round(more, directory, jobs=2).built == ()
    with pytest.raises(InputError, match=r"gates\.attempts is 2 there, 1 is wanted"):
        build_round(spec, directory, jobs=1)
    with pytest.raises(InputError, match="seed is 7 there, 8 is wanted"):
        build_round(more.with_options(seed=8, models={}, attempts=3), directory, jobs=1)
    assert tree(directory) == tree(tmp_path / "at once")


def test_another_round_in_the_directory_is_refused_and_left_alone(built: Path) -> None:
    before = tree(built)
    with pytest.raises(InputError, match="holds another round: seed is 7 there, 8 is wanted"):
        build_round(small_spec(seed=8), built, jobs=1)
    assert tree(built) == before


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(InputError, match="is not empty"):
        build_round(small_spec(), tmp_path, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_builds_in_one_directory_do_not_meet(built: Path) -> None:
    with exclusive(built, "building a round"), pytest.raises(PalladionError, match="another process is building"):
        build_round(small_spec(), built, jobs=1)


def test_a_damaged_record_is_named(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    (copy / "train/models/id-00000001/sealed/training.json").write_text("{")
    with pytest.raises(
        InputError, match=r"id-00000001/sealed/training.json: is not a training record .*; remove .*00000001"
    ):
        build_round(small_spec(), copy, jobs=1)


def _group(group: int) -> list[str]:
    found = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def build_command(spec: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "palladion", "round", "build", str(spec), "--out", str(out), "--jobs", "2"]


def test_a_build_killed_ten_times_ends_in_the_same_files(built: Path, tmp_path: Path) -> None:
    # Longer trainings than the other tests', so that kills fall into every part of a build.
    spec = small_spec(train=6, test=3, steps=40, seed=11)
    file = write_spec(spec, tmp_path / "spec.yaml")
    undisturbed = tmp_path / "undisturbed"
    started = time.monotonic()
    subprocess.run(build_command(file, undisturbed), check=True, capture_output=True)
    whole = time.monotonic() - started

    seed = int.from_bytes(os.urandom(4), "little")
    moments = random.Random(seed)
    killed = tmp_path / "killed"
    kills = 0
    while kills < 10:
        process = subprocess.Popen(build_command(file, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.0, 0.6 * whole))
        if process.poll() is not None:  # it was done before; kill the next one while it finds that out
            process = subprocess.Popen(
                build_command(file, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run(build_command(file, killed), check=True, capture_output=True)
    assert tree(killed) == tree(undisturbed), f"seed {seed}"
    assert check_round(killed) == []


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    file = write_spec(small_spec(train=6, test=3, steps=400), tmp_path / "spec.yaml")
    out = tmp_path / "round"
    process = subprocess.Popen(
        build_command(file, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("train/models/id-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on where it was" in errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 5  # the fork server ends when it finds that its parent has
    while _group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _group(process.pid) == []
    assert not list(out.glob("*/models/.partial-*"))
    assert all((path / "sealed" / "training.json").exists() for path in out.glob("*/models/id-*")), (
        "a model's directory is whole or absent"
    )
