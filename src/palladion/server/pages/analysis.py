"""The analysis of a submission: its single data points, any subset, other prevalences, factors, and the holdout.

Whether somebody may see single data points is asked of :class:`palladion.server.views.Views`, for every request; who
may not is told why and gets no figure. What was made of the points is kept for a while: those of an evaluation that has
ended never change.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from palladion.errors import InputError
from palladion.jobs.context import StageInfo
from palladion.reports.figures.attacks import RowGroup
from palladion.reports.figures.holdout import BothScores, holdout_figure
from palladion.reports.figures.points import Points
from palladion.reports.figures.rows import COLUMNS, Rows
from palladion.reports.figures.sweep import sweep_csv, sweep_image
from palladion.scoring import PrevalenceSweep
from palladion.server import models, queries
from palladion.server.api.submissions import get_submission
from palladion.server.errors import ApiError
from palladion.server.pages.analyses import (
    FIGURES,
    Analysis,
    FigureData,
    Filters,
    Kept,
    analysed,
    rows_analysed,
    rows_chosen,
    swept,
)
from palladion.server.pages.frame import Document, Table, Visit, Visiting, document, table_csv
from palladion.server.pages.row_lists import LanguageRow, out, row_list
from palladion.server.pages.words import texts
from palladion.server.routing import Routes
from palladion.storage.errors import NotFound

__all__ = ["AnalysisPage", "analysis_of_submission", "routes"]

log = logging.getLogger("palladion.server")
routes = Routes("analysis", pages=True)
t = texts()

_PATH: Final = "/challenges/{challenge}/{track}/{stage}/analysis"
_MOST_POINTS: Final = 500
"""Data points that a page lists; the CSV file has all of them."""
_SORT: Final = f"^(-?({'|'.join(COLUMNS)}))?$"
_SPLITS: Final = ("test", "holdout", "train", "validation")


class Question:
    """What an address asks for: a stage, a submission in it, and which of its data points.

    Args:
        challenge, track, stage: of the address.
        submission: id; empty: the best of whoever asks.
        split: empty: the first that has ended of test, holdout and the others.
        where: conditions.
        prevalence: a share, or empty.
        draw: which random subset of that share.
        sort: of rows of a language track: a column, with ``-`` before it from the highest.
        page: of rows of a language track, from 1.

    Raises:
        ApiError: a condition or the prevalence is none.
    """

    def __init__(
        self,
        challenge: str,
        track: str,
        stage: str,
        where: Annotated[list[str], Query(default_factory=list, max_length=100)],
        submission: Annotated[str, Query(max_length=40)] = "",
        split: Annotated[str, Query(max_length=40)] = "",
        prevalence: Annotated[str, Query(max_length=40)] = "",
        draw: Annotated[int, Query(ge=0, le=9999)] = 0,
        sort: Annotated[str, Query(pattern=_SORT)] = "",
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    ) -> None:
        self.challenge, self.track, self.stage = challenge, track, stage
        self.submission, self.split = submission, split
        self.filters = Filters.of(where, prevalence, draw)
        self.sort, self.page = sort, page

    @property
    def name(self) -> str:
        """Of files that are made of the stage."""
        return f"{self.challenge}-{self.track}-{self.stage}"

    def query(self, submission: str, **changes: Any) -> str:
        """As the address of the page has it, with some of it changed; another order begins at its first page."""
        wanted = {"sort": self.sort, "page": 1 if "sort" in changes else self.page, **changes}
        return self.filters.query(submission, self.split, **wanted)

    def found(self, visit: Visit, submission: str | None = None) -> models.Submission:
        """The submission.

        Raises:
            NotFound: whoever asks knows of none like this in the stage.
        """
        wanted = self.submission if submission is None else submission
        found = get_submission(wanted, visit.here, visit.caller)
        if (found.challenge, found.track, found.stage) != (self.challenge, self.track, self.stage):
            raise NotFound(f"there is no submission {wanted[:40]!a} in this stage")
        return found

    def board(self, visit: Visit) -> tuple[str, StageInfo, models.Leaderboard]:
        """The title of the challenge, the stage, and its leaderboard for whoever asks."""
        with visit.here.service.database.read() as tx:
            row = queries.challenge_named(tx, self.challenge)
            info = visit.here.stage(tx, row, self.track, self.stage)
            return row.title, info, visit.here.views(tx, visit.caller, row).leaderboard(tx, info, every=False)


Asked = Annotated[Question, Depends()]


class Choice(BaseModel):
    """A submission whose analysis whoever asks may look at."""

    model_config = ConfigDict(frozen=True)

    submission: models.Id
    ordinal: int
    team: str


class AnalysisPage(BaseModel):
    """The analysis of a stage."""

    model_config = ConfigDict(frozen=True)

    challenge: models.Name
    track: models.Name
    stage: models.Name
    title: str
    task: str
    choices: list[Choice] = Field(description="Submissions that can be chosen: the best of each team.")
    analysis: Analysis | None = Field(description="Of the submission that was chosen.")
    holdout: FigureData | None = Field(description="Test against holdout, when the stage is concluded.")


@document(routes, _PATH, "leaderboard:read")
def analysis_page(visit: Visiting, asked: Asked) -> Document:
    """What the single data points of a submission show, where whoever asks may see them."""
    title, info, board = asked.board(visit)
    choices = _choices(board)
    chosen = asked.submission or (choices[0].submission if choices else "")
    analysis = None
    if chosen:
        found = asked.found(visit, chosen)
        analysis = analysis_of_submission(
            visit, found, filters=asked.filters, split=asked.split, rows=(asked.sort, asked.page)
        )
    data = AnalysisPage(
        challenge=asked.challenge,
        track=asked.track,
        stage=asked.stage,
        title=board.title,
        task=info.track.task,
        choices=choices,
        analysis=analysis,
        holdout=_holdout(info, board),
    )
    board_address = f"/challenges/{asked.challenge}/{asked.track}/{asked.stage}"
    return Document(
        visit,
        data,
        "analysis.html",
        lambda: _table(data) if info.track.task == "detection" else _row_table(visit, asked, chosen),
        f"{asked.name}-analysis",
        {
            "challenge": {"name": asked.challenge, "title": title},
            "track_title": info.track.title,
            "board_address": board_address,
            "address": f"{board_address}/analysis",
            "asked": asked,
            "chosen": chosen,
            "query_text": asked.filters.query(chosen, asked.split) if chosen else "",
            "rows_query": asked.query(chosen) if chosen else "",
            "most_points": _MOST_POINTS,
        },
        styles_within=data.holdout is not None or (analysis is not None and analysis.drawn),
    )


@routes.get(_PATH + "/sweep.png", "submission:read")
def sweep_picture(visit: Visiting, asked: Asked) -> Response:
    """The sweep over prevalences on paper."""
    sweep, found = _sweep(visit, asked)
    title = t("analysis.of", team=found.team.name, n=found.ordinal)
    return Response(sweep_image(sweep, "png", title=title), media_type="image/png", headers=_file(asked, "sweep.png"))


@routes.get(_PATH + "/sweep.csv", "submission:read")
def sweep_table(visit: Visiting, asked: Asked) -> Response:
    """The sweep over prevalences, every subset of it, as ``palladion score sweep --csv`` writes it."""
    sweep, _ = _sweep(visit, asked)
    return Response(sweep_csv(sweep), media_type="text/csv", headers=_file(asked, "sweep.csv"))


@routes.get(_PATH + "/{figure}.csv", "leaderboard:read")
def figure_table(visit: Visiting, asked: Asked, figure: str) -> Response:
    """The data of one figure."""
    if figure == "holdout":
        _, info, board = asked.board(visit)
        made = _holdout(info, board)
        if made is None:
            raise ApiError("not_found", t("analysis.no_holdout"))
    elif figure in (*FIGURES, "attacks"):
        analysis = analysis_of_submission(
            visit, asked.found(visit), filters=asked.filters, split=asked.split, figures=(figure,)
        )
        if analysis.hidden is not None:
            raise ApiError("forbidden", analysis.hidden)
        of_it = [one for one in analysis.figures if one.name == figure]
        if not of_it:
            raise ApiError("not_found", t("analysis.no_figure"))
        made = of_it[0]
    else:
        raise ApiError("not_found", t("analysis.no_figure"))
    heads = [column.name for column in made.columns]
    table = Table(heads, [[row[head] for head in heads] for row in made.rows])
    return Response(table_csv(table), media_type="text/csv", headers=_file(asked, f"{figure}.csv"))


# --- Whose points -----------------------------------------------------------------------------------------------------


def analysis_of_submission(
    visit: Visit,
    found: models.Submission,
    *,
    filters: Filters | None = None,
    split: str = "",
    figures: Sequence[str] = FIGURES,
    rows: tuple[str, int] | None = None,
) -> Analysis:
    """The analysis of a submission, or why whoever asks may not see it.

    Args:
        visit: who asks.
        found: the submission, which they may know of.
        filters: which data points; None: all.
        split: of these; empty: the first that has ended of test, holdout and the others.
        figures: that are wanted, of :data:`~palladion.server.pages.analyses.FIGURES`.
        rows: of a language track, the order and the page of the rows that are wanted; None: none.

    Raises:
        ApiError: the filters leave no data point.
        NotFound: there is no such split.
    """
    filters = filters or Filters()
    evaluation = _evaluation(found, split)
    head: dict[str, Any] = {
        "submission": found.id,
        "ordinal": found.ordinal,
        "team": found.team,
        "split": evaluation.split,
    }

    if found.kind == "outputs":
        return _analysis_of_rows(visit, found, evaluation, filters or Filters(), head, rows)

    def make() -> dict[str, Any]:
        points = _points(visit, found, evaluation)
        if isinstance(points, str):
            raise _UnseenError(points)
        return analysed(points, filters, figures)

    try:
        # Whether they may be seen is said by Views, for this very request: what was made for one who may see it is not
        # shown to one who may not.
        kept = _kept(visit.request) if evaluation.points_shown else Kept(0)
        return Analysis(**head, **kept.get((evaluation.id, filters, tuple(figures)), make))
    except _UnseenError as error:
        return Analysis(**head, hidden=str(error))


def _analysis_of_rows(
    visit: Visit,
    found: models.Submission,
    evaluation: models.Evaluation,
    filters: Filters,
    head: dict[str, Any],
    wanted: tuple[str, int] | None,
) -> Analysis:
    """The analysis of a submission to a language track."""
    # Whether they may be seen is said by Views, each time: what is kept below is reached only past it.
    seen = _rows(visit, found, evaluation)
    if isinstance(seen, str):
        return Analysis(**head, hidden=seen)
    groups, rows = seen
    chosen = None if rows is None else rows_chosen(rows, filters)
    key = (evaluation.id, filters, "rows")
    made = dict(_kept(visit.request).get(key, lambda: rows_analysed(chosen, groups, filters)))
    tasks = made.pop("tasks", [])
    listed = None if chosen is None or wanted is None else row_list(chosen, tasks, *wanted)
    return Analysis(**head, **made, rows=listed)


class _UnseenError(Exception):
    """Why there are no data points to be seen."""


def _evaluation(found: models.Submission, split: str) -> models.Evaluation:
    """The evaluation by the version of the scorer that the leaderboard shows.

    Raises:
        NotFound: there is none that has ended.
    """
    ended = {e.split: e for e in found.evaluations if e.current and e.state == "done"}
    if split and split not in ended:
        raise NotFound(f"there is no evaluation of this submission on the split {split[:40]!a} that has ended")
    wanted = [split] if split else [name for name in _SPLITS if name in ended]
    if not wanted:
        raise NotFound("no evaluation of this submission has ended")
    return ended[wanted[0]]


def _points(visit: Visit, found: models.Submission, evaluation: models.Evaluation) -> Points | str:
    """The data points of an evaluation; or why whoever asks may not see them, in a sentence."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, found.challenge)
        try:
            table = visit.here.views(tx, visit.caller, row).point_table(tx, evaluation.id)
        except InputError as error:
            # Where the data lies is for the log; the rest of the page is there all the same.
            log.warning("submission %s: no analysis: %s", found.id, error)
            return t("analysis.unreadable")
    if isinstance(table, str):
        return table
    return Points.of(
        names=table.names,
        poisoned=table.poisoned,
        probability=table.probability,
        missing=table.missing,
        errors=table.errors,
        seconds=table.seconds,
        columns=table.factors,
    )


def _rows(
    visit: Visit, found: models.Submission, evaluation: models.Evaluation
) -> tuple[list[RowGroup], Rows | None] | str:
    """The rows of a language track; or why whoever asks may not see them, in a sentence."""
    with visit.here.service.database.read() as tx:
        row = queries.challenge_named(tx, found.challenge)
        return visit.here.views(tx, visit.caller, row).language_rows(tx, evaluation.id)


def _sweep(visit: Visit, asked: Question) -> tuple[PrevalenceSweep, models.Submission]:
    """The sweep over prevalences of the data points that the conditions leave.

    Raises:
        ApiError: whoever asks may not see them, or they cannot be swept.
        NotFound: there is no such submission.
    """
    found = asked.found(visit)
    points = _points(visit, found, _evaluation(found, asked.split))
    if isinstance(points, str):
        raise ApiError("forbidden", points)
    sweep = swept(asked.filters.without_prevalence().of_points(points))
    if sweep is None:
        raise ApiError("invalid", t("analysis.no_sweep"))
    return sweep, found


def _kept(request: Request) -> Kept:
    """What this app has made lately; two apps may live in one process."""
    state = request.app.state
    found: Kept | None = getattr(state, "analyses", None)
    if found is None:
        found = state.analyses = Kept()
    return found


# --- The leaderboard's part -------------------------------------------------------------------------------------------


def _choices(board: models.Leaderboard) -> list[Choice]:
    """The submissions that whoever asks is told of."""
    return [
        Choice(submission=row.submission, ordinal=row.ordinal, team=row.team.name)
        for row in board.rows
        if row.submission is not None
    ]


def _holdout(info: StageInfo, board: models.Leaderboard) -> FigureData | None:
    """Test against holdout, of what the leaderboard tells whoever asks; None before there is any of it."""
    metric = info.track.metric
    both = []
    for row in board.rows:
        test, held = row.scores.get(metric.name), (row.holdout or {}).get(metric.name)
        if test is not None and held is not None:
            both.append(BothScores(row.team.name, test.value, held.value, _interval(test), _interval(held)))
    if not both:
        return None
    figure = holdout_figure(
        both,
        metric=metric.title,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        goal=None if board.goal is None else board.goal.value,
    )
    return FigureData.of(figure)


def _interval(value: models.Value) -> tuple[float, float] | None:
    return None if value.low is None or value.high is None else (value.low, value.high)


# --- As files ---------------------------------------------------------------------------------------------------------


def _table(data: AnalysisPage) -> Table:
    """One row a data point, with its factors."""
    points = [] if data.analysis is None else data.analysis.points
    factors = [] if data.analysis is None else [f.name for f in data.analysis.factors if f.name != "poisoned"]
    return Table(
        ("data_point", "poisoned", "probability", "missing", "error", "seconds", *factors),
        [
            (p.name, p.poisoned, p.probability, p.missing, p.error, p.seconds, *(p.factors.get(f) for f in factors))
            for p in points
        ],
    )


def _row_table(visit: Visit, asked: Question, chosen: str) -> Table:
    """One row a row of a language track: all that were chosen, and not one page of them."""
    rows: list[LanguageRow] = []
    if chosen:
        found = asked.found(visit, chosen)
        seen = _rows(visit, found, _evaluation(found, asked.split))
        if not isinstance(seen, str) and seen[1] is not None:
            rows = out(rows_chosen(seen[1], asked.filters).table(asked.sort))
    heads = ("task", "kind", "row", "attack", "utility", "success")
    return Table(heads, [(r.task, r.kind, r.row, r.attack, r.utility, r.success) for r in rows])


def _file(asked: Question, name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{asked.name}-{name}"', "Vary": "Cookie"}
