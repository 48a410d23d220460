"""What each figure shows, and that it says the same in its table."""

import math
from dataclasses import replace

import numpy as np
import pytest

from palladion.reports.figures.calibration import reliability_figure
from palladion.reports.figures.confidence import cross_entropy_figure, mistakes_figure
from palladion.reports.figures.factors import analysis_of, effects_figure, factors_figure, interactions_figure
from palladion.reports.figures.figure import Figure
from palladion.reports.figures.holdout import BothScores, holdout_figure
from palladion.reports.figures.points import Points
from palladion.reports.figures.roc import roc_band, roc_figure
from palladion.scoring import mean_cross_entropy, roc_auc, wilson_interval

from .made import axis_titles, check_figure, made_points


def of(probability: list[float], poisoned: list[bool], missing: list[bool] | None = None) -> Points:
    n = len(poisoned)
    return Points.of(
        names=[f"m{i}" for i in range(n)],
        poisoned=poisoned,
        probability=probability,
        missing=[False] * n if missing is None else missing,
    )


def every_figure(points: Points) -> list[Figure]:
    found = analysis_of(points)
    return [
        reliability_figure(points),
        roc_figure(points),
        cross_entropy_figure(points),
        mistakes_figure(points),
        factors_figure(found, points.factors),
        effects_figure(found),
        interactions_figure(found),
    ]


@pytest.mark.parametrize(
    "points",
    [
        made_points(),
        made_points(clusters=True),
        made_points().where({"poisoned": ["clean"]}),
        made_points(2, missing=0),
        made_points(1, missing=1),
        of([0.0, 1.0, 0.0, 1.0], [True, False, False, True]),
        of([0.5] * 6, [True, False] * 3),
    ],
    ids=["usual", "clusters", "one class", "two", "one", "certain", "constant"],
)
def test_figures_are_figures_whatever_the_data(points: Points) -> None:
    for figure in every_figure(points):
        check_figure(figure)


def test_axes_have_titles_with_units() -> None:
    titles = [title for figure in every_figure(made_points()) if figure.drawing for title in axis_titles(figure)]
    assert {"probability answered", "share poisoned", "false positive rate", "true positive rate"} <= set(titles)
    assert any("nats" in title and "logarithmic" in title for title in titles)


# --- Reliability ------------------------------------------------------------------------------------------------------


def test_reliability_by_hand() -> None:
    figure = reliability_figure(of([0.85, 0.85, 0.8, 0.1], [True, False, True, False]))
    low, high = wilson_interval(2, 3)
    used = [row for row in figure.rows if row["count"]]
    assert [row["count"] for row in used] == [1, 3]
    assert used[1]["mean_probability"] == pytest.approx(2.5 / 3)
    assert used[1]["fraction_poisoned"] == pytest.approx(2 / 3)
    assert (used[1]["low"], used[1]["high"]) == pytest.approx((low / 100, high / 100))
    empty = [row for row in figure.rows if not row["count"]]
    assert len(empty) == 8
    assert all(row["fraction_poisoned"] is None and row["low"] is None for row in empty)


# --- ROC --------------------------------------------------------------------------------------------------------------


def test_the_roc_table_holds_the_curve_and_its_area_is_the_auc() -> None:
    points = made_points()
    figure = roc_figure(points)
    x = [float(row["false_positive_rate"] or 0) for row in figure.rows]
    y = [float(row["true_positive_rate"] or 0) for row in figure.rows]
    assert np.trapezoid(y, x) == pytest.approx(roc_auc(points.probability, points.poisoned))
    assert figure.rows[0]["threshold"] is None
    assert f"{roc_auc(points.probability, points.poisoned):.4f}" in figure.notes[0]


def test_the_band_holds_the_curve_and_grows_with_clusters() -> None:
    points, clustered = made_points(120), made_points(120, clusters=True)
    figure, band = roc_figure(points), roc_band(points)
    assert band is not None
    curve = np.interp(
        band.false_positive_rate,
        [float(row["false_positive_rate"] or 0) for row in figure.rows],
        [float(row["true_positive_rate"] or 0) for row in figure.rows],
    )
    assert np.mean((band.low <= curve + 1e-9) & (curve <= band.high + 1e-9)) > 0.95
    assert np.all(np.diff(band.low) >= -1e-12)
    assert np.all(np.diff(band.high) >= -1e-12)
    assert (band.low[-1], band.high[-1]) == (1.0, 1.0)
    # Data points that are drawn together, and are alike, tell less.
    p = np.repeat(np.random.default_rng(1).uniform(size=20), 6)
    y = np.repeat(np.arange(20) % 2 == 1, 6)
    alike = of(p.tolist(), y.tolist())
    alone, together = roc_band(alike), roc_band(replace(alike, clusters=np.arange(120) // 6))
    assert alone is not None
    assert together is not None
    assert (together.high - together.low).mean() > 1.5 * (alone.high - alone.low).mean()
    assert roc_band(clustered, seed=1) is not None


def test_a_perfect_curve_is_perfect_in_every_resample() -> None:
    band = roc_band(of([0.1, 0.2, 0.8, 0.9], [False, False, True, True]), replicates=50)
    assert band is not None
    assert band.low.tolist() == band.high.tolist() == [1.0] * 101


def test_long_curves_are_drawn_through_fewer_points_and_listed_in_full() -> None:
    generator = np.random.default_rng(0)
    figure = roc_figure(of(generator.random(5000).tolist(), (np.arange(5000) % 2 == 0).tolist()))
    assert len(figure.rows) == 5001
    assert figure.drawing is not None
    assert len(figure.drawing["data"][-1]["x"]) <= 1002
    assert (figure.drawing["data"][-1]["x"][-1], figure.drawing["data"][-1]["y"][-1]) == (1.0, 1.0)


# --- Histogram of the cross-entropy -----------------------------------------------------------------------------------


def test_every_data_point_is_in_one_bin_whatever_it_costs() -> None:
    points = of([0.0, 1.0, 1e-13, 0.5, 0.999999, 0.0], [True, True, False, True, True, False])
    figure = cross_entropy_figure(points)
    assert sum(int(row["clean"] or 0) + int(row["poisoned"] or 0) for row in figure.rows) == 6
    assert (figure.rows[0]["clean"], figure.rows[0]["poisoned"]) == (2, 2)
    assert figure.rows[-1]["poisoned"] == 1
    assert figure.rows[0]["from"] == 0.0
    for row, following in zip(figure.rows, figure.rows[1:], strict=False):
        assert row["to"] == following["from"]


def test_confident_mistakes_are_counted_with_what_they_cost() -> None:
    points = of([0.01, 0.9, 0.9, 0.4], [True, True, True, True])
    entropies = [-math.log(p) for p in (0.01, 0.9, 0.9, 0.4)]
    (first, second) = cross_entropy_figure(points).notes
    assert first.startswith("1 of 4 data points were answered wrongly with more than 90 %")
    assert f"{100 * entropies[0] / sum(entropies):.0f} % of the whole" in first
    assert "27.63" in second
    assert "No data point" in cross_entropy_figure(of([0.4, 0.2], [True, False])).notes[0]


def test_the_costliest_answers_come_first() -> None:
    figure = mistakes_figure(of([0.2, 0.05, 0.9, 0.5], [True, True, True, False], [False, False, False, True]))
    assert [row["data_point"] for row in figure.rows] == ["m1", "m0", "m3"]
    assert figure.rows[2]["probability"] is None
    assert figure.drawing is None
    assert mistakes_figure(of([0.9, 0.1], [True, False])).notes == ("No data point was answered wrongly.",)


# --- Factors ----------------------------------------------------------------------------------------------------------


def test_results_by_factor_say_what_the_auc_is_of_and_what_is_missing() -> None:
    points = made_points()
    rows = {(row["factor"], row["level"]): row for row in factors_figure(analysis_of(points), points.factors).rows}
    row = rows["trigger", "polygon"]
    assert row["auc_of"] == "against all clean"
    assert row["n"] == row["poisoned"] == 16
    assert rows["architecture", "vgg"]["auc_of"] == "this level"
    assert sum(int(rows["architecture", level]["missing"] or 0) for level in ("vgg", "resnet")) == 3
    chosen = points.where({"architecture": ["vgg"]})
    expected = mean_cross_entropy(chosen.probability, chosen.poisoned)
    assert rows["architecture", "vgg"]["cross_entropy"] == pytest.approx(expected)


def test_effects_say_how_many_comparisons_were_made() -> None:
    found = analysis_of(made_points())
    for figure in (effects_figure(found), interactions_figure(found)):
        (note,) = [note for note in figure.notes if "looked at, each with its own" in note]
        assert note.startswith(f"{found.comparisons} mean effects and interactions")
        assert f"about {found.by_chance:.1f} of these" in note


def test_names_of_levels_are_text_and_no_markup() -> None:
    points = Points.of(
        names=[str(i) for i in range(20)],
        poisoned=np.arange(20) % 2 == 0,
        probability=np.linspace(0.1, 0.9, 20),
        missing=np.zeros(20, bool),
        columns={"kind": ["<b>x</b>" if (i // 2) % 2 else "y" for i in range(20)]},
    )
    figure = effects_figure(analysis_of(points))
    assert figure.drawing is not None
    assert not any("<" in name for name in figure.drawing["data"][0]["y"])
    assert any(row["level"] == "<b>x</b>" for row in figure.rows)


# --- Test against holdout ---------------------------------------------------------------------------------------------


def test_ranks_on_both_splits_and_who_moved() -> None:
    scores = [BothScores("a", 0.2, 0.5, (0.1, 0.3)), BothScores("b", 0.3, 0.3), BothScores("<b>c", 0.4, 0.3)]
    figure = holdout_figure(scores, metric="Cross-entropy", unit="nats", higher_is_better=False, goal=0.3466)
    check_figure(figure)
    assert [(row["team"], row["test_rank"], row["holdout_rank"], row["moved"]) for row in figure.rows] == [
        ("b", 2, 1, 1),
        ("<b>c", 3, 1, 2),
        ("a", 1, 3, -2),
    ]
    assert figure.rows[2]["difference"] == pytest.approx(0.3)
    assert figure.notes[0].startswith("1 of 3 did worse")
    assert axis_titles(figure) == ["Cross-entropy (nats) on test", "Cross-entropy (nats) on holdout"]
    assert figure.drawing is not None
    assert figure.drawing["data"][1]["text"] == ["a", "b", "&lt;b&gt;c"]


def test_higher_may_be_better_and_nothing_may_be_there() -> None:
    scores = [BothScores("a", 0.9, 0.7), BothScores("b", 0.8, 0.8)]
    figure = holdout_figure(scores, metric="ROC AUC", unit="fraction", higher_is_better=True)
    check_figure(figure)
    assert [row["team"] for row in figure.rows] == ["b", "a"]
    assert figure.notes[0].startswith("1 of 2 did worse")
    nothing = holdout_figure([], metric="ROC AUC", unit="fraction", higher_is_better=True)
    check_figure(nothing)
    assert nothing.drawing is None
    check_figure(holdout_figure(scores[:1], metric="Overall score", unit="percent", higher_is_better=True))
