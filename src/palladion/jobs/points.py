"""What each data point of an evaluation scored, for statistics of several submissions.

It is kept with the scores. Of evaluations that were ended by a version of Palladion that did not keep it, it is made
once more: code is not run again, for what it answered is there; outputs are scored again.
"""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from palladion.errors import PalladionError, ScoringError
from palladion.execution.slots import Stop
from palladion.jobs.context import Service, StageInfo
from palladion.jobs.scoring import score_again
from palladion.models import RoundDirectory
from palladion.scoring import UNANSWERED_PROBABILITY, PointScores
from palladion.storage import evaluations, submissions

__all__ = ["Truth", "points_of"]

_log = logging.getLogger(__name__)


def points_of(
    service: Service, info: StageInfo, split: str, evaluation_ids: Iterable[str], *, stop: Stop | None = None
) -> dict[str, PointScores]:
    """What each data point of these evaluations scored, by evaluation; without those of which it cannot be known.

    No transaction is open while what is not there is made.

    Args:
        service: the service.
        info: the stage of all of them.
        split: of all of them.
        evaluation_ids: that are done.
        stop: asks for the end of it.

    Raises:
        Stopped: it was asked to end.
    """
    wanted = sorted(set(evaluation_ids))
    with service.database.read() as tx:
        kept = evaluations.point_scores(tx, wanted)
    found = {}
    for one, data in kept.items():
        # It may come from elsewhere, with a challenge that was imported.
        with contextlib.suppress(ScoringError):
            found[one] = PointScores.from_bytes(data)
    for one in wanted:
        if one in found:
            continue
        try:
            made = _detection(service, info, split, one) if info.detection else _outputs(service, info, one, stop)
        except (PalladionError, TypeError, ValueError) as error:
            # Not why: it may be about what is sealed.
            _log.warning("evaluation %s: what its data points scored is not known: %s", one, type(error).__name__)
            continue
        if made is not None:
            found[one] = made
            service.database.run(evaluations.keep_points, one, made.to_bytes())
    return found


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of the n models of a split of a detection round, in the order of their names.

    Attributes:
        names: of the models.
        poisoned: their labels.
        clusters: the cluster of each, as the track has them; None: each is one of its own.
    """

    names: tuple[str, ...]
    poisoned: tuple[bool, ...]
    clusters: tuple[int, ...] | None

    @classmethod
    def of(cls, info: StageInfo, split: str) -> "Truth":
        """That of a stage.

        Raises:
            InputError: its data is at fault.
        """
        there = RoundDirectory.open(info.data).split(split)
        labels, names = there.labels(), [entry.name for entry in there.models()]
        clusters = None
        if info.track.clusters:
            found = there.clusters(info.track.clusters)
            numbers = {cluster: number for number, cluster in enumerate(sorted(set(found)))}
            clusters = tuple(numbers[cluster] for cluster in found)
        return cls(tuple(names), tuple(labels[name] for name in names), clusters)

    def points(self, answers: Sequence[float | None]) -> PointScores:
        """What answers score; None is no answer."""
        import numpy as np

        count = len(self.names)
        return PointScores(
            "detection",
            {
                "probability": np.array(
                    [UNANSWERED_PROBABILITY if answer is None else float(answer) for answer in answers]
                ),
                "poisoned": np.array(self.poisoned, dtype=np.bool_),
                "cluster": np.array(range(count) if self.clusters is None else self.clusters, dtype=np.int32),
            },
        )


def _detection(service: Service, info: StageInfo, split: str, evaluation_id: str) -> PointScores | None:
    """Of the outcomes; None where they do not fit the labels that there are."""
    truth = Truth.of(info, split)
    with service.database.read() as tx:
        rows = {row.point: row for row in evaluations.outcomes(tx, evaluation_id)}
    if any(name not in rows for name in truth.names):
        return None
    return truth.points([rows[name].answer for name in truth.names])


def _outputs(service: Service, info: StageInfo, evaluation_id: str, stop: Stop | None) -> PointScores | None:
    with service.database.read() as tx:
        submission = submissions.by_id(tx, evaluations.by_id(tx, evaluation_id).submission_id)
    return score_again(service, info, submission, stop or Stop())
