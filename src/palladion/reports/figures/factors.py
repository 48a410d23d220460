"""What a score depends on: results by factor, mean effects and interactions, each as figure and table."""

from collections.abc import Sequence
from typing import Any, Final

from palladion.reports.figures.figure import Cell, Column, Figure, rounded
from palladion.reports.figures.points import Points
from palladion.reports.figures.style import BLUE, GREY, MARKERS, VERMILLION, axis, error_bars, escaped, layout
from palladion.scoring.factors import Effect, Factor, FactorAnalysis, Interaction, analyse_factors
from palladion.scoring.intervals import Interval

__all__ = ["analysis_of", "effects_figure", "factors_figure", "interactions_figure"]

_MOST_DRAWN: Final = 24

_LEVELS: Final = (
    Column("factor", "factor", "text"),
    Column("level", "level", "text"),
    Column("n", "data points", "count"),
    Column("poisoned", "poisoned", "count"),
    Column("missing", "missing", "count"),
    Column("cross_entropy", "cross-entropy (nats)"),
    Column("cross_entropy_low", "95 % from"),
    Column("cross_entropy_high", "to"),
    Column("roc_auc", "ROC AUC"),
    Column("roc_auc_low", "95 % from"),
    Column("roc_auc_high", "to"),
    Column("auc_of", "AUC of", "text"),
)
_EFFECTS: Final = (
    Column("factor", "factor", "text"),
    Column("level", "level", "text"),
    Column("n", "data points", "count"),
    Column("effect", "effect on the cross-entropy (nats)"),
    Column("low", "95 % from"),
    Column("high", "to"),
)
_INTERACTIONS: Final = (
    Column("factor_1", "factor", "text"),
    Column("level_1", "level", "text"),
    Column("factor_2", "and factor", "text"),
    Column("level_2", "level", "text"),
    Column("n", "data points", "count"),
    Column("difference", "difference of differences (nats)"),
    Column("low", "95 % from"),
    Column("high", "to"),
)


def analysis_of(points: Points, *, seed: int = 0) -> FactorAnalysis:
    """What the cross-entropy of these data points depends on."""
    return analyse_factors(
        points.probability,
        points.poisoned,
        points.factors,
        missing=points.missing,
        clusters=points.clusters,
        seed=seed,
    )


def factors_figure(found: FactorAnalysis, factors: Sequence[Factor]) -> Figure:
    """Results by level: data points, cross-entropy and AUC with their intervals, and how many are missing."""
    rows = tuple(
        {
            "factor": result.factor,
            "level": result.level,
            "n": result.n,
            "poisoned": result.poisoned,
            "missing": result.missing,
            "cross_entropy": result.cross_entropy,
            **_ends("cross_entropy_", result.cross_entropy_interval),
            "roc_auc": result.roc_auc,
            **_ends("roc_auc_", result.roc_auc_interval),
            "auc_of": None if result.roc_auc is None else _compared(result.against_all, result.poisoned),
        }
        for result in found.results
    )
    drawn = found.results[:_MOST_DRAWN]
    drawing = None
    if drawn:
        drawing = _dots(
            [f"{result.factor}: {result.level}" for result in drawn],
            [result.cross_entropy for result in drawn],
            [result.cross_entropy_interval for result in drawn],
            title="cross-entropy (nats)",
            line=found.grand_mean,
            counts=[result.n for result in drawn],
        )
    notes = [
        f"The dashed line is the mean of all data points, {found.grand_mean:.4f} nats; lower is better. "
        "The factors with the clearest effects come first."
    ]
    if any(result.against_all for result in found.results):
        notes.append(
            "Where a level has poisoned data points alone, or clean ones, its AUC is that of these against all data "
            "points of the other class."
        )
    alike = ", ".join(f"{name} (as {factor.name})" for factor in factors for name in factor.same)
    if alike:
        notes.append(f"Left out, because they part the data points as another column does: {alike}.")
    notes += _cut(len(rows))
    if not rows:
        notes = ["These data points have no factor with more than one level."]
    return Figure("factors", "Results by factor", tuple(notes), drawing, _LEVELS, rows)


def effects_figure(found: FactorAnalysis) -> Figure:
    """Mean effects: by how much each level's mean exceeds the grand mean."""
    rows = tuple(
        {"factor": x.factor, "level": x.level, "n": x.n, "effect": x.effect, **_ends("", x.interval)}
        for x in found.effects
    )
    drawn = found.effects[:_MOST_DRAWN]
    drawing = (
        _around_zero(drawn, [f"{x.factor}: {x.level}" for x in drawn], [x.effect for x in drawn]) if drawn else None
    )
    notes = (
        "Mean of the level less the grand mean; below 0 the data points of the level are easier. "
        "Of a factor that does not apply to all data points (a clean model has no trigger), the grand mean is that of "
        "those to which it applies.",
        *_comparisons(found),
        *_cut(len(found.effects)),
    )
    return Figure("effects", "Mean effects", notes, drawing, _EFFECTS, rows)


def interactions_figure(found: FactorAnalysis) -> Figure:
    """Two-way interactions: differences of differences, the largest first."""
    rows = tuple(
        {
            "factor_1": x.factors[0],
            "level_1": x.levels[0],
            "factor_2": x.factors[1],
            "level_2": x.levels[1],
            "n": x.n,
            "difference": x.difference,
            **_ends("", x.interval),
        }
        for x in found.interactions
    )
    drawn = found.interactions[:_MOST_DRAWN]
    names = [f"{x.factors[0]}: {x.levels[0]} × {x.factors[1]}: {x.levels[1]}" for x in drawn]
    drawing = _around_zero(drawn, names, [x.difference for x in drawn]) if drawn else None
    notes = [
        "How much more the first level matters where the second is there as well: the difference that it makes there, "
        "less the difference that it makes elsewhere. 0: what both do adds up.",
        *_comparisons(found),
        *_cut(len(found.interactions)),
    ]
    if found.crossed:
        notes.append(f"Looked at: the factors with the clearest mean effects, {', '.join(found.crossed)}.")
    if found.not_crossed:
        pairs = ", ".join(f"{one} × {other}" for one, other in found.not_crossed)
        notes.append(f"Too few data points in some combination of levels: {pairs}.")
    if not rows:
        notes.insert(0, "There are no two factors whose combinations have enough data points each.")
    return Figure("interactions", "Interactions of two factors", tuple(notes), drawing, _INTERACTIONS, rows)


def _compared(against_all: bool, poisoned: int) -> str:
    if not against_all:
        return "this level"
    return "against all clean" if poisoned else "against all poisoned"


def _ends(prefix: str, interval: Interval | None) -> dict[str, Cell]:
    low, high = (None, None) if interval is None else interval
    return {f"{prefix}low": low, f"{prefix}high": high}


def _comparisons(found: FactorAnalysis) -> tuple[str, ...]:
    if not found.comparisons:
        return ()
    return (
        f"{found.comparisons} mean effects and interactions were looked at, each with its own "
        f"{100 * found.confidence:.0f} % interval: if nothing had any effect, about {found.by_chance:.1f} of these "
        "would lie beside 0 by chance.",
    )


def _cut(count: int) -> tuple[str, ...]:
    return (f"Drawn are the first {_MOST_DRAWN} of {count}; the table has all.",) if count > _MOST_DRAWN else ()


def _around_zero(drawn: Sequence[Effect | Interaction], names: list[str], values: list[float]) -> dict[str, Any]:
    return _dots(
        names,
        values,
        [x.interval for x in drawn],
        title="cross-entropy (nats)",
        line=0.0,
        counts=[x.n for x in drawn],
        beside=True,
    )


def _dots(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Interval | None],
    *,
    title: str,
    line: float,
    counts: Sequence[int],
    beside: bool = False,
) -> dict[str, Any]:
    """A dot with its interval a line, from above to below; ``beside``: full where the line is not in the interval."""
    away = [beside and interval is not None and not interval.low <= line <= interval.high for interval in intervals]
    low, high = ([None if interval is None else interval[end] for interval in intervals] for end in (0, 1))
    bars = error_bars(values, low, high)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": rounded(values),
                "y": [escaped(name) for name in names],
                "error_x": {**bars, "color": GREY},
                "customdata": list(counts),
                "marker": {
                    "color": [VERMILLION if far else BLUE for far in away],
                    "symbol": [MARKERS[1] if far else MARKERS[0] for far in away],
                    "size": 9,
                },
                "hovertemplate": "%{y}: %{x:.4f} nats (%{customdata} data points)<extra></extra>",
                "showlegend": False,
            }
        ],
        "layout": layout(
            height=120 + 24 * len(names),
            xaxis=axis(title),
            yaxis=axis("", autorange="reversed", type="category", tickfont={"size": 12}),
            shapes=[
                {
                    "type": "line",
                    "x0": line,
                    "x1": line,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "line": {"color": GREY, "width": 1.5, "dash": "dash"},
                }
            ],
        ),
    }
