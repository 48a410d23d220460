"""Answers of the service as tables on a terminal, and as lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from palladion.challenge.instants import in_words
from palladion.client.answers import (
    Account,
    Board,
    BoardRow,
    Challenge,
    Goal,
    Metric,
    Scores,
    Stage,
    Submission,
    Team,
    Track,
    TrackQuota,
    Use,
    Value,
)
from palladion.client.words import clock, duration, name_in_words, past, quantity, text_in_words

__all__ = [
    "accounts_table",
    "board_tables",
    "metric_title",
    "quota_line",
    "scores_table",
    "stages_table",
    "state_line",
    "submissions_table",
    "team_table",
    "value_in_words",
]

_UNITS: Mapping[str, str] = {"percent": " %"}
_USUAL_DIGITS = 4


def metric_title(metric: Metric) -> str:
    """A metric's title with its unit and an arrow to where it is better: ``Attack success % ↓``."""
    arrow = "↑" if metric.higher_is_better else "↓"
    return f"{name_in_words(metric.title)}{_UNITS.get(metric.unit, '')} {arrow}"


def value_in_words(value: Value | None) -> str:
    """A score with its interval: ``0.1234 [0.1000, 0.1500]``; a dash where there is none."""
    if value is None:
        return "–"
    shown = name_in_words(value.text) or f"{value.value:.{_USUAL_DIGITS}f}"
    if value.low is None or value.high is None:
        return shown
    digits = len(shown.partition(".")[2])
    return f"{shown} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def board_tables(board: Board) -> tuple[RenderableType, ...]:
    """A leaderboard: what it is of, its rows, the goal, and what is hidden."""
    table = _table()
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("team")
    table.add_column("no.", justify="right", no_wrap=True)
    for metric in board.metrics:
        table.add_column(Text(metric_title(metric)), justify="right", no_wrap=True)
    with_holdout = any(row.holdout is not None for row in board.rows)
    if with_holdout:
        title = f"holdout: {metric_title(board.metrics[0])}"
        table.add_column(Text(title), justify="right", no_wrap=True)
    if board.goal is not None:
        table.add_column("goal", no_wrap=True)
    with_failures = any(row.failed is not None and row.failed.failed for row in board.rows)
    if with_failures:
        table.add_column("failed", justify="right", no_wrap=True)
    for row in board.rows:
        cells = [_rank(row), _team(row), f"{row.ordinal}"]
        cells += [value_in_words(row.scores.get(metric.name)) for metric in board.metrics]
        if with_holdout:
            cells.append(value_in_words((row.holdout or {}).get(board.metrics[0].name)))
        if board.goal is not None:
            cells.append("reached" if row.goal_reached else "")
        if with_failures:
            cells.append(_failures(row))
        # One's own team is what one looks for.
        table.add_row(*map(Text, cells), style="bold" if row.mine else "")
    parts: list[RenderableType] = [Text(_heading(board))]
    parts.append(table if board.rows else Text("no submission has been scored yet"))
    parts += [Text(line) for line in _below(board)]
    return tuple(parts)


def scores_table(submission: Submission, track: Track) -> Table:
    """The scores of a submission, with their intervals; those of each task below."""
    table = _table()
    table.add_column("score")
    table.add_column("value", justify="right", no_wrap=True)
    groups: list[tuple[str, Scores]] = [("", submission.scores or {})]
    groups += [(f"{name_in_words(task)}: ", scores) for task, scores in submission.tasks.items()]
    known = {metric.name: metric for metric in track.metrics}
    for prefix, scores in groups:
        names = [name for name in known if name in scores] + [name for name in scores if name not in known]
        for name in names:
            title = metric_title(known[name]) if name in known else name_in_words(name)
            table.add_row(Text(f"{prefix}{title}"), Text(value_in_words(scores[name])))
    return table


def state_line(submission: Submission) -> str:
    """Where a submission stands, in words: ``running, 12 of 48 data points``, ``failed: …``."""
    if submission.state == "pending":
        state = submission.progress or "waiting"
        points = submission.progress_points
        if points is not None:
            of = "" if points.total is None else f" of {points.total:,}"
            state += f", {points.done:,}{of} data points"
        return name_in_words(state, 200)
    reason = f": {text_in_words(submission.reason)}" if submission.reason else ""
    goal = "; it reaches the goal" if submission.goal_reached else ""
    return f"{name_in_words(submission.state)}{reason}{goal}"


def submissions_table(submissions: Sequence[Submission], tracks: Mapping[str, Track], now: datetime) -> Table:
    """Submissions, one a row, with the score that ranks them. ``tracks``: by challenge and name, ``a/b``."""
    table = _table()
    table.add_column("id", no_wrap=True)
    for name in ("stage", "no.", "file", "handed in", "state"):
        table.add_column(name, justify="right" if name == "no." else "left", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    for submission in submissions:
        track = tracks.get(f"{submission.challenge}/{submission.track}")
        table.add_row(
            submission.id,
            f"{submission.track}/{submission.stage}",
            str(submission.ordinal),
            Text(name_in_words(submission.filename, 60)),
            clock(submission.created, now),
            Text(_one_line(state_line(submission))),
            Text(_first_score(submission, track)),
        )
    return table


def stages_table(challenge: Challenge, tracks: Iterable[Track]) -> Table:
    """The stages of tracks, one a row, with dates and goals."""
    table = _table()
    table.add_column(name_in_words(challenge.stage_word), no_wrap=True)
    for name in ("title", "state", "opens", "closes", "goal"):
        table.add_column(name, overflow="fold")
    for track in tracks:
        for stage in track.stages:
            table.add_row(
                f"{challenge.name}/{track.name}/{stage.name}",
                Text(name_in_words(stage.title, 200)),
                Text(name_in_words(stage.state)),
                *(_moment(done, planned) for done, planned in _dates(stage)),
                Text(_goal(stage.goal, stage, track.metrics)),
            )
    return table


def accounts_table(accounts: Sequence[Account]) -> Table:
    """Accounts, one a row."""
    table = _table()
    for name in ("name", "role", "state", "e-mail", "since"):
        table.add_column(name, overflow="fold")
    for account in accounts:
        table.add_row(
            *(Text(name_in_words(part, 320)) for part in (account.name, account.role, account.state)),
            Text(name_in_words(account.email or "", 320)),
            "" if account.created is None else past(account.created),
        )
    return table


def team_table(team: Team) -> Table:
    """The members of a team."""
    table = _table()
    for name in ("member", "", "since"):
        table.add_column(name, overflow="fold")
    for member in team.members:
        since = "" if member.joined is None else past(member.joined)
        table.add_row(Text(name_in_words(member.name)), "captain" if member.captain else "", since)
    return table


def quota_line(quota: TrackQuota, now: datetime) -> str:
    """What a team has left in a track: ``2 of 3 today, next slot 14:05 UTC, in 3 h 12 min; 41 of 60 in total``.

    A day is any 24 hours. The next slot is told where there is none now.
    """
    parts = [_used(quota.scored.day, "today")]
    if not quota.allowed:
        if quota.next_slot is not None and quota.next_slot > now:
            wait = duration((quota.next_slot - now).total_seconds())
            parts.append(f"next slot {clock(quota.next_slot, now)}, in {wait}")
        elif quota.reason:
            parts.append(text_in_words(quota.reason))
    rest = [
        _used(quota.scored.total, "in total"),
        _used(quota.attempted.day, "attempts today"),
        _used(quota.attempted.total, "attempts in total"),
        _used(quota.concurrent, "at a time"),
    ]
    line = "; ".join(part for part in (", ".join(filter(None, parts)), *rest) if part)
    return line or "no limit"


def _used(use: Use, word: str) -> str:
    return "" if use.limit is None else f"{use.used:,} of {use.limit:,} {word}"


def _table() -> Table:
    return Table(box=box.SIMPLE, pad_edge=False)


def _heading(board: Board) -> str:
    what = "final" if board.final else name_in_words(board.state)
    every = ", every submission" if board.all else ""
    return f"{board.challenge}/{board.track}/{board.stage}: {name_in_words(board.title, 200)} ({what}{every})"


def _below(board: Board) -> list[str]:
    lines = []
    if board.hidden:
        lines.append(f"scores are hidden: {text_in_words(board.hidden)}")
    if board.goal is not None:
        lines.append(f"goal: {_goal_words(board.goal, board.metrics)}")
    if board.goal_reached is not None:
        reached = board.goal_reached
        lines.append(f"first reached by {name_in_words(reached.team.name)}, {past(reached.at)}")
    if board.ranked_by == "holdout":
        lines.append("ranked by the holdout split")
    if any(value for row in board.rows for value in row.scores.values() if value and value.low is not None):
        lines.append("in brackets: 95 % intervals")
    if board.ranges_made is not None and any(row.rank_low is not None for row in board.rows):
        lines.append(f"in parentheses: the ranks that chance allows for, made {past(board.ranges_made)}")
    if board.policy and not board.final:
        lines.append(text_in_words(board.policy))
    if board.made is not None:
        lines.append(f"{quantity(len(board.rows), 'row')}, {past(board.made)}")
    return lines


def _goal_words(goal: Goal, metrics: Sequence[Metric]) -> str:
    metric = next((metric for metric in metrics if metric.name == goal.metric), None)
    if metric is None:
        return f"{name_in_words(goal.metric)} {goal.value:.4g}"
    bound = "at least" if metric.higher_is_better else "at most"
    value = f"{goal.value:g} %" if metric.unit == "percent" else f"{goal.value:.4f}"
    return f"{name_in_words(metric.title)} {bound} {value}"


def _goal(goal: Goal | None, stage: Stage, metrics: Sequence[Metric]) -> str:
    if goal is None:
        return ""
    words = _goal_words(goal, metrics)
    reached = stage.goal_reached
    return words if reached is None else f"{words}: reached by {name_in_words(reached.team.name)}"


def _rank(row: BoardRow) -> str:
    """The rank with its range: ``3 (2–6)``."""
    if row.rank is None:
        return "–"
    if row.rank_low is None or row.rank_high is None:
        return str(row.rank)
    return f"{row.rank} ({row.rank_low}–{row.rank_high})"


def _team(row: BoardRow) -> str:
    name = name_in_words(row.team.name)
    return f"{name} (baseline)" if row.baseline else name


def _failures(row: BoardRow) -> str:
    return "" if row.failed is None else f"{row.failed.failed:,} of {row.failed.points:,}"


def _first_score(submission: Submission, track: Track | None) -> str:
    if submission.scores and track is not None and track.metrics:
        value = submission.scores.get(track.metrics[0].name)
        return "–" if value is None else value_in_words(replace(value, low=None, high=None))
    return "hidden" if submission.hidden and submission.state == "scored" else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _dates(stage: Stage) -> tuple[tuple[datetime | None, datetime | None], ...]:
    return ((stage.opened, stage.opens), (stage.closed, stage.closes))


def _moment(done: datetime | None, planned: datetime | None) -> str:
    """When it was, or is to be."""
    if done is not None:
        return past(done)
    return "" if planned is None else in_words(planned)
