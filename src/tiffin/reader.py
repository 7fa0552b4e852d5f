"""Reader: online requests, resolved once and answered many times.

A request's plan is kept by its references and project as long as the definitions do not change. When one is made, the
reader also looks whether commits wait that the online store has not seen, and warns of them once.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.schema import Selection, TableSchema
from tiffin.errors import MissingDependency, StaleStoreWarning, StorageError, Unavailable, Unsupported
from tiffin.online.base import AsyncReadable, OnlineStore
from tiffin.online.read import Columns, ReadPlan, Rows
from tiffin.online.response import OnlineResponse

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tiffin.registry.resolve import Refs
    from tiffin.registry.snapshot import Snapshot
    from tiffin.workspace import Workspace

#: Plans that are kept; programs ask for a few sets of features, again and again.
KEPT: Final = 512
#: Seconds between two looks whether the store that plans read from is still the one that is there.
LOOK_EVERY: Final = 1.0
#: From ``stale`` to whoever called the client.
_STACK: Final = 6


class Kept(NamedTuple):
    """A plan, the definitions that it was made under, and the store that it reads."""

    snapshot: Snapshot
    plan: ReadPlan
    store: OnlineStore


class Reader:
    """The plans of one client. Safe to use from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._plans: dict[Hashable, Kept] = {}
        self._store: OnlineStore | None = None
        self._looked = 0.0

    def read(self, refs: Refs, entities: Rows | Columns, project: str) -> OnlineResponse:
        """Answer one request."""
        return OnlineResponse(self.kept(refs, project).plan.read(entities))

    def known(self, refs: Refs, project: str) -> Kept | None:
        """As :meth:`kept`, without asking anybody: None where the registry or the store has to be asked first."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            return None
        known = self._plans.get((project, _key(refs)))
        return known if known is not None and known.snapshot is self._workspace.registry.held else None

    def kept(self, refs: Refs, project: str) -> Kept:
        """The plan of a request under the definitions as they are now."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._look(now)
        snapshot = self._workspace.snapshot()
        key = (project, _key(refs))
        known = self._plans.get(key)
        if known is not None and known.snapshot is snapshot:
            return known
        made = self._compile(snapshot, refs, project)
        if len(self._plans) >= KEPT:
            self._plans.clear()
        self._plans[key] = made
        return made

    def _look(self, now: float) -> None:
        """Forget the plans of a store that was deleted or replaced: they know its layouts."""
        store = self._workspace.store
        if store is not self._store:
            self._plans, self._store = {}, store
        self._looked = now

    def _compile(self, snapshot: Snapshot, refs: Refs, project: str) -> Kept:
        selections, names = resolve(snapshot, refs, project, self._workspace.places)
        for selection in selections:
            self._warn_if_stale(selection.table)
        store = self._workspace.store
        return Kept(snapshot, ReadPlan(store, selections, names), store)

    def _warn_if_stale(self, table: TableSchema) -> None:
        from tiffin.ingest.materialize import commits_waiting

        try:
            waiting = commits_waiting(self._workspace.route, table)
        except (MissingDependency, StorageError, Unavailable, Unsupported):
            return  # a read does not need the offline source: that it cannot be asked is no reason to fail
        if waiting:
            project = "" if table.project == "default" else f" --project {table.project}"
            commits = "1 commit" if waiting == 1 else f"{waiting} commits"
            verb = "waits" if waiting == 1 else "wait"
            warnings.warn(
                f"{commits} of {table.label()} {verb} that the online store has not seen. Run: "
                f"client.materialize_incremental({table.name!r}), or "
                f"tiffin materialize --incremental {table.name}{project}",
                StaleStoreWarning,
                stacklevel=_STACK,
            )


class AsyncReader:
    """Reads for event loops: a store in this process is read at once, one beyond a network is awaited.

    What may block (asking the registry, opening the store, learning its layouts) happens in threads.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._reader = Reader(workspace)

    async def read(self, refs: Refs, entities: Rows | Columns, project: str) -> OnlineResponse:
        """Answer one request."""
        kept = self._reader.known(refs, project)
        if kept is None:
            kept = await asyncio.to_thread(self._reader.kept, refs, project)
        pending, store = kept.plan.begin(entities), kept.store
        if isinstance(store, AsyncReadable):
            values = await store.read_async(pending.wanted)
        else:
            values = [store.read(table, keys) for table, keys in pending.wanted]
        columns = pending.attempt(values)
        if columns is None:
            columns = await asyncio.to_thread(pending.finish, values)
        return OnlineResponse(columns)


def resolve(
    snapshot: Snapshot, refs: Refs, project: str, places: Mapping[str, Any]
) -> tuple[tuple[Selection, ...], tuple[str, ...]]:
    """What a request reads from each table, and the names of its features in the order of the request.

    Names are ``table:feature``, with the project before it where it is another. ``places`` are the workspace's.
    """
    selections, columns = snapshot.select(refs, project, **places)
    renamed = tuple(replace(each, output=_names(each, project)) for each in selections)
    names = {
        column: name
        for before, after in zip(selections, renamed, strict=True)
        for column, name in zip(before.output, after.output, strict=True)
    }
    return renamed, tuple(names[column] for column in columns)


def _key(refs: Refs) -> Hashable:
    if isinstance(refs, str):
        return refs
    return tuple(refs.features if isinstance(refs, FeatureService) else refs)


def _names(selection: Selection, project: str) -> tuple[str, ...]:
    """``table:feature``, with the project before it where it is another."""
    table = selection.table
    prefix = "" if table.project == project else f"{table.project}/"
    return tuple(f"{prefix}{table.name}:{feature.name}" for feature in selection.features)
