"""Claim: a round whose labels ride on nothing but the trigger fails its audit at most once in twenty times.

Designs are real ones, of the presets at 24 + 12 + 12 models, a seed each, and so are their example images. What would
be measured of trained models (weights, accuracies) is drawn without regard to the label, partly correlated, partly
ruled by the architecture, as it is in rounds that were built. Beside the false alarms: how often a number that tells
the label with a given AUC is found.
"""

import argparse
import csv
import io
import json
import math
import os
from contextlib import closing
from pathlib import Path
from statistics import NormalDist

import numpy as np

from palladion.progress import progress
from palladion.rounds.audit import AuditedModel, audit_models
from palladion.rounds.audit_files import numbers_of_drawn
from palladion.rounds.design import ModelPlan, plan_split
from palladion.rounds.metadata import metadata_csv
from palladion.rounds.model_images import ModelImages
from palladion.rounds.spec import RoundSpec, load_preset
from palladion.rounds.training_record import Attempt, TrainingRecord
from palladion.workers import run_tasks

MODELS: dict[str, int | None] = {"train": 24, "test": 12, "holdout": 12}
NUMBERS = 15  # of weights, as many as an audit of a built round has
LABEL, ID = "poisoned", "model_name"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=100, help="of each round and AUC")
    parser.add_argument("--rounds", nargs="+", default=["round-1", "round-2", "round-3"])
    parser.add_argument("--aucs", nargs="+", type=float, default=[0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--seed", type=int, default=8000)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "audit.json")
    options = parser.parse_args()
    print(f"{options.audits} audits each, {MODELS}")
    print(f"{'round':10}{'AUC of one number':>19}{'failed':>8}{'by that number':>16}")
    results = []
    for name in options.rounds:
        for auc in options.aucs:
            tasks = [(name, auc, options.seed + number) for number in range(options.audits)]
            failed = found = 0
            with (
                progress(len(tasks), f"{name}, {auc}") as shown,
                closing(run_tasks(audited, tasks, jobs=len(os.sched_getaffinity(0)))) as done,
            ):
                for _, leaking in done:
                    failed += bool(leaking)
                    found += "weights: 0" in leaking
                    shown.advance("")
            results.append({"round": name, "auc": auc, "audits": len(tasks), "failed": failed, "found": found})
            print(f"{name:10}{auc:19}{failed / len(tasks):8.1%}{found / len(tasks):16.1%}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def audited(task: tuple[str, float, int]) -> list[str]:
    """Names of the factors that leak, for one design."""
    name, auc, seed = task
    spec = load_preset(name).with_options(seed=seed, models=MODELS)
    rng = np.random.default_rng(seed)
    models = []
    for split in MODELS:
        plans = plan_split(spec, split)
        table = metadata_csv(spec, [(plan, record(plan, rng)) for plan in plans])
        for plan, row in zip(plans, csv.DictReader(io.StringIO(table)), strict=True):
            words = {column: cell for column, cell in row.items() if column not in (LABEL, ID)}
            models.append(AuditedModel(plan.name, split, plan.poisoned, words, numbers(spec, plan, auc, rng)))
    found = audit_models(models, seed=seed)
    return sorted({trial.association.name.partition(",")[0] for trial in found.trials if trial.association.leaks})


def record(plan: ModelPlan, rng: np.random.Generator) -> TrainingRecord:
    """What a training record might say: nothing in it knows the label but what must."""
    attempt = Attempt.model_construct(
        clean_accuracy=round(float(np.clip(rng.normal(0.985, 0.006), 0.97, 1)), 3),
        attack_success_rate=float(rng.uniform(0.95, 1)) if plan.poisoned else None,
        train_loss=float(rng.lognormal(-1, 0.3)),
    )
    return TrainingRecord.model_construct(
        attempts=[attempt] * int(rng.geometric(0.9)),
        passed=True,
        clean_example_accuracy=round(float(rng.uniform(0.97, 1)), 3),
        trigger={"color": rng.integers(0, 256, 3).tolist()},
    )


def numbers(spec: RoundSpec, plan: ModelPlan, auc: float, rng: np.random.Generator) -> dict[str, float]:
    """What might be measured of weights, the first number of which tells the label with this AUC, and of images."""
    network, common = sum(map(ord, plan.architecture)) % 17, rng.normal()
    drawn = {f"weights: {i}": network * (i % 3) + common * (i % 4) + rng.normal() for i in range(NUMBERS)}
    drawn["weights: 0"] = rng.normal() + math.sqrt(2) * NormalDist().inv_cdf(auc) * plan.poisoned
    images = ModelImages(spec, plan).clean_examples().images
    return {name: float(value) for name, value in drawn.items()} | numbers_of_drawn(images)


if __name__ == "__main__":
    main()
