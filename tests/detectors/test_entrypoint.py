import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.detectors import reference_detectors
from palladion.detectors.entrypoint import main

MakeRound = Callable[..., Path]
CONSTANT = "palladion.detectors.constant:ConstantDetector"


def arguments(tmp_path: Path, *more: str) -> list[str]:
    return [
        *("--model_filepath", str(tmp_path / "model")),
        *("--result_filepath", str(tmp_path / "result.txt")),
        *("--scratch_dirpath", str(tmp_path / "scratch")),
        *("--examples_dirpath", str(tmp_path / "examples")),
        *("--metaparameters_filepath", str(tmp_path / "metaparameters.json")),
        *("--schema_filepath", str(tmp_path / "metaparameters_schema.json")),
        *("--learned_parameters_dirpath", str(tmp_path / "learned")),
        *more,
    ]


@pytest.mark.parametrize("word", [[], ["infer"]])
def test_it_answers_with_and_without_the_word(tmp_path: Path, word: list[str]) -> None:
    assert main(["--detector", CONSTANT, *word, *arguments(tmp_path)]) == 0
    assert float((tmp_path / "result.txt").read_text()) == 0.5


def test_metaparameters_are_the_constructors_arguments(tmp_path: Path) -> None:
    (tmp_path / "metaparameters.json").write_text('{"value": 0.125, "technique": "Constant", "commit_id": "x"}')
    assert main(["--detector", CONSTANT, *arguments(tmp_path)]) == 0
    assert (tmp_path / "result.txt").read_text() == "0.125\n"


def test_bad_metaparameters_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metaparameters.json").write_text("{")
    assert main(["--detector", CONSTANT, *arguments(tmp_path)]) == 2
    assert "metaparameters.json: cannot be read as JSON" in capsys.readouterr().err
    assert not (tmp_path / "result.txt").exists()


LEARNER = """
from palladion.detectors import Detector

class Share(Detector):
    def configure(self, train_split):
        assert train_split.scratch.is_dir()
        self.share_ = sum(train_split.poisoned) / len(train_split)

    def probability(self, model_dir, examples_dir):
        return self.share_
"""


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A detector.py, under a name of its own: modules stay in memory between tests."""
    path = tmp_path / f"detector_{abs(hash(tmp_path))}.py"
    path.write_text(LEARNER)
    monkeypatch.setattr("sys.path", list(sys.path))
    return str(path)


@pytest.mark.parametrize("given", ["split", "its models"])
def test_configure_learns_and_infer_uses_it(
    tmp_path: Path, make_round: MakeRound, learner: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    split = make_round([True, True, True, False]) / "train"
    assert main(["--detector", learner, "infer", *arguments(tmp_path)]) == 2
    assert "run `configure` first" in capsys.readouterr().err
    configure = [
        *("--scratch_dirpath", str(tmp_path / "scratch")),
        *("--configure_models_dirpath", str(split if given == "split" else split / "models")),
        *("--metaparameters_filepath", str(tmp_path / "metaparameters.json")),
        *("--schema_filepath", str(tmp_path / "metaparameters_schema.json")),
        *("--learned_parameters_dirpath", str(tmp_path / "learned")),
        "--automatic_configuration",
    ]
    assert main(["--detector", learner, "configure", *configure]) == 0
    assert json.loads((tmp_path / "learned" / "learned.json").read_text()) == {"share_": 0.75}
    assert main(["--detector", learner, "infer", *arguments(tmp_path)]) == 0
    assert (tmp_path / "result.txt").read_text() == "0.75\n"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("palladion.detectors.constant:Nothing", "has no class 'Nothing'"),
        ("palladion.detectors.nothing:Detector", "No module named"),
        ("palladion.detectors.contract:Detector", "is not a class with Detector as its base"),
        ("/nowhere/detector.py", "there is no such file"),
    ],
)
def test_a_target_that_is_none_is_named(
    tmp_path: Path, target: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--detector", target, *arguments(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_describe_says_whether_there_is_anything_to_learn(tmp_path: Path, learner: str) -> None:
    result = tmp_path / "description.json"
    for target, expected in ((CONSTANT, False), (learner, True)):
        assert main(["--detector", target, "describe", "--result_filepath", str(result)]) == 0
        assert json.loads(result.read_text()) == {"configurable": expected}


def test_the_reference_detectors_are_known_by_name() -> None:
    assert reference_detectors()["constant"] == CONSTANT
    assert "inversion" in reference_detectors()
