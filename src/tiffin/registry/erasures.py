"""Erasures: which keys were erased, as keyed hashes, and how far the work of each is (semantics, section 10).

Nothing here knows a key. What is kept is its hash under the registry's own secret, so that whoever reads definitions or
the log cannot find it by hashing all ids there are; the secret goes to writers alone. An erasure counts as a commit of
the registry: who knows its version, or a later one, knows of the erasure.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa

from tiffin import clock
from tiffin.errors import NotFound, PermissionDenied
from tiffin.registry import tables
from tiffin.registry.audit import Event, add_event
from tiffin.registry.database import reading, writing
from tiffin.registry.redact import redact

#: An erasure that must be taken up again, and one with nothing left to do.
RUNNING: Final = "RUNNING"
DONE: Final = "DONE"
#: Bytes of the secret.
SALT_BYTES: Final = 32
#: So many erasures of one call are named in the audit log.
_NAMED: Final = 20

_erasures = tables.erasures.c


class Erasure(msgspec.Struct, frozen=True):
    """One erased key of one entity. Instants are UTC microseconds; ``digest`` is the keyed hash, in hexadecimal.

    ``report`` is what :mod:`tiffin.ingest.erase` wrote of its work.
    """

    id: str
    project: str
    entity: str
    digest: str
    version: int
    at: int
    erased_by: str
    state: str
    updated: int
    report: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """The erasure for people and machines; its hash is of no use to them."""
        data = {name: getattr(self, name) for name in ("id", "project", "entity", "erased_by", "state")}
        return data | {"at": clock.to_iso(self.at), "updated": clock.to_iso(self.updated)} | self.report


class Told(msgspec.Struct, frozen=True):
    """What a registry tells a writer: the keys erased after a version, as (project, entity, digest), and the secret.

    ``hidden`` names projects with erasures that the writer may not know.
    """

    version: int
    salt: str = ""
    keys: tuple[tuple[str, str, str], ...] = ()
    hidden: tuple[str, ...] = ()


class Tombstones:
    """The erased keys at one ``version`` of the registry."""

    def __init__(self, told: Told, before: Tombstones | None = None) -> None:
        self.version = told.version
        self.salt: bytes = b"" if before is None else before.salt
        if told.salt:
            self.salt = bytes.fromhex(told.salt)
        self.hidden = frozenset(told.hidden)
        keys: dict[tuple[str, str], frozenset[bytes]] = {} if before is None else dict(before._keys)  # noqa: SLF001
        fresh: dict[tuple[str, str], list[bytes]] = {}
        for project, entity, digest in told.keys:
            fresh.setdefault((project, entity), []).append(bytes.fromhex(digest))
        for place, digests in fresh.items():
            keys[place] = keys.get(place, frozenset()).union(digests)
        self._keys: Mapping[tuple[str, str], frozenset[bytes]] = keys

    def of(self, project: str, entity: str) -> frozenset[bytes]:
        """The hashes of an entity's erased keys; PermissionDenied where the caller may not know them."""
        if project in self.hidden:
            raise PermissionDenied(
                f"Keys of project {project!r} were erased, and only writers may know which: rows cannot be checked.",
                field="project",
                hint="Ask an admin of the project for the role writer.",
            )
        return self._keys.get((project, entity), frozenset())


class ErasureSource(Protocol):
    """Where erasures are kept: the registry's database, or the service before it."""

    def version(self) -> int:
        """The registry's version."""
        ...

    def told(self, since: int = -1) -> Told:
        """The keys that were erased after a version."""
        ...

    def salt(self, project: str) -> bytes:
        """The secret of the hashes, made with its first use; for an admin of the project."""
        ...

    def begin(self, project: str, entity: str, digests: Iterable[str], *, by: str) -> list[Erasure]:
        """Record that keys are erased, in one commit of the registry: from its version on no writer stores them.

        An erasure of a key that was erased before is the same one, running again.
        """
        ...

    def record(self, done: Sequence[tuple[Erasure, Mapping[str, Any]]], *, state: str, by: str) -> list[Erasure]:
        """Record how far the erasures of one call are, each with its report."""
        ...

    def find(self, project: str | None = None) -> list[Erasure]:
        """Erasures, the newest first; of one project, or of all."""
        ...


class ErasureStore:
    """Erasures in the registry's database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def version(self) -> int:
        with reading(self._engine) as connection:
            return int(connection.execute(sa.select(tables.registry_version.c.version)).scalar_one())

    def told(self, since: int = -1) -> Told:
        keys = sa.select(_erasures.project, _erasures.entity, _erasures.digest).where(_erasures.version > since)
        with reading(self._engine) as connection:
            version = connection.execute(sa.select(tables.registry_version.c.version)).scalar_one()
            found = tuple((project, entity, digest) for project, entity, digest in connection.execute(keys))
            return Told(version, (_salt(connection) or "") if found else "", found)

    def salt(self, project: str) -> bytes:
        del project  # one secret for all: whoever has the database has every role
        with writing(self._engine) as connection:
            found = _salt(connection)
            if found is None:
                found = secrets.token_hex(SALT_BYTES)
                connection.execute(tables.erasure_salt.insert().values(id=1, salt=found))
        return bytes.fromhex(found)

    def begin(self, project: str, entity: str, digests: Iterable[str], *, by: str) -> list[Erasure]:
        now = clock.now()
        with writing(self._engine) as connection:
            # The counter's row first, as every commit takes it: whoever comes after waits for this one.
            version = _next_version(connection)
            begun = [_begun(connection, project, entity, digest, version, now, by) for digest in digests]
            event = Event(at=now, principal=by, project=project, action="erase", detail=_named(begun))
            add_event(connection, event)
        return begun

    def record(self, done: Sequence[tuple[Erasure, Mapping[str, Any]]], *, state: str, by: str) -> list[Erasure]:
        now = clock.now()
        recorded = [
            msgspec.structs.replace(erasure, state=state, report=dict(report), updated=now) for erasure, report in done
        ]
        with writing(self._engine) as connection:
            for each in recorded:
                changed = tables.erasures.update().where(_erasures.id == each.id)
                told = changed.values(state=state, report=each.report, updated=now)
                if not connection.execute(told).rowcount:
                    raise NotFound(f"There is no erasure {each.id!r}.", field="erasure")
            first = recorded[0]
            detail = f"{_named(recorded)}: {_counted(first.report)}"
            action = "erased" if state == DONE else "erase unfinished"
            add_event(connection, Event(at=now, principal=by, project=first.project, action=action, detail=detail))
        return recorded

    def redact(self, words: Sequence[str], blanked: Callable[[str], str], *, dry_run: bool = False) -> int:
        """Blank words in the texts of the database; see :func:`~tiffin.registry.redact.redact`."""
        return redact(self._engine, words, blanked, dry_run=dry_run)

    def projects(self) -> list[str]:
        """The projects in which keys were erased."""
        with reading(self._engine) as connection:
            return list(connection.execute(sa.select(_erasures.project).distinct()).scalars())

    def find(self, project: str | None = None) -> list[Erasure]:
        query = sa.select(tables.erasures).order_by(_erasures.at.desc(), _erasures.id)
        if project is not None:
            query = query.where(_erasures.project == project)
        with reading(self._engine) as connection:
            return [Erasure(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def _salt(connection: sa.Connection) -> str | None:
    return connection.execute(sa.select(tables.erasure_salt.c.salt)).scalar_one_or_none()


def _next_version(connection: sa.Connection) -> int:
    counter = tables.registry_version
    changed = counter.update().values(version=counter.c.version + 1).returning(counter.c.version)
    return int(connection.execute(changed).scalar_one())


def _begun(
    connection: sa.Connection, project: str, entity: str, digest: str, version: int, now: int, by: str
) -> Erasure:
    """The erasure of a key: the one there is, running again, or a new one."""
    same = (_erasures.project == project) & (_erasures.entity == entity) & (_erasures.digest == digest)
    row = connection.execute(sa.select(tables.erasures).where(same)).first()
    if row is not None:
        connection.execute(tables.erasures.update().where(same).values(state=RUNNING, updated=now))
        return msgspec.structs.replace(Erasure(**row._mapping), state=RUNNING, updated=now)  # noqa: SLF001
    erasure = Erasure(uuid.uuid4().hex[:12], project, entity, digest, version, now, by, RUNNING, now)
    connection.execute(tables.erasures.insert().values(msgspec.structs.asdict(erasure)))
    return erasure


def _named(erasures: Sequence[Erasure]) -> str:
    """What an audit log says of the erasures of one call."""
    ids = ", ".join(each.id for each in erasures[:_NAMED])
    more = f" and {len(erasures) - _NAMED} more" if len(erasures) > _NAMED else ""
    return f"{erasures[0].entity}, erasure {ids}{more}"


def _counted(report: Mapping[str, Any]) -> str:
    """What an audit log says of a report: rows by place."""
    removed = report.get("removed", {})
    return ", ".join(f"{place} {count}" for place, count in sorted(removed.items())) or "nothing was found"


class Erased:
    """The erased keys, as writers ask for them: kept, and asked for again where the registry has moved on.

    ``held`` tells the registry's version that this process last saw, None where that says nothing of the source.
    """

    def __init__(self, source: ErasureSource, held: Callable[[], int | None] = lambda: None) -> None:
        self.source = source
        self._held = held
        self._known: Tombstones | None = None

    def known(self) -> Tombstones:
        """The erased keys at the version of the definitions that were last looked at; that costs nothing again."""
        known, held = self._known, self._held()
        return known if known is not None and held is not None and held <= known.version else self.renewed()

    def renewed(self) -> Tombstones:
        """The erased keys as they are this moment."""
        known = self._known
        if known is not None and not known.hidden:
            if self.source.version() == known.version:
                return known
            told = self.source.told(known.version)
            if told.version > known.version:
                self._known = Tombstones(told, known)
                return self._known
        # The first look, or one with other rights, or at a registry that was restored.
        self._known = renewed = Tombstones(self.source.told())
        return renewed
