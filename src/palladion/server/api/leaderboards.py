"""Leaderboards, as JSON and as CSV."""

from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.responses import Response

from palladion.server import models, queries
from palladion.server.access import Asking
from palladion.server.errors import ApiError
from palladion.server.routing import Routes
from palladion.server.state import Here

__all__ = ["accepted", "routes"]

routes = Routes("leaderboards")

_CSV = "text/csv"


@routes.get(
    "/challenges/{challenge}/stages/{track}/{stage}/leaderboard",
    "leaderboard:read",
    summary="The leaderboard of a stage",
    response_model=models.Leaderboard,
    responses={200: {"content": {_CSV: {"schema": {"type": "string"}}}, "description": "JSON or CSV."}},
    errors=("not_acceptable",),
)
def leaderboard(
    request: Request,
    challenge: str,
    track: str,
    stage: str,
    here: Here,
    caller: Asking,
    every: Annotated[bool, Query(alias="all", description="Every submission, not the best of each team.")] = False,
    split: Annotated[
        Literal["test", "holdout"] | None,
        Query(description="That the values are of. By default test, ranked by holdout once that is published."),
    ] = None,
    format_: Annotated[
        Literal["json", "csv"] | None, Query(alias="format", description="By default what the header Accept asks for.")
    ] = None,
) -> Response:
    """Submissions in their order, with scores as far as whoever asks may see them; what has no score stands last."""
    wanted = format_ or accepted(request, "a leaderboard")
    with here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        info = here.stage(tx, row, track, stage)
        views = here.views(tx, caller, row)
        made = views.board(tx, info, every=every, split=split)
    team = views.viewer.team
    content = made.csv(team) if wanted == "csv" else made.json(team)
    if wanted == "csv":
        name = f"{challenge}-{track}-{stage}.csv"
        disposition = f'attachment; filename="{name}"'
        return Response(content, media_type=_CSV, headers={"Content-Disposition": disposition})
    return Response(content, media_type="application/json")


def accepted(request: Request, what: str) -> str:
    """Which of JSON and CSV the header Accept of a request asks for.

    Raises:
        ApiError: neither.
    """
    given = ",".join(request.headers.getlist("accept")) or "*/*"
    kinds = [part.partition(";")[0].strip().lower() for part in given.split(",")]
    if any(kind in ("application/json", "application/*", "*/*", "") for kind in kinds):
        # Both: whoever names CSV and takes anything else as well wants CSV.
        return "csv" if _CSV in kinds and "application/json" not in kinds else "json"
    if _CSV in kinds or "text/*" in kinds:
        return "csv"
    raise ApiError("not_acceptable", f"{what} is application/json or {_CSV}")
