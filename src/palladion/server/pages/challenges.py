"""All challenges, and one of them: what is open, what the goal is, and how to take part."""

from fastapi import Request

from palladion.server import models, queries
from palladion.server.pages.frame import Document, Table, Visiting, document
from palladion.server.routing import Routes
from palladion.storage import challenges

__all__ = ["routes", "service_address"]

routes = Routes("challenges", pages=True)


@document(routes, "/", "challenge:list")
def index(visit: Visiting) -> Document:
    """The challenges of this service."""
    with visit.here.service.database.read() as tx:
        views = visit.here.views_of(visit.caller, None)
        found = models.Page(items=[views.challenge_summary(tx, row) for row in challenges.listing(tx)])
    heads = ("challenge", "title", "track", "track_title", "task", "current")
    return Document(
        visit,
        found,
        "index.html",
        lambda: Table(
            heads,
            [
                (one.name, one.title, track.name, track.title, track.task, track.current)
                for one in found.items
                for track in one.tracks
            ],
        ),
        "challenges",
    )


@document(routes, "/challenges/{challenge}", "challenge:read")
def challenge_page(visit: Visiting, challenge: str) -> Document:
    """One challenge: its tracks and stages on a time line, its rules, and how to take part."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        shown = visit.here.views(tx, visit.caller, row).challenge(tx, row)
        own = visit.caller.team(tx, row.id)
    return Document(
        visit,
        shown,
        "challenge.html",
        lambda: _stages(shown),
        challenge,
        {"server": service_address(visit.request), "team": own, "challenge": shown},
    )


def _stages(challenge: models.Challenge) -> Table:
    heads = (
        "track",
        "stage",
        "title",
        "state",
        "current",
        "opens",
        "closes",
        "opened",
        "closed",
        "concluded",
        "goal_metric",
        "goal",
        "goal_reached",
        "goal_reached_by",
    )
    return Table(
        heads,
        [
            (
                stage.track,
                stage.name,
                stage.title,
                stage.state,
                stage.current,
                stage.opens,
                stage.closes,
                stage.opened,
                stage.closed,
                stage.concluded,
                None if stage.goal is None else stage.goal.metric,
                None if stage.goal is None else stage.goal.value,
                None if stage.goal_reached is None else stage.goal_reached.at,
                None if stage.goal_reached is None else stage.goal_reached.team.name,
            )
            for track in challenge.tracks
            for stage in track.stages
        ],
    )


def service_address(request: Request) -> str:
    """What participants give to the command line: as it is configured, or as they came here."""
    configured: str | None = request.app.state.palladion.settings.public_url
    return configured or f"{request.url.scheme}://{request.headers.get('host', 'localhost')[:255]}"
