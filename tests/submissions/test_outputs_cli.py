import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import palladion
from palladion.cli.submission import app
from palladion.errors import InputError
from tests.submissions.tracks import Tracks, make_zip, public_contents, public_tracks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "submissions"
SOURCE = Path(palladion.__file__).parents[1]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def tracks(tmp_path: Path) -> Tracks:
    return public_tracks(tmp_path / "tracks")


@pytest.fixture
def options(tracks: Tracks) -> list[object]:
    """The tracks on the command line: one by its file, the others by their folders."""
    first, *others = [folder for folder, _ in tracks]
    return ["--track", first / "track.yaml", *(part for folder in others for part in ("--track", folder))]


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    return public_contents(tmp_path / "made")


def test_the_public_zip_is_accepted(tmp_path: Path, contents: dict[str, bytes], options: list[object]) -> None:
    path = make_zip(tmp_path / "submission.zip", contents)
    done = run("check", path)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("submission.zip: outputs for the public challenge\n")
    assert "cls_task1.csv: cls_task1, 4 rows; order not compared: labels carry no key" in done.output
    assert "no errors found" in done.output
    done = run("check", path, *options)
    assert done.exit_code == 0, done.output
    assert "gen_task1.json: task1 of antibad-gen, 4 rows; in the order of the inputs" in done.output


def test_every_fault_is_printed_and_the_exit_code_is_1(
    tmp_path: Path, contents: dict[str, bytes], options: list[object]
) -> None:
    contents["cls_task1.csv"] = b"label\n0\n8\nx\n"
    contents["notes.txt"] = contents.pop("code/README.md")
    done = run("check", make_zip(tmp_path / "submission.zip", contents), *options)
    assert done.exit_code == 1
    for line in (
        "error: cls_task1.csv: row 2: is 8; labels go from 0 to 2",
        "error: cls_task1.csv: row 3: is 'x'",
        "error: cls_task1.csv: has 3 rows where there are 4 inputs",
        "error: notes.txt: is no output",
        "error: code/: has no README.md",
        "5 errors found",
    ):
        assert line in done.output


def test_json_has_every_fault(tmp_path: Path, contents: dict[str, bytes], options: list[object]) -> None:
    contents["cls_task1.csv"] = b"label\n0\n8\n1\n1\n"
    del contents["mul_task1.csv"]
    done = run("check", make_zip(tmp_path / "submission.zip", contents), "--json", *options)
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["submission"], report["kind"], report["errors"], report["warnings"]) == (
        "submission.zip",
        "outputs",
        1,
        1,
    )
    assert report["tracks"] == ["antibad-gen", "antibad-cls", "antibad-mul"]
    assert report["faults"][0] == {
        "severity": "error",
        "code": "range",
        "file": "cls_task1.csv",
        "where": "row 2",
        "message": "is 8; labels go from 0 to 2",
    }
    assert {file["file"] for file in report["files"]} == {
        "gen_task1.json",
        "gen_task2.json",
        "cls_task1.csv",
        "cls_task2.csv",
        "mul_task2.csv",
    }


def test_json_of_a_detector_has_its_command(nist_submission: Path) -> None:
    done = run("check", EXAMPLES / "legacy", "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert (report["kind"], report["errors"], report["faults"]) == ("script", 0, [])
    assert report["command"][:2] == ["python", "legacy/trojan_detector.py"]
    done = run("check", nist_submission, "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["errors"] == len([fault for fault in report["faults"] if fault["severity"] == "error"]) > 0


def test_the_code_can_be_asked_for_without_a_track(tmp_path: Path, contents: dict[str, bytes]) -> None:
    files = {name: content for name, content in contents.items() if not name.startswith("code/")}
    path = make_zip(tmp_path / "a.zip", files)
    assert run("check", path).exit_code == 0
    done = run("check", path, "--code-required")
    assert done.exit_code == 1
    assert "error: code/: is missing" in done.output


def test_with_a_track_anything_is_taken_for_outputs(
    tmp_path: Path, contents: dict[str, bytes], options: list[object]
) -> None:
    done = run("check", make_zip(tmp_path / "a.zip", {"answers.csv": b"label\n"}), *options)
    assert done.exit_code == 1
    assert "error: answers.csv: is no output" in done.output
    assert "error: a.zip: holds no output at all" in done.output
    (tmp_path / "cls_task1.csv").write_bytes(b"label\n1\n")
    done = run("check", tmp_path / "cls_task1.csv")
    assert done.exit_code == 1
    assert "pack these files as a .zip" in done.output


def test_a_track_at_fault_is_an_input_error(tmp_path: Path, contents: dict[str, bytes]) -> None:
    (tmp_path / "track.yaml").write_text("format: x\n")
    done = run("check", make_zip(tmp_path / "a.zip", contents), "--track", tmp_path)
    assert isinstance(done.exception, InputError)
    assert "track.yaml, line 1: format" in str(done.exception)


def test_packed_outputs_are_accepted(tmp_path: Path, contents: dict[str, bytes], options: list[object]) -> None:
    source = tmp_path / "made"
    (source / "code").mkdir()
    (source / "code/README.md").write_bytes(contents["code/README.md"])
    (source / "code/.env").write_bytes(b"secret")
    (source / "notes.txt").write_bytes(b"")
    out = tmp_path / "out" / "submission.zip"
    done = run("pack", source, "--out", out, *options)
    assert done.exit_code == 0, done.output
    assert "left out: notes.txt: is no output" in done.output
    assert "left out: code/.env: is hidden" in done.output
    assert "7 files" in done.output
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["cls_task1.csv", "cls_task2.csv", "code/README.md"] + [
            f"{name}_task{task}.{suffix}" for name, suffix in (("gen", "json"), ("mul", "csv")) for task in (1, 2)
        ]
    assert run("check", out, *options).exit_code == 0


def test_files_and_code_may_be_given_one_by_one(
    tmp_path: Path, contents: dict[str, bytes], options: list[object]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README").write_text("how")
    out = tmp_path / "a.zip"
    files = [tmp_path / "made" / name for name in ("cls_task1.csv", "gen_task1.json")]
    done = run("pack", *files, "--out", out, "--code", tmp_path / "mine", *options)
    assert done.exit_code == 0, done.output
    assert "warning: mul_task1.csv: is missing; task1 of antibad-mul counts 0" in done.output
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["cls_task1.csv", "code/README", "gen_task1.json"]


def test_nothing_is_packed_with_an_error(tmp_path: Path, contents: dict[str, bytes], options: list[object]) -> None:
    (tmp_path / "made/cls_task1.csv").write_bytes(b"label\n0\n1\n2\n")
    out = tmp_path / "a.zip"
    done = run("pack", tmp_path / "made", "--out", out, *options)
    assert done.exit_code == 1
    assert "error: cls_task1.csv: has 3 rows where there are 4 inputs" in done.output
    assert "error: code/: is missing" in done.output
    assert "not written" in done.output
    assert not out.exists()
    done = run("pack", tmp_path / "made", "--out", out, *options, "--no-code-required")
    assert "code/" not in done.output


def test_checking_and_packing_need_no_model_library(tmp_path: Path, contents: dict[str, bytes]) -> None:
    code = (
        "import sys; from palladion.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    for arguments in (
        ["pack", "made", "--out", "a.zip"],
        ["check", "a.zip"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, "submission", *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(SOURCE)},
        )
        loaded = done.stdout.splitlines()[-1].split()
        assert "palladion.submissions.outputs" in loaded, done.stderr
        assert not {"torch", "transformers", "safetensors", "sacrebleu"} & set(loaded)
