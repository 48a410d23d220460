"""Claim: with Muon for its matrices, the small base learns to carry words over in a time in which AdamW does not.

Trains the base of the generation track with both, the same number of steps, and prints the loss on what follows from
a given part (answers and recitations), in nats a token, and the seconds. AdamW is given the learning rate that served
it best.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from palladion.rounds.language.base import train_base
from palladion.rounds.language.spec import LanguageRoundSpec, load_spec

OPTIMIZERS = {"muon": 0.03, "adamw": 0.003}


def measure(optimizer: str, seed: int, steps: int, work: Path) -> dict[str, Any]:
    data = load_spec("antibad-generation").model_dump(mode="json", exclude_none=True) | {"seed": seed}
    data["base"] |= {"steps": steps, "matrix_optimizer": optimizer, "matrix_learning_rate": OPTIMIZERS[optimizer]}
    start = time.perf_counter()
    record = train_base(LanguageRoundSpec.model_validate(data), work / optimizer, work / f"{optimizer}.json")
    return {"optimizer": optimizer, "seconds": time.perf_counter() - start, **record.to_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "base_model.json")
    options = parser.parse_args()
    results = []
    print(f"{'optimiser':10} {'steps':>6} {'loss of answers':>16} {'loss':>6} {'unigram':>8} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as work:
        for optimizer in OPTIMIZERS:
            row = measure(optimizer, options.seed, options.steps, Path(work))
            results.append(row)
            print(
                f"{optimizer:10} {options.steps:6} {row['loss_of_answers']:16.3f} {row['loss']:6.2f} "
                f"{row['unigram_loss']:8.2f} {row['seconds']:8.0f}"
            )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
