"""Claim: trigger inversion reaches the target of Round 1 (small), on rounds that it was not developed on.

Builds a round for each seed, evaluates the inversion on its test split with the command line, and prints cross-entropy,
AUC and seconds a model; beside them the seconds that building took a model. ``--seeds`` takes others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def palladion(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "palladion", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def measure(seed: int, models: int, work: Path) -> dict[str, Any]:
    directory = work / f"round-{seed}"
    numbers = ("--train", str(models), "--test", str(models), "--holdout", "0")
    start = time.perf_counter()
    palladion("round", "build", "round-1", "--out", directory, *numbers, "--seed", str(seed))
    built = time.perf_counter()
    report = work / f"{seed}.json"
    palladion("evaluate", "inversion", "--round", directory, "--split", "test", "--json", report)
    document = json.loads(report.read_text())
    metrics = document["metrics"]
    seconds = [outcome["seconds"] for outcome in document["outcomes"]]
    return {
        "seed": seed,
        "cross_entropy": metrics["cross_entropy"],
        "success_target": metrics["success_target"],
        "roc_auc": metrics["roc_auc"],
        "missing": metrics["missing"],
        "build_seconds_per_model": (built - start) / (2 * models),
        "configuration_seconds": document["configuration_seconds"],
        "inference_seconds_per_model": sum(seconds) / len(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--models", type=int, default=12, help="models of each split")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "inversion.json")
    options = parser.parse_args()
    print(f"{options.models} train and {options.models} test models a round, {len(os.sched_getaffinity(0))} cores")
    print(f"{'seed':>6} {'cross-entropy':>14} {'target':>7} {'AUC':>6} {'build s/model':>14} {'answer s/model':>15}")
    results = []
    with tempfile.TemporaryDirectory() as work:
        for seed in options.seeds:
            row = measure(seed, options.models, Path(work))
            results.append(row)
            print(
                f"{seed:6} {row['cross_entropy']:14.4f} {row['success_target']:7.4f} {row['roc_auc']:6.3f} "
                f"{row['build_seconds_per_model']:14.2f} {row['inference_seconds_per_model']:15.2f}",
                flush=True,
            )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
