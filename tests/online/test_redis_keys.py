"""Names of keys: no two rows meet, no name reaches another table, rows spread and what is known of a table does not."""

from __future__ import annotations

from collections import Counter

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from tests.servers.redis import RedisCluster
from tiffin.online.base import TableId
from tiffin.online.redis import open_store
from tiffin.online.redis_keys import Keys

names = st.text(alphabet=st.sampled_from("ab/{}*?[]\\%é:-^"), min_size=1, max_size=6)
tables = st.builds(TableId, names, names)
entities = st.binary(max_size=6) | st.sampled_from([b"{}", b"{x}", b"/", b"}{", b"*"])

ODD = [
    TableId("p", "t"),
    TableId("p", "t*"),
    TableId("p", "[t]"),
    TableId("p", "t?"),
    TableId("p/t", "x"),
    TableId("p", "t/x"),
    TableId("p}", "{t"),
    TableId("*", "*"),
    TableId("p\\", "t\\*"),
]


@given(first=st.tuples(tables, entities), second=st.tuples(tables, entities))
def test_no_two_rows_have_one_key(first: tuple[TableId, bytes], second: tuple[TableId, bytes]) -> None:
    keys = [Keys("tiffin", table).rows + entity for table, entity in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)
    own = [name for table, _ in (first, second) for name in (Keys("tiffin", table).layouts, Keys("tiffin", table).mark)]
    assert not set(keys) & set(own)
    assert len(set(own)) == (2 if first[0] == second[0] else 4)


@given(table=tables, entity=entities)
def test_a_row_is_placed_by_all_of_its_key(table: TableId, entity: bytes) -> None:
    keys = Keys("tiffin", table)
    assert keys.rows.index(b"{}") == len("tiffin")
    assert key_slot(keys.layouts) == key_slot(keys.mark)


def test_patterns_escape_what_redis_knows() -> None:
    assert Keys("a.b:c-d", TableId("p", "t")).pattern == rb"a.b:c\-d{}/p/t/*"


@pytest.mark.parametrize("uri", ["redis_uri", "redis_cluster_uri"])
def test_no_name_reaches_another_table(uri: str, request: pytest.FixtureRequest) -> None:
    store = open_store(request.getfixturevalue(uri))
    for table in ODD:
        store.write(table, [(b"k", table.project.encode() + bytes(40)), (b"*", bytes(40)), (b"{x}", bytes(40))])
        store.write_mark(table, b"mark")
    for table in ODD:
        assert dict(store.scan(table)).keys() == {b"k", b"*", b"{x}"}
    for number, table in enumerate(ODD):
        assert store.drop(table) == 3
        for other in ODD[number + 1 :]:
            assert len(list(store.scan(other))) == 3
            assert store.read_mark(other) == b"mark"
    store.close()


def test_rows_spread_over_a_cluster_and_its_marks_do_not(
    redis_cluster_uri: str, redis_cluster_server: RedisCluster
) -> None:
    store = open_store(redis_cluster_uri)
    table = TableId("default", "drivers")
    store.ensure(table, b"layout")
    store.write_mark(table, b"mark")
    # Keys whose bytes hold braces would all be placed by what stands in them.
    store.write(table, [(b"{same}%d" % number, bytes(40)) for number in range(3_000)])
    rows: Counter[int] = Counter()
    own: Counter[int] = Counter()
    for node in redis_cluster_server.nodes:
        client = redis.Redis(port=node.port)
        for key in client.scan_iter(count=1000):
            (rows if key.startswith(b"tiffin{}/") else own)[node.port] += 1
        client.close()
    assert len(rows) == 3
    assert min(rows.values()) > 800
    assert list(own.values()) == [2]
    store.close()


def test_prefixes_keep_stores_of_one_server_apart(redis_uri: str) -> None:
    table = TableId("p", "t")
    first, second = (open_store(f"{redis_uri}?prefix={prefix}") for prefix in ("a", "a-b"))
    first.write(table, [(b"k", bytes(40))])
    assert second.read(table, [b"k"]) == [None]
    second.write(table, [(b"k", bytes(41))])
    assert first.drop(table) == 1
    assert second.read(table, [b"k"]) == [bytes(41)]
    first.close()
    second.close()
