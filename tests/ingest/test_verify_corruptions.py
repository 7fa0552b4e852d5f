"""Every corruption that is planted through a side door is found, and nothing else is; mended, nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from msgspec.structs import replace

from tests.ingest.corruptions import CORRUPTIONS, FEATURES, KEYS, Corruption, history, key_of
from tests.ingest.routes import ID, Ground
from tests.online import side_doors
from tests.online.test_redis_materialize import RedisGround
from tiffin import clock
from tiffin.ingest.consistency import TableReport
from tiffin.ingest.materialize import Route, materialize_incremental
from tiffin.ingest.verify import Asked, verify
from tiffin.offline.polars import PolarsEngine
from tiffin.online.lmdb import LmdbStore
from tiffin.online.memory import MemoryStore

Planted = dict[bytes, bytes | None]


class LmdbPlace(Ground):
    """Rows in a file, which is opened and changed without the store."""

    def plant(self, planted: Planted) -> None:
        self.store.close()
        with side_doors.lmdb_file(self.folder / "online", write=True) as transaction:
            prefix = side_doors.lmdb_number(transaction, ID).to_bytes(4, "big")
            for key, value in planted.items():
                if value is None:
                    assert transaction.delete(prefix + key)
                else:
                    transaction.put(prefix + key, value)
        self.store = LmdbStore(str(self.folder / "online"))
        self.route = Route(PolarsEngine(), self.store)


class RedisPlace(RedisGround):
    """Rows in Redis, which the bare driver changes."""

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(folder, uri)
        self.side = (
            redis.RedisCluster.from_url(uri.replace("+cluster", "")) if "cluster" in uri else redis.from_url(uri)
        )

    def plant(self, planted: Planted) -> None:
        for key, value in planted.items():
            name = f"tiffin{{}}/{quote(ID.project)}/{quote(ID.table)}/".encode() + key
            assert self.side.delete(name) if value is None else self.side.set(name, value)

    def close(self) -> None:
        super().close()
        self.side.close()


class MemoryPlace(Ground):
    """Rows in dicts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store.close()
        self.store = MemoryStore()  # type: ignore[assignment]  # a store as the other
        self.route = Route(PolarsEngine(), self.store)

    def plant(self, planted: Planted) -> None:
        rows = self.store._rows[ID]  # type: ignore[attr-defined]
        for key, value in planted.items():
            if value is None:
                del rows[key]
            else:
                rows[key] = value


Place = LmdbPlace | RedisPlace | MemoryPlace


@pytest.fixture(params=["lmdb", "redis", "cluster", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made: Place
    if request.param == "lmdb":
        made = LmdbPlace(tmp_path)
    elif request.param == "memory":
        made = MemoryPlace(tmp_path)
    else:
        fixture = {"redis": "redis_uri", "cluster": "redis_cluster_uri"}[request.param]
        made = RedisPlace(tmp_path, request.getfixturevalue(fixture))
    made.table = replace(made.table, features=FEATURES, deleted_column="gone")
    made.ingest(history(clock.now()))
    materialize_incremental(made.route, made.table)
    yield made
    made.close()


def verified(place: Place, *, fix: bool = False, sample: int | None = None) -> TableReport:
    return verify(place.route, place.table, Asked(sample, fix=fix, patience=0.3))


def planted(place: Place, corruption: Corruption) -> Planted:
    key = key_of(KEYS[corruption.name])
    [value] = place.store.read(ID, [key])
    assert value is not None
    made = corruption.plant(key, value)
    assert all(place.store.read(ID, [key]) != [value] for key, value in made.items()), "it changes nothing"
    return made


def test_all_at_once(place: Place) -> None:
    assert verified(place).found == 0
    truth = dict(place.store.scan(ID))
    spoilt = {corruption.name: planted(place, corruption) for corruption in CORRUPTIONS}
    place.plant({key: value for each in spoilt.values() for key, value in each.items()})
    expected = {}
    for corruption in CORRUPTIONS:
        [key] = spoilt[corruption.name]
        expected[key] = corruption.kind
    report = verified(place)
    found = {
        bytes.fromhex(example.key[""]) if "" in example.key else key_of(example.key["k"]): example.kind.value
        for example in report.examples
    }
    assert found == expected
    assert report.found == len(CORRUPTIONS) >= 20
    assert all(example.reason for example in report.examples)
    mended = verified(place, fix=True)
    assert (mended.found, mended.fixed) == (len(CORRUPTIONS), len(CORRUPTIONS))
    assert verified(place).found == 0
    assert dict(place.store.scan(ID)) == truth


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=[corruption.name for corruption in CORRUPTIONS])
def test_each_alone(tmp_path: Path, corruption: Corruption) -> None:
    place = MemoryPlace(tmp_path)
    place.table = replace(place.table, features=FEATURES, deleted_column="gone")
    place.ingest(history(clock.now()))
    materialize_incremental(place.route, place.table)
    place.plant(planted(place, corruption))
    assert verified(place).differences == {corruption.kind: 1}
    assert verified(place, sample=1000).differences == {corruption.kind: 1}
    place.close()
