"""The registry store's contract: objects and their revisions as plain data, changed only under preconditions.

A store knows nothing of entities or feature tables: it keeps JSON texts by (project, kind, name), counts its commits,
and applies a transaction wholly or not at all. The rules of definitions live above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from tiffin import clock
from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.definitions.kinds import kind_named

Action = Literal["create", "update", "delete", "revive", "rollback"]


class Key(NamedTuple):
    """What identifies an object. Names are unique in a project and kind."""

    project: str
    kind: str
    name: str


class Record(msgspec.Struct, frozen=True):
    """The present state of one object: its newest revision. ``spec`` is JSON, of the last content if ``deleted``."""

    key: Key
    revision: int
    deleted: bool
    created: int
    updated: int
    hash: str
    spec: bytes

    @property
    def meta(self) -> Meta:
        """What a definition read from it carries."""
        return Meta(revision=self.revision, created=self.created, updated=self.updated, hash=self.hash)

    def definition(self) -> Definition:
        """The object itself, a copy of its own at every call."""
        return kind_named(self.key.kind).from_spec(msgspec.json.decode(self.spec), self.meta)


class ProjectRecord(msgspec.Struct, frozen=True):
    """A project. ``archived`` is the instant it was archived at, None while it is active."""

    name: str
    created: int
    created_by: str
    archived: int | None = None
    archived_by: str | None = None


class Contents(msgspec.Struct, frozen=True):
    """What a load found: all projects, and the records that changed after the version that was asked for."""

    version: int
    projects: tuple[ProjectRecord, ...]
    records: tuple[Record, ...]


class Revision(msgspec.Struct, frozen=True):
    """One acknowledged change: who, when and what. Revisions of an object count from 1 without gaps.

    ``at`` is in UTC microseconds. A deletion carries the spec that it deleted.
    """

    project: str
    kind: str
    name: str
    revision: int
    action: Action
    at: int
    by: str
    hash: str
    spec: dict[str, Any]

    @property
    def key(self) -> Key:
        """The object that changed."""
        return Key(self.project, self.kind, self.name)

    def definition(self) -> Definition:
        """The object as this revision left it; for a deletion, as it was before."""
        meta = Meta(revision=self.revision, updated=self.at, hash=self.hash)
        return kind_named(self.kind).from_spec(self.spec, meta)

    def __str__(self) -> str:
        return f"{self.revision} {clock.to_iso(self.at)} {self.action} {self.kind} {self.name} by {self.by}"


class Update(msgspec.Struct, frozen=True):
    """One object's change, which holds only if the object's revision is ``expected`` (0: it never existed)."""

    key: Key
    action: Action
    hash: str
    spec: bytes
    expected: int


class Guard(msgspec.Struct, frozen=True):
    """The transaction holds only if no object of this project and kind changed after version ``since``.

    ``name`` limits the guard to one object; None guards against any.
    """

    project: str
    kind: str
    name: str | None
    since: int


class Transaction(msgspec.Struct, frozen=True):
    """All changes of one call. ``create`` and ``archive`` name projects."""

    by: str
    at: int
    updates: tuple[Update, ...] = ()
    guards: tuple[Guard, ...] = ()
    create: tuple[str, ...] = ()
    archive: tuple[str, ...] = ()


class RegistryStore(Protocol):
    """A backend of the registry, used from several threads and processes at once.

    The project ``default`` exists from the start. All instants are UTC microseconds.
    """

    def version(self) -> int:
        """The number of commits so far: 0 in an empty registry, greater after every commit."""
        ...

    def load(self, since: int = -1) -> Contents:
        """One consistent state: every project, and every record that changed after version ``since``."""
        ...

    def commit(self, transaction: Transaction) -> int:
        """Apply everything or nothing; the new version.

        Raises ConcurrentChange where a precondition does not hold: an object is at another revision, a guarded object
        changed, a project to create exists, or the project of an update is missing or archived.
        """
        ...

    def history(self, key: Key) -> list[Revision]:
        """All revisions of an object, oldest first; none for an unknown one."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A store whose whole history can be carried to another."""

    def revisions(self) -> Iterator[Revision]:
        """Every revision of every object, in the order of (project, kind, name, revision)."""
        ...

    def restore(self, projects: Iterable[ProjectRecord], revisions: Iterable[Revision]) -> int:
        """Fill an empty registry, keeping revisions, instants and authors; how many revisions there were.

        Raises FailedPrecondition where the registry holds objects already.
        """
        ...
