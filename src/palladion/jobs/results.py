"""What an evaluation is about, and what comes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palladion.jobs.context import Service, StageInfo
from palladion.jobs.scorers import Scorer
from palladion.jobs.work import Work
from palladion.scoring import PointScores
from palladion.scoring.point_scores import RankScore
from palladion.storage.evaluations import NewScore
from palladion.storage.tables import Evaluation, Submission

__all__ = ["Scored", "Task"]


@dataclass(frozen=True)
class Task:
    """One submission to be evaluated on one split.

    Attributes:
        work: the job.
        evaluation: as it stood when it was begun.
        submission: the same.
        info: of its stage.
        scorer: the version that scores.
    """

    work: Work
    evaluation: Evaluation
    submission: Submission
    info: StageInfo
    scorer: Scorer

    @property
    def service(self) -> Service:
        """What everything is handed."""
        return self.work.service

    @property
    def split(self) -> str:
        """On which it is evaluated."""
        return self.evaluation.split


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of it.

    Attributes:
        values: of the metrics of the whole; None is undefined.
        scores: the same and those of parts, with their intervals, without what is undefined.
        report: what else there is to say: for organisers, who see everything.
        points: what each data point scored; None: nobody knows.
        score: what the overall score of a language track is made of.
    """

    values: Mapping[str, float | None]
    scores: Sequence[NewScore]
    report: Mapping[str, Any] = field(default_factory=dict)
    points: PointScores | None = None
    score: RankScore = "geometric"
