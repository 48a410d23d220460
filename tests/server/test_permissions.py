"""Who may ask for what, route by route: written out, so that nothing is allowed because nobody thought of it."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from palladion.challenge.permissions import ACTIONS
from palladion.server.access import Permit
from palladion.server.api import ALL
from palladion.server.routing import Routes
from palladion.storage import accounts, tokens, webhooks
from tests.jobs.world import outputs
from tests.server.site import API, SUBMISSIONS, UNKNOWN, Site

ROLES = ("anonymous", "lone", "person-1", "person-0", "oscar", "olga")
"""Nobody; a participant without a team, of another team and of the team it is about; an observer; an organiser."""

EVERYBODY = "200 200 200 200 200 200"
ORGANISERS = "401 403 403 403 403 200"

# What each is answered. 404 and 409 of whoever may ask: there is nothing for them; 422: the request says nothing.
TABLE = f"""\
GET    /health/live                                                              {EVERYBODY}
GET    /health/ready                                                             503 503 503 503 503 503
GET    /metrics                                                                  {ORGANISERS}
GET    /api/v1/                                                                  {EVERYBODY}
GET    /api/v1/openapi.json                                                      {EVERYBODY}
POST   /api/v1/accounts                                                          422 422 422 422 422 422
POST   /api/v1/accounts/confirm                                                  422 422 422 422 422 422
POST   /api/v1/accounts/code                                                     422 422 422 422 422 422
POST   /api/v1/login                                                             422 422 422 422 422 422
POST   /api/v1/logout                                                            401 204 204 204 204 204
GET    /api/v1/oidc/start                                                        404 404 404 404 404 404
GET    /api/v1/oidc/callback                                                     422 422 422 422 422 422
GET    /api/v1/me                                                                401 200 200 200 200 200
PATCH  /api/v1/me                                                                401 200 200 200 200 200
POST   /api/v1/me/password                                                       401 422 422 422 422 422
GET    /api/v1/tokens                                                            401 200 200 200 200 200
POST   /api/v1/tokens                                                            401 422 422 422 422 422
DELETE /api/v1/tokens/{{token_id}}                                               401 404 404 204 404 204
GET    /api/v1/accounts                                                          {ORGANISERS}
GET    /api/v1/accounts/{{account_id}}                                           {ORGANISERS}
POST   /api/v1/accounts/{{account_id}}/approve                                   {ORGANISERS}
POST   /api/v1/accounts/{{account_id}}/disable                                   {ORGANISERS}
POST   /api/v1/accounts/{{account_id}}/role                                      401 403 403 403 403 422
GET    /api/v1/challenges                                                        {EVERYBODY}
GET    /api/v1/challenges/{{challenge}}                                          {EVERYBODY}
GET    /api/v1/challenges/{{challenge}}/definition                               {ORGANISERS}
GET    /api/v1/challenges/{{challenge}}/stages                                   {EVERYBODY}
GET    /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}               {EVERYBODY}
GET    /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/check         {ORGANISERS}
POST   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/open          {ORGANISERS}
POST   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/close         {ORGANISERS}
POST   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/conclude      401 403 403 403 403 202
POST   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/rescore       401 403 403 403 403 409
POST   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/switch        401 403 403 403 403 422
GET    /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/leaderboard   {EVERYBODY}
GET    /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/files         401 200 200 200 403 200
GET    /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/files/{{path:path}}    401 200 200 200 403 200
HEAD   /api/v1/challenges/{{challenge}}/stages/{{track}}/{{stage}}/files/{{path:path}}    401 200 200 200 403 200
POST   /api/v1/challenges/{{challenge}}/teams                                    401 422 422 422 403 403
GET    /api/v1/challenges/{{challenge}}/teams                                    {EVERYBODY}
POST   /api/v1/challenges/{{challenge}}/teams/invitations                        401 409 201 201 403 403
POST   /api/v1/challenges/{{challenge}}/teams/join                               401 422 422 422 403 403
POST   /api/v1/challenges/{{challenge}}/teams/leave                              401 409 204 409 403 403
POST   /api/v1/challenges/{{challenge}}/teams/{{team_id}}/approve                {ORGANISERS}
POST   /api/v1/challenges/{{challenge}}/teams/{{team_id}}/refuse                 {ORGANISERS}
POST   /api/v1/challenges/{{challenge}}/teams/{{team_id}}/baseline               401 403 403 403 403 422
GET    /api/v1/challenges/{{challenge}}/team                                     401 200 200 200 403 200
GET    /api/v1/challenges/{{challenge}}/quota                                    401 409 200 200 403 409
POST   /api/v1/uploads                                                           401 422 422 422 403 422
GET    /api/v1/uploads/{{upload_id}}                                             401 404 404 200 403 404
PATCH  /api/v1/uploads/{{upload_id}}                                             401 422 422 422 403 422
DELETE /api/v1/uploads/{{upload_id}}                                             401 404 404 204 403 404
POST   /api/v1/challenges/{{challenge}}/submissions                              401 422 422 422 403 403
GET    /api/v1/challenges/{{challenge}}/submissions                              401 200 200 200 403 200
GET    /api/v1/submissions/{{submission_id}}                                     401 404 404 200 403 200
POST   /api/v1/submissions/{{submission_id}}/cancel                              401 404 404 200 403 200
GET    /api/v1/submissions/{{submission_id}}/artifact                            401 404 404 200 403 200
HEAD   /api/v1/submissions/{{submission_id}}/artifact                            401 404 404 200 403 200
GET    /api/v1/submissions/{{submission_id}}/points                              401 404 404 403 403 403
GET    /api/v1/challenges/{{challenge}}/organising                               {ORGANISERS}
GET    /api/v1/challenges/{{challenge}}/webhooks                                 WEBHOOKS:LIST
POST   /api/v1/challenges/{{challenge}}/webhooks                                 WEBHOOKS:CREATE
DELETE /api/v1/challenges/{{challenge}}/webhooks/{{webhook_id}}                  WEBHOOKS:DELETE
GET    /api/v1/challenges/{{challenge}}/audit                                    {ORGANISERS}
GET    /api/v1/challenges/{{challenge}}/jobs                                     {ORGANISERS}
POST   /api/v1/jobs/{{job_id}}/retry                                             401 403 403 403 403 409
GET    /api/v1/workers                                                           {ORGANISERS}
"""
TABLE = (
    TABLE.replace("WEBHOOKS:LIST", ORGANISERS)
    .replace("WEBHOOKS:CREATE", "401 403 403 403 403 422")
    .replace("WEBHOOKS:DELETE", "401 403 403 403 403 204")
)
EXPECTED = {
    (method, path): dict(zip(ROLES, map(int, answers), strict=True))
    for method, path, *answers in (line.split() for line in TABLE.splitlines())
}


class Things:
    """What the addresses name, all of person-0's or of Team 0."""

    def __init__(self, site: Site) -> None:
        self.site = site
        now = site.world.clock()
        submission = site.accepted("development")
        _, token = site.database.run(
            tokens.issue, site.accounts["person-0"].id, name="x", scopes=["read"], lifetime=timedelta(days=1), now=now
        )
        upload = site.client("person-0").post(f"{API}/uploads", json={"sha256": "0" * 64, "bytes": 4}).json()
        hook = site.database.run(
            webhooks.create,
            challenge_id=site.world.challenge.id,
            account_id=site.accounts["person-0"].id,
            url="https://example.org/",
            events=["*"],
            team_id=site.teams[0].id,
            now=now,
            actor="person-0",
        )
        self.ids = {
            "challenge": "demo",
            "track": "labels",
            "stage": "development",
            "path:path": "phases/development/track.yaml",
            "token_id": token.split("_")[1],
            "account_id": site.accounts["lone"].id,
            "team_id": site.teams[0].id,
            "upload_id": upload["id"],
            "submission_id": submission.id,
            "webhook_id": hook.id,
            "job_id": site.world.job("evaluate", site.world.evaluation(submission.id).id).id,
        }

    def address(self, path: str) -> str:
        for name, value in self.ids.items():
            path = path.replace("{" + name + "}", value)
        assert "{" not in path
        return path


def _body(method: str, path: str) -> Any:
    """An empty document, but where a route would take it for a wish."""
    return {} if method in ("POST", "PATCH") and not path.endswith(("/conclude", "/rescore")) else None


def _ask(site: Site, things: Things, who: str, method: str, path: str) -> int:
    client = site.client(None if who == "anonymous" else who)
    answer = client.request(method, things.address(path), json=_body(method, path))
    assert answer.status_code == 204 or method == "HEAD" or answer.content
    return int(answer.status_code)


def _routes(app: FastAPI) -> list[tuple[str, APIRoute]]:
    """Those of the API; pages have a table of their own."""
    found = []
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} is no route that could declare an action"
        if not route.path.startswith((API, "/health", "/metrics")):
            continue
        found += [(method, route) for method in sorted(route.methods or ())]
    return found


def test_every_route_declares_one_action(site: Site) -> None:
    routes = _routes(site.app)
    assert len(routes) > 50
    for method, route in routes:
        permits = [d.dependency for d in route.dependencies if isinstance(d.dependency, Permit)]
        assert len(permits) == 1, f"{method} {route.path}"
        assert permits[0].action in ACTIONS


def test_a_route_with_an_action_that_nobody_knows_is_refused_when_it_is_written() -> None:
    with pytest.raises(LookupError, match="no action make:coffee"):
        Routes("x").get("/coffee", "make:coffee")(lambda: None)


def test_the_table_names_every_route_and_no_other(site: Site) -> None:
    assert {(method, route.path) for method, route in _routes(site.app)} == set(EXPECTED)
    assert len([route for routes in ALL for route in routes.routes]) <= len(EXPECTED)


@pytest.mark.parametrize("who", ROLES)
def test_role_by_endpoint(site: Site, who: str) -> None:
    """Each of them asks for everything, from what changes least to what changes most."""
    things = Things(site)
    late = ("DELETE", "/leave", "/refuse", "/disable", "/cancel", "/close", "/conclude", "/logout")
    order = sorted(EXPECTED, key=lambda key: next((i + 1 for i, word in enumerate(late) if word in " ".join(key)), 0))
    found = {key: _ask(site, things, who, *key) for key in order}
    wrong = {key: (status, EXPECTED[key][who]) for key, status in found.items() if status != EXPECTED[key][who]}
    assert not wrong


def _dead(site: Site) -> dict[str, str]:
    """Tokens that are worth nothing, each for a reason of its own."""
    now = site.world.clock()
    good = site.issue("good", "person-0", ("read", "submit"))
    expired = site.issue("expired", "person-0", ("read", "submit"), days=1)
    revoked = site.issue("revoked", "olga", ("read", "submit", "organise"))
    site.account("gone", "organiser")
    pending = site.account("pending", state="pending")
    assert pending.state == "pending"
    with site.database.write() as tx:
        tokens.revoke(tx, revoked.split("_")[1], now=now)
        accounts.disable(tx, site.accounts["gone"].id, now=now, actor="olga")
    site.world.clock.forward(timedelta(days=2))
    own_id, secret = good.split("_")[1:]
    other = site.tokens["olga"].split("_")[1]
    return {
        "expired": expired,
        "revoked": revoked,
        "of a disabled account": site.tokens["gone"],
        "of a pending account": site.tokens["pending"],
        "another secret": f"pld_{own_id}_{'0' * 64}",
        "another's id": f"pld_{other}_{secret}",
        "no secret": f"pld_{own_id}_",
        "no id": f"pld__{secret}",
        "another kind": "ghp_0123456789",
        "long": "x" * 5000,
        "odd": "pld_\u00e9_\u00e9",
    }


def test_dead_tokens_open_nothing_and_all_are_told_the_same(site: Site) -> None:
    things = Things(site)
    for reason, token in _dead(site).items():
        site.tokens["dead"] = token
        client = site.client()
        for method, path in EXPECTED:
            if path.startswith(("/health", "/metrics")):
                continue
            headers = {b"authorization": b"Bearer " + token.encode("latin-1")}
            answer = client.request(method, things.address(path), headers=headers, json=_body(method, path))
            assert answer.status_code == 401, (reason, method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            if method != "HEAD" and len(token) < 300:
                assert answer.json()["error"]["message"] == "the token is not valid; log in again", reason


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic b2xnYTpwYXNz", "pld_x_y", "Bearer a b"])
def test_headers_that_are_no_token_are_refused(site: Site, header: str) -> None:
    assert site.client().get(f"{API}/challenges", headers={"Authorization": header}).status_code == 401


def test_two_tokens_are_no_token(site: Site) -> None:
    headers = [("Authorization", f"Bearer {site.tokens[who]}") for who in ("person-0", "olga")]
    assert site.client().get(f"{API}/me", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("who", "scopes"),
    [(f"{who}:{scope}", {scope}) for who in ("person-0", "olga") for scope in ("read", "submit")],
)
def test_a_token_does_no_more_than_its_scopes(site: Site, who: str, scopes: set[str]) -> None:
    things = Things(site)
    checked = 0
    for (method, path), expected in EXPECTED.items():
        action = next(
            d.dependency.action
            for m, route in _routes(site.app)
            for d in route.dependencies
            if (m, route.path) == (method, path) and isinstance(d.dependency, Permit)
        )
        permission = ACTIONS[action]
        if expected["anonymous"] != 401 or permission.scope is None or permission.scope in scopes:
            continue
        assert _ask(site, things, who, method, path) == 403, (method, path)
        checked += 1
    assert checked > 15


def test_a_token_for_something_else_shows_what_anybody_sees(site: Site) -> None:
    site.scored("development", {"overall": 50.0})
    path = f"{API}/challenges/demo/stages/labels/development/leaderboard"
    (row,) = site.client("person-0:submit").get(path).json()["rows"]
    assert (row["mine"], row["submission"]) == (False, None)
    (row,) = site.client("person-0").get(path).json()["rows"]
    assert row["mine"]


def test_an_organisers_token_for_reading_sees_what_everybody_sees(site: Site) -> None:
    submission = site.scored("development", {"overall": 51.5})
    reading, organising = site.client("olga:read"), site.client("olga")
    assert organising.get(f"{API}/submissions/{submission.id}/artifact").status_code == 200
    assert reading.get(f"{API}/submissions/{submission.id}/artifact").status_code == 404
    path = f"{API}/challenges/demo/teams"
    assert all(team["members"] for team in organising.get(path).json()["items"])
    assert not any(team["members"] for team in reading.get(path).json()["items"])


# --- What belongs to others -------------------------------------------------------------------------------------------


def _walk(site: Site, who: str, things: Things) -> list[tuple[str, int, str]]:
    """Everything that has an id of its own, asked for by somebody: address, status, text."""
    client = site.client(who)
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"/submissions/{things.ids['submission_id']}", None),
        ("GET", f"/submissions/{things.ids['submission_id']}/artifact", None),
        ("POST", f"/submissions/{things.ids['submission_id']}/cancel", None),
        ("GET", f"/uploads/{things.ids['upload_id']}", None),
        ("DELETE", f"/uploads/{things.ids['upload_id']}", None),
        ("DELETE", f"/tokens/{things.ids['token_id']}", None),
    ]
    answers = [(path, client.request(method, API + path, json=body)) for method, path, body in asked]
    patched = client.patch(
        f"{API}/uploads/{things.ids['upload_id']}",
        content=b"abcd",
        headers={"Upload-Offset": "0", "Content-Type": "application/octet-stream"},
    )
    answers.append(("PATCH", patched))
    return [(path, int(answer.status_code), answer.text) for path, answer in answers]


@pytest.mark.parametrize("who", ["person-1", "lone"])
def test_what_is_anothers_is_not_there(site: Site, who: str) -> None:
    """404 and the very words that there would be for an id that nothing has: the answer tells nothing."""
    things = Things(site)
    found = _walk(site, who, things)
    assert {status for _, status, _ in found} == {404}
    nothing = Things.__new__(Things)
    nothing.ids = dict.fromkeys(things.ids, UNKNOWN)
    for (path, _, text), (_, _, other) in zip(found, _walk(site, who, nothing), strict=True):
        known = json.loads(text)["error"]["message"]
        for key in ("submission_id", "upload_id", "token_id"):
            known = known.replace(things.ids[key], UNKNOWN)
        assert known == json.loads(other)["error"]["message"], path
    # And nothing of it was done.
    with site.database.read() as tx:
        assert tokens.by_id(tx, things.ids["token_id"]).revoked is None
    assert site.world.submission(things.ids["submission_id"]).state == "pending"
    assert site.client("person-0").get(f"{API}/uploads/{things.ids['upload_id']}").json()["offset"] == 0


def test_lists_hold_what_is_ones_own(site: Site) -> None:
    mine, others = site.accepted("development").id, site.accepted("development", team=1).id

    def listed(who: str, query: str = "") -> set[str]:
        return {item["id"] for item in site.client(who).get(SUBMISSIONS + query).json()["items"]}

    assert listed("person-0") == {mine}
    assert listed("person-1") == {others}
    assert listed("lone") == set()
    assert listed("olga") == {mine, others}
    # Asking for another team by its id changes nothing.
    assert listed("person-1", f"?team={site.teams[0].id}") == set()
    assert listed("olga", f"?team={site.teams[0].id}") == {mine}
    for who, seen in {"person-0": 1, "person-1": 1, "lone": 0, "oscar": 2, "olga": 2}.items():
        assert len(site.client(who).get(f"{API}/challenges/demo/teams").json()["items"]) == seen, who


def test_a_checksum_is_no_key(site: Site) -> None:
    """Who knows the checksum of another team's file, and even that it is there, gets nothing for it."""
    content = outputs()
    assert site.submit(content).status_code == 201
    sha256 = site.upload(content)
    client = site.client("person-1")
    wanted = {"track": "labels", "sha256": sha256, "filename": "stolen.zip"}
    answer = client.post(SUBMISSIONS, json=wanted)
    assert answer.status_code == 404
    assert (
        answer.json()["error"]["message"]
        == client.post(SUBMISSIONS, json={**wanted, "sha256": "0" * 64}).json()["error"]["message"]
    )
    # Announcing it as one's own saves no byte, and completes nothing.
    begun = client.post(f"{API}/uploads", json={"sha256": sha256, "bytes": len(content)}).json()
    assert (begun["offset"], begun["complete"]) == (0, False)
    assert client.post(SUBMISSIONS, json=wanted).status_code == 404
    # Whoever has the bytes has them.
    assert site.submit(content, who="person-1").status_code == 201


def test_revoking_counts_at_once(site: Site) -> None:
    client = site.client("person-0")
    assert client.get(f"{API}/me").status_code == 200
    token = client.get(f"{API}/me").json()["token"]["id"]
    assert client.delete(f"{API}/tokens/{token}").status_code == 204
    assert client.get(f"{API}/me").status_code == 401


def test_whoever_is_disabled_is_out_at_once(site: Site) -> None:
    client: Callable[..., Any] = site.client("person-1").get
    assert client(f"{API}/me").status_code == 200
    account = site.accounts["person-1"].id
    assert site.client("olga").post(f"{API}/accounts/{account}/disable").status_code == 200
    assert client(f"{API}/me").status_code == 401


def test_an_organiser_cannot_lock_himself_out_by_a_slip(site: Site) -> None:
    own = site.accounts["olga"].id
    client = site.client("olga")
    assert client.post(f"{API}/accounts/{own}/disable").status_code == 409
    assert client.post(f"{API}/accounts/{own}/role", json={"role": "observer"}).status_code == 409
