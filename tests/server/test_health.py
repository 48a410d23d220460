"""What monitors and clients ask first."""

from datetime import timedelta
from pathlib import Path

import pytest

from palladion import __version__
from palladion.server.settings import Oidc
from palladion.storage import queue, workers
from tests.server.site import API, Site


def _worker(site: Site) -> None:
    now = site.world.clock()
    site.database.run(workers.started, name="w", kinds=["evaluate"], host="h", process=1, now=now)


def test_a_process_that_answers_is_alive_whatever_else_is_wrong(site: Site) -> None:
    site.database.close()
    Path(site.database.url).unlink()
    answer = site.client().get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive", "version": __version__})


def test_ready_is_who_has_a_database_a_worker_and_room(site: Site) -> None:
    answer = site.client().get("/health/ready")
    assert answer.status_code == 503
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == {
        "database": True,
        "worker": False,
        "disk": True,
    }
    _worker(site)
    assert site.client().get("/health/ready").json()["status"] == "ready"
    site.world.clock.forward(timedelta(minutes=1))
    assert site.client().get("/health/ready").status_code == 503
    full = site.with_limits(free_disk=1 << 60)
    assert full.client().get("/health/ready").json()["checks"]["disk"]["ok"] is False


def test_without_a_database_it_is_not_ready_and_tells_no_path(site: Site) -> None:
    site.database.close()
    Path(site.database.url).unlink()
    answer = site.client().get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["ok"] is False
    assert "palladion.db" not in answer.text


def test_metrics_are_for_this_machine_and_for_organisers(site: Site) -> None:
    from starlette.testclient import TestClient

    near = TestClient(site.app, client=("127.0.0.1", 1))
    assert near.get("/metrics").status_code == 200
    # Behind a proxy on this machine everybody comes from this machine.
    assert near.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    far = TestClient(site.app, client=("203.0.113.9", 1))
    assert far.get("/metrics").status_code == 401
    for who, status in {"olga": 200, "person-0": 403, "oscar": 403, "olga:read": 403, "olga:organise": 200}.items():
        headers = {"Authorization": f"Bearer {site.tokens[who]}"}
        assert far.get("/metrics", headers=headers).status_code == status, who


def test_metrics_count_requests_by_route_and_jobs_by_state(site: Site) -> None:
    site.accepted("development")
    with site.database.write() as tx:
        queue.enqueue(tx, "conclude", "x", now=site.world.clock() - timedelta(seconds=90))
    client = site.client("olga")
    client.get(f"{API}/challenges/demo")
    client.get(f"{API}/challenges/other")
    client.request("BREW", f"{API}/me")
    client.get("/no/such/address")
    text = client.get("/metrics").text
    assert 'palladion_requests_total{method="GET",route="/api/v1/challenges/{challenge}",status="200"} 1.0' in text
    assert 'palladion_requests_total{method="GET",route="/api/v1/challenges/{challenge}",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "BREW" not in text
    # Addresses that do not exist make no series of their own.
    assert "no/such" not in text
    assert 'palladion_jobs{kind="evaluate",state="queued"} 1.0' in text
    waiting = next(line for line in text.splitlines() if line.startswith('palladion_oldest_queued_seconds{kind="concl'))
    assert float(waiting.split()[1]) >= 90


def test_a_client_learns_how_to_sign_up_and_how_large_files_may_be(site: Site) -> None:
    answer = site.client().get(f"{API}/").json()
    assert answer["sign_up"] == "open"
    assert answer["login"] == {"password": True, "oidc": None}
    assert answer["uploads"] == {"most_bytes": 1 << 30, "chunk_bytes": 16 << 20}


def test_a_provider_is_told_of(site: Site) -> None:
    oidc = Oidc(issuer="https://id.example.org", client_id="me", title="The institute")
    settings = site.settings.model_copy(update={"oidc": oidc, "public_url": "https://here.example.org"})
    told = site.with_settings(settings).client().get(f"{API}/").json()["login"]["oidc"]
    assert told == {
        "issuer": "https://id.example.org",
        "title": "The institute",
        "start": "https://here.example.org/api/v1/oidc/start",
    }


@pytest.mark.parametrize("path", [f"{API}/", "/health/live", f"{API}/challenges"])
def test_browsers_are_told_to_make_nothing_of_it(site: Site, path: str) -> None:
    headers = site.client().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
