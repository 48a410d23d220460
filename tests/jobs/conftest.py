"""A service with a challenge, on each kind of database or on SQLite alone, and what works for it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palladion.jobs.worker import Worker
from palladion.storage.database import Database
from tests.jobs.world import World, make_world

# Fixtures of the storage's own tests.
from tests.storage.conftest import _shared, database, databases, postgresql  # noqa: F401

SECONDS = 60.0


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database(tmp_path / "palladion.db")
    made.upgrade()
    yield made
    made.close()


@pytest.fixture(scope="session")
def _doctor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was found out about the sandboxes of this machine, once for all tests."""
    return tmp_path_factory.mktemp("doctor")


@pytest.fixture
def own_cache(_doctor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache, in which only the sandboxes are known from before."""
    cache = tmp_path / "cache"
    (cache / "palladion").mkdir(parents=True)
    (cache / "palladion" / "doctor").symlink_to(_doctor)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


@pytest.fixture
def world(sqlite: Database, tmp_path: Path) -> World:
    """A service with a challenge, on SQLite."""
    return make_world(sqlite, tmp_path)


@pytest.fixture
def either(database: Database, tmp_path: Path) -> World:  # noqa: F811
    """A service with a challenge, on each kind of database in turn."""
    return make_world(database, tmp_path)


@pytest.fixture
def working() -> Iterator[Callable[[World], Worker]]:
    """Start workers, which are stopped at the end."""
    started: list[Worker] = []

    def start(world: World, name: str = "worker", slots: int = 2) -> Worker:
        worker = Worker(world.service, name=name, slots=slots)
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(at_once=True)
    for worker in started:
        assert worker.join(SECONDS)


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.02)


def ended(world: World, *submission_ids: str) -> None:
    """Wait until submissions have ended."""
    wait_for(lambda: all(world.submission(one).state != "pending" for one in submission_ids))


def threads() -> set[str]:
    """The names of the threads there are."""
    return {thread.name for thread in threading.enumerate()}
