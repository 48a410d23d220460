"""The first whole run, in miniature: a real round, the real detector, the real command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from palladion.detectors.inversion import InversionDetector
from palladion.errors import InputError
from palladion.models import RoundDirectory

pytestmark = pytest.mark.slow


def palladion(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "palladion", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def real_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("inversion") / "round"
    numbers = ("--train", "6", "--test", "6", "--holdout", "0")
    palladion("round", "build", "round-1", "--out", directory, *numbers, "--seed", "77")
    return directory


def test_it_closes_half_the_distance_to_perfect_and_the_constant_does_not(real_round: Path, tmp_path: Path) -> None:
    assert "no faults" in palladion("round", "check", real_round)
    entropy = {}
    for name in ("constant", "inversion"):
        file = tmp_path / f"{name}.json"
        palladion("evaluate", name, "--round", real_round, "--split", "test", "--json", file)
        metrics = json.loads(file.read_text())["metrics"]
        assert (metrics["n"], metrics["missing"]) == (6, 0)
        entropy[name] = metrics["cross_entropy"]
    assert entropy["constant"] == pytest.approx(np.log(2))
    assert entropy["inversion"] < 0.3466
    rows = json.loads(palladion("score", "compare", tmp_path / "constant.json", tmp_path / "inversion.json", "--json"))[
        "submissions"
    ]
    assert [row["submission"] for row in rows] == ["inversion", "constant"]
    assert rows[1]["behind_first"] == pytest.approx(entropy["constant"] - entropy["inversion"])


def test_the_target_class_has_the_smallest_mask(real_round: Path) -> None:
    split = RoundDirectory.open(real_round).split("train")
    labels = split.labels()
    detector = InversionDetector()
    right = []
    for entry in split.models():
        if labels[entry.name]:
            target = json.loads((entry.sealed / "trigger.json").read_text())["target_class"]
            right.append(int(np.argmin(detector.mask_sizes(entry.model, entry.examples))) == target)
    assert sum(right) >= 2
    assert len(right) == 3


def test_the_answer_is_a_pure_function_of_the_model(real_round: Path) -> None:
    entry = RoundDirectory.open(real_round).split("test").models()[0]
    detector = InversionDetector(steps=20)
    first, second = (detector.mask_sizes(entry.model, entry.examples) for _ in range(2))
    assert (first == second).all()
    assert first.shape == (5,)


def test_it_must_learn_before_it_answers(real_round: Path) -> None:
    entry = RoundDirectory.open(real_round).split("test").models()[0]
    with pytest.raises(InputError, match="must be configured"):
        InversionDetector().probability(entry.model, entry.examples)
