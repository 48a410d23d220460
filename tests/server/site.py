"""A whole service behind its app, with a challenge, teams and a token for everybody who may come."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from palladion.jobs.context import JobSettings, Service
from palladion.scoring import PointScores
from palladion.server.app import create_app
from palladion.server.settings import Limits, Pages, Rate, Settings
from palladion.storage import accounts, tokens
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.evaluations import NewScore
from palladion.storage.tables import Account, Stage, Submission, Team
from palladion.storage.uploads import UploadLimits, Uploads
from tests.jobs.world import World, claim, make_world, packed

API = "/api/v1"
SECRET = bytes(range(32))
PASSWORD = "correct horse battery"
DETECTION = f"{API}/challenges/demo/stages/detection"
LABELS = f"{API}/challenges/demo/stages/labels"
SUBMISSIONS = f"{API}/challenges/demo/submissions"
UNKNOWN = "a" * 20
"""An id that nothing has."""
WIDE = Rate(per_second=100_000, burst=100_000)

ALL = ("read", "submit", "organise")
Response = Any
"""Of whichever library the client is made of."""


@dataclass
class Site:
    """A service, its app, and who comes to it.

    Attributes:
        world: the service and its challenge.
        app: in front of it.
        accounts: by name: olga organises, oscar observes, person-0 and person-1 have a team each, lone has none.
        tokens: by whose they are; person-0 and olga have one for each scope as well.
    """

    world: World
    app: FastAPI
    settings: Settings
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        return self.world.service

    @property
    def database(self) -> Database:
        return self.world.database

    def client(self, who: str | None = None, **headers: str) -> TestClient:
        """Somebody, by the name of their token; None: nobody."""
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        return TestClient(self.app, headers=headers, raise_server_exceptions=False, follow_redirects=False)

    def issue(self, mark: str, account: str, scopes: Iterable[str], *, days: int = 30) -> str:
        """A token, which is found under this mark from now on."""
        now = self.world.clock()
        _, secret = self.database.run(
            tokens.issue,
            self.accounts[account].id,
            name=mark,
            scopes=scopes,
            lifetime=timedelta(days=days),
            now=now,
        )
        self.tokens[mark] = secret
        return secret

    def account(self, name: str, role: str = "participant", **options: Any) -> Account:
        """A new account with a token."""
        row = self.database.run(accounts.create, name=name, role=role, now=self.world.clock(), actor="olga", **options)
        self.accounts[name] = row
        self.issue(name, name, ALL if role == "organiser" else ("read", "submit"))
        return row

    def with_limits(self, **limits: Any) -> "Site":
        """The same behind another app, with other limits."""
        settings = self.settings.model_copy(update={"limits": self.settings.limits.model_copy(update=limits)})
        return self.with_settings(settings)

    def with_settings(self, settings: Settings) -> "Site":
        """The same behind another app, with other settings."""
        return replace(self, app=create_app(self.service, settings, SECRET), settings=settings)

    def upload(self, content: bytes, who: str = "person-0") -> str:
        """Upload a file as a client does; its checksum."""
        client = self.client(who)
        sha256 = hashlib.sha256(content).hexdigest()
        begun = client.post(f"{API}/uploads", json={"sha256": sha256, "bytes": len(content)})
        assert begun.status_code in (200, 201), begun.text
        if not begun.json()["complete"]:
            sent = client.patch(
                f"{API}/uploads/{begun.json()['id']}",
                content=content,
                headers={"Upload-Offset": "0", "Content-Type": "application/octet-stream"},
            )
            assert sent.status_code == 200, sent.text
            assert sent.json()["complete"]
        return sha256

    def submit(
        self, content: bytes, track: str = "labels", *, who: str = "person-0", name: str = "file.zip", **more: Any
    ) -> Response:
        """Upload and submit a file as a client does."""
        wanted = {"track": track, "sha256": self.upload(content, who), "filename": name, **more}
        return self.client(who).post(SUBMISSIONS, json=wanted)

    def accepted(self, stage: str, *, team: int = 0, mark: str = "") -> Submission:
        """A submission that was accepted, without anybody having looked at it."""
        return self.world.submit(packed({"file.txt": f"{team} {stage} {mark}"}), stage, team=team)

    def scored(
        self,
        stage: str,
        scores: Mapping[str | tuple[str, str], float | tuple[float, float, float]],
        *,
        team: int = 0,
        mark: str = "",
        report: Mapping[str, Any] | None = None,
        points: PointScores | None = None,
    ) -> Submission:
        """A submission with these scores: by metric, or by (task, metric); a value, or value, low and high."""
        submission = self.accepted(stage, team=team, mark=mark)
        self.finish(scores, report=report, points=points)
        return self.world.submission(submission.id)

    def finish(
        self,
        scores: Mapping[str | tuple[str, str], float | tuple[float, float, float]],
        report: Mapping[str, Any] | None = None,
        points: PointScores | None = None,
    ) -> None:
        """End the evaluation that is due first with these scores, and tell of them as the service does."""
        from palladion.jobs import telling
        from palladion.storage import evaluations, submissions

        work = claim(self.world)
        assert work is not None
        found = tuple(_score(key, value) for key, value in scores.items())
        with self.database.read() as tx:
            evaluation = evaluations.by_id(tx, work.job.subject)
            submission = submissions.by_id(tx, evaluation.submission_id)
            info = self.service.stage(tx, submission.stage_id)
        prepared = None
        if telling.is_told(info, evaluation.split) and evaluation.scorer == info.row.scorer:
            subject = telling.Subject(info, submission.team_id, evaluation.id, evaluation.scorer, found, None)
            prepared = telling.prepare(self.service, subject)
        with self.database.write() as tx:
            kept = None if points is None else points.to_bytes()
            now = self.world.clock()
            evaluations.finish(tx, evaluation.id, work.lease, found, now=now, report=report, points=kept)
            if prepared is not None:
                telling.write(tx, prepared)

    def redefine(self, *changes: tuple[str, str]) -> None:
        """Install the challenge with other words in its file."""
        from palladion.storage import challenges

        text = self.world.challenge.definition
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        with self.database.write() as tx:
            row = challenges.install(tx, text, self.world.folder, now=self.world.clock(), actor="olga")
        self.world.challenge = row

    def conclude(self, stage: str) -> None:
        """Publish the results of a stage, without all that leads up to it."""
        from palladion.storage import stages

        with self.database.write() as tx:
            # Those before it are concluded before it.
            wanted = stages.by_id(tx, self.world.stages[stage].id)
            for row in stages.of_challenge(tx, wanted.challenge_id, track=wanted.track):
                if row.ordinal <= wanted.ordinal and row.state != "concluded":
                    for to in ("closed", "concluded") if row.state != "closed" else ("concluded",):
                        stages.change(tx, row.id, to, now=self.world.clock(), actor="olga")

    def stage(self, name: str) -> Stage:
        return self.world.stage(name)

    @property
    def teams(self) -> list[Team]:
        return self.world.teams


def _score(key: str | tuple[str, str], value: float | tuple[float, float, float]) -> NewScore:
    task, metric = ("", key) if isinstance(key, str) else key
    point, low, high = (value, None, None) if isinstance(value, int | float) else value
    return NewScore(metric, point, task=task, low=low, high=high)


def make_site(folder: Path, database: Database, *, definition: str | None = None, data: Path | None = None) -> Site:
    """A service with everybody in it.

    Args:
        folder: for all of it.
        database: which is empty.
        definition: what to install instead of the usual challenge, under its name.
        data: folder of a challenge whose data lies there already.
    """
    world = make_world(database, folder, data=data)
    settings = Settings(
        data=folder / "service",
        # Nobody waits for a page to be made anew.
        pages=Pages(fresh_seconds=0),
        limits=Limits(account=WIDE, address=WIDE, sign_ups=WIDE, checks=WIDE, free_disk=1),
    )
    store = ArtifactStore(folder / "service" / "artifacts")
    uploads = Uploads(database, store, folder / "service" / "uploads", UploadLimits())
    service = Service(database, store, JobSettings(folder / "service", slots=2), uploads=uploads, clock=world.clock)
    world = replace(world, service=service)
    if definition is not None:
        from palladion.storage import challenges, stages

        with database.write() as tx:
            row = challenges.install(tx, definition, world.folder, now=world.clock(), actor="olga")
            found = {stage.name: stage for stage in stages.of_challenge(tx, row.id)}
        world = replace(world, challenge=row, stages=found)
    site = Site(world, create_app(service, settings, SECRET), settings)
    with database.read() as tx:
        site.accounts = {row.name: row for row in accounts.listing(tx)}
    site.account("oscar", "observer")
    site.account("lone")
    site.issue("olga", "olga", ALL)
    for person in ("person-0", "person-1"):
        site.issue(person, person, ("read", "submit"))
    for account in ("person-0", "olga"):
        for scope in ALL[: 2 if account == "person-0" else 3]:
            site.issue(f"{account}:{scope}", account, (scope,))
    return site


def copied(site_folder: Path, target: Path) -> Path:
    """A copy of a folder that was made once."""
    shutil.copytree(site_folder, target)
    return target
