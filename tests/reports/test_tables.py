from typing import Any

import pytest

from palladion.reports.detection import detection_report
from palladion.reports.tables import metrics_table, outcomes_table, show


def outcome(i: int, probability: float | None, error: str | None = None) -> dict[str, Any]:
    return {
        "data_point": f"id-{i:08d}",
        "probability": probability,
        "error": error,
        "message": None if error is None else f"[bold]it failed {i}",
        "seconds": 1.25,
        "peak_memory_bytes": None if error else 30 << 20,
        "status": "ok" if error is None else "missing",
    }


def printed(capsys: pytest.CaptureFixture[str], outcomes: list[dict[str, Any]]) -> str:
    report = detection_report(outcomes, [i % 2 == 1 for i in range(len(outcomes))])
    show(*outcomes_table(report["outcomes"]), metrics_table(report["metrics"]))
    return capsys.readouterr().out


def test_each_answer_stands_beside_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, [outcome(0, 0.125), outcome(1, None, "timeout")])
    first, second = (next(line for line in text.splitlines() if f"id-0000000{i} " in line) for i in range(2))
    assert first.split() == ["id-00000000", "0.1250", "no", "1.25", "30"]
    assert second.split() == ["id-00000001", "–", "yes", "timeout", "1.25", "–"]
    # A message is text of a stranger, not markup.
    assert "id-00000001: [bold]it failed 1" in text


def test_scores_stand_beside_their_intervals_and_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, [outcome(i, 0.9 if i % 2 else 0.1) for i in range(10)])
    assert "target 0.3466: reached" in text
    assert "0.1054" in text
    assert "[0.1054, 0.1054]" in text
    assert "95% interval" in text


def test_of_many_data_points_only_failures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, [outcome(i, None if i < 3 else 0.5, "crashed" if i < 3 else None) for i in range(41)])
    assert text.count("crashed") == 3
    assert "id-00000003" not in text
    assert "Of 41 data points, only failures are listed; --json has all of them." in text


def test_one_class_alone_has_no_target(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, [outcome(0, 0.5)])
    assert "undefined: one class is absent" in text


def test_an_interval_without_width_is_explained_in_both_tables() -> None:
    from palladion.reports.comparison import ComparedSubmission
    from palladion.reports.tables import comparison_table
    from palladion.scoring import Interval

    def row(interval: Interval) -> ComparedSubmission:
        return ComparedSubmission(
            "x", 0.07, interval, 0.3466, reached=True, roc_auc=1.0, brier=0.0, missing=0, behind_first=None
        )

    assert "every model was answered equally well" in str(comparison_table([row(Interval(0.07, 0.07))]).caption)
    assert comparison_table([row(Interval(0.06, 0.08))]).caption is None
