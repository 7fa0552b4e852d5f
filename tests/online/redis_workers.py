"""What other processes do to a store on Redis: ``python -m tests.online.redis_workers NAME ARGUMENT...``."""

from __future__ import annotations

import random
import sys

from tests.online.workers import TABLE, say, value
from tiffin.errors import Unavailable
from tiffin.online.base import WriteResult
from tiffin.online.redis import open_store


def payload(seed: int, key: int, event: int) -> bytes:
    """Tells a row whole from one that is torn or another's."""
    return b"%d %d %d;" % (seed, key, event) * 3


def race(uri: str, seed: str, keys: str, rounds: str) -> None:
    """Write rows of random times to the same keys as others; print how many were stored and not, and the greatest."""
    store, chance = open_store(uri), random.Random(int(seed))
    greatest = [0] * int(keys)
    result = WriteResult()
    for _ in range(int(rounds)):
        rows = []
        for key in chance.sample(range(int(keys)), chance.randint(1, int(keys))):
            # Times of different writers are never equal, so the winner's bytes are known.
            event = chance.randrange(1, 1_000_000) * 64 + int(seed)
            greatest[key] = max(greatest[key], event)
            rows.append((b"k%d" % key, value(event, payload(int(seed), key, event))))
        result += store.write(TABLE, rows)
    say(f"{result.written} {result.skipped}")
    say(" ".join(map(str, greatest)))
    store.close()


def write_for_ever(uri: str, start: str, keys: str) -> None:
    """Write batch after batch of the same keys, each of the next event time, and print each time once it returned."""
    store = open_store(uri)
    event = int(start)
    while True:
        rows = [(b"k%d" % key, value(event, payload(0, key, event))) for key in range(int(keys))]
        try:
            store.write(TABLE, rows)
        except Unavailable as error:
            say(f"unavailable {type(error).__name__}")
            continue
        say(event)
        event += 1


if __name__ == "__main__":
    {f.__name__: f for f in (race, write_for_ever)}[sys.argv[1]](*sys.argv[2:])
