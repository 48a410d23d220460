"""``palladion serve``: a whole service as a process, from its first start to its end."""

import hashlib
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from palladion.storage.database import Database
from palladion.storage.queue import by_id
from tests.conftest import Palladion
from tests.jobs.world import DEFINITION, LABELS, detector, make_data, make_round, outputs

API = "/api/v1"
SECONDS = 60.0
CHALLENGE = DEFINITION.format(name="demo", advance="command", dates="", success="none", feedback="policy: exact")


@dataclass
class Served:
    """A service that runs.

    Attributes:
        process: its process.
        url: its address.
        data: its folder.
        log: what it says.
    """

    process: "subprocess.Popen[str]"
    url: str
    data: Path
    log: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """Somebody with a token; by default the first organiser."""
        token = token or (self.data / "organiser-token").read_text().strip()
        return httpx.Client(base_url=self.url + API, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def _wait(condition: Callable[[], Any], log: Path) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return found


@contextmanager
def serving(environment: dict[str, str], folder: Path, *more: object) -> Iterator[Served]:
    """Serve from ``service`` in a folder, on a free port."""
    log = folder / "log"
    command = [sys.executable, "-m", "palladion", "serve", "--data", folder / "service", "--port", "0", *more]
    with log.open("w") as stderr:
        process = subprocess.Popen(list(map(str, command)), env=environment, stderr=stderr, text=True, cwd=folder)
    try:

        def address() -> "re.Match[str] | None":
            assert process.poll() is None, log.read_text()
            return re.search(r"palladion: serving (http://\S+)", log.read_text())

        yield Served(process, _wait(address, log)[1], folder / "service", log)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """A challenge with its data."""
    make_data(tmp_path / "challenge")
    path = tmp_path / "challenge" / "challenge.yaml"
    path.write_text(CHALLENGE)
    return path


def _participant(organiser: httpx.Client, name: str = "ada") -> str:
    """Somebody who has signed up and made a team; their token."""
    account = {"name": name, "password": "correct horse battery"}
    assert organiser.post("/accounts", json=account).status_code == 201
    token: str = organiser.post("/login", json=account).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    made = organiser.post("/challenges/demo/teams", json={"name": f"Team {name}"}, headers=headers)
    assert made.status_code == 201, made.text
    return token


def _submit(client: httpx.Client, content: bytes, track: str) -> Any:
    sha256 = hashlib.sha256(content).hexdigest()
    upload = client.post("/uploads", json={"sha256": sha256, "bytes": len(content)}).json()
    headers = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    assert client.patch(f"/uploads/{upload['id']}", content=content, headers=headers).json()["complete"]
    wanted = {"track": track, "sha256": sha256, "filename": "file.zip"}
    answer = client.post("/challenges/demo/submissions", json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_from_the_first_start_to_a_score_and_over_a_restart(
    environment: dict[str, str], tmp_path: Path, challenge: Path
) -> None:
    with serving(environment, tmp_path, "--challenge", challenge.parent) as served:
        log = served.log.read_text()
        assert "its token is in" in log
        assert "challenge demo: installed" in log
        token = (served.data / "organiser-token").read_text().strip()
        assert token not in log
        for name in ("organiser-token", "organiser-password", "secret", "palladion.db"):
            assert stat.S_IMODE((served.data / name).stat().st_mode) == 0o600, name
        assert stat.S_IMODE(served.data.stat().st_mode) == 0o700
        organiser = served.client()
        assert httpx.get(f"{served.url}/health/ready").json()["status"] == "ready"
        assert organiser.get("/me").json()["account"]["role"] == "organiser"
        password = (served.data / "organiser-password").read_text().strip()
        assert organiser.post("/login", json={"name": "organiser", "password": password}).status_code == 200
        opened = organiser.post("/challenges/demo/stages/labels/development/open")
        assert (opened.status_code, opened.json()["state"]) == (200, "open")
        ada = served.client(_participant(organiser))
        made = _submit(ada, outputs(wrong=1), "labels")
        done = _wait(
            lambda: (s := ada.get(f"/submissions/{made['id']}").json())["state"] != "pending" and s, served.log
        )
        assert (done["state"], done["scores"]["cacc"]["value"]) == ("scored", 90.0)
        board = ada.get("/challenges/demo/stages/labels/development/leaderboard").json()
        assert board["rows"][0]["team"]["name"] == "Team ada"
        assert b"palladion_jobs" in httpx.get(f"{served.url}/metrics").content
        assert served.stop() == 0
        assert served.log.read_text().endswith("palladion: stopped\n")
    token_file = served.data / "organiser-token"
    token_file.unlink()
    challenge.write_text(CHALLENGE.replace("title: A challenge", "title: Another title"))
    # Started again it is the same service; a file that somebody has put elsewhere is not made again.
    with serving(environment, tmp_path, "--challenge", challenge) as again:
        log = again.log.read_text()
        assert "challenge demo: changed" in log
        assert "token" not in log
        assert not token_file.exists()
        assert again.client(token).get("/challenges/demo").json()["title"] == "Another title"
        assert again.client(token).get(f"/submissions/{made['id']}").json()["state"] == "scored"
        assert again.stop(signal.SIGINT) == 0
    # Whoever has lost it gets another one, and the lost one is worth nothing.
    with serving(environment, tmp_path, "--reset-organiser", "--no-worker", "--access-log") as reset:
        assert "its token is in" in reset.log.read_text()
        assert reset.client().get("/me?code=secret").status_code == 200
        assert reset.client(token).get("/me").status_code == 401
        # Addresses are logged without what may be a secret.
        assert "GET /api/v1/me 200" in reset.log.read_text()
        assert "code=secret" not in reset.log.read_text()


def test_what_was_opened_cannot_be_taken_away(
    environment: dict[str, str], tmp_path: Path, challenge: Path, palladion: Palladion
) -> None:
    with serving(environment, tmp_path, "--challenge", challenge, "--no-worker") as served:
        assert served.client().post("/challenges/demo/stages/labels/development/open").status_code == 200
        assert served.stop() == 0
    challenge.write_text(
        CHALLENGE.replace("data: data/labels, phase: development", "data: data/other, phase: development")
    )
    refused = palladion("serve", "--data", "service", "--port", "0", "--challenge", challenge)
    assert refused.returncode == 1
    assert f"{challenge}: labels/development is open: data cannot change" in refused.stderr
    assert "The challenge is left as it was." in refused.stderr
    assert "serving" not in refused.stderr
    challenge.write_text(CHALLENGE.replace("stages:", "stagse:"))
    refused = palladion("challenge", "install", challenge, "--data", "service")
    assert refused.returncode == 2
    assert re.search(r"challenge\.yaml, line \d+: .*stagse", refused.stderr)
    challenge.write_text(CHALLENGE)
    assert palladion("challenge", "install", challenge, "--data", "service").stdout == (
        "demo: is installed as it is; nothing to do\n"
    )


def test_a_challenge_is_exported_and_imported(tmp_path: Path, challenge: Path, palladion: Palladion) -> None:
    assert palladion("challenge", "install", challenge, "--data", "one").stdout == "demo: installed\n"
    assert palladion("challenge", "export", "demo", "--data", "one", "--out", "demo.tar").returncode == 0
    imported = palladion("challenge", "import", "demo.tar", "--data", "two", "--folder", challenge.parent)
    assert (imported.returncode, imported.stdout) == (0, "demo: imported\n")
    assert palladion("challenge", "export", "demo", "--data", "two", "--out", "again.tar").returncode == 0
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "demo.tar").read_bytes()
    again = palladion("challenge", "import", "demo.tar", "--data", "two", "--folder", challenge.parent)
    assert (again.returncode, "demo" in again.stderr) == (1, True)
    nowhere = palladion("challenge", "export", "demo", "--data", "nowhere", "--out", "x.tar")
    assert nowhere.returncode == 2
    assert not (tmp_path / "nowhere").exists()
    assert palladion("challenge", "export", "other", "--data", "one", "--out", "x.tar").returncode == 1
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "no.such.host.invalid"], 1, "there is no address for 'no.such.host.invalid'"),
        (["--host", "192.0.2.1"], 1, "192.0.2.1 is no address of this machine"),
        (["--log-level", "loud"], 2, "--log-level"),
        (["--challenge", "nowhere"], 2, "there is no such file"),
        (["--database", "mysql://x"], 1, "no database of the kind"),
        (["--artifacts", "nosuch://x"], 1, "the store of files cannot be opened"),
        (["--data", "file"], 1, "is a file"),
    ],
)
def test_what_cannot_be_served_is_told_in_words(
    palladion: Palladion, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "file").write_text("")
    refused = palladion("serve", "--data", "service", "--port", "0", "--no-worker", *arguments)
    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr
    assert "serving" not in refused.stderr


def test_a_port_that_is_taken_is_told(palladion: Palladion) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = palladion("serve", "--data", "service", "--port", port, "--no-worker")
    assert refused.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in refused.stderr


def test_settings_are_read_from_the_folder(palladion: Palladion, tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "service.yaml").write_text("limits:\n  uplaod: 1M\n")
    refused = palladion("serve", "--data", "service")
    assert refused.returncode == 2
    assert "service.yaml, line 2: there is no key 'limits.uplaod'; did you mean 'upload'?" in refused.stderr


def test_two_on_one_folder_have_one_worker(environment: dict[str, str], tmp_path: Path, palladion: Palladion) -> None:
    with serving(environment, tmp_path):
        refused = palladion("serve", "--data", "service", "--port", "0")
        assert refused.returncode == 1
        assert "--no-worker" in refused.stderr
        with serving(environment | {"TMPDIR": str(tmp_path)}, tmp_path, "--no-worker") as second:
            assert second.client().get("/me").status_code == 200
            assert second.stop() == 0


def test_a_proxy_is_believed_if_it_is_trusted(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    settings = tmp_path / "service" / "service.yaml"
    limits = {"limits": {"address": {"per_second": 0.001, "burst": 2}}}
    far, other = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "203.0.113.8"}
    for trusted in ([], ["127.0.0.1"]):
        settings.write_text(json.dumps({**limits, "trusted_proxies": trusted}))
        with serving(environment, tmp_path, "--no-worker") as served:
            codes = [httpx.get(f"{served.url}{API}/challenges", headers=h).status_code for h in (far, far, far, other)]
            # Trusted, each address behind it has a limit of its own; otherwise all are one.
            assert codes == [200, 200, 429, 200 if trusted else 429]
            # Neither is this machine for what is for this machine alone.
            assert httpx.get(f"{served.url}/metrics", headers=far).status_code == 401


@pytest.mark.slow
def test_a_second_signal_stops_it_at_once_and_nothing_is_lost(
    environment: dict[str, str], tmp_path: Path, challenge: Path
) -> None:
    import shutil

    shutil.rmtree(challenge.parent / "data" / "round-0")
    behaviour = {f"train/{number}": "time.sleep(300)" for number in range(len(LABELS))}
    make_round(challenge.parent / "data" / "round-0", {"train": LABELS}, behaviour=behaviour)
    challenge.write_text(CHALLENGE.replace("seconds: 20", "seconds: 600"))
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "service.yaml").write_text("worker: {grace_seconds: 600}\n")
    with serving(environment, tmp_path, "--challenge", challenge, "--slots", "1") as served:
        organiser = served.client()
        assert organiser.post("/challenges/demo/stages/detection/round-0/open").status_code == 200
        ada = served.client(_participant(organiser))
        made = _submit(ada, detector(), "detection")
        _wait(lambda: ada.get(f"/submissions/{made['id']}").json()["progress"] == "running", served.log)
        (job,) = organiser.get("/challenges/demo/jobs?state=running").json()["items"]
        served.process.send_signal(signal.SIGTERM)
        _wait(lambda: "1 job may end first" in served.log.read_text(), served.log)
        # It answers no more, and waits for what runs.
        time.sleep(1)
        assert served.process.poll() is None
        began = time.monotonic()
        assert served.stop() == 130
        assert time.monotonic() - began < 30
    database = Database(served.data / "palladion.db")
    with database.read() as tx:
        left = by_id(tx, job["id"])
    database.close()
    assert (left.state, left.attempts, left.losses) == ("queued", 0, 0)
