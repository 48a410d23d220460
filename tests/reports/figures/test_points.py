import numpy as np
import pytest

from palladion.errors import InputError
from palladion.reports.figures.points import Points, parse_where
from palladion.scoring import mean_cross_entropy, subset_sizes

from .made import made_points


def test_scores_are_those_of_the_scorer_and_missing_is_counted() -> None:
    points = made_points()
    scores = points.scores()
    assert scores.cross_entropy == pytest.approx(mean_cross_entropy(points.probability, points.poisoned))
    assert (scores.n, scores.missing) == (60, 3)
    # The points themselves stay as they are: another figure may be made of them.
    assert points.probability.flags.writeable


def test_conditions_on_one_factor_are_alternatives_and_factors_come_together() -> None:
    points = made_points()
    assert len(points.where({})) == 60
    resnets = points.where({"architecture": ["resnet"]})
    assert len(resnets) == 30
    assert len(points.where({"architecture": ["resnet", "vgg"]})) == 60
    both = points.where({"architecture": ["resnet"], "trigger": ["polygon"]})
    known = {factor.name: factor for factor in both.factors}
    assert set(known["architecture"].index.tolist()) == {known["architecture"].levels.index("resnet")}
    assert both.poisoned.all()
    assert both.names == tuple(name for name in points.names if name in both.names)
    assert both.errors == tuple(points.errors[points.names.index(name)] for name in both.names)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"colour": ["red"]}, "there is no factor 'colour'; there are poisoned, architecture, background, trigger"),
        ({"architecture": ["alexnet"]}, "architecture has no level 'alexnet'; it has resnet, vgg"),
        ({"poisoned": ["clean"], "trigger": ["polygon"]}, "no data point has all of these levels"),
    ],
)
def test_conditions_that_leave_nothing_are_refused(wanted: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made_points().where(wanted)


def test_another_prevalence_is_the_largest_subset_of_the_sweep() -> None:
    points = made_points(clusters=True)
    for percent in (1, 20, 50, 80, 99):
        found = points.at_prevalence(percent, seed=3)
        assert (int(found.poisoned.sum()), int((~found.poisoned).sum())) == subset_sizes(percent, 30, 30)
        assert len(set(found.names)) == len(found) == len(found.clusters if found.clusters is not None else ())
    assert points.at_prevalence(20, seed=3).names == points.at_prevalence(20, seed=3).names
    assert points.at_prevalence(20, seed=3).names != points.at_prevalence(20, seed=4).names


def test_subsets_of_a_prevalence_are_random_subsets() -> None:
    points = made_points()
    taken = np.zeros(60)
    for seed in range(200):
        taken += np.isin(points.names, points.at_prevalence(10, seed=seed).names)
    poisoned = taken[points.poisoned]
    expected = 200 * subset_sizes(10, 30, 30)[0] / 30
    assert np.all(np.abs(poisoned - expected) < 5 * np.sqrt(expected))


@pytest.mark.parametrize("percent", [0, 100, -1])
def test_no_prevalence_of_none_or_all(percent: int) -> None:
    with pytest.raises(InputError, match="whole percentage from 1 to 99"):
        made_points().at_prevalence(percent)


def test_one_class_has_no_other_prevalence() -> None:
    poisoned = made_points().where({"poisoned": ["poisoned"]})
    with pytest.raises(InputError, match="none of these is clean"):
        poisoned.at_prevalence(10)


def test_conditions_are_read() -> None:
    assert parse_where(["a:1", "b:x:y", "a:2", "a:1"]) == {"a": ["1", "2"], "b": ["x:y"]}
    for text in ("a", ":1", "a:", ""):
        with pytest.raises(InputError, match="is no condition"):
            parse_where([text])


def test_points_without_metadata() -> None:
    points = Points.of(names=["a", "b"], poisoned=[True, False], probability=[0.9, 0.2], missing=[False, False])
    assert [factor.name for factor in points.factors] == ["poisoned"]
    assert points.errors == (None, None)
    assert np.isnan(points.seconds).all()
