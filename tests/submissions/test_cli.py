from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from palladion.cli.submission import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "submissions"


def check(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "constant-nist",
            "python constant-nist/entrypoint.py infer --model_filepath MODEL --result_filepath result.txt",
        ),
        ("legacy", "python legacy/trojan_detector.py --model_filepath MODEL --result_filepath result.txt"),
        ("template", "--detector template/detector.py infer --model_filepath MODEL"),
    ],
)
def test_an_example_is_shown_with_its_command(name: str, words: str) -> None:
    done = check(EXAMPLES / name)
    assert done.exit_code == 0, done.output
    assert words in done.output
    assert "no errors found" in done.output
    assert str(EXAMPLES) not in done.output


def test_the_command_is_that_of_the_family() -> None:
    done = check(EXAMPLES / "legacy", "--family", "image-classification-jun2020")
    assert "--model_filepath MODEL/model.pt" in done.output
    assert "--examples_dirpath MODEL/example_data" in done.output


def test_what_is_asked_of_the_machine_is_shown(nist_submission: Path) -> None:
    (nist_submission / "submission.yaml").write_text("environment: old\ncpus: 2\nmemory: 1536M\ngpus: 1\n")
    assert "environment: old; 2 cores, 1.5 GiB of memory, 1 GPU" in check(nist_submission).output


def test_errors_are_listed_and_end_with_1(nist_submission: Path) -> None:
    done = check(nist_submission)
    assert done.exit_code == 1
    assert "error: metaparameters_schema.json: technique: is missing" in done.output
    assert "errors found" in done.output


def test_archives_and_images_are_checked(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in (EXAMPLES / "legacy").iterdir():
            archive.write(path, path.name)
    done = check(tmp_path / "mine.zip")
    assert done.exit_code == 0
    assert "mine: script" in done.output
    (tmp_path / "a.sif").write_bytes(b"")
    done = check(tmp_path / "a.sif")
    assert done.exit_code == 1
    assert "apptainer run a.sif --model_filepath" in done.output
