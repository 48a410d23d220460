"""Submissions whose every data point is known, on rounds with factors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palladion.scoring import PointScores
from palladion.storage import evaluations, stages
from palladion.storage.database import open_database
from palladion.storage.evaluations import NewOutcome, NewScore
from palladion.storage.tables import Submission
from tests.jobs.world import claim, make_data
from tests.server.site import Site, make_site

MODELS = 24
LABELS = tuple(i % 2 == 1 for i in range(MODELS))
STRANGE = "</script><b>strange"
"""A level that would be markup if a page let it."""
ANALYSIS = "/challenges/demo/detection"


def answers(seed: int = 0) -> list[float]:
    """Probabilities with digits that nothing else has: 0.731234 of data point 12, say, 34 with seed 34."""
    return [round((0.62 if LABELS[i] else 0.31) + 0.013 * (i % 9) + seed / 1e6, 6) for i in range(MODELS)]


def write_metadata(path: Path) -> None:
    """METADATA.csv of a split with two factors of all data points, and one of the poisoned ones."""
    rows = ["model_name,poisoned,architecture,background,trigger_type"]
    for i, poisoned in enumerate(LABELS):
        architecture, background = ("resnet", "vgg")[i // 2 % 2], ("road", STRANGE)[i // 4 % 2]
        trigger = ("polygon", "filter")[i // 4 % 2] if poisoned else "None"
        rows.append(f"id-{i:08d},{poisoned},{architecture},{background},{trigger}")
    path.write_text("\n".join([*rows, ""]))


def make_analysed(folder: Path) -> Site:
    """A site whose detection rounds have 24 data points and factors; round-0 is open."""
    data = folder / "data"
    make_data(data)
    for name, splits in (("round-0", ("train",)), ("round-1", ("train", "test", "holdout"))):
        for split in splits:
            models = data / "data" / name / split / "models"
            for i, poisoned in enumerate(LABELS):
                made = models / f"id-{i:08d}"
                (made / "sealed").mkdir(parents=True, exist_ok=True)
                (made / "sealed" / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
                (made / "open" / "model").mkdir(parents=True, exist_ok=True)
                (made / "open" / "model" / "config.json").write_text("{}")
                (made / "open" / "clean-example-data").mkdir(exist_ok=True)
                (made / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(b"a picture")
            write_metadata(data / "data" / name / split / "METADATA.csv")
        told: dict[str, Any] = {split: {"models": MODELS} for split in splits}
        same = {} if "test" in splits else {"test": {"same_as": "train"}}
        (data / "data" / name / "round.yaml").write_text(json.dumps({"splits": told | same}))
    site = make_site(folder / "site", open_database(folder / "site.db"), data=data)
    site.world.open("round-0")
    site.world.open("development")
    with site.database.read() as tx:
        found = {stage.name: stage for stage in stages.of_challenge(tx, site.world.challenge.id)}
    site.world.stages.update(found)
    return site


def evaluated(
    site: Site,
    stage: str,
    probabilities: Sequence[float | None],
    *,
    team: int = 0,
    mark: str = "",
    splits: Sequence[str] = ("test",),
    cross_entropy: float = 0.4,
) -> Submission:
    """A submission that answered each data point so; None is an error."""
    submission = site.accepted(stage, team=team, mark=mark)
    for split in splits:
        if split != "test":
            with site.database.write() as tx:
                evaluations.add(tx, submission.id, split, scorer="1", now=site.world.clock())
        work = claim(site.world)
        assert work is not None
        found = [
            NewOutcome(f"id-{i:08d}", answer=p, error=None if p is not None else "timeout", seconds=1 + i / 7)
            for i, p in enumerate(probabilities)
        ]
        site.database.run(evaluations.add_outcomes, work.job.subject, work.lease, found)
        failed = sum(p is None for p in probabilities)
        report = {"points": len(found), "answered": len(found) - failed, "failed": failed, "seconds": 60.0}
        if failed:
            report["failures"] = {"timeout": failed}  # type: ignore[assignment]
        scores = [NewScore("cross_entropy", cross_entropy, low=cross_entropy - 0.1, high=cross_entropy + 0.1)]
        scores.append(NewScore("roc_auc", 0.9))
        now = site.world.clock()
        site.database.run(evaluations.finish, work.job.subject, work.lease, scores, now=now, report=report)
    return site.world.submission(submission.id)


def evaluated_rows(
    site: Site,
    points: PointScores,
    attacks: dict[str, list[str]],
    *,
    team: int = 0,
    mark: str = "rows",
    splits: Sequence[str] = ("test", "validation"),
) -> Submission:
    """A submission to the track of labels whose every row is known, on the sealed and on an open split."""
    submission = site.accepted("development", team=team, mark=mark)
    for split in splits:
        if split != "test":
            with site.database.write() as tx:
                evaluations.add(tx, submission.id, split, scorer="1", now=site.world.clock())
        work = claim(site.world)
        assert work is not None
        told = {"eligible": 60, "succeeded": 30, "asr": 50.0, "interval": [37.7, 62.3]}
        report = {
            "tasks": {
                task: {"attacks": [{"attack": name, **told} for name in names]} for task, names in attacks.items()
            }
        }
        found = [NewScore("overall", 50.0)]
        with site.database.write() as tx:
            evaluations.finish(
                tx,
                work.job.subject,
                work.lease,
                found,
                now=site.world.clock(),
                report=report,
                points=points.to_bytes(),
            )
    return site.world.submission(submission.id)
