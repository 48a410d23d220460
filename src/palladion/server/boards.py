"""Leaderboards, made once for each revision of a stage and audience, however many look at them.

There are two audiences: organisers, and everybody else. What a team sees beside that of its own rows is laid over the
board that everybody sees. A board is made of a few statements over what was told (:mod:`palladion.jobs.placing`);
nothing here reads outcomes. Of every submission of a long stage the order is made, and only those rows that somebody
looks at.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final, Generic, NamedTuple, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.challenge import Entry, Kind, Metric, Role, Track, Viewer, labels_of, leak_budget, policy_words, rank
from palladion.challenge import Telling as ToldTelling
from palladion.challenge import Told as ToldValue
from palladion.challenge.success import guess_value
from palladion.errors import PalladionError
from palladion.jobs import placing, standing, telling
from palladion.jobs.context import HOLDOUT, TEST, StageInfo
from palladion.jobs.placing import ANYBODY, ORGANISERS, Placed
from palladion.scoring import PointScores
from palladion.server import models, scores, tables
from palladion.storage import evaluations, stages, standings, teams, tellings
from palladion.storage.tables import Evaluation

__all__ = ["Board", "Boards", "Listing", "audience_of", "leak_of", "make_board", "make_listing", "splits_of"]

_MOST_BOARDS: Final = 256
_MOST_PAGES: Final = 64
"""Of one listing: whoever looks for teams by ever other words pushes out pages, and no board."""
_MOST_POINTS: Final = 60
_CHUNK: Final = 5000

T = TypeVar("T")


@dataclass(frozen=True)
class Board:
    """A leaderboard as an audience sees it.

    Attributes:
        shown: as it is for who is in no team.
        own: of each row what its own team sees besides: the id of the submission, and seconds where it may know them.
        goal: the submission that reached the goal first, which its own team is told.
    """

    shown: models.Leaderboard
    own: Sequence[tuple[str, float | None]]
    goal: str | None = None
    _lines: dict[str, list[bytes]] = field(default_factory=dict, compare=False)

    def for_team(self, team_id: str | None) -> models.Leaderboard:
        """As a team sees it: its own rows are marked."""
        places = [] if team_id is None else [i for i, row in enumerate(self.shown.rows) if row.team.id == team_id]
        if not places:
            return self.shown
        rows = list(self.shown.rows)
        for place in places:
            submission, seconds = self.own[place]
            update = {"mine": True, "submission": submission, "seconds": seconds}
            rows[place] = rows[place].model_copy(update=update)
        changed: dict[str, object] = {"rows": rows}
        reached = self.shown.goal_reached
        if reached is not None and reached.team.id == team_id:
            changed["goal_reached"] = reached.model_copy(update={"submission": self.goal})
        return self.shown.model_copy(update=changed)

    def json(self, team_id: str | None = None) -> bytes:
        """The board as JSON, as a team sees it. Its rows are made once, but for those of the team."""
        shown = self.for_team(team_id)
        rows = self._rows("json", shown, lambda row: row.model_dump_json().encode())
        head, empty = shown.model_copy(update={"rows": []}).model_dump_json().encode(), b"[]}"
        assert head.endswith(b'"rows":' + empty)
        return b"".join((head.removesuffix(empty), b"[", b",".join(rows), b"]}"))

    def csv(self, team_id: str | None = None) -> bytes:
        """The same as CSV."""
        shown = self.for_team(team_id)
        head, line = tables.leaderboard_lines(self.shown)
        return b"".join((head, *self._rows("csv", shown, line)))

    def _rows(self, kind: str, shown: models.Leaderboard, make: Callable[[models.Row], bytes]) -> list[bytes]:
        made = self._lines.get(kind)
        if made is None:
            made = self._lines[kind] = [make(row) for row in self.shown.rows]
        if shown is self.shown:
            return made
        pairs = zip(self.shown.rows, shown.rows, made, strict=True)
        return [line if row is own else make(own) for row, own, line in pairs]


class Line(NamedTuple):
    """A row with what its own team sees besides.

    Attributes:
        row: as everybody sees it.
        submission: its id.
        seconds: where its team may know them.
        hidden: why none of its scores is shown.
    """

    row: models.Row
    submission: str
    seconds: float | None
    hidden: str | None


class Listing:
    """The submissions of a board in their order, whose rows are made when somebody looks. Threads may share it.

    Args:
        head: the board without its rows.
        entries: in the order of the board.
        ranks: of those that have one, by submission.
        goal: the submission that reached the goal first.
        distance: how much of the way to the goal is done with a value.
        make: makes the rows of some entries, in a transaction.
    """

    def __init__(
        self,
        head: models.Leaderboard,
        entries: Sequence[Entry[Placed]],
        ranks: Mapping[str, int | None],
        goal: str | None,
        distance: Callable[[float | None], float | None],
        make: Callable[[Session, Sequence[Entry[Placed]]], list[Line]],
    ) -> None:
        self.head, self.entries, self.ranks, self.distance = head, entries, ranks, distance
        self._goal, self._make = goal, make
        self._lock = threading.Lock()
        self._lines: dict[int, Line] = {}
        self._pages: OrderedDict[tuple[object, ...], Board] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def page(self, tx: Session, name: tuple[object, ...], places: Callable[[], Sequence[int]]) -> Board:
        """The board with some of its rows alone: the same object for all who ask by this name for a while.

        Args:
            tx: a transaction, of the revision that this was made of.
            name: of the page.
            places: says which rows it has, by their places on the board.
        """
        with self._lock:
            if name in self._pages:
                self._pages.move_to_end(name)
                return self._pages[name]
        chosen = places()
        # Of many who look at the same page, one makes it.
        with self._lock:
            if name not in self._pages:
                self._pages[name] = self._part(tx, chosen)
                while len(self._pages) > _MOST_PAGES:
                    self._pages.popitem(last=False)
            return self._pages[name]

    def whole(self, tx: Session) -> Board:
        """The board with all of its rows. It may take seconds, in which others look at parts."""
        return self._part(tx, range(len(self)))

    def _part(self, tx: Session, places: Sequence[int]) -> Board:
        missing = [place for place in places if place not in self._lines]
        made = self._make(tx, [self.entries[place] for place in missing])
        self._lines.update(zip(missing, made, strict=True))
        lines = [self._lines[place] for place in places]
        hidden = [line.hidden for line in lines]
        update = {"rows": [line.row for line in lines], "hidden": hidden[0] if hidden and all(hidden) else None}
        own = [(line.submission, line.seconds) for line in lines]
        return Board(self.head.model_copy(update=update), own, self._goal)


class Boards:
    """What was made of the revisions of stages; threads share it. Of many that ask for one at once, one makes it.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int = _MOST_BOARDS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], _Made[object]] = OrderedDict()

    def get(self, name: tuple[object, ...], revision: tuple[object, ...], make: Callable[[], T]) -> T:
        """What is kept under this name, if it is of this revision; else what ``make`` makes, which is kept then.

        Args:
            name: of what, for whom.
            revision: of what it is made of; an older one is forgotten.
            make: makes it, in the caller's own transaction.
        """
        with self._lock:
            made = self._kept.get(name)
            if made is None or made.revision != revision:
                made = self._kept[name] = _Made(revision)
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        with made.lock:
            if not made.done:
                made.value = make()
                made.done = True
        return made.value  # type: ignore[return-value]  # what was made for this name


class _Made(Generic[T]):
    def __init__(self, revision: tuple[object, ...]) -> None:
        self.revision = revision
        self.lock = threading.Lock()
        self.done = False
        self.value: T | None = None


def audience_of(viewer: Viewer) -> Viewer:
    """Whom a viewer sees the same as, but for their own rows."""
    return ORGANISERS if viewer.role is Role.ORGANISER else ANYBODY


def splits_of(info: StageInfo, viewer: Viewer, now: datetime) -> list[str]:
    """The splits of which an audience may see results."""
    held = info.has_holdout and scores.seen(info, Kind.STATUS, None, HOLDOUT, viewer, now)
    return [TEST, HOLDOUT] if held else [TEST]


def make_board(
    tx: Session,
    info: StageInfo,
    *,
    every: bool,
    split: str | None,
    viewer: Viewer,
    now: datetime,
    leak: models.LeakBudget | None = None,
) -> Board:
    """A leaderboard with all of its rows; the arguments are those of :func:`make_listing`."""
    return make_listing(tx, info, every=every, split=split, viewer=viewer, now=now, leak=leak).whole(tx)


def make_listing(
    tx: Session,
    info: StageInfo,
    *,
    every: bool,
    split: str | None,
    viewer: Viewer,
    now: datetime,
    leak: models.LeakBudget | None = None,
) -> Listing:
    """A leaderboard in its order.

    Args:
        tx: a transaction.
        info: the stage.
        every: every submission, and not the best of each team.
        split: that the values are of, and that ranks; None: of test, ranked by holdout where its results are there.
        viewer: the audience; see :func:`audience_of`.
        now: the time.
        leak: for organisers, of :func:`leak_of`.
    """
    track, metric = info.track, info.track.metric
    of = split or TEST
    found = placing.entries(tx, info, of, viewer, now)
    held: dict[str, Placed] = {}
    if of == TEST and HOLDOUT in splits_of(info, viewer, now):
        held = {one.submission_id: one for one in placing.entries(tx, info, HOLDOUT, viewer, now)}
    ranked_by = of
    if every:
        entries = [_entry(one, one.value) for one in found]
    else:
        # The best on test was chosen before anything was known of the holdout; another choice would not be honest.
        entries = placing.best_of_teams(tx, info, of, found, now)
        if split is None and any(entry.submission in held for entry in entries):
            ranked_by = HOLDOUT
            values = {one: placed.value for one, placed in held.items()}
            entries = [_entry(entry.item, values.get(entry.submission)) for entry in entries]
    all_ranked = rank(entries, metric)
    ordered = [ranked.entry for ranked in all_ranked]
    competing = [entry for entry in entries if not entry.item.baseline]
    if len(competing) < len(entries):
        all_ranked = rank(competing, metric)
    ranks = {ranked.entry.submission: ranked.rank for ranked in all_ranked}
    standing_row = None if every else standings.of(tx, info.row.id, ranked_by, info.row.scorer)
    ranges = (
        {} if standing_row is None else standing.ranges(standing_row.document, organisers=viewer.role is Role.ORGANISER)
    )
    histories = {} if every else _histories(found, metric)
    goals = scores.goals_shown(info, viewer, now)
    goal, guess = track.goal(info.stage), _guess(info)
    timing = scores.seen(info, Kind.OUTCOME, "", of, Viewer(Role.PARTICIPANT, ""), now)
    organiser = viewer.role is Role.ORGANISER
    metrics = {one.name: one for one in track.all_metrics}

    def make(tx: Session, wanted: Sequence[Entry[Placed]]) -> list[Line]:
        runs = [entry.item.evaluation_id for entry in wanted]
        runs_held = {
            entry.submission: held[entry.submission].evaluation_id for entry in wanted if entry.submission in held
        }
        known = scores.known_scores(tx, [*runs, *runs_held.values()])
        reports = _reports(tx, runs) if info.detection else {}
        lines = []
        for entry in wanted:
            one = entry.item
            told = scores.told(info, of, one.team_id, known[one.evaluation_id], viewer, now, metrics)
            run = runs_held.get(one.submission_id)
            report = reports.get(one.evaluation_id, {})
            counted = scores.failures(report)
            spent = scores.seconds(report)
            range_ = ranges.get(one.team_id)
            ranked = ranks.get(one.submission_id)
            compared = held[one.submission_id] if ranked_by == HOLDOUT and run is not None else one
            if range_ is not None and (range_.evaluation_id != compared.evaluation_id or ranked is None):
                range_ = None
            row = models.Row(
                rank=ranked,
                rank_low=None if range_ is None or ranked is None else min(range_.low, ranked),
                rank_high=None if range_ is None or ranked is None else max(range_.high, ranked),
                tied=range_ is not None and range_.tied,
                baseline=one.baseline,
                team=models.TeamName(id=one.team_id, name=one.team),
                mine=False,
                submission=one.submission_id if organiser else None,
                ordinal=one.ordinal,
                created=one.created,
                scores=told.of(track),
                tasks=told.by_task(track),
                hidden=told.hidden,
                holdout=None
                if run is None
                else scores.told(info, HOLDOUT, one.team_id, known[run], viewer, now, metrics).of(track),
                failed=None if counted is None else models.Failed(points=counted[0], failed=counted[1]),
                missing=None if counted is None else counted[1],
                seconds=spent if organiser else None,
                distance=_distance(metric, entry.value, guess, goal),
                history=histories.get(one.team_id, []),
                goal_reached=one.goal and goals,
            )
            lines.append(Line(row, one.submission_id, spent if organiser or timing else None, told.hidden))
        return lines

    head = models.Leaderboard(
        challenge=info.challenge.name,
        track=info.row.track,
        stage=info.row.name,
        title=info.stage.title,
        state=info.row.state,
        all=every,
        final=scores.published(info, now),
        split=of,
        splits=splits_of(info, viewer, now),
        ranked_by=ranked_by,
        hidden=None,
        policy=policy_words(track.feedback, metric),
        metrics=[board_metric(track, one) for one in track.all_metrics],
        goal=None if goal is None else models.Goal(metric=metric.name, value=goal),
        guess=guess,
        goal_reached=goal_reached(tx, info, viewer, now),
        leak=leak if organiser else None,
        ranges_made=None if standing_row is None else standing_row.made,
        revision=info.row.revision,
        made=now,
        rows=[],
    )
    reached = next(iter(stages.goals_of(tx, info.row.id)), None)
    return Listing(
        head,
        ordered,
        ranks,
        None if reached is None else reached.id,
        lambda value: _distance(metric, value, guess, goal),
        make,
    )


def board_metric(track: Track, metric: Metric) -> models.BoardMetric:
    """A column of a leaderboard."""
    return models.BoardMetric(
        name=metric.name,
        title=metric.title,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        digits=scores.digits_of(track, metric),
    )


def goal_reached(tx: Session, info: StageInfo, viewer: Viewer, now: datetime) -> models.GoalReached | None:
    """Who reached the goal first, where that may be told."""
    first = next(iter(stages.goals_of(tx, info.row.id)), None)
    if first is None or first.goal is None or not scores.goals_shown(info, viewer, now):
        return None
    team = teams.by_id(tx, first.team_id)
    mine = viewer.role is Role.ORGANISER or team.id == viewer.team
    return models.GoalReached(
        at=first.goal, team=models.TeamName(id=team.id, name=team.name), submission=first.id if mine else None
    )


def leak_of(tx: Session, info: StageInfo) -> models.LeakBudget | None:
    """How much the scores that were told may give away of the labels of the test split; None where it is open, or
    nothing is known of its size: for organisers.

    Raises:
        PalladionError: the data of the stage cannot be read.
    """
    if info.stage.dry_run:
        return None
    told = tellings.of_stage(tx, info.row.id, TEST)
    points = _any_points(tx, {one.source for one in told})
    if points is None:
        return None
    # What is told may give away the labels of those data points that it is of.
    points = telling.told_part(points, info, telling.point_names(info))
    goals = {row.team_id: row.ordinal for row in stages.goals_of(tx, info.row.id)}
    given = []
    for evaluation_id, group in groupby(told, lambda one: one.evaluation_id):
        rows = list(group)
        better = any(one.value is not None and one.source == evaluation_id for one in rows)
        values = {
            f"{one.task}/{one.metric}" if one.task else one.metric: ToldValue(one.value, "", "", one.low, one.high)
            for one in rows
        }
        given.append(ToldTelling(rows[0].team_id, better, values, rows[0].scorer))
    found = leak_budget(info.track.feedback, info.track.all_metrics, given, labels=labels_of(points), goals=goals)
    known = {row.id: row.name for row in teams.of_challenge(tx, info.challenge.id)}
    return models.LeakBudget(
        bits=found.bits,
        labels=found.labels,
        share=found.share,
        over=found.over,
        words=found.words,
        teams=[
            models.LeakTeam(
                team=models.TeamName(id=one.team, name=known.get(one.team, one.team)),
                tellings=one.tellings,
                submissions=one.submissions,
                bits=one.bits,
                share=one.share,
            )
            for one in found.teams
        ],
    )


def _any_points(tx: Session, evaluation_ids: Iterable[str]) -> PointScores | None:
    for one in sorted(evaluation_ids)[:_MOST_POINTS]:
        data = evaluations.point_scores(tx, [one]).get(one)
        if data is not None:
            try:
                return PointScores.from_bytes(data)
            except PalladionError:
                return None
    return None


def _entry(one: Placed, value: float | None) -> Entry[Placed]:
    return Entry(one.team_id, one.submission_id, value, one.created, one)


def _reports(tx: Session, evaluation_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
    found: dict[str, Mapping[str, object]] = {}
    wanted = sorted(set(evaluation_ids))
    for start in range(0, len(wanted), _CHUNK):
        rows = tx.execute(
            select(Evaluation.id, Evaluation.report).where(Evaluation.id.in_(wanted[start : start + _CHUNK]))
        )
        found |= {evaluation_id: report for evaluation_id, report in rows}  # noqa: C416 - rows are no tuples
    return found


def _histories(found: Iterable[Placed], metric: Metric) -> dict[str, list[models.HistoryPoint]]:
    """How the best of each team came to be: a point for each time that it got better."""
    best: dict[str, float] = {}
    points: dict[str, list[models.HistoryPoint]] = {}
    for one in sorted(found, key=lambda one: (one.finished, one.submission_id)):
        if one.value is None or (one.team_id in best and not metric.is_better(one.value, best[one.team_id])):
            continue
        best[one.team_id] = one.value
        points.setdefault(one.team_id, []).append(models.HistoryPoint(at=one.finished, value=one.value))
    return {team: [shown[0], *shown[1:][-_MOST_POINTS + 1 :]] for team, shown in points.items()}


def _guess(info: StageInfo) -> float | None:
    return guess_value(info.track.metric, info.stage.prevalence) if info.detection else None


def _distance(metric: Metric, value: float | None, guess: float | None, goal: float | None) -> float | None:
    """The share of the way from guessing, or from nothing where there is no guess, to the goal."""
    if value is None or goal is None:
        return None
    start = metric.merit(0.0 if guess is None else guess)
    way = metric.merit(goal) - start
    if way <= 0:
        return None
    return min(1.0, max(0.0, (metric.merit(value) - start) / way))
