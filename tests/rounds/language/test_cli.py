"""``palladion round`` with rounds of the language tracks."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.documents import write_document
from palladion.rounds.language.spec import LanguageRoundSpec
from tests.rounds.language.tiny import CLASSIFICATION, smallest, spec_of, user_spec, write_table
from tests.rounds.small import tree

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]
Copied = Callable[[Path], Path]


def written(path: Path, spec: LanguageRoundSpec) -> Path:
    path.write_text(write_document(spec))
    return path


def refused(done: "subprocess.CompletedProcess[str]", *messages: str, code: int = 2) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("palladion: ")
    for message in messages:
        assert message in done.stderr


@pytest.mark.slow
def test_a_round_is_shown_checked_and_found_whole(classification_round: Path, palladion: Palladion) -> None:
    shown = palladion("round", "show", classification_round)
    assert shown.returncode == 0
    assert shown.stdout.startswith("Tiny classification (tiny-classification), classification, seed 3\n")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [row[:2] for row in rows if row[:1] == ["task1"]] == [["task1", f"model{n}"] for n in (1, 2, 1, 2)]
    checked = palladion("round", "check", classification_round)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"{classification_round}: no faults found\n"
    phase = palladion("round", "check", classification_round / "phases" / "test")
    assert (phase.returncode, phase.stderr) == (0, "")


@pytest.mark.slow
def test_faults_are_listed_and_counted(classification_round: Path, copied: Copied, palladion: Palladion) -> None:
    root = copied(classification_round)
    (root / "phases" / "test" / "notes.txt").write_text("x")
    (root / "sealed" / "test" / "task1" / "order.json").write_text("{}")
    checked = palladion("round", "check", root)
    assert checked.returncode == 1
    assert checked.stderr == "2 faults found\n"
    assert [line.split(": ")[0] for line in checked.stdout.splitlines()] == [
        str(root / "phases" / "test" / "notes.txt"),
        str(root / "sealed" / "test" / "task1" / "order.json"),
    ]
    # What is sealed does not matter to a participant.
    (root / "phases" / "test" / "notes.txt").unlink()
    assert palladion("round", "check", root / "phases" / "test").returncode == 0


@pytest.mark.slow
def test_a_build_goes_on_and_says_what_to_publish(
    classification_round: Path, copied: Copied, palladion: Palladion, tmp_path: Path
) -> None:
    root = copied(classification_round)
    spec = written(tmp_path / "spec.yaml", spec_of(CLASSIFICATION))
    done = palladion("round", "build", spec, "--out", root)
    assert done.returncode == 0, done.stderr
    assert "1 tasks of 2 poisoned models in development and test; built 0 models, 6 were there already" in done.stdout
    assert f"publish {root}/base and {root}/phases/<phase>; {root}/sealed stays with you" in done.stdout
    assert tree(root) == tree(classification_round)
    other = palladion("round", "build", spec, "--out", root, "--seed", 4)
    refused(other, f"{root}: holds another round, see {root}/sealed/round.yaml")


@pytest.mark.slow
def test_models_that_did_not_pass_end_the_build_with_their_names(
    given_base: Path, palladion: Palladion, tmp_path: Path
) -> None:
    gates = {"attempts": 1, "attack_success_rate": 100, "utility_loss": 0}
    spec = written(tmp_path / "spec.yaml", smallest(given_base, gates=gates))
    done = palladion("round", "build", spec, "--out", tmp_path / "round", "--jobs", 1)
    assert done.returncode == 1
    assert "built 2 models" in done.stdout
    told = done.stderr.splitlines()[-1]
    assert told.startswith("palladion: 1 models did not pass their gates in 1 attempts and are marked so")
    assert told.endswith("test/task1/model1")


@pytest.mark.slow
def test_a_phase_is_played_as_a_table_or_as_json(
    classification_round: Path, palladion: Palladion, tmp_path: Path
) -> None:
    command = ["round", "play", classification_round, "--out", tmp_path / "played"]
    done = palladion(*command, "--method", "undefended", "--method", "vote")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[1:3]} == {"undefended", "vote"}
    assert done.stdout.splitlines()[-1] == f"outputs and zips: {tmp_path / 'played' / 'development'}"
    told = json.loads(palladion(*command, "--method", "undefended", "--json").stdout)
    assert told["phase"] == "development"
    (undefended,) = told["methods"]
    assert Path(undefended["zip"]).is_file()
    assert undefended["overall"] == pytest.approx(undefended["tasks"]["task1"]["task_score"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phase", "final"], "has no phase 'final'"),
        (["--phase", "../sealed"], "has no phase"),
        (["--method", "magic"], "there is no mitigation 'magic'"),
    ],
)
def test_what_cannot_be_played_is_told(
    classification_round: Path, palladion: Palladion, tmp_path: Path, options: list[str], message: str
) -> None:
    refused(palladion("round", "play", classification_round, "--out", tmp_path / "played", *options), message)
    assert not (tmp_path / "played").exists()


def test_a_folder_that_is_no_round_is_told(palladion: Palladion, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("show", "check"):
        refused(palladion("round", command, "empty"), "empty")
    refused(palladion("round", "play", "empty"), "empty: has no phase 'development'")
    refused(palladion("round", "play", "absent"), "absent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", 3], "--train: a language round has no such option"),
        (["--test", 3, "--holdout", 0], "--test, --holdout: a language round has no such option"),
        (["--scale", "large"], "--scale: a language round has no scale 'large'"),
        (["--base", ".", "--corpus", "."], "--base and --corpus: a corpus is what a base is trained on"),
        (["--base", "absent"], "absent: there is no such file or folder"),
        (["--corpus", "absent"], "absent: there is no such file or folder"),
        (["--base", "."], "holds neither config.json nor adapter_config.json"),
        (["--seed", 2**63], "seed"),
    ],
)
def test_options_that_do_not_fit_are_told(
    palladion: Palladion, tmp_path: Path, options: list[object], message: str
) -> None:
    done = palladion("round", "build", "antibad-classification", "--out", tmp_path / "round", *options)
    refused(done, message)
    assert not (tmp_path / "round").exists()


def test_a_round_of_image_classifiers_has_no_base(palladion: Palladion, tmp_path: Path) -> None:
    done = palladion("round", "build", "round-0", "--out", tmp_path / "round", "--base", ".")
    refused(done, "--base: a round of image classifiers has no such option")


def test_faults_of_a_specification_and_of_data_are_told_with_their_place(palladion: Palladion, tmp_path: Path) -> None:
    spec = written(tmp_path / "spec.yaml", spec_of(CLASSIFICATION))
    spec.write_text(spec.read_text().replace("models: 2", "models: two").replace("steps:", "step:"))
    done = palladion("round", "build", spec, "--out", "round")
    refused(done, f"{spec}, line ", "models", "there is no key 'base.step'; did you mean 'steps'")
    data = {
        "train": write_table(tmp_path / "train.tsv", [("one", 0), ("two", 7)]),
        "test": write_table(tmp_path / "test.tsv", [("three", 0)]),
    }
    done = palladion("round", "build", written(spec, user_spec(data)), "--out", "round")
    refused(done, f"{tmp_path}/train.tsv: row 2: the label is 7; there are 2 classes")
    assert not (tmp_path / "round").exists()
    shutil.rmtree(tmp_path / "round", ignore_errors=True)
