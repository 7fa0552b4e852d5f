"""Reads from event loops: each loop has connections of its own, one to every server that it reads from."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tiffin.online.redis_address import Address
from tiffin.online.redis_errors import DRIVER, is_dropped
from tiffin.online.redis_wire import ASKING, Host, Wire, dial, tls_context

Values = list[bytes | None]

#: Keys of one MGET: a longer one would keep others waiting.
READ_KEYS: Final = 500
#: How often keys that have moved are asked for where they are now.
HOPS: Final = 4


class AsyncReader:
    """Reads values by their keys in Redis, from whichever event loop asks."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._readers: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopReader] = WeakKeyDictionary()

    async def read(self, keys: Sequence[bytes]) -> Values:
        """The values of keys; where a connection was lost, asked for once more on a new one."""
        loop = asyncio.get_running_loop()
        reader = self._readers.get(loop)
        if reader is None:
            kind = ClusterReader if self._address.kind == "cluster" else DirectReader
            reader = self._readers[loop] = kind(self._address)
        try:
            return await reader.read(keys)
        except DRIVER as error:
            if not is_dropped(error):
                raise
            await reader.refresh()
            return await reader.read(keys)

    def close(self) -> None:
        """Close the connections of every loop that runs; those of a loop that ended went with it."""
        for loop, reader in list(self._readers.items()):
            if loop.is_running():
                loop.call_soon_threadsafe(reader.close)
        self._readers.clear()


class LoopReader(ABC):
    """The connections of one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls = tls_context(address)
        self._wires: dict[Host, Wire] = {}
        self._dialing: dict[Host, asyncio.Lock] = {}

    @abstractmethod
    async def read(self, keys: Sequence[bytes]) -> Values:
        """The values of keys. Errors of the driver pass through."""

    @abstractmethod
    async def refresh(self) -> None:
        """Look again at who is where before the next read: a connection was lost."""

    def close(self) -> None:
        """Close all connections."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    async def _wire(self, host: Host) -> Wire:
        """The connection to a host, made now where there is none; whoever else needs it waits for that."""
        wire = self._wires.get(host)
        if wire is None or wire.lost is not None:
            async with self._dialing.setdefault(host, asyncio.Lock()):
                wire = self._wires.get(host)
                if wire is None or wire.lost is not None:
                    wire = self._wires[host] = await self._dial(host)
        return wire

    async def _dial(self, host: Host) -> Wire:
        return await dial(self._address, host, tls=self._tls)


class DirectReader(LoopReader):
    """One server: by its address, behind a socket, or the master that sentinels name."""

    async def read(self, keys: Sequence[bytes]) -> Values:
        host = self._address.hosts[0] if self._address.hosts else (self._address.path, 0)
        wire = await self._wire(host)
        if len(keys) <= READ_KEYS:
            [values] = _checked(await wire.ask([(b"MGET", *keys)]))
            found: Values = values
            return found
        parts = [keys[start : start + READ_KEYS] for start in range(0, len(keys), READ_KEYS)]
        answers = _checked(await wire.ask([(b"MGET", *part) for part in parts]))
        return [value for answer in answers for value in answer]

    async def refresh(self) -> None:
        """Nothing is held of who is where: every connection asks anew."""

    async def _dial(self, host: Host) -> Wire:
        if self._address.kind != "sentinel":
            return await super()._dial(host)
        return await self._dial_master()

    async def _dial_master(self) -> Wire:
        """A connection to what the first sentinel that answers calls the master, if it is one."""
        failed: Exception | None = None
        for sentinel in self._address.hosts:
            try:
                return await self._master_of(sentinel)
            except DRIVER as error:
                failed = error
        raise failed or exceptions.ConnectionError("no sentinel was named")

    async def _master_of(self, sentinel: Host) -> Wire:
        wire = await dial(self._address, sentinel, tls=self._tls, sentinel=True)
        try:
            [found] = _checked(await wire.ask([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)]))
        finally:
            wire.close()
        if found is None:
            raise exceptions.ConnectionError(f"the sentinel knows no master {self._address.service!r}")
        master = await dial(self._address, (found[0].decode(), int(found[1])), tls=self._tls)
        [role] = await master.ask([("ROLE",)])
        # A user that may not ask for the role reads on: the sentinel's word must do.
        if isinstance(role, list) and role[0] != b"master":
            master.close()
            raise exceptions.ConnectionError("the sentinel's master is a replica: a failover is under way")
        return master


class ClusterReader(LoopReader):
    """The masters of a cluster; each key is asked for where its slot is."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._slots: list[Host | None] = []
        self._stale = True
        self._mapping = asyncio.Lock()

    async def read(self, keys: Sequence[bytes]) -> Values:
        found: list[Any] = [None] * len(keys)
        left: Sequence[int] = range(len(keys))
        for _ in range(HOPS):
            await self._ask(keys, left, found)
            left = [position for position in left if _has_moved(found[position])]
            if not left:
                break
            self._stale = True
        for position, answer in enumerate(found):
            if isinstance(answer, exceptions.ResponseError):
                found[position] = await self._ask_there(keys[position], answer)
        return found

    async def refresh(self) -> None:
        self._stale = True

    async def _ask(self, keys: Sequence[bytes], positions: Sequence[int], found: list[Any]) -> None:
        """Put what the nodes answer for the keys at some positions there."""
        if self._stale:
            await self._map()
        lanes: dict[Host, list[int]] = {}
        for position in positions:
            host = self._slots[key_slot(keys[position])]
            if host is None:
                raise exceptions.ClusterDownError("CLUSTERDOWN a slot is not covered")
            lanes.setdefault(host, []).append(position)
        wires = [await self._wire(host) for host in lanes]
        # All nodes are asked before any is waited for.
        asked = [
            wire.ask([(b"GET", keys[position]) for position in those])
            for wire, those in zip(wires, lanes.values(), strict=True)
        ]
        for answers, those in zip(await asyncio.gather(*asked), lanes.values(), strict=True):
            for position, answer in zip(those, answers, strict=True):
                found[position] = answer

    async def _ask_there(self, key: bytes, answer: exceptions.ResponseError) -> bytes | None:
        """The value from the node that a key is on its way to; other error answers are raised."""
        code, _, rest = str(answer).partition(" ")
        if code != "ASK":
            raise answer
        name, _, port = rest.rpartition(" ")[2].rpartition(":")
        wire = await self._wire((name, int(port)))
        _, value = await wire.ask([ASKING, (b"GET", key)])
        if isinstance(value, exceptions.ResponseError):
            raise value
        found: bytes | None = value
        return found

    async def _map(self) -> None:
        """Learn which node has which slot, from the first that answers."""
        async with self._mapping:
            if not self._stale:
                return
            failed: Exception | None = None
            for host in dict.fromkeys([*self._address.hosts, *(host for host in self._wires)]):
                try:
                    [ranges] = _checked(await (await self._wire(host)).ask([("CLUSTER", "SLOTS")]))
                except DRIVER as error:
                    failed = error
                    continue
                self._learn(ranges, host)
                self._stale = False
                return
            raise failed or exceptions.ConnectionError("no node was named")

    def _learn(self, ranges: list[Any], asked: Host) -> None:
        slots: list[Host | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, master, *_ in ranges:
            # A node that does not know its own name is the one that was asked.
            host = ((master[0] or b"").decode() or asked[0], master[1])
            slots[first : last + 1] = [host] * (last - first + 1)
        self._slots = slots
        known = set(filter(None, slots)) | set(self._address.hosts)
        for host in [host for host in self._wires if host not in known]:
            with contextlib.suppress(KeyError):
                self._wires.pop(host).close()


def _has_moved(answer: Any) -> bool:
    return isinstance(answer, exceptions.ResponseError) and str(answer).startswith("MOVED ")


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, exceptions.ResponseError):
            raise answer
    return answers
