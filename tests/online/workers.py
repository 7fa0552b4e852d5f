"""What other processes do to a store: ``python -m tests.online.workers NAME ARGUMENT...``, quick to start."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tiffin.errors import StorageError
from tiffin.online.base import TableId
from tiffin.online.lmdb import open_store

TABLE = TableId("default", "drivers")


def value(event: int, payload: bytes = b"") -> bytes:
    """A value whose rank is its event time alone."""
    return (event + 2**63).to_bytes(8, "big") + bytes(24) + payload


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def fill(uri: str, first: str, count: str, width: str) -> None:
    """Write ``count`` rows of so many bytes, in one call."""
    store = open_store(uri)
    rows = [(b"%d" % number, value(1, bytes(int(width)))) for number in range(int(first), int(first) + int(count))]
    store.write(TABLE, rows)
    store.close()


def read(uri: str, key: str) -> None:
    """Print the event time of a row, or None."""
    store = open_store(uri)
    [found] = store.read(TABLE, [key.encode()])
    say(None if found is None else int.from_bytes(found[:8], "big") - 2**63)


def write(uri: str, key: str, event: str) -> None:
    """Write one row; print the error of one that cannot be."""
    store = open_store(uri)
    try:
        say(store.write(TABLE, [(key.encode(), value(int(event)))]))
    except StorageError as error:
        say(f"{type(error).__name__}: {error}")


def fill_until_refused(uri: str) -> None:
    """Write batches until one is refused; print how many were not, then check that all of those are there."""
    store = open_store(uri)
    done = 0
    try:
        while True:
            store.write(TABLE, [(b"%d" % done, value(done, bytes(100_000)))])
            done += 1
    except StorageError as error:
        say(f"{done} {type(error).__name__}: {error}")
    found = store.read(TABLE, [b"%d" % number for number in range(done + 1)])
    say([row is not None for row in found] == [True] * done + [False])


def hold_a_read(path: str) -> None:
    """Begin a read transaction on the bare file, say so, and sleep."""
    import lmdb

    transaction = lmdb.open(path, create=False).begin()
    say("reading")
    time.sleep(600)
    transaction.abort()


def write_for_ever(uri: str, start: str, keys: str) -> None:
    """Write batch after batch of the same keys, each of the next event time, and print each time once it is on disk."""
    store = open_store(uri)
    event = int(start)
    while True:
        rows = [(b"key %d" % number, value(event, b"%d %d" % (number, event) * 9)) for number in range(int(keys))]
        store.write(TABLE, rows)
        say(event)
        event += 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    {f.__name__: f for f in (fill, read, write, fill_until_refused, hold_a_read, write_for_ever)}[sys.argv[1]](
        *sys.argv[2:]
    )
