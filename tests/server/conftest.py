"""A service for each test, copied from one that was made once."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from palladion.jobs.context import JobSettings, Service
from palladion.server.app import create_app
from palladion.storage import stages
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database, open_database
from palladion.storage.uploads import Uploads
from tests.server.site import SECRET, Site, make_site
from tests.storage.conftest import postgresql as postgresql


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A service whose detection track and whose labels are open, made once."""
    folder = tmp_path_factory.mktemp("site")
    database = open_database(folder / "made.db")
    site = make_site(folder, database)
    site.world.open("round-0")
    site.world.open("development")
    with database.read() as tx:
        found = {stage.name: stage for stage in stages.of_challenge(tx, site.world.challenge.id)}
    site.world.stages.update(found)
    database.close()
    return site


@pytest.fixture
def site(_made: Site, tmp_path: Path) -> Iterator[Site]:
    """A service of the test's own: round-0 and development are open."""
    yield from _copy(_made, tmp_path / "service")


@pytest.fixture(scope="module")
def still(_made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same for tests that only look at it."""
    yield from _copy(_made, tmp_path_factory.mktemp("still") / "service")


def _copy(_made: Site, data: Path) -> Iterator[Site]:
    made = Path(_made.database.url)
    data.mkdir(mode=0o700)
    shutil.copyfile(made, data / "palladion.db")
    database = Database(data / "palladion.db")
    store = ArtifactStore(data / "artifacts")
    uploads = Uploads(database, store, data / "uploads")
    clock = type(_made.world.clock)()
    clock.forward(_made.world.clock() - clock())
    service = Service(database, store, JobSettings(data, slots=2), uploads=uploads, clock=clock)
    made_world = _made.world
    world = replace(
        made_world,
        service=service,
        clock=clock,
        teams=list(made_world.teams),
        captains=list(made_world.captains),
        stages=dict(made_world.stages),
    )
    settings = _made.settings.model_copy(update={"data": data})
    yield replace(
        _made,
        world=world,
        settings=settings,
        app=create_app(service, settings, SECRET),
        accounts=dict(_made.accounts),
        tokens=dict(_made.tokens),
    )
    database.close()
