"""My team: what it may still submit and when, its members, and what has become of its submissions."""

from starlette.responses import Response

from palladion.challenge.permissions import Role
from palladion.server import models, queries
from palladion.server.api import teams as teams_api
from palladion.server.pages.browsers import Notice
from palladion.server.pages.frame import Document, Posted, Table, Visiting, document, done, filled, t
from palladion.server.routing import Routes

__all__ = ["routes"]

routes = Routes("team", pages=True)

_TEAM = "/challenges/{challenge}/team"


@document(routes, _TEAM, "team:read")
def team_page(visit: Visiting, challenge: str) -> Document:
    """The team of whoever looks, or how to get into one."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        shown = visit.here.views(tx, visit.caller, row).team_page(tx, row, visit.caller.known.id)
        titles = {track.name: track.title for track in visit.here.service.definition(row).tracks}
        most = visit.here.service.definition(row).teams.most_members
    context = {
        "challenge": {"name": row.name, "title": row.title},
        "track_titles": titles,
        "most_members": most,
        "takes_part": visit.caller.role is Role.PARTICIPANT,
    }
    return Document(visit, shown, "team.html", lambda: _submissions(shown), f"{challenge}-team", context)


def _submissions(shown: models.TeamPage) -> Table:
    heads = ["submission", "track", "stage", "ordinal", "filename", "state", "created", "finished", "reason"]
    metrics = list(dict.fromkeys(name for one in shown.submissions for name in one.scores or {}))
    rows = [
        [
            one.id,
            one.track,
            one.stage,
            one.ordinal,
            one.filename,
            one.state,
            one.created,
            one.finished,
            one.reason,
            *(_value(one, name) for name in metrics),
        ]
        for one in shown.submissions
    ]
    return Table([*heads, *metrics], rows)


def _value(submission: models.Submission, metric: str) -> float | None:
    value = (submission.scores or {}).get(metric)
    return None if value is None else value.value


@routes.post(f"{_TEAM}/make", "team:create")
def make(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Make a team."""

    def act() -> str:
        wanted = filled(models.TeamRequest, name=form.text("name", 200))
        team = teams_api.create_team(challenge, wanted, visit.here, visit.caller)
        return t("team.made" if team.state == "approved" else "team.made_waits", name=team.name)

    return done(visit, _address(challenge), act)


@routes.post(f"{_TEAM}/join", "team:join")
def join(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Join the team that a code is for."""

    def act() -> str:
        wanted = filled(models.JoinRequest, code=form.text("code", 100))
        return t("team.joined", name=teams_api.join(challenge, wanted, visit.here, visit.caller).name)

    return done(visit, _address(challenge), act, missing=True)


@routes.post(f"{_TEAM}/leave", "team:leave")
def leave(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Leave the team."""

    def act() -> str:
        form.sure()
        teams_api.leave(challenge, visit.here, visit.caller)
        return t("team.left")

    return done(visit, _address(challenge), act)


@routes.post(f"{_TEAM}/invite", "team:invite")
def invite(visit: Visiting, form: Posted, challenge: str) -> Response:
    """A code that lets others join; it is shown once."""

    def act() -> Notice:
        wanted = filled(models.InvitationRequest, uses=form.number("uses"), days=form.number("days"))
        made = teams_api.invite(challenge, wanted, visit.here, visit.caller)
        return Notice(t("team.invitation", n=made.uses, days=wanted.days), secret=made.code)

    return done(visit, _address(challenge), act)


def _address(challenge: str) -> str:
    return f"/challenges/{challenge}/team"
