"""Who may ask for what: one table of actions and roles. What is not in it is denied.

The table says whether somebody may ask at all. Whose things they are is for :mod:`palladion.challenge.visibility` and
for the rules of the noun: a participant may read submissions, and finds only those that are the team's own.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["ACTIONS", "SCOPES", "Permission", "Role", "Scope", "allowed", "denial"]


class Role(StrEnum):
    """What somebody is to a challenge."""

    ORGANISER = "organiser"
    PARTICIPANT = "participant"
    OBSERVER = "observer"
    ANONYMOUS = "anonymous"


class Scope(StrEnum):
    """What a token may be used for. Scopes do not contain each other."""

    READ = "read"
    SUBMIT = "submit"
    ORGANISE = "organise"


SCOPES: Final = tuple(Scope)


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may do something.

    Attributes:
        roles: who may.
        scope: that a token needs for it; None: a token will not do, whatever its scopes: it takes a password.
    """

    roles: frozenset[Role]
    scope: Scope | None


_ORGANISERS: Final = frozenset({Role.ORGANISER})
_TAKING_PART: Final = frozenset({Role.ORGANISER, Role.PARTICIPANT})
_PARTICIPANTS: Final = frozenset({Role.PARTICIPANT})
_ACCOUNTS: Final = frozenset({Role.ORGANISER, Role.PARTICIPANT, Role.OBSERVER})
_EVERYBODY: Final = frozenset(Role)

_TABLE: Final[dict[tuple[frozenset[Role], Scope | None], str]] = {
    (_EVERYBODY, Scope.READ): "challenge:list challenge:read stage:list stage:read leaderboard:read team:list "
    "health:read documentation:read account:create session:create",
    (_ACCOUNTS, Scope.READ): "account:me session:end token:list token:revoke",
    # A token cannot make tokens, nor lock its owner out.
    (_ACCOUNTS, None): "token:create account:password",
    (_TAKING_PART, Scope.READ): "team:read data:list data:read quota:read submission:list submission:read "
    "submission:download evaluation:read outcome:read log:read",
    (_PARTICIPANTS, Scope.SUBMIT): "team:create team:join team:leave team:invite submission:create",
    (_TAKING_PART, Scope.SUBMIT): "upload:create upload:read upload:write submission:cancel",
    (_ORGANISERS, Scope.ORGANISE): "challenge:install challenge:update challenge:organise "
    "stage:check stage:open stage:close stage:conclude "
    "account:list account:read account:approve account:disable account:role "
    "token:revoke-any team:manage "
    "submission:nominate submission:retry submission:reproduce evaluation:rescore scorer:switch "
    "job:list job:retry worker:list worker:release metrics:read "
    "webhook:create webhook:list webhook:delete webhook:test delivery:list delivery:retry "
    "audit:read export:read import:write",
}

ACTIONS: Final = {
    action: Permission(roles, scope) for (roles, scope), actions in _TABLE.items() for action in actions.split()
}
"""Every action there is, with who may do it."""


def denial(action: str, role: Role, scopes: Collection[str] | None = None) -> str | None:
    """Why something may not be done, in words for whoever asked; None where it may.

    Args:
        action: such as ``submission:create``.
        role: of who asks.
        scopes: of the token that is used; None where no token is: a session after a login with password, or nobody.
    """
    permission = ACTIONS.get(action)
    if permission is None:
        return f"there is no action {action[:80]!a}"
    if role not in permission.roles:
        if role is Role.ANONYMOUS:
            return f"{action} needs an account; log in first"
        may = " and ".join(f"{known}s" for known in Role if known in permission.roles and known is not Role.ANONYMOUS)
        return f"{action} is for {may}; you are {'a' if role is Role.PARTICIPANT else 'an'} {role}"
    if scopes is None or role is Role.ANONYMOUS:
        return None
    if permission.scope is None:
        return f"{action} needs a login with password; a token will not do"
    if permission.scope not in scopes:
        return f"{action} needs a token with the scope {permission.scope}"
    return None


def allowed(action: str, role: Role, scopes: Collection[str] | None = None) -> bool:
    """Whether something may be done. Arguments as :func:`denial`."""
    return denial(action, role, scopes) is None
