"""Control: leases, and tables that are materialised on a schedule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables, and find jobs by what they are of; nothing was leased or scheduled before."""
    op.create_index("jobs_by_hash", "jobs", ["spec_hash", "created"])
    op.create_table(
        "leases",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("taken", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "schedules",
        sa.Column("project", _name(), primary_key=True),
        sa.Column("table_name", _name(), primary_key=True),
        sa.Column("cron", sa.String(255), nullable=False),
        sa.Column("timespan", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False, index=True),
        sa.Column("run_from", sa.BigInteger),
        sa.Column("run_due", sa.BigInteger),
        sa.Column("run_job", sa.String(64)),
    )


def _name(length: int = 255) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
