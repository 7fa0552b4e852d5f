"""The greatest instant of ingestion of a table: the next commit's is later.

Every commit says it in its metadata, so that a writer reads one entry of the log, however many files there are. After a
commit of another writer, who does not say it, the statistics of all files are asked once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable

from tiffin.definitions.schema import INGESTED_AT_COLUMN
from tiffin.offline.entries import entry_of
from tiffin.offline.location import normalise

#: The key of a commit's metadata that holds the greatest instant of ingestion up to it, in UTC microseconds.
LAST: Final = "tiffin.last_ingested_at"


def last_stamp(table: DeltaTable, entry: Mapping[str, Any] | None = None) -> int:
    """The greatest instant of ingestion in an open table, 0 for none; ``entry`` is its last commit, if known."""
    said = (last_entry(table) if entry is None else entry).get(LAST)
    return max(stamps_of(table), default=0) if said is None else int(said)


def last_entry(table: DeltaTable) -> Mapping[str, Any]:
    """What the commit says of itself that made the version a table is open at; nothing where its entry is gone."""
    return entry_of(normalise(table.table_uri), table.version()) or {}


def stamps_of(table: DeltaTable) -> list[int]:
    """The instants of ingestion that a table's files hold, as far as the log's statistics tell."""
    adds = pl.DataFrame(table.get_add_actions(flatten=True))
    names = [f"{side}.{INGESTED_AT_COLUMN}" for side in ("min", "max")]
    known = [adds[name] for name in names if name in adds.columns and isinstance(adds.schema[name], pl.Datetime)]
    return [int(stamp) for column in known for stamp in column.drop_nulls().dt.epoch("us").unique()]
