from collections.abc import Iterator
from pathlib import Path

import pytest

from palladion.client import Client
from palladion.client.retries import Patience
from tests.client.rough_server import RoughServer, rough_server

# Waits are for people's networks; here the order of things is looked at.
QUICK = Patience(tries=4, first=0.002, longest=0.01, asked=0.05)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.client.uploads._PATIENCE", QUICK)
    monkeypatch.setattr("palladion.client.downloads._PATIENCE", QUICK)


@pytest.fixture
def rough() -> Iterator[RoughServer]:
    with rough_server() as server:
        yield server


@pytest.fixture
def client(rough: RoughServer) -> Iterator[Client]:
    with Client(rough.url, "pld_abc_secret", patience=QUICK) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins and caches of whoever runs the tests are none of their business."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("PALLADION_SERVER", "PALLADION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
