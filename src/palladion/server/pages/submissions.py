"""The page of a submission: what has become of it, what it scored, and why, where it failed."""

from typing import Final

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from palladion.challenge.feedback import policy_words
from palladion.server import models, queries
from palladion.server.api import organising
from palladion.server.api import submissions as api
from palladion.server.pages.analyses import Analysis
from palladion.server.pages.analysis import analysis_of_submission
from palladion.server.pages.events import progress_words
from palladion.server.pages.frame import Document, Posted, Table, Visiting, document, done
from palladion.server.pages.words import texts
from palladion.server.routing import Routes

__all__ = ["SubmissionPage", "routes"]

routes = Routes("submissions", pages=True)
t = texts()

_FIGURES: Final = ("reliability", "roc", "cross-entropy", "mistakes", "factors")
"""What the page of a submission shows of the analysis; the rest stands on the page of the analysis."""


class SubmissionPage(BaseModel):
    """A submission, and what its single data points show, where whoever asks may see them.

    Attributes:
        submission: what has become of it.
        analysis: of the evaluation that counts; None where it has not ended.
    """

    model_config = ConfigDict(frozen=True)

    submission: models.Submission
    analysis: Analysis | None


@document(routes, "/submissions/{submission_id}", "submission:read")
def submission_page(submission_id: str, visit: Visiting) -> Document:
    """What has become of a submission."""
    found = api.get_submission(submission_id, visit.here, visit.caller)
    with visit.here.service.database.read() as tx:
        challenge = queries.challenge_named(tx, found.challenge)
        track = visit.here.stage(tx, challenge, found.track, found.stage).track
    analysis = None
    ended = any(one.current and one.state == "done" for one in found.evaluations)
    if ended and found.state == "scored":
        analysis = analysis_of_submission(visit, found, figures=_FIGURES)
    board = f"/challenges/{found.challenge}/{found.track}/{found.stage}"
    return Document(
        visit,
        SubmissionPage(submission=found, analysis=analysis),
        "submission.html",
        lambda: _table(found),
        f"submission-{found.ordinal}",
        {
            "challenge": {"name": challenge.name, "title": challenge.title},
            "track_title": track.title,
            "stage_title": track.stage(found.stage).title,
            "metrics": track.all_metrics,
            "policy": policy_words(track.feedback),
            "board_address": board,
            "analysis_address": f"{board}/analysis?submission={found.id}",
            "failure_words": _failure_words,
            "words": progress_words(found) if found.state == "pending" else "",
            "again": visit.caller.may("job:retry") and found.job is not None,
            "cancellable": visit.caller.may("submission:cancel") and found.state == "pending",
        },
        styles_within=analysis is not None and analysis.drawn,
    )


@routes.post("/submissions/{submission_id}/retry", "job:retry")
def retry(submission_id: str, visit: Visiting, form: Posted) -> Response:
    """Evaluate once more what has failed."""

    def act() -> str:
        form.sure()
        found = api.get_submission(submission_id, visit.here, visit.caller)
        if found.job is None:
            return t("submission.nothing_to_retry")
        organising.retry_job(found.job, visit.here, visit.caller)
        return t("submission.retried")

    return done(visit, f"/submissions/{submission_id}", act)


@routes.post("/submissions/{submission_id}/cancel", "submission:cancel")
def cancel(submission_id: str, visit: Visiting, form: Posted) -> Response:
    """Take a submission back."""

    def act() -> str:
        form.sure()
        api.cancel(submission_id, visit.here, visit.caller)
        return t("submission.cancelled")

    return done(visit, f"/submissions/{submission_id}", act)


def _failure_words(kind: str) -> str:
    """Why a data point has no answer, in words; the word itself where there are none for it."""
    key = f"failures.{kind}"
    return t(key) if key in t else kind


def _table(found: models.Submission) -> Table:
    """One row a score: of each evaluation, of the whole and of each task."""
    rows = [
        (evaluation.split, evaluation.scorer, evaluation.state, task, metric, *_cells(value))
        for evaluation in found.evaluations
        for task, values in [("", evaluation.scores or {}), *sorted(evaluation.tasks.items())]
        for metric, value in values.items()
    ]
    return Table(("split", "scorer", "state", "task", "metric", "value", "low", "high"), rows)


def _cells(value: models.Value | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.value, value.low, value.high)
