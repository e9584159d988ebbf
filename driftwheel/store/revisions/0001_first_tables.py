"""Revision 1: the tables as they were before revisions had numbers.

A database from before that has these tables, but for the columns (all of them optional) and the tables that were added
since it was made; it is adopted: what it lacks is made, and no row is touched.
"""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
metadata = sa.MetaData()

sa.Table(
    "dataset",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("content_hash", sa.Text(), nullable=False),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("origin", sa.Text(), nullable=False),
    sa.Column("train_rows", sa.BigInteger(), nullable=False),
    sa.Column("validation_rows", sa.BigInteger(), nullable=False),
    sa.Column("test_rows", sa.BigInteger(), nullable=False),
    sa.Column("report", sa.JSON(), nullable=False),
    sa.Index("ix_dataset_project_created_at", "project", "created_at"),
)
sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("dataset_id", sa.Text(), nullable=False),
    sa.Column("base_model", sa.Text(), nullable=False),
    sa.Column("method", sa.Text(), nullable=False),
    sa.Column("settings", sa.JSON(), nullable=False),
    sa.Column("settings_hash", sa.Text(), nullable=False),
    sa.Column("seed", sa.BigInteger(), nullable=False),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("metrics", sa.JSON(), nullable=False),
    sa.Column("finished_at", sa.BigInteger(), nullable=True),
    sa.Column("error", sa.Text(), nullable=True),
    sa.Index("ix_run_project_created_at", "project", "created_at"),
)
sa.Table(
    "version",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger(), nullable=False),
    sa.Column("run_id", sa.Text(), nullable=False),
    sa.Column("dataset_id", sa.Text(), nullable=False),
    sa.Column("base_model", sa.Text(), nullable=False),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("manifest_hash", sa.Text(), nullable=False),
    sa.Column("quantization", sa.Text(), nullable=False),
    sa.Column("scorecard", sa.JSON(), nullable=False),
    sa.Column("verdict", sa.JSON(), nullable=False),
    sa.Column("fingerprint", sa.JSON(), nullable=False),
    sa.Column("lineage", sa.JSON(), nullable=False),
    sa.Index("ix_version_project_created_at", "project", "created_at"),
)
sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("alias", sa.Text(), nullable=False),
    sa.Column("version_id", sa.Text(), nullable=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("share", sa.Float(), nullable=False),
    sa.Column("fence", sa.BigInteger(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("updated_at", sa.BigInteger(), nullable=False),
    sa.Index("ix_deployment_project_created_at", "project", "created_at"),
)
sa.Table(
    "req",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("alias", sa.Text(), nullable=False),
    sa.Column("version_id", sa.Text(), nullable=False),
    sa.Column("route", sa.Text(), nullable=False),
    sa.Column("status_code", sa.BigInteger(), nullable=False),
    sa.Column("is_stream", sa.Boolean(), nullable=False),
    sa.Column("is_partial", sa.Boolean(), nullable=False),
    sa.Column("prompt", sa.Text(), nullable=False),
    sa.Column("request", sa.Text(), nullable=False),
    sa.Column("answer", sa.Text(), nullable=False),
    sa.Column("finish_reason", sa.Text(), nullable=True),
    sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
    sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
    sa.Column("mean_logprob", sa.Float(), nullable=True),
    sa.Column("latency_seconds", sa.Float(), nullable=False),
    sa.Column("time_to_first_token_seconds", sa.Float(), nullable=True),
    sa.Column("key_id", sa.Text(), nullable=False),
    sa.Column("user_id", sa.Text(), nullable=False),
    sa.Column("conversation_id", sa.Text(), nullable=False),
    sa.Column("error", sa.Text(), nullable=True),
    sa.Column("thumb", sa.BigInteger(), nullable=True),
    sa.Column("label", sa.Text(), nullable=True),
    sa.Column("label_source", sa.Text(), nullable=True),
    sa.Column("feedback_at", sa.BigInteger(), nullable=True),
    sa.Column("response", sa.Text(), nullable=True),
    sa.Index("ix_req_project_created_at", "project", "created_at"),
)
sa.Table(
    "signal",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("version_id", sa.Text(), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("feature", sa.Text(), nullable=False),
    sa.Column("method", sa.Text(), nullable=False),
    sa.Column("score", sa.Float(), nullable=False),
    sa.Column("threshold", sa.Float(), nullable=False),
    sa.Column("p_value", sa.Float(), nullable=True),
    sa.Column("reference_rows", sa.BigInteger(), nullable=False),
    sa.Column("current_rows", sa.BigInteger(), nullable=False),
    sa.Column("window_started_at", sa.BigInteger(), nullable=True),
    sa.Column("window_ended_at", sa.BigInteger(), nullable=True),
    sa.Column("verdict", sa.String(32), nullable=False),
    sa.Column("check_id", sa.Text(), nullable=False),
    sa.Column("report_path", sa.Text(), nullable=True),
    sa.Column("details", sa.JSON(), nullable=False),
    sa.Index("ix_signal_project_created_at", "project", "created_at"),
)
sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("verdict", sa.String(32), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("trigger", sa.Text(), nullable=False),
    sa.Column("remedy", sa.Text(), nullable=False),
    sa.Column("reasons", sa.JSON(), nullable=False),
    sa.Column("known", sa.JSON(), nullable=False),
    sa.Column("check_id", sa.Text(), nullable=True),
    sa.Column("dataset_id", sa.Text(), nullable=True),
    sa.Column("run_id", sa.Text(), nullable=True),
    sa.Column("version_id", sa.Text(), nullable=True),
    sa.Column("updated_at", sa.BigInteger(), nullable=False),
    sa.Column("error", sa.Text(), nullable=True),
    sa.Index("ix_decision_project_created_at", "project", "created_at"),
)
sa.Table(
    "alias",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("version_id", sa.Text(), nullable=False),
    sa.Column("previous_version_id", sa.Text(), nullable=True),
    sa.Column("fence", sa.BigInteger(), nullable=False),
    sa.Column("updated_at", sa.BigInteger(), nullable=False),
    sa.Column("observed_version_id", sa.Text(), nullable=True),
    sa.Column("observed_fence", sa.BigInteger(), nullable=False),
    sa.Column("observed_at", sa.BigInteger(), nullable=True),
    sa.Column("observed_error", sa.Text(), nullable=True),
    sa.Column("conductor", sa.Text(), nullable=True),
    sa.Column("beats", sa.BigInteger(), nullable=True),
    sa.Index("ix_alias_project_created_at", "project", "created_at"),
)
sa.Table(
    "step",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("decision_id", sa.Text(), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("attempt", sa.BigInteger(), nullable=False),
    sa.Column("finished_at", sa.BigInteger(), nullable=True),
    sa.Column("output", sa.JSON(), nullable=False),
    sa.Column("error", sa.Text(), nullable=True),
    sa.Index("ix_step_project_created_at", "project", "created_at"),
)
sa.Table(
    "switch",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("value", sa.Text(), nullable=False),
    sa.Column("updated_at", sa.BigInteger(), nullable=False),
    sa.Index("ix_switch_project_created_at", "project", "created_at"),
)
sa.Table(
    "judgement",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("first_version_id", sa.Text(), nullable=False),
    sa.Column("second_version_id", sa.Text(), nullable=False),
    sa.Column("dataset_id", sa.Text(), nullable=False),
    sa.Column("item_id", sa.Text(), nullable=False),
    sa.Column("judge", sa.Text(), nullable=False),
    sa.Column("preference", sa.String(32), nullable=False),
    sa.Column("first_was_left", sa.Boolean(), nullable=True),
    sa.Index("ix_judgement_project_created_at", "project", "created_at"),
)
sa.Table(
    "api_key",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("project", sa.Text(), nullable=False),
    sa.Column("created_at", sa.BigInteger(), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("fence", sa.BigInteger(), nullable=False),
    sa.Column("scopes", sa.JSON(), nullable=False),
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("previous_digest", sa.Text(), nullable=True),
    sa.Column("previous_ends_at", sa.BigInteger(), nullable=True),
    sa.Column("expires_at", sa.BigInteger(), nullable=True),
    sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
    sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True),
    sa.Column("max_concurrency", sa.BigInteger(), nullable=True),
    sa.Column("updated_at", sa.BigInteger(), nullable=False),
    sa.Index("ix_api_key_project_created_at", "project", "created_at"),
)


def upgrade() -> None:
    """Make what the database lacks of the tables above."""
    connection = op.get_bind()
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        if table.name in present:
            known = {column["name"] for column in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name not in known:
                    op.add_column(table.name, sa.Column(column.name, column.type, nullable=column.nullable))
            for index in table.indexes:
                index.create(connection, checkfirst=True)
