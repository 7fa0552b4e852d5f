"""Pushes into one table, ten a case: they cost what they did, in memory, files, entries of the log, and time."""

from __future__ import annotations

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import psutil
from deltalake import DeltaTable

from tiffin import Client, Entity, Feature, FeatureTable, ValueType

PUSHES = 10


def run(size: int, seed: int) -> str:
    chance = random.Random(seed)
    process = psutil.Process()
    count = size * PUSHES
    tenth = max(count // 10, 1)
    took: list[float] = []
    held: list[float] = []
    with TemporaryDirectory() as home, Client(home=home) as client:
        client.apply(
            [
                Entity("k", value_type=ValueType.INT64),
                FeatureTable("t", entities=["k"], features=[Feature("v", ValueType.INT64)]),
            ]
        )
        since = datetime.now(UTC) - timedelta(days=1)
        for number in range(count):
            at = [since + timedelta(seconds=number)] * 2
            keys = [chance.randrange(97), 100 + chance.randrange(89)]
            begin = time.perf_counter()
            client.push("t", pl.DataFrame({"k": keys, "event_timestamp": at, "v": [number, number]}))
            took.append(time.perf_counter() - begin)
            if (number + 1) % tenth == 0:
                held.append(process.memory_info().rss / 1e6)
        folder = Path(home) / "offline" / "default" / "t"
        files = len(DeltaTable(folder).file_uris())
        entries = len(list((folder / "_delta_log").glob("*.json")))
    first, last = statistics.median(took[:tenth]), statistics.median(took[-tenth:])
    grown = held[-1] - held[0]
    assert files < 200, f"seed {seed}: {files} files are left"
    assert grown < 40, f"seed {seed}: {grown:.0f} MB more are held after {count} pushes"
    return (
        f"{count} pushes: {held[0]:.0f} MB held after the first tenth, {held[-1]:.0f} MB at the end; median "
        f"{first * 1e3:.0f} ms in the first tenth, {last * 1e3:.0f} ms in the last; {files} files, {entries} entries"
    )
