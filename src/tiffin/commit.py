"""Commit: what an ingestion did, as plain data."""

from __future__ import annotations

from typing import Any

import msgspec


class Commit(msgspec.Struct, frozen=True):
    """The outcome of one batch.

    ``version`` is the Delta version that holds it. ``rows`` were stored, ``rejected`` went to ``dead_letters`` (a
    URI, empty where none did); ``first_rejected`` tells of the first ten of these, as the error does that refuses a
    batch: ``{"row": position, "column": name, "reason": text, "value": repr}``. ``already_applied`` is True where the
    idempotency key had been used for the same content before, so that nothing was stored again. ``committed_at`` is
    the rows' ``_ingested_at`` in UTC microseconds. An empty batch makes no commit and has version -1. ``erased`` rows
    were left out, because their keys were erased.
    """

    project: str
    feature_table: str
    version: int
    rows: int
    rejected: int = 0
    dead_letters: str = ""
    partitions: tuple[str, ...] = ()
    committed_at: int = 0
    idempotency_key: str = ""
    already_applied: bool = False
    first_rejected: tuple[dict[str, Any], ...] = ()
    erased: int = 0
