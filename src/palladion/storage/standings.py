"""The ranges of ranks of a stage, as they were made last; see :mod:`palladion.jobs.standing`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.storage import stages
from palladion.storage.database import insert
from palladion.storage.tables import Stage, Standing, Submission

__all__ = ["missing", "of", "write"]


def missing(tx: Session) -> list[str]:
    """The stages that have scored submissions and no ranges, by the version of the scorer that they show."""
    made = select(Standing.stage_id).where(Standing.stage_id == Stage.id, Standing.scorer == Stage.scorer)
    scored = select(Submission.id).where(Submission.stage_id == Stage.id, Submission.state == "scored")
    return list(tx.execute(select(Stage.id).where(~made.exists(), scored.exists()).order_by(Stage.id)).scalars())


def of(tx: Session, stage_id: str, split: str, scorer: str) -> Standing | None:
    """The last ones; None: they were never made."""
    return tx.get(Standing, (stage_id, split, scorer), populate_existing=True)


def write(
    tx: Session, stage_id: str, split: str, scorer: str, document: Mapping[str, Any], *, revision: int, now: datetime
) -> None:
    """Put these in the place of the last ones.

    Args:
        tx: a write transaction.
        stage_id: the stage.
        split: of which split.
        scorer: by which version of the scorer.
        document: JSON without NaN.
        revision: of the stage when they were made.
        now: the time.
    """
    values = {"revision": revision, "made": now, "document": dict(document)}
    tx.execute(
        insert(tx, Standing)
        .values({"stage_id": stage_id, "split": split, "scorer": scorer, **values})
        .on_conflict_do_update(index_elements=["stage_id", "split", "scorer"], set_=values)
    )
    stages.touch(tx, stage_id)
