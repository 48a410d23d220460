"""Sandboxes of bubblewrap, for tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from palladion.execution.interpreter import own
from palladion.execution.sandbox.bubblewrap import BubblewrapSandbox
from palladion.execution.sandbox.contract import Bind, Contents, Ended, Limits, Program

LIMITS = Limits(seconds=20.0, memory_bytes=512 << 20, processes=40, scratch_bytes=32 << 20, output_bytes=1 << 20)


class Run(Protocol):
    """Run a script in a fresh place of a sandbox."""

    def __call__(
        self, source: str, *arguments: str, limits: Limits = ..., data: Path | None = ..., **options: Any
    ) -> Ended: ...


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")


@pytest.fixture(params=["warm", "cold"])
def warm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "warm")


@pytest.fixture
def run(tmp_path: Path, warm: bool) -> Iterator[Run]:
    folder = tmp_path / "submission"
    folder.mkdir()
    opened: dict[tuple[Any, ...], BubblewrapSandbox] = {}
    count = 0

    def start(source: str, *arguments: str, limits: Limits = LIMITS, data: Path | None = None, **options: Any) -> Ended:
        nonlocal count
        count += 1
        (folder / "program.py").write_text(source)
        contents = Contents(own(), (Bind(folder, "submission"),), **options)
        sandbox = BubblewrapSandbox(contents, warm=warm, slots=2)
        opened[(count,)] = sandbox
        place = sandbox.prepare(data, limits)
        try:
            return place.run(Program((str(place.layout.python), "/submission/program.py", *arguments)), limits)
        finally:
            place.discard()
            sandbox.close()

    yield start
    for sandbox in opened.values():
        sandbox.close()
