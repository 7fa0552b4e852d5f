"""The registry in memory: the obvious reference of the contract, for tests and trials."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import msgspec

from tiffin import clock
from tiffin.errors import ConcurrentChange, FailedPrecondition
from tiffin.registry.base import Contents, Key, ProjectRecord, Record, Revision, Transaction, Update


def open_registry(url: str = "memory://") -> MemoryRegistry:
    """A registry that lives as long as the object does; every call gives a new one."""
    del url  # the name carries no more than the choice
    return MemoryRegistry()


class MemoryRegistry:
    """A registry store of plain dictionaries behind one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._projects = {"default": ProjectRecord("default", clock.now(), "tiffin")}
        self._records: dict[Key, Record] = {}
        self._changed: dict[Key, int] = {}
        self._history: dict[Key, list[Revision]] = {}

    def version(self) -> int:
        return self._version

    def load(self, since: int = -1) -> Contents:
        with self._lock:
            return Contents(
                version=self._version,
                projects=tuple(project for _, project in sorted(self._projects.items())),
                records=tuple(self._records[key] for key in sorted(self._records) if self._changed[key] > since),
            )

    def commit(self, transaction: Transaction) -> int:
        with self._lock:
            self._check(transaction)
            self._version += 1
            for name in transaction.create:
                self._projects[name] = ProjectRecord(name, transaction.at, transaction.by)
            for update in transaction.updates:
                self._apply(update, transaction)
            for name in transaction.archive:
                archived = {"archived": transaction.at, "archived_by": transaction.by}
                self._projects[name] = msgspec.structs.replace(self._projects[name], **archived)
            return self._version

    def history(self, key: Key) -> list[Revision]:
        with self._lock:
            return list(self._history.get(key, []))

    def revisions(self) -> Iterator[Revision]:
        with self._lock:
            everything = [revision for key in sorted(self._history) for revision in self._history[key]]
        yield from everything

    def restore(self, projects: Iterable[ProjectRecord], revisions: Iterable[Revision]) -> int:
        restored = list(revisions)
        with self._lock:
            if self._records:
                raise FailedPrecondition("The registry holds objects already.", hint="Restore into an empty one.")
            self._version += 1
            self._projects = {project.name: project for project in projects}
            for revision in restored:
                self._remember(revision)
        return len(restored)

    def close(self) -> None:
        """Nothing is held."""

    def _check(self, transaction: Transaction) -> None:
        for name in transaction.create:
            if name in self._projects:
                raise _moved(f"Project {name!r}")
        for name in {update.key.project for update in transaction.updates} | {*transaction.archive}:
            project = self._projects.get(name)
            if name not in transaction.create and (project is None or project.archived is not None):
                raise _moved(f"Project {name!r}")
        for guard in transaction.guards:
            for key, version in self._changed.items():
                guarded = key[:2] == (guard.project, guard.kind) and guard.name in {None, key.name}
                if guarded and version > guard.since:
                    raise _moved(f"{key.kind} {key.name!r}")
        for update in transaction.updates:
            record = self._records.get(update.key)
            if (record.revision if record else 0) != update.expected:
                raise _moved(f"{update.key.kind} {update.key.name!r}")

    def _apply(self, update: Update, transaction: Transaction) -> None:
        self._remember(
            Revision(
                *update.key,
                revision=update.expected + 1,
                action=update.action,
                at=transaction.at,
                by=transaction.by,
                hash=update.hash,
                spec=msgspec.json.decode(update.spec),
            )
        )

    def _remember(self, revision: Revision) -> None:
        before = self._records.get(revision.key)
        self._history.setdefault(revision.key, []).append(revision)
        self._changed[revision.key] = self._version
        self._records[revision.key] = Record(
            key=revision.key,
            revision=revision.revision,
            deleted=revision.action == "delete",
            created=before.created if before else revision.at,
            updated=revision.at,
            hash=revision.hash,
            spec=msgspec.json.encode(revision.spec),
        )


def _moved(what: str) -> ConcurrentChange:
    return ConcurrentChange(f"{what} was changed by another writer.", hint="Read it again and retry.")
