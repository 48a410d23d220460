"""``palladion worker`` beside a service."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palladion.storage.database import Database
from tests.conftest import Palladion
from tests.jobs.conftest import wait_for
from tests.jobs.world import Clock, World, make_world, outputs


@pytest.fixture
def served(tmp_path: Path) -> Iterator[World]:
    """A service, with a stage that is open, in the folder ``service``."""
    (tmp_path / "service").mkdir(mode=0o700)
    database = Database(tmp_path / "service" / "palladion.db")
    database.upgrade()
    world = make_world(database, tmp_path, clock=Clock(None))
    world.open("development")
    yield world
    database.close()


@contextmanager
def worker(environment: dict[str, str], tmp_path: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "palladion", "worker", "--data", str(tmp_path / "service"), *more]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_it_does_what_is_due_and_stops_in_order(served: World, environment: dict[str, str], tmp_path: Path) -> None:
    submission = served.submit(outputs(), "development")
    with worker(environment, tmp_path, "--name", "one", "--slots", "1") as process:
        wait_for(lambda: served.submission(submission.id).state == "scored")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    log = (tmp_path / "log").read_text()
    assert "worker one: started, 1 slots" in log
    assert "worker one: stopped" in log
    assert "Traceback" not in log


def test_a_name_that_is_taken_is_told(
    served: World, environment: dict[str, str], tmp_path: Path, palladion: Palladion
) -> None:
    assert served.stage("development").state == "open"
    with worker(environment, tmp_path, "--name", "one"):
        wait_for(lambda: "started" in (tmp_path / "log").read_text())
        refused = palladion("worker", "--data", tmp_path / "service", "--name", "one")
    assert refused.returncode == 1
    assert "a worker named one runs already" in refused.stderr


def test_without_a_service_there_is_nothing_to_do(palladion: Palladion, tmp_path: Path) -> None:
    refused = palladion("worker", "--data", tmp_path / "nowhere")
    assert refused.returncode == 2
    assert "there is no such folder" in refused.stderr
    assert not (tmp_path / "nowhere").exists()
    refused = palladion("worker", "--data", tmp_path, "--log-level", "loud")
    assert refused.returncode == 2
