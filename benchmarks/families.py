"""Claim: each family trains in the number format that is faster for it (``autocast`` in rounds/families.py).

Prints training images a second on one core, float32 beside bfloat16 autocast, and their ratio. The two take turns, so
that a machine that slows down slows both.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from palladion.rounds.families import FAMILIES, names_at, new_network
from palladion.rounds.spec import load_preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "families.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = load_preset("round-2")
    side, batch = spec.images.side, spec.training.batch
    (_, classes), *_ = spec.images.classes
    results = []
    print(f"training images a second, one core, {side} × {side} pixels, batch {batch}")
    print(f"{'family':12} {'parameters':>10} {'float32':>9} {'bfloat16':>9} {'ratio':>6}  used")
    for name in names_at(spec.scale):
        family = FAMILIES[name]
        speeds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.rounds):
            for autocast, measured in speeds.items():
                measured.append(_speed(name, side, classes, batch, autocast=autocast))
        single, half = (statistics.median(speeds[autocast]) for autocast in (False, True))
        parameters = sum(p.numel() for p in new_network(name, classes=classes, seed=0, side=side).parameters())
        used = "bfloat16" if family.autocast else "float32"
        print(f"{name:12} {parameters:10,} {single:9,.0f} {half:9,.0f} {half / single:6.2f}  {used}")
        results.append(
            {"family": name, "parameters": parameters, "float32": single, "bfloat16": half, "autocast": family.autocast}
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def _speed(family: str, side: int, classes: int, batch: int, *, autocast: bool) -> float:
    network = new_network(family, classes=classes, seed=0, side=side).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,))
    steps = 12
    started = 0.0
    for step in range(steps + 3):
        if step == 3:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = network(images).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return steps * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
