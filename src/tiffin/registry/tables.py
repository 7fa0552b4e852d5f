"""Tables: the schema of the database that holds registry and jobs. Instants are UTC microseconds.

A change here needs a migration in ``registry/migrations`` and a new :data:`SCHEMA_VERSION`; a test proves that the
migrations, run from nothing, give this very schema.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

#: The newest migration: what a database created from this module is stamped with.
SCHEMA_VERSION: Final = "0004"

metadata: Final = sa.MetaData()


def name_type(length: int = 255) -> sa.types.TypeEngine[str]:
    """A text that rows are ordered by: by code point on every database, whatever the locale of a PostgreSQL."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


#: Alembic's own bookkeeping, under the name that it expects.
schema_version: Final = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

#: One row: counts the commits of the registry, so that a cached snapshot knows whether it is current.
registry_version: Final = sa.Table(
    "registry_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

projects: Final = sa.Table(
    "projects",
    metadata,
    sa.Column("name", name_type(), primary_key=True),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("archived", sa.BigInteger),  # null while the project is active
    sa.Column("archived_by", sa.String(255)),
)

#: The present state of each object. ``version`` is the registry's version at its last change.
objects: Final = sa.Table(
    "objects",
    metadata,
    sa.Column("project", name_type(), sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("kind", name_type(64), primary_key=True),
    sa.Column("name", name_type(), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
)

#: Every change that was ever acknowledged. ``spec`` is JSON; a deletion keeps the spec that it deleted.
revisions: Final = sa.Table(
    "revisions",
    metadata,
    sa.Column("project", name_type(), primary_key=True),
    sa.Column("kind", name_type(64), primary_key=True),
    sa.Column("name", name_type(), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.String(255), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["project", "kind", "name"], ["objects.project", "objects.kind", "objects.name"], name="revisions_of_objects"
    ),
)

#: ``table_name`` is empty where a job has several tables. ``error`` is null unless the job failed. ``spec_hash`` is
#: empty unless a controller runs the job.
jobs: Final = sa.Table(
    "jobs",
    metadata,
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
    sa.Index("jobs_by_state", "state", "created"),
    sa.Index("jobs_by_hash", "spec_hash", "created"),
)

job_logs: Final = sa.Table(
    "job_logs",
    metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
)

#: One row: counts the changes of tokens, so that a service that knows them sees at a glance whether it knows all.
access_version: Final = sa.Table(
    "access_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

#: Tokens of the services, by the hash of their secret. ``roles`` is JSON: ``{"project": "reader"}``.
tokens: Final = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("expires", sa.BigInteger),  # null where it never does
    sa.Column("revoked", sa.BigInteger),  # null while it is not
    sa.Column("revoked_by", sa.String(255)),
)

#: What was done or denied beyond the changes of definitions, whose own rows say who made them. Equal events of one
#: minute share a row by their ``slot``, which is null where events stand alone; ``at`` is the first and ``last`` the
#: last of ``count`` events. ``via`` is the service that reported them, empty for the one that has the database.
audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("principal", sa.String(255), nullable=False),
    sa.Column("project", sa.String(255), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("denied", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("via", sa.String(255), nullable=False),
    sa.Column("slot", sa.String(64), unique=True),
)

#: Who may do what alone. The clock is the database's. ``term`` counts the holders; ``length`` is what the last one
#: asked for. A lease that was given back has no owner and expires at 0.
leases: Final = sa.Table(
    "leases",
    metadata,
    sa.Column("name", name_type(), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("term", sa.BigInteger, nullable=False),
    sa.Column("taken", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
)

#: Tables that are materialised again and again. ``timespan`` is in microseconds, null for what was committed since the
#: last time. ``due`` is the next run; ``run_due`` and ``run_job`` are the last run that a controller claimed, which
#: covers what became due from ``run_from`` on.
schedules: Final = sa.Table(
    "schedules",
    metadata,
    sa.Column("project", name_type(), primary_key=True),
    sa.Column("table_name", name_type(), primary_key=True),
    sa.Column("cron", sa.String(255), nullable=False),
    sa.Column("timespan", sa.BigInteger),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False, index=True),
    sa.Column("run_from", sa.BigInteger),
    sa.Column("run_due", sa.BigInteger),
    sa.Column("run_job", sa.String(64)),
)

#: One row: the secret with which this registry hashes erased keys, made with its first erasure.
erasure_salt: Final = sa.Table(
    "erasure_salt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("salt", sa.String(64), nullable=False),
)

#: Erased keys, as keyed hashes, and how far the work is. ``version`` is the registry's at the making: a snapshot of it
#: or a later one knows of the erasure. ``report`` is JSON: what was done, in which place, how many rows.
erasures: Final = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", name_type(), nullable=False),
    sa.Column("entity", name_type(), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("erased_by", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.UniqueConstraint("project", "entity", "digest", name="erasures_once"),
)
