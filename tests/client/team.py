"""A team's store: PostgreSQL, Redis, the registry and the online service, each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.client.histories import bits
from tests.servers.services import Service, running
from tiffin import Client, errors
from tiffin.online.response import OnlineResponse

T = TypeVar("T")


@dataclass
class Team:
    """The services, and the options of a client that speaks to both and to Redis."""

    core: Service
    online: Service
    redis_uri: str
    folder: Path

    @property
    def options(self) -> dict[str, str]:
        return {
            "core_url": self.core.address,
            "serving_url": self.online.address,
            "redis_host": self.redis_uri.removeprefix("redis://").removesuffix("/0"),
            "offline_location": str(self.folder / "offline"),
            "home": str(self.folder / "laptop"),
        }

    def client(self, **other: Any) -> Client:
        return Client({name: value for name, value in (self.options | other).items() if value is not None})


@contextmanager
def team(folder: Path, registry: str, redis_uri: str, **options: Any) -> Iterator[Team]:
    core = Service("core", folder / "core", registry=registry, **options)
    online = Service(
        "online",
        folder / "online",
        core_url=core.address,
        online_store=redis_uri,
        offline_location=folder / "offline",
        **options,
    )
    with running(core, online):
        yield Team(core, online, redis_uri, folder)


def eventually(read: Callable[[], T], *, within: float = 5.0) -> T:
    """What a read gives once the online service knows the definitions that it needs."""
    deadline = time.monotonic() + within
    while True:
        try:
            return read()
        except errors.NotFound:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def assert_same(one: OnlineResponse, other: OnlineResponse) -> None:
    """Two answers are equal to the bit, in every shape."""
    first, second = one.columns, other.columns
    assert (first.names, first.dtypes, first.rows) == (second.names, second.dtypes, second.rows)
    assert first.entity_types == second.entity_types
    for name in ("to_dict", "statuses", "event_timestamps"):
        left, right = getattr(one, name)(), getattr(other, name)()
        assert list(left) == list(right), name
        assert {k: list(map(bits, v)) for k, v in left.items()} == {k: list(map(bits, v)) for k, v in right.items()}
        for key in left:
            assert list(map(type, left[key])) == list(map(type, right[key])), (name, key)
    assert one.to_polars().schema == other.to_polars().schema
