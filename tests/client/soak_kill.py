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
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

#: Rows of a batch, over this many keys; each batch touches all keys.
ROWS: Final = 3_000
KEYS: Final = 1_500
#: Rows that are durable together: small, so that a batch takes many steps.
STEP: Final = 200
#: The latest moment of a kill, in seconds after the first step.
LATEST: Final = 0.6

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
        acknowledged = _listen(read, until=time.monotonic() + chance.uniform(0.02, LATEST))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += os.read(read, 1000)
        os.close(read)
        _in_child(lambda: _look(home, acknowledged), seed)
        return len(acknowledged)


def _listen(read: int, *, until: float) -> bytes:
    """What is told until a moment."""
    told = b""
    while (left := until - time.monotonic()) > 0:
        if select.select([read], [], [], left)[0]:
            heard = os.read(read, 1000)
            if not heard:
                raise AssertionError("the working process ended before it was killed")
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
    import polars as pl

    from tiffin import Client

    history = pl.DataFrame(pl.read_delta(f"{home}/offline/default/t")) if acknowledged else None
    ingested, materialized = acknowledged.count(INGESTED), acknowledged.count(MATERIALIZED)
    batches = set()
    if history is not None:
        sizes = history.group_by("batch").len()
        assert set(sizes["len"]) <= {ROWS}, f"half a batch: {sizes}"
        batches = set(sizes["batch"])
        assert batches >= set(range(ingested)), f"{ingested} batches were acknowledged, found {sorted(batches)}"
    with Client(home=home) as client:
        # Every key has a row of the last batch that was materialised, or of a later one.
        if materialized:
            assert min(_online(client)) >= materialized - 1
        client.materialize_incremental("t")
        last = max(batches, default=None)
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
