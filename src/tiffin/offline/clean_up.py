"""Clean-up of a log: entries that are older than a retention are removed, from the last checkpoint before them on.

What a table consists of, the keys and the offsets that were used are all in that checkpoint. What is lost is when
commits were made: what was known before the first entry that is left cannot be told any more.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from tiffin.errors import ConcurrentChange
from tiffin.offline.archive import forget
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.target import stamped

_RETENTION: Final = "delta.logRetentionDuration"
_ATTEMPTS: Final = 50


def clean_up(uri: str, retention_s: int) -> None:
    """Remove the entries of the log at a normalised location that were written so many seconds ago or earlier.

    The table keeps the retention as its property, by which other programs clean up, too. Nothing is done where there is
    no log. ConcurrentChange where other writers won every race; StorageError where the place refuses the work.
    """
    table = open_table(uri)
    if table is None:
        return
    interval = f"interval {retention_s} seconds"
    for _ in range(_ATTEMPTS):
        with delta_errors(uri):
            table.update_incremental()
        if table.metadata().configuration.get(_RETENTION) == interval:
            break
        with suppress(ConcurrentChange), delta_errors(uri):
            table.alter.set_table_properties({_RETENTION: interval}, commit_properties=stamped(table))
    else:
        raise ConcurrentChange(f"Other writers kept committing to {uri!r} first.", hint="Try again.")
    with delta_errors(uri):
        table.create_checkpoint()
        table.cleanup_metadata()
    forget(uri, retention_s)
