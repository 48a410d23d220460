import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from palladion.client.answers import (
    Board,
    BoardMetric,
    BoardRow,
    Goal,
    GoalReached,
    Metric,
    Progress,
    Submission,
    SubmissionRule,
    TeamName,
    Track,
    TrackQuota,
    Use,
    UseOf,
    Value,
)
from palladion.client.tables import (
    board_tables,
    metric_title,
    quota_line,
    scores_table,
    state_line,
    submissions_table,
    value_in_words,
)
from palladion.client.waiting import pause_after

NOW = datetime(2026, 1, 5, 10, 53, tzinfo=UTC)
ID = "a" * 20
NO_LIMIT = UseOf(Use(7), Use(7))
ENTROPY = Metric("cross_entropy", "Cross-entropy", "nats", higher_is_better=False)
OVERALL = Metric("overall", "Overall score", "percent", higher_is_better=True)
TRACK = Track("detection", "Detection", "detection", SubmissionRule("code"), (ENTROPY,))
SUBMISSION = Submission(ID, "trojai", "detection", "round-0", TeamName(ID, "Team"), "x.zip", "pending", NOW)


def printed(*parts: RenderableType) -> str:
    file = io.StringIO()
    console = Console(file=file, width=160, highlight=False)
    for part in parts:
        console.print(part)
    return file.getvalue()


def used(day: int, limit: int, **more: object) -> TrackQuota:
    quota = TrackQuota("detection", UseOf(Use(day, limit), Use(day, None)), NO_LIMIT, Use(0))
    return replace(quota, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quota", "line"),
    [
        (used(1, 3), "1 of 3 today"),
        # Three hours and twelve minutes after 10:53.
        (
            used(3, 3, allowed=False, next_slot=NOW + timedelta(minutes=192)),
            "3 of 3 today, next slot 14:05 UTC, in 3 h 12 min",
        ),
        (
            used(3, 3, allowed=False, next_slot=NOW + timedelta(hours=23)),
            "3 of 3 today, next slot 6 Jan 2026, 09:53 UTC, in 23 h",
        ),
        # Time alone does not help: the reason stands there.
        (used(1, 3, allowed=False, reason="2 submissions are running"), "1 of 3 today, 2 submissions are running"),
        (used(1, 3, allowed=False, reason="\x1b[2J"), "1 of 3 today, \\x1b[2J"),
        (TrackQuota("detection", NO_LIMIT, NO_LIMIT, Use(1)), "no limit"),
        (
            TrackQuota("detection", UseOf(Use(2, 3), Use(41, 60)), UseOf(Use(4, 10), Use(4, 99)), Use(1, 2)),
            "2 of 3 today; 41 of 60 in total; 4 of 10 attempts today; 4 of 99 attempts in total; 1 of 2 at a time",
        ),
    ],
)
def test_the_quota_line(quota: TrackQuota, line: str) -> None:
    assert quota_line(quota, NOW) == line


def test_a_score_has_the_digits_of_its_text_and_its_interval() -> None:
    assert value_in_words(None) == "–"
    assert value_in_words(Value(0.5, "0.500")) == "0.500"
    assert value_in_words(Value(0.5, "0.500", 0.41234, 0.61)) == "0.500 [0.412, 0.610]"
    assert value_in_words(Value(0.51234, "", 0.4, 0.6)) == "0.5123 [0.4000, 0.6000]"
    assert value_in_words(Value(0.5, "\x1b[2J")) == "\\x1b[2J"


def test_a_metric_says_which_way_is_better() -> None:
    assert metric_title(ENTROPY) == "Cross-entropy ↓"
    assert metric_title(OVERALL) == "Overall score % ↑"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "waiting"),
        ({"progress": "queued"}, "queued"),
        ({"progress": "running", "progress_points": Progress(12, 48)}, "running, 12 of 48 data points"),
        ({"progress": "running", "progress_points": Progress(12)}, "running, 12 data points"),
        ({"state": "scored", "goal_reached": True}, "scored; it reaches the goal"),
        ({"state": "failed", "reason": "crashed\x1b[2J"}, "failed: crashed\\x1b[2J"),
    ],
)
def test_where_a_submission_stands(change: dict[str, object], line: str) -> None:
    assert state_line(replace(SUBMISSION, **change)) == line  # type: ignore[arg-type]


def test_scores_of_tasks_stand_below_those_of_the_whole() -> None:
    scored = replace(
        SUBMISSION,
        state="scored",
        scores={"other": Value(1.0, "1.0"), "cross_entropy": Value(0.5, "0.5")},
        tasks={"task1\x1b": {"cross_entropy": None}},
    )
    lines = [line.split() for line in printed(scores_table(scored, TRACK)).splitlines() if line.strip()]
    # The metrics of the track come first, in its order.
    assert lines[2:] == [["Cross-entropy", "↓", "0.5"], ["other", "1.0"], ["task1\\x1b:", "Cross-entropy", "↓", "–"]]


def test_a_list_of_submissions_shows_the_score_that_ranks() -> None:
    rows = [
        replace(SUBMISSION, state="scored", scores={"cross_entropy": Value(0.25, "0.25", 0.1, 0.3)}, ordinal=2),
        replace(SUBMISSION, state="scored", hidden="not yet"),
        replace(SUBMISSION, filename="[bold]x\x1b[2J.zip", track="gone"),
    ]
    text = printed(submissions_table(rows, {"trojai/detection": TRACK}, NOW))
    assert "0.25" in text
    assert "0.1" not in text
    assert "hidden" in text
    assert "[bold]x\\x1b[2J.zip" in text
    assert "\x1b" not in text


def test_a_leaderboard() -> None:
    rows = (
        BoardRow(
            1, TeamName(ID, "[red]One\x1b[2J"), {"cross_entropy": Value(0.2, "0.200", 0.1, 0.3)}, goal_reached=True
        ),
        BoardRow(2, TeamName(ID, "Two"), {"cross_entropy": Value(0.5, "0.500", 0.4, 0.6)}, mine=True),
        BoardRow(None, TeamName(ID, "Three"), {"cross_entropy": None}),
    )
    board = Board(
        "trojai",
        "detection",
        "round-1",
        "Round 1",
        "open",
        (BoardMetric("cross_entropy", "Cross-entropy", "nats", False, 3),),
        rows,
        goal=Goal("cross_entropy", 0.34657),
        goal_reached=GoalReached(NOW, TeamName(ID, "[red]One\x1b[2J")),
        made=NOW,
    )
    text = printed(*board_tables(board))
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["trojai/detection/round-1:", "Round", "1", "(open)"]
    assert lines[1] == ["rank", "team", "no.", "Cross-entropy", "↓", "goal"]
    assert lines[3] == ["1", "[red]One\\x1b[2J", "0", "0.200", "[0.100,", "0.300]", "reached"]
    assert lines[5] == ["–", "Three", "0", "–"]
    assert "goal: Cross-entropy at most 0.3466" in text
    assert "first reached by [red]One\\x1b[2J, Mon 5 Jan 2026, 10:53 UTC" in text
    assert "\x1b" not in text
    assert "holdout" not in text
    final = replace(
        board,
        final=True,
        ranked_by="holdout",
        hidden="until the stage is concluded",
        rows=(replace(rows[0], holdout={"cross_entropy": Value(0.3, "0.300")}),),
    )
    text = printed(*board_tables(final))
    assert "(final)" in text
    assert "holdout: Cross-entropy ↓" in text
    assert "ranked by the holdout split" in text
    assert "scores are hidden: until the stage is concluded" in text
    assert "no submission has been scored yet" in printed(*board_tables(replace(board, rows=())))


def test_looks_come_less_often_the_longer_one_waits() -> None:
    assert [pause_after(seconds) for seconds in (0, 1, 10, 30, 3600)] == [0.25, 0.25, 1.0, 3.0, 5.0]
