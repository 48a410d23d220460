import csv
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rows = [f"id-{i:08d},{i % 2 == 1},{'ab'[i // 2 % 2]}" for i in range(100)]
    return write(tmp_path / "METADATA.csv", "model_name,poisoned,architecture", *rows)


def predictions_with(tmp_path: Path, wrong: int) -> Path:
    """Answers of 0.9 and 0.1 for 100 models, so many of them on the wrong side."""
    rows = [f"id-{i:08d},{0.9 if (i % 2 == 1) != (i < wrong) else 0.1}" for i in range(100)]
    return write(tmp_path / "predictions.csv", "model_name,probability", *rows)


def test_91_of_100_right_at_90_percent(palladion: Palladion, truth: Path, tmp_path: Path) -> None:
    predictions = predictions_with(tmp_path, wrong=9)
    done = palladion("score", "detection", predictions, "--truth", truth, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    metrics = report["metrics"]
    assert metrics["cross_entropy"] == pytest.approx(-(91 * math.log(0.9) + 9 * math.log(0.1)) / 100)
    assert f"{metrics['cross_entropy']:.4f}" == "0.3031"
    low, high = metrics["cross_entropy_interval"]
    assert low < metrics["cross_entropy"] < high
    assert (metrics["n"], metrics["missing"], metrics["accuracy"]) == (100, 0, 0.91)
    assert metrics["success_target"] == pytest.approx(math.log(2) / 2)
    assert metrics["reached"]
    assert len(report["outcomes"]) == 100
    assert report["outcomes"][0] == {
        "data_point": "id-00000000",
        "probability": 0.9,
        "error": None,
        "message": None,
        "status": "ok",
        "poisoned": False,
        "cross_entropy": pytest.approx(-math.log(0.1)),
    }
    table = palladion("score", "detection", predictions, "--truth", truth)
    assert "0.3031" in table.stdout
    assert "target 0.3466: reached" in table.stdout


def test_answers_that_are_none_are_counted(palladion: Palladion, tmp_path: Path) -> None:
    truth = write(tmp_path / "m.csv", "model_name,ground_truth", *(f"m{i},{i % 2}" for i in range(7)))
    predictions = write(
        tmp_path / "p.csv", "model_name,probability", "m1,", "m2,nan", "m3,1e400", "m4,x", "m5,2", "m6,1"
    )
    report = json.loads(palladion("score", "detection", predictions, "--truth", truth, "--json").stdout)
    assert [outcome["error"] for outcome in report["outcomes"]] == [
        "no_answer",
        "no_answer",
        "bad_answer",
        "bad_answer",
        "bad_answer",
        "bad_answer",
        None,
    ]
    metrics = report["metrics"]
    assert (metrics["n"], metrics["missing"], metrics["out_of_range"]) == (7, 5, 1)
    # 0.5 for each of these, and 27.63 for the one that is sure and wrong.
    assert metrics["cross_entropy"] == pytest.approx((6 * math.log(2) - math.log(1e-12)) / 7, rel=1e-4)
    table = palladion("score", "detection", predictions, "--truth", truth).stdout
    assert "m0: " in table
    assert "m5: line 6: the probability is '2'; it must be a number from 0 to 1" in table


def test_clusters_and_seed_are_the_bootstraps(palladion: Palladion, truth: Path, tmp_path: Path) -> None:
    predictions = predictions_with(tmp_path, wrong=9)

    def interval(*more: object) -> list[float]:
        done = palladion("score", "detection", predictions, "--truth", truth, "--json", *more)
        return list(json.loads(done.stdout)["metrics"]["cross_entropy_interval"])

    assert interval("--seed", 1) == interval("--seed", 1) != interval("--seed", 2)
    assert interval("--cluster", "architecture") != interval()


BAD = [
    ("True", "model_name,probability\na,0.5\nb,0.5,9\n", "p.csv, line 3: has 3 columns where the header has 2"),
    ("True", "model_name,probability\na,0.5\n\nzz,0.5\n", "p.csv, line 4: there is no model zz in m.csv"),
    ("True", "model_name,probability\na,0.5\na,0.6\n", "p.csv, line 3: a stands in line 2 already"),
    ("True", "model_name,score\na,0.5\n", "p.csv, line 1: has no column 'probability'; it has model_name, score"),
    ("True", "probability\n0.5\n", "p.csv, line 1: has no column 'model_name'"),
    ("True", "model_name,probability\n,0.5\n", "p.csv, line 2: the model_name is empty"),
    ("True", "", "p.csv: is empty; a header line with column names is needed"),
    ("True", "model_name,probability\n", "p.csv: holds no rows"),
    ("True", 'model_name,probability\n"a,0.5\n', "p.csv: is not CSV"),
    ("True", "model_name,probability\na,\udcff\n", "p.csv: cannot be read as text"),
    ("maybe", "model_name,probability\na,0.5\n", "m.csv, line 2: poisoned is 'maybe'; it must be True or False"),
    ("0.5", "model_name,probability\na,0.5\n", "m.csv, line 2: poisoned is '0.5'"),
]


# All are read by the same functions; that the sweep calls them as well is shown by two.
CASES = [("detection", *bad) for bad in BAD] + [("sweep", *BAD[0]), ("sweep", *BAD[-1])]


@pytest.mark.parametrize(("command", "label", "text", "words"), CASES)
def test_bad_tables_are_named_by_file_and_line(
    palladion: Palladion, tmp_path: Path, command: str, label: str, text: str, words: str
) -> None:
    (tmp_path / "p.csv").write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "m.csv").write_text(f"model_name,poisoned\na,{label}\nb,False\n")
    more = [] if command == "detection" else ["--csv", "out.csv"]
    done = palladion("score", command, "p.csv", "--truth", "m.csv", *more)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"palladion: {words}" in done.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.csv", "--truth", "m.csv"], "palladion: nothing.csv: there is no such file"),
        (["p.csv", "--truth", "nothing.csv"], "palladion: nothing.csv: there is no such file"),
        (["p.csv", "--truth", "m.csv", "--cluster", "family"], "palladion: m.csv, line 1: has no column 'family'"),
        (["p.csv", "--truth", "m.csv", "--seed", "-1"], "palladion: seed"),
        (["p.csv"], "Missing option '--truth'"),
        (["p.csv", "--truth", "m.csv", "--no-such-option"], "No such option"),
    ],
)
def test_bad_arguments_are_named(palladion: Palladion, tmp_path: Path, arguments: list[str], words: str) -> None:
    write(tmp_path / "p.csv", "model_name,probability", "a,0.5")
    write(tmp_path / "m.csv", "model_name,poisoned", "a,True")
    done = palladion("score", "detection", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_the_sweep_is_written_and_drawn(palladion: Palladion, truth: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    predictions = predictions_with(tmp_path, wrong=9)
    done = palladion(
        "score", "sweep", predictions, "--truth", truth, "--csv", "s.csv", "--figure", "s.png", "--seed", 5
    )
    assert done.returncode == 0, done.stderr
    assert "at 50 % poisoned: cross-entropy" in done.stdout
    with (tmp_path / "s.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 990
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_sweep_checks_its_outputs_first(palladion: Palladion, truth: Path, tmp_path: Path) -> None:
    predictions = predictions_with(tmp_path, wrong=9)
    done = palladion("score", "sweep", predictions, "--truth", truth)
    assert done.returncode == 2
    assert "name --csv FILE" in done.stderr
    done = palladion("score", "sweep", predictions, "--truth", truth, "--csv", "no/where.csv")
    assert done.returncode == 2
    assert "no/where.csv: the folder no does not exist" in done.stderr
    done = palladion("score", "sweep", predictions, "--truth", truth, "--csv", "s.csv", "--figure", "s.jpeg")
    assert done.returncode == 2
    assert not (tmp_path / "s.csv").exists()


def test_a_sweep_of_one_class_is_refused(palladion: Palladion, tmp_path: Path) -> None:
    write(tmp_path / "p.csv", "model_name,probability", "a,0.5")
    write(tmp_path / "m.csv", "model_name,poisoned", "a,True")
    done = palladion("score", "sweep", "p.csv", "--truth", "m.csv", "--csv", "out.csv")
    assert done.returncode == 2
    assert "needs both classes" in done.stderr
    assert not (tmp_path / "out.csv").exists()


TRUTH = [
    "input_id,label,target,attack",
    *("c0,0,,", "c1,1,,", "c2,2,,", "c3,0,,"),
    *("t0,0,1,badnets", "t1,1,1,badnets", "t2,2,1,badnets", "u0,0,2,blend", "u1,1,2,blend"),
]


def test_a_mitigated_classifier_is_scored(palladion: Palladion, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", *TRUTH)
    # c2 is wrong, c3 is missing; badnets succeeds on t0 but t1's label is the target; blend: u1 is missing.
    answers = ("c0,0", "c1,1", "c2,0", "t0,1", "t1,1", "t2,2", "u0,0", "u1,?")
    write(tmp_path / "p.csv", "input_id,label", *answers)
    done = palladion("score", "classification", "p.csv", "--truth", "t.csv", "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["clean_accuracy"] == 50
    assert {a["attack"]: a["rate"] for a in metrics["attacks"]} == {"badnets": 50, "blend": 50}
    assert metrics["attack_success_rate"] == 50
    assert metrics["task_score"] == pytest.approx(50)
    assert metrics["difference_score"] == 0
    assert (metrics["n"], metrics["clean"], metrics["missing"]) == (9, 4, 2)
    table = palladion("score", "classification", "p.csv", "--truth", "t.csv").stdout
    assert "attack success, blend" in table


@pytest.mark.parametrize(
    ("answers", "truth", "words"),
    [
        (["c0,0", "c0,1"], TRUTH, "p.csv, line 3: c0 stands in line 2 already"),
        (["x,0"], TRUTH, "p.csv, line 2: there is no input x in t.csv"),
        (["c0,0"], [*TRUTH, "v,1,,blend"], "t.csv, line 11: target is ''; it must be a whole number"),
        (["c0,0"], [*TRUTH, "v,-1,,"], "t.csv, line 11: label is '-1'"),
        (["c0,0"], TRUTH[:5], "t.csv: holds no triggered input"),
        (["c0,0"], [TRUTH[0], *TRUTH[5:]], "p.csv, line 2: there is no input c0"),
    ],
)
def test_bad_tables_of_inputs_are_named_by_file_and_line(
    palladion: Palladion, tmp_path: Path, answers: list[str], truth: list[str], words: str
) -> None:
    write(tmp_path / "p.csv", "input_id,label", *answers)
    write(tmp_path / "t.csv", *truth)
    done = palladion("score", "classification", "p.csv", "--truth", "t.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
