"""Claim: ``palladion --help`` answers in under 0.5 s, and no more than a few times a bare interpreter.

Prints the median of several runs of both, and their ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "palladion --help": [sys.executable, "-m", "palladion", "--help"],
    "palladion evaluate --help": [sys.executable, "-m", "palladion", "evaluate", "--help"],
    "import palladion.scoring": [sys.executable, "-c", "import palladion.scoring"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "startup.json")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(options.runs + 1):  # the first one warms the caches
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if run:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bare = medians["python -c pass"]
    print(f"median of {options.runs} runs")
    for name, median in medians.items():
        print(f"{name:28} {median:7.3f} s {median / bare:6.1f}×")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"runs": options.runs, "median_seconds": medians}, indent=2) + "\n")


if __name__ == "__main__":
    main()
