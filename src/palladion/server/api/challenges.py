"""Challenges, as they were installed."""

from starlette.responses import Response

from palladion.server import models, queries
from palladion.server.access import Asking
from palladion.server.routing import Routes
from palladion.server.state import Here
from palladion.storage import challenges

__all__ = ["routes"]

routes = Routes("challenges")


@routes.get(
    "/challenges", "challenge:list", summary="All challenges", response_model=models.Page[models.ChallengeSummary]
)
def list_challenges(here: Here, caller: Asking) -> models.Page[models.ChallengeSummary]:
    """The challenges of this service, by name."""
    with here.service.database.read() as tx:
        shown = [here.views_of(caller, None).challenge_summary(tx, row) for row in challenges.listing(tx)]
    return models.Page(items=shown)


@routes.get("/challenges/{challenge}", "challenge:read", summary="A challenge", response_model=models.Challenge)
def get_challenge(challenge: str, here: Here, caller: Asking) -> models.Challenge:
    """What a challenge is: its tracks, quotas, feedback and stages."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        return here.views(tx, caller, row).challenge(tx, row)


@routes.get(
    "/challenges/{challenge}/definition",
    "export:read",
    summary="The file of a challenge",
    response_class=Response,
    responses={200: {"content": {"application/yaml": {"schema": {"type": "object"}}}, "description": "As installed."}},
)
def get_definition(challenge: str, here: Here) -> Response:
    """challenge.yaml as it was installed, with its comments; for organisers."""
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
    return Response(row.definition, media_type="application/yaml")
