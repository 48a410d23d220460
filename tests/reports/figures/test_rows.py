"""Rows of a language track: the scores of any part are those of a submission that had this part alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.reports.figures.rows import COLUMNS, NO_ATTACK, Rows, RowTable
from palladion.scoring import PointScores, metric_interval, metric_value

UTILITY = [100.0, 0.0, 100.0, 100.0]
SUCCESS = [100.0, 0.0, 0.0, 0.0, 100.0, 0.0]
ATTACK = [0, 1, 0, 1, 1, 1]
"""word: 1 of 2; style: 1 of 4."""


def made_rows() -> Rows:
    arrays = {
        "one/utility": np.array(UTILITY),
        "one/success": np.array(SUCCESS),
        "one/attack": np.array(ATTACK),
        "two/utility": np.zeros(0),
        "two/success": np.zeros(0),
        "two/attack": np.zeros(0, np.int32),
        "three/utility": np.array([50.0, 100.0]),
        "three/success": np.array([0.0, 0.0]),
        "three/attack": np.array([0, 1]),
    }
    return Rows.of(PointScores("classification", arrays), {"one": ["word", "style"], "three": ["style"]})


def values(rows: Rows) -> dict[str, float | None]:
    return {name: None if found is None else found[0] for name, found in rows.scores().items()}


def test_of_all_rows_a_task_without_answers_is_useless_and_open_to_every_attack() -> None:
    found = values(made_rows())
    assert found["utility"] == pytest.approx((75 + 0 + 75) / 3)
    assert found["asr"] == pytest.approx(((50 + 25) / 2 + 100 + 0) / 3)
    assert found["overall"] == pytest.approx((math.sqrt(75 * 62.5) + 0 + math.sqrt(75 * 100)) / 3)


@pytest.mark.parametrize(
    ("wanted", "utility", "asr", "overall", "clean", "poisoned"),
    [
        ({"task": ["one"]}, 75, 37.5, math.sqrt(75 * 62.5), 4, 6),
        ({"task": ["two"]}, 0, 100, 0, 0, 0),
        ({"kind": ["clean"]}, 50, None, None, 6, 0),
        ({"kind": ["clean"], "task": ["one", "three"]}, 75, None, None, 6, 0),
        ({"kind": ["poisoned"], "task": ["one"]}, None, 37.5, None, 0, 6),
        ({"attack": ["word"]}, None, 50, None, 0, 2),
        ({"attack": ["style"]}, None, (25 + 0) / 2, None, 0, 5),
        ({"attack": ["word", NO_ATTACK]}, 75, 50, math.sqrt(75 * 50), 6, 2),
        ({"attack": ["attack 2"], "task": ["three"]}, None, 0, None, 0, 1),
        ({"attack": [NO_ATTACK], "task": ["one"]}, 75, None, None, 4, 0),
    ],
)
def test_a_part_has_the_scores_of_that_part(
    wanted: dict[str, list[str]],
    utility: float | None,
    asr: float | None,
    overall: float | None,
    clean: int,
    poisoned: int,
) -> None:
    part = made_rows().where(wanted)
    for name, value in {"utility": utility, "asr": asr, "overall": overall}.items():
        assert values(part)[name] == (None if value is None else pytest.approx(value)), name
    assert (len(part) - part.poisoned, part.poisoned) == (clean, poisoned)
    assert len(part.table()) == clean + poisoned
    assert sum(task.clean for task in part.by_task()) == clean


def test_task_by_task_what_is_left_of_each() -> None:
    found = {task.task: task for task in made_rows().where({"attack": ["word", NO_ATTACK]}).by_task()}
    assert list(found) == ["one", "three"]
    assert (found["one"].clean, found["one"].poisoned, found["one"].answered) == (4, 2, True)
    assert found["three"].scores["asr"] is None
    whole = {task.task: task for task in made_rows().by_task()}
    assert not whole["two"].answered
    assert whole["two"].scores["overall"] == (0, None)
    value, interval = whole["one"].scores["utility"] or (0, None)
    assert interval is not None
    assert interval.low < value == 75 < interval.high


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"colour": ["red"]}, "there is no factor 'colour'; there are task, kind, attack"),
        ({"task": ["four"]}, "the factor task has no level 'four'; it has one, two, three"),
        ({"attack": ["none"]}, "has no level 'none'; it has \\(clean\\), word, style, attack 2"),
        ({"kind": ["clean"], "attack": ["word"]}, "no row has all of these levels"),
        ({"task": ["two"], "attack": ["word"]}, "no row has all of these levels"),
    ],
)
def test_what_there_is_not_is_told(wanted: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made_rows().where(wanted)


def test_the_list_numbers_rows_among_those_of_their_kind() -> None:
    table = made_rows().where({"task": ["one"]}).table()
    assert table.row.tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6]
    assert table.attack == (None, None, None, None, "word", "style", "word", "style", "style", "style")
    assert table.value.tolist() == UTILITY + SUCCESS
    # A part keeps the numbers, so that a row is found again.
    assert made_rows().where({"attack": ["word"]}).table().row.tolist() == [1, 3]


def test_what_has_nothing_in_a_column_stands_last_whichever_way() -> None:
    rows = made_rows()
    for sort in ("utility", "-utility", "success", "-success", "attack", "-attack"):
        table = rows.table(sort)
        there = table.poisoned if "utility" not in sort else ~table.poisoned
        assert there.tolist() == sorted(there.tolist(), reverse=True), sort
    best = rows.table("-utility")
    assert best.value[:6].tolist() == [100, 100, 100, 100, 50, 0]
    assert list(zip(best.task[:2], best.row[:2].tolist(), strict=True)) == [("one", 1), ("one", 3)]
    assert rows.table("success").value[:8].tolist() == [0] * 6 + [100] * 2
    assert rows.table("-row").row[0] == 6
    assert rows.table("task").task[0] == "one"
    assert rows.table("-task").task[0] == "three"
    assert rows.table("attack").attack[0] == "attack 2"
    with pytest.raises(InputError, match="cannot be sorted by 'colour'"):
        rows.table("colour")


def test_detection_has_no_rows() -> None:
    arrays = {"probability": np.array([0.5]), "poisoned": np.array([True]), "cluster": np.array([0])}
    with pytest.raises(InputError, match="no rows"):
        Rows.of(PointScores("detection", arrays), {})


@st.composite
def _points(draw: st.DrawFn) -> PointScores:
    arrays = {}
    for task in range(draw(st.integers(1, 3))):
        clean, poisoned = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        arrays[f"t{task}/utility"] = np.array(draw(st.lists(st.floats(0, 100), min_size=clean, max_size=clean)))
        numbers = draw(st.lists(st.integers(0, 2), min_size=poisoned, max_size=poisoned))
        arrays[f"t{task}/attack"] = np.unique(numbers, return_inverse=True)[1].astype(np.int32)
        won = draw(st.lists(st.sampled_from([0.0, 100.0]), min_size=poisoned, max_size=poisoned))
        arrays[f"t{task}/success"] = np.array(won)
    return PointScores("generation", arrays)


@given(_points(), st.sampled_from(["geometric", "difference"]), st.sampled_from(COLUMNS))
def test_of_all_rows_they_are_the_scorers_own_and_every_order_has_every_row(
    points: PointScores, score: str, column: str
) -> None:
    rows = Rows.of(points, {}, score="geometric" if score == "geometric" else "difference")
    for measure, found in rows.scores().items():
        assert found is not None
        value = metric_value(points, measure, score=rows.score)
        assert found[0] == pytest.approx(value)
        assert found[1] == metric_interval(points, measure, score=rows.score)
    listed = rows.table()
    for sort in (column, f"-{column}"):
        ordered = rows.table(sort)
        assert sorted(_identity(ordered)) == sorted(_identity(listed))
    # Parts that share no row are all of it.
    assert sum(len(rows.where({"kind": [kind]})) for kind in ("clean", "poisoned")) == len(rows) == points.size


def _identity(table: RowTable) -> list[tuple[object, ...]]:
    return list(zip(table.task, table.poisoned.tolist(), table.row.tolist(), table.value.tolist(), strict=True))
