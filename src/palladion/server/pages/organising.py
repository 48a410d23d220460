"""Organising a challenge: what is stuck or waits first, then stages, what the scores give away, and who did what."""

from collections.abc import Callable

from starlette.responses import Response

from palladion.server import models, queries
from palladion.server.api import accounts as accounts_api
from palladion.server.api import organising as organising_api
from palladion.server.api import stages as stages_api
from palladion.server.api import teams as teams_api
from palladion.server.pages.frame import Document, Form, Posted, Table, Visit, Visiting, document, done, filled, t
from palladion.server.routing import Routes
from palladion.storage import accounts, teams
from palladion.storage.errors import NotFound
from palladion.storage.texts import fold

__all__ = ["routes"]

routes = Routes("organising", pages=True)

_ORGANISE = "/challenges/{challenge}/organise"


@document(routes, _ORGANISE, "challenge:organise")
def organising_page(visit: Visiting, challenge: str) -> Document:
    """Everything that an organiser should look at."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        shown = visit.here.views(tx, visit.caller, row).organising(tx, row)
        definition = visit.here.service.definition(row)
    context = {
        "challenge": {"name": row.name, "title": row.title},
        "track_titles": {track.name: track.title for track in definition.tracks},
        "word": definition.stage_word,
    }
    return Document(visit, shown, "organise.html", lambda: _jobs(shown), f"{challenge}-stuck", context)


def _jobs(shown: models.Organising) -> Table:
    heads = ("job", "kind", "state", "submission", "worker", "due", "attempts", "losses", "reason", "created")
    return Table(
        heads,
        [
            (
                job.id,
                job.kind,
                job.state,
                job.submission,
                job.worker,
                job.due,
                job.attempts,
                job.losses,
                job.reason,
                job.created,
            )
            for job in shown.stuck
        ],
    )


# --- Stages -----------------------------------------------------------------------------------------------------------


def _at_stage(
    visit: Visit, form: Form, challenge: str, act: Callable[[str, str], models.Stage | None], said: str
) -> Response:
    """Do something with the stage that a form names, once the box that confirms it is ticked."""

    def sure() -> str:
        form.sure()
        track, stage = form.text("track", 64), form.text("stage", 64)
        act(track, stage)
        return t(said, stage=stage, track=track)

    return done(visit, _address(challenge), sure)


@routes.post(f"{_ORGANISE}/open", "stage:open")
def open_stage(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Open a stage."""
    return _at_stage(
        visit,
        form,
        challenge,
        lambda track, stage: stages_api.open_stage(challenge, track, stage, visit.here, visit.caller),
        "organise.opened",
    )


@routes.post(f"{_ORGANISE}/close", "stage:close")
def close_stage(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Close a stage."""
    return _at_stage(
        visit,
        form,
        challenge,
        lambda track, stage: stages_api.close_stage(challenge, track, stage, visit.here, visit.caller),
        "organise.closed",
    )


@routes.post(f"{_ORGANISE}/conclude", "stage:conclude")
def conclude_stage(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Begin to conclude a stage; submissions that are named run on the holdout as well."""

    def act(track: str, stage: str) -> models.Stage:
        named = form.text("submissions", 30_000).replace(",", " ").split()
        wanted = filled(models.ConcludeRequest, submissions=named)
        return stages_api.conclude_stage(challenge, track, stage, visit.here, visit.caller, wanted)

    return _at_stage(visit, form, challenge, act, "organise.concluding")


@routes.post(f"{_ORGANISE}/rescore", "evaluation:rescore")
def rescore_stage(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Score a stage again by another version of the scorer."""

    def act() -> str:
        form.sure()
        wanted = filled(models.RescoreRequest, scorer=form.text("scorer", 64) or None)
        track, stage = form.text("track", 64), form.text("stage", 64)
        found = stages_api.rescore_stage(challenge, track, stage, visit.here, visit.caller, wanted)
        return t("organise.rescoring", n=found.evaluations, scorer=found.scorer, stage=stage)

    return done(visit, _address(challenge), act)


@routes.post(f"{_ORGANISE}/switch", "scorer:switch")
def switch_stage(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let the leaderboard show another version of the scorer."""

    def act(track: str, stage: str) -> models.Stage:
        wanted = filled(models.SwitchRequest, scorer=form.text("scorer", 64))
        return stages_api.switch_stage(challenge, track, stage, wanted, visit.here, visit.caller)

    return _at_stage(visit, form, challenge, act, "organise.switched")


# --- Accounts, teams and jobs -----------------------------------------------------------------------------------------


@routes.post(f"{_ORGANISE}/accounts/approve", "account:approve")
def approve_account(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let an account be used."""

    def act() -> str:
        found = accounts_api.approve_account(form.text("account", 64), visit.here, visit.caller)
        return t("organise.account_approved", name=found.name)

    return done(visit, _address(challenge), act)


@routes.post(f"{_ORGANISE}/accounts/disable", "account:disable")
def disable_account(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let an account be used no more. It is found by its name, or by its id."""

    def act() -> str:
        form.sure()
        given = form.text("account", 100)
        found = accounts_api.disable_account(_account_id(visit, given), visit.here, visit.caller)
        return t("organise.account_disabled", name=found.name)

    return done(visit, _address(challenge), act, missing=True)


def _account_id(visit: Visit, given: str) -> str:
    """The id of an account that is called so, or that is the id."""
    with visit.here.service.database.read() as tx:
        try:
            return accounts.by_name(tx, given).id
        except NotFound:
            return given


@routes.post(f"{_ORGANISE}/teams/approve", "team:manage")
def approve_team(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let a team submit."""

    def act() -> str:
        found = teams_api.approve_team(challenge, form.text("team", 64), visit.here, visit.caller)
        return t("organise.team_approved", name=found.name)

    return done(visit, _address(challenge), act)


@routes.post(f"{_ORGANISE}/teams/refuse", "team:manage")
def refuse_team(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let a team submit no more."""

    def act() -> str:
        form.sure()
        found = teams_api.refuse_team(challenge, form.text("team", 64), visit.here, visit.caller)
        return t("organise.team_refused", name=found.name)

    return done(visit, _address(challenge), act)


@routes.post(f"{_ORGANISE}/teams/baseline", "team:manage")
def set_baseline(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Let a team be the organisers' own, for comparison, or no more."""

    def act() -> str:
        form.sure()
        wanted = models.BaselineRequest(baseline=form.text("baseline") == "yes")
        team_id = _team_id(visit, challenge, form.text("team", 100))
        found = teams_api.set_baseline(challenge, team_id, wanted, visit.here, visit.caller)
        return t("organise.baseline_set" if wanted.baseline else "organise.baseline_unset", name=found.name)

    return done(visit, _address(challenge), act, missing=True)


def _team_id(visit: Visit, challenge: str, given: str) -> str:
    """The id of a team that is called so, or that is the id."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, challenge)
        return next((team.id for team in teams.of_challenge(tx, row.id) if fold(team.name) == fold(given)), given)


@routes.post(f"{_ORGANISE}/jobs/retry", "job:retry")
def retry_job(visit: Visiting, form: Posted, challenge: str) -> Response:
    """Do a job again."""

    def act() -> str:
        organising_api.retry_job(form.text("job", 64), visit.here, visit.caller)
        return t("organise.retried")

    return done(visit, _address(challenge), act)


def _address(challenge: str) -> str:
    return f"/challenges/{challenge}/organise"
