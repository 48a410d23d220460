"""Two rounds that are built once for all tests that look at one."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palladion.rounds.language.build import build_language_round
from palladion.rounds.language.spec import LanguageRoundSpec
from tests.models.tiny_llama import write_base
from tests.rounds.language.tiny import CLASSIFICATION, GENERATION, spec_of


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _built(spec: LanguageRoundSpec, factory: pytest.TempPathFactory) -> Path:
    """The round; workers of pytest-xdist share one, and all but the first find it built."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    directory = root / spec.name
    with _alone(root / f"{spec.name}.lock"):
        report = build_language_round(spec, directory, jobs=2)
    assert report.failed == ()
    return directory


@pytest.fixture(scope="session")
def classification_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built round that nobody may change."""
    return _built(spec_of(CLASSIFICATION), tmp_path_factory)


@pytest.fixture(scope="session")
def generation_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built round that nobody may change."""
    return _built(spec_of(GENERATION), tmp_path_factory)


@pytest.fixture(scope="session")
def given_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with random weights, as a user would give one."""
    return write_base(tmp_path_factory.mktemp("given") / "base")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a round, to change it."""

    def copy(directory: Path) -> Path:
        return Path(shutil.copytree(directory, tmp_path / directory.name, symlinks=True))

    return copy
