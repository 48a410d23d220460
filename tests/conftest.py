"""Rounds, submissions and the command line, for tests that run real processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest

# Examples are timed by benchmarks; on a busy machine a deadline only makes tests fail by chance.
hypothesis.settings.register_profile("palladion", deadline=None)
hypothesis.settings.load_profile("palladion")

SOURCE = Path(__file__).resolve().parents[1] / "src"

NIST_ENTRYPOINT = """
import argparse, json, os, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
modes = parser.add_subparsers()
infer = modes.add_parser("infer")
for name in ("model", "result", "metaparameters", "schema"):
    infer.add_argument(f"--{name}_filepath", type=Path, required=True)
for name in ("scratch", "examples", "learned_parameters"):
    infer.add_argument(f"--{name}_dirpath", type=Path, required=True)
options = parser.parse_args()
model, result, scratch = options.model_filepath, options.result_filepath, options.scratch_dirpath
exec((model / "behaviour.py").read_text())
"""
"""A submission that does what stands in the model: one evaluation tries as many ways to fail as there are models."""


class MakeRound(Protocol):
    def __call__(
        self, models: Sequence[bool], *, behaviour: str | Mapping[int, str] = ..., name: str = ...
    ) -> Path: ...


@pytest.fixture
def make_round(tmp_path: Path) -> MakeRound:
    """Make a round whose train and test split have models with these labels."""

    def make(models: Sequence[bool], *, behaviour: str | Mapping[int, str] = "", name: str = "round") -> Path:
        root = tmp_path / name
        for split in ("train", "test"):
            lines = ["model_name,poisoned,architecture"]
            for i, poisoned in enumerate(models):
                directory = root / split / "models" / f"id-{i:08d}"
                (directory / "sealed").mkdir(parents=True)
                (directory / "sealed" / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
                (directory / "open" / "clean-example-data").mkdir(parents=True)
                (directory / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(b"a picture")
                model = directory / "open" / "model"
                model.mkdir()
                (model / "config.json").write_text("{}")
                code = behaviour if isinstance(behaviour, str) else behaviour.get(i, 'result.write_text("0.5")')
                (model / "behaviour.py").write_text(code)
                lines.append(f"id-{i:08d},{poisoned},{'ab'[i % 2]}")
            (root / split / "METADATA.csv").write_text("\n".join(lines) + "\n")
        (root / "round.yaml").write_text("splits: {train: {}, test: {}}\n")
        return root

    return make


@pytest.fixture
def nist_submission(tmp_path: Path) -> Path:
    """The folder of a submission that does what stands in the model's behaviour.py."""
    directory = tmp_path / "submission"
    (directory / "learned_parameters").mkdir(parents=True)
    (directory / "entrypoint.py").write_text(NIST_ENTRYPOINT)
    (directory / "metaparameters.json").write_text("{}")
    (directory / "metaparameters_schema.json").write_text("{}")
    return directory


@pytest.fixture
def detector_folder(tmp_path: Path) -> Callable[[str], Path]:
    """Make the folder of a submission with this detector.py."""

    def make(source: str) -> Path:
        directory = tmp_path / "own-detector"
        directory.mkdir(exist_ok=True)
        (directory / "detector.py").write_text(source)
        return directory

    return make


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for temporary files with a short name: sockets in it may have about a hundred characters."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def environment(tmp_path: Path, temporary: Path) -> dict[str, str]:
    """Environment variables under which everything that is kept or temporary lies below the tests' own folders."""
    return {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(temporary),
    }


class Palladion(Protocol):
    def __call__(self, *arguments: object) -> "subprocess.CompletedProcess[str]": ...


@pytest.fixture
def palladion(environment: dict[str, str], tmp_path: Path) -> Palladion:
    """Run the command line in ``tmp_path``. Nobody ever sees a traceback."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "palladion", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=120,
        )
        assert "Traceback" not in done.stderr
        return done

    return run
