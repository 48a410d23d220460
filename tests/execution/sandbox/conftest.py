"""Sandboxes of bubblewrap, for tests."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from palladion.execution.interpreter import own
from palladion.execution.sandbox.bubblewrap import BubblewrapSandbox
from palladion.execution.sandbox.contract import Bind, Contents, Ended, Limits, Program

LIMITS = Limits(seconds=20.0, memory_bytes=512 << 20, processes=40, scratch_bytes=32 << 20, output_bytes=1 << 20)


class Run:
    """Run a script in a fresh place of a fresh sandbox.

    Attributes:
        supervisors: process ids of the sandboxes' supervisors, which have ended.
    """

    def __init__(self, folder: Path, warm: bool) -> None:
        self._folder, self._warm = folder, warm
        self.supervisors: list[int] = []

    def __call__(self, source: str, *arguments: str, limits: Limits = LIMITS) -> Ended:
        (self._folder / "program.py").write_text(source)
        contents = Contents(own(), (Bind(self._folder, "submission"),))
        with closing(BubblewrapSandbox(contents, warm=self._warm, slots=2)) as sandbox:
            self.supervisors.append(sandbox._process.pid)
            place = sandbox.prepare(None, limits)
            try:
                return place.run(Program((str(place.layout.python), "/submission/program.py", *arguments)), limits)
            finally:
                place.discard()


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")


@pytest.fixture(params=["warm", "cold"])
def warm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "warm")


@pytest.fixture
def run(tmp_path: Path, warm: bool) -> Run:
    folder = tmp_path / "submission"
    folder.mkdir()
    return Run(folder, warm)
