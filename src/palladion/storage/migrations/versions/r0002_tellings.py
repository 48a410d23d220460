"""What was told is kept, with what each data point scored and the ranges of ranks; baselines.

Scores that are there were told by the policy of their track at each look. What they were told as is written down here,
so that nobody is told more of them, or less, than before.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from palladion.storage.migrations.told_before import Score, tellings

revision = "0002"
down_revision = "0001"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.String(27).with_variant(postgresql.VARCHAR(27, collation="C"), "postgresql")
LARGE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ROWS = 1000


def upgrade() -> None:
    """Bring the tables up to this revision."""
    # Added one by one: to make a table anew, which others refer to, SQLite would have to forget about references.
    op.add_column("stages", sa.Column("revision", LARGE, nullable=False, server_default=sa.text("0")))
    op.add_column("stages", sa.Column("salt", WORDS, nullable=False, server_default=sa.text("''")))
    op.add_column("teams", sa.Column("baseline", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "point_scores",
        sa.Column("evaluation_id", WORDS, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"], name=op.f("fk_point_scores_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_point_scores")),
    )
    told = op.create_table(
        "tellings",
        sa.Column("evaluation_id", WORDS, nullable=False),
        sa.Column("moment", WORDS, nullable=False),
        sa.Column("task", WORDS, nullable=False),
        sa.Column("metric", WORDS, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("text", WORDS, nullable=False),
        sa.Column("note", WORDS, nullable=False),
        sa.Column("source", WORDS, nullable=False),
        sa.CheckConstraint("moment IN ('open', 'final')", name=op.f("ck_tellings_moment")),
        sa.CheckConstraint("high BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_tellings_high")),
        sa.CheckConstraint("low BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_tellings_low")),
        sa.CheckConstraint("value BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_tellings_value")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"], name=op.f("fk_tellings_evaluation_id")),
        sa.ForeignKeyConstraint(["source"], ["evaluations.id"], name=op.f("fk_tellings_source")),
        sa.PrimaryKeyConstraint("evaluation_id", "moment", "task", "metric", name=op.f("pk_tellings")),
    )
    op.create_table(
        "standings",
        sa.Column("stage_id", WORDS, nullable=False),
        sa.Column("split", WORDS, nullable=False),
        sa.Column("scorer", WORDS, nullable=False),
        sa.Column("revision", LARGE, nullable=False),
        sa.Column("made", INSTANT, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["stage_id"], ["stages.id"], name=op.f("fk_standings_stage_id")),
        sa.PrimaryKeyConstraint("stage_id", "split", "scorer", name=op.f("pk_standings")),
    )
    connection = op.get_bind()
    stages = connection.execute(
        sa.text(
            "SELECT stages.id, stages.track, challenges.definition FROM stages "
            "JOIN challenges ON challenges.id = stages.challenge_id ORDER BY stages.id"
        )
    ).all()
    for stage_id, track, definition in stages:
        salt = "".join(secrets.choice(_ALPHABET) for _ in range(20))
        connection.execute(sa.text("UPDATE stages SET salt = :salt WHERE id = :id"), {"salt": salt, "id": stage_id})
        batch: list[dict[str, Any]] = []
        for row in tellings(definition, track, _scores(connection, stage_id)):
            batch.append(row)
            if len(batch) == _ROWS:
                connection.execute(told.insert(), batch)
                batch = []
        if batch:
            connection.execute(told.insert(), batch)


def _scores(connection: sa.Connection, stage_id: str) -> Iterator[Score]:
    """What leaderboards and pages of submissions told of: the test split, by the version of the scorer they showed."""
    rows = connection.execute(
        sa.text(
            "SELECT evaluations.id, submissions.team_id, scores.task, scores.metric, scores.value, scores.low, "
            "scores.high FROM scores "
            "JOIN evaluations ON evaluations.id = scores.evaluation_id "
            "JOIN submissions ON submissions.id = evaluations.submission_id "
            "JOIN stages ON stages.id = submissions.stage_id "
            "WHERE stages.id = :id AND evaluations.split = 'test' AND evaluations.state = 'done' "
            "AND evaluations.scorer = stages.scorer AND submissions.state IN ('scored', 'cancelled') "
            "ORDER BY evaluations.finished, evaluations.id, scores.task, scores.metric"
        ),
        {"id": stage_id},
    )
    # All of it now: the same connection writes meanwhile.
    return iter([Score(*row) for row in rows.all()])
