"""Snapshot: the registry as it was at one version, for everything that reads it.

A snapshot never changes and asks nobody: lookups, schemas and selections are answered from what it holds. What it
hands out as definitions are copies of the caller's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from tiffin import clock
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.schema import Selection, TableSchema
from tiffin.errors import InvalidArgument, NotFound, closest
from tiffin.refs import DEFAULT_PROJECT
from tiffin.registry import resolve
from tiffin.registry.base import Contents, Key, ProjectRecord, Record
from tiffin.registry.resolve import Refs

D = TypeVar("D", bound=Definition)

#: What messages call a kind.
WORDS: Final = {"Entity": "entity", "FeatureTable": "feature table", "FeatureService": "feature service"}


class Snapshot:
    """All projects and objects at one ``version``. Lookups raise NotFound with the closest names."""

    def __init__(self, contents: Contents, before: Snapshot | None = None) -> None:
        self.version = contents.version
        self.projects: Mapping[str, ProjectRecord] = {project.name: project for project in contents.projects}
        changed = {record.key: record for record in contents.records}
        self._records: dict[Key, Record] = dict(changed)
        self._shared: dict[Key, Definition] = {}
        if before is not None:
            self._records = before._records | changed  # noqa: SLF001  (of its own kind)
            self._shared = {key: each for key, each in before._shared.items() if key not in changed}  # noqa: SLF001
        self._schemas: dict[tuple[str, str, str, str], TableSchema] = {}

    # Objects

    def entity(self, name: str, project: str = DEFAULT_PROJECT) -> Entity:
        """An entity, as a copy of the caller's own."""
        return self.get(Entity, name, project)

    def feature_table(self, name: str, project: str = DEFAULT_PROJECT) -> FeatureTable:
        """A feature table, as a copy of the caller's own."""
        return self.get(FeatureTable, name, project)

    def feature_service(self, name: str, project: str = DEFAULT_PROJECT) -> FeatureService:
        """A feature service, as a copy of the caller's own."""
        return self.get(FeatureService, name, project)

    def get(self, kind: type[D], name: str, project: str = DEFAULT_PROJECT) -> D:
        """The object of a kind and name, as a copy of the caller's own."""
        return _as(kind, self.live(kind.__name__, name, project).definition())

    def objects(
        self, kind: type[D], project: str = DEFAULT_PROJECT, labels: Mapping[str, str] | None = None
    ) -> list[D]:
        """Copies of the objects of a kind, by name, that carry all of ``labels``."""
        wanted = (labels or {}).items()
        self.project(project)
        shared = [self.shared(record.key) for record in self.records(kind.__name__, project) if not record.deleted]
        carrying = [each for each in shared if wanted <= getattr(each, "labels", {}).items()]
        return [self.get(kind, str(getattr(each, "name", "")), project) for each in carrying]

    # Projects

    def project(self, name: str) -> ProjectRecord:
        """A project, archived or not."""
        if name not in self.projects:
            raise NotFound(
                f"There is no project {name!r}.", field="project", hint=closest(name, self.active_projects())
            )
        return self.projects[name]

    def active_projects(self) -> list[str]:
        """The names of the projects that are not archived."""
        return sorted(name for name, project in self.projects.items() if project.archived is None)

    # What engines and stores are handed

    def schema(
        self, table: str, project: str = DEFAULT_PROJECT, *, managed_root: str | Path, root: str | Path = ""
    ) -> TableSchema:
        """One table as plain data, complete: types, mapping and places resolved.

        A table without a batch source has the folder ``managed_root/project/table``; relative paths of sources are
        meant from ``root``, the working directory if empty.
        """
        key = (project, table, str(managed_root), str(root))
        if key not in self._schemas:
            self._schemas[key] = resolve.schema(self, table, project, managed_root=str(managed_root), root=str(root))
        return self._schemas[key]

    def select(
        self, refs: Refs, project: str = DEFAULT_PROJECT, *, managed_root: str | Path, root: str | Path = ""
    ) -> tuple[tuple[Selection, ...], tuple[str, ...]]:
        """What a request takes from each table, each once, and the columns of its answer in the request's order.

        ``refs`` is a list of references, one reference, a feature service or its name. A reference that is repeated
        counts once; two that would yield the same column raise InvalidReference.
        """
        return resolve.select(self, refs, project, managed_root=str(managed_root), root=str(root))

    def contents(self) -> Contents:
        """All that it holds, as it was loaded."""
        return Contents(self.version, tuple(self.projects.values()), tuple(self.records()))

    # For the registry itself: nothing of this is copied, so nothing of it may be changed

    def record(self, key: Key) -> Record | None:
        """The newest revision of an object, deleted or not."""
        return self._records.get(key)

    def records(self, kind: str | None = None, project: str | None = None) -> Iterator[Record]:
        """All records, of one kind or project where named, in the order of (project, kind, name)."""
        for key in sorted(self._records):
            if kind in {None, key.kind} and project in {None, key.project}:
                yield self._records[key]

    def live(self, kind: str, name: str, project: str) -> Record:
        """The record of an object that is not deleted."""
        self.project(project)
        if not isinstance(name, str):
            raise InvalidArgument(
                f"The name of a {WORDS[kind]} must be a text, got {name!r}.", field="name", hint="Pass its name."
            )
        record = self._records.get(Key(project, kind, name.strip()))
        if record is None:
            known = [each.key.name for each in self.records(kind, project) if not each.deleted]
            raise NotFound(
                f"There is no {WORDS[kind]} {name!r} in project {project!r}.", field="name", hint=closest(name, known)
            )
        if record.deleted:
            raise NotFound(
                f"The {WORDS[kind]} {name!r} of project {project!r} was deleted at {clock.to_iso(record.updated)}.",
                field="name",
                hint="Apply it again, or roll back to an earlier revision, to revive it.",
            )
        return record

    def shared(self, key: Key) -> Definition:
        """The object itself, shared by all who ask: to be read only."""
        definition = self._shared.get(key)
        if definition is None:
            definition = self._shared[key] = self._records[key].definition()
        return definition

    def peek(self, kind: type[D], name: str, project: str) -> D:
        """As :meth:`get`, but shared by all who ask: to be read only."""
        return _as(kind, self.shared(self.live(kind.__name__, name, project).key))


def _as(kind: type[D], definition: Definition) -> D:
    assert isinstance(definition, kind)  # records are stored under the kind of their definition
    return definition
