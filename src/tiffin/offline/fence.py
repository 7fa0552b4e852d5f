"""The fence of erasures in the log of a history: which of them every commit from here on must know.

It is a transaction of the log, whose version is that of the registry at an erasure. A writer that chose its rows before
it loses the race for its commit to it, sees it, and chooses anew; what was committed before it, the erasure finds. So
no clock and no waiting is needed, and nothing is left open by a process that is killed. The first commit to a table,
which no erasure may have met, asks the registry and sets the fence itself.
"""

from __future__ import annotations

import random
import time
from typing import Final

from deltalake import DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from tiffin.errors import ConcurrentChange
from tiffin.offline.brought import ROWS
from tiffin.offline.delta import delta_errors
from tiffin.offline.target import stamped

#: The name of the transaction.
FENCE: Final = "tiffin/erased"
#: What :func:`fence_of` says of a table that has none yet.
OPEN: Final = 0

_ATTEMPTS: Final = 200
_MAX_WAIT_S: Final = 0.2


def fence_of(table: DeltaTable) -> int:
    """The last erasure that an open table's log tells of, 0 where there was none."""
    return table.transaction_version(FENCE) or OPEN


def set_fence(uri: str, table: DeltaTable, version: int) -> None:
    """Have the log tell of an erasure; ``table`` is at that commit or a later one then.

    ConcurrentChange where other writers won every race.
    """
    for attempt in range(_ATTEMPTS):
        with delta_errors(uri):
            table.update_incremental()
            if fence_of(table) >= version:
                return
            properties = stamped(table, **{ROWS: 0})
        properties.app_transactions = [Transaction(FENCE, version)]
        try:
            with delta_errors(uri):
                table.create_write_transaction(
                    [],
                    "append",
                    table.schema(),
                    partition_by=list(table.metadata().partition_columns),
                    commit_properties=properties,
                )
        except ConcurrentChange as error:
            if not isinstance(error.__cause__, CommitFailedError):
                raise
            time.sleep(random.uniform(0, min(_MAX_WAIT_S, 0.005 * 2 ** min(attempt, 8))))  # noqa: S311  # no secret
    raise ConcurrentChange(f"Other writers kept committing to {uri!r} first.", hint="Erase again when fewer write.")
