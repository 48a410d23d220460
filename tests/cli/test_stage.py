import json
import threading
import time
from pathlib import Path

import pytest

from palladion.client import Client
from tests.cli.conftest import Cli, Person, RunningService, make_person, token_of
from tests.cli.handed_in import detector_zip, labels_zip
from tests.client.rough_server import rough_server


def test_the_stages_are_listed(service: RunningService, cli: Cli) -> None:
    done = cli("stage", "list", "small", "--server", service.url)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert lines[0] == ["phase", "title", "state", "opens", "closes", "goal"]
    assert ["small/labels/test", "Test", "planned"] in lines
    stages = json.loads(cli("stage", "list", "small/labels", "--json", "--server", service.url).out)["stages"]
    assert [(stage["name"], stage["state"]) for stage in stages] == [("development", "open"), ("test", "planned")]


def test_a_stage_opens_closes_and_is_concluded(
    service: RunningService, cli: Cli, organiser: Person, tmp_path: Path
) -> None:
    one = make_person(service, tmp_path / "one")
    with Client(service.url, token_of(one)) as client:
        client.create_team("moving", "One")
    place = "moving/detection/round-0"
    assert cli("stage", "open", place, person=organiser).out == f"{place}: open\n"
    done = cli("stage", "open", "moving/detection/round-1", person=organiser)
    assert done.code == 1
    assert "round-1 cannot open: round-0 comes before round-1 and is still open" in done.err
    cli("stage", "conclude", place, "--wait", "--json", person=organiser)

    # The next one has opened by itself.
    place = "moving/detection/round-1"
    path = detector_zip(tmp_path / "mine.zip")
    assert cli("submit", path, "--to", "moving/detection", "--wait", person=one).code == 0
    assert "holdout" not in cli("leaderboard", place, person=one).out
    done = cli("stage", "conclude", place, "--wait", person=organiser)
    assert (done.code, done.out) == (0, f"{place}: concluded\n")
    told = done.err.splitlines()
    steps = [line for line in told if line.endswith(": done")]
    assert len(steps) == len(set(steps)) == 5
    assert steps[0] == "close the stage to new submissions: done"
    assert steps[3] == "run them on the holdout split: done"
    # It is the last one.
    assert "install and check the data of the next stage: there is none" in told
    assert "open the next stage: nothing to open" in told
    board = cli("leaderboard", place, person=one).out
    assert "(final)" in board
    assert "holdout: Cross-entropy ↓" in board

    done = cli("stage", "rescore", place, person=organiser)
    assert (done.code, "version 1" in done.err) == (1, True)
    done = cli("stage", "switch", place, "99", person=organiser)
    assert (done.code, "no version '99'" in done.err) == (2, True)


def test_a_closed_stage_takes_nothing(service: RunningService, cli: Cli, organiser: Person, tmp_path: Path) -> None:
    one = make_person(service, tmp_path / "one")
    place = "moving/labels/development"
    assert cli("stage", "open", place, "--json", person=organiser).code == 0
    assert json.loads(cli("stage", "close", place, "--json", person=organiser).out)["state"] == "closed"
    done = cli("submit", labels_zip(tmp_path / "mine.zip"), "--to", "moving/labels", person=one)
    assert (done.code, "development is closed" in done.err) == (1, True)
    # It goes on at the server: who does not wait is told how far it is.
    done = cli("stage", "conclude", place, person=organiser)
    assert (done.code, done.out) == (0, f"{place}: closed\n")


def test_it_is_for_organisers(cli: Cli, person: Person) -> None:
    for command in ("open", "close", "conclude", "rescore"):
        assert cli("stage", command, "small/labels/development", person=person).code == 1
    assert cli("stage", "switch", "small/labels/development", "1", person=person).code == 1
    assert cli("stage", "open", "small/labels", person=person).code == 2


def test_a_conclusion_that_has_failed_ends_the_waiting_with_4(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"name": "holdout", "title": "run them\x1b[2J", "started": "2026-01-05T09:00:00Z", "waits": "for one team"}
    stage = {"challenge": "c", "track": "t", "name": "s", "title": "S", "state": "closed", "steps": [step]}
    failed = {"id": "a" * 20, "kind": "conclude", "state": "failed", "reason": "the disk is full\x1b[2J"}
    jobs = [
        {"id": "b" * 20, "kind": "conclude", "state": "failed", "reason": "of another stage, long ago"},
        {"id": "c" * 20, "kind": "evaluate", "state": "failed", "reason": "something else"},
    ]
    monkeypatch.setenv("PALLADION_TOKEN", "pld_aaaaaaaa_secret")
    with rough_server() as rough:
        rough.answers = {
            "/challenges/c/stages/t/s": stage,
            "/challenges/c/stages/t/s/conclude": stage,
            "/challenges/c/jobs": {"items": jobs, "next": None},
        }

        def fail_soon() -> None:
            while not any(path == "/challenges/c/stages/t/s" for _, path in rough.seen):
                time.sleep(0.01)
            rough.answers["/challenges/c/jobs"] = {"items": [*jobs, failed], "next": None}

        failing = threading.Thread(target=fail_soon)
        failing.start()
        done = cli("stage", "conclude", "c/t/s", "--wait", "--server", rough.url)
        failing.join()
    assert done.code == 4
    assert done.err.splitlines() == [
        "run them\\x1b[2J: for one team",
        "palladion: c/t/s could not be concluded: the disk is full\\x1b[2J",
        "once that is mended, it goes on where it was: palladion stage conclude c/t/s",
    ]
