"""Teams: who submits together, and what they may still submit."""

from datetime import timedelta

from sqlalchemy.orm import Session

from palladion.challenge.permissions import Role
from palladion.jobs import standing
from palladion.server import admission, models, queries
from palladion.server.access import Asking, Caller
from palladion.server.errors import ApiError
from palladion.server.routing import Routes
from palladion.server.state import Here, State
from palladion.storage import stages, teams
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.tables import Challenge, Team

__all__ = ["routes"]

routes = Routes("teams")

_TEAMS = "/challenges/{challenge}/teams"
_NO_TEAM = "you are in no team of this challenge; make one, or join one"


@routes.post(
    _TEAMS, "team:create", summary="Make a team", status_code=201, response_model=models.Team, errors=("conflict",)
)
def create_team(challenge: str, wanted: models.TeamRequest, here: Here, caller: Asking) -> models.Team:
    """Make a team and be its captain. Where the challenge asks for approval, it waits for an organiser."""
    now = here.service.now()

    def create(tx: Session) -> tuple[Challenge, Team]:
        row = queries.challenge_named(tx, challenge)
        state = "approved" if admission.admitted(here.service, tx, caller.known, row) else "pending"
        team = teams.create(tx, row.id, caller.known.id, name=wanted.name, now=now, actor=caller.actor, state=state)
        return row, team

    _, team = here.service.database.run(create)
    return _shown(here, caller, team, mine=True)


@routes.get(_TEAMS, "team:list", summary="Teams", response_model=models.Page[models.Team])
def list_teams(challenge: str, here: Here, caller: Asking) -> models.Page[models.Team]:
    """One's own team, or none; for organisers and observers all teams, members for organisers alone."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        own = caller.team(tx, row.id)
        shown = here.views_of(caller, own)
        found = [] if own is None else [own]
        if shown.viewer.role in (Role.ORGANISER, Role.OBSERVER):
            found = teams.of_challenge(tx, row.id)
        return models.Page(items=[shown.team(tx, team) for team in found])


@routes.post(
    _TEAMS + "/invitations",
    "team:invite",
    summary="Invite to one's team",
    status_code=201,
    response_model=models.Invitation,
    errors=("conflict",),
)
def invite(challenge: str, wanted: models.InvitationRequest, here: Here, caller: Asking) -> models.Invitation:
    """A code that lets whoever has it join. It is told once."""
    now = here.service.now()
    lifetime = timedelta(days=wanted.days)

    def make(tx: Session) -> str:
        own = _own(tx, caller, queries.challenge_named(tx, challenge))
        return teams.invite(tx, own.id, caller.known.id, now=now, lifetime=lifetime, uses=wanted.uses)

    return models.Invitation(code=here.service.database.run(make), expires=now + lifetime, uses=wanted.uses)


@routes.post(
    _TEAMS + "/join",
    "team:join",
    summary="Join a team",
    response_model=models.Team,
    errors=("conflict", "forbidden"),
)
def join(challenge: str, wanted: models.JoinRequest, here: Here, caller: Asking) -> models.Team:
    """Join the team that a code is for."""
    now = here.service.now()

    def enter(tx: Session) -> Team:
        row = queries.challenge_named(tx, challenge)
        if not admission.admitted(here.service, tx, caller.known, row):
            raise ApiError("forbidden", "this challenge asks for approval; an organiser has to approve the account")
        most = here.service.definition(row).teams.most_members
        try:
            team = teams.join(tx, wanted.code, caller.known.id, most_members=most, now=now, actor=caller.actor)
        except Refused as error:
            raise NotFound(str(error)) from None
        if team.challenge_id != row.id:
            # Leaving the transaction by an error takes the joining back.
            raise NotFound("this invitation is for a team of another challenge")
        return team

    return _shown(here, caller, here.service.database.run(enter), mine=True)


@routes.post(_TEAMS + "/leave", "team:leave", summary="Leave one's team", status_code=204, errors=("conflict",))
def leave(challenge: str, here: Here, caller: Asking) -> None:
    """Leave the team; not after it has submitted."""
    now = here.service.now()

    def go(tx: Session) -> None:
        own = _own(tx, caller, queries.challenge_named(tx, challenge))
        teams.leave(tx, own.id, caller.known.id, now=now, actor=caller.actor)

    here.service.database.run(go)


@routes.post(_TEAMS + "/{team_id}/approve", "team:manage", summary="Approve a team", response_model=models.Team)
def approve_team(challenge: str, team_id: str, here: Here, caller: Asking) -> models.Team:
    """Let a team submit."""
    return _set_state(here, caller, challenge, team_id, "approved")


@routes.post(_TEAMS + "/{team_id}/refuse", "team:manage", summary="Refuse a team", response_model=models.Team)
def refuse_team(challenge: str, team_id: str, here: Here, caller: Asking) -> models.Team:
    """Let a team submit no more."""
    return _set_state(here, caller, challenge, team_id, "refused")


@routes.post(
    _TEAMS + "/{team_id}/baseline", "team:manage", summary="Make a team a baseline", response_model=models.Team
)
def set_baseline(
    challenge: str, team_id: str, wanted: models.BaselineRequest, here: Here, caller: Asking
) -> models.Team:
    """Let a team be the organisers' own, for comparison: leaderboards show it, and it has no rank."""

    def change(tx: Session) -> Team:
        team = queries.team_named(tx, queries.challenge_named(tx, challenge), team_id)
        changed = teams.set_baseline(tx, team.id, wanted.baseline, now=here.service.now(), actor=caller.actor)
        for stage in stages.of_challenge(tx, team.challenge_id):
            if stage.opened is not None:
                standing.request(tx, stage.id, now=here.service.now())
        return changed

    team = here.service.database.run(change)
    here.service.notify()
    return _shown(here, caller, team, mine=False)


@routes.get("/challenges/{challenge}/team", "team:read", summary="One's own team", response_model=models.TeamPage)
def get_team(challenge: str, here: Here, caller: Asking) -> models.TeamPage:
    """One's own team: members, quotas, the latest submissions, and the tokens of one's account."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        return here.views(tx, caller, row).team_page(tx, row, caller.known.id)


def _set_state(here: State, caller: Caller, challenge: str, team_id: str, state: str) -> models.Team:
    def change(tx: Session) -> Team:
        team = queries.team_named(tx, queries.challenge_named(tx, challenge), team_id)
        return teams.set_state(tx, team.id, state, now=here.service.now(), actor=caller.actor)

    return _shown(here, caller, here.service.database.run(change), mine=False)


@routes.get(
    "/challenges/{challenge}/quota",
    "quota:read",
    summary="What one's team may still submit",
    response_model=models.QuotaAnswer,
    errors=("conflict",),
)
def get_quota(challenge: str, here: Here, caller: Asking) -> models.QuotaAnswer:
    """What is used and what is left of the quotas, track by track, and when the next slot is."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        own = _own(tx, caller, row)
        tracks = here.views_of(caller, own).quotas(tx, row, own.id)
    return models.QuotaAnswer(team=models.TeamName(id=own.id, name=own.name), tracks=tracks)


def _own(tx: Session, caller: Caller, challenge: Challenge) -> Team:
    own = caller.team(tx, challenge.id)
    if own is None:
        raise Conflict(_NO_TEAM)
    return own


def _shown(here: State, caller: Caller, team: Team, *, mine: bool) -> models.Team:
    with here.service.database.read() as tx:
        return here.views_of(caller, team if mine else None).team(tx, team)
