"""Behind sentinels: a master that dies is replaced, and the store follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.online.redis_servers import Sentinels
from tests.online.workers import TABLE, value
from tiffin.errors import Unavailable
from tiffin.online.redis import open_store

#: A sentinel that was held up for two seconds does nothing for the next thirty.
PATIENCE = 90.0


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    sentinels = Sentinels(tmp_path)
    sentinels.start()
    deadline = time.monotonic() + PATIENCE
    # A failover needs the sentinels to know the replica and each other, and the replica to be in step.
    while not all(
        "slaves=1,sentinels=3" in one.cli("INFO", "sentinel") for one in sentinels.sentinels
    ) or "master_link_status:up" not in sentinels.replica.cli("INFO", "replication"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield sentinels
    sentinels.stop()


def test_the_store_follows_a_failover(sentinels: Sentinels) -> None:
    store = open_store(f"{sentinels.uri}?timeout=2")

    async def follow() -> None:
        store.ensure(TABLE, b"layout")
        assert store.write(TABLE, [(b"k", value(1))]).written == 1
        assert await store.read_async([(TABLE, [b"k"])]) == [[value(1)]]
        assert sentinels.master.cli("WAIT", "1", "5000").strip() == "1"
        sentinels.master.kill()
        deadline = time.monotonic() + PATIENCE
        begin = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            store.write(TABLE, [(b"k", value(2))])
        assert time.monotonic() - begin < 10
        assert "sentinels" in caught.value.message
        with pytest.raises(Unavailable):
            await store.read_async([(TABLE, [b"k"])])
        event = 2
        while event < 5:
            try:
                assert store.write(TABLE, [(b"k", value(event))]).written == 1
                assert await store.read_async([(TABLE, [b"k"])]) == [[value(event)]]
                event += 1
            except Unavailable:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        assert sentinels.replica.cli("STRLEN", "tiffin{}/default/drivers/k").strip() == "32"
        assert store.layouts(TABLE) == [b"layout"]
        # The old master comes back as a replica: nobody may take it for the master.
        sentinels.master.start()
        deadline = time.monotonic() + PATIENCE
        while "role:slave" not in sentinels.master.cli("INFO", "replication"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        for event in range(5, 20):
            assert store.write(TABLE, [(b"k", value(event))]).written == 1
            assert await store.read_async([(TABLE, [b"k"])]) == [[value(event)]]
        store.close()
        await asyncio.sleep(0.01)

    asyncio.run(follow())


def test_a_name_that_no_sentinel_knows(sentinels: Sentinels) -> None:
    store = open_store(sentinels.uri.replace("mymaster", "other"))
    with pytest.raises(Unavailable, match="other"):
        store.read(TABLE, [b"k"])

    async def read() -> None:
        with pytest.raises(Unavailable, match="other"):
            await store.read_async([(TABLE, [b"k"])])
        store.close()
        await asyncio.sleep(0.01)

    asyncio.run(read())
