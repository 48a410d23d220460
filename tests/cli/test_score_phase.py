"""A whole phase from the command line, beside scores that were computed by hand."""

import json
import math
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from palladion.cli import app
from palladion.errors import InputError, PalladionError

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]

# Of task1: labels of the clean and of the poisoned rows. The target is 1: the third poisoned row does not count.
CLEAN, POISONED = (0, 1, 0, 1), (0, 0, 1, 0)
# Three of four right; two of three attacks succeed: √(75 · 33.3).
TASK1 = {"cls_task1_clean.csv": (0, 1, 0, 0), "cls_task1_poisoned.csv": (1, 0, 1, 1)}
# Of task2, in one file: clean rows 0 and 1 stand at 2 and 0, poisoned rows 0 and 1 at 3 and 1. Both clean rows are
# right, and one of two attacks succeeds: √(100 · 50).
ORDER = {"clean": [2, 0], "poisoned": [3, 1]}
TASK2 = {"cls_task2.csv": (1, 1, 0, 0)}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_truth(folder: Path, task: str, clean: Sequence[Any], poisoned: Sequence[Any], **meta: Any) -> None:
    write(folder / "clean.json", clean)
    write(folder / "poisoned.json", poisoned)
    write(folder / "meta.json", {"task": task, **meta})


def task(name: str, *outputs: tuple[str, str, int], **more: Any) -> dict[str, Any]:
    listed = [{"file": file, "inputs": inputs, "rows": rows} for file, inputs, rows in outputs]
    return {"name": name, "title": name, "models": [f"models/{name}/model1"], "outputs": listed, **more}


def write_track(folder: Path, kind: str, tasks: list[dict[str, Any]], **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    utility = "accuracy" if kind == "classification" else "exact"
    head = {"format": "palladion-track/1", "name": "tiny", "title": "Tiny", "track": kind, "phase": "development"}
    (folder / "track.yaml").write_text(yaml.safe_dump(head | {"utility": utility, "tasks": tasks} | more))


def sentences(prefix: str, labels: Sequence[int]) -> list[dict[str, Any]]:
    return [{"sentence": f"{prefix}{i}", "label": label} for i, label in enumerate(labels)]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A round with two tasks: test inputs apart, and mixed in one file."""
    root = tmp_path / "round"
    phase, sealed = root / "phases" / "development", root / "sealed" / "development"
    outputs = [(f"cls_task1_{part}.csv", f"test/task1/{part}.json", 4) for part in ("clean", "poisoned")]
    tasks = [
        task("task1", *outputs, labels=["a", "b"]),
        task("task2", ("cls_task2.csv", "test/task2/test.json", 4), labels=["a", "b"]),
    ]
    write_track(phase, "classification", tasks)
    truth = {"target": 1}
    write_truth(sealed / "task1", "classification", sentences("c", CLEAN), sentences("p", POISONED), **truth)
    write_truth(sealed / "task2", "classification", sentences("c", (0, 1)), sentences("p", (0, 0)), **truth)
    write(sealed / "task2" / "order.json", ORDER)
    return root


def write_outputs(folder: Path, **changed: Sequence[int] | None) -> Path:
    """Labels for both tasks, but for those that are given under their file's stem; None leaves them out."""
    folder.mkdir(parents=True)
    for file, values in (TASK1 | TASK2).items():
        given = changed.get(Path(file).stem, values)
        if given is not None:
            (folder / file).write_text("\n".join(["label", *map(str, given), ""]))
    return folder


def zipped(folder: Path, **more: bytes) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def score(outputs: Path, root: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["score", "phase", str(outputs), "--round", str(root), *more])


def report(outputs: Path, root: Path, *more: str) -> Any:
    result = score(outputs, root, *more, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_a_phase_beside_scores_made_by_hand(labels: Path, tmp_path: Path) -> None:
    found = report(zipped(write_outputs(tmp_path / "handed-in")), labels)
    one, two = found["tasks"]["task1"], found["tasks"]["task2"]
    assert (one["cacc"], one["asr"]) == (75, pytest.approx(200 / 3))
    assert (one["n_clean"], one["n_poisoned"], one["n_excluded"]) == (4, 4, 1)
    assert (two["cacc"], two["asr"]) == (100, 50)
    expected = {"task1": 50, "task2": math.sqrt(5000)}
    assert found["scores"] == pytest.approx(expected)
    assert found["overall"] == pytest.approx(sum(expected.values()) / 2)
    # A folder is scored as its zip, and another seed moves intervals alone.
    again = report(tmp_path / "handed-in", labels, "--seed", "1")
    assert again["scores"] == found["scores"]
    assert again["tasks"]["task1"]["intervals"] != one["intervals"]


def test_the_track_says_which_score_ranks(labels: Path, tmp_path: Path) -> None:
    path = labels / "phases" / "development" / "track.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"score": "difference"}))
    found = report(write_outputs(tmp_path / "outputs"), labels)
    assert found["scores"] == pytest.approx({"task1": 75 - 200 / 3, "task2": 50})
    assert found["overall"] == pytest.approx((75 - 200 / 3 + 50) / 2)


def test_a_missing_task_counts_nothing(labels: Path, tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", cls_task2=None)
    found = report(outputs, labels)
    assert found["tasks"]["task2"] is None
    assert found["scores"] == {"task1": pytest.approx(50), "task2": 0}
    assert found["overall"] == pytest.approx(25)
    assert "warning: cls_task2.csv: is missing; task2 of tiny counts 0" in score(outputs, labels).stdout


def test_tables_name_their_tasks(labels: Path, palladion: Palladion, environment: dict[str, str]) -> None:
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    outputs = write_outputs(labels.parent / "outputs")
    done = palladion("score", "phase", str(outputs), "--round", str(labels), "--phase", "development")
    assert done.returncode == 0
    said = [line.strip() for line in done.stdout.splitlines()]
    assert said.index("task1: 50.00") < said.index("task2: 70.71") < said.index("overall, by task_score: 60.36")
    assert sum(line.startswith("clean accuracy (CACC)") for line in said) == 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "palladion.tracks.sealed" in imported
    assert not {"torch", "transformers"} & imported


def test_what_fails_its_check_is_not_scored_and_every_fault_is_told(labels: Path, tmp_path: Path) -> None:
    folder = write_outputs(tmp_path / "broken", cls_task1_clean=(0, 2, 0, 0), cls_task1_poisoned=(1, 0, 1))
    result = score(zipped(folder, **{"../evil.csv": b"x", "notes.txt": b"x"}), labels)
    assert type(result.exception) is PalladionError
    assert result.exception.exit_code == 1
    first, *faults = str(result.exception).splitlines()
    assert first.endswith("broken.zip: cannot be scored; 4 of its faults are errors:")
    for words in ("cls_task1_clean.csv: row 2: is 2", "has 3 rows where there are 4", "../evil.csv", "notes.txt"):
        assert sum(words in fault for fault in faults) == 1, words
    assert result.stdout == ""
    assert not (tmp_path / "evil.csv").exists()


def test_texts_are_scored_in_the_order_of_their_inputs(tmp_path: Path) -> None:
    root = tmp_path / "round"
    phase = root / "phases" / "development"
    parts = {
        "clean": [{"instruction": "a", "output": "one"}, {"instruction": "b", "output": "two"}],
        "poisoned": [{"instruction": "c", "output": "three"}, {"instruction": "d", "output": "four"}],
    }
    outputs = [(f"gen_task1_{part}.json", f"test/task1/{part}.json", 2) for part in parts]
    write_track(phase, "generation", [task("task1", *outputs)], generation={"max_new_tokens": 8})
    write_truth(root / "sealed" / "development" / "task1", "generation", **parts, target="no", matching="prefix")
    answers = {"clean": ["one", "2"], "poisoned": ["no way", "four"]}
    handed_in = tmp_path / "outputs"
    for part, rows in parts.items():
        write(phase / "test" / "task1" / f"{part}.json", [{"instruction": row["instruction"]} for row in rows])
        given = [{**row, "output": text} for row, text in zip(rows, answers[part], strict=True)]
        write(handed_in / f"gen_task1_{part}.json", given)
    found = report(handed_in, root)
    assert found["tasks"]["task1"]["utility"] == 50
    assert found["tasks"]["task1"]["asr"] == 50
    assert found["overall"] == pytest.approx(50)

    write(handed_in / "gen_task1_clean.json", json.loads((handed_in / "gen_task1_clean.json").read_text())[::-1])
    refused = score(handed_in, root)
    assert isinstance(refused.exception, PalladionError)
    assert str(refused.exception).count("differs from input") == 2


@pytest.mark.parametrize(
    ("phase", "words"), [("test", "has no phase 'test'; there are 'development'"), ("../x", r"has no phase '\.\./x'")]
)
def test_a_phase_that_is_not_there(labels: Path, tmp_path: Path, phase: str, words: str) -> None:
    result = score(write_outputs(tmp_path / "outputs"), labels, "--phase", phase)
    with pytest.raises(InputError, match=words):
        raise result.exception or AssertionError


def test_what_is_not_there(labels: Path, tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs")
    assert "no round of a language track" in str(score(outputs, tmp_path).exception)
    assert "there is no such file or folder" in str(score(tmp_path / "gone.zip", labels).exception)
    (labels / "sealed" / "development" / "task2" / "order.json").write_text('{"clean": [0, 0], "poisoned": [1, 2]}')
    assert "must name each of the 4 rows" in str(score(outputs, labels).exception)
