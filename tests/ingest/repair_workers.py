"""Processes that are killed at a chosen step of a push, and ones that repair."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tiffin import Client, Entity, Feature, FeatureTable, ValueType
from tiffin.online.lmdb import LmdbStore

LONG_AGO = datetime(2026, 9, 1, tzinfo=UTC)
REFS = ["t:a"]


def opened(home: Path | str, **options: Any) -> Client:
    """A client of a store with one table."""
    client = Client(home=str(home), **options)
    client.apply([Entity("k", value_type=ValueType.INT64), FeatureTable("t", ["k"], [Feature("a", ValueType.INT64)])])
    return client


def rows(*keys: int, value: int = 1, bad: bool = False) -> pl.DataFrame:
    """A row a key; ``bad`` adds one without a key."""
    given = [*keys, None] if bad else list(keys)
    columns = {"event_timestamp": [LONG_AGO] * len(given), "a": [value] * len(given)}
    return pl.DataFrame({"k": pl.Series(given, dtype=pl.Int64), **columns})


def read(client: Client, *keys: int) -> list[Any]:
    """The feature's values online."""
    return list(client.get_online_features(REFS, [{"k": key} for key in keys]).to_dict()["t:a"])


def _die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def push_and_die(home: str, key: int, step: str, on_invalid: str = "reject", *, alone: bool = False) -> None:
    """Push a row, and be killed at a step of it; ``alone`` without finishing before it what others left."""
    from tiffin import recovery
    from tiffin.ingest import batch, deadletter, marks, materialize

    if alone:
        recovery.Recovery.before = lambda *_: None  # type: ignore[method-assign]
    if step == "before the commit":
        batch.append = _die  # type: ignore[assignment]  # this process ends there
    elif step == "before the online store":
        LmdbStore.write = _die  # type: ignore[method-assign]
    elif step == "before the mark":
        marks.settle = _die  # type: ignore[assignment]
    elif step == "before the note goes":
        deadletter._remove_note = _die  # type: ignore[assignment]
    elif step == "in a materialisation":
        materialize.write_frames = _die  # type: ignore[assignment]
    client = opened(home)
    if step == "in a materialisation":
        client.ingest("t", rows(key))
        client.materialize_incremental("t")
    else:
        client.push("t", rows(key, bad=on_invalid == "quarantine"), on_invalid=on_invalid)  # type: ignore[arg-type]


def repair(home: str, at: float, answers: Any) -> None:
    """Repair at an instant, with others; the versions that this process finished."""
    client = opened(home)
    time.sleep(max(0.0, at - time.time()))
    answers.put([commit.version for commit in client.repair()])
    client.close()
