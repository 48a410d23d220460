"""The page of a submission."""

import csv
import io
from typing import Any

import pytest

from palladion.storage import evaluations
from palladion.storage.tables import Submission
from tests.jobs.world import claim
from tests.server.pages.browser import Browser, text_of
from tests.server.pages.evaluated import evaluated
from tests.server.site import API, Site


def page_of(site: Site, found: Submission, who: str | None = "person-0") -> str:
    return Browser(site, who).page(f"/submissions/{found.id}")


def fail(site: Site, reason: str) -> None:
    """End the evaluation that is due first without a score."""
    work = claim(site.world)
    assert work is not None
    site.database.run(evaluations.fail, work.job.subject, work.lease, reason, now=site.world.clock())


def test_what_waits_is_followed_by_a_script_and_reloaded_by_a_link(site: Site) -> None:
    found = site.accepted("development")
    page = page_of(site, found)
    assert f'data-events="/submissions/{found.id}/events"' in page
    assert f'href="/submissions/{found.id}"' in page
    assert "It waits for its turn." in text_of(page)
    assert "events.js" in page
    work = claim(site.world)
    assert work is not None
    assert "It is being evaluated." in text_of(page_of(site, found))


def test_what_was_scored_has_scores_with_intervals_and_no_events(site: Site) -> None:
    site.redefine(("metrics: [overall, cacc, asr]", "metrics: [overall, cacc, asr]\n    feedback: {policy: exact}"))
    found = site.scored("development", {"overall": (41.25, 31.25, 51.25), ("task1", "overall"): 44.5})
    page = page_of(site, found)
    text = text_of(page)
    assert "data-events" not in page
    assert "events.js" not in page
    assert "41.25" in text
    assert "31.25" in text
    assert "task1" in text
    assert found.artifact in page.replace("<wbr>", "")
    rows = list(csv.DictReader(io.StringIO(Browser(site, "person-0").get(f"/submissions/{found.id}.csv").text)))
    assert {(row["task"], row["metric"], row["value"]) for row in rows} >= {
        ("", "overall", "41.25"),
        ("task1", "overall", "44.5"),
    }


def test_page_and_json_are_of_the_same_data(site: Site) -> None:
    found = site.scored("development", {"overall": 41.25})
    shown = Browser(site, "person-0").get(f"/submissions/{found.id}.json").json()["submission"]
    assert shown == site.client("person-0").get(f"{API}/submissions/{found.id}").json()


def test_why_it_failed_is_told_as_text(site: Site) -> None:
    found = site.accepted("development")
    fail(site, "cls_task1.csv: <b>line 3</b> is no label\nand 2 more errors")
    page = page_of(site, found)
    assert "<b>line 3</b>" not in page
    text = text_of(page)
    assert "cls_task1.csv: <b>line 3</b> is no label" in text
    assert "and 2 more errors" in text


def test_single_data_points_of_an_open_split_are_drawn(site: Site) -> None:
    found = evaluated(site, "round-0", [0.2, None, 0.7, 0.4])
    page = page_of(site, found)
    for name in ("reliability", "roc", "cross-entropy", "mistakes", "factors"):
        assert f'id="{name}"' in page
    assert "analysis?submission=" in page
    assert "It took too long." in text_of(page)


def test_others_have_no_page_of_it(site: Site) -> None:
    found = site.scored("development", {"overall": 41.25})
    for who in ("person-1", "lone"):
        for ending in ("", ".json", ".csv"):
            assert Browser(site, who).get(f"/submissions/{found.id}{ending}").status_code == 404
    answer = Browser(site).get(f"/submissions/{found.id}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
    assert Browser(site, "person-0").get("/submissions/nothing").status_code == 404


def test_an_organiser_evaluates_once_more_what_has_failed(site: Site) -> None:
    found = site.accepted("development")
    fail(site, "something broke")
    page, again = f"/submissions/{found.id}", f"/submissions/{found.id}/retry"
    assert again not in page_of(site, found)
    olga = Browser(site, "olga")
    assert again in olga.page(page)
    # It asks first.
    text = text_of(olga.told(olga.fill(page, again)))
    assert "Tick the box" in text
    assert site.world.submission(found.id).state == "failed"
    assert "It is queued again." in text_of(olga.told(olga.fill(page, again, {"sure": "yes"})))
    assert site.world.submission(found.id).state == "pending"
    proof = {"proof": "0" * 64, "sure": "yes"}
    assert Browser(site, "person-0").send(again, proof).status_code == 403


def test_a_team_takes_back_what_has_not_ended(site: Site) -> None:
    found = site.accepted("development")
    page, cancel = f"/submissions/{found.id}", f"/submissions/{found.id}/cancel"
    ada = Browser(site, "person-0")
    assert "It was taken back." in text_of(ada.told(ada.fill(page, cancel, {"sure": "yes"})))
    assert site.world.submission(found.id).state == "cancelled"
    assert cancel not in ada.page(page)


@pytest.mark.parametrize("what", ["retry", "cancel"])
def test_a_form_of_another_site_does_nothing(site: Site, what: str) -> None:
    found = site.accepted("development")
    olga = Browser(site, "olga")
    fields: dict[str, Any] = {"sure": "yes", "proof": "0" * 64}
    assert olga.send(f"/submissions/{found.id}/{what}", fields).status_code == 403
    assert olga.send(f"/submissions/{found.id}/{what}", fields, Origin="https://evil.example").status_code == 403
    assert site.world.submission(found.id).state == "pending"
