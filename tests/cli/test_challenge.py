"""``palladion challenge`` as its user sees it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from palladion.challenge import load_challenge
from palladion.cli import app
from palladion.errors import InputError
from tests.challenge.small import DETECTION, EXAMPLES, LANGUAGE, track_with
from tests.conftest import Palladion
from tests.rounds.stages import write_detection_round, write_language_round


def challenge(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["challenge", *map(str, arguments)])


def said(result: Result) -> str:
    assert result.exit_code == 0, result.exception
    return " ".join(result.stdout.split())


def write(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "challenge.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A challenge with two tracks all of whose data is there."""
    write_detection_round(tmp_path / "data" / "round-0", test=None, holdout=None)
    write_detection_round(tmp_path / "data" / "round-1")
    write_language_round(tmp_path / "data" / "round", "classification")
    data = track_with(DETECTION, stages=[{}, {"opens": "2026-01-05T09:00:00Z", "closes": "2026-02-05T09:30:00Z"}])
    data["tracks"] += LANGUAGE["tracks"]
    return write(tmp_path, data)


@pytest.mark.parametrize("like", ["trojai", "antibad"])
def test_a_new_challenge_passes_its_check(tmp_path: Path, like: str) -> None:
    folder = tmp_path / "my-challenge"
    assert "challenge.yaml: written" in said(challenge("new", folder, "--like", like))
    assert load_challenge(folder).name == "my-challenge"
    checked = said(challenge("check", folder))
    assert checked.endswith("challenge.yaml: no faults found")
    assert checked.count("note: ") == (4 if like == "trojai" else 2)


def test_a_challenge_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "challenge.yaml"
    path.write_text("mine")
    result = challenge("new", tmp_path)
    assert isinstance(result.exception, InputError)
    assert "is there already" in str(result.exception)
    assert path.read_text() == "mine"


def test_unknown_templates_write_nothing(tmp_path: Path) -> None:
    result = challenge("new", tmp_path / "x", "--like", "kaggle")
    assert "there are trojai, antibad" in str(result.exception)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["trojai", "antibad"])
def test_the_examples_pass_as_they_stand(name: str, tmp_path: Path) -> None:
    # Without data that somebody has built in the meantime.
    path = Path(shutil.copy(EXAMPLES / name / "challenge.yaml", tmp_path))
    assert "no faults found" in said(challenge("check", path))
    readme = (EXAMPLES / name / "README.md").read_text()
    for track in load_challenge(path).tracks:
        for stage in track.stages:
            assert f"--out examples/challenges/{name}/{stage.data}" in readme
        assert f"palladion challenge check examples/challenges/{name}" in readme


def test_data_is_checked_and_known_answers_are_scored(whole: Path) -> None:
    printed = said(challenge("check", whole))
    assert "note" not in printed
    assert "detection: Cross-entropy ranks, lower is better" in printed
    assert "stage split perfect constant inverted random goal" in printed
    assert "round-0 test 0.0000 0.6931 27.6310" in printed
    assert "round-1 test 0.0000 0.6931 27.6310" in printed
    assert "round-1 holdout 0.0000 0.6931 27.6310" in printed
    assert "labels: Overall score ranks, higher is better" in printed
    assert "development test 100.0000" in printed


def test_check_as_json(whole: Path) -> None:
    found = json.loads(challenge("check", whole, "--json").stdout)
    assert (found["challenge"], found["faults"], found["notes"]) == ("small", [], [])
    first, second = found["tracks"]["detection"]
    assert (first["stage"], first["data"], list(first["sanity"])) == ("round-0", True, ["test"])
    assert second["sanity"]["holdout"]["inverted"]["roc_auc"] == 0
    assert found["tracks"]["labels"][0]["sanity"]["test"]["perfect"] == {"overall": 100, "cacc": 100, "asr": 0}


def test_faults_of_the_data_are_told_together_and_end_with_2(whole: Path, palladion: Palladion) -> None:
    root = whole.parent / "data"
    (root / "round-1" / "test" / "METADATA.csv").unlink()
    (root / "round" / "sealed" / "development" / "task1" / "meta.json").unlink()
    done = palladion("challenge", "check", whole)
    assert done.returncode == 2
    assert "faults in the data:" in done.stderr
    assert "round-1/test/METADATA.csv: there is no such file" in done.stderr
    assert "task1/meta.json" in done.stderr
    assert "round-0" in done.stdout  # what is right is shown all the same
    assert "no faults" not in done.stdout


def test_faults_of_the_file_are_told_together_and_end_with_2(tmp_path: Path, palladion: Palladion) -> None:
    path = write(tmp_path, track_with(DETECTION, metrics=["asr"], stages=[{"opens": "2026-01-05"}, {"sucess": "half"}]))
    done = palladion("challenge", "check", path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count(f"{path}, line ") == 3
    for words in ("no metric 'asr'", "2026-01-05 has no hours", "did you mean 'success'?"):
        assert words in done.stderr


def test_a_thorough_check_looks_at_every_file(whole: Path) -> None:
    result = challenge("check", whole, "--thorough")
    assert isinstance(result.exception, InputError)
    assert "round.yaml" in str(result.exception)  # these rounds are no whole ones


def test_random_answers_change_with_their_seed(whole: Path) -> None:
    def random(*more: str) -> object:
        found = json.loads(challenge("check", whole, "--json", *more).stdout)
        return found["tracks"]["detection"][1]["sanity"]["test"]["random"]["cross_entropy"]

    assert random() == random("--seed", "0") != random("--seed", "1")


def test_a_challenge_in_words(whole: Path) -> None:
    printed = said(challenge("show", whole))
    for words in (
        "Small (small)",
        "registration: everybody may have an account; a team has at most 6 members",
        "Detection (detection, detection)",
        "metrics: Cross-entropy ranks, lower is better, ROC AUC",
        "submission: code, at most 512M",
        "quotas: no limit",
        "feedback: Scores of the test split: the one that ranks is told, with its interval, when it is better than",
        "limits: 600 s a data point, 4G of memory, 2G of scratch, 256 processes, 1 core, 0 GPUs",
        "advance: an organiser concludes a round",
        "5 Jan 2026",
        "09:30 UTC",
        "by command",
        "cross_entropy ≤ 0.3466",
        "data/round-1: there",
    ):
        assert words in printed, words


def test_other_settings_in_words(tmp_path: Path) -> None:
    data = track_with(
        DETECTION,
        advance={"when": "goal", "teams": 2},
        quotas={"scored": {"per_day": 3}, "concurrent": 1},
        feedback={"policy": "ladder", "step": 0.05},
        submission={"kind": "code", "files": ["detector.py"], "bytes": "3M"},
        limits={"total_seconds": 7200, "gpus": 1},
        metrics=["roc_auc"],
    )
    data |= {"registration": {"approval": "domain", "domains": ["example.org"]}, "description": "Much *text*."}
    printed = said(challenge("show", write(tmp_path, data)))
    for words in (
        "Much *text*.",
        "at once for example.org; an organiser approves others",
        "a round is concluded when 2 teams reached its goal",
        "scored: 3 in 24 hours; 1 at a time",
        "better than the team's best by at least 0.05",
        "code, at most 3M, holding detector.py",
        "7200 s in all",
        "1 GPU",
        "roc_auc ≥ 0.7500",
        "(test is train)",
        "data/round-1: not there",
    ):
        assert words in printed, words


def test_show_as_json_has_the_goals(whole: Path) -> None:
    found = json.loads(challenge("show", whole, "--json").stdout)
    goals = [stage["goal"] for track in found["tracks"] for stage in track["stages"]]
    assert goals == [None, pytest.approx(0.34657, abs=1e-5), None]
    assert found["tracks"][0]["stages"][1]["opens"] == "2026-01-05T09:00:00Z"


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    data = track_with(DETECTION, title="[red]not markup[/red]")
    assert "[red]not markup[/red] (detection, detection)" in said(challenge("show", write(tmp_path, data)))


def test_the_schema_fits_the_examples() -> None:
    schema = json.loads(challenge("schema").stdout)
    for name in ("trojai", "antibad"):
        Draft202012Validator(schema).validate(yaml.safe_load((EXAMPLES / name / "challenge.yaml").read_text()))


def test_nothing_is_there(tmp_path: Path) -> None:
    for command in ("check", "show"):
        result = challenge(command, tmp_path)
        assert isinstance(result.exception, InputError)
        assert "there is no such file; palladion challenge new makes one" in str(result.exception)
