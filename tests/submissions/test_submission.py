import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.detectors import entrypoint
from palladion.errors import InputError
from palladion.submissions import DataPointPaths, Kind, Manifest, Place, Submission, family
from palladion.submissions.sources import declared_arguments, parse_source

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
    os.utime(nist_submission / "entrypoint.py", (0, 0))
    assert Submission.load(nist_submission).digest() == first
    (nist_submission / "metaparameters.json").write_text('{"a": 1}')
    second = Submission.load(nist_submission).digest()
    (nist_submission / "metaparameters.json").write_text("{}")
    (nist_submission / "metaparameters_schema.json").rename(nist_submission / "x")
    (nist_submission / "metaparameters_schema.json").write_text("{}")
    third = Submission.load(nist_submission).digest()
    # Compiled files are run instead of their sources, so they count as any other.
    (nist_submission / "__pycache__").mkdir()
    (nist_submission / "__pycache__" / "entrypoint.pyc").write_bytes(b"x")
    fourth = Submission.load(nist_submission).digest()
    assert len({first, second, third, fourth}) == 4


def test_the_digest_of_a_reference_detector_needs_no_import_of_it() -> None:
    before = set(sys.modules)
    assert Submission.load("inversion").digest() != Submission.load("constant").digest()
    assert "palladion.detectors.inversion" not in set(sys.modules) - before


@pytest.mark.parametrize("name", ["constant-nist", "legacy", "template"])
def test_the_examples_are_submissions(name: str) -> None:
    assert Submission.load(EXAMPLES / name).name == name


# --- where it runs ----------------------------------------------------------------------------------------------------

INSIDE = Place(Path("/env/bin/python"), Path("/submission"))


def test_another_place_changes_every_path_of_its_own(
    nist_submission: Path, detector_folder: Callable[[str], Path]
) -> None:
    command = Submission.load(nist_submission).infer_command(PATHS, None, place=INSIDE)
    assert command[:3] == ["/env/bin/python", "/submission/entrypoint.py", "infer"]
    assert command[-5:] == [
        "/submission/metaparameters.json",
        "--schema_filepath",
        "/submission/metaparameters_schema.json",
        "--learned_parameters_dirpath",
        "/submission/learned_parameters",
    ]
    folder = detector_folder("")
    (folder / "metaparameters.json").write_text("{}")
    submission = Submission.load(folder)
    for own in (
        submission.infer_command(PATHS, None, place=INSIDE),
        submission.configure_command(Path("/t"), Path("/s"), Path("/l"), place=INSIDE),
        submission.describe_command(Path("/r"), place=INSIDE) or [],
    ):
        assert own[:6] == [
            "/env/bin/python",
            "-P",
            "-m",
            "palladion.detectors.entrypoint",
            "--detector",
            "/submission/detector.py",
        ]
        assert "/submission/metaparameters.json" in own
        assert not any(str(folder) in word for word in own)


def test_an_interpreter_alone_may_be_another(nist_submission: Path) -> None:
    command = Submission.load(nist_submission).infer_command(PATHS, None, place=Place(Path("/p")))
    assert command[:2] == ["/p", str(nist_submission / "entrypoint.py")]


# --- families of rounds -----------------------------------------------------------------------------------------------

EXTRA = DataPointPaths(
    Path("/a/model.pt"),
    Path("/a/examples"),
    Path("/a/result.txt"),
    Path("/scratch"),
    {
        "tokenizer_filepath": Path("/t.pt"),
        "round_training_dataset_dirpath": Path("/train"),
        "cls_token_is_first": Path("/unused"),
        "no_such_argument": Path("/x"),
    },
)


def test_what_a_round_has_is_passed_in_the_order_of_its_family(nist_submission: Path) -> None:
    submission = Submission.load(nist_submission)
    command = submission.infer_command(EXTRA, None, family=family("nlp"))
    assert options_of(command)[-3:] == [
        "--learned_parameters_dirpath",
        "--round_training_dataset_dirpath",
        "--tokenizer_filepath",
    ]
    assert command[-1] == "/t.pt"
    command = submission.infer_command(EXTRA, None, family=family("cyber"))
    assert options_of(command)[-1] == "--round_training_dataset_dirpath"
    command = submission.infer_command(EXTRA, None, family=family("nlp-mar2021"))
    assert command[-3:] == ["--cls_token_is_first", "--tokenizer_filepath", "/t.pt"]
    assert "--metaparameters_filepath" not in command


def test_an_optional_argument_that_the_source_does_not_know_is_left_out(nist_submission: Path) -> None:
    names = ("model_filepath", "result_filepath", "metaparameters_filepath")
    source = "import argparse\np = argparse.ArgumentParser()\n"
    declared = source + "".join(f"p.add_argument('--{name}')\n" for name in names)
    (nist_submission / "entrypoint.py").write_text(declared)
    options = options_of(Submission.load(nist_submission).infer_command(EXTRA, None))
    assert "--round_training_dataset_dirpath" not in options
    assert "--examples_dirpath" not in options
    assert "--schema_filepath" in options  # NIST's contract promises it
    for unknown in ("for name in names: p.add_argument(name)", "p.parse_known_args()", "p.add_argument(*names)"):
        (nist_submission / "entrypoint.py").write_text(declared + unknown)
        options = options_of(Submission.load(nist_submission).infer_command(EXTRA, None))
        assert "--round_training_dataset_dirpath" in options


def test_our_own_entry_point_gets_only_what_it_takes(detector_folder: Callable[[str], Path]) -> None:
    for submission in (Submission.load("constant"), Submission.load(detector_folder(""))):
        options = options_of(submission.infer_command(EXTRA, None, family=family("nlp")))
        assert "--tokenizer_filepath" not in options
        assert "--round_training_dataset_dirpath" in options


def test_what_our_own_entry_point_takes_is_known() -> None:
    declared = declared_arguments(parse_source(Path(entrypoint.__file__))).names - {"detector"}
    assert Submission.load("constant").arguments == declared


# --- scripts of older rounds ------------------------------------------------------------------------------------------

SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--model_filepath", required=True)
parser.add_argument("--result_filepath", required=True)
parser.add_argument("--scratch_dirpath")
"""


def script(folder: Path, source: str = SCRIPT, name: str = "trojan_detector.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    return folder


def test_a_script_is_called_with_no_more_than_it_declares(tmp_path: Path) -> None:
    folder = script(tmp_path / "old")
    script(folder, "import os\n", "helper.py")
    script(folder, "if", "broken.py")
    submission = Submission.load(folder)
    assert (submission.kind, submission.program) == (Kind.SCRIPT, "trojan_detector.py")
    assert submission.infer_command(PATHS, None) == [
        sys.executable,
        str(folder / "trojan_detector.py"),
        "--model_filepath",
        "/a/model",
        "--result_filepath",
        "/a/result.txt",
        "--scratch_dirpath",
        "/scratch",
    ]
    assert submission.configurable is False
    assert submission.describe_command(Path("/r")) is None


def test_a_script_gets_the_files_that_it_brings_where_it_declares_them(tmp_path: Path) -> None:
    more = 'parser.add_argument("--metaparameters_filepath")\nparser.add_argument("--learned_parameters_dirpath")\n'
    folder = script(tmp_path / "old", SCRIPT + more)
    assert "--metaparameters_filepath" not in Submission.load(folder).infer_command(PATHS, None)
    (folder / "metaparameters.json").write_text("{}")
    (folder / "learned_parameters").mkdir()
    (folder / "learned_parameters" / "x").write_text("")
    command = Submission.load(folder).infer_command(PATHS, None)
    assert command[-4:] == [
        "--metaparameters_filepath",
        str(folder / "metaparameters.json"),
        "--learned_parameters_dirpath",
        str(folder / "learned_parameters"),
    ]


def test_a_script_may_be_told_to_configure_itself_by_an_option(tmp_path: Path) -> None:
    more = "".join(
        f'parser.add_argument("--{name}")\n'
        for name in ("configure_mode", "configure_models_dirpath", "learned_parameters_dirpath")
    )
    submission = Submission.load(script(tmp_path / "old", SCRIPT + more))
    assert submission.configurable is True
    command = submission.configure_command(Path("/train"), Path("/s"), Path("/l"), 4)
    assert command[2:] == [
        "--configure_mode",
        "--scratch_dirpath",
        "/s",
        "--configure_models_dirpath",
        "/train",
        "--learned_parameters_dirpath",
        "/l",
    ]


def test_of_two_scripts_the_one_that_is_named_is_called(tmp_path: Path) -> None:
    folder = script(script(tmp_path / "old"), name="other.py")
    with pytest.raises(InputError, match=r"holds 2 scripts .*name the one to call in submission.yaml"):
        Submission.load(folder)
    (folder / "submission.yaml").write_text("script: other.py\n")
    assert Submission.load(folder).program == "other.py"
    (folder / "submission.yaml").write_text("script: missing.py\n")
    with pytest.raises(InputError, match=r"names the script missing.py, but there is no such file"):
        Submission.load(folder)


def test_what_a_submission_asks_for_is_read(nist_submission: Path) -> None:
    assert Submission.load(nist_submission).manifest == Manifest()
    (nist_submission / "submission.yaml").write_text("environment: old-torch\nmemory: 2G\n")
    manifest = Submission.load(nist_submission).manifest
    assert (manifest.environment, manifest.memory) == ("old-torch", 2 << 30)
    (nist_submission / "submission.yaml").write_text("enviroment: x\n")
    with pytest.raises(InputError, match=r"no key 'enviroment'; did you mean 'environment'"):
        Submission.load(nist_submission)


def test_whether_it_learns_is_seen_in_the_source(nist_submission: Path) -> None:
    assert Submission.load(nist_submission).configurable is False
    assert Submission.load(EXAMPLES / "constant-nist").configurable is True
    assert Submission.load("constant").configurable is None


# --- images -----------------------------------------------------------------------------------------------------------


def test_an_image_is_called_without_a_word_and_with_its_own_paths(tmp_path: Path) -> None:
    image = tmp_path / "spectra.sif"
    image.write_bytes(b"x")
    submission = Submission.load(image)
    assert (submission.name, submission.kind, submission.image) == ("spectra", Kind.IMAGE, image.resolve())
    assert (submission.directory, submission.configurable, submission.imports()) == (None, False, ())
    command = submission.infer_command(PATHS, None)
    assert command[:2] == ["--model_filepath", "/a/model"]
    assert command[-6:] == [
        "--metaparameters_filepath",
        "/metaparameters.json",
        "--schema_filepath",
        "/metaparameters_schema.json",
        "--learned_parameters_dirpath",
        "/learned_parameters",
    ]
    assert submission.infer_command(PATHS, Path("/l"))[-1] == "/l"
    four = submission.infer_command(PATHS, None, family=family("image-classification-dec2020"))
    assert options_of(four)[-1] == "--examples_dirpath"
    first = submission.digest()
    image.write_bytes(b"y")
    assert Submission.load(image).digest() != first


def test_an_image_is_configured_as_its_family_says(tmp_path: Path) -> None:
    (tmp_path / "a.sif").write_bytes(b"x")
    submission = Submission.load(tmp_path / "a.sif")
    paths = (Path("/t"), Path("/s"), Path("/l"))
    assert submission.configure_command(*paths)[0] == "configure"
    old = family("image-classification-sep2022")
    assert submission.configure_command(*paths, family=old)[0] == "--configure_mode"


# --- imports ----------------------------------------------------------------------------------------------------------


def test_imports_are_read_and_never_run(nist_submission: Path) -> None:
    source = (
        "import os.path, numpy as np\nfrom scipy.special import expit\nfrom . import x\nimport helper, package.inner\n"
    )
    (nist_submission / "entrypoint.py").write_text(source)
    (nist_submission / "helper.py").write_text(
        "def f():\n    import sklearn.tree\nfrom __future__ import annotations\n"
    )
    (nist_submission / "package").mkdir()
    (nist_submission / "package" / "inner.py").write_text("import torch\nopen('/nowhere', 'w')")
    (nist_submission / "broken.py").write_text("import never\nif")
    expected = ("numpy", "os.path", "scipy.special", "sklearn.tree", "torch")
    assert Submission.load(nist_submission).imports() == expected


def test_what_takes_long_to_import_comes_with_what_needs_it(detector_folder: Callable[[str], Path]) -> None:
    assert "transformers.modeling_utils" in Submission.load("inversion").imports()
    assert Submission.load("constant").imports() == ("palladion.detectors.constant",)
    folder = detector_folder("from palladion.models.image_classifier import load_classifier")
    before = set(sys.modules)
    assert "torch" in Submission.load(folder).imports()
    assert "palladion.__main__" not in set(sys.modules) - before


def test_a_name_of_ours_that_is_none_imports_nothing(detector_folder: Callable[[str], Path]) -> None:
    folder = detector_folder("import palladion.__main__.x, palladion.nothing, palladion.models.image_classifier.y")
    before = set(sys.modules)
    Submission.load(folder).imports()
    assert set(sys.modules) == before
