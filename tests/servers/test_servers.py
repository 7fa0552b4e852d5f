"""The servers that other tests stand on are what they say they are."""

from __future__ import annotations

from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisCluster, RedisServer


def test_every_database_of_postgres_is_new_and_empty(postgres: PostgresServer) -> None:
    first, second = postgres.database(), postgres.database()
    assert first != second
    name = second.rsplit("/", 1)[1]
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name).strip() == "0"


def test_redis_is_empty_for_every_test(redis_uri: str, redis_server: RedisServer) -> None:
    assert redis_uri == redis_server.uri
    assert redis_server.cli("DBSIZE").strip() == "0"


def test_a_cluster_covers_all_slots(redis_cluster_server: RedisCluster) -> None:
    state = redis_cluster_server.nodes[1].cli("CLUSTER", "INFO")
    assert "cluster_state:ok" in state
    assert "cluster_slots_ok:16384" in state
