"""Teams: made, joined, left, and whether they wait for an organiser."""

from datetime import timedelta
from typing import Any

import pytest

from palladion.server.queries import CONFIRMED
from palladion.storage import accounts, audit
from tests.jobs.world import outputs
from tests.server.site import API, Response, Site

TEAMS = f"{API}/challenges/demo/teams"


def _team(site: Site, who: str = "lone", name: str = "Alone") -> Response:
    return site.client(who).post(TEAMS, json={"name": name})


def _rule(site: Site, rule: str) -> None:
    site.redefine(("title: A challenge", f"title: A challenge\n{rule}"))


def test_whoever_makes_a_team_is_its_captain(site: Site) -> None:
    answer = _team(site)
    assert answer.status_code == 201
    team = answer.json()
    assert (team["name"], team["state"], team["mine"]) == ("Alone", "approved", True)
    assert [(member["name"], member["captain"]) for member in team["members"]] == [("lone", True)]
    assert site.client("lone").get(f"{API}/me").json()["teams"] == [
        {"challenge": "demo", "id": team["id"], "name": "Alone", "state": "approved", "captain": True}
    ]
    assert site.client("lone").get(TEAMS).json()["items"] == [team]


def test_a_name_is_taken_once_and_an_account_is_in_one_team(site: Site) -> None:
    assert _team(site, name="TEAM 0").status_code == 409
    assert _team(site, "person-0", "Another").status_code == 409


@pytest.mark.parametrize("name", ["", " ", "x" * 81, "a\nb", "a\u202eb", "a\u0000b", "\ud800"])
def test_names_can_be_seen(site: Site, name: str) -> None:
    content = '{"name": "' + name.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00") + '"}'
    answer = site.client("lone").post(TEAMS, content=content.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_joining_by_a_code(site: Site) -> None:
    made = site.client("person-0").post(f"{TEAMS}/invitations", json={"uses": 1, "days": 2})
    assert made.status_code == 201
    code = made.json()["code"]
    joined = site.client("lone").post(f"{TEAMS}/join", json={"code": code})
    assert [member["name"] for member in joined.json()["members"]] == ["person-0", "lone"]
    # Used up, for somebody else as for one who is in a team.
    site.account("late")
    assert site.client("late").post(f"{TEAMS}/join", json={"code": code}).status_code == 404
    assert site.client("person-1").post(f"{TEAMS}/join", json={"code": code}).status_code == 404


def test_codes_that_are_none_any_more(site: Site) -> None:
    code = site.client("person-0").post(f"{TEAMS}/invitations", json={"days": 1}).json()["code"]
    site.world.clock.forward(timedelta(days=1, seconds=1))
    for given in (code, "a" * 20, "x", "\u0000"):
        answer = site.client("lone").post(f"{TEAMS}/join", json={"code": given})
        assert answer.status_code in (404, 422)
    assert site.client("lone").get(TEAMS).json()["items"] == []


def test_a_code_is_for_one_challenge(site: Site) -> None:
    from palladion.storage import challenges

    text = site.world.challenge.definition.replace("name: demo", "name: other")
    with site.database.write() as tx:
        challenges.install(tx, text, site.world.folder, now=site.world.clock(), actor="olga")
    code = site.client("person-0").post(f"{TEAMS}/invitations", json={}).json()["code"]
    answer = site.client("lone").post(f"{API}/challenges/other/teams/join", json={"code": code})
    assert answer.status_code == 404
    # The code is not used up by that, and nobody has joined.
    assert site.client("lone").get(TEAMS).json()["items"] == []
    assert site.client("lone").post(f"{TEAMS}/join", json={"code": code}).status_code == 200


def test_a_full_team_takes_nobody(site: Site) -> None:
    _rule(site, "teams: {most_members: 1}")
    code = site.client("person-0").post(f"{TEAMS}/invitations", json={}).json()["code"]
    assert "full" in site.client("lone").post(f"{TEAMS}/join", json={"code": code}).json()["error"]["message"]


def test_leaving_before_anything_was_submitted(site: Site) -> None:
    assert site.client("person-1").post(f"{TEAMS}/leave").status_code == 204
    assert site.client("person-1").get(TEAMS).json()["items"] == []
    site.submit(outputs())
    answer = site.client("person-0").post(f"{TEAMS}/leave")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


# --- Approval ---------------------------------------------------------------------------------------------------------


def test_a_challenge_that_asks_for_approval_lets_a_team_wait(site: Site) -> None:
    _rule(site, "registration: {approval: manual}")
    team = _team(site).json()
    assert team["state"] == "pending"
    sha256 = site.upload(outputs(), "lone")
    wanted = {"track": "labels", "sha256": sha256, "filename": "x.zip"}
    submit = f"{API}/challenges/demo/submissions"
    assert site.client("lone").post(submit, json=wanted).status_code == 409
    listed = site.client("olga").get(TEAMS).json()["items"]
    assert ("Alone", "pending") in [(item["name"], item["state"]) for item in listed]
    assert site.client("olga").post(f"{TEAMS}/{team['id']}/approve").json()["state"] == "approved"
    assert site.client("lone").post(submit, json=wanted).status_code == 201
    assert site.client("olga").post(f"{TEAMS}/{team['id']}/refuse").json()["state"] == "refused"
    assert site.client("olga").post(f"{API}/challenges/demo/teams/{'a' * 20}/approve").status_code == 404


def test_whom_an_organiser_has_approved_need_not_wait_again(site: Site) -> None:
    _rule(site, "registration: {approval: manual}")
    account = site.accounts["lone"].id
    # What approves itself is no organiser.
    site.database.run(accounts.approve, account, now=site.world.clock(), actor="sign-up")
    code = site.client("person-0").post(f"{TEAMS}/invitations", json={}).json()["code"]
    answer = site.client("lone").post(f"{TEAMS}/join", json={"code": code})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    site.client("olga").post(f"{API}/accounts/{account}/approve")
    assert site.client("lone").post(f"{TEAMS}/join", json={"code": code}).status_code == 200


def _confirm(site: Site, name: str, address: str) -> None:
    """The owner of an account has confirmed this address."""

    def note(tx: Any) -> None:
        row = accounts.by_name(tx, name)
        detail = {"email": address}
        now = site.world.clock()
        audit.add(tx, actor=name, action=CONFIRMED, subject=f"account:{row.id}", detail=detail, now=now)

    site.database.run(note)


def test_an_address_of_the_domain_counts_once_it_is_confirmed_and_while_it_is_ones_own(site: Site) -> None:
    _rule(site, "registration: {approval: domain, domains: [example.org]}")
    for name in ("one", "two", "three"):
        site.account(name, email=f"{name}@example.org")
    _confirm(site, "two", "two@example.org")
    _confirm(site, "three", "old@example.org")
    assert [_team(site, who, who).json()["state"] for who in ("one", "two", "three")] == [
        "pending",
        "approved",
        "pending",
    ]
