"""Marks: how far a table was materialised into an online store, kept in that store beside the rows.

A mark says: every row that the source held at ``position`` and whose event time had come was written, with the
features and under the rules it names. It is only ever replaced by the run that read it (:func:`advance`), and a run
from the beginning first leaves an *opening* mark of its own. So a mark never claims more than was written: a store
that was emptied during a run has lost the mark the run began with, and two runs that overlap end with the mark of one
of them, which is true in itself. Whoever writes rows without a feature that the mark claims, since its definition has
it no more or not yet, takes the feature from the mark; and whoever writes rows of another source than those that are
there, or rows that rank by other columns, leaves a mark that says so (:func:`narrow`). What a lost mark costs is
repeated work, never rows.

Beside that a mark tells which pushes have reached the store (:class:`Settled`) and which materialisations have begun
and not ended (:class:`Begun`): what recovery finishes is what is not told there.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from tiffin.definitions.schema import TableSchema
from tiffin.errors import Unsupported
from tiffin.offline.base import Position
from tiffin.online.base import Marks, OnlineStore, TableId


class Settled(msgspec.Struct, frozen=True, omit_defaults=True):
    """The pushes and stream batches of one source whose rows are in the store.

    All of versions up to ``version``, and of those in ``beyond``, which are greater and ascending.
    """

    identity: str
    version: int = -1
    beyond: tuple[int, ...] = ()

    def holds(self, version: int) -> bool:
        """Whether a version is told to be in the store."""
        return version <= self.version or version in self.beyond

    def and_also(self, versions: Iterable[int], up_to: int = -1) -> Settled:
        """With more versions: these, and all up to one."""
        reached = max(self.version, up_to)
        more = {*self.beyond, *versions}
        while reached + 1 in more:
            reached += 1
        return Settled(self.identity, reached, tuple(sorted(version for version in more if version > reached)))


class Begun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A materialisation that has begun: of what was committed, or of a window of event times in UTC microseconds."""

    id: str
    at: int
    incremental: bool = False
    start: int | None = None
    end: int | None = None


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far one table has come.

    ``position`` is None in an opening mark. ``features`` maps each feature that was written, or in an opening mark is
    about to be, to its type and expression, and ``rules`` is what else decides which rows there are and who wins.
    ``max_age`` is in microseconds, None without a limit. ``pending_from`` is the smallest event time that was left out
    because it lay in the future, None where there was none. ``source`` is the identity of the source that the rows come
    from. ``mixed`` says that rows of two sources may lie in the store, whose ranks tell nothing of each other: it must
    be emptied before anything that is written there is the latest. ``filled_from`` is the smallest event time that
    windows have asked for, None where none did. ``erased`` is the fence of erasures: the version of the registry that
    writers must know, 0 where nobody has looked.
    """

    run: str
    position: Position | None = None
    features: dict[str, str] = {}
    rules: tuple[str, ...] = ()
    max_age: int | None = None
    pending_from: int | None = None
    looked: Position | None = None
    source: str = ""
    mixed: bool = False
    settled: Settled | None = None
    begun: tuple[Begun, ...] = ()
    filled_from: int | None = None
    erased: int = 0

    def arrived(self, identity: str) -> Settled:
        """The pushes of a source that have reached the store: those settled, and all up to the position."""
        known = self.settled
        if known is None or known.identity != identity:
            known = Settled(identity)
        written = self.position
        return known.and_also((), written.version) if written is not None and written.identity == identity else known

    def covers(self, table: TableSchema) -> bool:
        """Whether what was written under this mark is still all that the table's definition asks for.

        It is not where a feature was added or is read differently, keys, times or deletions are, or max age was
        raised (semantics, section 5). A feature that was removed changes nothing.
        """
        wanted = _features(table)
        raised = self.max_age is not None and (table.max_age is None or table.max_age > self.max_age)
        return wanted.items() <= self.features.items() and self.rules == _rules(table) and not raised

    def is_foreign(self, table: TableSchema, source: str) -> bool:
        """Whether rows that the table's definition reads from a source do not compare with those under this mark.

        They do where the source is the same and rows have the same keys, event times and created times; where the
        created times are new, and have been null so far, whatever is written now wins as it should. A plain folder
        that got a log is the same source.
        """
        if not self.source:
            return False
        adopted = re.escape(self.source) + "#[0-9a-f-]{36}"
        if source != self.source and re.fullmatch(adopted, source) is None:
            return True
        *before, made, _ = self.rules
        *now, making, _ = _rules(table)
        return before != now or made not in ("", making)


def opening(table: TableSchema, source: str = "", *, mixed: bool = False) -> Mark:
    """The mark of a run that begins at the beginning; no other run has the same."""
    return Mark(run=uuid.uuid4().hex, features=_features(table), rules=_rules(table), source=source, mixed=mixed)


def reached(table: TableSchema, position: Position, pending_from: int | None) -> Mark:
    """The mark of a run that wrote everything up to ``position``."""
    return Mark(
        run=uuid.uuid4().hex,
        position=position,
        features=_features(table),
        rules=_rules(table),
        max_age=table.max_age,
        pending_from=pending_from,
        looked=position,
        source=position.identity,
    )


def read(store: OnlineStore, table: TableSchema) -> Mark | None:
    """The table's mark, or None; one that cannot be read (written by a later version, say) counts as none."""
    data = _marks(store).read_mark(TableId(table.project, table.name))
    return None if data is None else _decoded(data)


def note(store: OnlineStore, table: TableSchema, position: Position, *, filled_from: int | None = None) -> None:
    """Remember that rows were taken from the source at ``position``, without moving the mark.

    ``filled_from`` is the event time from which they were.
    """
    base = narrow(store, table, position.identity)
    advance(store, table, base, replace(base, looked=position, filled_from=filled_from))


def narrow(store: OnlineStore, table: TableSchema, source: str) -> Mark:
    """Take from the mark what does not hold of rows written from a source under the table's definition; the mark then.

    A narrowed mark is of no run, so that none that goes on can claim again what was overwritten meanwhile. Where there
    is no mark an opening one is made, so that rows never lie in a store without a word of their source.
    """
    while True:
        base = read(store, table)
        if base is None:
            base = opening(table, source)
            write(store, table, base)
            return base
        kept = dict(base.features.items() & _features(table).items())
        foreign = base.is_foreign(table, source)
        if kept == base.features and not foreign:
            return base
        narrowed = replace(base, run=uuid.uuid4().hex, features=kept, mixed=base.mixed or foreign)
        if advance(store, table, base, narrowed):
            return narrowed


def write(store: OnlineStore, table: TableSchema, mark: Mark) -> None:
    """Replace the table's mark, whatever it was."""
    _marks(store).write_mark(TableId(table.project, table.name), msgspec.json.encode(mark))


def advance(store: OnlineStore, table: TableSchema, base: Mark, mark: Mark) -> bool:
    """Replace the mark if it still is that of ``base``'s run; otherwise leave it and return False."""
    keeper, table_id = _marks(store), TableId(table.project, table.name)
    while True:
        data = keeper.read_mark(table_id)
        found = None if data is None else _decoded(data)
        if data is None or found is None or found.run != base.run:
            return False
        # Where it fails the mark was noted or moved meanwhile: look again at whose it is.
        if keeper.replace_mark(table_id, data, msgspec.json.encode(_carried(found, mark))):
            return True


def _carried(found: Mark, mark: Mark) -> Mark:
    """The next mark with what others have told in the last: pushes that arrived, unless rows were removed since."""
    mark = replace(mark, begun=found.begun, erased=max(found.erased, mark.erased))
    if found.mixed or mark.mixed:
        return mark
    filled = [instant for instant in (found.filled_from, mark.filled_from) if instant is not None]
    told = found.settled
    if told is not None and mark.position is not None and mark.position.identity != told.identity:
        told = None
    if told is not None and mark.settled is not None:
        same = told.identity == mark.settled.identity
        told = told.and_also(mark.settled.beyond, mark.settled.version) if same else mark.settled
    return replace(mark, settled=told or mark.settled, filled_from=min(filled, default=None))


def update(store: OnlineStore, table: TableSchema, change: Callable[[Mark], Mark]) -> Mark | None:
    """Replace the mark, whoever's it is, by what ``change`` makes of it; the mark then. None where there is none."""
    keeper, table_id = _marks(store), TableId(table.project, table.name)
    while True:
        data = keeper.read_mark(table_id)
        found = None if data is None else _decoded(data)
        if data is None or found is None:
            return None
        changed = change(found)
        if changed == found or keeper.replace_mark(table_id, data, msgspec.json.encode(changed)):
            return changed


def fence(store: OnlineStore, table: TableSchema, version: int) -> Mark | None:
    """Have the mark tell of an erasure, by the registry's version, so that writers know of it; the mark then."""
    return update(store, table, lambda mark: replace(mark, erased=max(mark.erased, version)))


def settle(
    store: OnlineStore,
    table: TableSchema,
    identity: str,
    versions: Iterable[int],
    *,
    up_to: int = -1,
    looked: Position | None = None,
) -> Settled:
    """Tell that the rows of commits are in the store: of ``versions``, and of every push ``up_to`` one; what is told.

    ``looked`` also notes that rows were taken from the source there. Where the store was emptied meanwhile, or is about
    to be, nothing is told: whoever fills it again writes these rows, too.
    """
    versions = tuple(versions)

    def change(mark: Mark) -> Mark:
        if mark.mixed:
            return mark
        told = mark.arrived(identity).and_also(versions, up_to)
        return replace(mark, settled=told, looked=mark.looked if looked is None else looked)

    after = update(store, table, change)
    return Settled(identity) if after is None else after.arrived(identity)


def begin(store: OnlineStore, table: TableSchema, run: Begun) -> None:
    """Tell that a materialisation is at work, so that it is known of should its process end."""
    update(store, table, lambda mark: mark if run in mark.begun else replace(mark, begun=(*mark.begun, run)))


def end(store: OnlineStore, table: TableSchema, run: Begun) -> None:
    """Tell that a materialisation is no longer at work."""
    update(store, table, lambda mark: replace(mark, begun=tuple(each for each in mark.begun if each != run)))


def _decoded(data: bytes) -> Mark | None:
    try:
        return msgspec.json.decode(data, type=Mark)
    except msgspec.DecodeError:
        return None


def _marks(store: OnlineStore) -> Marks:
    if not isinstance(store, Marks):
        raise Unsupported(
            f"{type(store).__name__} keeps no marks, so incremental materialisation is not possible with it.",
            hint="Materialise a window of event times instead: materialize(tables, start, end).",
        )
    return store


def _features(table: TableSchema) -> dict[str, str]:
    return {column.name: f"{column.dtype.name} {column.expression}" for column in table.features}


def _rules(table: TableSchema) -> tuple[str, ...]:
    keys = (f"{column.name} {column.dtype.name} {column.expression}" for column in table.keys)
    return (*keys, table.event_column, table.created_column, table.deleted_column)
