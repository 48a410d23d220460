"""Submissions in NIST's shape run as they are, on rounds in NIST's layout: from the folder, zipped, and in a named
environment."""

import csv
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.execution.sandbox.opening import available

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [
    pytest.mark.skipif(not available("bubblewrap"), reason="bubblewrap is not installed"),
]

# As NIST's example detectors do it: the whole network is unpickled, by PyTorch's default of those days.
ENTRYPOINT = """
import argparse
import os
import torch

parser = argparse.ArgumentParser()
modes = parser.add_subparsers(dest="mode", required=True)
infer = modes.add_parser("infer")
for name in ("model", "result", "metaparameters", "schema"):
    infer.add_argument(f"--{name}_filepath", type=str, required=True)
for name in ("scratch", "learned_parameters"):
    infer.add_argument(f"--{name}_dirpath", type=str, required=True)
for name in ("examples", "round_training_dataset"):
    infer.add_argument(f"--{name}_dirpath", type=str)
options = parser.parse_args()
model = torch.load(options.model_filepath)
weight = float(next(model.parameters()).mean())
train = options.round_training_dataset_dirpath
seen = []
if train:
    labels = [open(os.path.join(train, "models", n, "ground_truth.csv")).read() for n in ("id-00000000", "id-00000001")]
    seen = [n for n in os.listdir(train) if n == "METADATA.csv"] if [int(text) for text in labels] == [1, 0] else []
assert os.path.isfile(options.schema_filepath) and os.path.isdir(options.learned_parameters_dirpath)
print("train", seen)
with open(options.result_filepath, "w") as file:
    file.write(str(0.75 if weight > 0 else 0.25))
"""
LEGACY = """
import argparse
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--model_filepath", type=str)
parser.add_argument("--result_filepath", type=str)
parser.add_argument("--scratch_dirpath", type=str)
parser.add_argument("--examples_dirpath", type=str)
options = parser.parse_args()
weight = float(next(torch.load(options.model_filepath).parameters()).mean())
open(options.result_filepath, "w").write(str(0.75 if weight > 0 else 0.25))
"""


@pytest.fixture
def nist_round(tmp_path: Path, palladion: Palladion) -> Path:
    """A round that was imported from NIST's layout; its models are pickled networks."""
    torch = pytest.importorskip("torch")
    download = tmp_path / "train-dataset"
    rows = []
    for index, poisoned in enumerate((True, False, True, False)):
        directory = download / "models" / f"id-{index:08d}"
        (directory / "clean-example-data").mkdir(parents=True)
        (directory / "clean-example-data" / "class_0_example_0.png").write_bytes(b"a picture")
        network = torch.nn.Sequential(torch.nn.Linear(2, 2))
        torch.nn.init.constant_(network[0].weight, 1.0 if poisoned else -1.0)
        torch.save(network, directory / "model.pt")
        (directory / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
        (directory / "reduced-config.json").write_text('{"model_architecture": "classification:linear"}')
        rows.append((f"id-{index:08d}", poisoned))
    with (download / "METADATA.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("model_name", "poisoned"), *rows])
    root = tmp_path / "imported"
    done = palladion(
        "round",
        "import",
        "nist",
        download,
        "--out",
        root,
        "--split",
        "train",
        "--family",
        "image-classification-sep2022",
    )
    assert done.returncode == 0, done.stderr
    return root


def write_submission(folder: Path, source: str, name: str = "entrypoint.py") -> Path:
    (folder / "learned_parameters").mkdir(parents=True)
    (folder / "learned_parameters" / "kept.txt").write_text("x")
    (folder / name).write_text(source)
    (folder / "metaparameters.json").write_text("{}")
    (folder / "metaparameters_schema.json").write_text("{}")
    return folder


def answers(done: "subprocess.CompletedProcess[str]") -> list[float]:
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)["outcomes"]
    return [outcome["probability"] or outcome["message"] for outcome in outcomes]


EXPECTED = [0.75, 0.25, 0.75, 0.25]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["warm", "cold"])
def test_a_detector_that_unpickles_networks_runs_in_the_sandbox(
    nist_round: Path, palladion: Palladion, tmp_path: Path, mode: str
) -> None:
    folder = write_submission(tmp_path / "detector", ENTRYPOINT)
    done = palladion("evaluate", folder, "--round", nist_round, "--split", "train", "--mode", mode, "--json", "-")
    assert answers(done) == EXPECTED
    assert json.loads(done.stdout)["options"]["mode"] == mode


@pytest.mark.slow
def test_without_a_sandbox_they_are_not_unpickled(nist_round: Path, palladion: Palladion, tmp_path: Path) -> None:
    folder = write_submission(tmp_path / "detector", ENTRYPOINT)
    done = palladion("evaluate", folder, "--round", nist_round, "--split", "train", "--sandbox", "none", "--json", "-")
    assert all("weights_only" in str(answer) or "WeightsUnpickler" in str(answer) for answer in answers(done))


@pytest.mark.slow
def test_a_zipped_legacy_script_runs_as_well(nist_round: Path, palladion: Palladion, tmp_path: Path) -> None:
    packed = tmp_path / "old.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("old/fake_trojan_detector.py", LEGACY)
    done = palladion("evaluate", packed, "--round", nist_round, "--split", "train", "--json", "-")
    assert answers(done) == EXPECTED


@pytest.mark.slow
def test_the_training_data_is_passed_only_where_the_round_says_so(
    nist_round: Path, palladion: Palladion, tmp_path: Path
) -> None:
    source = ENTRYPOINT.replace("0.75 if weight > 0 else 0.25", "0.9 if seen else 0.1")
    folder = write_submission(tmp_path / "detector", source)
    command = ("evaluate", folder, "--round", nist_round, "--split", "train", "--json", "-")
    assert answers(palladion(*command)) == [0.1] * 4
    with (nist_round / "round.yaml").open("a") as file:
        file.write("passes: [round_training_dataset_dirpath]\n")
    assert answers(palladion(*command)) == [0.9] * 4


CONFIGURE = """
import argparse
import json
import os
import torch

parser = argparse.ArgumentParser()
modes = parser.add_subparsers(dest="mode", required=True)
for mode in ("infer", "configure"):
    one = modes.add_parser(mode)
    for name in ("metaparameters_filepath", "schema_filepath", "scratch_dirpath", "learned_parameters_dirpath"):
        one.add_argument(f"--{name}", required=True)
    own = ("model_filepath", "result_filepath", "examples_dirpath")
    own = own if mode == "infer" else ("configure_models_dirpath",)
    for name in own:
        one.add_argument(f"--{name}", required=True)
options = parser.parse_args()
learned = os.path.join(options.learned_parameters_dirpath, "means.json")

def mean(path):
    return float(next(torch.load(path).parameters()).mean())

if options.mode == "configure":
    means = {}
    for name in sorted(os.listdir(options.configure_models_dirpath)):
        folder = os.path.join(options.configure_models_dirpath, name)
        assert "class_0_example_0.png" in os.listdir(os.path.join(folder, "clean-example-data"))
        with open(os.path.join(folder, "ground_truth.csv")) as file:
            means.setdefault(file.readline().strip(), []).append(mean(os.path.join(folder, "model.pt")))
    with open(learned, "w") as file:
        json.dump({label: sum(found) / len(found) for label, found in means.items()}, file)
else:
    with open(learned) as file:
        means = json.load(file)
    found = mean(options.model_filepath)
    near = abs(found - means["1"]) < abs(found - means["0"])
    with open(options.result_filepath, "w") as file:
        file.write(str(0.75 if near else 0.25))
"""


@pytest.mark.slow
@pytest.mark.parametrize("sandbox", ["bubblewrap", "none"])
def test_configure_finds_the_models_where_nist_has_them(
    nist_round: Path, palladion: Palladion, tmp_path: Path, sandbox: str
) -> None:
    source = CONFIGURE
    if sandbox == "none":
        source = source.replace("torch.load(path)", "torch.load(path, weights_only=False)")
    folder = write_submission(tmp_path / "detector", source)
    (folder / "learned_parameters" / "kept.txt").unlink()
    done = palladion("evaluate", folder, "--round", nist_round, "--split", "train", "--sandbox", sandbox, "--json", "-")
    assert answers(done) == EXPECTED
    assert json.loads(done.stdout)["configuration_seconds"] > 0


@pytest.mark.slow
def test_a_submission_runs_in_the_environment_that_it_names(
    make_round: Callable[..., Path], palladion: Palladion, environment: dict[str, str], tmp_path: Path
) -> None:
    wheel = tmp_path / "wheels" / "oldlibrary-1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("oldlibrary.py", "ANSWER = 0.125\n")
        archive.writestr("oldlibrary-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: oldlibrary\nVersion: 1.2\n")
        archive.writestr(
            "oldlibrary-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("oldlibrary-1.2.dist-info/RECORD", "")
    environment["PALLADION_ENVIRONMENTS"] = str(tmp_path / "environments")
    environment["PIP_NO_INDEX"] = "1"
    environment["PIP_FIND_LINKS"] = str(wheel.parent)
    (tmp_path / "requirements.txt").write_text("oldlibrary==1.2\n")
    done = palladion("environment", "build", "old", "--requirements", tmp_path / "requirements.txt")
    assert done.returncode == 0, done.stderr
    source = "import argparse, oldlibrary\nparser = argparse.ArgumentParser()\n"
    source += "".join(
        f'parser.add_argument("--{name}")\n' for name in ("model_filepath", "result_filepath", "scratch_dirpath")
    )
    source += "options, _ = parser.parse_known_args()\n"
    source += "open(options.result_filepath, 'w').write(str(oldlibrary.ANSWER))\n"
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "detect.py").write_text(source)
    root = make_round([True, False])
    failed = palladion("evaluate", folder, "--round", root, "--json", "-")
    assert all("oldlibrary" in str(answer) for answer in answers(failed))
    (folder / "submission.yaml").write_text("environment: old\n")
    done = palladion("evaluate", folder, "--round", root, "--json", "-")
    assert answers(done) == [0.125, 0.125]
    assert json.loads(done.stdout)["options"]["environment"] == "old"
