"""The columns that a batch must have (semantics, section 5)."""

from __future__ import annotations

from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidData, Unsupported, closest
from tiffin.offline.mapping import columns_read


def check_columns(table: TableSchema, names: set[str]) -> None:
    """InvalidData where a declared column is not among the names; Unsupported where the event date is a feature."""
    wanted = {table.event_column: "the event time"}
    if table.created_column:
        wanted.setdefault(table.created_column, "the creation time")
    for column in (*table.keys, *table.features):
        for root in columns_read(table, column, names):
            wanted.setdefault(root, repr(column.name))
    if table.partition_column in wanted:
        raise Unsupported(
            f"{table.label()} reads {wanted[table.partition_column]} from its date partition column "
            f"{table.partition_column!r}, which ingestion derives from the event time.",
            field="date_partition_column",
            hint="Partition by a column of its own.",
        )
    missing = [name for name in wanted if name not in names]
    if missing:
        also = f" Also missing: {', '.join(map(repr, missing[1:]))}." if missing[1:] else ""
        raise InvalidData(
            f"The data for {table.label()} has no column {missing[0]!r}, needed for {wanted[missing[0]]}.{also}",
            field=missing[0],
            hint=closest(missing[0], names),
        )
