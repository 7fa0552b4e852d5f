"""Resolve: from names to the plain data that engines and stores are handed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema, microseconds
from tiffin.definitions.source import AnyBatchSource, FileSource
from tiffin.errors import InvalidReference, NotFound, closest
from tiffin.refs import FeatureRef

D = TypeVar("D", bound=Definition)

#: What a request for features may name.
Refs = str | FeatureService | Sequence[str | FeatureRef]


class Lookup(Protocol):
    """What a snapshot of the registry answers; NotFound where it has nothing of the name."""

    def peek(self, kind: type[D], name: str, project: str) -> D:
        """An object that is not changed by whoever looks at it."""
        ...

    def schema(self, table: str, project: str, *, managed_root: str, root: str) -> TableSchema:
        """One table as plain data."""
        ...


def schema(snapshot: Lookup, name: str, project: str, *, managed_root: str, root: str) -> TableSchema:
    """One table as plain data; see :meth:`Snapshot.schema`."""
    table = snapshot.peek(FeatureTable, name, project)
    mapping = table.batch_source.field_mapping if table.batch_source is not None else {}
    entities = [snapshot.peek(Entity, entity, project) for entity in table.entities]
    return TableSchema(
        project=project,
        name=table.name,
        keys=tuple(Column(each.name, each.value_type, mapping.get(each.name, each.name)) for each in entities),
        features=tuple(Column(each.name, each.dtype, mapping.get(each.name, each.name)) for each in table.features),
        source=_source(table, project, managed_root=managed_root, root=root),
        max_age=microseconds(table.max_age),
        deleted_column=table.deleted_column,
        expectations=tuple(table.expectations),
    )


def _source(table: FeatureTable, project: str, *, managed_root: str, root: str) -> AnyBatchSource:
    """The batch source with an absolute place; for a table without one, its managed folder."""
    source = table.batch_source
    if source is None:
        stream = table.stream_source
        return FileSource(
            event_timestamp_column=stream.event_timestamp_column if stream else "event_timestamp",
            file_format=ParquetFormat(),
            file_url=f"{absolute(managed_root, '').rstrip('/')}/{project}/{table.name}",
            created_timestamp_column=stream.created_timestamp_column if stream else "",
        )
    if isinstance(source, FileSource):
        return msgspec.structs.replace(source, file_url=absolute(source.file_url, root))
    return source


def absolute(place: str, root: str) -> str:
    """A URL as it is; a path made absolute from ``root``, or from the working directory if that is empty."""
    if "://" in place:
        return place
    path = Path(place).expanduser()
    return str(path if path.is_absolute() else Path(root or ".").absolute() / path)


def references(snapshot: Lookup, refs: Refs, project: str) -> list[FeatureRef]:
    """The references that a request means, each with its project, repeated ones left out."""
    if isinstance(refs, str) and ":" not in refs:
        refs = snapshot.peek(FeatureService, refs, project)
    wanted: Sequence[str | FeatureRef]
    if isinstance(refs, FeatureService):
        wanted = refs.refs
    elif isinstance(refs, str):
        wanted = [refs]
    else:
        wanted = list(refs)
    if not wanted:
        raise InvalidReference("No features were asked for.", field="features", hint="Name at least one.")
    read = [ref if isinstance(ref, FeatureRef) else FeatureRef.from_str(ref) for ref in wanted]
    return list(dict.fromkeys(FeatureRef(ref.name, ref.feature_table, ref.project or project) for ref in read))


def select(
    snapshot: Lookup, refs: Refs, project: str, *, managed_root: str, root: str
) -> tuple[tuple[Selection, ...], tuple[str, ...]]:
    """What a request takes from each table; see :meth:`Snapshot.select`."""
    taken: dict[str, FeatureRef] = {}
    features: dict[tuple[str, str], list[Column]] = {}
    tables: dict[tuple[str, str], TableSchema] = {}
    for ref in references(snapshot, refs, project):
        if ref.column in taken:
            raise InvalidReference(
                f"{str(taken[ref.column])!r} and {str(ref)!r} would both be the column {ref.column!r}.",
                field="features",
                hint="Ask for them in two requests.",
            )
        taken[ref.column] = ref
        place = (ref.project or project, ref.feature_table)
        table = snapshot.schema(place[1], place[0], managed_root=managed_root, root=root)
        tables[place] = table
        features.setdefault(place, []).append(_feature(table, ref))
    selections = tuple(
        Selection(table, tuple(features[place]), tuple(f"{table.name}__{each.name}" for each in features[place]))
        for place, table in tables.items()
    )
    return selections, tuple(taken)


def _feature(table: TableSchema, ref: FeatureRef) -> Column:
    for column in table.features:
        if column.name == ref.name:
            return column
    raise NotFound(
        f"Feature table {ref.feature_table!r} of project {table.project!r} has no feature {ref.name!r}.",
        field="features",
        hint=closest(ref.name, table.feature_names),
    )
