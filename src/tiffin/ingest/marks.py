"""Marks: how far a table was materialised into an online store, kept in that store beside the rows.

A mark says: every row that the source held at ``position`` and whose event time had come was written, with the
features and under the rules it names. It is only ever replaced by the run that read it (:func:`advance`), and a run
from the beginning first leaves an *opening* mark of its own. So a mark never claims more than was written: a store
that was emptied during a run has lost the mark the run began with, and two runs that overlap end with the mark of one
of them, which is true in itself. Whoever writes rows without a feature that the mark claims, since its definition has
it no more or not yet, takes the feature from the mark; and whoever writes rows of another source than those that are
there, or rows that rank by other columns, leaves a mark that says so (:func:`narrow`). What a lost mark costs is
repeated work, never rows.
"""

from __future__ import annotations

import re
import uuid

import msgspec
from msgspec.structs import replace

from tiffin.definitions.schema import TableSchema
from tiffin.errors import Unsupported
from tiffin.offline.base import Position
from tiffin.online.base import Marks, OnlineStore, TableId


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far one table has come.

    ``position`` is None in an opening mark. ``features`` maps each feature that was written, or in an opening mark is
    about to be, to its type and expression, and ``rules`` is what else decides which rows there are and who wins.
    ``max_age`` is in microseconds, None without a limit. ``pending_from`` is the smallest event time that was left out
    because it lay in the future, None where there was none. ``source`` is the identity of the source that the rows come
    from. ``mixed`` says that rows of two sources may lie in the store, whose ranks tell nothing of each other: it must
    be emptied before anything that is written there is the latest.
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


def note(store: OnlineStore, table: TableSchema, position: Position) -> None:
    """Remember that rows were taken from the source at ``position``, without moving the mark."""
    base = narrow(store, table, position.identity)
    advance(store, table, base, replace(base, looked=position))


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
        if keeper.replace_mark(table_id, data, msgspec.json.encode(mark)):
            return True


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
