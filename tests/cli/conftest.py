"""A service that runs, and people who use it from the command line."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from palladion.cli import main
from palladion.client import Client, Login, remember
from tests.conftest import SOURCE
from tests.jobs.world import make_data
from tests.rounds.stages import write_language_round

PASSWORD = "a password for tests"
WIDE = {"per_second": 10_000, "burst": 10_000}

DEFINITION = """\
format: palladion-challenge/1
name: {name}
title: A challenge
stage_word: phase
teams: {{most_members: 3}}
tracks:
  - name: labels
    title: Labels
    task: classification
    metrics: [overall, cacc, asr]
    submission: {{kind: outputs, bytes: 1M}}
    feedback: {{policy: exact, digits: 2}}
    stages:
      - {{name: development, title: Development, data: data/small-labels, phase: development, success: 50}}
      - {{name: test, title: Test, data: data/small-labels, phase: test}}
  - name: few
    title: Few
    task: classification
    metrics: [overall]
    submission: {{kind: outputs, bytes: 1M}}
    quotas: {{scored: {{per_day: 2, total: 9}}, attempted: {{per_day: 20}}, concurrent: 5}}
    stages:
      - {{name: development, title: Development, data: data/small-labels, phase: development}}
  - name: texts
    title: Texts
    task: generation
    metrics: [overall, utility]
    submission: {{kind: outputs, bytes: 1M}}
    stages:
      - {{name: development, title: Development, data: data/small-texts, phase: development}}
  - name: detection
    title: Detection
    task: detection
    metrics: [cross_entropy, roc_auc]
    submission: {{kind: code, files: [entrypoint.py], bytes: 1M}}
    limits: {{seconds: 20, memory: 1G, processes: 64, scratch: 64M}}
    stages:
      - {{name: round-0, title: Round 0, data: data/round-0, dry_run: true}}
      - {{name: round-1, title: Round 1, data: data/round-1}}
"""


@dataclass(frozen=True)
class RunningService:
    """A service in a process of its own.

    Attributes:
        url: its address.
        token: of its organiser.
        folder: holds its folder and those of its challenges.
    """

    url: str
    token: str
    folder: Path


@dataclass(frozen=True)
class Person:
    """Somebody with an account, logged in.

    Attributes:
        name: of the account.
        configuration: their XDG_CONFIG_HOME.
        team: the name of their team in the challenge ``small``; empty without one.
    """

    name: str
    configuration: Path
    team: str = ""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


def write_challenge(folder: Path, name: str) -> Path:
    """A challenge file with the data of its stages."""
    folder.mkdir(parents=True)
    write_language_round(folder / "data" / "small-labels", "classification")
    write_language_round(folder / "data" / "small-texts", "generation")
    make_data(folder)
    path = folder / "challenge.yaml"
    path.write_text(DEFINITION.format(name=name))
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with the challenge ``small``, whose first stages are open, and ``moving``, whose are not."""
    folder = tmp_path_factory.mktemp("service")
    data = folder / "data"
    data.mkdir(mode=0o700)
    limits = {"account": WIDE, "address": WIDE, "sign_ups": WIDE, "checks": WIDE}
    (data / "service.yaml").write_text(json.dumps({"limits": limits}))
    command = [sys.executable, "-m", "palladion", "serve", "--data", str(data), "--port", "0"]
    for name in ("small", "moving"):
        command += ["--challenge", str(write_challenge(folder / name, name))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALLADION_")}
    environment |= {"PYTHONPATH": str(SOURCE), "XDG_CACHE_HOME": str(folder / "cache")}
    log = folder / "log"
    with (
        log.open("w") as written,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        try:
            url = None
            while url is None:
                line = process.stderr.readline()
                assert line, log.read_text()
                written.write(line)
                written.flush()
                found = re.search(r"serving (http://\S+)", line)
                url = found and found[1]
            # Nobody reads what else it says, and a full pipe would stop it.
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=written)
            token = (data / "organiser-token").read_text().strip()
            with Client(url, token) as client:
                for track, stage in (
                    ("labels", "development"),
                    ("few", "development"),
                    ("texts", "development"),
                    ("detection", "round-0"),
                ):
                    client.open_stage("small", track, stage)
            yield RunningService(url, token, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    drain.wait(60)


class Cli(Protocol):
    def __call__(self, *arguments: object, person: Person | None = None, stdin: str = "") -> Ran: ...


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process, as the person who is logged in under ``person``, or as nobody."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("PALLADION_SERVER", "PALLADION_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, person: Person | None = None, stdin: str = "") -> Ran:
        configuration = tmp_path / "configuration" if person is None else person.configuration
        monkeypatch.setenv("XDG_CONFIG_HOME", str(configuration))
        monkeypatch.setattr("sys.argv", ["palladion", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def organiser(service: RunningService, tmp_path: Path) -> Person:
    """The organiser, logged in."""
    return _logged_in(service, "organiser", service.token, tmp_path / "organiser")


@pytest.fixture
def person(service: RunningService, tmp_path: Path) -> Person:
    """Somebody with a team of their own in the challenge ``small``."""
    newcomer = make_person(service, tmp_path / "person")
    team = f"Team {newcomer.name}"
    token = token_of(newcomer)
    with Client(service.url, token) as client:
        client.create_team("small", team)
    return Person(newcomer.name, newcomer.configuration, team)


def make_person(service: RunningService, configuration: Path) -> Person:
    """Somebody new, logged in, without a team."""
    name = f"p{uuid.uuid4().hex[:10]}"
    with Client(service.url) as client:
        client.sign_up(name, PASSWORD)
        token = client.log_in(name, PASSWORD).token
    return _logged_in(service, name, token, configuration)


def token_of(person: Person) -> str:
    from palladion.client import load_credentials

    [login] = load_credentials(person.configuration / "palladion" / "credentials.json").logins.values()
    return login.token


def _logged_in(service: RunningService, name: str, token: str, configuration: Path) -> Person:
    remember(service.url, Login(name, token), configuration / "palladion" / "credentials.json")
    return Person(name, configuration)
