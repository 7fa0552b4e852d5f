"""Work that is killed at any moment, and what is found afterwards.

For every seed a child process ingests and materialises one batch after the other and tells, after each step, that it
was done. It is killed (SIGKILL) at a moment that the seed decides. Then another process looks, through side doors:

- the history holds whole batches only, and all that were acknowledged;
- the online store holds, for every acknowledged batch, rows at least as new;
- after one more incremental run the online store holds exactly the newest row of every key.

This module runs as a process of its own that never uses Polars itself, whose threads would not survive the forks.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

#: Rows of a batch, over this many keys; each batch touches all keys.
ROWS: Final = 3_000
KEYS: Final = 1_500
#: Rows that are durable together: small, so that a batch takes many steps.
STEP: Final = 200
#: A kill comes after at most so many steps, and then after at most so many seconds.
STEPS: Final = 6
SECONDS: Final = 0.15
#: A process that does nothing for so long is taken for stuck.
STUCK: Final = 60.0

INGESTED: Final = b"i"
MATERIALIZED: Final = b"m"


def run(size: int, seed: int) -> str:
    """Kill ``size`` times, with seeds from ``seed`` on, in a process of its own."""
    command = [sys.executable, "-m", __name__, str(size), str(seed)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def main(size: int, seed: int) -> None:
    _import_everything()
    steps = [_one(number) for number in range(seed, seed + size)]
    killed = sum(1 for done in steps if done)
    sys.stdout.write(f"{size} kills, {sum(steps)} steps done before them, {size - killed} before the first step\n")


def _one(seed: int) -> int:
    """One kill; how many steps were acknowledged before it."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="tiffin-kill-") as home:
        _in_child(lambda: _prepare(home), seed)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _work(home, write)
        os.close(write)
        acknowledged = _listen(read, chance.randint(0, STEPS))
        time.sleep(chance.uniform(0, SECONDS))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += os.read(read, 1000)
        os.close(read)
        _in_child(lambda: _look(home, acknowledged), seed)
        return len(acknowledged)


def _listen(read: int, steps: int) -> bytes:
    """What is told until there were so many steps."""
    told = b""
    while len(told) < steps:
        heard = os.read(read, 1) if select.select([read], [], [], STUCK)[0] else b""
        if not heard:
            raise AssertionError(f"the working process ended or got stuck after {len(told)} steps")
        told += heard
    return told


def _in_child(body: Callable[[], None], seed: int) -> None:
    """Run a body in a process of its own and raise where it failed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:  # noqa: BLE001  # the child's last words
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        raise AssertionError(f"seed {seed} failed; what was wrong stands above")


def _import_everything() -> None:
    """So that the children need not; nothing of it starts a thread before it is used."""
    for name in ("pandas", "pyarrow.parquet", "sqlite3", "tiffin.registry.registry", "tiffin.registry.plan"):
        import_module(name)
    names = ("client", "jobs.local", "sync", "ingest.push", "offline.polars", "online.lmdb", "reader", "registry.sql")
    for name in names:
        import_module(f"tiffin.{name}")


def _prepare(home: str) -> None:
    from tiffin import Client, Entity, Feature, FeatureTable, ValueType

    with Client(home=home) as client:
        features = [Feature("batch", ValueType.INT64), Feature("row", ValueType.INT64)]
        client.apply([Entity("key", value_type=ValueType.INT64), FeatureTable("t", ["key"], features)])


def _work(home: str, write: int) -> None:
    """Batches without end: batch ``n`` gives every key an event later than those of batch ``n - 1``."""
    from tiffin import Client
    from tiffin.ingest import materialize

    materialize.BATCH_ROWS = STEP  # type: ignore[misc]  # a constant of everybody else
    client = Client(home=home)
    for number in range(1_000):
        client.ingest("t", _batch(number), idempotency_key=str(number))
        os.write(write, INGESTED)
        client.materialize_incremental("t")
        os.write(write, MATERIALIZED)
    os._exit(1)


def _batch(number: int):  # type: ignore[no-untyped-def]  # a frame of Polars, which is imported in children only
    import polars as pl

    row = pl.int_range(ROWS, eager=True)
    at = (row // KEYS + 2 * number) * 1_000_000
    return pl.DataFrame(
        {
            "key": row % KEYS,
            "event_timestamp": at.cast(pl.Datetime("us", "UTC")),
            "batch": pl.repeat(number, ROWS, dtype=pl.Int64, eager=True),
            "row": row,
        }
    )


def _look(home: str, acknowledged: bytes) -> None:
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    from tiffin import Client

    ingested, materialized = acknowledged.count(INGESTED), acknowledged.count(MATERIALIZED)
    folder = Path(home) / "offline/default/t"
    # Read through the log by another library than the store's own reader.
    names = DeltaTable(folder).file_uris() if (folder / "_delta_log").exists() else []
    sizes: dict[int, int] = Counter(number for name in names for number in pq.read_table(name)["batch"].to_pylist())
    assert set(sizes.values()) <= {ROWS}, f"half a batch: {sizes}"
    assert set(sizes) >= set(range(ingested)), f"{ingested} batches were acknowledged, found {sorted(sizes)}"
    with Client(home=home) as client:
        # Every key has a row of the last batch that was materialised, or of a later one.
        if materialized:
            assert min(_online(client)) >= materialized - 1
        client.materialize_incremental("t")
        last = max(sizes, default=None)
        assert set(_online(client)) == {last}, f"expected batch {last} for every key"
        rows = client.get_online_features(["t:row"], {"key": list(range(KEYS))}).to_dict()["t:row"]
        assert last is None or rows == [key + ROWS - KEYS for key in range(KEYS)]


def _online(client):  # type: ignore[no-untyped-def]  # a client, which is imported in children only
    import warnings

    from tiffin.errors import StaleStoreWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleStoreWarning)
        return client.get_online_features(["t:batch"], {"key": list(range(KEYS))}).to_dict()["t:batch"]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
