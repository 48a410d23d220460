"""A service with a challenge on small data that is real: a detection track and a track of labels."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from palladion.challenge.settings import Quotas
from palladion.execution.slots import Slots, Stop
from palladion.jobs import claiming, opening
from palladion.jobs.claiming import CONCLUDE, DELIVER, EVALUATE, OPEN, STANDING, Lane
from palladion.jobs.context import JobSettings, Service
from palladion.jobs.work import Work
from palladion.jobs.worker import do
from palladion.storage import accounts, challenges, evaluations, queue, stages, submissions, teams, uploads
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.tables import Challenge, Delivery, Evaluation, Job, Stage, Submission, Team
from tests.conftest import NIST_ENTRYPOINT
from tests.submissions.tracks import write_track

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ROWS = 20
LABELS = (True, False, True, False)

DEFINITION = """\
format: palladion-challenge/1
name: {name}
title: A challenge
tracks:
  - name: detection
    title: Detection
    task: detection
    metrics: [cross_entropy, roc_auc]
    submission: {{kind: code, files: [entrypoint.py], bytes: 1M}}
    limits: {{seconds: 20, memory: 1G, processes: 64, scratch: 64M}}
    feedback: {{{feedback}}}
    advance: {{when: {advance}}}
    stages:
      - {{name: round-0, title: Round 0, data: data/round-0, dry_run: true}}
      - {{name: round-1, title: Round 1, data: data/round-1}}
      - {{name: round-2, title: Round 2, data: data/round-2{dates}}}
  - name: labels
    title: Labels
    task: classification
    metrics: [overall, cacc, asr]
    feedback: {{{feedback}}}
    submission: {{kind: outputs, bytes: 1M}}
    stages:
      - {{name: development, title: Development, data: data/labels, phase: development, success: {success}}}
      - {{name: final, title: Final, data: data/labels, phase: test}}
"""


class Clock:
    """A clock that goes as the real one does, and can be put forward."""

    def __init__(self, start: datetime | None = NOW) -> None:
        """None: the real time, which other processes have as well."""
        self._ahead = timedelta() if start is None else start - datetime.now(UTC)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def forward(self, by: timedelta) -> None:
        self._ahead += by


def make_round(root: Path, splits: Mapping[str, Sequence[bool]], *, behaviour: Mapping[str, str] | None = None) -> Path:
    """A round whose models say themselves what the submission of :func:`detector` does with them.

    Args:
        root: where.
        splits: the labels of each; without a test split, it is the train split.
        behaviour: by ``split/number``; else the right answer.
    """
    for split, labels in splits.items():
        lines = ["model_name,poisoned"]
        for i, poisoned in enumerate(labels):
            directory = root / split / "models" / f"id-{i:08d}"
            (directory / "sealed").mkdir(parents=True)
            (directory / "sealed" / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
            (directory / "open" / "clean-example-data").mkdir(parents=True)
            (directory / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(b"a picture")
            model = directory / "open" / "model"
            model.mkdir()
            (model / "config.json").write_text("{}")
            answer = 0.9 if poisoned else 0.1
            code = (behaviour or {}).get(f"{split}/{i}", f"result.write_text('{answer}')")
            (model / "behaviour.py").write_text(code)
            lines.append(f"id-{i:08d},{poisoned}")
        (root / split / "METADATA.csv").write_text("\n".join(lines) + "\n")
    same = {} if "test" in splits else {"test": {"same_as": "train"}}
    told: dict[str, Any] = {split: {"models": len(labels)} for split, labels in splits.items()} | same
    (root / "round.yaml").write_text(json.dumps({"splits": told}))
    return root


def make_phase(root: Path, phase: str, *, rows: int = ROWS) -> None:
    """One phase of a round of labels: the right label of a clean row is its number modulo 3, and an attack wants 1."""
    folder = root / "phases" / phase
    folder.mkdir(parents=True)
    inputs = [{"sentence": f"sentence {row}"} for row in range(rows)]
    write_track(folder, f"labels-{phase}", "classification", {"cls_task1.csv": inputs})
    text = (folder / "track.yaml").read_text()
    (folder / "track.yaml").write_text(text.replace("phase: test", f"phase: {phase}"))
    model = folder / "models" / "task1" / "model1"
    model.mkdir(parents=True)
    (model / "adapter_config.json").write_text("{}")
    sealed = root / "sealed" / phase / "task1"
    sealed.mkdir(parents=True)
    half = rows // 2
    labelled = [{**row, "label": number % 3} for number, row in enumerate(inputs)]
    (sealed / "clean.json").write_text(json.dumps(labelled[:half]))
    (sealed / "poisoned.json").write_text(json.dumps(labelled[half:]))
    (sealed / "meta.json").write_text(json.dumps({"task": "classification", "target": 1}))
    (sealed / "order.json").write_text(json.dumps({"clean": [*range(half)], "poisoned": [*range(half, rows)]}))
    (root / "sealed" / "round.yaml").write_text("{}\n")
    (root / "base").mkdir(exist_ok=True)
    (root / "base" / "config.json").write_text("{}")


def make_data(folder: Path) -> None:
    """The data of all stages, but for the detection track's last round."""
    make_round(folder / "data" / "round-0", {"train": LABELS})
    make_round(folder / "data" / "round-1", dict.fromkeys(("train", "test", "holdout"), LABELS))
    for phase in ("development", "test"):
        make_phase(folder / "data" / "labels", phase)


def make_last_round(folder: Path) -> None:
    """The data of the detection track's last round."""
    make_round(folder / "data" / "round-2", dict.fromkeys(("train", "test", "holdout"), LABELS))


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of these files; of the same files the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


def outputs(*, wrong: int = 0, rows: int = ROWS, name: str = "cls_task1.csv") -> bytes:
    """Labels for every row; so many of the first, which are clean, are wrong."""
    labels = [(row + (row < wrong)) % 3 for row in range(rows)]
    return packed({name: "label\n" + "".join(f"{label}\n" for label in labels)})


def detector(mark: str = "", **files: str) -> bytes:
    """A detector that does what stands in the models; ``mark`` makes other bytes of it."""
    described = {"metaparameters.json": "{}", "metaparameters_schema.json": json.dumps(SCHEMA)}
    return packed(
        {"entrypoint.py": f"{NIST_ENTRYPOINT}\n# {mark}\n", **described, "learned_parameters/nothing": "", **files}
    )


SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Metaparameters",
    "technique": "Reads what stands there",
    "technique_description": "Does what the model says",
    "technique_changes": "None",
    "technique_type": ["Other"],
    "commit_id": "1",
    "repo_name": "none",
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


@dataclass
class World:
    """A service, its challenge and its teams."""

    service: Service
    folder: Path
    challenge: Challenge
    stages: dict[str, Stage]
    clock: Clock
    teams: list[Team] = field(default_factory=list)
    captains: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.service.database

    def open(self, stage: str) -> Stage:
        """Open a stage, whose data must be there."""
        opening.open_stage(self.service, self.stages[stage].id, actor="olga")
        return self.stage(stage)

    def stage(self, name: str) -> Stage:
        """A stage as it is now."""
        with self.database.read() as tx:
            return stages.by_id(tx, self.stages[name].id)

    def submit(
        self,
        content: bytes,
        stage: str,
        *,
        team: int = 0,
        name: str = "submission.zip",
        quotas: Quotas | None = None,
    ) -> Submission:
        """Hand in a file."""
        kind = "outputs" if self.stages[stage].track == "labels" else "code"
        stored = self.service.artifacts.put_stream(io.BytesIO(content))
        self.database.run(
            uploads.note_received, self.service.artifacts, self.captains[team], stored, now=self.service.now()
        )
        accepted = self.database.run(
            submissions.accept,
            stage_id=self.stages[stage].id,
            team_id=self.teams[team].id,
            account_id=self.captains[team],
            artifact=stored.sha256,
            kind=kind,
            name=name,
            splits=["test"],
            quotas=quotas or Quotas(),
            now=self.service.now(),
        )
        self.service.notify()
        return accepted.submission

    def submission(self, submission_id: str) -> Submission:
        """A submission as it is now."""
        with self.database.read() as tx:
            return submissions.by_id(tx, submission_id)

    def evaluation(self, submission_id: str, split: str = "test", scorer: str = "1") -> Evaluation:
        """An evaluation as it is now."""
        with self.database.read() as tx:
            found = evaluations.of_submission(tx, submission_id)
        return next(e for e in found if (e.split, e.scorer) == (split, scorer))

    def scores(self, submission_id: str, split: str = "test", scorer: str = "1") -> dict[tuple[str, str], float]:
        """The scores of an evaluation, by task and metric."""
        with self.database.read() as tx:
            found = evaluations.scores(tx, self.evaluation(submission_id, split, scorer).id)
        return {(score.task, score.metric): score.value for score in found}

    def job(self, kind: str, subject: str) -> Job:
        """A job as it is now."""
        with self.database.read() as tx:
            job = queue.of(tx, kind, subject)
        assert job is not None
        return job

    def news(self, event: str | None = None) -> list[Delivery]:
        """What is told to whom: all of it, or one event."""
        with self.database.read() as tx:
            rows = tx.execute(select(Delivery).order_by(Delivery.created, Delivery.id)).scalars().all()
        return [row for row in rows if event is None or row.event == event]

    def with_settings(self, **changes: Any) -> "World":
        """The same with other settings."""
        service = Service(
            self.service.database,
            self.service.artifacts,
            replace(self.service.settings, **changes),
            clock=self.clock,
        )
        return replace(self, service=service)


def make_service(database: Database, folder: Path, clock: Callable[[], datetime], **settings: Any) -> Service:
    """A service whose data lies in a folder."""
    return Service(
        database,
        ArtifactStore(folder / "artifacts"),
        JobSettings(folder, slots=2, **settings),
        clock=clock,
    )


def make_world(
    database: Database,
    folder: Path,
    *,
    name: str = "demo",
    advance: str = "command",
    dates: str = "",
    success: str = "none",
    feedback: str = "policy: exact",
    teams_wanted: int = 2,
    data: Path | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> World:
    """Install a challenge with its data, and let teams join."""
    clock = clock or Clock()
    service = make_service(database, folder / "service", clock, **settings)
    place = folder / "challenge"
    if data is None:
        make_data(place)
    else:
        shutil.copytree(data, place)
    text = DEFINITION.format(name=name, advance=advance, dates=dates, success=success, feedback=feedback)
    with database.write() as tx:
        now = clock()
        challenge = challenges.install(tx, text, place, now=now, actor="olga")
        found = {stage.name: stage for stage in stages.of_challenge(tx, challenge.id)}
        world = World(service, place, challenge, found, clock)
        accounts.create(tx, name="olga", email="olga@example.org", role="organiser", now=now, actor="olga")
        for i in range(teams_wanted):
            account = accounts.create(tx, name=f"person-{i}", email=f"person-{i}@example.org", now=now, actor="olga")
            team = teams.create(tx, challenge.id, account.id, name=f"Team {i}", now=now, actor=account.name)
            world.teams.append(team)
            world.captains.append(account.id)
    return world


ANY = Lane("any", (EVALUATE, OPEN, CONCLUDE, DELIVER), None, 1)
WORK = Lane("work", (EVALUATE, OPEN, CONCLUDE), None, 1)
SCORING = Lane("scoring", (EVALUATE,), "outputs", 1)
RUNNING = Lane("running", (EVALUATE,), "code", 1)
STANDINGS = Lane("standings", (STANDING,), None, 1)


def claim(world: World, lane: Lane = WORK, *, slots: int = 2) -> Work | None:
    """Take the job that comes first, as a worker does."""
    now = world.service.now()
    job = world.database.run(claiming.claim, lane, worker="tester", lease=timedelta(minutes=1), now=now)
    return None if job is None else Work(world.service, job, Stop(), Slots(slots), now)


def do_all(world: World, lane: Lane = WORK, *, most: int = 100) -> int:
    """Do what is due, one after the other, until nothing is; how many jobs it was."""
    for count in range(most):
        work = claim(world, lane)
        if work is None:
            return count
        do(work)
    raise AssertionError("there is no end to it")
