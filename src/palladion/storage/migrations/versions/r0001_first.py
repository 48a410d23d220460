"""The tables as they were at first."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

# As in palladion.storage.tables, but written out: a migration does not change when the tables do.
WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.String(27).with_variant(postgresql.VARCHAR(27, collation="C"), "postgresql")
LARGE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the tables up to this revision."""
    op.create_table(
        "accounts",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("email", WORDS, nullable=True),
        sa.Column("password", WORDS, nullable=True),
        sa.Column("issuer", WORDS, nullable=True),
        sa.Column("subject", WORDS, nullable=True),
        sa.Column("role", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("mail", sa.Boolean(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("role IN ('organiser', 'participant', 'observer')", name=op.f("ck_accounts_role")),
        sa.CheckConstraint("state IN ('pending', 'active', 'disabled')", name=op.f("ck_accounts_state")),
        sa.CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name=op.f("ck_accounts_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("email", name=op.f("uq_accounts_email")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_accounts_issuer_subject")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "artifacts",
        sa.Column("sha256", WORDS, nullable=False),
        sa.Column("bytes", LARGE, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_artifacts_bytes")),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_artifacts_sha256")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "challenges",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("title", WORDS, nullable=False),
        sa.Column("definition", WORDS, nullable=False),
        sa.Column("folder", WORDS, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("changed", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_challenges")),
        sa.UniqueConstraint("name", name=op.f("uq_challenges_name")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due", INSTANT, nullable=False),
        sa.Column("lease", WORDS, nullable=True),
        sa.Column("worker", WORDS, nullable=True),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("reason", WORDS, nullable=True),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("started", INSTANT, nullable=True),
        sa.Column("finished", INSTANT, nullable=True),
        sa.CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name=op.f("ck_jobs_lease")),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_jobs_lease_until")),
        sa.CheckConstraint("(state = 'running') = (worker IS NOT NULL)", name=op.f("ck_jobs_worker")),
        sa.CheckConstraint("(state IN ('queued', 'running')) = (finished IS NULL)", name=op.f("ck_jobs_finished")),
        sa.CheckConstraint("reason IS NOT NULL OR state NOT IN ('failed', 'cancelled')", name=op.f("ck_jobs_reason")),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_jobs_state")),
        sa.CheckConstraint("attempts >= 0 AND losses >= 0", name=op.f("ck_jobs_counts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_jobs_kind_subject")),
    )
    op.create_index(
        "ix_jobs_running",
        "jobs",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "login_failures",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_at"), "login_failures", ["at"], unique=False)
    op.create_index(op.f("ix_login_failures_key_at"), "login_failures", ["key", "at"], unique=False)
    op.create_table(
        "workers",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("host", WORDS, nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("started", INSTANT, nullable=False),
        sa.Column("seen", INSTANT, nullable=False),
        sa.Column("stopped", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "audit",
        sa.Column("number", LARGE, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("challenge_id", WORDS, nullable=True),
        sa.ForeignKeyConstraint(["challenge_id"], ["challenges.id"], name=op.f("fk_audit_challenge_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_challenge_id_number"), "audit", ["challenge_id", "number"], unique=False)
    op.create_table(
        "stages",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("challenge_id", WORDS, nullable=False),
        sa.Column("track", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("scorer", WORDS, nullable=False),
        sa.Column("opens", INSTANT, nullable=True),
        sa.Column("closes", INSTANT, nullable=True),
        sa.Column("opened", INSTANT, nullable=True),
        sa.Column("closed", INSTANT, nullable=True),
        sa.Column("concluded", INSTANT, nullable=True),
        sa.CheckConstraint("state <> 'concluded' OR concluded IS NOT NULL", name=op.f("ck_stages_concluded")),
        sa.CheckConstraint("state IN ('planned', 'open', 'closed', 'concluded')", name=op.f("ck_stages_state")),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_stages_ordinal")),
        sa.ForeignKeyConstraint(["challenge_id"], ["challenges.id"], name=op.f("fk_stages_challenge_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stages")),
        sa.UniqueConstraint("challenge_id", "track", "name", name=op.f("uq_stages_challenge_id_track_name")),
        sa.UniqueConstraint("challenge_id", "track", "ordinal", name=op.f("uq_stages_challenge_id_track_ordinal")),
        sa.UniqueConstraint("id", "challenge_id", name=op.f("uq_stages_id_challenge_id")),
    )
    op.create_table(
        "teams",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("challenge_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("state IN ('pending', 'approved', 'refused')", name=op.f("ck_teams_state")),
        sa.ForeignKeyConstraint(["challenge_id"], ["challenges.id"], name=op.f("fk_teams_challenge_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("challenge_id", "key", name=op.f("uq_teams_challenge_id_key")),
        sa.UniqueConstraint("id", "challenge_id", name=op.f("uq_teams_id_challenge_id")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("digest", WORDS, nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("expires", INSTANT, nullable=True),
        sa.Column("revoked", INSTANT, nullable=True),
        sa.Column("used", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_account_id"), "tokens", ["account_id"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("sha256", WORDS, nullable=False),
        sa.Column("bytes", LARGE, nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("expires", INSTANT, nullable=False),
        sa.Column("completed", INSTANT, nullable=True),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_uploads_bytes")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_account_id"), "uploads", ["account_id"], unique=False)
    op.create_index(op.f("ix_uploads_expires"), "uploads", ["expires"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("team_id", WORDS, nullable=False),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("digest", WORDS, nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("expires", INSTANT, nullable=False),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_invitations_uses_left")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_invitations_account_id")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_invitations_team_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("digest", name=op.f("uq_invitations_digest")),
    )
    op.create_index(op.f("ix_invitations_team_id"), "invitations", ["team_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("team_id", WORDS, nullable=False),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("challenge_id", WORDS, nullable=False),
        sa.Column("captain", sa.Boolean(), nullable=False),
        sa.Column("joined", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_memberships_account_id")),
        sa.ForeignKeyConstraint(
            ["team_id", "challenge_id"],
            ["teams.id", "teams.challenge_id"],
            name=op.f("fk_memberships_team_id_challenge_id"),
        ),
        sa.PrimaryKeyConstraint("team_id", "account_id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("challenge_id", "account_id", name=op.f("uq_memberships_challenge_id_account_id")),
    )
    op.create_index(op.f("ix_memberships_account_id"), "memberships", ["account_id"], unique=False)
    op.create_table(
        "stage_steps",
        sa.Column("stage_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("started", INSTANT, nullable=False),
        sa.Column("finished", INSTANT, nullable=True),
        sa.CheckConstraint("finished IS NULL OR finished >= started", name=op.f("ck_stage_steps_order")),
        sa.ForeignKeyConstraint(["stage_id"], ["stages.id"], name=op.f("fk_stage_steps_stage_id")),
        sa.PrimaryKeyConstraint("stage_id", "name", name=op.f("pk_stage_steps")),
    )
    op.create_table(
        "submissions",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("challenge_id", WORDS, nullable=False),
        sa.Column("stage_id", WORDS, nullable=False),
        sa.Column("team_id", WORDS, nullable=False),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("artifact", WORDS, nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=True),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("finished", INSTANT, nullable=True),
        sa.Column("goal", INSTANT, nullable=True),
        sa.CheckConstraint("(state = 'pending') = (finished IS NULL)", name=op.f("ck_submissions_finished")),
        sa.CheckConstraint("kind IN ('code', 'outputs')", name=op.f("ck_submissions_kind")),
        sa.CheckConstraint("reason IS NOT NULL OR state IN ('pending', 'scored')", name=op.f("ck_submissions_reason")),
        sa.CheckConstraint(
            "state IN ('pending', 'scored', 'failed', 'rejected', 'cancelled')", name=op.f("ck_submissions_state")
        ),
        sa.CheckConstraint("ordinal >= 1", name=op.f("ck_submissions_ordinal")),
        sa.CheckConstraint("repeat >= 0", name=op.f("ck_submissions_repeat")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_submissions_account_id")),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.sha256"], name=op.f("fk_submissions_artifact")),
        sa.ForeignKeyConstraint(
            ["stage_id", "challenge_id"],
            ["stages.id", "stages.challenge_id"],
            name=op.f("fk_submissions_stage_id_challenge_id"),
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "challenge_id"],
            ["teams.id", "teams.challenge_id"],
            name=op.f("fk_submissions_team_id_challenge_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
        sa.UniqueConstraint(
            "stage_id", "team_id", "artifact", "repeat", name=op.f("uq_submissions_stage_id_team_id_artifact_repeat")
        ),
        sa.UniqueConstraint("stage_id", "team_id", "ordinal", name=op.f("uq_submissions_stage_id_team_id_ordinal")),
    )
    op.create_index(op.f("ix_submissions_artifact"), "submissions", ["artifact"], unique=False)
    op.create_index(
        op.f("ix_submissions_challenge_id_created"), "submissions", ["challenge_id", "created"], unique=False
    )
    op.create_index(op.f("ix_submissions_team_id_created"), "submissions", ["team_id", "created"], unique=False)
    op.create_index(
        "uq_submissions_goal",
        "submissions",
        ["stage_id", "team_id"],
        unique=True,
        sqlite_where=sa.text("goal IS NOT NULL"),
        postgresql_where=sa.text("goal IS NOT NULL"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("challenge_id", WORDS, nullable=False),
        sa.Column("team_id", WORDS, nullable=True),
        sa.Column("account_id", WORDS, nullable=False),
        sa.Column("url", WORDS, nullable=False),
        sa.Column("secret", WORDS, nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_webhooks_account_id")),
        sa.ForeignKeyConstraint(["challenge_id"], ["challenges.id"], name=op.f("fk_webhooks_challenge_id")),
        sa.ForeignKeyConstraint(
            ["team_id", "challenge_id"],
            ["teams.id", "teams.challenge_id"],
            name=op.f("fk_webhooks_team_id_challenge_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_challenge_id"), "webhooks", ["challenge_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("event", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("webhook_id", WORDS, nullable=True),
        sa.Column("account_id", WORDS, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("sent", INSTANT, nullable=True),
        sa.CheckConstraint("(webhook_id IS NULL) <> (account_id IS NULL)", name=op.f("ck_deliveries_recipient")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deliveries_account_id")),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("event", "key", "account_id", name=op.f("uq_deliveries_event_key_account_id")),
        sa.UniqueConstraint("event", "key", "webhook_id", name=op.f("uq_deliveries_event_key_webhook_id")),
    )
    op.create_index(op.f("ix_deliveries_webhook_id"), "deliveries", ["webhook_id"], unique=False)
    op.create_table(
        "evaluations",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("submission_id", WORDS, nullable=False),
        sa.Column("split", WORDS, nullable=False),
        sa.Column("scorer", WORDS, nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=True),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("finished", INSTANT, nullable=True),
        sa.CheckConstraint("(state = 'pending') = (finished IS NULL)", name=op.f("ck_evaluations_finished")),
        sa.CheckConstraint("reason IS NOT NULL OR state IN ('pending', 'done')", name=op.f("ck_evaluations_reason")),
        sa.CheckConstraint("state IN ('pending', 'done', 'failed', 'cancelled')", name=op.f("ck_evaluations_state")),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.id"], name=op.f("fk_evaluations_submission_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("submission_id", "split", "scorer", name=op.f("uq_evaluations_submission_id_split_scorer")),
    )
    op.create_table(
        "outcomes",
        sa.Column("evaluation_id", WORDS, nullable=False),
        sa.Column("point", WORDS, nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("error", WORDS, nullable=True),
        sa.Column("message", WORDS, nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("processor_seconds", sa.Double(), nullable=True),
        sa.Column("memory", LARGE, nullable=True),
        sa.CheckConstraint("(answer IS NULL) <> (error IS NULL)", name=op.f("ck_outcomes_answer_or_error")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"], name=op.f("fk_outcomes_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "point", name=op.f("pk_outcomes")),
    )
    op.create_table(
        "scores",
        sa.Column("evaluation_id", WORDS, nullable=False),
        sa.Column("task", WORDS, nullable=False),
        sa.Column("metric", WORDS, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.CheckConstraint("high BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_scores_high")),
        sa.CheckConstraint("low BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_scores_low")),
        sa.CheckConstraint("value BETWEEN -1.7e308 AND 1.7e308", name=op.f("ck_scores_value")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"], name=op.f("fk_scores_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "task", "metric", name=op.f("pk_scores")),
    )
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        [sa.text("priority DESC"), "due", "created", "id"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
