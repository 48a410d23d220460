"""What may not be seen is seen nowhere: recognisable numbers are planted wherever there are any, and looked for."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from palladion.jobs import telling
from palladion.scoring import PointScores
from palladion.storage import evaluations, stages
from palladion.storage.evaluations import NewOutcome
from palladion.storage.tables import Submission
from tests.jobs.world import claim
from tests.server.site import API, DETECTION, LABELS, SUBMISSIONS, Site

TEST, HOLDOUT, TASK, LOW = 41.98765432, 37.12345678, 44.87654321, 33.56789123
"""Values of team 0; those of team 1 are 10 more."""
PLANTED = "planted-in-a-report"
OVERALL = "metrics: [overall, cacc, asr]\n    feedback: "
FEEDBACK = (f"{OVERALL}{{policy: exact}}", f"{OVERALL}{{{{{{}}}}}}")


BOARD = re.compile(r"leaderboard|/points|/(labels|detection)/[a-z0-9-]+(\.csv|\.json)?$")
QUERIES = (
    ("", "*/*"),
    ("?all=true", "*/*"),
    ("?format=csv&all=true", "*/*"),
    ("", "text/csv"),
    ("?split=test", "*/*"),
    ("?split=holdout", "*/*"),
    ("?split=holdout&format=csv", "*/*"),
)


ROWS = ("", "&where=kind:poisoned&sort=-success")
"""What is asked for of the single rows of each submission to the track of labels."""
LISTED = re.compile(r"/labels/.*/analysis(\.csv|\.json|/attacks\.csv)?$")


def _numbers(text: str) -> set[str]:
    """The digits behind the point of every number in a text."""
    return set(re.findall(r"\.(\d{3,})", text))


def _digits(*values: float) -> set[str]:
    return {repr(value + more).partition(".")[2][:6] for value in values for more in (0, 10)}


def _planted(text: str, *values: float) -> bool:
    known = _digits(*values)
    return any(digits.startswith(tuple(known)) for digits in _numbers(text)) or PLANTED in text


def _sealed_score(site: Site, team: int) -> Submission:
    more = 10 * team
    return site.scored(
        "development",
        {
            "overall": (TEST + more, LOW + more, LOW + 20 + more),
            "cacc": TEST + more,
            ("task1", "overall"): TASK + more,
        },
        team=team,
        report={"detail": PLANTED, "value": TASK, "tasks": {"task1": _told_of_rows()}},
        points=PointScores(
            "classification",
            {
                "task1/utility": np.array([TASK + more, LOW + more]),
                "task1/success": np.array([100.0, 0.0]),
                "task1/attack": np.array([0, 0]),
            },
        ),
    )


def _told_of_rows() -> dict[str, Any]:
    attack = {"attack": PLANTED, "eligible": 2, "succeeded": 1, "asr": TEST, "interval": [LOW, TASK]}
    return {"cacc": TASK, "n_clean": 2, "intervals": {"cacc": [LOW, TEST]}, "attacks": [attack]}


def _walk(site: Site, who: str | None) -> Iterator[tuple[str, str]]:
    """Everything that can be asked for, with the ids of everything: address and text of the answer."""
    with site.client(who) as client:
        yield from _answers(site, client)


def _answers(site: Site, client: TestClient) -> Iterator[tuple[str, str]]:
    with site.database.read() as tx:
        submissions = [row.id for stage in site.world.stages.values() for row in _of(tx, stage.id)]
        jobs = [site.world.job("evaluate", e.id).id for s in submissions for e in evaluations.of_submission(tx, s)]
    values: dict[str, list[str]] = {
        "challenge": ["demo"],
        "track}/{stage": ["labels/development", "detection/round-0", "detection/round-1"],
        "path:path": ["phases/development/track.yaml"],
        "token_id": [site.tokens["person-0"].split("_")[1]],
        "account_id": [site.accounts["person-0"].id],
        "team_id": [team.id for team in site.teams],
        "upload_id": ["a" * 20],
        "submission_id": submissions,
        "webhook_id": ["a" * 20],
        "job_id": jobs,
        "figure": ["holdout", "roc", "sweep", "attacks"],
    }
    for route in site.app.routes:
        assert isinstance(route, APIRoute)
        # A stream has no end, and what pages look like is the same for everybody.
        if route.path.endswith("/events") or "{" in _filled(route.path, values)[0]:
            continue
        # Nothing is changed by asking but what the answer of a change may show.
        method = "GET" if "GET" in (route.methods or ()) else "POST"
        if not {method} & (route.methods or set()) or (method == "POST" and not route.path.endswith("/cancel")):
            continue
        for address in _filled(route.path, values):
            for query in [f"?submission={s}{rows}" for s in submissions for rows in ROWS if LISTED.search(address)]:
                yield f"{method} {address}{query}", client.get(address + query).text
            for query, accept in QUERIES:
                answer = client.request(method, address + query, headers={"Accept": accept})
                yield f"{method} {address}{query} {accept}", answer.text
                if not BOARD.search(address):
                    break
    for query in ("", "?state=scored", "?track=labels", "?limit=1"):
        yield SUBMISSIONS + query, client.get(SUBMISSIONS + query).text


def _of(tx: Any, stage_id: str) -> list[Submission]:
    from palladion.storage import submissions

    return submissions.of_stage(tx, stage_id)


def _filled(path: str, values: dict[str, list[str]]) -> list[str]:
    found = [path]
    for name, known in values.items():
        mark = "{" + name + "}"
        found = [p.replace(mark, value) for p in found for value in (known if mark in p else [""])]
    return found


@pytest.mark.parametrize(
    "policy",
    ["policy: none", "policy: rounded, digits: 1", "policy: ladder, step: 5.0", "policy: bootstrap_ladder"],
    ids=["none", "round", "ladder", "bootstrap_ladder"],
)
def test_what_a_policy_does_not_tell_is_told_nowhere(site: Site, policy: str) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format(policy)))
    for team in (0, 1):
        _sealed_score(site, team)
    site.accepted("development", mark="pending")
    seen = 0
    for who in (None, "person-0", "person-1", "lone", "oscar", "olga:read"):
        for address, text in _walk(site, who):
            assert not _planted(text, TEST, TASK, LOW), (who, address)
            seen += len(text)
    assert seen > 50_000
    # The walk would find them: whoever may know gets all of it.
    found = {address for address, text in _walk(site, "olga") if _planted(text, TEST, TASK, LOW)}
    assert any("leaderboard" in address for address in found)
    assert any("format=csv" in address for address in found)
    assert any(SUBMISSIONS in address for address in found)


def test_with_an_exact_policy_they_are_told_but_for_the_report(site: Site) -> None:
    _sealed_score(site, 0)
    row = site.client().get(f"{LABELS}/development/leaderboard").json()["rows"][0]
    assert row["scores"]["overall"] == {
        "value": TEST,
        "text": "41.9877",
        "low": LOW,
        "high": LOW + 20,
        "note": "",
    }
    assert row["tasks"] == {
        "task1": {"overall": {"value": TASK, "text": "44.8765", "low": None, "high": None, "note": ""}}
    }
    assert not any(PLANTED in text for who in (None, "person-0", "olga") for _, text in _walk(site, who))


def test_rounded_is_all_there_is_also_when_a_stage_is_concluded(site: Site) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format("policy: rounded, digits: 1")))
    _sealed_score(site, 0)
    # The ends of the interval, 33.56 and 53.56, are rounded outward.
    expected = {"value": 42.0, "text": "42.0", "low": 33.5, "high": 53.6, "note": ""}
    path = f"{LABELS}/development/leaderboard"
    assert site.client().get(path).json()["rows"][0]["scores"]["overall"] == expected
    site.conclude("development")
    assert site.client().get(path).json()["rows"][0]["scores"]["overall"] == expected
    assert site.client("olga").get(path).json()["rows"][0]["scores"]["overall"]["value"] == TEST


def test_what_is_told_at_the_end_is_told_at_the_end(site: Site) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format("policy: none")))
    submission = _sealed_score(site, 0)
    path = f"{LABELS}/development/leaderboard"
    board = site.client("person-0").get(path).json()
    assert board["hidden"] == "scores of the test split are told when the stage is concluded"
    assert board["rows"][0]["scores"] == {"overall": None, "cacc": None, "asr": None}
    assert board["rows"][0]["rank"] is None
    shown = site.client("person-0").get(f"{API}/submissions/{submission.id}").json()
    assert (shown["scores"], shown["tasks"], shown["hidden"]) == (None, {}, board["hidden"])
    assert shown["state"] == "scored"
    site.conclude("development")
    board = site.client().get(path).json()
    assert (board["hidden"], board["final"]) == (None, True)
    assert board["rows"][0]["scores"]["overall"]["low"] == LOW


def test_a_goal_says_as_much_as_a_score(site: Site) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format("policy: none")), ("success: none", "success: 40.0"))
    submission = _sealed_score(site, 0)
    with site.database.write() as tx:
        stages.goal_reached(tx, submission.id, now=site.world.clock(), actor="service")
    address = f"{LABELS}/development"

    def told(who: str | None) -> tuple[bool, bool, bool]:
        client = site.client(who)
        row = client.get(f"{address}/leaderboard").json()["rows"][0]
        shown = client.get(f"{API}/submissions/{submission.id}")
        own = shown.status_code == 200 and shown.json()["goal_reached"]
        return client.get(address).json()["goal_reached"] is not None, row["goal_reached"], own

    assert told("person-0") == told(None) == (False, False, False)
    assert told("olga") == (True, True, True)
    site.conclude("development")
    assert told("person-0") == (True, True, True)
    assert site.client("person-0").get(address).json()["goal_reached"]["submission"] == submission.id
    assert site.client("person-1").get(address).json()["goal_reached"]["submission"] is None


# --- The holdout ------------------------------------------------------------------------------------------------------


def _holdout(site: Site) -> Submission:
    """A stage of detection with a submission that was run on the holdout, and is not concluded."""
    with site.database.write() as tx:
        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
        stages.change(tx, site.world.stages["round-1"].id, "open", now=site.world.clock(), actor="olga")
    submission = site.scored("round-1", {"cross_entropy": 0.25, "roc_auc": 0.875})
    with site.database.write() as tx:
        evaluations.add(tx, submission.id, "holdout", scorer="1", now=site.world.clock())
    work = claim(site.world)
    assert work is not None
    outcome = NewOutcome("id-00000000", answer={"probability": TASK})
    site.database.run(evaluations.add_outcomes, work.job.subject, work.lease, [outcome])
    scores = [evaluations.NewScore("cross_entropy", HOLDOUT, low=LOW, high=LOW + 20)]
    site.database.run(evaluations.finish, work.job.subject, work.lease, scores, now=site.world.clock(), report={})
    return submission


def test_nothing_of_the_holdout_is_told_before_the_stage_is_concluded(site: Site) -> None:
    submission = _holdout(site)
    for who in (None, "person-0", "person-1", "lone", "oscar", "olga:read"):
        for address, text in _walk(site, who):
            assert not _planted(text, HOLDOUT, LOW, TASK), (who, address)
            # Not even that there was a run.
            if "challenges/demo" in address and "openapi" not in address:
                assert '"split": "holdout"' not in text.replace('":"', '": "'), (who, address)
    assert any(_planted(text, HOLDOUT) for _, text in _walk(site, "olga"))
    shown = site.client("person-0").get(f"{API}/submissions/{submission.id}").json()
    assert [evaluation["split"] for evaluation in shown["evaluations"]] == ["test"]


def test_test_and_holdout_stand_side_by_side_when_it_is(site: Site) -> None:
    submission = _holdout(site)
    site.conclude("round-1")
    board = site.client().get(f"{DETECTION}/round-1/leaderboard").json()
    (row,) = board["rows"]
    assert board["ranked_by"] == "holdout"
    assert row["scores"]["cross_entropy"]["value"] == 0.25
    expected = {"value": HOLDOUT, "text": "37.1235", "low": LOW, "high": LOW + 20, "note": ""}
    assert row["holdout"]["cross_entropy"] == expected
    shown = site.client("person-0").get(f"{API}/submissions/{submission.id}").json()
    assert {e["split"]: e["scores"]["cross_entropy"]["value"] for e in shown["evaluations"]} == {
        "test": 0.25,
        "holdout": HOLDOUT,
    }
    # What single data points were answered is told to nobody.
    assert not any(_planted(text, TASK) for who in (None, "person-0", "olga") for _, text in _walk(site, who))


def test_what_will_be_published_is_not_seen_before(site: Site) -> None:
    """A conclusion that is dated ahead, by a clock that is fast, publishes nothing now."""
    _holdout(site)
    site.world.clock.forward(timedelta(hours=1))
    site.conclude("round-1")
    site.world.clock.forward(-timedelta(hours=1))
    (row,) = site.client().get(f"{DETECTION}/round-1/leaderboard").json()["rows"]
    assert row["holdout"] is None


# --- The ladder -------------------------------------------------------------------------------------------------------


def test_a_ladder_tells_what_is_better_by_a_step_and_otherwise_the_best_again(site: Site) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format("policy: ladder, step: 5.0")))
    given = [51.9, 53.0, 57.4, 20.0, 63.1]
    ids = [site.scored("development", {"overall": value}, mark=str(i)).id for i, value in enumerate(given)]
    client = site.client("person-0")
    told = [client.get(f"{API}/submissions/{one}").json()["scores"]["overall"]["value"] for one in ids]
    # 51.9 is told as 50; 53 is not 5 better than that; 57.4 is and told as 55; 20 is not; 63.1 is and told as 65.
    assert told == [50.0, 50.0, 55.0, 55.0, 65.0]
    rows = client.get(f"{LABELS}/development/leaderboard?all=true").json()["rows"]
    assert [row["scores"]["overall"]["value"] for row in rows] == [65.0, 55.0, 55.0, 50.0, 50.0]
    assert [row["rank"] for row in rows] == [1, 2, 2, 4, 4]


def test_taking_a_submission_back_makes_nobody_forget_what_was_told(site: Site) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format("policy: ladder, step: 5.0")))
    best = site.scored("development", {"overall": 51.9})
    other = site.scored("development", {"overall": 41.2}, mark="2")
    assert site.client("person-0").post(f"{API}/submissions/{best.id}/cancel").status_code == 409
    assert site.client("olga").post(f"{API}/submissions/{best.id}/cancel").status_code == 200
    shown = site.client("person-0").get(f"{API}/submissions/{other.id}").json()
    assert shown["scores"]["overall"]["value"] == 50.0
    (row,) = site.client().get(f"{LABELS}/development/leaderboard").json()["rows"]
    assert row["ordinal"] == other.ordinal


# --- Other versions of the scorer -------------------------------------------------------------------------------------


def test_another_version_of_the_scorer_is_for_the_organiser_until_it_is_shown(site: Site) -> None:
    submission = site.scored("development", {"overall": 50.0})
    with site.database.write() as tx:
        evaluations.rescore(tx, submission.stage_id, "2", now=site.world.clock())
    site.finish({"overall": TEST})
    address = f"{API}/submissions/{submission.id}"
    assert not any(_planted(text, TEST) for who in (None, "person-0", "person-1") for _, text in _walk(site, who))
    found = {e["scorer"]: e for e in site.client("olga").get(address).json()["evaluations"]}
    assert found["2"]["scores"]["overall"]["value"] == TEST
    assert (found["1"]["current"], found["2"]["current"]) == (True, False)
    assert telling.catch_up(site.service, submission.stage_id, "2") == 1
    assert not any(_planted(text, TEST) for who in (None, "person-0", "person-1") for _, text in _walk(site, who))
    with site.database.write() as tx:
        evaluations.switch(tx, [submission.stage_id], "2", now=site.world.clock(), actor="olga")
    shown = site.client("person-0").get(address).json()
    assert shown["scores"]["overall"]["value"] == TEST
    assert [e["scorer"] for e in shown["evaluations"]] == ["2"]
