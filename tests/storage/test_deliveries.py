"""Who is told what, once; workers; the audit log."""

import pytest

from palladion.errors import InputError
from palladion.storage import accounts, audit, deliveries, queue, teams, webhooks, workers
from palladion.storage.database import Database
from palladion.storage.deliveries import DELIVER
from palladion.storage.errors import LeaseLost, NotFound
from palladion.storage.tables import Webhook
from tests.storage.conftest import HOUR, MINUTE, NOW, World, make_world


def _hook(world: World, *events: str, team: int | None = None, url: str = "https://example.org/hook") -> Webhook:
    return world.database.run(
        webhooks.create,
        challenge_id=world.challenge.id,
        account_id=world.captains[team or 0],
        team_id=None if team is None else world.teams[team].id,
        url=url,
        events=events,
        now=NOW,
        actor="olga",
    )


def _announce(world: World, key: str = "1", *, team: int | None = 0, organisers: bool = False) -> int:
    return world.database.run(
        deliveries.announce,
        event="evaluation.done",
        key=key,
        body={"b": 1, "a": 2},
        challenge_id=world.challenge.id,
        team_id=None if team is None else world.teams[team].id,
        organisers=organisers,
        now=NOW,
    )


def _recipients(world: World, key: str = "1") -> set[str]:
    with world.database.read() as tx:
        return {
            found.email or found.url or ""
            for delivery in deliveries.of_event(tx, "evaluation.done", key)
            for found in [deliveries.recipient(tx, delivery)]
        }


def test_everybody_who_wants_to_know_is_told_once(world: World) -> None:
    _hook(world, "*", url="https://example.org/all")
    _hook(world, "evaluation.done", team=0, url="https://example.org/team-0")
    _hook(world, "evaluation.done", team=1, url="https://example.org/team-1")
    _hook(world, "stage.open", url="https://example.org/other-event")
    other = make_world(world.database, world.store, name="other")
    _hook(other, "*", url="https://example.org/other-challenge")
    assert _announce(world) == 3
    assert _announce(world) == 0
    assert _recipients(world) == {
        "https://example.org/all", "https://example.org/team-0", "trojai-0@example.org"
    }  # fmt: skip
    assert _announce(world, "2") == 3
    with world.database.read() as tx:
        assert queue.counts(tx) == {(DELIVER, "queued"): 6}
    # Somebody new, and the event is announced once more: only who has not been told is told.
    _hook(world, "*", url="https://example.org/late")
    assert _announce(world) == 1


def test_what_concerns_no_team_is_told_to_no_team(world: World) -> None:
    _hook(world, "*", url="https://example.org/all")
    _hook(world, "*", team=0)
    assert _announce(world, team=None) == 1
    assert _recipients(world) == {"https://example.org/all"}


def test_mail_goes_to_who_wants_it_and_can_have_it(world: World) -> None:
    with world.database.write() as tx:
        for name, more in {
            "olga": {"role": "organiser", "email": "olga@example.org"},
            "oscar": {"role": "organiser", "email": "oscar@example.org", "mail": False},
            "otto": {"role": "organiser"},
            "oona": {"role": "organiser", "email": "oona@example.org", "state": "disabled"},
        }.items():
            accounts.create(tx, name=name, now=NOW, actor="olga", **more)  # type: ignore[arg-type]
    assert _announce(world, organisers=True) == 2
    assert _recipients(world) == {"olga@example.org", "trojai-0@example.org"}
    assert _announce(world, "2", team=None, organisers=True) == 1


def test_nothing_is_told_of_what_did_not_happen(world: World) -> None:
    def work(tx: object) -> None:
        deliveries.announce(
            tx, event="x", key="1", body={}, challenge_id=world.challenge.id, team_id=world.teams[0].id, now=NOW,  # type: ignore[arg-type]
        )  # fmt: skip
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.database.run(work)
    with world.database.read() as tx:
        assert deliveries.of_event(tx, "x", "1") == []
        assert queue.counts(tx) == {}


def test_a_delivery_arrives_once(world: World) -> None:
    _announce(world)
    job = world.database.run(queue.claim, [DELIVER], worker="w", lease=MINUTE, now=NOW)
    assert job is not None
    world.database.run(deliveries.sent, job.subject, job.lease or "", now=NOW + MINUTE)
    with world.database.read() as tx:
        delivery = deliveries.by_id(tx, job.subject)
        assert (delivery.sent, delivery.body, delivery.event) == (NOW + MINUTE, {"a": 2, "b": 1}, "evaluation.done")
        assert queue.by_id(tx, job.id).state == "done"
    with pytest.raises(LeaseLost):
        world.database.run(deliveries.sent, job.subject, job.lease or "", now=NOW)
    with pytest.raises(LeaseLost):
        world.database.run(deliveries.sent, "nothing", "x", now=NOW)


def test_who_does_not_want_it_any_more_does_not_get_it(world: World) -> None:
    _announce(world)
    with world.database.write() as tx:
        (delivery,) = deliveries.of_event(tx, "evaluation.done", "1")
        accounts.set_email(tx, world.captains[0], "new@example.org", now=NOW, actor="x")
        assert deliveries.recipient(tx, delivery).email == "new@example.org"
        accounts.set_mail(tx, world.captains[0], False, now=NOW, actor="x")
        with pytest.raises(NotFound, match="nobody wants"):
            deliveries.recipient(tx, delivery)


def test_a_webhook_that_is_removed_takes_its_deliveries_along(world: World) -> None:
    hook = _hook(world, "*")
    _announce(world, team=None)
    job = world.database.run(queue.claim, [DELIVER], worker="w", lease=MINUTE, now=NOW)
    assert job is not None
    world.database.run(webhooks.remove, hook.id, now=NOW, actor="olga")
    with world.database.read() as tx:
        assert webhooks.listing(tx, challenge_id=world.challenge.id) == []
        assert queue.by_id(tx, job.id).state == "cancelled"
        line = audit.listing(tx)[0]
        assert (line.action, line.detail["host"]) == ("webhook.remove", "example.org")
        assert hook.secret not in str([line.detail for line in audit.listing(tx)])
        with pytest.raises(NotFound):
            webhooks.by_id(tx, hook.id)


def test_webhooks_are_listed_by_whose_they_are(world: World) -> None:
    every, own = _hook(world, "*"), _hook(world, "*", team=1)
    assert len(own.secret) == 64
    assert own.secret != every.secret
    with world.database.read() as tx:
        assert len(webhooks.listing(tx, challenge_id=world.challenge.id)) == 2
        found = webhooks.listing(tx, challenge_id=world.challenge.id, team_id=world.teams[1].id)
        assert [hook.id for hook in found] == [own.id]
        assert webhooks.by_id(tx, own.id).events == ["*"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "file:///etc/passwd", "https://", "https://u:p@e.org",
                                 "https://e.org/a b", "https://e.org/\n", "https://e.org:99999/", "https://[::1/", "https://e.org/\x00",
                                 "javascript:alert(1)", "https://e.org/" + "x" * 2000])  # fmt: skip
def test_addresses_that_are_none(world: World, url: str) -> None:
    with pytest.raises(InputError, match="needs an address"):
        _hook(world, "*", url=url)


def test_a_webhook_needs_events(world: World) -> None:
    with pytest.raises(InputError, match="names of events"):
        _hook(world)


def test_workers_come_and_go(database: Database) -> None:
    database.run(workers.started, name="w1", kinds=["b", "a", "a"], host="h", process=7, now=NOW)
    database.run(workers.seen, "w1", NOW + MINUTE)
    with database.read() as tx:
        (worker,) = workers.listing(tx)
        assert (worker.name, worker.kinds, worker.seen, worker.stopped) == ("w1", ["a", "b"], NOW + MINUTE, None)
    database.run(workers.stopped, "w1", NOW + HOUR)
    database.run(workers.started, name="w1", kinds=["a"], host="h", process=8, now=NOW + 2 * HOUR)
    with database.read() as tx:
        (worker,) = workers.listing(tx)
        assert (worker.process, worker.started, worker.stopped) == (8, NOW + 2 * HOUR, None)
    database.run(workers.forget, NOW + 2 * HOUR)
    with database.read() as tx:
        assert len(workers.listing(tx)) == 1
    database.run(workers.forget, NOW + 3 * HOUR)
    with database.read() as tx:
        assert workers.listing(tx) == []
    with pytest.raises(InputError):
        database.run(workers.started, name="", kinds=[], host="h", process=1, now=NOW)


def test_the_log_is_read_backwards_and_page_by_page(world: World) -> None:
    with world.database.write() as tx:
        for i in range(5):
            audit.add(
                tx, actor="olga", action="x", subject=f"thing:{i % 2}", detail={"i": i}, now=NOW,
                challenge_id=world.challenge.id,
            )  # fmt: skip
        audit.add(tx, actor="a\nb\x00", action="y", subject="thing:0", now=NOW)
    with world.database.read() as tx:
        first = audit.listing(tx, challenge_id=world.challenge.id, most=2)
        second = audit.listing(tx, challenge_id=world.challenge.id, most=2, before=first[-1].number)
        assert [line.detail["i"] for line in first + second] == [4, 3, 2, 1]
        assert [line.action for line in audit.listing(tx, subject="thing:0")] == ["y", "x", "x", "x"]
        assert audit.listing(tx)[0].actor == "a b?"
        assert [m.name for m in teams.members(tx, world.teams[1].id)] == ["trojai-1"]
