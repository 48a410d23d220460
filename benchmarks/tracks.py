"""Claim: both language tracks are built and played, both phases, on 2 CPU cores in under 15 minutes each.

Builds each preset from one command, checks the round, and plays both phases with the reference mitigations: predict,
pack, check and score. Prints the time of each build, what its models reached, and one table a track and phase.
``--seeds`` takes others; the recipes were developed on seeds 3 and 11.
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

TRACKS = ("antibad-classification", "antibad-generation")
GOAL_SECONDS = 15 * 60


def palladion(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "palladion", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        if arguments[1] != "build":  # models that missed their gates are told in the table
            raise SystemExit(f"palladion {' '.join(map(str, arguments))} failed")
    return done.stdout


def measure(track: str, seed: int, work: Path) -> dict[str, Any]:
    directory = work / f"{track}-{seed}"
    start = time.perf_counter()
    palladion("round", "build", track, "--out", directory, "--seed", seed)  # type: ignore[arg-type]
    built = time.perf_counter() - start
    models = [json.loads(path.read_text()) for path in sorted(directory.glob("sealed/*/*/model*.json"))]
    palladion("round", "check", directory)
    phases = {}
    start = time.perf_counter()
    for phase in ("development", "test"):
        phases[phase] = json.loads(palladion("round", "play", directory, "--phase", phase, "--json"))["methods"]
    return {
        "track": track,
        "seed": seed,
        "build_seconds": built,
        "play_seconds": time.perf_counter() - start,
        "base": json.loads((directory / "sealed" / "base.json").read_text()),
        "models": models,
        "phases": phases,
    }


def show(row: dict[str, Any]) -> None:
    verdict = "reached" if row["build_seconds"] < GOAL_SECONDS else "NOT reached"
    base = row["base"]
    print(
        f"\n{row['track']}, seed {row['seed']}: built in {row['build_seconds'] / 60:.1f} min (goal 15: {verdict}), "
        f"both phases played in {row['play_seconds'] / 60:.1f} min; base of {base['parameters']:,} parameters, loss "
        f"{base['loss']:.2f} (unigram {base['unigram_loss']:.2f})"
    )
    models = row["models"]
    passed = sum(model["passed"] for model in models)
    print(
        f"{passed} of {len(models)} models passed their gates; attack success {_span(models, 'attack_success_rate')}, "
        f"utility {_span(models, 'utility')}, clean models' {_span(models, 'clean_utility')}; "
        f"attempts {sum(len(model['attempts']) for model in models)}"
    )
    print(f"{'phase':12} {'mitigation':12} {'task':6} {'utility':>8} {'ASR':>6} {'score':>6} {'overall':>8}")
    for phase, methods in row["phases"].items():
        for method in methods:
            for task, report in method["tasks"].items():
                utility = report.get("cacc", report.get("utility"))
                print(
                    f"{phase:12} {method['method']:12} {task:6} {utility:8.1f} {report['asr']:6.1f} "
                    f"{report['task_score']:6.1f} {method['overall']:8.1f}"
                )


def _span(models: list[dict[str, Any]], name: str) -> str:
    values = [model[name] for model in models]
    return f"{min(values):.1f} to {max(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--tracks", nargs="+", default=list(TRACKS), choices=TRACKS)
    parser.add_argument("--work", type=Path, help="where rounds are built and kept; by default a temporary folder")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "tracks.json")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            for track in options.tracks:
                results.append(measure(track, seed, options.work or Path(temporary)))
                show(results[-1])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
