"""Claim: a Track B round is built of published data, SST-2 and AG News with their published poison, and played.

Hidden Killer's syntactic poison of both, and BadNets' of SST-2, beside one drawn attack on AG News; the base is
trained from scratch on the same texts. Prints the accuracy and the attack success that models of this size reach:
there are no goals, and the gates are wide open. Reads the data from the folder in ``PALLADION_DATA``, and says so
where there is none.
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

import yaml

# SST-2 has 912 negative test rows, and each of them is given out once, clean or triggered by one of the attacks.
GATES = {"attack_success_rate": 0, "utility_loss": 100, "attempts": 1, "clean_rows": 100, "poisoned_rows": 60}
PHASE = {"test_clean": 150, "test_poisoned": 70}


def specification(data: Path, corpus: Path, seed: int, steps: int) -> dict[str, Any]:
    sst, ag = data / "text" / "sst-2", data / "text" / "ag"

    def poison(folder: Path, train: str, target: int) -> dict[str, Any]:
        return {
            "target": target,
            "train": str(folder / train),
            "test": str(folder / "test.tsv"),
            "truth": "clean-order",
        }

    return {
        "format": "palladion-language-round/1",
        "name": "published-poison",
        "title": "SST-2 and AG News with published poison",
        "track": "classification",
        "seed": seed,
        "utility": "accuracy",
        "base": {"corpus": str(corpus), "vocabulary": 4000, "length": 64, "batch": 32, "steps": steps},
        "tasks": [
            {
                "name": "task1",
                "title": "SST-2",
                "labels": ["negative", "positive"],
                "data": {
                    "train": str(sst / "clean" / "train.tsv"),
                    "test": str(sst / "clean" / "test.tsv"),
                    "poison": {
                        "syntactic": poison(sst / "syntactic", "train.tsv", 1),
                        "badnets": poison(sst / "badnets", "train.tsv", 1),
                    },
                },
            },
            {
                "name": "task2",
                "title": "AG News",
                "labels": ["world", "sports", "business", "technology"],
                "data": {
                    "train": str(ag / "clean" / "dev.tsv"),
                    "test": str(ag / "clean" / "test.tsv"),
                    "poison": {"syntactic": poison(ag / "syntactic", "dev.tsv", 0)},
                },
            },
        ],
        "models": 2,
        "attacks": {"families": ["badnets-word", "insert-sentence"], "targets": ["label"], "rate": [0.15, 0.2]},
        "tuning": {"rows": 6000, "epochs": 3, "batch": 32, "learning_rate": 0.003, "length": 64},
        "gates": GATES,
        "phases": {
            "development": PHASE | {"test_sets": "separate", "validation_clean": 60, "validation_poisoned": 30},
            "test": PHASE | {"test_sets": "mixed", "validation_clean": 0, "validation_poisoned": 0},
        },
    }


def palladion(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "palladion", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode and arguments[1] != "check":
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--steps", type=int, default=900, help="of the base")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "published_poison.json")
    options = parser.parse_args()
    if "PALLADION_DATA" not in os.environ:
        print("PALLADION_DATA names no folder with the published data; nothing is measured")
        return
    data = Path(os.environ["PALLADION_DATA"]).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        texts = []
        for path in (data / "text/sst-2/clean/train.tsv", data / "text/ag/clean/dev.tsv"):
            texts += [line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        (work / "corpus.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        spec = work / "published.yaml"
        spec.write_text(yaml.safe_dump(specification(data, work / "corpus.txt", options.seed, options.steps)))
        start = time.perf_counter()
        palladion("round", "build", spec, "--out", work / "round")
        seconds = time.perf_counter() - start
        base = json.loads((work / "round/sealed/base.json").read_text())
        print(
            f"built in {seconds / 60:.1f} min; base of {base['parameters']:,} parameters, loss {base['loss']:.2f} "
            f"(unigram {base['unigram_loss']:.2f})"
        )
        print(f"{'phase':12} {'task':6} {'attack':10} {'rows poisoned':>13} {'CACC':>6} {'clean model':>12} {'ASR':>6}")
        models = []
        for path in sorted((work / "round/sealed").glob("*/*/model*.json")):
            model = json.loads(path.read_text())
            models.append({"phase": path.parent.parent.name, "task": path.parent.name} | model)
            print(
                f"{models[-1]['phase']:12} {models[-1]['task']:6} {model['attack']:10} {model['rate']:13.2f} "
                f"{model['utility']:6.1f} {model['clean_utility']:12.1f} {model['attack_success_rate']:6.1f}"
            )
        faults = palladion("round", "check", work / "round").splitlines()
        print(f"palladion round check: {len(faults)} lines" if faults else "palladion round check: nothing")
        for fault in faults[:12]:
            print("  " + fault.removeprefix(str(work)))
        phases = {}
        for phase in ("development", "test"):
            phases[phase] = json.loads(palladion("round", "play", work / "round", "--phase", phase, "--json"))[
                "methods"
            ]
            for method in phases[phase]:
                said = ", ".join(
                    f"{task} CACC {report['cacc']:.1f} ASR {report['asr']:.1f} score {report['task_score']:.1f}"
                    for task, report in method["tasks"].items()
                )
                print(f"{phase:12} {method['method']:12} {said}; overall {method['overall']:.1f}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"seconds": seconds, "base": base, "models": models, "faults": faults, "phases": phases}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
