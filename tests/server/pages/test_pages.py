"""What people find on pages, and what happens when they send a form."""

import re
from datetime import timedelta
from typing import Any

import pytest

from palladion.storage import accounts, stages, teams
from tests.server.pages.browser import Browser, text_of
from tests.server.site import API, Site

CHALLENGE = "/challenges/demo"
TEAM = f"{CHALLENGE}/team"
ORGANISE = f"{CHALLENGE}/organise"


# --- Challenges -------------------------------------------------------------------------------------------------------


def test_what_is_open_is_found_on_the_first_page(still: Site) -> None:
    page = Browser(still).page("/")
    assert 'href="/challenges/demo"' in page
    assert 'href="/challenges/demo/detection/round-0"' in page
    assert "open: round round-0" in text_of(page)


def test_a_challenge_says_how_to_take_part_in_three_commands(still: Site) -> None:
    page = Browser(still).page(CHALLENGE)
    commands = re.findall(r'<pre class="command"[^>]*><code>(.*?)</code>', page)
    assert commands == [
        "palladion login http://testserver",
        "palladion download demo/detection",
        "palladion submit detector.zip --to demo/detection --wait",
    ]
    other = still.with_settings(still.settings.model_copy(update={"public_url": "https://challenge.example"}))
    assert "palladion login https://challenge.example" in Browser(other, app=other.app).page(CHALLENGE)


def test_stages_stand_on_a_time_line_with_their_state(still: Site) -> None:
    page = Browser(still).page(CHALLENGE)
    found = re.findall(r'<li class="(planned|open|closed|concluded)">\s*<h3>(?:<a href="([^"]*)">)?([^<]*)', page)
    assert found == [
        ("open", f"{CHALLENGE}/detection/round-0", "Round 0"),
        ("planned", "", "Round 1 "),
        ("planned", "", "Round 2 "),
        ("open", f"{CHALLENGE}/labels/development", "Development"),
        ("planned", "", "Final "),
    ]
    text = text_of(page)
    assert "takes submissions" in text
    assert "Cross-entropy of 0.3466 or less" in text


def test_who_may_go_where_is_on_every_page_of_a_challenge(still: Site) -> None:
    def links(who: str | None) -> set[str]:
        return {link for link in (TEAM, ORGANISE) if f'href="{link}"' in Browser(still, who).page(CHALLENGE)}

    assert links(None) == set()
    assert links("person-0") == {TEAM}
    assert links("oscar") == set()
    assert links("olga") == {ORGANISE}


# --- Teams ------------------------------------------------------------------------------------------------------------


def test_a_team_is_made_invites_is_joined_and_left(site: Site) -> None:
    site.account("nora")
    lone, nora = Browser(site, "lone"), Browser(site, "nora")
    assert "You are in no team" in lone.page(TEAM)
    assert "was made" in lone.told(lone.fill(TEAM, f"{TEAM}/make", {"name": "The Lonely"}))
    page = lone.told(lone.fill(TEAM, f"{TEAM}/invite", {"uses": "1", "days": "7"}))
    code = page.partition("<code>")[2].partition("</code>")[0]
    assert "one person can join" in text_of(page)
    assert code not in lone.page(TEAM)
    assert "You are in the team The Lonely" in nora.told(nora.fill(TEAM, f"{TEAM}/join", {"code": code}))
    assert "Members (2 of 6)" in text_of(lone.page(TEAM))
    # Nothing happens before it is confirmed.
    assert "nothing was done" in nora.told(nora.fill(TEAM, f"{TEAM}/leave")).lower()
    assert "You have left" in nora.told(nora.fill(TEAM, f"{TEAM}/leave", {"sure": "yes"}))
    assert "You are in no team" in nora.page(TEAM)


def test_what_a_team_refuses_is_said_on_its_page(site: Site) -> None:
    lone = Browser(site, "lone")
    for where, fields, words in (
        ("join", {"code": "nonsense"}, "this invitation is not"),
        ("make", {"name": "Team 0"}, "team 0"),
        ("make", {"name": ""}, "name"),
    ):
        answer = lone.fill(TEAM, f"{TEAM}/{where}", fields)
        page = lone.told(answer)
        assert 'role="alert"' in page, where
        assert words in text_of(page).lower(), (where, text_of(page)[:600])


def test_a_quota_says_when_the_next_slot_is(site: Site) -> None:
    rule = "submission: {kind: outputs, bytes: 1M}"
    site.redefine((rule, f"{rule}\n    quotas: {{scored: {{per_day: 1}}}}"))
    site.scored("development", {"overall": 40.0})
    text = text_of(Browser(site, "person-0").page(TEAM))
    assert "1 of 1" in text
    assert re.search(r"Next slot \d+ Jan 2026, \d\d:\d\d UTC in (1 d|23 h)", text), text
    assert "You may submit." in text
    assert text.count("Next slot") == 1
    assert "(in 2" not in text


def test_submissions_of_the_team_are_on_its_page_and_those_of_others_are_not(site: Site) -> None:
    mine = site.scored("development", {"overall": (40.0, 30.0, 50.0)})
    others = site.scored("round-0", {"cross_entropy": 0.5, "roc_auc": 0.7}, team=1)
    waiting = site.accepted("development", mark="2")
    page = Browser(site, "person-0").page(TEAM)
    assert f"/submissions/{mine.id}" in page
    assert f'action="/submissions/{waiting.id}/cancel"' in page
    assert others.id not in page
    assert "40" in page


# --- Organisers -------------------------------------------------------------------------------------------------------


def _stage(site: Site, name: str) -> str:
    return site.stage(name).state


def test_an_organiser_opens_closes_and_concludes_a_stage_and_is_asked_before(site: Site) -> None:
    browser = Browser(site, "olga")
    mark = 'value="development"'
    assert "nothing was done" in browser.told(browser.fill(ORGANISE, f"{ORGANISE}/close", has=mark)).lower()
    assert _stage(site, "development") == "open"
    answer = browser.fill(ORGANISE, f"{ORGANISE}/close", {"sure": "yes"}, has=mark)
    assert "development is closed" in browser.told(answer)
    assert _stage(site, "development") == "closed"
    answer = browser.fill(ORGANISE, f"{ORGANISE}/conclude", {"sure": "yes"}, has=mark)
    assert "is being concluded" in browser.told(answer)
    assert site.world.job("conclude", site.stage("development").id).state == "queued"


def test_a_stage_that_cannot_open_says_why(site: Site) -> None:
    browser = Browser(site, "olga")
    answer = browser.fill(ORGANISE, f"{ORGANISE}/open", {"sure": "yes"}, has='value="round-2"')
    page = browser.told(answer)
    assert 'role="alert"' in page
    assert "cannot open" in text_of(page)
    assert _stage(site, "round-2") == "planned"


def test_an_organiser_names_submissions_for_the_holdout(site: Site) -> None:
    browser = Browser(site, "olga")
    other = site.scored("round-0", {"cross_entropy": 0.5, "roc_auc": 0.7})
    fields = {"sure": "yes", "submissions": other.id}
    assert browser.fill(ORGANISE, f"{ORGANISE}/conclude", fields, has='value="development"').status_code == 404
    fields = {"sure": "yes", "submissions": "nonsense"}
    page = browser.told(browser.fill(ORGANISE, f"{ORGANISE}/conclude", fields, has='value="development"'))
    assert 'role="alert"' in page


def test_who_waits_stands_first_and_is_let_in(site: Site) -> None:
    site.account("newcomer", state="pending")
    with site.database.write() as tx:
        now = site.world.clock()
        teams.create(
            tx,
            site.world.challenge.id,
            site.accounts["lone"].id,
            name="Waiting",
            now=now,
            actor="lone",
            state="pending",
        )
    browser = Browser(site, "olga")
    page = browser.page(ORGANISE)
    assert page.index("Waiting for approval") < page.index('id="stages"')
    answer = browser.fill(ORGANISE, f"{ORGANISE}/accounts/approve", has="newcomer")
    assert "newcomer can be used" in browser.told(answer)
    answer = browser.fill(ORGANISE, f"{ORGANISE}/teams/approve", has="Waiting")
    assert "Waiting can submit" in browser.told(answer)
    with site.database.read() as tx:
        assert accounts.by_name(tx, "newcomer").state == "active"
    assert "Waiting for approval" not in browser.page(ORGANISE)


def test_an_account_is_disabled_by_its_name_but_not_ones_own(site: Site) -> None:
    browser = Browser(site, "olga")
    fields = {"sure": "yes", "account": "person-1"}
    assert "person-1 was disabled" in browser.told(browser.fill(ORGANISE, f"{ORGANISE}/accounts/disable", fields))
    for name, words in (("olga", "your own account"), ("nobody", "no account")):
        answer = browser.fill(ORGANISE, f"{ORGANISE}/accounts/disable", {**fields, "account": name})
        assert words in text_of(browser.told(answer)), name


def test_a_team_becomes_a_baseline(site: Site) -> None:
    browser = Browser(site, "olga")
    fields = {"sure": "yes", "team": "team 1", "baseline": "yes"}
    assert "Team 1 is a baseline" in browser.told(browser.fill(ORGANISE, f"{ORGANISE}/teams/baseline", fields))
    fields = {**fields, "baseline": "no"}
    assert "Team 1 is no baseline" in browser.told(browser.fill(ORGANISE, f"{ORGANISE}/teams/baseline", fields))


def test_what_is_stuck_is_tried_again(site: Site) -> None:
    from palladion.storage import queue

    submission = site.accepted("development")
    job = site.world.job("evaluate", site.world.evaluation(submission.id).id)
    browser = Browser(site, "olga")
    assert "Nothing is stuck" in browser.page(ORGANISE)
    for _ in range(10):
        if site.world.job("evaluate", job.subject).state == "failed":
            break
        with site.database.write() as tx:
            claimed = queue.claim(tx, ["evaluate"], worker="w", lease=timedelta(seconds=30), now=site.world.clock())
            assert claimed is not None
            assert claimed.lease is not None
            queue.fail(tx, claimed.id, claimed.lease, "the disk is gone", now=site.world.clock())
        site.world.clock.forward(timedelta(hours=1))
    page = browser.page(ORGANISE)
    assert page.index('id="stuck"') < page.index('id="stages"')
    assert "the disk is gone" in page
    answer = browser.fill(ORGANISE, f"{ORGANISE}/jobs/retry", has=job.id)
    assert "queued again" in browser.told(answer)
    assert site.world.job("evaluate", job.subject).state == "queued"


def test_forms_do_what_the_api_does_and_nothing_twice(site: Site) -> None:
    """The log of the challenge cannot tell whether it was a page."""
    browser = Browser(site, "olga")
    browser.fill(ORGANISE, f"{ORGANISE}/close", {"sure": "yes"}, has='value="development"')
    assert site.client("olga").post(f"{API}/challenges/demo/stages/detection/round-0/close").status_code == 200
    lines = site.client("olga").get(f"{API}/challenges/demo/audit").json()["items"]
    closed: list[dict[str, Any]] = [line for line in lines if line["action"].startswith("stage.clos")]
    assert len(closed) == 2
    assert {(line["actor"], line["action"]) for line in closed} == {("olga", closed[0]["action"])}
    again = browser.fill(ORGANISE, f"{ORGANISE}/conclude", {"sure": "yes"}, has='value="development"')
    assert again.status_code == 303


def test_scores_of_others_are_on_no_page_of_somebody_else(site: Site) -> None:
    hidden = site.scored("development", {"overall": 43.217}, team=1)
    for who in (None, "lone", "person-0"):
        for path in ("/", CHALLENGE, *((TEAM,) if who else ())):
            page = Browser(site, who).page(path)
            assert hidden.id not in page
            assert "43.2" not in page


@pytest.mark.parametrize("who", ["olga", "person-0"])
def test_pages_that_are_empty_are_pages(site: Site, who: str) -> None:
    assert Browser(site, who).page(CHALLENGE)
    assert Browser(site, who).page("/account")
    assert stages
