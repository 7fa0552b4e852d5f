"""RetrievalPlan: a request for a training set as plain data, complete before any work begins."""

from __future__ import annotations

from typing import Literal

import msgspec

from tiffin.definitions.schema import Selection


class RetrievalPlan(msgspec.Struct, frozen=True):
    """What a point-in-time join must answer (semantics, section 3).

    ``selections`` holds each table once. ``columns`` are the result's feature columns in the order of the request,
    which may interleave tables. ``timestamp_column`` is the entity source's column of instants. ``known_at`` is
    None, "row", or an instant in UTC microseconds.
    """

    selections: tuple[Selection, ...]
    columns: tuple[str, ...]
    timestamp_column: str = "event_timestamp"
    known_at: Literal["row"] | int | None = None
