import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MakeRound = Callable[..., Path]
Palladion = Callable[..., "subprocess.CompletedProcess[str]"]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "submissions"


def test_the_constant_scores_ln_2(palladion: Palladion, make_round: MakeRound, tmp_path: Path) -> None:
    root = make_round([True, False, True, False])
    done = palladion("evaluate", "constant", "--round", root, "--json", "scores.json")
    assert done.returncode == 0, done.stderr
    assert "0.6931" in done.stdout
    assert "target 0.3466: not reached" in done.stdout
    assert "id-00000000" in done.stdout
    document = json.loads((tmp_path / "scores.json").read_text())
    assert (document["submission"], document["round"], document["split"]) == ("constant", str(root), "test")
    metrics = document["metrics"]
    assert metrics["cross_entropy"] == pytest.approx(math.log(2))
    assert metrics["cross_entropy_interval"] == pytest.approx([math.log(2)] * 2)
    assert (metrics["roc_auc"], metrics["brier"], metrics["n"], metrics["missing"]) == (0.5, 0.25, 4, 0)
    assert metrics["success_target"] == pytest.approx(math.log(2) / 2)
    outcome = document["outcomes"][2]
    assert list(outcome) == [
        "data_point",
        "probability",
        "error",
        "message",
        "seconds",
        "overhead_seconds",
        "peak_memory_bytes",
        "status",
        "poisoned",
        "cross_entropy",
    ]
    assert (outcome["data_point"], outcome["probability"], outcome["error"]) == ("id-00000002", 0.5, None)
    assert outcome["poisoned"] is True
    assert 0.01 < outcome["seconds"] < 10
    assert 5 << 20 < outcome["peak_memory_bytes"] < 200 << 20
    assert document["configuration_seconds"] is None


def test_failures_are_counted_and_said(palladion: Palladion, make_round: MakeRound, nist_submission: Path) -> None:
    behaviour = {0: "sys.exit('I give up')", 1: 'result.write_text("7")', 2: 'result.write_text("0")'}
    root = make_round([False, True, False], behaviour=behaviour)
    done = palladion("evaluate", nist_submission, "--round", root)
    assert done.returncode == 0
    assert "id-00000000: it ended with exit code 1; its last words: I give up" in done.stdout
    assert "id-00000001: result.txt holds '7'; it must hold one number from 0 to 1" in done.stdout
    document = json.loads(palladion("evaluate", nist_submission, "--round", root, "--json", "-").stdout)
    assert [(o["probability"], o["error"]) for o in document["outcomes"]] == [
        (None, "crashed"),
        (None, "bad_answer"),
        (0.0, None),
    ]
    assert (document["metrics"]["missing"], document["metrics"]["out_of_range"]) == (1, 1)


def test_the_printed_command_runs_as_it_is(
    palladion: Palladion, make_round: MakeRound, tmp_path: Path, environment: dict[str, str]
) -> None:
    root = make_round([True, False])
    printed = palladion("evaluate", EXAMPLES / "constant-nist", "--round", root).stdout
    command = next(line for line in printed.splitlines() if line.startswith("One model by hand: "))
    here = tmp_path / "by-hand"
    here.mkdir()
    subprocess.run(
        command.removeprefix("One model by hand: "), shell=True, check=True, cwd=here, env=environment, timeout=30
    )
    assert (here / "result.txt").read_text() == "0.5\n"


def test_the_bootstraps_clusters_come_from_the_metadata(palladion: Palladion, make_round: MakeRound) -> None:
    root = make_round([True, False, True, False])
    done = palladion("evaluate", "constant", "--round", root, "--cluster", "architecture", "--json", "-")
    assert json.loads(done.stdout)["metrics"]["clusters"] == 2


def test_another_split_may_be_evaluated(palladion: Palladion, make_round: MakeRound) -> None:
    done = palladion("evaluate", "constant", "--round", make_round([True]), "--split", "train", "--json", "-")
    assert json.loads(done.stdout)["split"] == "train"


# Leaves a file behind wherever it is run: then it was run too early.
RUNS = "import os; open(os.environ['HOME'] + '/../../ran', 'w')"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--round", "round", "--json", "no/where.json"], "no/where.json: the folder no does not exist; make it first"),
        (["--round", "round", "--json", "round"], "round: is a folder; name a file"),
        (["--round", "nothing"], "nothing: there is no such directory"),
        (["--round", "round/test"], "round/test: holds no round.yaml; is this a round?"),
        (["--round", "round", "--split", "holdout"], "round: this round has no holdout split"),
        (["--round", "round", "--split", "exam"], "there is no split 'exam'; there are train, test, holdout"),
        (["--round", "round", "--cluster", "family"], "METADATA.csv, line 1: has no column 'family'"),
        (["--round", "round", "--slots", "0"], "0 slots: there must be 1 or more"),
        (["--round", "round", "--time-limit", "0"], "a time limit of 0 s: it must be more than 0"),
        (["--round", "round", "--learned", "round/round.yaml"], "round.yaml: is not a folder"),
        ([], "Missing option '--round'"),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(
    palladion: Palladion, make_round: MakeRound, nist_submission: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    make_round([True, False], behaviour=RUNS)
    done = palladion("evaluate", nist_submission, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert not list(tmp_path.rglob("ran"))


def test_a_bad_table_of_labels_is_told_before_anything_runs(
    palladion: Palladion, make_round: MakeRound, nist_submission: Path, tmp_path: Path
) -> None:
    root = make_round([True, False], behaviour=RUNS)
    metadata = root / "test" / "METADATA.csv"
    metadata.write_text(metadata.read_text().replace("id-00000001,False", "id-00000001,perhaps"))
    done = palladion("evaluate", nist_submission, "--round", root)
    assert done.returncode == 2
    assert "METADATA.csv, line 3: poisoned is 'perhaps'" in done.stderr
    assert not list(tmp_path.rglob("ran"))


def test_a_submission_that_is_none_is_told_with_what_there_is(palladion: Palladion, make_round: MakeRound) -> None:
    done = palladion("evaluate", "nothing", "--round", make_round([True]))
    assert done.returncode == 2
    assert (
        "nothing: there is no such folder, nor a reference detector of this name (constant, inversion)" in done.stderr
    )


def test_a_faulty_round_stops_the_evaluation_and_leaves_no_report(
    palladion: Palladion, make_round: MakeRound, nist_submission: Path, tmp_path: Path, temporary: Path
) -> None:
    root = make_round([True, False])
    (root / "test" / "models" / "id-00000001" / "open" / "model" / "x").symlink_to("/etc/passwd")
    done = palladion("evaluate", nist_submission, "--round", root, "--json", "scores.json")
    assert done.returncode == 2
    assert "is a link or a special file" in done.stderr
    assert not (tmp_path / "scores.json").exists()
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_the_template_learns_and_answers(palladion: Palladion, make_round: MakeRound) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    import numpy as np

    labels = [i % 2 == 1 for i in range(8)]
    root = make_round(labels)
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for i, poisoned in enumerate(labels):
            model = root / split / "models" / f"id-{i:08d}" / "open" / "model"
            weights = generator.normal(size=(5, 32)).astype(np.float32)
            weights[2] *= 3 if poisoned else 1
            numpy.save_file({"classifier.weight": weights}, model / "model.safetensors")
            (model / "config.json").write_text(json.dumps({"id2label": {str(c): str(c) for c in range(5)}}))
    done = palladion("evaluate", EXAMPLES / "template", "--round", root, "--json", "-")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["metrics"]["roc_auc"] == 1.0
    assert document["metrics"]["reached"]
    assert document["configuration_seconds"] > 0
