"""Time `palladion.scoring` against plain scikit-learn with Python loops, on the same data in one run.

    python benchmarks/scoring.py                    1,000,000 predictions, about half a minute
    python benchmarks/scoring.py --predictions 10000 --clusters 100 --full

The plain implementation draws clusters, concatenates them and calls scikit-learn once a replicate, and pops
models off two lists for the sweep, as NIST's script does. At the default size that would take half an hour,
so it runs a few replicates and subsets and its time is scaled up: by the number of replicates, and by the
number of data points in the subsets. The table says so in each row; `--full` runs all. scikit-learn has no
DeLong interval: that row has no plain time, and only Palladion's total includes it.
"""

import argparse
import json
import os
import platform
import random
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn import metrics

from palladion.scoring import (
    Answers,
    Bootstrap,
    accuracy,
    brier_score,
    cross_entropy,
    delong_interval,
    expected_calibration_error,
    mean_cross_entropy,
    normal_interval,
    prevalence_sweep,
    roc_auc,
    roc_curve,
    score_detection,
    squared_error,
    subset_sizes,
)

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Clusters = NDArray[np.int64]
T = TypeVar("T")

LEVELS = range(1, 100)
REPEATS = 10
DEFAULT_JSON = Path(__file__).parent / "results" / "scoring.json"


@dataclass(frozen=True)
class Row:
    """One part: seconds of both, and how much of the plain one was really run."""

    part: str
    palladion: float
    plain: float | None
    measured: str


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def simulated(predictions: int, clusters: int) -> tuple[Floats, Booleans, Clusters]:
    """A middling detector whose errors are shared within clusters; no two probabilities are equal."""
    generator = np.random.default_rng(0)
    poisoned = generator.random(predictions) < 0.5
    cluster = generator.integers(0, clusters, predictions)
    shift = generator.normal(0, 0.5, clusters)[cluster]
    logit = 2.4 * poisoned - 1.2 + shift + generator.normal(0, 1, predictions)
    return 1 / (1 + np.exp(-logit)), poisoned, cluster


def plain_calibration_error(probability: Floats, poisoned: Booleans) -> float:
    total = 0.0
    for low in np.arange(10) / 10:
        high = low + 0.1
        inside = (probability >= low) & ((probability < high) | (low == 0.9))
        if inside.any():
            total += inside.sum() * abs(probability[inside].mean() - poisoned[inside].mean())
    return float(total / probability.size)


def plain_bootstrap(
    probability: Floats, poisoned: Booleans, cluster: Clusters, clusters: int, replicates: int
) -> list[tuple[float, float, float]]:
    generator = np.random.default_rng(0)
    order = np.argsort(cluster, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(cluster, minlength=clusters))[:-1])
    scores = []
    for _ in range(replicates):
        drawn = np.concatenate([members[i] for i in generator.integers(0, clusters, clusters)])
        y, p = poisoned[drawn], probability[drawn]
        scores.append((metrics.log_loss(y, p), metrics.brier_score_loss(y, p), metrics.roc_auc_score(y, p)))
    return scores


def plain_subset(poisoned: Booleans, level: int) -> list[int]:
    rest = np.flatnonzero(poisoned).tolist(), np.flatnonzero(~poisoned).tolist()
    for keys in rest:
        random.shuffle(keys)
    subset: list[int] = []
    taken = 0
    while True:
        wanted = not subset or taken / len(subset) < level / 100
        keys = rest[0] if wanted else rest[1]
        if not keys:
            return subset
        subset.append(keys.pop())
        taken += wanted


def plain_sweep(probability: Floats, poisoned: Booleans, levels: list[int], repeats: int) -> list[tuple[float, float]]:
    scores = []
    for level in levels:
        for _ in range(repeats):
            subset = plain_subset(poisoned, level)
            y, p = poisoned[subset], probability[subset]
            scores.append((metrics.log_loss(y, p), metrics.roc_auc_score(y, p)))
    return scores


def measure(predictions: int, clusters: int, replicates: int, full: bool) -> list[Row]:
    p, y, cluster = simulated(predictions, clusters)
    rows = []

    single: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("cross-entropy", lambda: mean_cross_entropy(p, y), lambda: metrics.log_loss(y, p)),
        ("Brier score", lambda: brier_score(p, y), lambda: metrics.brier_score_loss(y, p)),
        ("ROC-AUC", lambda: roc_auc(p, y), lambda: metrics.roc_auc_score(y, p)),
        ("accuracy", lambda: accuracy(p, y), lambda: metrics.accuracy_score(y, p > 0.5)),
        (
            "calibration error",
            lambda: expected_calibration_error(p, y),
            lambda: plain_calibration_error(p, y),
        ),
    ]
    for part, ours, theirs in single:
        seconds, value = timed(ours)
        plain, expected = timed(theirs)
        assert isinstance(value, float)
        assert isinstance(expected, float)
        assert abs(value - expected) < 1e-9, (part, value, expected)
        rows.append(Row(part, seconds, plain, "all"))
    seconds, _ = timed(lambda: roc_curve(p, y))
    plain, _ = timed(lambda: metrics.roc_curve(y, p, drop_intermediate=False))
    rows.append(Row("ROC curve", seconds, plain, "all"))
    seconds, _ = timed(lambda: normal_interval(cross_entropy(p, y)))
    plain, _ = timed(lambda: 1.96 * np.std(-np.log(np.where(y, p, 1 - p).clip(1e-12, 1))) / np.sqrt(predictions))
    rows.append(Row("CE interval, normal", seconds, plain, "all"))
    seconds, _ = timed(lambda: delong_interval(p, y))
    rows.append(Row("AUC interval, DeLong", seconds, None, "not in scikit-learn"))

    def bootstrap() -> tuple[Floats, Floats | None]:
        plan = Bootstrap(y, clusters=cluster, replicates=replicates)
        plan.means(squared_error(p, y))
        return plan.means(cross_entropy(p, y)), plan.aucs(p)

    seconds, (means, aucs) = timed(bootstrap)
    run = replicates if full else min(20, replicates)
    plain, drawn = timed(lambda: plain_bootstrap(p, y, cluster, clusters, run))
    # Another generator draws other resamples: they must look alike, not be the same.
    assert aucs is not None
    for ours_drawn, theirs_drawn in ((means, [row[0] for row in drawn]), (aucs, [row[2] for row in drawn])):
        assert abs(ours_drawn.mean() - np.mean(theirs_drawn)) < 5 * ours_drawn.std()
    of = f"{run} of {replicates} replicates"
    rows.append(Row("CE, Brier, AUC bootstrap", seconds, plain * replicates / run, of))

    seconds, sweep = timed(lambda: prevalence_sweep(p, y, levels=LEVELS, repeats=REPEATS))
    levels, repeats = (list(LEVELS), REPEATS) if full else ([10, 30, 50, 70, 90], 1)
    plain, swept = timed(lambda: plain_sweep(p, y, levels, repeats))
    assert abs(swept[0][0] - sweep.expected_cross_entropy[levels[0] - 1]) < 0.1
    positives = int(y.sum())
    sizes = {level: sum(subset_sizes(level, positives, predictions - positives)) for level in LEVELS}
    scale = sum(sizes.values()) * REPEATS / (sum(sizes[level] for level in levels) * repeats)
    of = f"{len(levels) * repeats} of {len(LEVELS) * REPEATS} subsets"
    rows.append(Row("prevalence sweep", seconds, plain * scale, of))

    rows.append(
        Row(
            "total",
            sum(row.palladion for row in rows),
            sum(row.plain for row in rows if row.plain is not None),
            "all" if full else "plain scaled up from the rows above",
        )
    )
    answers = Answers.from_values(p)
    seconds, _ = timed(lambda: score_detection(answers, y, clusters=cluster, replicates=replicates))
    rows.append(Row("score_detection, one call", seconds, None, "all of it but the curve and the sweep"))
    return rows


def table(rows: list[Row]) -> str:
    lines = [f"{'part':<26}{'palladion s':>12}{'plain s':>12}{'ratio':>9}   measured of the plain one"]
    for row in rows:
        plain = "–" if row.plain is None else f"{row.plain:.4f}"
        ratio = "–" if row.plain is None else f"{row.plain / row.palladion:.1f}×"
        lines.append(f"{row.part:<26}{row.palladion:>12.4f}{plain:>12}{ratio:>9}   {row.measured}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--full", action="store_true", help="run all of the plain implementation too")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help="where the numbers go")
    options = parser.parse_args()

    measure(2000, 20, 20, full=False)  # imports, threads and caches are warm afterwards
    rows = measure(options.predictions, options.clusters, options.replicates, options.full)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.predictions:,} predictions, {options.clusters:,} clusters, "
        f"{options.replicates:,} replicates, sweep of {len(LEVELS)} × {REPEATS}; {os.cpu_count()} cores\n"
    )
    print(table(rows))
    print(f"\npeak memory of both together: {memory:,.0f} MiB")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "predictions": options.predictions,
        "clusters": options.clusters,
        "replicates": options.replicates,
        "levels": len(LEVELS),
        "repeats": REPEATS,
        "full": options.full,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit_learn": sklearn.__version__,
        "peak_memory_mib": round(memory),
        "rows": [asdict(row) for row in rows],
    }
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
