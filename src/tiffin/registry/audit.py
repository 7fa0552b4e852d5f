"""Audit: who did what when, and who was denied.

Definitions and projects carry their own record: every revision says who made it, in the transaction that made it. The
table ``audit`` holds the rest: changes of tokens (in their own transactions), changes of data, and denials. The log
is all of these in one, the newest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from tiffin import clock
from tiffin.registry import tables
from tiffin.registry.database import reading, writing

#: The most events that one look at the log gives.
LIMIT: Final = 1000
#: Equal events within this many microseconds share a row.
MINUTE: Final = 60 * 1_000_000
#: Rows that one transaction deletes.
PRUNED_AT_ONCE: Final = 5_000
#: The widest texts that the table takes, by column.
_WIDTHS: Final = {"principal": 255, "project": 255, "action": 64, "detail": 2000, "via": 255}

_audit = tables.audit.c
_revisions = tables.revisions.c
_projects = tables.projects.c


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, or denied. Instants are UTC microseconds.

    ``count`` equal events happened between ``at`` and ``last``. ``via`` is the service that reported them, empty for
    the one that writes the log itself.
    """

    at: int
    principal: str
    project: str
    action: str
    detail: str = ""
    denied: bool = False
    count: int = 1
    last: int = 0
    via: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The event for people and machines."""
        data = msgspec.structs.asdict(self)
        return data | {"at": clock.to_iso(self.at), "last": clock.to_iso(self.last or self.at)}


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for; an empty answer to a question counts as any."""

    project: str | None = None
    principal: str | None = None
    action: str | None = None
    since: int | None = None
    until: int | None = None
    denied: bool | None = None
    limit: int = LIMIT


class AuditLog:
    """The log in the registry's database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, events: Iterable[Event]) -> None:
        """Add events; those of one minute that differ in nothing but their time are counted in one row."""
        rows = [_row(event) for event in events]
        if not rows:
            return
        with writing(self._engine) as connection:
            for row in sorted(rows, key=lambda row: str(row["slot"])):  # one order, so that writers never cross
                connection.execute(_counted(connection), row)

    def events(self, question: Question) -> list[Event]:
        """The events that a question asks for, the newest first."""
        with reading(self._engine) as connection:
            found = [list(part) for part in _parts(connection, question)]
        return list(islice(merge(*found, key=_newest, reverse=True), question.limit))

    def prune(self, before: int) -> int:
        """Delete the events of the table that ended before an instant; how many rows there were.

        Revisions and projects are no part of the table: their history is never pruned. It goes batch by batch, so that
        those who add events wait for a moment at most.
        """
        old = sa.select(_audit.id).where(_audit.last < before).order_by(_audit.id).limit(PRUNED_AT_ONCE)
        total = 0
        while True:
            with writing(self._engine) as connection:
                pruned = connection.execute(tables.audit.delete().where(_audit.id.in_(old.scalar_subquery()))).rowcount
            total += pruned
            if pruned < PRUNED_AT_ONCE:
                return total


def add_event(connection: sa.Connection, event: Event) -> None:
    """Add one event that stands alone, in the transaction of what it tells."""
    connection.execute(tables.audit.insert().values(_row(event) | {"slot": None}))


def _row(event: Event) -> dict[str, Any]:
    row = msgspec.structs.asdict(event)
    for name, width in _WIDTHS.items():
        row[name] = row[name].replace("\x00", "").encode("utf-8", "replace").decode()[:width]
    row["last"] = event.last or event.at
    same = [row[name] for name in _WIDTHS]
    row["slot"] = hashlib.sha256(msgspec.json.encode([event.at // MINUTE, event.denied, *same])).hexdigest()
    return row


def _counted(connection: sa.Connection) -> sa.sql.dml.Insert:
    """Insert a row, or count it in the one of the same slot. Both databases speak the same clause."""
    # Only the dialect that is spoken is loaded: each takes a tenth of a second.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(tables.audit)
        return insert.on_conflict_do_update(index_elements=[_audit.slot], set_=_grown(insert.excluded))
    from sqlalchemy.dialects import sqlite

    statement = sqlite.insert(tables.audit)
    return statement.on_conflict_do_update(index_elements=[_audit.slot], set_=_grown(statement.excluded))


def _grown(more: Any) -> dict[str, Any]:
    later = sa.case((more.last > _audit.last, more.last), else_=_audit.last)
    return {"count": _audit.count + more.count, "last": later}


def _parts(connection: sa.Connection, question: Question) -> Iterator[Iterable[Event]]:
    """The parts of the log, each the newest first."""
    columns = [_audit[name] for name in Event.__struct_fields__]
    mine = _asked(sa.select(*columns), question, _audit.at, _audit.principal, _audit.project, _audit.action)
    if question.denied is not None:
        mine = mine.where(_audit.denied.is_(question.denied))
    yield (Event(**row._mapping) for row in connection.execute(mine))  # noqa: SLF001
    if question.denied:
        return
    yield _revised(connection, question)
    yield _made(connection, question, "create project", _projects.created, _projects.created_by)
    yield _made(connection, question, "archive project", _projects.archived, _projects.archived_by)


def _revised(connection: sa.Connection, question: Question) -> Iterator[Event]:
    columns = (_revisions[name] for name in ("at", "changed_by", "project", "action", "kind", "name", "revision"))
    query = _asked(
        sa.select(*columns), question, _revisions.at, _revisions.changed_by, _revisions.project, _revisions.action
    )
    for at, by, project, action, kind, name, revision in connection.execute(query):
        yield Event(at=at, principal=by, project=project, action=action, detail=f"{kind} {name}, revision {revision}")


def _made(
    connection: sa.Connection, question: Question, action: str, at: sa.Column[Any], by: sa.Column[Any]
) -> Iterator[Event]:
    if question.action not in {None, action}:
        return
    query = _asked(sa.select(at, by, _projects.name).where(at.is_not(None)), question, at, by, _projects.name, None)
    for when, who, project in connection.execute(query):
        yield Event(at=when, principal=who, project=project, action=action)


def _asked(
    query: sa.Select[Any],
    question: Question,
    at: sa.Column[Any],
    principal: sa.Column[Any],
    project: sa.Column[Any],
    action: sa.Column[Any] | None,
) -> sa.Select[Any]:
    """The question's conditions on one part of the log."""
    for column, wanted in ((principal, question.principal), (project, question.project), (action, question.action)):
        if column is not None and wanted is not None:
            query = query.where(column == wanted)
    if question.since is not None:
        query = query.where(at >= question.since)
    if question.until is not None:
        query = query.where(at < question.until)
    return query.order_by(at.desc()).limit(question.limit)


def _newest(event: Event) -> int:
    return event.at
