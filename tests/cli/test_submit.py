import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from palladion.client import Client, send_file
from palladion.client.transfer import silent
from palladion.client.uploads import SMALLEST_CHUNK
from tests.cli.conftest import Cli, Person, RunningService, make_person, token_of
from tests.cli.handed_in import detector_zip, labels_zip, texts_zip
from tests.conftest import SOURCE


def test_a_file_is_checked_sent_and_scored(cli: Cli, person: Person, tmp_path: Path) -> None:
    path = labels_zip(tmp_path / "mine.zip")
    done = cli("submit", path, "--to", "small/labels", "--wait", person=person)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert lines[0][:1] == ["accepted:"]
    assert lines[0][2:] == f"number 1 of {person.team} in small/labels/development".split()
    # All labels are right, and no attack succeeds.
    assert ["scored;", "it", "reaches", "the", "goal"] in lines
    assert ["Overall", "score", "%", "↑", "100.00"] in [line[:5] for line in lines]
    assert ["Attack", "success", "%", "↓", "0.00"] in [line[:5] for line in lines]


def test_the_same_file_is_one_submission_unless_asked(cli: Cli, person: Person, tmp_path: Path) -> None:
    path = labels_zip(tmp_path / "mine.zip")
    first = json.loads(cli("submit", path, "--to", "small/labels", "--json", person=person).out)
    assert first["new"] is True
    done = cli("submit", path, "--to", "small/labels", person=person)
    assert done.code == 0
    assert done.out.startswith(f"handed in before: {first['submission']['id']}, ")
    third = json.loads(cli("submit", path, "--to", "small/labels", "--again", "--json", "--wait", person=person).out)
    assert third["new"] is True
    assert third["submission"]["ordinal"] == 2
    assert third["submission"]["state"] == "scored"
    assert third["submission"]["scores"]["overall"]["value"] == 100.0


def test_the_folder_of_a_detector_is_packed(cli: Cli, person: Person, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with zipfile.ZipFile(detector_zip(tmp_path / "other.zip")) as archive:
        archive.extractall(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "entrypoint.pyc").write_bytes(b"x")
    done = cli("submit", folder, "--to", "small/detection", "--json", "--wait", person=person)
    first = json.loads(done.out)["submission"]
    assert (done.code, first["filename"], first["state"]) == (0, "mine.zip", "scored")
    # The same files are the same submission, whatever their times are.
    os.utime(folder / "entrypoint.py", (1, 1))
    done = cli("submit", folder, "--to", "small/detection", person=person)
    assert done.out.startswith(f"handed in before: {first['id']}, ")
    assert "left out: __pycache__: was left behind by Python" in done.err


def test_what_is_faulty_is_not_sent(cli: Cli, person: Person, service: RunningService, tmp_path: Path) -> None:
    from tests.jobs.world import packed

    path = tmp_path / "mine.zip"
    path.write_bytes(packed({"task1_clean.csv": "label\n0\n7\n", "notes.txt": "x"}))
    done = cli("submit", path, "--to", "small/labels", person=person)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    for line in (
        "error: notes.txt: is no output",
        "error: task1_clean.csv: has 2 rows where there are 3 inputs",
        "error: task1_clean.csv: row 2: is 7; labels go from 0 to 1",
    ):
        assert any(found.startswith(line) for found in lines), done.err
    assert lines[-1] == "palladion: mine.zip: 4 errors found; nothing was sent"
    answer = json.loads(cli("submit", path, "--to", "small/labels", "--json", person=person).out)
    assert answer["error"]["code"] == "faulty_submission"
    assert {"level", "where", "message"} == set(answer["error"]["faults"][0])
    with Client(service.url, token_of(person)) as client:
        assert client.submissions("small") == []
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert client.begin_upload(sha256, path.stat().st_size).offset == 0


def test_texts_are_compared_with_the_server_s_inputs(
    cli: Cli, person: Person, service: RunningService, tmp_path: Path
) -> None:
    inputs = service.folder / "small" / "data" / "small-texts" / "phases" / "development" / "test"
    wrong = texts_zip(tmp_path / "wrong.zip", inputs, reverse=True)
    done = cli("submit", wrong, "--to", "small/texts", person=person)
    assert done.code == 2
    assert "task1_clean.json: row 1: differs from input 1 in instruction" in done.err
    # Only what the check reads was fetched, and neither models nor validation.
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert fetched == {"track.yaml", "clean.json", "poisoned.json"}
    right = texts_zip(tmp_path / "right.zip", inputs)
    assert cli("submit", right, "--to", "small/texts/development", "--wait", person=person).code == 0


def test_downloaded_data_is_enough(cli: Cli, person: Person, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert cli("download", "small/labels", "--out", out, person=person).code == 0
    path = labels_zip(tmp_path / "mine.zip")
    for data in (out, out / "phases" / "development"):
        assert cli("submit", path, "--to", "small/labels", "--data", data, person=person).code == 0
    assert not (tmp_path / "cache").exists()
    done = cli("submit", path, "--to", "small/labels", "--data", tmp_path, person=person)
    assert (done.code, "holds no phases/development/track.yaml" in done.err) == (2, True)


def test_a_spent_quota_tells_the_next_slot(cli: Cli, person: Person, tmp_path: Path) -> None:
    paths = [labels_zip(tmp_path / f"{number}.zip", mark=" " * number) for number in range(3)]
    for path in paths[:2]:
        assert cli("submit", path, "--to", "small/few", "--wait", person=person).code == 0
    done = cli("submit", paths[2], "--to", "small/few", person=person)
    assert done.code == 3
    assert "next slot" in done.err
    answer = json.loads(cli("submit", paths[2], "--to", "small/few", "--json", person=person).out)
    assert answer["error"]["code"] == "quota"
    assert answer["error"]["next_slot"].endswith("Z")
    # What the team has handed in before costs nothing.
    assert cli("submit", paths[0], "--to", "small/few", person=person).code == 0


def test_a_large_file_is_not_sent_in_vain(
    cli: Cli, person: Person, service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palladion.cli.submit._WORTH_ASKING", 1)
    paths = [labels_zip(tmp_path / f"{number}.zip", mark=" " * number) for number in range(3)]
    for path in paths[:2]:
        assert cli("submit", path, "--to", "small/few", "--wait", person=person).code == 0
    done = cli("submit", paths[2], "--to", "small/few", person=person)
    assert done.code == 3
    assert "next slot" in done.err
    assert "nothing was sent" in done.err
    with Client(service.url, token_of(person)) as client:
        sha256 = hashlib.sha256(paths[2].read_bytes()).hexdigest()
        assert not client.begin_upload(sha256, paths[2].stat().st_size).complete
    # What the team has handed in before needs no slot.
    assert cli("submit", paths[1], "--to", "small/few", person=person).code == 0


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("small/labels/test", 1, "is planned; it takes no submissions"),
        ("small/detection/round-1", 1, "is planned; it takes no submissions"),
        ("moving/texts", 1, "no stage of moving/texts is open: development is planned"),
        ("small/lables", 2, "did you mean 'labels'?"),
        ("small/labels/developmint", 2, "did you mean 'development'?"),
        ("none/labels", 1, "there is no challenge"),
        ("small", 2, "must be CHALLENGE/TRACK[/STAGE]"),
    ],
)
def test_where_nothing_can_be_handed_in(
    cli: Cli, person: Person, tmp_path: Path, to: str, code: int, words: str
) -> None:
    done = cli("submit", labels_zip(tmp_path / "mine.zip"), "--to", to, person=person)
    assert (done.code, words in done.err) == (code, True), done.err


def test_what_cannot_be_handed_in(cli: Cli, person: Person, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "none.zip", "there is no such file")):
        done = cli("submit", path, "--to", "small/labels", person=person)
        assert (done.code, words in done.err) == (2, True)
    path = tmp_path / "x.zip"
    path.write_bytes(b"no archive")
    done = cli("submit", path, "--to", "small/labels", person=person)
    assert (done.code, "error: " in done.err) == (2, True)
    done = cli("submit", path, "--to", "small/detection", person=person)
    assert (done.code, "error: " in done.err) == (2, True)


def test_without_a_team_nothing_is_handed_in(service: RunningService, cli: Cli, tmp_path: Path) -> None:
    lone = make_person(service, tmp_path / "lone")
    done = cli("submit", labels_zip(tmp_path / "mine.zip"), "--to", "small/labels", person=lone)
    assert (done.code, "team" in done.err) == (1, True)


def test_a_server_that_is_away_ends_with_5(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.client.api.time.sleep", lambda _: None)
    monkeypatch.setenv("PALLADION_TOKEN", "pld_aaaaaaaa_secret")
    path = labels_zip(tmp_path / "mine.zip")
    done = cli("submit", path, "--to", "small/labels", "--server", "http://127.0.0.1:1")
    assert (done.code, "cannot be reached" in done.err) == (5, True)
    done = cli("submit", path, "--to", "small/labels", "--server", "http://127.0.0.1:1", "--json")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (5, "unreachable")


def test_an_upload_goes_on_where_it_was(service: RunningService, person: Person, tmp_path: Path) -> None:
    content = random.Random(3).randbytes(3 * SMALLEST_CHUNK + 5)
    path = tmp_path / "large.zip"
    path.write_bytes(content)
    with Client(service.url, token_of(person)) as client:
        upload = client.begin_upload(hashlib.sha256(content).hexdigest(), len(content))
        client.send_chunk(upload.id, 0, content[:SMALLEST_CHUNK])
    # Another command, later.
    with Client(service.url, token_of(person)) as client:
        sent = send_file(client, path, show=silent)
        assert sent.sent == 2 * SMALLEST_CHUNK + 5
        assert send_file(client, path, show=silent).sent == 0


def test_code_that_fails_in_running_ends_with_4(cli: Cli, person: Person, tmp_path: Path) -> None:
    path = detector_zip(tmp_path / "failing.zip", "import sys; sys.exit(3)")
    done = cli("submit", path, "--to", "small/detection", "--wait", person=person)
    assert done.code == 4
    assert "failed: " in done.out
    assert cli("status", done.out.split()[1].strip(","), "--wait", person=person).code == 4


def test_ctrl_c_while_one_waits_leaves_the_server_at_it(
    service: RunningService, person: Person, cli: Cli, tmp_path: Path
) -> None:
    path = detector_zip(tmp_path / "slow.zip", "import time; time.sleep(0.7)")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_CONFIG_HOME": str(person.configuration)}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    command = [sys.executable, "-m", "palladion", "submit", str(path), "--to", "small/detection", "--wait"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().split()[1].strip(",")
        assert process.stderr is not None
        assert process.stderr.readline().strip() in ("queued", "running")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        f"palladion: stopped waiting; the server goes on with it: palladion status {name} --wait"
    )
    done = cli("status", name, "--wait", person=person)
    assert done.code == 0
    assert "Cross-entropy ↓" in done.out
