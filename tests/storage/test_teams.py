"""Teams: invited, full, left; and that nobody gets another quota by changing teams."""

import threading
from datetime import datetime

import pytest

from palladion.errors import InputError
from palladion.storage import accounts, audit, teams
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.tables import Team
from tests.storage.conftest import DAY, NOW, SECOND, World, make_world


def _account(database: Database, name: str) -> str:
    return database.run(accounts.create, name=name, now=NOW, actor="olga").id


def _create(world: World, account: str, name: str) -> Team:
    return world.database.run(teams.create, world.challenge.id, account, name=name, now=NOW, actor="x")


def _invite(world: World, uses: int = 1) -> str:
    return world.database.run(teams.invite, world.teams[0].id, world.captains[0], now=NOW, uses=uses)


def _join(world: World, code: str, account: str, *, most: int = 3, now: datetime = NOW) -> Team:
    return world.database.run(
        teams.join,
        code,
        account,
        most_members=most,
        now=now,
        actor="x",
    )


def _members(world: World) -> list[tuple[str, bool]]:
    with world.database.read() as tx:
        return [(member.name, member.captain) for member in teams.members(tx, world.teams[0].id)]


def test_who_makes_a_team_is_in_it(world: World) -> None:
    assert _members(world) == [("trojai-0", True)]
    with world.database.read() as tx:
        found = teams.team_of(tx, world.captains[0], world.challenge.id)
        assert found is not None
        assert found.id == world.teams[0].id
        assert teams.team_of(tx, "nobody", world.challenge.id) is None
        assert [team.name for team in teams.of_challenge(tx, world.challenge.id)] == ["Team 0", "Team 1"]
        assert audit.listing(tx, subject=f"team:{found.id}")[0].action == "team.create"


@pytest.mark.parametrize("name", ["Team 0", " team  0 ", "TEAM 0", "Ｔｅａｍ 0"])
def test_names_that_look_alike_are_one(world: World, name: str) -> None:
    account = _account(world.database, "bob")
    with pytest.raises(Conflict, match="there is a team"):
        _create(world, account, name)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "a\u202eb", "x" * 81, "\ud800", "\u200b"])
def test_names_that_are_none(world: World, name: str) -> None:
    account = _account(world.database, "bob")
    with pytest.raises(InputError, match="name of a team"):
        _create(world, account, name)


def test_an_account_is_in_one_team_of_a_challenge(world: World) -> None:
    with pytest.raises(Conflict, match="in a team of this challenge already"):
        _create(world, world.captains[0], "Another")
    with pytest.raises(Conflict, match="in a team of this challenge already"):
        _join(world, _invite(world), world.captains[1])
    other = make_world(world.database, world.store, name="other")
    assert (
        world.database.run(
            teams.create, other.challenge.id, world.captains[0], name="Team 0x", now=NOW, actor="x"
        ).challenge_id
        == other.challenge.id
    )
    with pytest.raises(NotFound, match="no challenge"):
        world.database.run(teams.create, "nothing", world.captains[0], name="T", now=NOW, actor="x")


def test_a_code_lets_one_in_and_no_more(world: World) -> None:
    code = _invite(world)
    bob, carol = _account(world.database, "bob"), _account(world.database, "carol")
    assert _join(world, f" {code}\n", bob).id == world.teams[0].id
    with pytest.raises(Refused, match="not valid"):
        _join(world, code, carol)
    assert _members(world) == [("bob", False), ("trojai-0", True)]


def test_a_code_is_for_as_many_as_it_says_and_for_so_long(world: World) -> None:
    code = _invite(world, uses=2)
    bob, carol = _account(world.database, "bob"), _account(world.database, "carol")
    _join(world, code, bob, now=NOW + 7 * DAY - SECOND)
    with pytest.raises(Refused, match="not valid"):
        _join(world, code, carol, now=NOW + 7 * DAY)
    for uses in (0, 101):
        with pytest.raises(InputError):
            _invite(world, uses=uses)
    with pytest.raises(Refused, match="only members"):
        world.database.run(teams.invite, world.teams[0].id, bob[::-1], now=NOW)


@pytest.mark.parametrize("code", ["", "x", "\ud800", "\x00", "a" * 10**5])
def test_codes_that_are_none(world: World, code: str) -> None:
    with pytest.raises(Refused, match="not valid"):
        _join(world, code, _account(world.database, "bob"))


def test_a_refused_join_uses_nothing_up(world: World) -> None:
    code = _invite(world)
    bob = _account(world.database, "bob")
    with pytest.raises(Conflict, match="team is full: 1"):
        _join(world, code, bob, most=1)
    _join(world, code, bob)


def test_of_many_who_want_the_last_place_one_gets_it(world: World) -> None:
    codes = [_invite(world, uses=1) for _ in range(6)]
    people = [_account(world.database, f"p{i}") for i in range(6)]
    start = threading.Barrier(6)

    def join(i: int) -> None:
        start.wait()
        try:
            _join(world, codes[i], people[i], most=2)
        except Conflict:
            full.append(i)

    full: list[int] = []
    threads = [threading.Thread(target=join, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(full) == 5
    assert len(_members(world)) == 2


def test_a_team_can_be_left_before_it_has_submitted(world: World) -> None:
    bob = _account(world.database, "bob")
    _join(world, _invite(world), bob, now=NOW + SECOND)
    world.database.run(teams.leave, world.teams[0].id, world.captains[0], now=NOW, actor="x")
    assert _members(world) == [("bob", True)]
    with pytest.raises(NotFound):
        world.database.run(teams.leave, world.teams[0].id, world.captains[0], now=NOW, actor="x")
    world.database.run(teams.leave, world.teams[0].id, bob, now=NOW, actor="x")
    assert _members(world) == []
    assert _create(world, bob, "Another").name == "Another"


def test_who_has_submitted_does_not_get_another_quota_by_leaving(world: World) -> None:
    world.hand_in(b"1")
    with pytest.raises(Conflict, match="only an organiser"):
        world.database.run(teams.leave, world.teams[0].id, world.captains[0], now=NOW, actor="x")
    world.database.run(teams.leave, world.teams[0].id, world.captains[0], now=NOW, actor="olga", forced=True)
    assert _members(world) == []


def test_an_organiser_decides_about_a_team(world: World) -> None:
    team = world.database.run(teams.set_state, world.teams[0].id, "refused", now=NOW, actor="olga")
    assert team.state == "refused"
    with world.database.read() as tx:
        line = audit.listing(tx, challenge_id=world.challenge.id)[0]
        assert (line.actor, line.action, line.detail) == ("olga", "team.state", {"state": "refused"})
    with pytest.raises(InputError):
        world.database.run(teams.set_state, team.id, "banned", now=NOW, actor="olga")
    with pytest.raises(NotFound):
        world.database.run(teams.set_state, "nothing", "refused", now=NOW, actor="olga")
