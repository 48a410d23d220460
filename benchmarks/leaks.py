"""What the leak budget says of each feedback policy: bits that one team was told, beside those of the labels.

    python benchmarks/leaks.py                      about a minute; prints the tables of docs/reference/statistics.md

Two teams hand in 1, 10 and 100 answers for 100 and 1,000 models, half of them poisoned: one knows nothing and answers
at random; the other has a detector that gets better, from an AUC of 0.6 to one of 0.95, in steps that are equally
large. The track has four metrics with intervals, ranked by cross-entropy. Numbers are means over seeds.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palladion.challenge import (
    Feedback,
    Labels,
    Telling,
    Told,
    decide_telling,
    leak_budget,
    metric_of,
    most_right,
    tell,
    tell_again,
)
from palladion.challenge.leaks import MOST_SHARE
from palladion.scoring import PointScores, improvement_p_value, metric_value

Floats = NDArray[np.float64]

METRICS: Final = tuple(metric_of("detection", name) for name in ("cross_entropy", "roc_auc", "brier", "accuracy"))
POLICIES: Final = {
    "`exact`": Feedback(policy="exact"),
    "`rounded`, 3 digits": Feedback(policy="rounded", digits=3),
    "`rounded`, 2 digits": Feedback(policy="rounded", digits=2),
    "`ladder`, step 0.01": Feedback(policy="ladder", step=0.01),
    "`bootstrap_ladder`": Feedback(),
    "`none`": Feedback(policy="none"),
}
SUBMISSIONS: Final = (1, 10, 100)
POINTS: Final = (100, 1000)
WEAK, GOOD = 0.358, 2.326  # shifts of two normal distributions whose areas are 0.6 and 0.95
DEFAULT_JSON = Path(__file__).parent / "results" / "leaks.json"


@dataclass(frozen=True)
class Found:
    """Means over seeds of what one team was told."""

    policy: str
    points: int
    team: str
    submissions: int
    tellings: float
    bits: float
    share: float
    warned: float


def answers(labels: NDArray[np.bool_], progress: bool, submissions: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Probabilities of one submission after the other."""
    noise = rng.standard_normal(labels.size)
    for shift in np.linspace(WEAK, GOOD, submissions + 1)[1:]:
        if progress:
            # What leads the first astray leads the next astray, too.
            noise = 0.95 * noise + math.sqrt(1 - 0.95**2) * rng.standard_normal(labels.size)
            evidence = shift * (noise + shift * np.where(labels, 0.5, -0.5))
        else:
            evidence = rng.choice([-1.0, 1.0], size=labels.size)
        yield 1 / (1 + np.exp(-evidence))


def transcript(feedback: Feedback, labels: NDArray[np.bool_], given: Iterator[Floats]) -> list[Telling]:
    """What is told of them, as the service does it."""
    told: dict[str, Told] = {}
    best: PointScores | None = None
    found = []
    for asked, probability in enumerate(given):
        arrays = {"probability": probability, "poisoned": labels, "cluster": np.arange(labels.size)}
        points = PointScores("detection", arrays)
        ranking = METRICS[0]
        p_value = None
        if feedback.policy == "bootstrap_ladder":
            p_value = improvement_p_value(
                points, best, ranking.name, higher_is_better=ranking.higher_is_better, replicates=1000
            )
        before = told.get(ranking.name)
        value = metric_value(points, ranking.name)
        decision = decide_telling(feedback, ranking, value, None if before is None else before.value, p_value, asked)
        now = {}
        for metric in METRICS:
            if decision.told:
                # What an interval is worth does not depend on where it ends: one of no width will do.
                value = metric_value(points, metric.name)
                interval = None if value is None else (value, value)
                now[metric.name] = tell(feedback, metric, value, interval, ranks=metric is ranking)
            else:
                now[metric.name] = tell_again(told.get(metric.name), decision)
        if decision.told:
            told, best = now, points
        found.append(Telling("team", decision.told, now))
    return found


def measured(seeds: int) -> list[Found]:
    """All of it. What is told of the first submissions depends on none that come later, but they are others."""
    rows = []
    for name, feedback in POLICIES.items():
        for points in POINTS:
            for team in ("no progress", "progress"):
                for submissions in SUBMISSIONS:
                    budgets = []
                    for seed in range(seeds):
                        rng = np.random.default_rng(seed)
                        labels = rng.permutation(np.arange(points) < points // 2)
                        given = answers(labels, team == "progress", submissions, rng)
                        tellings = transcript(feedback, labels, given)
                        budget = leak_budget(feedback, METRICS, tellings, labels=Labels(points, points // 2))
                        budgets.append((sum(one.better for one in tellings), budget))
                    rows.append(
                        Found(
                            name,
                            points,
                            team,
                            submissions,
                            statistics.mean(count for count, _ in budgets),
                            statistics.mean(budget.bits for _, budget in budgets),
                            statistics.mean(budget.share for _, budget in budgets),
                            statistics.mean(budget.over for _, budget in budgets),
                        )
                    )
    return rows


def table(rows: list[Found]) -> str:
    """Markdown: bits and, of ladders, how often something was told; bold where the organiser is warned as a rule."""
    lines = [
        "| policy | team | " + " | ".join(f"{n:,} models, {k}" for n in POINTS for k in SUBMISSIONS) + " |",
        "| --- | --- |" + " --- |" * len(POINTS) * len(SUBMISSIONS),
    ]
    for policy in POLICIES:
        for team in ("no progress", "progress"):
            cells = []
            for points in POINTS:
                for submissions in SUBMISSIONS:
                    (row,) = [
                        row
                        for row in rows
                        if (row.policy, row.points, row.team, row.submissions) == (policy, points, team, submissions)
                    ]
                    cell = f"{row.bits:.0f}" if row.bits >= 10 or row.bits == 0 else f"{row.bits:.1f}"
                    cell = f"**{cell}**" if row.warned > 0.5 else cell
                    cells.append(f"{cell} ({row.tellings:.3g})" if "ladder" in policy else cell)
            lines.append(f"| {policy} | {team} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the leak budget says of each feedback policy.")
    parser.add_argument("--seeds", type=int, default=5, help="of which means are taken")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help="where to write the numbers")
    options = parser.parse_args()
    rows = measured(options.seeds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table(rows))
    print()
    print("| share of the bits | labels right, on average and at most |")
    print("| --- | --- |")
    for share in (0.01, 0.05, MOST_SHARE, 0.2, 0.5):
        right = most_right(Labels(1000, 500), 1000 * share)
        assert right is not None
        print(f"| {100 * share:.0f} % | {100 * right:.0f} % |")


if __name__ == "__main__":
    main()
