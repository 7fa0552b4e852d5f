"""Erasure: where rows of an entity may be, in all that a workspace reaches, and the work of removing them there.

Not only the tables as they are: earlier revisions of a table, and deleted ones, had other sources and other entities,
and their rows are still where they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import Column, TableSchema
from tiffin.definitions.source import BigQuerySource, FileSource
from tiffin.errors import NotFound, PermissionDenied, TiffinError, closest
from tiffin.ingest.erase import ErasureReport, Place, Subject, counted, erase
from tiffin.ingest.erase_files import FramePlace, LetterPlace
from tiffin.ingest.erase_served import ServedPlace
from tiffin.ingest.erase_stores import HistoryPlace, OnlineFiles, OnlinePlace
from tiffin.ingest.erase_texts import TextPlace
from tiffin.jobs.record import JobType
from tiffin.offline.location import normalise
from tiffin.registry.base import Key
from tiffin.registry.erasures import RUNNING
from tiffin.registry.registry import author
from tiffin.registry.resolve import schema

if TYPE_CHECKING:
    from tiffin.registry.snapshot import Snapshot
    from tiffin.workspace import Workspace

D = TypeVar("D", bound=Definition)

#: Where rows may be that no call reaches, whatever the store.
ELSEWHERE: Final = (
    "backups, and earlier versions of objects that a bucket keeps",
    "exported training sets, and copies that programs made of what they read",
)
#: Outputs that are listed by name.
_NAMED: Final = 20


def erase_keys(
    workspace: Workspace,
    entity: str,
    values: Sequence[Any],
    project: str,
    *,
    dry_run: bool = False,
    control: Control = UNWATCHED,
) -> ErasureReport:
    """Erase keys of an entity from all that a workspace reaches; with ``dry_run`` only count their rows."""
    snapshot = workspace.registry.snapshot(fresh=True)
    column = _entity(snapshot, entity, project)
    places, not_reached = _places(workspace, snapshot, column, project)
    if dry_run:
        subject = Subject.of(project, column, b"", values)
        return counted(subject, places, not_reached=not_reached, control=control)
    Subject.of(project, column, b"", values)  # raises before a secret is made
    source = workspace.erased.source
    subject = Subject.of(project, column, source.salt(project), values)
    return erase(subject, places, source, by=author(), not_reached=not_reached, control=control)


def resume(workspace: Workspace, project: str, *, control: Control = UNWATCHED) -> list[ErasureReport]:
    """Take up the erasures of a project that were cut off, by their hashes: their keys are not known any more.

    Who is no admin of the project leaves it to those who are.
    """
    source = workspace.erased.source
    try:
        open_ones = [each for each in source.find(project) if each.state == RUNNING]
    except PermissionDenied:
        return []
    if not open_ones:
        return []
    snapshot = workspace.registry.snapshot(fresh=True)
    salt = source.salt(project)
    reports = []
    for entity in sorted({each.entity for each in open_ones}):
        column = _entity(snapshot, entity, project)
        digests = [bytes.fromhex(each.digest) for each in open_ones if each.entity == entity]
        subject = Subject(project, column, salt, digests, None)
        places, not_reached = _places(workspace, snapshot, column, project)
        reports.append(erase(subject, places, source, by=author(), not_reached=not_reached, control=control))
    return reports


def _entity(snapshot: Snapshot, name: str, project: str) -> Column:
    """An entity as the column that it is in canonical frames; also one that was deleted, for its rows are not."""
    snapshot.project(project)
    record = snapshot.record(Key(project, Entity.__name__, name.strip()))
    if record is None:
        known = [each.key.name for each in snapshot.records(Entity.__name__, project)]
        raise NotFound(
            f"There is no entity {name!r} in project {project!r}.", field="entity", hint=closest(name, known)
        )
    entity = record.definition()
    assert isinstance(entity, Entity)  # it was stored under this kind
    return Column(entity.name, entity.value_type, entity.name)


def _places(workspace: Workspace, snapshot: Snapshot, column: Column, project: str) -> tuple[list[Place], list[str]]:
    """Everywhere that rows of an entity may be, in the order of the work, and what is not reached."""
    tables = [list(group) for group in _tables(workspace, snapshot, column.name, project)]
    everything = [table for group in tables for table, _ in group]
    places: list[Place] = list(_histories(snapshot, everything, workspace))
    stored = workspace.has_store
    if stored and tables:
        online = [OnlinePlace(lambda: workspace.store, [table for table, _ in group]) for group in tables]
        places += [*online, OnlineFiles(lambda: workspace.store, online)]
    letters = workspace.folder("deadletter_path", "dead_letters")
    for group in tables:
        read = [each.expression for table, _ in group for each in table.keys if each.name == column.name]
        places.append(LetterPlace(letters, project, group[0][0].name, [column.name, *read]))
    places.append(FramePlace("training sets in home", str(workspace.home / "historical")))
    places.append(FramePlace("staged frames in home", str(workspace.home / "staging")))
    places.append(ServedPlace(workspace.folder("served_log", "served")))
    places.append(TextPlace(workspace.erased.source))
    definitions = [definition for group in tables for _, definition in group]
    not_reached = [*_sources(definitions), *_outputs(workspace, project), *ELSEWHERE]
    if not stored and tables:
        not_reached.insert(0, "the online store: no option names it here; erase where redis_host or online_store does")
    return places, list(dict.fromkeys(not_reached))


class _Past:
    """The registry as one revision of a table saw it, its entities deleted or not."""

    def __init__(self, snapshot: Snapshot, table: FeatureTable) -> None:
        self._snapshot = snapshot
        self._table = table

    def peek(self, kind: type[D], name: str, project: str) -> D:
        found = self._table if kind is FeatureTable else self._snapshot.shared(Key(project, kind.__name__, name))
        assert isinstance(found, kind)  # it was stored under this kind
        return found

    def schema(self, table: str, project: str, *, managed_root: str, root: str) -> TableSchema:
        return schema(self, table, project, managed_root=managed_root, root=root)


def _tables(
    workspace: Workspace, snapshot: Snapshot, entity: str, project: str
) -> Iterator[list[tuple[TableSchema, FeatureTable]]]:
    """The tables that an entity is or was of, each as all of its revisions had it, the newest first."""
    places = {name: str(place) for name, place in workspace.places.items()}
    for record in snapshot.records(FeatureTable.__name__, project):
        found = []
        for revision in reversed(workspace.registry.history(record.key.name, project, kind=FeatureTable)):
            definition = revision.definition()
            assert isinstance(definition, FeatureTable)  # as its kind says
            if entity in definition.entities:
                past = _Past(snapshot, definition)
                found.append((past.schema(definition.name, project, **places), definition))
        if found:
            yield found


def _histories(snapshot: Snapshot, tables: Iterable[TableSchema], workspace: Workspace) -> Iterator[HistoryPlace]:
    """The batch sources of tables, each once for each way in which keys were read from it."""
    seen: set[tuple[Any, ...]] = set()
    names: set[str] = set()
    for table in tables:
        source = table.source
        where = source.file_url if isinstance(source, FileSource) else repr(source)
        known = (where, table.keys, getattr(getattr(source, "file_format", None), "version", None))
        if known in seen:
            continue
        seen.add(known)
        name = f"offline {table.name}" if f"offline {table.name}" not in names else f"offline {table.name} at {where}"
        names.add(name)
        yield HistoryPlace(table, name, _pinned(snapshot, where, workspace))


def _pinned(snapshot: Snapshot, where: str, workspace: Workspace) -> list[int]:
    """The versions of a folder that tables of any project read."""
    pinned = []
    for record in snapshot.records(FeatureTable.__name__):
        table = snapshot.shared(record.key)
        source = table.batch_source if isinstance(table, FeatureTable) and not record.deleted else None
        if not isinstance(source, FileSource) or not isinstance(source.file_format, DeltaFormat):
            continue
        version = source.file_format.version
        place = schema(snapshot, record.key.name, record.key.project, **_texts(workspace)).source
        if version is not None and isinstance(place, FileSource) and _same(place.file_url, where):
            pinned.append(version)
    return pinned


def _texts(workspace: Workspace) -> dict[str, str]:
    return {name: str(place) for name, place in workspace.places.items()}


def _same(one: str, other: str) -> bool:
    try:
        return normalise(one) == normalise(other)
    except TiffinError:
        return False


def _sources(tables: Iterable[FeatureTable]) -> Iterator[str]:
    """What of the sources of tables no call reaches."""
    for table in tables:
        if table.stream_source is not None:
            yield f"{table.name}: what the broker of {_stream(table.stream_source)} keeps, until its retention ends"
        if isinstance(table.batch_source, BigQuerySource):
            yield f"{table.name}: the BigQuery table, and its time travel of up to seven days"


def _stream(source: object) -> str:
    return str(getattr(source, "topic", "") or getattr(source, "stream_name", "") or type(source).__name__)


def _outputs(workspace: Workspace, project: str) -> Iterator[str]:
    """Training sets that jobs wrote beyond the home."""
    home = str(workspace.home)
    found = workspace.jobs.find(include_terminated=True, project=project)
    outside = [
        job.output
        for job in found
        if job.type is JobType.HISTORICAL_RETRIEVAL and job.output and not job.output.startswith(home)
    ]
    for uri in list(dict.fromkeys(outside))[:_NAMED]:
        yield f"the training set at {uri}"


__all__ = ["erase_keys", "resume"]
