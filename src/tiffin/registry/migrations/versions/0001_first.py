"""The first schema: projects, objects and their revisions, jobs and their logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tiffin.registry.schema import seed

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything in an empty database."""
    _create_registry()
    _create_jobs()
    seed(op.get_bind())


def _name(length: int = 255) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _create_registry() -> None:
    op.create_table(
        "registry_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("archived", sa.BigInteger),
        sa.Column("archived_by", sa.String(255)),
    )
    op.create_table(
        "objects",
        sa.Column("project", _name(), sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("kind", _name(64), primary_key=True),
        sa.Column("name", _name(), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "revisions",
        sa.Column("project", _name(), primary_key=True),
        sa.Column("kind", _name(64), primary_key=True),
        sa.Column("name", _name(), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(255), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "kind", "name"],
            ["objects.project", "objects.kind", "objects.name"],
            name="revisions_of_objects",
        ),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("project", sa.String(255), nullable=False),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec_hash", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
        sa.Column("rows_total", sa.BigInteger),
        sa.Column("rows_written", sa.BigInteger, nullable=False),
        sa.Column("rows_skipped", sa.BigInteger, nullable=False),
        sa.Column("rows_rejected", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.Float),
        sa.Column("error", sa.Text),
        sa.Column("output_uri", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("heartbeat", sa.BigInteger),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created"])
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
    )
