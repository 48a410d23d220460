"""What is made of single data points for pages: which of them are looked at, their scores, and their figures.

Nothing here decides who may see it, and nothing is read from a database; see :mod:`palladion.server.pages.analysis`.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from palladion.challenge import Metric, metric_of
from palladion.errors import InputError
from palladion.reports.figures.attacks import RowGroup, attacks_figure
from palladion.reports.figures.calibration import reliability_figure
from palladion.reports.figures.confidence import cross_entropy_figure, mistakes_figure
from palladion.reports.figures.factors import analysis_of, effects_figure, factors_figure, interactions_figure
from palladion.reports.figures.figure import Cell, Column, Figure
from palladion.reports.figures.points import Points, parse_where
from palladion.reports.figures.roc import roc_figure
from palladion.reports.figures.rows import Rows
from palladion.reports.figures.sweep import sweep_figure
from palladion.scoring import DetectionScores, PrevalenceSweep, prevalence_sweep
from palladion.server import models
from palladion.server.errors import ApiError, rate_limited
from palladion.server.pages.row_lists import RowList, groups_left, metrics_of, task_scores
from palladion.server.pages.row_lists import value as percent_value
from palladion.server.pages.words import texts

__all__ = ["FIGURES", "Analysis", "FigureData", "Filters", "Kept", "analysed", "rows_analysed", "rows_chosen", "swept"]

t = texts()

FIGURES: Final = ("sweep", "reliability", "roc", "cross-entropy", "mistakes", "factors", "effects", "interactions")
"""Every figure of data points, in the order in which a page shows them."""
_MOST_KEPT: Final = 64
_AT_ONCE: Final = 2
_PATIENCE: Final = 20.0
_MOST_CONDITIONS: Final = 30
_METRICS: Final = ("cross_entropy", "roc_auc", "brier", "accuracy", "expected_calibration_error")


# --- What is shown ----------------------------------------------------------------------------------------------------


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class FigureColumn(_Out):
    """A column of a figure's table."""

    name: str
    title: str
    kind: Literal["text", "count", "number"]
    digits: int


class FigureData(_Out):
    """A figure: what plotly draws, and the same as a table."""

    name: str
    title: str
    notes: list[str]
    drawing: dict[str, Any] | None
    columns: list[FigureColumn]
    rows: list[dict[str, Cell]]

    @classmethod
    def of(cls, figure: Figure) -> "FigureData":
        """From a figure of the reports."""
        columns = [FigureColumn(name=c.name, title=c.title, kind=c.kind, digits=c.digits) for c in figure.columns]
        return cls(
            name=figure.name,
            title=figure.title,
            notes=list(figure.notes),
            drawing=figure.drawing,
            columns=columns,
            rows=[dict(row) for row in figure.rows],
        )

    def cells(self, row: dict[str, Cell]) -> list[tuple[FigureColumn, str]]:
        """A row as a page shows it."""
        return [(c, Column(c.name, c.title, c.kind, c.digits).text(row[c.name])) for c in self.columns]


class Score(_Out):
    """One metric of the data points that were chosen."""

    metric: str
    title: str
    unit: str
    higher_is_better: bool
    value: models.Value | None


class FactorLevels(_Out):
    """What can be chosen of a factor."""

    name: str
    levels: list[str]
    same: list[str] = Field(default=[], description="Columns that part the data points in the same way.")


class Analysis(_Out):
    """What the single data points of an evaluation show, where whoever asks may see them."""

    submission: models.Id
    ordinal: int
    team: models.TeamName
    split: str
    hidden: str | None = Field(default=None, description="Why there is nothing to be seen.")
    where: list[str] = Field(default=[], description="Conditions that were asked for: factor:level.")
    prevalence: int | None = Field(default=None, description="Share of poisoned data points asked for, percent.")
    draw: int = Field(default=0, description="Which random subset of that share.")
    n: int = 0
    poisoned: int = 0
    missing: int = 0
    all: int = Field(default=0, description="Data points before anything was chosen.")
    target: float | None = Field(default=None, description="Half the cross-entropy of guessing, at this prevalence.")
    guess: float | None = Field(default=None, description="Cross-entropy of guessing, at this prevalence.")
    scores: list[Score] = []
    factors: list[FactorLevels] = []
    figures: list[FigureData] = []
    points: list[models.DataPoint] = Field(default=[], description="That were chosen, the costliest first.")
    rows: RowList | None = Field(default=None, description="Of a language track: a page of the rows that were chosen.")

    @property
    def drawn(self) -> bool:
        """Whether there is anything for plotly to draw."""
        return any(figure.drawing is not None for figure in self.figures)


# --- What is asked for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """Which data points are looked at.

    Attributes:
        where: conditions, sorted, such as ``trigger_type:polygon``.
        prevalence: share of poisoned ones, percent; None: as it is.
        draw: seed of the random subset.
    """

    where: tuple[str, ...] = ()
    prevalence: int | None = None
    draw: int = 0

    @classmethod
    def of(cls, where: Iterable[str], prevalence: str, draw: int) -> "Filters":
        """From a query.

        Raises:
            ApiError: a condition or the prevalence is none.
        """
        conditions = tuple(sorted({text.strip() for text in where if text.strip()}))
        if len(conditions) > _MOST_CONDITIONS:
            raise ApiError("invalid", f"there are at most {_MOST_CONDITIONS} conditions")
        try:
            parse_where(conditions)
        except InputError as error:
            raise ApiError("invalid", str(error)) from None
        return cls(conditions, _percent(prevalence), draw)

    def of_points(self, points: Points) -> Points:
        """The data points that are left.

        Raises:
            ApiError: there are none, or what is asked for is not there.
        """
        try:
            found = points.where(parse_where(self.where))
            return found if self.prevalence is None else found.at_prevalence(self.prevalence, seed=self.draw)
        except InputError as error:
            raise ApiError("invalid", str(error)) from None

    def without_prevalence(self) -> "Filters":
        """The conditions alone."""
        return Filters(self.where)

    def query(self, submission: str, split: str = "", *, draw: int | None = None, sort: str = "", page: int = 1) -> str:
        """As the address of a page has it; ``draw``: with another random subset."""
        values = [("submission", submission), *(("where", text) for text in self.where)]
        values += [("split", split)] if split else []
        values += [] if self.prevalence is None else [("prevalence", self.share)]
        wanted = self.draw if draw is None else draw
        values += [("draw", str(wanted))] if wanted else []
        values += [("sort", sort)] if sort else []
        values += [("page", str(page))] if page > 1 else []
        return f"?{urlencode(values)}"

    @property
    def share(self) -> str:
        """The prevalence as it was written; empty where there is none."""
        return "" if self.prevalence is None else f"{self.prevalence / 100:g}"


def _percent(text: str) -> int | None:
    """``0.2`` is 20. Whole percentages alone, which are those of the sweep."""
    text = text.strip()
    if not text:
        return None
    try:
        share = float(text) if len(text) <= 20 else float("nan")
    except ValueError:
        share = float("nan")
    percent = round(100 * share) if 0 < share < 1 else 0
    if not 1 <= percent <= 99 or abs(100 * share - percent) > 1e-6:
        raise ApiError("invalid", "the prevalence is a share from 0.01 to 0.99 in whole percent, such as 0.2")
    return percent


# --- What is made of it -----------------------------------------------------------------------------------------------


class Kept:
    """What was made lately, and a few turns to make more: it takes a processor for a second.

    Args:
        most: that are kept.
        at_once: that are made at a time.
        patience: seconds to wait for a turn.
    """

    def __init__(self, most: int = _MOST_KEPT, at_once: int = _AT_ONCE, patience: float = _PATIENCE) -> None:
        self._most, self._patience = most, patience
        self._turns = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def get(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """What is known by this key; made where it is not.

        Raises:
            ApiError: too many are being made.
        """
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        with self._turn():
            with self._lock:
                if key in self._found:
                    return self._found[key]
            made = make()
        with self._lock:
            self._found[key] = made
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return made

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._patience):
            raise rate_limited("many analyses are being made at this moment", 5)
        try:
            yield
        finally:
            self._turns.release()


def figures_of(points: Points, chosen: Points, wanted: Sequence[str]) -> list[Figure]:
    """The figures that are wanted, in their order.

    Args:
        points: that the conditions leave; of these is the sweep.
        chosen: of the wanted prevalence among them; the same where none is wanted.
        wanted: names.
    """
    found = functools.cache(lambda: analysis_of(chosen))
    makers: dict[str, Callable[[], Figure]] = {
        "sweep": lambda: _sweep(points),
        "reliability": lambda: reliability_figure(chosen),
        "roc": lambda: roc_figure(chosen),
        "cross-entropy": lambda: cross_entropy_figure(chosen),
        "mistakes": lambda: mistakes_figure(chosen),
        "factors": lambda: factors_figure(found(), chosen.factors),
        "effects": lambda: effects_figure(found()),
        "interactions": lambda: interactions_figure(found()),
    }
    return [makers[name]() for name in wanted]


def _sweep(points: Points) -> Figure:
    found = swept(points)
    if found is None:
        notes = (t("analysis.no_sweep"),)
        return Figure("sweep", "Other shares of poisoned models", notes, None, (), ())
    return sweep_figure(found)


def swept(points: Points) -> PrevalenceSweep | None:
    """The sweep over prevalences, as ``palladion score sweep`` makes it; None where a class is absent."""
    return prevalence_sweep(points.probability, points.poisoned) if points.both_classes else None


def _scores(found: DetectionScores) -> list[Score]:
    intervals = {
        "cross_entropy": found.cross_entropy_interval,
        "roc_auc": found.roc_auc_interval,
        "brier": found.brier_interval,
    }
    scores = []
    for name in _METRICS:
        metric, value, interval = metric_of("detection", name), getattr(found, name), intervals.get(name)
        low, high = (None, None) if interval is None else interval
        told = None if value is None else models.Value(value=value, text=f"{value:.4f}", low=low, high=high)
        scores.append(_score(metric, told))
    return scores


def _score(metric: Metric, told: models.Value | None) -> Score:
    return Score(
        metric=metric.name,
        title=metric.title,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        value=told,
    )


def _points_out(points: Points) -> list[models.DataPoint]:
    """The data points, the costliest first."""
    entropies = points.cross_entropy
    found = []
    for i in sorted(range(len(points)), key=lambda i: (-entropies[i], points.names[i])):
        seconds = float(points.seconds[i])
        found.append(
            models.DataPoint(
                name=points.names[i],
                poisoned=bool(points.poisoned[i]),
                probability=None if points.missing[i] else float(points.probability[i]),
                missing=bool(points.missing[i]),
                error=points.errors[i],
                seconds=None if seconds != seconds else seconds,
                factors={f.name: f.levels[f.index[i]] for f in points.factors if f.index[i] >= 0},
            )
        )
    return found


def analysed(points: Points, filters: Filters, wanted: Sequence[str]) -> dict[str, Any]:
    """What an analysis holds beside whose it is.

    Raises:
        ApiError: the filters leave nothing.
    """
    within = filters.without_prevalence().of_points(points)
    chosen = filters.of_points(points)
    scores = chosen.scores()
    return {
        "where": list(filters.where),
        "prevalence": filters.prevalence,
        "draw": filters.draw,
        "n": len(chosen),
        "poisoned": int(chosen.poisoned.sum()),
        "missing": int(chosen.missing.sum()),
        "all": len(points),
        "target": scores.success_target if chosen.both_classes else None,
        "guess": scores.base_rate_cross_entropy if chosen.both_classes else None,
        "scores": _scores(scores),
        "factors": [FactorLevels(name=f.name, levels=list(f.levels), same=list(f.same)) for f in points.factors],
        "figures": [FigureData.of(figure) for figure in figures_of(within, chosen, wanted)],
        "points": _points_out(chosen),
    }


def rows_chosen(rows: Rows, filters: Filters) -> Rows:
    """The rows of a language track that the filters leave.

    Raises:
        ApiError: there are none, or what is asked for is not there.
    """
    if filters.prevalence is not None:
        raise ApiError(
            "invalid", "shares of poisoned data points are of detection; choose rows by task, kind and attack"
        )
    try:
        return rows.where(parse_where(filters.where))
    except InputError as error:
        raise ApiError("invalid", str(error)) from None


def rows_analysed(rows: Rows | None, groups: Sequence[RowGroup], filters: Filters) -> dict[str, Any]:
    """What an analysis of a language track holds beside whose it is, and beside the list of its rows.

    Args:
        rows: that the filters leave; None: nobody knows what single rows scored.
        groups: all of them, by task and attack.
        filters: which rows.

    Returns:
        Attributes of :class:`Analysis`, and under ``tasks`` the scores of each task.
    """
    left = groups_left(groups, parse_where(filters.where))
    # Where the rows are known they say themselves what was not answered.
    figures = [FigureData.of(attacks_figure(left))] if left or rows is None else []
    if rows is None:
        return {"figures": figures}
    names = metrics_of(rows)
    return {
        "where": list(filters.where),
        "n": len(rows),
        "poisoned": rows.poisoned,
        "all": rows.points.size,
        "scores": [
            _score(metric_of(rows.points.task, names[measure]), percent_value(found))
            for measure, found in rows.scores().items()
        ],
        "factors": [FactorLevels(name=factor.factor, levels=list(factor.levels)) for factor in rows.factors],
        "figures": figures,
        "tasks": task_scores(rows, rows.by_task()),
    }
