"""Claim: a build is bound by its training steps, and Round 1 takes at most 10 seconds a model on 2 cores.

For each round: seconds a model of the whole build; the share of it that is spent in training steps on batches that lie
in memory, forwards, backwards and the optimiser, timed in the build itself; retries; and the verdicts of check, audit
and verify. ``--twice`` builds each round a second time and compares every file. With ``--device cuda``
small networks of one family are trained as one stack, and what counts is models a minute.
"""

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palladion.models import round_directory as layout
from palladion.rounds.build import build_round
from palladion.rounds.design import plan_split
from palladion.rounds.spec import load_preset
from palladion.rounds.training_record import read_record

STEPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", nargs="+", default=["round-1", "round-2", "round-3"])
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--models", type=int, nargs=3, default=[24, 12, 12], metavar="N", help="train, test, holdout")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--retrain", type=int, default=2, help="models that verify trains again")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--keep", type=Path, help="build here, and leave it")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "round_build.json")
    options = parser.parse_args()
    print(f"{options.jobs} tasks at a time on {options.device}, seed {options.seed}")
    columns = f"{'s/model':>9}{'a minute':>10}{'steps':>7}{'retried':>9}{'failed':>8}"
    print(f"{'round':10}{'models':>7}{columns}  check, audit, verify")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for preset in options.rounds:
            work = (options.keep or Path(scratch)) / preset
            row = measure(preset, work, options)
            results.append(row)
            verdicts = ", ".join(
                "passed" if row[command] == 0 else "FAILED" for command in ("check", "audit", "verify")
            )
            print(
                f"{preset:10}{row['models']:7}{row['seconds_per_model']:9.2f}{60 / row['seconds_per_model']:10.1f}"
                f"{'-' if row['share_of_steps'] is None else format(row['share_of_steps'], '.0%'):>7}"
                f"{row['retried']:9}{row['failed']:8}  {verdicts}{row.get('twice', '')}",
                flush=True,
            )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(name: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Build one round and look at it."""
    train, test, holdout = options.models
    spec = load_preset(name).with_options(seed=options.seed, models={"train": train, "test": test, "holdout": holdout})
    started = time.perf_counter()
    report = build_round(spec, directory, jobs=options.jobs, device=options.device)
    seconds = time.perf_counter() - started
    share = None
    if options.device == "cpu":
        share = sum(model.seconds_training for model in report.built) / (seconds * options.jobs)
    plans = [plan for split in spec.splits for plan in plan_split(spec, split)]
    records = [read_record(directory / plan.split / layout.MODELS / plan.name) for plan in plans]
    row: dict[str, Any] = {
        "round": name,
        "seed": options.seed,
        "models": len(plans),
        "seconds": seconds,
        "seconds_per_model": seconds / len(plans),
        "device": options.device,
        "share_of_steps": share,
        "retried": sum(len(record.attempts) > 1 for record in records),
        "failed": sum(not record.passed for record in records),
        "check": palladion("round", "check", directory),
        "audit": palladion("round", "audit", directory, "--json"),
        "verify": palladion("round", "verify", directory, "--retrain", options.retrain, "--jobs", options.jobs),
    }
    if options.twice:
        again = directory.with_name(f"{directory.name}-again")
        build_round(spec, again, jobs=options.jobs, device=options.device)
        differing = sum(1 for _ in differences(directory, again))
        row["twice"] = ", built twice the same" if differing == 0 else f", {differing} FILES DIFFER"
    return row


def palladion(*arguments: object) -> int:
    """Exit code of a command."""
    command = [sys.executable, "-m", "palladion", *map(str, arguments)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def differences(one: Path, other: Path) -> Iterator[Path]:
    """Files that are not the same, or are in one of the two alone."""
    names = {path.relative_to(root) for root in (one, other) for path in root.rglob("*") if path.is_file()}
    for name in sorted(names):
        here, there = one / name, other / name
        if not (here.is_file() and there.is_file() and filecmp.cmp(here, there, shallow=False)):
            yield name


if __name__ == "__main__":
    main()
