"""One attempt to commit: the next entry of a table's log, or the knowledge that another writer took its version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from tiffin import clock
from tiffin.offline.area import TOKEN, Area, Part
from tiffin.offline.delta import delta_errors
from tiffin.offline.entries import entry_of, has_entry

#: The key of the metadata of a commit that puts files in the place of others, with what it was for.
REWRITE: Final = "tiffin.rewrite"


def attempt(
    uri: str,
    table: DeltaTable,
    area: Area,
    actions: Sequence[AddAction | RemoveAction],
    properties: CommitProperties,
) -> int | None:
    """Commit to the version after the one the table is open at; that version, or None where another writer took it.

    ``properties`` hold the area's token and allow the library no retries of its own: it commits to the next version or
    not at all. Where it fails the table is brought up to date, since the entry may have been written all the same:
    only the log can tell.
    """
    base = table.version()
    if not has_entry(uri, base):
        # The log has left this version so far behind that it was archived: nothing may be put in that place.
        with delta_errors(uri):
            table.update_incremental()
        if table.version() > base:
            return None
    area.stake()
    try:
        table.create_write_transaction(
            list(actions),
            "append",
            table.schema(),
            partition_by=list(table.metadata().partition_columns),
            commit_properties=properties,
        )
    except (DeltaError, OSError) as error:
        landed = _landed(uri, table, area.token, base)
        if landed is None:
            area.lost()
        if landed is None and not (isinstance(error, CommitFailedError) and table.version() > base):
            with delta_errors(uri):
                raise
        return landed
    return base + 1


def add_action(part: Part, *, data_change: bool = True) -> AddAction:
    """The entry of the log that brings a file."""
    return AddAction(part.path, part.size, part.partition, clock.now() // 1_000, data_change, part.stats)


def _landed(uri: str, table: DeltaTable, token: str, base: int) -> int | None:
    """The version above ``base`` that holds a batch after all, or None."""
    with delta_errors(uri):
        table.update_incremental()
    newer = (entry_of(uri, version) for version in range(base + 1, table.version() + 1))
    return next((int(entry["version"]) for entry in newer if entry is not None and entry.get(TOKEN) == token), None)
