"""The ranges of the ranks of a stage: a job of its own, for comparing all teams with each other takes seconds.

It is asked for whenever what a leaderboard shows may have changed, and done at most once in some seconds a stage. What
it makes is put beside the board with the time when it was made; a row shows its range as long as it still shows the
submission that the range is of.

The ranges are of what an audience knows: the submission of each team that the audience takes for its best, compared
by the data points that its value was told on. So nothing is said of a submission of which nothing is told.

It first tells of what was scored again and not told yet; see :mod:`palladion.jobs.telling`.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.challenge import Viewer
from palladion.challenge.ranking import is_scored
from palladion.errors import ScoringError
from palladion.execution.slots import Stop, Stopped
from palladion.jobs import placing, telling
from palladion.jobs.claiming import STANDING
from palladion.jobs.context import HOLDOUT, TEST, Service, StageInfo
from palladion.jobs.placing import ANYBODY, ORGANISERS, Placed
from palladion.jobs.points import points_of
from palladion.jobs.work import Later, Work
from palladion.scoring import paired_draws, rank_ranges
from palladion.storage import evaluations, queue, standings
from palladion.storage.errors import LeaseLost
from palladion.storage.tables import Evaluation, Stage, Submission

__all__ = ["Range", "make", "ranges", "request"]

_log = logging.getLogger(__name__)

_PAUSE: Final = timedelta(seconds=5)
# Of the time that it takes: it leaves the machine to others.
_SHARE: Final = 5
_PRIORITY: Final = -5
_REPLICATES: Final = 2000
_PUBLIC: Final = "public"
_ORGANISERS: Final = "organisers"


@dataclass(frozen=True, slots=True)
class Range:
    """The range of a rank.

    Attributes:
        evaluation_id: of what a row must show for it to be its own.
        low, high: the best rank and the worst.
        tied: whether it cannot be told apart from the best.
    """

    evaluation_id: str
    low: int
    high: int
    tied: bool


def request(tx: Session, stage_id: str, *, now: datetime) -> None:
    """Ask for the ranges to be made anew, in a transaction that has changed the stage (and so locked its row)."""
    queue.renew(tx, STANDING, stage_id, now=now, due=now + _PAUSE, priority=_PRIORITY)


def ranges(document: Mapping[str, Any], *, organisers: bool) -> dict[str, Range]:
    """The ranges by team, as :func:`make` has written them for an audience."""
    found = document.get(_ORGANISERS if organisers else _PUBLIC, {})
    return {team: Range(str(row[0]), int(row[1]), int(row[2]), bool(row[3])) for team, row in found.items()}


def make(work: Work) -> None:
    """Do a job of the kind ``standing``: its subject is a stage.

    Raises:
        LeaseLost: the job is somebody else's by now.
        Later: there is more to do, in some seconds.
        Stopped: the worker was stopped.
        PalladionError: the data of the stage cannot be read.
    """
    service, stage_id = work.service, work.job.subject
    begun = time.monotonic()
    with service.database.read() as tx:
        scorers = _scorers(tx, stage_id)
    for scorer in scorers:
        telling.catch_up(service, stage_id, scorer, asked=lambda: work.stop.asked)
    if work.stop.asked:
        raise Stopped("stopped between two steps")
    with service.database.read() as tx:
        info = service.stage(tx, stage_id)
        seen = _seen(tx, info, service.now())
        known = {split: standings.of(tx, stage_id, split, info.row.scorer) for split in seen}
    documents = {}
    for split, found in seen.items():
        fingerprint = _fingerprint(found)
        kept = known[split]
        if kept is None or kept.document.get("of") != fingerprint:
            documents[split] = {"of": fingerprint, **_compared(service, info, split, found, work.stop)}
    took = timedelta(seconds=time.monotonic() - begun)
    more = service.database.run(_write, work, info, seen, documents, now=service.now())
    _log.info("stage %s: ranges of ranks of %s", stage_id, ", ".join(documents) or "nothing new")
    if more:
        raise Later(max(_PAUSE, _SHARE * took), "what the leaderboard shows has changed meanwhile")


def _scorers(tx: Session, stage_id: str) -> list[str]:
    """The versions of the scorer that have evaluated submissions of a stage."""
    rows = tx.execute(
        select(Evaluation.scorer)
        .join(Submission, Submission.id == Evaluation.submission_id)
        .where(Submission.stage_id == stage_id)
        .distinct()
    )
    return sorted(rows.scalars())


_Seen = Mapping[str, Mapping[str, Sequence[Placed]]]
"""By split and audience, the best of each team that competes and has a value."""


def _seen(tx: Session, info: StageInfo, now: datetime) -> dict[str, dict[str, list[Placed]]]:
    splits = [TEST, HOLDOUT] if info.row.concluded is not None and info.has_holdout else [TEST]
    audiences = {_PUBLIC: ANYBODY, _ORGANISERS: ORGANISERS}
    return {
        split: {name: _best(tx, info, split, viewer, now) for name, viewer in audiences.items()} for split in splits
    }


def _best(tx: Session, info: StageInfo, split: str, viewer: Viewer, now: datetime) -> list[Placed]:
    found = [one for one in placing.entries(tx, info, split, viewer, now) if not one.baseline]
    best = [entry.item for entry in placing.best_of_teams(tx, info, split, found, now)]
    return sorted((one for one in best if is_scored(one.value)), key=lambda one: one.team_id)


def _fingerprint(found: Mapping[str, Sequence[Placed]]) -> dict[str, Any]:
    return {name: [[one.evaluation_id, one.source, one.value] for one in shown] for name, shown in found.items()}


def _compared(
    service: Service, info: StageInfo, split: str, found: Mapping[str, Sequence[Placed]], stop: Stop
) -> dict[str, dict[str, list[Any]]]:
    """The ranges of each audience, by team; none where the data points do not fit each other."""
    wanted = sorted({one.source for shown in found.values() for one in shown})
    with service.database.read() as tx:
        first = evaluations.by_id(tx, wanted[0]) if wanted else None
    score = telling.rank_score({} if first is None else first.report)
    points = points_of(service, info, split, wanted, stop=stop)
    sealed = telling.is_told(info, split)
    names = telling.point_names(info, split) if sealed else None
    final = info.row.concluded is not None
    metric = info.track.metric
    documents: dict[str, dict[str, list[Any]]] = {}
    draws: dict[tuple[str, bool], Any] = {}
    for audience, shown in found.items():
        parts = sealed and audience == _PUBLIC
        there = [one for one in shown if one.source in points]
        missing = [one.source for one in there if (one.source, parts) not in draws]
        try:
            if missing:
                compared = [
                    telling.told_part(points[one], info, names, final=final)
                    if parts
                    else points[one].clipped(info.track.feedback.clip if not info.stage.dry_run else None)
                    for one in missing
                ]
                # The same seed for each audience: the same resamples of the same data points.
                made = paired_draws(compared, metric.name, score=score, replicates=_REPLICATES)
                draws |= {(one, parts): row for one, row in zip(missing, made, strict=True)}
            documents[audience] = _ranges(there, [draws[one.source, parts] for one in there], metric.higher_is_better)
        except ScoringError as error:
            _log.warning("stage %s: no ranges of ranks: %s", info.row.id, error)
            documents[audience] = {}
    return documents


def _ranges(shown: Sequence[Placed], draws: Sequence[Any], higher_is_better: bool) -> dict[str, list[Any]]:
    import numpy as np

    if not shown:
        return {}
    values = [one.value for one in shown if one.value is not None]
    found = rank_ranges(values, np.array(draws), higher_is_better=higher_is_better)
    return {
        # What is told is rounded: an equal rank may be shared by some that can be told apart.
        one.team_id: [one.evaluation_id, min(row.low, row.rank), max(row.high, row.rank), row.tied]
        for one, row in zip(shown, found, strict=True)
    }


def _write(
    tx: Session, work: Work, info: StageInfo, seen: _Seen, documents: Mapping[str, Any], *, now: datetime
) -> bool:
    """Write the ranges and end the job; whether there is more to do, and the job goes on."""
    stage_id = work.job.subject
    if not queue.holds(tx, work.job.id, work.lease):
        raise LeaseLost(f"the job {work.job.id} is not held by this lease any more")
    # Whoever changes what a board shows locks this row before asking for ranges: either they see that this job has
    # ended, or this sees what they have changed.
    tx.execute(select(Stage.id).where(Stage.id == stage_id).with_for_update()).one()
    current = work.service.stage(tx, stage_id)
    tx.refresh(current.row)
    for split, document in documents.items():
        standings.write(tx, stage_id, split, info.row.scorer, document, revision=current.row.revision, now=now)
    now_seen = _seen(tx, current, now)
    same = {split: _fingerprint(found) for split, found in now_seen.items()} == {
        split: _fingerprint(found) for split, found in seen.items()
    }
    if same and current.row.scorer == info.row.scorer:
        queue.finish(tx, work.job.id, work.lease, now=now)
        return False
    return True
