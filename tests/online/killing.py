"""Kill writers of an LMDB store at random instants, and look at what they left through the side door."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.online import side_doors
from tests.online.workers import TABLE, value
from tiffin.online.keyspace import BATCH_ROWS
from tiffin.online.lmdb import open_store

#: Batches of one transaction, small and large, and of several.
SIZES = (1, 20, 1_000, BATCH_ROWS + 5_000)


def kill_once(place: Path, seed: int, start: int) -> int:
    """One writer, killed; the event time that the next may start at. AssertionError where something is torn.

    The writer prints each event time once its batch is on disk. Keys are written by every batch: a smaller one
    leaves the others' rows as they were, so each seed has a folder for each size.
    """
    chance = random.Random(seed)
    keys = chance.choice(SIZES)
    folder = place / f"{keys} keys"
    uri = f"lmdb://{folder}?map_size=65536"
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.online.workers", "write_for_ever", uri, str(start), str(keys)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    time.sleep(chance.uniform(0, 0.15))
    writer.kill()
    acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    writer.wait()
    writer.stdout.close()
    check_whole(folder, keys, acknowledged)
    return acknowledged + 2


def check_whole(folder: Path, keys: int, acknowledged: int) -> None:
    """Every acknowledged row is there, no row is torn, and a batch of one transaction is there whole or not at all."""
    rows = side_doors.lmdb_rows(folder, TABLE)
    assert len(rows) == keys
    events = set()
    for number in range(keys):
        found = rows[b"key %d" % number]
        event = int.from_bytes(found[:8], "big") - 2**63
        assert found == value(event, b"%d %d" % (number, event) * 9)
        events.add(event)
    assert events <= {acknowledged, acknowledged + 1}
    assert len(events) == 1 or keys > BATCH_ROWS
    store = open_store(f"lmdb://{folder}")
    latest = value(acknowledged + 1, b"after")
    assert store.write(TABLE, [(b"key 0", latest)]).written == 1
    assert store.read(TABLE, [b"key 0"]) == [latest]
    store.close()
