"""Stages: looked at by everybody, moved by organisers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from palladion.jobs.scorers import SCORERS, Scorer
from palladion.storage import challenges, queue
from tests.jobs.world import do_all, outputs
from tests.server.site import API, DETECTION, LABELS, UNKNOWN, Response, Site


def _error(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()["error"]
    assert told["code"] == code
    return told


def test_a_challenge_and_its_stages(site: Site) -> None:
    shown = site.client().get(f"{API}/challenges/demo").json()
    assert (shown["title"], shown["stage_word"], shown["registration"]["approval"]) == ("A challenge", "round", "open")
    detection, labels = shown["tracks"]
    assert detection["submission"] == {"kind": "code", "files": ["entrypoint.py"], "bytes": 1 << 20}
    assert detection["limits"]["memory"] == 1 << 30
    assert labels["feedback"]["policy"] == "exact"
    assert labels["feedback"]["words"].startswith("Scores of the test split are told")
    assert [(stage["name"], stage["state"], stage["current"]) for stage in detection["stages"]] == [
        ("round-0", "open", True),
        ("round-1", "planned", False),
        ("round-2", "planned", False),
    ]
    assert detection["stages"][1]["goal"] == {"metric": "cross_entropy", "value": pytest.approx(0.3466, abs=1e-4)}
    assert detection["stages"][0]["goal"] is None
    listed = site.client().get(f"{API}/challenges/demo/stages").json()["items"]
    assert listed == detection["stages"] + labels["stages"]
    assert site.client().get(f"{DETECTION}/round-1").json() == detection["stages"][1]
    (summary,) = site.client().get(f"{API}/challenges").json()["items"]
    assert [(track["name"], track["current"]) for track in summary["tracks"]] == [
        ("detection", "round-0"),
        ("labels", "development"),
    ]


def test_the_file_itself_is_for_organisers_because_of_its_comments(site: Site) -> None:
    site.redefine(("title: A challenge", "title: A challenge  # the seed is 42"))
    address = f"{API}/challenges/demo/definition"
    answer = site.client("olga").get(address)
    assert answer.headers["content-type"].startswith("application/yaml")
    assert "the seed is 42" in answer.text
    assert "the seed is 42" not in site.client().get(f"{API}/challenges/demo").text


def test_opening_and_closing(site: Site) -> None:
    client = site.client("olga")
    told = _error(client.post(f"{DETECTION}/round-1/open"), 409, "cannot_open")
    assert "round-0" in told["message"]
    assert told["faults"]
    assert client.get(f"{DETECTION}/round-1/check").json()["faults"] == [fault["message"] for fault in told["faults"]]
    closed = client.post(f"{DETECTION}/round-0/close").json()
    assert (closed["state"], closed["current"]) == ("closed", False)
    # Asked for twice, it has happened once.
    assert client.post(f"{DETECTION}/round-0/close").status_code == 200
    _error(client.post(f"{DETECTION}/round-2/close"), 409, "conflict")
    opened = client.post(f"{DETECTION}/round-1/open")
    assert (opened.status_code, opened.json()["state"]) == (200, "open")
    assert client.post(f"{DETECTION}/round-1/open").json()["state"] == "open"
    assert client.get(f"{DETECTION}/round-1/check").json()["faults"] == []


def test_data_that_is_not_there_does_not_open(site: Site) -> None:
    site.conclude("round-0")
    site.world.open("round-1")
    site.conclude("round-1")
    told = _error(site.client("olga").post(f"{DETECTION}/round-2/open"), 409, "cannot_open")
    assert all(fault["message"] for fault in told["faults"])


def test_a_conclusion_begins_and_tells_how_far_it_is(site: Site) -> None:
    site.submit(outputs())
    do_all(site.world)
    client = site.client("olga")
    begun = client.post(f"{LABELS}/development/conclude", json={"submissions": []})
    assert begun.status_code == 202
    assert begun.json()["steps"]
    # Once more changes nothing.
    assert client.post(f"{LABELS}/development/conclude").status_code == 202
    do_all(site.world)
    shown = client.get(f"{LABELS}/development").json()
    assert (shown["state"], shown["current"]) == ("concluded", False)
    assert all(step["finished"] for step in shown["steps"])
    assert site.client().get(f"{LABELS}/development").json()["steps"] is None
    assert site.client("person-0").get(f"{LABELS}/development/leaderboard").json()["final"] is True
    assert client.get(f"{LABELS}/final").json()["state"] == "open"


def test_a_conclusion_takes_submissions_of_its_own_stage(site: Site) -> None:
    client = site.client("olga")
    other = site.accepted("round-0").id
    for named in (other, UNKNOWN):
        _error(client.post(f"{LABELS}/development/conclude", json={"submissions": [named]}), 404, "not_found")
    assert client.post(f"{LABELS}/development/conclude", json={"submissions": ["x"]}).status_code == 422
    assert client.get(f"{LABELS}/development").json()["state"] == "open"
    _error(client.post(f"{DETECTION}/round-1/conclude"), 409, "conflict")


def test_scoring_again_and_switching(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "2", Scorer("2", seed=1))
    site.submit(outputs())
    do_all(site.world)
    client = site.client("olga")
    address = f"{LABELS}/development"
    _error(client.post(f"{address}/rescore"), 409, "conflict")
    _error(client.post(f"{address}/rescore", json={"scorer": "3"}), 422, "invalid")
    _error(client.post(f"{address}/switch", json={"scorer": "2"}), 409, "conflict")
    assert client.post(f"{address}/rescore", json={"scorer": "2"}).json() == {"scorer": "2", "evaluations": 1}
    do_all(site.world)
    assert client.post(f"{address}/switch", json={"scorer": "2"}).json()["scorer"] == "2"
    assert client.post(f"{address}/switch", json={"scorer": "2"}).status_code == 200


# --- What organisers look at ------------------------------------------------------------------------------------------


def test_the_audit_log_comes_in_pages_the_last_first(site: Site) -> None:
    client = site.client("olga")
    client.post(f"{DETECTION}/round-0/close")
    site.accepted("development")
    address = f"{API}/challenges/demo/audit"
    whole = client.get(address).json()["items"]
    assert whole[0]["action"] == "submission.accept"
    closed = next(line for line in whole if line["action"] == "stage.closed")
    assert (closed["actor"], closed["detail"]["stage"]) == ("olga", "round-0")
    found, after = [], ""
    while True:
        page = client.get(f"{address}?limit=3{after}").json()
        found += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == whole
    assert client.get(f"{address}?after=x").status_code == 422


def test_jobs_that_are_stuck_are_told_so_and_done_again(site: Site) -> None:
    from tests.jobs.world import claim

    submission = site.accepted("development")
    work = claim(site.world)
    assert work is not None
    now = site.world.clock()
    site.database.run(queue.fail, work.job.id, work.lease, "the disk is full", now=now, most_attempts=1)
    client = site.client("olga")
    told = client.get(f"{API}/challenges/demo/jobs?state=failed").json()
    (job,) = told["items"]
    assert (job["id"], job["stuck"], job["submission"], job["reason"]) == (
        work.job.id,
        True,
        submission.id,
        "the disk is full",
    )
    assert told["counts"] == {"evaluate": {"failed": 1}}
    again = client.post(f"{API}/jobs/{job['id']}/retry").json()
    assert (again["state"], again["stuck"]) == ("queued", False)
    assert site.world.submission(submission.id).state == "pending"
    _error(client.post(f"{API}/jobs/{job['id']}/retry"), 409, "conflict")
    _error(client.post(f"{API}/jobs/{UNKNOWN}/retry"), 404, "not_found")
    assert client.get(f"{API}/challenges/demo/jobs?state=lost").status_code == 422


def test_jobs_of_another_challenge_are_not_among_them(site: Site) -> None:
    site.accepted("development")
    text = site.world.challenge.definition.replace("name: demo", "name: other")
    with site.database.write() as tx:
        challenges.install(tx, text, site.world.folder, now=site.world.clock(), actor="olga")
    told = site.client("olga").get(f"{API}/challenges/other/jobs").json()
    assert (told["items"], told["counts"], told["next"]) == ([], {}, None)


def test_webhooks(site: Site) -> None:
    client = site.client("olga")
    address = f"{API}/challenges/demo/webhooks"
    wanted = {"url": "https://example.org/hook?key=1", "events": ["stage.opened"], "all": True}
    made = client.post(address, json=wanted).json()
    assert len(made["secret"]) >= 32
    (listed,) = client.get(address).json()["items"]
    assert listed == {key: made[key] for key in ("id", "url", "events", "team", "created")}
    # Its secret is told once, and not even the path of the address is in the log.
    assert "secret" not in client.get(address).text
    assert "key=1" not in client.get(f"{API}/challenges/demo/audit").text
    wrong: tuple[dict[str, Any], ...] = (
        {"url": "http://127.0.0.1/"},
        {"url": "https://10.0.0.1/"},
        {"url": "https://[::1]/"},
        {"url": "file:///etc/passwd"},
        {"url": "https://user:pass@example.org/"},
        {"url": "x"},
        {"events": ["stage.exploded"]},
        {"events": []},
        {"events": ["*"] * 51},
    )
    for changes in wrong:
        _error(client.post(address, json=wanted | changes), 422, "invalid")
    # Without a team there are no events of a team.
    _error(client.post(address, json=wanted | {"all": False}), 409, "conflict")
    assert client.delete(f"{address}/{made['id']}").status_code == 204
    _error(client.delete(f"{address}/{made['id']}"), 404, "not_found")


def test_a_changed_definition_counts_at_once(site: Site) -> None:
    assert site.client().get(f"{API}/challenges/demo").json()["title"] == "A challenge"
    site.redefine(("title: A challenge", "title: Another title"))
    assert site.client().get(f"{API}/challenges/demo").json()["title"] == "Another title"


def test_data_of_a_stage_that_is_gone_is_an_error_of_the_service(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.world.folder, tmp_path / "copy")
    text = site.world.challenge.definition.replace("name: demo", "name: other")
    from palladion.storage import stages

    with site.database.write() as tx:
        row = challenges.install(tx, text, tmp_path / "copy", now=site.world.clock(), actor="olga")
        stage = stages.by_name(tx, row.id, "labels", "development")
        stages.change(tx, stage.id, "open", now=site.world.clock(), actor="olga")
    shutil.rmtree(tmp_path / "copy")
    address = f"{API}/challenges/other/stages/labels/development/files"
    answer = site.client("person-0").get(address)
    assert _error(answer, 503, "unavailable")["id"]
    assert str(tmp_path) not in answer.text
