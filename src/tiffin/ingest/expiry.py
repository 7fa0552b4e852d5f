"""Expiry: rows past max age and grace leave stores that do not forget by themselves (semantics, section 4).

A look at all rows that may expire is not free, so there is one an hour at most, whoever materialises: its instant is a
mark of the store itself, which one of several processes claims. The first run of a store only begins the hour: whoever
tries Tiffin with an old history finds its rows as they were written, and reads that they are outside of max age.
"""

from __future__ import annotations

from typing import Final

from tiffin import clock
from tiffin.control import Control
from tiffin.online.base import Marks, OnlineStore, Sweepable, TableId

#: Microseconds between two looks.
SWEEP_EVERY: Final = 3_600_000_000

#: Whose mark holds the instant of the last look; no table has such a name.
_SWEPT: Final = TableId("", "swept")


def sweep_if_due(store: OnlineStore, control: Control) -> int:
    """Remove what has expired, if nobody looked within the hour; how many rows."""
    if not isinstance(store, Sweepable) or not isinstance(store, Marks):
        return 0
    now = clock.now()
    last = store.read_mark(_SWEPT)
    # One of the future was written under a clock that was wrong.
    if last is not None and 0 <= now - int.from_bytes(last, "big") < SWEEP_EVERY:
        return 0
    mark = now.to_bytes(8, "big")
    if last is None:
        store.write_mark(_SWEPT, mark)
        return 0
    if not store.replace_mark(_SWEPT, last, mark):
        return 0
    swept = store.sweep(now)
    if swept:
        control.log(f"{swept} rows had expired and were removed from the online store")
    return swept
