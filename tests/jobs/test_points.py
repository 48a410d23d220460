"""Which data points belong together, in what is kept of an evaluation."""

import numpy as np
import pytest

from palladion.jobs.points import Truth, points_of
from palladion.storage import challenges
from palladion.storage.database import Database
from tests.jobs.world import RUNNING, World, detector, do_all

pytestmark = pytest.mark.usefixtures("own_cache")


def _with_clusters(world: World, *columns: str) -> None:
    before = "    limits: {seconds: 20"
    text = world.challenge.definition.replace(before, f"    clusters: [{', '.join(columns)}]\n{before}", 1)
    assert text != world.challenge.definition
    with world.database.write() as tx:
        world.challenge = challenges.install(tx, text, world.folder, now=world.clock(), actor="olga")


def test_models_that_share_their_words_are_one_cluster(world: World) -> None:
    world.open("round-0")
    # A round whose open stage has too few for an organiser to open it with.
    _with_clusters(world, "poisoned")
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages["round-0"].id)
    truth = Truth.of(info, "test")
    assert truth.poisoned == (True, False, True, False)
    assert truth.clusters == (1, 0, 1, 0)
    assert truth.points([0.9, None, 0.8, 0.1]).arrays["probability"].tolist() == [0.9, 0.5, 0.8, 0.1]


def test_what_is_kept_and_what_is_made_again_are_the_same(world: World) -> None:
    world.open("round-0")
    _with_clusters(world, "poisoned")
    submission = world.submit(detector(), "round-0")
    do_all(world, RUNNING)
    evaluation = world.evaluation(submission.id)
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages["round-0"].id)
    kept = points_of(world.service, info, "test", [evaluation.id])[evaluation.id]
    assert kept.arrays["cluster"].tolist() == [1, 0, 1, 0]
    _forget(world.database)
    made = points_of(world.service, info, "test", [evaluation.id])[evaluation.id]
    assert all(np.array_equal(made.arrays[name], kept.arrays[name]) for name in kept.arrays)


def _forget(database: Database) -> None:
    from sqlalchemy import delete

    from palladion.storage.tables import PointScores

    with database.write() as tx:
        assert tx.execute(delete(PointScores)).rowcount == 1  # type: ignore[attr-defined]
