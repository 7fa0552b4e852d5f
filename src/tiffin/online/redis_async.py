"""Reads from event loops: each loop has connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from tiffin.online.redis_address import Address
from tiffin.online.redis_errors import DRIVER, is_dropped
from tiffin.online.redis_link import arguments, sentinel_arguments


class AsyncReader:
    """Reads values by their keys in Redis, from whichever event loop asks."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys."""
        if not keys:
            return []
        try:
            return await self._read(keys)
        except DRIVER as error:
            if not is_dropped(error):
                raise
            return await self._read(keys)

    async def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = _client(self._address)
        if self._address.kind != "cluster":
            found: list[bytes | None] = await client.mget(keys)
            return found
        pipeline = client.pipeline()
        for key in keys:
            pipeline.get(key)
        answers: list[bytes | None] = await pipeline.execute()
        return answers

    async def aclose(self) -> None:
        """Close the connections of this loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


def _client(address: Address) -> Any:
    options = arguments(address) | {"retry": Retry(NoBackoff(), 0)}
    if address.kind == "unix":
        return redis.asyncio.Redis(unix_socket_path=address.path, **options)
    if address.kind == "sentinel":
        own = sentinel_arguments(address) | {"retry": options["retry"]}
        return Sentinel(address.hosts, sentinel_kwargs=own, **options).master_for(address.service)
    if address.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(*host) for host in address.hosts]
        return redis.asyncio.RedisCluster(startup_nodes=nodes, **options)
    host, port = address.hosts[0]
    return redis.asyncio.Redis(host=host, port=port, **options)
