"""Claim: a warm sandbox costs 40 ms a model or less, and at least 25 times less than a bare interpreter a model.

A detector that imports torch and reads the whole model is run on models of Round 1's shape (untrained: what they answer
does not matter here), one at a time, in three ways: warm and cold in the sandbox, and as plain
``python entrypoint.py`` on the round itself, as NIST's harness does after its container has started. The overhead of a
model is the wall time from the end of the model before it to its own, less what the detector measures of itself once
its imports are done. Warm, the next model is staged while one runs, as in every evaluation.

The fork server's own start is in no model's overhead; it is printed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from palladion.execution.data_points import SubmissionRunner
from palladion.execution.evaluation import run_all
from palladion.execution.interpreter import own
from palladion.execution.outcome import Outcome
from palladion.execution.sandbox.contract import Bind, Contents, Limits
from palladion.execution.sandbox.opening import open_sandbox
from palladion.execution.sandbox.preload import worth_importing
from palladion.models import ModelEntry, RoundDirectory
from palladion.models.round_directory import example_name, model_name
from palladion.rounds.families import new_network
from palladion.rounds.spec import load_preset
from palladion.submissions import DataPointPaths, Submission

ENTRYPOINT = """
import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

start = time.monotonic()
parser = argparse.ArgumentParser()
for name in ("model_filepath", "result_filepath", "scratch_dirpath", "examples_dirpath", "metaparameters_filepath",
             "schema_filepath", "learned_parameters_dirpath"):
    parser.add_argument("--" + name, type=Path)
options = parser.parse_args()
weights = load_file(options.model_filepath / "model.safetensors")
total = float(sum(tensor.double().abs().sum() for tensor in weights.values()))
# The answer is what it took, in seconds, so that whoever measures can take it off.
options.result_filepath.write_text(f"{time.monotonic() - start:.9f}")
"""
GOAL_SECONDS, GOAL_RATIO = 0.040, 25.0


def build(root: Path, models: int) -> list[ModelEntry]:
    """A split of models of Round 1's families, untrained, with 100 example images each."""
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    networks = []
    for family in load_preset("round-1").architectures:
        directory = root / "networks" / family
        new_network(family, classes=5, seed=0).save_pretrained(directory)  # type: ignore[operator]
        networks.append(directory)
    for index in range(models):
        directory = root / "train" / "models" / model_name(index)
        examples = directory / "open" / "clean-example-data"
        examples.mkdir(parents=True)
        shutil.copytree(networks[index % len(networks)], directory / "open" / "model")
        for label in range(5):
            for number in range(20):
                Image.fromarray(picture).save(examples / example_name(label, number))
    (root / "round.yaml").write_text("splits: {train: {}}\n")
    return list(RoundDirectory.open(root).split("train").models())


def write_submission(folder: Path) -> Submission:
    (folder / "learned_parameters").mkdir(parents=True)
    (folder / "entrypoint.py").write_text(ENTRYPOINT)
    for name in ("metaparameters.json", "metaparameters_schema.json"):
        (folder / name).write_text("{}")
    return Submission.load(folder)


def in_sandbox(submission: Submission, entries: list[ModelEntry], *, warm: bool) -> tuple[list[float], float]:
    """Overhead of each model, and seconds that the sandbox took to open."""
    assert submission.directory is not None
    preload = worth_importing(submission.imports())
    contents = Contents(own(), (Bind(submission.directory, "submission"),), preload=preload)
    start = time.monotonic()
    ends: list[float] = []
    overheads: list[float] = []

    def done(outcome: Outcome) -> None:
        assert outcome.probability is not None, outcome.message
        ends.append(time.monotonic())
        if len(ends) > 1:
            overheads.append(ends[-1] - ends[-2] - outcome.probability)

    with closing(open_sandbox("bubblewrap", contents, warm=warm, slots=1, cpus=1)) as sandbox:
        opened = time.monotonic() - start
        assert sandbox.warm is warm
        run_all(SubmissionRunner(submission, sandbox, Limits()), entries, 1, done)
    return overheads, opened


def bare(submission: Submission, entries: list[ModelEntry], scratch: Path) -> list[float]:
    """Overhead of each model where a plain interpreter is started for it."""
    overheads = []
    result = scratch / "result.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for entry in entries:
        command = submission.infer_command(DataPointPaths(entry.model, entry.examples, result, scratch), None)
        start = time.monotonic()
        subprocess.run(command, check=True, env=environment)
        overheads.append(time.monotonic() - start - float(result.read_text()))
    return overheads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "sandbox.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        entries = build(root / "round", options.models + 1)  # the first one warms the caches
        submission = write_submission(root / "detector")
        scratch = root / "scratch"
        scratch.mkdir()
        plain = bare(submission, entries, scratch)[1:]
        cold, _ = in_sandbox(submission, entries, warm=False)
        warm, opened = in_sandbox(submission, entries, warm=True)
    rows = {"warm": warm, "cold": cold, "bare python": plain}
    medians = {name: statistics.median(values) for name, values in rows.items()}
    print(f"overhead a model, {options.models} models, one at a time (the fork server took {opened:.1f} s to start)")
    print(f"{'':12} {'median':>9} {'10 %':>9} {'90 %':>9} {'× warm':>8}")
    for name, values in rows.items():
        low, high = np.quantile(values, [0.1, 0.9])
        ratio = medians[name] / medians["warm"]
        print(f"{name:12} {medians[name] * 1e3:6.1f} ms {low * 1e3:6.1f} ms {high * 1e3:6.1f} ms {ratio:8.1f}")
    ratio = medians["bare python"] / medians["warm"]
    reached = medians["warm"] <= GOAL_SECONDS and ratio >= GOAL_RATIO
    print(f"goal: at most {GOAL_SECONDS * 1e3:.0f} ms, and {GOAL_RATIO:.0f} times less than bare: ", end="")
    print("reached" if reached else "NOT reached")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"models": options.models, "overhead_seconds": rows, "fork_server_seconds": opened, "reached": reached}
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
