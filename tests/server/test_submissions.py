"""Handing something in: checked before it costs anything, accepted once, counted right."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from palladion.challenge.settings import Quota, Quotas
from palladion.jobs import validation
from palladion.server.settings import Rate
from palladion.storage import stages, submissions, teams
from palladion.storage.database import Database
from tests.jobs.world import detector, do_all, outputs, packed
from tests.server.site import API, LABELS, SUBMISSIONS, Response, Site
from tests.server.test_guard import served

QUOTAS = "metrics: [overall, cacc, asr]", "metrics: [overall, cacc, asr]\n    quotas: {{{}}}"


def _limit(site: Site, quotas: str) -> None:
    site.redefine((QUOTAS[0], QUOTAS[1].format(quotas)))


def _error(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()["error"]
    assert told["code"] == code
    return told


def _submit(site: Site, sha256: str, who: str = "person-0", **changes: Any) -> Response:
    wanted = {"track": "labels", "sha256": sha256, "filename": "file.zip", **changes}
    return site.client(who).post(SUBMISSIONS, json=wanted)


def test_from_upload_to_leaderboard(site: Site) -> None:
    answer = site.submit(outputs(wrong=2), name="first try.zip")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert {key: made[key] for key in ("challenge", "track", "stage", "account", "ordinal", "kind", "filename")} == {
        "challenge": "demo",
        "track": "labels",
        "stage": "development",
        "account": "person-0",
        "ordinal": 1,
        "kind": "outputs",
        "filename": "first try.zip",
    }
    assert (made["state"], made["progress"], made["scores"]) == ("pending", "queued", None)
    assert do_all(site.world) == 1
    done = site.client("person-0").get(f"{API}/submissions/{made['id']}").json()
    assert (done["state"], done["progress"], done["reason"]) == ("scored", None, None)
    # 10 clean rows with 2 wrong answers.
    assert done["scores"]["cacc"]["value"] == 80.0
    assert done["finished"] >= done["started"] >= done["created"]
    (row,) = site.client().get(f"{LABELS}/development/leaderboard").json()["rows"]
    assert (row["rank"], row["scores"]) == (1, done["scores"])


def test_a_detector_goes_the_same_way(site: Site) -> None:
    made = site.submit(detector(), "detection", name="detector.zip").json()
    assert (made["kind"], made["stage"]) == ("code", "round-0")


def test_a_worker_of_the_process_is_woken_at_once(site: Site) -> None:
    woken = threading.Event()
    site.service.wake(woken)
    site.submit(outputs())
    assert woken.is_set()
    woken.clear()
    site.submit(outputs(rows=3))
    assert not woken.is_set()


def test_the_same_bytes_are_the_submission_that_is_there(site: Site) -> None:
    _limit(site, "scored: {total: 2}")
    first, second = site.submit(outputs()), site.submit(outputs())
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    again = site.submit(outputs(), again=True)
    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]
    # Also where nothing more could be submitted: whoever did not hear the answer asks again.
    assert site.submit(outputs(wrong=1)).status_code == 429
    site.conclude("development")
    answer = site.submit(outputs())
    assert (answer.status_code, answer.json()["id"]) == (200, again.json()["id"])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"not a zip", "zip"),
        (packed({"readme.txt": "x"}), "cls_task1.csv"),
        (outputs(rows=3), "row"),
        (packed({"cls_task1.csv": "label\n" + "x\n" * 20}), "whole number"),
        (packed({"../cls_task1.csv": "label\n"}), ".."),
        (packed({"cls_task1.csv": b"\0" * (3 << 20)}), ""),
    ],
)
def test_a_faulty_submission_costs_nothing(site: Site, content: bytes, word: str) -> None:
    _limit(site, "attempted: {total: 1}")
    told = _error(site.submit(content), 422, "faulty_submission")
    assert told["faults"]
    assert all(fault["message"] and fault["level"] in ("error", "warning") for fault in told["faults"])
    assert word in str(told["faults"])
    assert site.client("person-0").get(SUBMISSIONS).json()["items"] == []
    assert site.submit(outputs()).status_code == 201


def test_files_that_the_challenge_asks_for_are_asked_for(site: Site) -> None:
    told = _error(site.submit(packed({"other.py": "x"}), "detection"), 422, "faulty_submission")
    assert "entrypoint.py" in str(told["faults"])


def test_no_transaction_is_open_while_a_file_is_checked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others can write meanwhile. (Asked in the middle of the check, by a look into the pool of connections.)"""
    seen: list[str] = []
    check = validation.check_for_stage

    def looking(*arguments: Any) -> Any:
        seen.append(site.database._engine.pool.status())
        site.database.run(lambda tx: seen.append("written"))
        return check(*arguments)

    monkeypatch.setattr(validation, "check_for_stage", looking)
    assert site.submit(outputs()).status_code == 201
    assert "Current Checked out connections: 0" in seen[0]
    assert seen[1] == "written"


def test_the_quota_is_told_with_the_time_of_the_next_slot(site: Site) -> None:
    _limit(site, "scored: {per_day: 2}")
    site.submit(outputs())
    site.world.clock.forward(timedelta(hours=1))
    site.submit(outputs(wrong=1))
    answer = site.submit(outputs(wrong=2))
    told = _error(answer, 429, "quota")
    # A day after the first, to the minute: then it does not count any more.
    assert told["next_slot"].startswith("2026-01-06T09:0")
    assert 22 * 3600 < int(answer.headers["retry-after"]) <= 23 * 3600
    quota = site.client("person-0").get(f"{API}/challenges/demo/quota").json()
    labels = next(track for track in quota["tracks"] if track["track"] == "labels")
    assert (labels["allowed"], labels["stage"], labels["scored"]["day"]) == (
        False,
        "development",
        {"used": 2, "limit": 2},
    )
    assert labels["next_slot"] == told["next_slot"]
    # Another team has a quota of its own.
    assert site.submit(outputs(), who="person-1").status_code == 201
    site.world.clock.forward(timedelta(hours=23))
    assert site.submit(outputs(wrong=2)).status_code == 201


def test_a_quota_that_is_used_up_for_good_has_no_next_slot(site: Site) -> None:
    _limit(site, "attempted: {total: 1}")
    site.submit(outputs())
    answer = site.submit(outputs(wrong=1))
    assert _error(answer, 429, "quota")["next_slot"] is None
    assert "retry-after" not in answer.headers


def test_so_many_at_a_time(site: Site) -> None:
    _limit(site, "concurrent: 1")
    first = site.submit(outputs()).json()
    assert "running" in _error(site.submit(outputs(wrong=1)), 429, "quota")["message"]
    assert site.client("person-0").post(f"{API}/submissions/{first['id']}/cancel").json()["state"] == "cancelled"
    assert site.submit(outputs(wrong=1)).status_code == 201


def test_of_many_at_once_as_many_are_accepted_as_there_are_slots(site: Site) -> None:
    _limit(site, "scored: {per_day: 3}")
    files = [site.upload(outputs(wrong=wrong)) for wrong in range(8)]
    answers: list[int] = []

    def submit(url: str, sha256: str) -> None:
        wanted = {"track": "labels", "sha256": sha256, "filename": "file.zip"}
        headers = {"Authorization": f"Bearer {site.tokens['person-0']}"}
        answers.append(httpx.post(url + SUBMISSIONS, json=wanted, headers=headers, timeout=60).status_code)

    with served(site) as (host, port):
        threads = [threading.Thread(target=submit, args=(f"http://{host}:{port}", sha256)) for sha256 in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [201] * 3 + [429] * 5
    with site.database.read() as tx:
        assert len(submissions.of_team(tx, site.teams[0].id)) == 3


def test_only_where_it_is_open(site: Site) -> None:
    sha256 = site.upload(outputs())
    assert "not open yet" in _error(_submit(site, sha256, stage="final"), 409, "stage_not_open")["message"]
    site.conclude("development")
    for stage in (None, "development"):
        told = _error(_submit(site, sha256, **({} if stage is None else {"stage": stage})), 409, "stage_not_open")
        assert "development is concluded" in told["message"]


def test_a_stage_that_will_open_is_told_when(site: Site) -> None:
    site.redefine(("data: data/round-1}", "data: data/round-1, opens: 2026-03-05T09:00:00Z}"))
    told = _error(_submit(site, site.upload(detector()), track="detection", stage="round-1"), 409, "stage_not_open")
    assert told["next_slot"] == "2026-03-05T09:00:00Z"
    assert "5 Mar 2026" in told["message"]


def test_the_end_counts_to_the_moment(site: Site) -> None:
    site.redefine(("phase: development, success", "phase: development, closes: 2026-01-05T10:00:00Z, success"))
    sha256 = site.upload(outputs())
    site.world.clock.forward(timedelta(hours=2))
    # Nobody has got round to closing it.
    assert site.stage("development").state == "open"
    assert "closed" in _error(_submit(site, sha256), 409, "stage_not_open")["message"]


def test_what_closes_while_it_is_checked_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    check = validation.check_for_stage

    def slow(*arguments: Any) -> Any:
        faults = check(*arguments)
        site.database.run(
            stages.change, site.world.stages["development"].id, "closed", now=site.world.clock(), actor="olga"
        )
        return faults

    monkeypatch.setattr(validation, "check_for_stage", slow)
    _error(site.submit(outputs()), 409, "stage_not_open")


def test_only_for_a_team_that_may(site: Site) -> None:
    sha256 = site.upload(outputs(), "lone")
    assert "no team" in _error(_submit(site, sha256, "lone"), 409, "conflict")["message"]
    sha256 = site.upload(outputs())
    for state in ("pending", "refused"):
        site.database.run(teams.set_state, site.teams[0].id, state, now=site.world.clock(), actor="olga")
        assert state in _error(_submit(site, sha256), 409, "conflict")["message"]


@pytest.mark.parametrize("changes", [{"track": "nope"}, {"stage": "nope"}, {"track": "\u0000"}, {"stage": "x" * 64}])
def test_places_that_there_are_not(site: Site, changes: dict[str, str]) -> None:
    answer = _submit(site, site.upload(outputs()), **changes)
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]["code"] in ("not_found", "invalid")


def test_a_team_uses_what_its_members_have_uploaded_only_through_them(site: Site) -> None:
    with site.database.write() as tx:
        now = site.world.clock()
        code = teams.invite(tx, site.teams[0].id, site.world.captains[0], now=now)
        teams.join(tx, code, site.accounts["lone"].id, most_members=5, now=now, actor="lone")
    # Another member's upload is that member's, until it is the team's submission.
    sha256 = site.upload(outputs())
    assert _submit(site, sha256, "lone").status_code == 404
    assert _submit(site, sha256).status_code == 201
    answer = _submit(site, sha256, "lone", again=True)
    assert (answer.status_code, answer.json()["account"]) == (201, "lone")


def test_checks_are_limited_because_they_are_work(site: Site) -> None:
    site = site.with_limits(checks=Rate(per_second=0.01, burst=2))
    for number in range(2):
        assert site.submit(packed({f"{number}.txt": "x"})).status_code == 422
    answer = site.submit(packed({"3.txt": "x"}))
    assert _error(answer, 429, "rate_limited")["retry_after"] <= 101


# --- Looking at them --------------------------------------------------------------------------------------------------


def test_lists_come_in_pages_the_last_first(site: Site) -> None:
    made = [site.accepted("development", mark=str(number)).id for number in range(5)]
    client = site.client("person-0")
    found, after = [], ""
    for _ in range(3):
        page = client.get(f"{SUBMISSIONS}?limit=2{after}").json()
        found += [item["id"] for item in page["items"]]
        after = f"&after={page['next']}"
    assert (found, page["next"]) == (made[::-1], None)
    assert client.get(f"{SUBMISSIONS}?after=nonsense").json()["items"][0]["id"] == made[-1]
    assert client.get(f"{SUBMISSIONS}?limit=0").status_code == 422
    assert client.get(f"{SUBMISSIONS}?limit=501").status_code == 422


def test_lists_hold_what_is_asked_for(site: Site) -> None:
    done = site.scored("development", {"overall": 1.0}).id
    waiting = site.accepted("round-0").id

    def listed(query: str) -> set[str]:
        return {item["id"] for item in site.client("person-0").get(f"{SUBMISSIONS}?{query}").json()["items"]}

    assert listed("state=scored") == listed("track=labels") == listed("stage=development") == {done}
    assert listed("track=detection&state=pending") == {waiting}
    assert listed("track=detection&stage=development") == listed("track=nope") == set()
    assert site.client("person-0").get(f"{SUBMISSIONS}?state=lost").status_code == 422


def test_what_has_ended_is_for_organisers_alone_to_take_off_the_board(site: Site) -> None:
    submission = site.scored("development", {"overall": 1.0})
    address = f"{API}/submissions/{submission.id}/cancel"
    _error(site.client("person-0").post(address), 409, "conflict")
    _error(site.client("olga:submit").post(address), 404, "not_found")
    assert site.client("olga").post(address).json()["state"] == "cancelled"
    _error(site.client("olga").post(address), 409, "conflict")


def test_how_far_it_is_on_a_sealed_split_is_for_organisers(site: Site) -> None:
    from palladion.jobs import opening
    from palladion.storage import evaluations, stages
    from palladion.storage.evaluations import NewOutcome
    from tests.jobs.world import claim

    with site.database.write() as tx:
        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
    opening.open_stage(site.service, site.world.stages["round-1"].id, actor="olga")
    submission = site.accepted("round-1")
    work = claim(site.world)
    assert work is not None
    points = [NewOutcome("id-0", answer=0.5), NewOutcome("id-1", error="timeout")]
    site.database.run(evaluations.add_outcomes, work.job.subject, work.lease, points)
    address = f"{API}/submissions/{submission.id}"
    shown = site.client("person-0").get(address).json()
    # Who asks again and again would know how long each took.
    assert (shown["progress"], shown["progress_points"]) == ("running", None)
    assert site.client("olga").get(address).json()["progress_points"] == {"done": 2, "total": None}


def test_how_far_it_is_and_why_it_failed(site: Site) -> None:
    from palladion.storage import evaluations
    from palladion.storage.evaluations import NewOutcome
    from tests.jobs.world import claim

    submission = site.accepted("round-0")
    work = claim(site.world)
    assert work is not None
    points = [NewOutcome("id-0", answer=0.5), NewOutcome("id-1", error="timeout")]
    site.database.run(evaluations.add_outcomes, work.job.subject, work.lease, points)
    address = f"{API}/submissions/{submission.id}"
    shown = site.client("person-0").get(address).json()
    assert (shown["progress"], shown["progress_points"]) == ("running", {"done": 2, "total": None})
    reason = "the detector could not be configured"
    site.database.run(evaluations.fail, work.job.subject, work.lease, reason, now=site.world.clock())
    shown = site.client("person-0").get(address).json()
    assert (shown["state"], shown["reason"], shown["progress"]) == ("failed", reason, None)
    assert shown["evaluations"][0]["reason"] == reason


def test_points_that_failed_are_counted_on_the_board(site: Site) -> None:
    from palladion.storage import evaluations
    from palladion.storage.evaluations import NewScore
    from tests.jobs.world import claim

    site.accepted("round-0")
    work = claim(site.world)
    assert work is not None
    scores = [NewScore("cross_entropy", 0.5)]
    # As the worker counts them: a board reads no outcomes.
    report = {"points": 2, "answered": 1, "failed": 1}
    now = site.world.clock()
    site.database.run(evaluations.finish, work.job.subject, work.lease, scores, now=now, report=report)
    board = site.client().get(f"{API}/challenges/demo/stages/detection/round-0/leaderboard").json()
    assert board["rows"][0]["failed"] == {"points": 2, "failed": 1}


def test_quota_words_and_decisions_are_the_same(site: Site) -> None:
    """What is shown as left can be submitted, and what is not cannot."""
    _limit(site, "scored: {per_day: 2}, attempted: {per_day: 3}, concurrent: 5")
    for wrong in range(4):
        quota: Callable[[], Any] = site.client("person-0").get(f"{API}/challenges/demo/quota").json
        labels = next(track for track in quota()["tracks"] if track["track"] == "labels")
        assert labels["allowed"] is (site.submit(outputs(wrong=wrong)).status_code == 201)
    assert Quotas(scored=Quota(per_day=2)).scored.per_day == 2


def test_a_full_round_on_postgresql(postgresql: str, tmp_path: Any) -> None:
    from tests.server.site import make_site
    from tests.storage.conftest import Databases

    made = Databases("postgresql", tmp_path, postgresql)
    try:
        database: Database = made()
        site = make_site(tmp_path, database)
        site.world.open("development")
        _limit(site, "scored: {per_day: 2}")
        assert site.submit(outputs(wrong=1)).status_code == 201
        assert site.submit(outputs(wrong=1)).status_code == 200
        assert site.submit(outputs(wrong=2)).status_code == 201
        assert site.submit(outputs(wrong=3)).status_code == 429
        assert do_all(site.world) == 2
        rows = site.client("person-0").get(f"{LABELS}/development/leaderboard?all=true").json()["rows"]
        assert [row["scores"]["cacc"]["value"] for row in rows] == [90.0, 80.0]
        for who in ("olga", "person-0", "person-1"):
            for address in ("/challenges/demo", "/challenges/demo/submissions", "/me", "/tokens"):
                assert site.client(who).get(API + address).status_code == 200
        for address in ("audit", "jobs", "webhooks"):
            assert site.client("olga").get(f"{API}/challenges/demo/{address}").json()["items"] is not None
        # What PostgreSQL cannot store is not found, or refused in words.
        for name in ("a%00b", "%ed%a0%80"):
            assert site.client("olga").get(f"{API}/challenges/{name}").status_code == 404
            assert site.client("olga").get(f"{API}/submissions/{name}").status_code == 404
        wanted = {"name": "a\u0000b", "password": "0123456789"}
        assert site.client().post(f"{API}/accounts", json=wanted).status_code == 422
        assert site.client().post(f"{API}/login", json=wanted).status_code == 422
        answer = site.client("olga").get(f"{API}/challenges/demo/submissions?team=%00&track=%00&after=%00")
        assert answer.status_code == 200
    finally:
        made.close()
