"""Teams: who submits together, with one quota."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.storage import audit, stages
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.ids import new_id
from palladion.storage.tables import TEAM_STATES, Account, Challenge, Invitation, Membership, Submission, Team
from palladion.storage.texts import fold

__all__ = [
    "Member",
    "by_id",
    "create",
    "invite",
    "join",
    "leave",
    "members",
    "of_challenge",
    "set_baseline",
    "set_state",
    "team_of",
]

_LONGEST_NAME = 80
_MOST_USES = 100


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team.

    Attributes:
        account_id: who.
        name: of the account.
        captain: made the team, or is in it longest since whoever did has left.
        joined: when.
    """

    account_id: str
    name: str
    captain: bool
    joined: datetime


def create(
    tx: Session, challenge_id: str, account_id: str, *, name: str, now: datetime, actor: str, state: str = "approved"
) -> Team:
    """Make a team with one member, its captain.

    Args:
        tx: a write transaction.
        challenge_id: where it takes part.
        account_id: the captain.
        name: 1 to 80 characters that can be seen.
        now: the time.
        actor: who makes it.
        state: approved, or pending until an organiser approves it.

    Raises:
        InputError: the name is none.
        NotFound: there is no such challenge.
        Conflict: the name is taken, or the account is in a team of this challenge.
    """
    shown = " ".join(name.split())
    key = fold(shown)
    if not 1 <= len(shown) <= _LONGEST_NAME or not shown.isprintable() or not key:
        raise InputError(f"the name of a team is one line of 1 to {_LONGEST_NAME} characters that can be seen")
    _known(state)
    if tx.get(Challenge, challenge_id) is None:
        raise NotFound(f"there is no challenge {challenge_id[:40]!a}")
    if tx.execute(select(Team.id).where(Team.challenge_id == challenge_id, Team.key == key)).first():
        raise Conflict(f"there is a team {shown!a} already")
    _not_in_a_team(tx, account_id, challenge_id)
    team = Team(id=new_id(), challenge_id=challenge_id, name=shown, key=key, state=state, created=now)
    tx.add(team)
    tx.flush()
    _enter(tx, team, account_id, captain=True, now=now)
    _log(tx, team, "team.create", actor, now, name=shown, state=state)
    return team


def by_id(tx: Session, team_id: str) -> Team:
    """The team.

    Raises:
        NotFound: there is none.
    """
    team = tx.get(Team, team_id)
    if team is None:
        raise NotFound(f"there is no team {team_id[:40]!a}")
    return team


def of_challenge(tx: Session, challenge_id: str) -> list[Team]:
    """The teams of a challenge, by name."""
    return list(tx.execute(select(Team).where(Team.challenge_id == challenge_id).order_by(Team.key)).scalars())


def team_of(tx: Session, account_id: str, challenge_id: str) -> Team | None:
    """The team of this challenge that the account is in."""
    return tx.execute(
        select(Team)
        .join(Membership, Membership.team_id == Team.id)
        .where(Membership.account_id == account_id, Membership.challenge_id == challenge_id)
    ).scalar_one_or_none()


def members(tx: Session, team_id: str) -> list[Member]:
    """Who is in the team, in the order in which they joined."""
    rows = tx.execute(
        select(Membership, Account.name)
        .join(Account, Account.id == Membership.account_id)
        .where(Membership.team_id == team_id)
        .order_by(Membership.joined, Account.name)
    )
    return [Member(row.account_id, name, row.captain, row.joined) for row, name in rows]


def set_state(tx: Session, team_id: str, state: str, *, now: datetime, actor: str) -> Team:
    """Approve or refuse the team; refused, it submits nothing more.

    Raises:
        NotFound: there is none.
        InputError: there is no such state.
    """
    _known(state)
    team = _locked(tx, team_id)
    if team.state != state:
        team.state = state
        tx.flush()
        _log(tx, team, "team.state", actor, now, state=state)
    return team


def set_baseline(tx: Session, team_id: str, baseline: bool, *, now: datetime, actor: str) -> Team:
    """Make the team one of the organisers' own, which competes with nobody; or take that back.

    Raises:
        NotFound: there is none.
    """
    team = _locked(tx, team_id)
    if team.baseline != baseline:
        team.baseline = baseline
        tx.flush()
        stages.touch_all(tx, team.challenge_id)
        _log(tx, team, "team.baseline", actor, now, baseline="yes" if baseline else "no")
    return team


def invite(
    tx: Session,
    team_id: str,
    account_id: str,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=7),
    uses: int = 1,
) -> str:
    """A code that lets whoever has it join; it is told here and kept nowhere.

    Raises:
        NotFound: there is no such team.
        Refused: the account is not in the team.
        InputError: the lifetime is not positive, or the code is for more than 100 or for nobody.
    """
    if lifetime <= timedelta(0) or not 1 <= uses <= _MOST_USES:
        raise InputError(f"an invitation is for 1 to {_MOST_USES} people and longer than no time")
    team = by_id(tx, team_id)
    if tx.get(Membership, (team_id, account_id)) is None:
        raise Refused("only members invite to a team")
    tx.execute(delete(Invitation).where(Invitation.team_id == team_id, Invitation.expires <= now))
    code = new_id()
    tx.add(
        Invitation(
            id=new_id(),
            team_id=team.id,
            account_id=account_id,
            digest=_digest(code),
            uses_left=uses,
            created=now,
            expires=now + lifetime,
        )
    )
    tx.flush()
    return code


def join(tx: Session, code: str, account_id: str, *, most_members: int, now: datetime, actor: str) -> Team:
    """Join the team that this code is for.

    Raises:
        Refused: the code is not valid: unknown, expired or used up.
        Conflict: the account is in a team of this challenge, or the team is full.
    """
    used = tx.execute(
        update(Invitation)
        .where(Invitation.digest == _digest(code.strip()), Invitation.expires > now, Invitation.uses_left > 0)
        .values(uses_left=Invitation.uses_left - 1)
        .returning(Invitation.team_id),
        execution_options={"synchronize_session": False},
    ).scalar_one_or_none()
    if used is None:
        raise Refused("this invitation is not valid, or not any more; ask for a new one")
    # Locked before its members are counted: of two that want the last place, one gets it.
    team = _locked(tx, used)
    _not_in_a_team(tx, account_id, team.challenge_id)
    if _size(tx, team.id) >= most_members:
        raise Conflict(f"the team is full: {most_members} members at most")
    _enter(tx, team, account_id, captain=False, now=now)
    _log(tx, team, "team.join", actor, now, account=account_id)
    return team


def leave(tx: Session, team_id: str, account_id: str, *, now: datetime, actor: str, forced: bool = False) -> None:
    """Take an account out of its team.

    Who has submitted with a team stays in it: with a new team there would be a new quota. An organiser can do it all
    the same (``forced``).

    Raises:
        NotFound: the account is not in the team.
        Conflict: the team has submitted, and it is not forced.
    """
    team = _locked(tx, team_id)
    membership = tx.get(Membership, (team_id, account_id))
    if membership is None:
        raise NotFound("the account is not in this team")
    if not forced and tx.execute(select(Submission.id).where(Submission.team_id == team_id).limit(1)).first():
        raise Conflict("the team has submitted; only an organiser can take somebody out of it now")
    captain = membership.captain
    tx.delete(membership)
    tx.flush()
    if captain:
        heir = tx.execute(
            select(Membership)
            .where(Membership.team_id == team_id)
            .order_by(Membership.joined, Membership.account_id)
            .limit(1)
        ).scalar_one_or_none()
        if heir is not None:
            heir.captain = True
            tx.flush()
    _log(tx, team, "team.leave", actor, now, account=account_id)


def _enter(tx: Session, team: Team, account_id: str, *, captain: bool, now: datetime) -> None:
    tx.add(
        Membership(team_id=team.id, account_id=account_id, challenge_id=team.challenge_id, captain=captain, joined=now)
    )
    tx.flush()


def _not_in_a_team(tx: Session, account_id: str, challenge_id: str) -> None:
    if team_of(tx, account_id, challenge_id) is not None:
        raise Conflict("the account is in a team of this challenge already")


def _locked(tx: Session, team_id: str) -> Team:
    team = tx.execute(
        select(Team).where(Team.id == team_id).with_for_update(), execution_options={"populate_existing": True}
    ).scalar_one_or_none()
    if team is None:
        raise NotFound(f"there is no team {team_id[:40]!a}")
    return team


def _size(tx: Session, team_id: str) -> int:
    return tx.execute(select(func.count()).where(Membership.team_id == team_id)).scalar_one()


def _known(state: str) -> None:
    if state not in TEAM_STATES:
        raise InputError(f"{state[:40]!a} is no state of a team; known: {', '.join(TEAM_STATES)}")


def _digest(code: str) -> str:
    # The code has 100 random bits: nobody finds it from a plain hash, and a plain hash can be looked up.
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _log(tx: Session, team: Team, action: str, actor: str, now: datetime, **detail: str) -> None:
    audit.add(
        tx,
        actor=actor,
        action=action,
        subject=f"team:{team.id}",
        detail=detail,
        challenge_id=team.challenge_id,
        now=now,
    )
