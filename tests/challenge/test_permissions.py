import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import ACTIONS, Role, Scope, allowed, denial
from palladion.challenge.permissions import SCOPES

# Written out once more: a change of the table has to be meant.
EVERYBODY = """account:create challenge:list challenge:read documentation:read health:read leaderboard:read
session:create stage:list stage:read team:list"""
ACCOUNTS = "account:me account:password session:end token:create token:list token:revoke"
TAKING_PART = """data:list data:read evaluation:read log:read outcome:read quota:read submission:cancel
submission:download submission:list submission:read team:read upload:create upload:read upload:write"""
PARTICIPANTS = "submission:create team:create team:invite team:join team:leave"
ORGANISERS = """account:approve account:disable account:list account:read account:role audit:read challenge:install
challenge:organise challenge:update delivery:list delivery:retry evaluation:rescore export:read import:write
job:list job:retry metrics:read scorer:switch stage:check stage:close stage:conclude stage:open submission:nominate
submission:reproduce submission:retry team:manage token:revoke-any webhook:create webhook:delete webhook:list
webhook:test worker:list worker:release"""

MAY: dict[Role, set[str]] = {
    Role.ANONYMOUS: set(EVERYBODY.split()),
    Role.OBSERVER: set(f"{EVERYBODY} {ACCOUNTS}".split()),
    Role.PARTICIPANT: set(f"{EVERYBODY} {ACCOUNTS} {TAKING_PART} {PARTICIPANTS}".split()),
    Role.ORGANISER: set(f"{EVERYBODY} {ACCOUNTS} {TAKING_PART} {ORGANISERS}".split()),
}


def test_every_action_is_listed_for_somebody() -> None:
    assert set(ACTIONS) == set().union(*MAY.values())
    for action, permission in ACTIONS.items():
        assert re.fullmatch(r"[a-z]+:[a-z]+(-[a-z]+)?", action)
        assert permission.roles


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_the_table_says_and_nothing_else(role: Role) -> None:
    assert {action for action in ACTIONS if allowed(action, role)} == MAY[role]


@given(st.text(max_size=30) | st.sampled_from(["submission:Create", "submission:create ", "submission", ":", "*", ""]))
def test_what_is_not_listed_is_denied_to_everybody(action: str) -> None:
    for role, scopes in product(Role, (None, set(SCOPES))):
        assert action in ACTIONS or not allowed(action, role, scopes)


@pytest.mark.parametrize("role", Role)
def test_scopes_take_away_and_never_give(role: Role) -> None:
    for size in range(4):
        scopes = set(SCOPES[:size])
        for action in ACTIONS:
            if allowed(action, role, scopes):
                assert allowed(action, role)
    assert {action for action in ACTIONS if allowed(action, role, ())} <= MAY[Role.ANONYMOUS]


def test_a_token_needs_the_scope_of_the_action() -> None:
    assert allowed("submission:create", Role.PARTICIPANT, {"submit"})
    assert denial("submission:create", Role.PARTICIPANT, {"read", "organise"}) == (
        "submission:create needs a token with the scope submit"
    )
    assert allowed("stage:conclude", Role.ORGANISER, [Scope.ORGANISE])
    assert not allowed("stage:conclude", Role.ORGANISER, [Scope.READ, Scope.SUBMIT])
    assert not allowed("stage:conclude", Role.PARTICIPANT, [Scope.ORGANISE])
    assert allowed("leaderboard:read", Role.OBSERVER, {"read"})
    assert not allowed("leaderboard:read", Role.OBSERVER, {"submit"})


@pytest.mark.parametrize("action", ["token:create", "account:password"])
def test_a_token_cannot_make_tokens_nor_lock_its_owner_out(action: str) -> None:
    for role in (Role.ORGANISER, Role.PARTICIPANT, Role.OBSERVER):
        assert allowed(action, role)
        assert denial(action, role, set(SCOPES)) == f"{action} needs a login with password; a token will not do"


def test_denials_say_why() -> None:
    assert denial("submission:create", Role.ANONYMOUS) == "submission:create needs an account; log in first"
    assert denial("stage:open", Role.OBSERVER) == "stage:open is for organisers; you are an observer"
    assert denial("stage:dance", Role.ORGANISER) == "there is no action 'stage:dance'"
