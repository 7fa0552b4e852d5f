"""The registry in a SQL database: SQLite for one machine, PostgreSQL for many.

A commit takes the row of the version counter first, so that commits follow one another; preconditions are checked
and changes written in that one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from tiffin.errors import ConcurrentChange, FailedPrecondition
from tiffin.registry import tables
from tiffin.registry.base import Action, Contents, Guard, Key, ProjectRecord, Record, Revision, Transaction, Update
from tiffin.registry.database import open_database, reading, writing

_projects = tables.projects.c
_objects = tables.objects.c
_revisions = tables.revisions.c


def open_registry(url: str, *, migrate: bool = True) -> SqlRegistry:
    """The registry in the database behind a URL; see :func:`~tiffin.registry.database.open_database`."""
    return SqlRegistry(open_database(url, migrate=migrate))


class SqlRegistry:
    """A registry store in the tables of :mod:`tiffin.registry.tables`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def version(self) -> int:
        with reading(self.engine) as connection:
            return _version(connection)

    def load(self, since: int = -1) -> Contents:
        query = (
            sa.select(tables.objects, _revisions.hash, _revisions.spec)
            .join_from(tables.objects, tables.revisions, _same_object() & (_objects.revision == _revisions.revision))
            .where(_objects.version > since)
            .order_by(_objects.project, _objects.kind, _objects.name)
        )
        with reading(self.engine) as connection:
            return Contents(
                version=_version(connection),
                projects=tuple(
                    ProjectRecord(*row)
                    for row in connection.execute(sa.select(tables.projects).order_by(_projects.name))
                ),
                records=tuple(_record(row) for row in connection.execute(query)),
            )

    def commit(self, transaction: Transaction) -> int:
        with writing(self.engine) as connection:
            version = _next_version(connection)
            _create_projects(connection, transaction)
            _check_projects(connection, {update.key.project for update in transaction.updates} | {*transaction.archive})
            for guard in transaction.guards:
                _check_guard(connection, guard)
            _apply_updates(connection, transaction, version)
            _archive_projects(connection, transaction)
        return version

    def history(self, key: Key) -> list[Revision]:
        query = sa.select(tables.revisions).where(
            _revisions.project == key.project, _revisions.kind == key.kind, _revisions.name == key.name
        )
        with reading(self.engine) as connection:
            return [_revision(row) for row in connection.execute(query.order_by(_revisions.revision))]

    def revisions(self) -> Iterator[Revision]:
        query = sa.select(tables.revisions).order_by(
            _revisions.project, _revisions.kind, _revisions.name, _revisions.revision
        )
        with (
            reading(self.engine) as connection,
            connection.execute(query, execution_options={"yield_per": 1000}) as result,
        ):
            for row in result:
                yield _revision(row)

    def restore(self, projects: Iterable[ProjectRecord], revisions: Iterable[Revision]) -> int:
        restored = list(revisions)
        with writing(self.engine) as connection:
            version = _next_version(connection)
            if connection.execute(sa.select(sa.func.count()).select_from(tables.objects)).scalar_one():
                raise FailedPrecondition("The registry holds objects already.", hint="Restore into an empty one.")
            connection.execute(tables.projects.delete())
            _insert(connection, tables.projects, [msgspec.structs.asdict(project) for project in projects])
            _insert(connection, tables.objects, _present(restored, version))
            _insert(connection, tables.revisions, [_revision_row(revision) for revision in restored])
        return len(restored)

    def close(self) -> None:
        self.engine.dispose()


def _version(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(tables.registry_version.c.version)).scalar_one())


def _next_version(connection: sa.Connection) -> int:
    """Count a commit. Whoever comes after waits for the row until this one is done."""
    counter = tables.registry_version
    return int(
        connection.execute(
            counter.update().values(version=counter.c.version + 1).returning(counter.c.version)
        ).scalar_one()
    )


def _same_object() -> sa.ColumnElement[bool]:
    return (
        (_objects.project == _revisions.project)
        & (_objects.kind == _revisions.kind)
        & (_objects.name == _revisions.name)
    )


def _record(row: sa.Row[Any]) -> Record:
    return Record(
        key=Key(row.project, row.kind, row.name),
        revision=row.revision,
        deleted=row.deleted,
        created=row.created,
        updated=row.updated,
        hash=row.hash,
        spec=row.spec.encode(),
    )


def _revision(row: sa.Row[Any]) -> Revision:
    return Revision(
        project=row.project,
        kind=row.kind,
        name=row.name,
        revision=row.revision,
        action=cast("Action", row.action),
        at=row.at,
        by=row.changed_by,
        hash=row.hash,
        spec=msgspec.json.decode(row.spec),
    )


def _revision_row(revision: Revision) -> dict[str, Any]:
    row = msgspec.structs.asdict(revision)
    row["changed_by"] = row.pop("by")
    return row | {"spec": msgspec.json.encode(revision.spec).decode()}


def _create_projects(connection: sa.Connection, transaction: Transaction) -> None:
    for name in transaction.create:
        if connection.execute(sa.select(_projects.name).where(_projects.name == name)).first():
            raise _moved(f"Project {name!r} was created")
        connection.execute(
            tables.projects.insert().values(name=name, created=transaction.at, created_by=transaction.by)
        )


def _check_projects(connection: sa.Connection, names: set[str]) -> None:
    """The projects that change exist and are active."""
    found = connection.execute(
        sa.select(_projects.name).where(_projects.name.in_(names), _projects.archived.is_(None))
    ).scalars()
    if missing := names.difference(found):
        raise _moved(f"Project {min(missing)!r} was archived or is missing")


def _check_guard(connection: sa.Connection, guard: Guard) -> None:
    query = sa.select(_objects.name).where(
        _objects.project == guard.project, _objects.kind == guard.kind, _objects.version > guard.since
    )
    if guard.name is not None:
        query = query.where(_objects.name == guard.name)
    if changed := connection.execute(query.limit(1)).scalar():
        raise _moved(f"{guard.kind} {changed!r} of project {guard.project!r} was changed")


def _apply_updates(connection: sa.Connection, transaction: Transaction, version: int) -> None:
    found: dict[Key, int] = {}
    for project in {update.key.project for update in transaction.updates}:
        query = sa.select(_objects.kind, _objects.name, _objects.revision).where(_objects.project == project)
        found |= {Key(project, kind, name): revision for kind, name, revision in connection.execute(query)}
    for update in transaction.updates:
        if found.get(update.key, 0) != update.expected:
            raise _moved(f"{update.key.kind} {update.key.name!r} of project {update.key.project!r} was changed")
    rows = [_object_row(update, transaction, version) for update in transaction.updates]
    fresh = [row for row, update in zip(rows, transaction.updates, strict=True) if update.expected == 0]
    known = [row for row, update in zip(rows, transaction.updates, strict=True) if update.expected != 0]
    _insert(connection, tables.objects, [row | {"created": transaction.at} for row in fresh])
    if known:
        connection.execute(_update_objects(), [{f"new_{name}": value for name, value in row.items()} for row in known])
    _insert(connection, tables.revisions, [_new_revision(update, transaction) for update in transaction.updates])


def _object_row(update: Update, transaction: Transaction, version: int) -> dict[str, Any]:
    return update.key._asdict() | {
        "revision": update.expected + 1,
        "deleted": update.action == "delete",
        "updated": transaction.at,
        "version": version,
    }


def _update_objects() -> sa.Update:
    changed: dict[str, sa.BindParameter[Any]] = {
        name: sa.bindparam(f"new_{name}") for name in ("revision", "deleted", "updated", "version")
    }
    return (
        tables.objects.update()
        .where(
            _objects.project == sa.bindparam("new_project"),
            _objects.kind == sa.bindparam("new_kind"),
            _objects.name == sa.bindparam("new_name"),
        )
        .values(changed)
    )


def _new_revision(update: Update, transaction: Transaction) -> dict[str, Any]:
    return update.key._asdict() | {
        "revision": update.expected + 1,
        "action": update.action,
        "at": transaction.at,
        "changed_by": transaction.by,
        "hash": update.hash,
        "spec": update.spec.decode(),
    }


def _archive_projects(connection: sa.Connection, transaction: Transaction) -> None:
    for name in transaction.archive:
        connection.execute(
            tables.projects.update()
            .where(_projects.name == name)
            .values(archived=transaction.at, archived_by=transaction.by)
        )


def _present(revisions: list[Revision], version: int) -> list[dict[str, Any]]:
    """The rows of objects that a whole history leads to."""
    rows: dict[Key, dict[str, Any]] = {}
    for revision in revisions:
        created = rows[revision.key]["created"] if revision.key in rows else revision.at
        rows[revision.key] = revision.key._asdict() | {
            "revision": revision.revision,
            "deleted": revision.action == "delete",
            "created": created,
            "updated": revision.at,
            "version": version,
        }
    return list(rows.values())


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(table.insert(), rows)


def _moved(what: str) -> ConcurrentChange:
    return ConcurrentChange(f"{what} by another writer.", hint="Read it again and retry.")
