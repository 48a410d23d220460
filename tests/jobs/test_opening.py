import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from palladion.jobs import conclusion, opening
from palladion.jobs.claiming import OPEN
from palladion.storage.errors import NotFound, Refused
from tests.jobs.world import LABELS, World, do_all, make_last_round, make_round


def test_a_stage_opens_with_its_data(either: World) -> None:
    stage = either.stages["round-0"].id
    assert opening.faults(either.service, stage) == []
    assert opening.open_stage(either.service, stage, actor="olga")
    assert not opening.open_stage(either.service, stage, actor="olga")
    assert either.stage("round-0").state == "open"
    # Two teams, and the organiser.
    assert len(either.news("stage.opened")) == 3


def test_without_data_a_stage_does_not_open(world: World) -> None:
    shutil.rmtree(world.folder / "data" / "round-0")
    with pytest.raises(Refused, match="is not there yet; build it: palladion round build"):
        world.open("round-0")
    assert world.stage("round-0").state == "planned"
    assert world.news() == []
    with pytest.raises(NotFound):
        opening.open_stage(world.service, "nothing", actor="olga")


def test_every_fault_of_the_data_is_told(world: World) -> None:
    shutil.rmtree(world.folder / "data" / "labels" / "sealed" / "development")
    [fault] = opening.faults(world.service, world.stages["development"].id)
    assert "sealed/development/task1" in fault


def test_data_that_ranks_known_answers_wrongly_does_not_open(world: World) -> None:
    """Of one class, nothing can be told apart; nor can answers to it be ranked."""
    folder = world.folder / "data" / "round-0"
    shutil.rmtree(folder)
    make_round(folder, {"train": [True] * 4})
    with pytest.raises(Refused, match="undefined; are the labels all the same") as refused:
        world.open("round-0")
    assert "round-0" in str(refused.value)
    assert world.stage("round-0").state == "planned"


def test_stages_open_in_their_order(world: World) -> None:
    with pytest.raises(Refused, match="round-0 comes before round-1 and has not been open yet"):
        world.open("round-1")
    world.open("round-0")
    with pytest.raises(Refused, match="is still open; close or conclude it first"):
        world.open("round-1")
    assert opening.close_stage(world.service, world.stages["round-0"].id, actor="olga")
    assert not opening.close_stage(world.service, world.stages["round-0"].id, actor="olga")
    world.open("round-1")
    with pytest.raises(Refused, match="is closed and does not open again"):
        world.open("round-0")
    with pytest.raises(Refused, match="is not open yet, so there is nothing to close"):
        opening.close_stage(world.service, world.stages["round-2"].id, actor="olga")


def test_a_job_opens_a_stage_as_soon_as_its_data_is_there(world: World) -> None:
    make_last_round(world.folder)
    data = world.folder / "data" / "round-0"
    data.rename(data.with_name("elsewhere"))
    stage = world.stages["round-0"].id
    world.database.run(opening.enqueue_opening, stage, now=world.service.now())
    for _ in range(4):
        do_all(world)
        world.clock.forward(timedelta(minutes=1))
    assert world.stage("round-0").state == "planned"
    [told] = world.news("stage.waits")
    assert "is not there yet" in told.body["reason"]
    assert world.job(OPEN, stage).attempts == 0
    data.with_name("elsewhere").rename(data)
    do_all(world)
    assert world.stage("round-0").state == "open"
    assert world.job(OPEN, stage).state == "done"


def test_a_job_for_a_stage_that_somebody_opened_is_done(world: World) -> None:
    stage = world.stages["round-0"].id
    world.database.run(opening.enqueue_opening, stage, now=world.service.now())
    world.open("round-0")
    do_all(world)
    assert world.job(OPEN, stage).state == "done"
    assert len(world.news("stage.opened")) == 3


def test_the_identity_is_that_of_the_data(world: World, tmp_path: Path) -> None:
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages["round-0"].id)
    before = opening.look(info).identity
    assert opening.look(info).identity == before
    other = make_round(tmp_path / "other", {"train": LABELS})
    (other / "train" / "METADATA.csv").write_bytes((info.data / "train" / "METADATA.csv").read_bytes() + b"\n")
    shutil.rmtree(info.data)
    other.rename(info.data)
    assert opening.look(info).identity != before


def test_progress_of_what_has_not_begun_is_nothing(world: World) -> None:
    with world.database.read() as tx:
        assert conclusion.progress(tx, world.stages["round-0"].id) == []
