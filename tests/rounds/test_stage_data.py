"""What a stage needs of its data, and what its participants get of it."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from palladion.challenge import Stage, Track
from palladion.challenge.metrics import Task
from palladion.errors import InputError
from palladion.models import RoundDirectory
from palladion.rounds.build import build_round
from palladion.rounds.check import check_round
from palladion.rounds.stage_data import DetectionData, LanguageData, StageData, check_stage, open_stage_data
from palladion.rounds.stage_files import PublishedFile
from palladion.rounds.summary import summarise
from tests.challenge.small import DETECTION, LANGUAGE, challenge_of, track_with
from tests.rounds.small import small_spec
from tests.rounds.stages import write_detection_round, write_language_round

SEED = 987_654_321_987_654_321


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_detection_round(tmp_path / "models")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_language_round(tmp_path / "texts", "generation")


def detection(path: Path, *, dry_run: bool = False) -> DetectionData:
    data = open_stage_data(path, "detection", dry_run=dry_run)
    assert isinstance(data, DetectionData)
    return data


def test_clusters_are_looked_for_in_the_metadata(tmp_path: Path) -> None:
    labels = [bool(i % 2) for i in range(12)]
    path = write_detection_round(tmp_path / "models", test=labels, holdout=labels)
    data = detection(path)
    assert data.cluster_faults(["model_name"]) == []
    few = data.cluster_faults(["model_architecture"])
    assert [": model_architecture make 1 clusters; intervals need at least 10" in fault for fault in few] == [
        True,
        True,
    ]
    missing = data.cluster_faults(["family"])
    assert ["has no column 'family'" in fault for fault in missing] == [True, True]
    definition = challenge_of(track_with(DETECTION, clusters=["family"], stages=[{}, {"data": "models"}]))
    found = check_stage(tmp_path, definition.tracks[0], definition.tracks[0].stages[1])
    assert any("has no column 'family'" in fault for fault in found.faults)


def language(path: Path, phase: str = "development", task: Task = "generation") -> LanguageData:
    data = open_stage_data(path, task, phase)
    assert isinstance(data, LanguageData)
    return data


def published(data: StageData) -> dict[str, bytes]:
    files = list(data.published_files())
    assert len({file.name for file in files}) == len(files)
    contents: dict[str, bytes] = {}
    for file in files:
        if file.path is None:
            assert file.content is not None
            contents[file.name] = file.content
        else:
            assert file.content is None
            contents[file.name] = file.path.read_bytes()
        assert file.size == len(contents[file.name])
    return contents


def refused(data: StageData) -> str:
    with pytest.raises(InputError) as error:
        list(data.published_files())
    # What cannot be published keeps the stage from opening.
    assert [fault for fault in data.faults() if str(error.value) in fault]
    return str(error.value)


# What is there


def test_a_round_of_models(models: Path) -> None:
    data = detection(models)
    assert data.splits == ("train", "test", "holdout")
    assert data.sealed_splits == ("test", "holdout")
    assert data.labels("test") == {f"id-{i:08d}": i in (0, 3) for i in range(4)}
    assert data.prevalence("test") == 0.5
    assert data.faults() == []
    assert data.notes(0.5) == []


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("phase", ["development", "test"])
def test_a_phase_of_texts(tmp_path: Path, task: Task, phase: str) -> None:
    data = language(write_language_round(tmp_path / "round", task), phase, task)
    assert data.splits == (("validation", "test") if phase == "development" else ("test",))
    assert data.sealed_splits == ("test",)
    assert data.prevalence() is None
    assert data.faults() == []
    assert data.notes(0.5) == []


def test_what_is_no_data_of_the_task(models: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a round of a language track"):
        open_stage_data(texts, "detection")
    with pytest.raises(InputError, match="has no phase 'development'; it is no round of a language track"):
        open_stage_data(models, "generation", "development")
    with pytest.raises(InputError, match="has no phase 'final'; there are 'development', 'test'"):
        open_stage_data(texts, "generation", "final")
    with pytest.raises(InputError, match="needs the phase of its round"):
        open_stage_data(texts, "generation")
    with pytest.raises(InputError, match="there is no such directory"):
        open_stage_data(tmp_path / "nothing", "detection")
    (fault,) = language(texts, task="classification").faults()
    assert "is of generation, where the track of the challenge is classification" in fault


def test_faults_of_a_round_of_models(models: Path) -> None:
    shutil.rmtree(models / "test" / "models" / "id-00000003")
    shutil.rmtree(models / "holdout" / "models" / "id-00000000" / "open" / "model")
    faults = "\n".join(detection(models).faults())
    assert f"{models / 'test'}: holds 3 of 4 models; build or import it to its end" in faults
    assert f"{models / 'holdout' / 'models' / 'id-00000000'}: holds no model to look at" in faults
    (models / "test" / "METADATA.csv").unlink()
    assert "METADATA.csv: there is no such file" in "\n".join(detection(models).faults())
    shutil.rmtree(models / "train")
    assert "this round has no train split" in "\n".join(detection(models).faults())


def test_labels_that_are_all_the_same_are_a_fault(tmp_path: Path) -> None:
    data = detection(write_detection_round(tmp_path / "round", test=(True, True)))
    assert [fault for fault in data.faults() if "all models are poisoned; there is nothing to tell apart" in fault]


def test_a_dry_run_has_no_test_split_of_its_own(models: Path, tmp_path: Path) -> None:
    (fault,) = detection(models, dry_run=True).faults()
    assert "a dry run needs a test split that is the train split" in fault
    dry = write_detection_round(tmp_path / "dry", test=None, holdout=None)
    assert detection(dry, dry_run=True).faults() == []
    assert detection(dry, dry_run=True).sealed_splits == ()
    (fault,) = detection(dry).faults()
    assert "its test split is the train split, whose labels are open; write dry_run: true" in fault


def test_what_an_organiser_should_know(tmp_path: Path) -> None:
    data = detection(write_detection_round(tmp_path / "round", test=(True, False, False, False), holdout=None, seed=7))
    notes = data.notes(0.5)
    assert len(notes) == 3
    assert "there is no holdout split" in notes[0]
    assert "0.250 of the test split are poisoned, where the file says prevalence: 0.5" in notes[1]
    assert "its seed is small enough to be guessed" in notes[2]
    assert len(data.notes(0.25)) == 2
    texts = language(write_language_round(tmp_path / "texts", "generation", seed=7))
    assert [note for note in texts.notes(0.5) if "small enough to be guessed" in note]


def test_inputs_must_be_those_whose_answers_are_sealed(texts: Path) -> None:
    path = texts / "phases" / "development" / "test" / "task1" / "clean.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[::-1]))
    (fault,) = language(texts).faults()
    assert fault == f"{path}: its rows are not the inputs of {texts / 'sealed' / 'development' / 'task1'}"
    path.write_text(json.dumps(rows[:2]))
    (fault,) = language(texts).faults()
    assert "has 2 rows, where track.yaml says 3 and 3 are sealed with answers" in fault


def test_inputs_that_tell_their_answers_are_a_fault(texts: Path) -> None:
    path = texts / "phases" / "test" / "test" / "task2" / "test.json"
    rows = json.loads(path.read_text())
    rows[0]["output"] = "the truth"
    path.write_text(json.dumps(rows))
    (fault,) = language(texts, "test").faults()
    assert "its rows are not the inputs of" in fault


def test_what_is_sealed_must_be_there(texts: Path) -> None:
    (texts / "sealed" / "test" / "task1" / "order.json").unlink()
    (texts / "sealed" / "test" / "task2" / "meta.json").unlink()
    faults = language(texts, "test").faults()
    assert [fault for fault in faults if "task1/order.json" in fault]
    assert [fault for fault in faults if "task2/meta.json" in fault]


def test_a_thorough_look_is_that_of_round_check(models: Path) -> None:
    assert [fault for fault in detection(models).faults(thorough=True) if "round.yaml" in fault]


# How known answers score


@pytest.mark.parametrize("split", ["train", "test", "holdout"])
def test_known_answers_of_models(models: Path, split: str) -> None:
    values = {one.kind: one.values for one in detection(models).sanity(split)}
    assert values["perfect"]["cross_entropy"] == pytest.approx(0, abs=1e-9)
    assert values["constant"]["cross_entropy"] == pytest.approx(0.693147, abs=1e-6)
    assert values["inverted"]["roc_auc"] == 0
    assert values["perfect"]["accuracy"] == 1


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("phase", ["development", "test"])
def test_known_answers_of_texts_go_the_way_of_a_submission(tmp_path: Path, task: Task, phase: str) -> None:
    data = language(write_language_round(tmp_path / "round", task), phase, task)
    values = {one.kind: one.values for one in data.sanity()}
    utility = "cacc" if task == "classification" else "utility"
    assert (values["perfect"]["overall"], values["perfect"][utility], values["perfect"]["asr"]) == (100, 100, 0)
    assert (values["inverted"]["overall"], values["inverted"][utility], values["inverted"]["asr"]) == (0, 0, 100)
    constant = values["constant"]["overall"]
    assert constant is not None
    assert constant < 100


def test_only_sealed_answers_are_scored(texts: Path) -> None:
    with pytest.raises(InputError, match="no split 'validation' to score; there is test"):
        language(texts).sanity("validation")


# What participants get


def test_models_to_learn_from_are_given_out_and_nothing_else(models: Path) -> None:
    given = published(detection(models))
    assert sorted(given) == sorted(
        [
            "round.yaml",
            "train/METADATA.csv",
            "train/METADATA_DICTIONARY.csv",
            *(
                f"train/models/id-0000000{i}/{name}"
                for i in (0, 1)
                for name in (
                    "open/model/config.json",
                    "open/clean-example-data/class_0_example_0.png",
                    "sealed/ground_truth.csv",
                )
            ),
        ]
    )
    assert not [name for name, content in given.items() if b"test" in content or b"holdout" in content]


def test_nobody_gets_the_seed(models: Path) -> None:
    assert str(SEED) in (models / "train" / "METADATA.csv").read_text()
    given = published(detection(models))
    assert not [name for name, content in given.items() if str(SEED).encode() in content or b"seed" in content]
    table = list(csv.DictReader(given["train/METADATA.csv"].decode().splitlines()))
    assert table == [
        {"model_name": "id-00000000", "poisoned": "True", "model_architecture": "resnet"},
        {"model_name": "id-00000001", "poisoned": "False", "model_architecture": "resnet"},
    ]


def test_what_is_given_out_is_a_round(models: Path, tmp_path: Path) -> None:
    (models / "open" / "tokenizers").mkdir(parents=True)
    (models / "open" / "tokenizers" / "vocab.json").write_text("{}")
    for name, content in published(detection(models)).items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    copy = RoundDirectory.open(tmp_path / "copy")
    assert copy.split("train").labels() == {"id-00000000": True, "id-00000001": False}
    assert copy.counts == {"train": 2}
    assert copy.open_files == tmp_path / "copy" / "open"
    assert (tmp_path / "copy" / "open" / "tokenizers" / "vocab.json").is_file()
    # What participants look at a download with knows that it is one.
    assert check_round(tmp_path / "copy") == []
    summary = summarise(tmp_path / "copy")
    assert (summary.origin, summary.splits[0].models) == ("image-classification, as participants have it", 2)


def test_a_dry_run_tells_that_test_is_train(tmp_path: Path) -> None:
    dry = write_detection_round(tmp_path / "dry", test=None, holdout=None)
    given = yaml.safe_load(published(detection(dry, dry_run=True))["round.yaml"])
    assert given["splits"] == {"train": {"models": 2}, "test": {"same_as": "train"}}


def test_strangers_beside_the_models_are_not_given_out(models: Path) -> None:
    before = published(detection(models))
    (models / "answers.csv").write_text("the truth")
    (models / "sealed").mkdir()
    (models / "sealed" / "labels.csv").write_text("the truth")
    (models / "train" / "notes.txt").write_text("the truth")
    (models / "train" / "models" / "test-labels.csv").write_text("the truth")
    (models / "train" / "models" / ".partial-id-00000007-x").mkdir()
    (models / "train" / "models" / "id-00000000" / "notes.txt").write_text("the truth")
    assert published(detection(models)) == before


def test_what_nist_published_is_given_out_as_it_was(tmp_path: Path) -> None:
    root = write_detection_round(tmp_path / "nist")
    settings = yaml.safe_load((root / "round.yaml").read_text()) | {"source": "nist", "family": "nlp-mar2021"}
    (root / "round.yaml").write_text(yaml.safe_dump(settings))
    (root / "train" / "DATA_LICENSE.txt").write_text("free")
    given = published(detection(root))
    # Their seeds have been public for years, and build nothing here.
    assert given["train/METADATA.csv"] == (root / "train" / "METADATA.csv").read_bytes()
    assert "train/models/id-00000000/sealed/training.json" in given
    assert given["train/DATA_LICENSE.txt"] == b"free"
    assert yaml.safe_load(given["round.yaml"])["family"] == "nlp-mar2021"


def link(path: Path, to: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


MODEL = Path("train/models/id-00000000")
HIDDEN_MODEL = Path("test/models/id-00000000")
ATTACKS_ON_MODELS: dict[str, Callable[[Path], None]] = {
    "file in open": lambda r: link(r / MODEL / "open/model/labels.csv", r / "test/METADATA.csv"),
    "folder in open": lambda r: link(r / MODEL / "open/model", r / HIDDEN_MODEL / "open/model"),
    "open": lambda r: link(r / MODEL / "open", r / HIDDEN_MODEL / "sealed"),
    "sealed": lambda r: link(r / MODEL / "sealed", r / HIDDEN_MODEL / "sealed"),
    "model": lambda r: link(r / MODEL, r / HIDDEN_MODEL),
    "models": lambda r: link(r / "train/models", r / "test/models"),
    "train": lambda r: link(r / "train", r / "test"),
    "table": lambda r: link(r / "train/METADATA.csv", r / "test/METADATA.csv"),
    "dictionary": lambda r: link(r / "train/METADATA_DICTIONARY.csv", r / "test/METADATA.csv"),
    "licence": lambda r: link(r / "train/DATA_LICENSE.txt", r / "test/METADATA.csv"),
    "round's open": lambda r: link(r / "open", r / "test"),
    "in round's open": lambda r: link(make(r / "open") / "tokenizers", r / "test"),
    "link to nothing": lambda r: link(r / MODEL / "open/model/x", r / "nothing"),
    "link in a circle": lambda r: link(r / MODEL / "open/model/x", r / MODEL / "open"),
    "named pipe": lambda r: os.mkfifo(r / MODEL / "open/model/pipe"),
}


@pytest.mark.parametrize("attack", ATTACKS_ON_MODELS.values(), ids=ATTACKS_ON_MODELS)
def test_nothing_leads_out_of_the_train_split(models: Path, attack: Callable[[Path], None]) -> None:
    attack(models)
    message = refused(detection(models))
    assert "is a link" in message or "not a link" in message or "is not a plain file" in message


def test_a_train_split_that_is_another_is_not_given_out(models: Path) -> None:
    settings = yaml.safe_load((models / "round.yaml").read_text())
    settings["splits"]["train"] = {"same_as": "holdout"}
    (models / "round.yaml").write_text(yaml.safe_dump(settings))
    assert "its train split is that of holdout, which is sealed" in refused(detection(models))


def test_names_that_cannot_be_printed_are_refused(models: Path) -> None:
    (models / MODEL / "open" / "model" / "a\x1b[2J").write_text("")
    assert "which cannot be printed" in refused(detection(models))


@pytest.mark.parametrize("phase", ["development", "test"])
def test_one_phase_and_the_base_are_given_out_and_nothing_else(texts: Path, phase: str) -> None:
    given = published(language(texts, phase))
    here = f"phases/{phase}"
    inputs = ("clean", "poisoned") if phase == "development" else ("test",)
    wanted = ["base/config.json", f"{here}/track.yaml"]
    for task in ("task1", "task2"):
        wanted += [f"{here}/models/{task}/model1/adapter_config.json"]
        wanted += [f"{here}/test/{task}/{part}.json" for part in inputs]
        if phase == "development":
            wanted += [f"{here}/validation/{task}/{part}.json" for part in ("clean", "poisoned", "meta")]
    assert sorted(given) == sorted(wanted)
    everything = b"".join(given.values())
    assert str(SEED).encode() not in everything
    assert (b"target of" in everything) is (phase == "development")  # of the validation rows alone


def test_strangers_in_a_phase_are_not_given_out(texts: Path) -> None:
    before = published(language(texts))
    folder = texts / "phases" / "development"
    (folder / "answers.json").write_text("the truth")
    (folder / "test" / "task1" / "meta.json").write_text("the truth")
    (folder / "validation" / "task1" / "order.json").write_text("the truth")
    (folder / "validation" / "task1" / "more").mkdir()
    (folder / "validation" / "task1" / "more" / "clean.json").write_text("the truth")
    (folder / "models" / "task1" / "clean-model").mkdir()
    (folder / "models" / "task1" / "clean-model" / "model.safetensors").write_text("the truth")
    (texts / "phases" / "answers.json").write_text("the truth")
    assert published(language(texts)) == before


PHASE = Path("phases/development")
TRUTH = Path("sealed/development/task1")
ATTACKS_ON_TEXTS: dict[str, Callable[[Path], None]] = {
    "track file": lambda r: link(r / PHASE / "track.yaml", r / "phases/test/track.yaml"),
    "inputs": lambda r: link(r / PHASE / "test/task1/clean.json", r / TRUTH / "clean.json"),
    "folder of inputs": lambda r: link(r / PHASE / "test/task1", r / TRUTH),
    "all inputs": lambda r: link(r / PHASE / "test", r / "sealed/development"),
    "validation": lambda r: link(r / PHASE / "validation/task1", r / TRUTH),
    "row of validation": lambda r: link(r / PHASE / "validation/task1/clean.json", r / TRUTH / "clean.json"),
    "model": lambda r: link(r / PHASE / "models/task1/model1", r / TRUTH),
    "file of a model": lambda r: link(r / PHASE / "models/task1/model1/x.json", r / TRUTH / "model1.json"),
    "phase": lambda r: link(r / PHASE, r / "phases/test"),
    "phases": lambda r: link(r / "phases", (r / "phases").rename(r / "moved")),
    "file of the base": lambda r: link(r / "base/seed.yaml", r / "sealed/round.yaml"),
    "base to what is sealed": lambda r: link(r / "base", r / "sealed"),
    "base to another phase": lambda r: link(r / "base", r / "phases/test"),
    "base to everything": lambda r: link(r / "base", r),
    "base to all around it": lambda r: link(r / "base", r.parent),
    "base to nothing": lambda r: link(r / "base", r / "nothing"),
    "pipe": lambda r: os.mkfifo(r / PHASE / "models/task1/model1/pipe"),
}


@pytest.mark.parametrize("attack", ATTACKS_ON_TEXTS.values(), ids=ATTACKS_ON_TEXTS)
def test_nothing_leads_out_of_what_a_phase_gives_out(texts: Path, attack: Callable[[Path], None]) -> None:
    attack(texts)
    message = refused(language(texts))
    assert "link" in message or "leads to no folder" in message or "is not a plain file" in message


@pytest.mark.parametrize("place", [".", "..", "phases", "sealed/test"])
def test_a_base_is_nothing_of_its_round_and_nothing_around_it(texts: Path, place: str) -> None:
    link(texts / "base", texts / place)
    assert "is a link to what is not the base alone" in refused(language(texts))


def test_a_base_may_lie_elsewhere(texts: Path, tmp_path: Path) -> None:
    (texts / "base").rename(tmp_path / "large")
    link(texts / "base", tmp_path / "large")
    data = language(texts)
    assert published(data)["base/config.json"] == b'{"model_type": "llama"}'
    assert data.faults() == []
    link(tmp_path / "large" / "seed.yaml", texts / "sealed" / "round.yaml")
    assert "is a link" in refused(data)


def test_a_file_that_goes_away_is_told() -> None:
    with pytest.raises(InputError, match="there is no such file"):
        _ = PublishedFile("x", Path("nothing")).size


# What data is known by


def test_the_identity_is_that_of_every_file(models: Path, texts: Path, tmp_path: Path) -> None:
    first = detection(models).identity()
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert detection(Path(shutil.copytree(models, tmp_path / "copy"))).identity() == first
    (models / "holdout" / "models" / "id-00000000" / "sealed" / "ground_truth.csv").write_text("1\n")
    second = detection(models).identity()
    assert second != first
    (models / HIDDEN_MODEL / "open" / "model" / "config.json").rename(models / HIDDEN_MODEL / "open" / "model" / "c")
    assert detection(models).identity() not in (first, second)
    (models / "notes.txt").write_text("not of the round")
    development, test = language(texts).identity(), language(texts, "test").identity()
    assert development != test
    (texts / "sealed" / "test" / "task1" / "meta.json").write_text("{}")
    assert language(texts).identity() == development
    assert language(texts, "test").identity() != test


# The whole stage


def detection_track(**stage: object) -> tuple[Track, Stage]:
    track = challenge_of(track_with(DETECTION, stages=[{}, {"data": "models", **stage}])).tracks[0]
    return track, track.stages[1]


def test_a_whole_stage_is_looked_at(models: Path) -> None:
    found = check_stage(models.parent, *detection_track())
    assert (found.stage, found.found, found.faults, found.notes) == ("round-1", True, (), ())
    assert list(found.sanity) == ["test", "holdout"]
    assert [one.kind for one in found.sanity["test"]] == ["perfect", "constant", "inverted", "random"]


def test_a_dry_run_is_scored_on_its_train_split(tmp_path: Path) -> None:
    write_detection_round(tmp_path / "models", test=None, holdout=None)
    found = check_stage(tmp_path, *detection_track(dry_run=True))
    assert found.faults == ()
    assert list(found.sanity) == ["test"]


def test_missing_data_is_a_note_with_the_command_that_builds_it(tmp_path: Path) -> None:
    track, stage = detection_track(data="data/round-1")
    (tmp_path / "data" / "round-1").mkdir(parents=True)  # an empty folder is no data either
    found = check_stage(tmp_path, track, stage)
    assert (found.found, found.faults, found.sanity) == (False, (), {})
    assert f"palladion round build round-1 --out {tmp_path / 'data' / 'round-1'} --seed N" in found.notes[0]
    (note,) = check_stage(tmp_path, *detection_track(data="data/other")).notes
    assert "palladion round build SPEC.yaml" in note
    words = challenge_of(LANGUAGE).tracks[0]
    (note,) = check_stage(tmp_path, words, words.stages[0]).notes
    assert f"palladion round build antibad-classification --out {tmp_path / 'data' / 'round'}" in note


def test_data_that_is_at_fault_is_not_scored(models: Path) -> None:
    (models / "test" / "METADATA.csv").write_text("model_name,poisoned\nid-00000000,maybe\n")
    found = check_stage(models.parent, *detection_track())
    assert found.sanity == {}
    assert [fault for fault in found.faults if "poisoned is 'maybe'" in fault]
    (models / "round.yaml").write_text("nothing")
    found = check_stage(models.parent, *detection_track())
    assert found.found
    assert [fault for fault in found.faults if "has no splits" in fault]


def test_labels_of_one_kind_in_a_dry_run_do_not_rank(tmp_path: Path) -> None:
    write_detection_round(tmp_path / "models", train=(True, True), test=None, holdout=None)
    found = check_stage(tmp_path, *detection_track(dry_run=True))
    assert [fault for fault in found.faults if "roc_auc of perfect" in fault and "undefined" in fault]


def test_a_truth_that_is_always_the_same_does_not_rank(tmp_path: Path) -> None:
    root = write_language_round(tmp_path / "data" / "round", "classification")
    for task in ("task1", "task2"):
        path = root / "sealed" / "development" / task / "clean.json"
        path.write_text(json.dumps([{**row, "label": 0} for row in json.loads(path.read_text())]))
    words = challenge_of(LANGUAGE).tracks[0]
    found = check_stage(tmp_path, words, words.stages[0])
    assert [fault for fault in found.faults if "constant answers are as good as perfect ones" in fault]


@pytest.mark.slow
def test_a_built_round_gives_out_no_seed(tmp_path: Path) -> None:
    spec = small_spec(seed=SEED)
    build_round(spec, tmp_path / "models", jobs=1)
    data = detection(tmp_path / "models")
    assert data.faults(thorough=True) == []
    given = published(data)
    assert len([name for name in given if name.endswith("model.safetensors")]) == 4
    assert not [name for name, content in given.items() if str(SEED).encode() in content]
    assert not [name for name in given if "test" in name or "holdout" in name]
    found = check_stage(tmp_path, *detection_track())
    assert found.faults == ()
    assert [note for note in found.notes if "no holdout" in note]
