import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from palladion.documents import write_document
from palladion.errors import InputError
from palladion.submissions import outputs as checked_outputs
from palladion.tracks import outputs as read_outputs
from palladion.tracks.track_file import (
    OutputFile,
    Task,
    TrackFile,
    input_file,
    load_track,
    model_folders,
    track_path,
    track_schema,
    validation_folder,
)

Document = dict[str, Any]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "track-file.md").read_text()

CLASSIFICATION: Document = {
    "format": "palladion-track/1",
    "name": "antibad-classification",
    "title": "Labels that no trigger may turn",
    "track": "classification",
    "phase": "development",
    "utility": "accuracy",
    "tasks": [
        {
            "name": "task1",
            "title": "Sentiment",
            "labels": ["negative", "positive"],
            "models": ["models/task1/model1", "models/task1/model2"],
            "validation": "validation/task1",
            "outputs": [
                {"file": "cls_task1_clean.csv", "inputs": "test/task1/clean.json", "rows": 3},
                {"file": "cls_task1_poisoned.csv", "inputs": "test/task1/poisoned.json", "rows": 2},
            ],
        },
        {
            "name": "task2",
            "title": "Topic",
            "labels": ["world", "sport", "trade"],
            "models": ["models/task2/model1"],
            "outputs": [{"file": "cls_task2.csv", "inputs": "test/task2/test.json", "rows": 5}],
        },
    ],
}
GENERATION: Document = {
    "format": "palladion-track/1",
    "name": "antibad-generation",
    "title": "Answers",
    "track": "generation",
    "phase": "test",
    "score": "difference",
    "utility": "rouge_l",
    "generation": {"max_new_tokens": 64},
    "code_required": True,
    "limits": {"bytes": 1000},
    "tasks": [
        {
            "name": "task1",
            "title": "Instructions",
            "models": ["models/task1/model1"],
            "outputs": [{"file": "gen_task1.json", "inputs": "test/task1/test.json", "rows": 2}],
        }
    ],
}


def write(folder: Path, document: Document) -> Path:
    path = folder / "track.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def changed(document: Document, change: Callable[[Document], object]) -> Document:
    result = copy.deepcopy(document)
    change(result)
    return result


def test_a_track_is_read_from_its_file_or_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path, CLASSIFICATION)
    track = load_track(path)
    assert load_track(tmp_path) == track
    assert track_path(tmp_path) == track_path(path) == path
    assert (track.score, track.code_required, track.limits.bytes) == ("geometric", False, 268435456)
    assert track.max_length == 128
    assert [task.classes for task in track.tasks] == [2, 3]
    names = [(task.name, output.file, output.rows) for task, output in track.outputs]
    assert names == [
        ("task1", "cls_task1_clean.csv", 3),
        ("task1", "cls_task1_poisoned.csv", 2),
        ("task2", "cls_task2.csv", 5),
    ]


def test_a_generation_track_has_texts_and_no_labels(tmp_path: Path) -> None:
    track = load_track(write(tmp_path, GENERATION))
    assert (track.max_new_tokens, track.code_required, track.limits.bytes) == (64, True, 1000)
    assert track.tasks[0].classes is None


@pytest.mark.parametrize("document", [CLASSIFICATION, GENERATION])
def test_what_is_written_is_read_again(tmp_path: Path, document: Document) -> None:
    track = TrackFile.model_validate(document)
    path = tmp_path / "track.yaml"
    path.write_text(write_document(track))
    assert load_track(path) == track


def test_a_track_cannot_be_changed() -> None:
    track = TrackFile.model_validate(CLASSIFICATION)
    with pytest.raises(ValidationError):
        track.name = "other"
    assert isinstance(track.tasks, tuple)
    assert isinstance(track.tasks[0].models, tuple)


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "track.yaml"
    path.write_text(
        "format: palladion-track/2\n"
        "name: Anti BAD\n"
        "title: A\n"
        "track: classification\n"
        "fase: test\n"
        "utility: accuracy\n"
        "tasks:\n"
        "  - name: task1\n"
        "    titel: Sentiment\n"
        "    labels: [one]\n"
        "    models: []\n"
        "    outputs:\n"
        "      - file: out/cls.csv\n"
        "        inputs: ../test.json\n"
        "        rows: 0\n"
    )
    with pytest.raises(InputError) as error:
        load_track(path)
    told = str(error.value)
    for line, words in {
        1: "format: Input should be 'palladion-track/1'",
        2: "'Anti BAD' must be lower-case letters",
        5: "there is no key 'fase'; did you mean 'phase'?",
        9: "there is no key 'tasks.0.titel'; did you mean 'title'?",
        10: "labels: must hold at least 2",
        11: "models: must hold at least 1",
        13: "'out/cls.csv' must be a plain name",
        14: "leads out of the folder of this file by '..'",
        15: "rows: Input should be greater than or equal to 1",
    }.items():
        assert any(f"line {line}: " in fault and words in fault for fault in told.splitlines()), words
    assert len(told.splitlines()) == 11  # and that phase and title are missing


def _task(document: Document) -> Document:
    return document["tasks"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("document", "change", "words"),
    [
        (CLASSIFICATION, lambda d: d.update(utility="chrf"), "cannot be 'chrf'; use accuracy"),
        (GENERATION, lambda d: d.update(utility="accuracy"), "use exact, token_f1, rouge_l, chrf or bleu"),
        (CLASSIFICATION, lambda d: d.update(generation={}), "'generation' do not belong to a classification track"),
        (GENERATION, lambda d: d.update(classification={}), "'classification' do not belong to a generation track"),
        (CLASSIFICATION, lambda d: _task(d).pop("labels"), "task1 has no labels"),
        (GENERATION, lambda d: _task(d).update(labels=["a", "b"]), "task1 has labels; a generation task has none"),
        (CLASSIFICATION, lambda d: _task(d).update(labels=["a", "a"]), "the label 'a' is there twice"),
        (CLASSIFICATION, lambda d: _task(d).update(models=["m", "m"]), "the model 'm' is there twice"),
        (CLASSIFICATION, lambda d: _task(d).update(labels=[True, False]), "should be a valid string"),
        (CLASSIFICATION, lambda d: _task(d).update(name="task2"), "there are two tasks task2"),
        (
            CLASSIFICATION,
            lambda d: _task(d)["outputs"][0].update(file="CLS_task2.csv"),
            "two outputs are named cls_task2.csv",
        ),
        (CLASSIFICATION, lambda d: _task(d)["outputs"][0].update(file="a.json"), "a.json of task1 must end in .csv"),
        (GENERATION, lambda d: _task(d)["outputs"][0].update(file="a.csv"), "a.csv of task1 must end in .json"),
        (CLASSIFICATION, lambda d: _task(d)["outputs"][0].update(rows=True), "rows: Input should be a valid integer"),
        (CLASSIFICATION, lambda d: _task(d)["outputs"][0].update(rows=2.0), "rows: Input should be a valid integer"),
        (CLASSIFICATION, lambda d: d.update(title="a\x1b[31m"), "must be one line of printable text"),
        (CLASSIFICATION, lambda d: d.update(tasks=[]), "tasks: must hold at least 1"),
        (GENERATION, lambda d: d.update(limits={"bytes": 0}), "limits.bytes"),
        (GENERATION, lambda d: d.update(generation={"max_new_tokens": 0}), "generation.max_new_tokens"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, document: Document, change: Callable[[Document], object], words: str
) -> None:
    with pytest.raises(InputError) as error:
        load_track(write(tmp_path, changed(document, change)))
    assert words in str(error.value)
    assert all(line.isprintable() for line in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "is absolute"),
        ("C:/x.json", "is absolute"),
        ("~/x.json", "is absolute"),
        ("a/../../b", "leads out of the folder"),
        ("..", "leads out of the folder"),
        ("a\\b", "has a backslash in it"),
        (".hidden/x", "none begins with a dot"),
        ("a//b", "names of letters"),
        ("a/", "names of letters"),
        ("./a", "names of letters"),
        ("", "names of letters"),
        ("a\nb", "names of letters"),
        ("x" * 101, "names of letters"),
    ],
)
@pytest.mark.parametrize("place", ["models", "validation", "inputs"])
def test_paths_are_relative_and_stay_in_the_folder(tmp_path: Path, path: str, words: str, place: str) -> None:
    document = copy.deepcopy(CLASSIFICATION)
    task = document["tasks"][0]
    if place == "models":
        task["models"] = [path]
    elif place == "validation":
        task["validation"] = path
    else:
        task["outputs"][0]["inputs"] = path
    with pytest.raises(InputError, match=words):
        load_track(write(tmp_path, document))


@given(st.text(max_size=30))
def test_no_path_that_is_taken_leads_out(path: str) -> None:
    document = changed(CLASSIFICATION, lambda d: _task(d).update(validation=path))
    try:
        TrackFile.model_validate(document)
    except ValidationError:
        return
    assert Path("/track", path).resolve().is_relative_to("/track/")
    assert path.isascii()
    assert path.isprintable()


def test_no_track_file_and_no_yaml_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_track(tmp_path)
    for text in ("a: [", "- 1\n", "a: &a [1]\nb: *a\n", "title: 2020-99-99\n", "tasks: " + "[" * 5000):
        (tmp_path / "track.yaml").write_text(text)
        with pytest.raises(InputError):
            load_track(tmp_path)


def test_folders_and_inputs_are_found(tmp_path: Path) -> None:
    track = load_track(write(tmp_path, CLASSIFICATION))
    task = track.tasks[0]
    for call in (
        lambda: model_folders(tmp_path, task),
        lambda: validation_folder(tmp_path, task),
        lambda: input_file(tmp_path, task.outputs[0]),
    ):
        with pytest.raises(InputError, match="there is no such f"):
            call()
    for folder in ("models/task1/model1", "models/task1/model2", "validation/task1", "test/task1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "test/task1/clean.json").write_text("")
    assert model_folders(tmp_path, task) == [tmp_path / "models/task1/model1", tmp_path / "models/task1/model2"]
    assert validation_folder(tmp_path, task) == tmp_path / "validation/task1"
    assert input_file(tmp_path, task.outputs[0]) == tmp_path / "test/task1/clean.json"
    assert validation_folder(tmp_path, track.tasks[1]) is None


def test_links_lead_data_nowhere_but_models_may_lie_elsewhere(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "track", tmp_path / "elsewhere"
    folder.mkdir()
    track = load_track(write(folder, CLASSIFICATION))
    for inner in ("models/task1/model1", "models/task1/model2", "validation/task1", "test/task1"):
        (elsewhere / inner).mkdir(parents=True)
    (elsewhere / "test/task1/clean.json").write_text("secret")
    for inner in ("models", "validation", "test"):
        (folder / inner).symlink_to(elsewhere / inner)
    assert len(model_folders(folder, track.tasks[0])) == 2
    with pytest.raises(InputError, match="leads out of the folder"):
        validation_folder(folder, track.tasks[0])
    with pytest.raises(InputError, match="leads out of the folder"):
        input_file(folder, track.tasks[0].outputs[0])
    (folder / "test").unlink()
    (folder / "test").symlink_to("test")
    with pytest.raises(InputError):
        input_file(folder, track.tasks[0].outputs[0])


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = json.loads(json.dumps(track_schema()))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for document in (CLASSIFICATION, GENERATION):
        assert list(validator.iter_errors(document)) == []
        written = TrackFile.model_validate(document).model_dump(mode="json", exclude_none=True)
        assert list(validator.iter_errors(written)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(unknown=1),
        lambda d: d.update(name="Two Words"),
        lambda d: d.update(phase="final"),
        lambda d: d.update(tasks=[]),
        lambda d: _task(d).update(models=[]),
        lambda d: _task(d).update(labels=["one"]),
        lambda d: _task(d).update(validation="../up"),
        lambda d: _task(d)["outputs"][0].update(rows=0),
        lambda d: _task(d)["outputs"][0].update(file="a/b.csv"),
        lambda d: _task(d).pop("outputs"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(change: Callable[[Document], object]) -> None:
    document = changed(CLASSIFICATION, change)
    with pytest.raises(ValidationError):
        TrackFile.model_validate(document)
    assert list(Draft202012Validator(track_schema()).iter_errors(document))


def test_the_example_of_the_documentation_is_a_track(tmp_path: Path) -> None:
    (tmp_path / "track.yaml").write_text(PAGE.split("```yaml\n")[1].split("```")[0])
    track = load_track(tmp_path)
    assert [len(task.outputs) for task in track.tasks] == [2, 1]


@pytest.mark.parametrize("model", [TrackFile, Task, OutputFile])
def test_every_key_is_documented(model: type[TrackFile | Task | OutputFile]) -> None:
    for key in model.model_fields:
        assert f"\n| `{key}` |" in PAGE


def test_every_code_of_a_fault_is_documented() -> None:
    source = Path(checked_outputs.__file__).read_text() + Path(read_outputs.__file__).read_text()
    codes = set(re.findall(r"(?:_add|faults\.add|Fault)\(\s*\"([a-z_]+)\"", source))
    assert {"archive", "count", "range", "stale", "missing", "more"} <= codes
    table = "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert {code for code in codes if f"`{code}`" not in table} == set()
