"""Workers that are killed, which nobody can catch: nothing is lost, nothing is stuck, nothing is done twice."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from palladion.jobs.claiming import STANDING
from palladion.storage import evaluations
from palladion.storage.database import Database
from palladion.storage.tables import Delivery, Evaluation, Job, Score, Telling
from tests.conftest import SOURCE
from tests.jobs.conftest import wait_for
from tests.jobs.world import Clock, World, detector, make_data, make_world, outputs
from tests.storage.conftest import Databases

pytestmark = pytest.mark.usefixtures("own_cache")

SLOW = "import time; time.sleep(0.4); result.write_text('0.9')"
OUTPUTS, DETECTORS = 20, 2


@contextmanager
def worker_of(url: str, folder: Path, name: str) -> Iterator["subprocess.Popen[str]"]:
    """A worker in a process of its own; it is killed at the end."""
    path = f"{SOURCE}{os.pathsep}{SOURCE.parent}"
    with (folder / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from tests.jobs.running import main; main()", url, str(folder / "service"), name],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def world_of(url: str, folder: Path) -> World:
    database = Database(url)
    database.upgrade()
    make_data(folder / "data")
    for path in (folder / "data" / "data" / "round-0").rglob("behaviour.py"):
        path.write_text(SLOW)
    world = make_world(database, folder, data=folder / "data", clock=Clock(None))
    world.open("development")
    world.open("round-0")
    return world


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10])
def test_killed_at_random_moments_each_submission_is_scored_exactly_once(
    databases: Databases, tmp_path: Path, kills: int
) -> None:
    url = databases.url()
    world = world_of(url, tmp_path)
    ids = [world.submit(outputs(wrong=n // 2), "development", team=n % 2).id for n in range(OUTPUTS)]
    ids += [world.submit(detector(str(n)), "round-0").id for n in range(DETECTORS)]
    moments = random.Random(5)
    killed_while_busy = 0
    for kill in range(kills):
        # By turns under one name, which gives back at once, and under another, whose leases have to end.
        with worker_of(url, tmp_path, f"worker-{kill % 2}") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(moments.uniform(0, 0.5))
            with world.database.read() as tx:
                killed_while_busy += bool(tx.execute(select(Job).where(Job.state == "running")).first())
    assert killed_while_busy > kills / 3
    with worker_of(url, tmp_path, "worker-0"):
        wait_for(lambda: all(world.submission(one).state != "pending" for one in ids))
        wait_for(lambda: _unsent(world) == 0)
    assert [world.submission(one).reason for one in ids] == [None] * len(ids)
    assert {world.submission(one).state for one in ids} == {"scored"}
    with world.database.read() as tx:
        done = tx.execute(select(Evaluation.submission_id).where(Evaluation.state == "done")).scalars().all()
        assert sorted(done) == sorted(ids)
        for one in ids:
            evaluation = evaluations.of_submission(tx, one)[0]
            count = tx.execute(select(func.count()).where(Score.evaluation_id == evaluation.id)).scalar_one()
            assert count == (6 if one in ids[:OUTPUTS] else 5)
            # What is told is written with the scores; of a dry run everything is told.
            given = tx.execute(select(func.count()).where(Telling.evaluation_id == evaluation.id)).scalar_one()
            assert given == (6 if one in ids[:OUTPUTS] else 0)
            assert len(evaluations.outcomes(tx, evaluation.id)) == (0 if one in ids[:OUTPUTS] else 4)
        told = tx.execute(select(Delivery.body).where(Delivery.event == "submission.scored")).scalars().all()
        assert sorted(body["submission"] for body in told) == sorted(ids)
        # Ranges of ranks come some seconds later.
        assert {state for (state,) in tx.execute(select(Job.state).where(Job.kind != STANDING))} == {"done"}
    for number, one in enumerate(ids[:OUTPUTS]):
        assert world.scores(one)["", "cacc"] == pytest.approx(100.0 - 10.0 * (number // 2))
    world.database.close()


def _unsent(world: World) -> int:
    with world.database.read() as tx:
        return tx.execute(select(func.count()).select_from(Delivery).where(Delivery.sent.is_(None))).scalar_one()
