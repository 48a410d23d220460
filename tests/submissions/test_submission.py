import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.submissions import DataPointPaths, Kind, Submission

PATHS = DataPointPaths(Path("/a/model"), Path("/a/examples"), Path("/a/result.txt"), Path("/scratch"))
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "submissions"


def options_of(command: list[str]) -> list[str]:
    return [word for word in command if word.startswith("--")]


def test_a_nist_folder_is_called_as_nist_calls_it(nist_submission: Path) -> None:
    submission = Submission.load(nist_submission)
    assert submission.kind is Kind.ENTRYPOINT
    command = submission.infer_command(PATHS, None)
    assert command[:3] == [sys.executable, str(nist_submission / "entrypoint.py"), "infer"]
    assert command[3:] == [
        "--model_filepath",
        "/a/model",
        "--result_filepath",
        "/a/result.txt",
        "--scratch_dirpath",
        "/scratch",
        "--examples_dirpath",
        "/a/examples",
        "--metaparameters_filepath",
        str(nist_submission / "metaparameters.json"),
        "--schema_filepath",
        str(nist_submission / "metaparameters_schema.json"),
        "--learned_parameters_dirpath",
        str(nist_submission / "learned_parameters"),
    ]


def test_a_legacy_script_is_called_without_a_word(nist_submission: Path) -> None:
    script = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--model_filepath')\n"
    (nist_submission / "entrypoint.py").write_text(script)
    command = Submission.load(nist_submission).infer_command(PATHS, None)
    assert command[1:3] == [str(nist_submission / "entrypoint.py"), "--model_filepath"]


def test_configure_is_called_with_nists_arguments(nist_submission: Path) -> None:
    command = Submission.load(nist_submission).configure_command(Path("/train"), Path("/s"), Path("/learned"), 4)
    assert command[2] == "configure"
    assert options_of(command) == [
        "--scratch_dirpath",
        "--configure_models_dirpath",
        "--metaparameters_filepath",
        "--schema_filepath",
        "--learned_parameters_dirpath",
    ]
    assert command[-1] == "/learned"


def test_reference_detectors_go_by_name() -> None:
    submission = Submission.load("constant")
    assert (submission.kind, submission.directory) == (Kind.REFERENCE, None)
    command = submission.infer_command(PATHS, Path("/learned"))
    assert command[1:5] == ["-P", "-m", "palladion.detectors.entrypoint", "--detector"]
    assert command[5:7] == ["palladion.detectors.constant:ConstantDetector", "infer"]
    assert command[-2:] == ["--learned_parameters_dirpath", "/learned"]


def test_a_folder_is_told_from_a_reference_detector_by_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "constant").mkdir()
    (tmp_path / "constant" / "detector.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert Submission.load("constant").kind is Kind.REFERENCE
    assert Submission.load("./constant").kind is Kind.DETECTOR


def test_loading_runs_nothing_of_it(detector_folder: Callable[[str], Path], nist_submission: Path) -> None:
    for folder, name in ((detector_folder(""), "detector.py"), (nist_submission, "entrypoint.py")):
        (folder / name).write_text("from pathlib import Path; Path(__file__ + '.ran').touch()")
        submission = Submission.load(folder)
        submission.digest()
        submission.infer_command(PATHS, None)
        assert not (folder / f"{name}.ran").exists()


def test_its_own_learned_parameters_are_used_where_there_are_any(detector_folder: Callable[[str], Path]) -> None:
    folder = detector_folder("")
    (folder / "learned_parameters").mkdir()
    submission = Submission.load(folder)
    assert submission.learned_parameters is None
    assert "--learned_parameters_dirpath" not in submission.infer_command(PATHS, None)
    (folder / "learned_parameters" / "learned.json").write_text("{}")
    assert submission.learned_parameters == folder / "learned_parameters"
    assert submission.infer_command(PATHS, None)[-1] == str(folder / "learned_parameters")


def change(folder: Path, name: str, content: str | None) -> None:
    path = folder / name
    if content is None:
        path.rmdir() if path.is_dir() else path.unlink()
    else:
        path.write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metaparameters.json", None, "submission: holds no metaparameters.json; NIST's contract asks for it"),
        ("metaparameters_schema.json", None, "submission: holds no metaparameters_schema.json"),
        ("learned_parameters", None, "submission: holds no folder learned_parameters/"),
        ("entrypoint.py", None, "submission: holds neither entrypoint.py nor detector.py"),
        ("entrypoint.py", "x = 1\nif x\n", "entrypoint.py, line 2: is not Python: expected ':'"),
        ("entrypoint.py", "x = '\0'", "entrypoint.py: is not Python"),
        ("metaparameters.json", '{\n"a": }', "metaparameters.json, line 2: is not JSON"),
        ("metaparameters.json", "[1]", "metaparameters.json: must be a JSON object"),
    ],
)
def test_what_is_missing_or_wrong_is_named(nist_submission: Path, name: str, content: str | None, words: str) -> None:
    change(nist_submission, name, content)
    with pytest.raises(InputError) as error:
        Submission.load(nist_submission)
    assert words in str(error.value)


def test_links_and_special_files_are_refused(nist_submission: Path) -> None:
    (nist_submission / "learned_parameters" / "all").symlink_to("/")
    with pytest.raises(InputError, match="learned_parameters/all: is a link"):
        Submission.load(nist_submission)
    (nist_submission / "learned_parameters" / "all").unlink()
    os.mkfifo(nist_submission / "pipe")
    with pytest.raises(InputError, match="pipe: is no plain file"):
        Submission.load(nist_submission)


def test_a_name_that_is_nothing_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder, nor a reference detector .*constant"):
        Submission.load("no-such-thing")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a submission is a folder"):
        Submission.load(tmp_path / "file")


def test_the_digest_is_that_of_names_and_contents(nist_submission: Path) -> None:
    first = Submission.load(nist_submission).digest()
    cache = nist_submission / "__pycache__"
    cache.mkdir()
    (cache / "entrypoint.pyc").write_bytes(b"x")
    os.utime(nist_submission / "entrypoint.py", (0, 0))
    assert Submission.load(nist_submission).digest() == first
    (nist_submission / "metaparameters.json").write_text('{"a": 1}')
    second = Submission.load(nist_submission).digest()
    (nist_submission / "metaparameters.json").write_text("{}")
    (nist_submission / "metaparameters_schema.json").rename(nist_submission / "x")
    (nist_submission / "metaparameters_schema.json").write_text("{}")
    third = Submission.load(nist_submission).digest()
    assert len({first, second, third}) == 3


def test_the_digest_of_a_reference_detector_needs_no_import_of_it() -> None:
    before = set(sys.modules)
    assert Submission.load("inversion").digest() != Submission.load("constant").digest()
    assert "palladion.detectors.inversion" not in set(sys.modules) - before


@pytest.mark.parametrize("name", ["constant-nist", "template"])
def test_the_examples_are_submissions(name: str) -> None:
    assert Submission.load(EXAMPLES / name).name == name
