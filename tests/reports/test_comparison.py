import json
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.reports.comparison import Report, compare_reports, read_report


def report(name: str, answers: list[float | None], truth: str = "pppccc") -> Report:
    names = [f"id-{i}" for i in range(len(answers))]
    return Report(
        Path(f"{name}.json"),
        name,
        dict(zip(names, answers, strict=True)),
        {model: label == "p" for model, label in zip(names, truth, strict=True)},
    )


CONSTANT = report("constant", [0.5] * 6)
GOOD = report("good", [0.9, 0.8, 0.9, 0.1, 0.3, 0.1])


def test_the_best_comes_first_with_the_others_behind_it() -> None:
    rows = compare_reports([CONSTANT, GOOD])
    assert [row.submission for row in rows] == ["good", "constant"]
    assert rows[0].behind_first is None
    assert rows[0].reached
    behind = rows[1].behind_first
    assert behind is not None
    assert behind.estimate == pytest.approx(rows[1].cross_entropy - rows[0].cross_entropy)
    assert behind.interval.low > 0
    json.dumps([row.to_dict() for row in rows], allow_nan=False)


def test_a_submission_is_not_behind_itself() -> None:
    behind = compare_reports([GOOD, GOOD])[1].behind_first
    assert behind is not None
    assert (behind.estimate, behind.interval, behind.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_missing_answers_count_as_a_half() -> None:
    row = compare_reports([report("half", [None, 0.5, 0.5, 0.5, None, 0.5])])[0]
    assert row.missing == 2
    assert row.cross_entropy == pytest.approx(0.693147, abs=1e-6)


@pytest.mark.parametrize("other", [report("fewer", [0.5] * 5, "pppcc"), report("other", [0.5] * 6, "cccppp")])
def test_other_data_points_cannot_be_compared(other: Report) -> None:
    with pytest.raises(InputError, match=r"not about the same data points as constant\.json"):
        compare_reports([CONSTANT, other])


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(InputError):
        compare_reports([])
    with pytest.raises(InputError):
        compare_reports([report("empty", [], "")])


OUTCOME = {"data_point": "a", "probability": 0.5, "poisoned": True}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"submission": "x"},
        {"submission": "x", "outcomes": [{}]},
        {"submission": "x", "outcomes": [OUTCOME, OUTCOME]},
        {"submission": "x", "outcomes": [OUTCOME | {"poisoned": "yes"}]},
        {"submission": "x", "outcomes": [OUTCOME | {"probability": "high"}]},
        {"submission": "x", "outcomes": [OUTCOME | {"data_point": 3}]},
    ],
)
def test_files_that_are_no_report_are_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"report\.json"):
        read_report(path)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(
        json.dumps({"submission": "x", "outcomes": [OUTCOME, OUTCOME | {"data_point": "b", "probability": None}]})
    )
    read = read_report(path)
    assert read.answers == {"a": 0.5, "b": None}
    assert read.poisoned == {"a": True, "b": True}
