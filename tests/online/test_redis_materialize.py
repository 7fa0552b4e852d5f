"""From the history into Redis: the tests of materialisation on that store, and the same rows there as in LMDB."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from tests.ingest.histories import placed
from tests.ingest.lakes import put
from tests.ingest.routes import Ground
from tests.ingest.test_materialize import (  # noqa: F401  # collected here with the fixture of this module
    test_a_crash_at_any_write_costs_nothing_but_time,
    test_a_feature_that_was_away_comes_back_though_rows_were_written_without_it,
    test_a_late_row_arrives_unless_a_greater_rank_is_there,
    test_a_run_under_an_older_definition_hides_no_feature,
    test_a_window_includes_its_start_and_excludes_its_end,
    test_a_window_that_ends_early_does_not_undo_what_is_newer,
    test_an_emptied_store_is_filled_again,
    test_an_equal_event_time_goes_to_the_later_commit,
    test_another_source_is_taken_from_the_beginning,
    test_deletions_travel_as_tombstones,
    test_only_what_was_committed_since_is_looked_at,
    test_raising_max_age_clears_the_mark,
    test_rows_of_the_source_before_do_not_outlive_it,
    test_runs_that_overlap_lose_nothing,
    test_the_future_stays_out_until_it_has_come,
)
from tests.servers.redis import RedisCluster, RedisServer
from tiffin.ingest.materialize import Limits, Route, materialize_incremental
from tiffin.offline.polars import PolarsEngine
from tiffin.online.base import TableId
from tiffin.online.lmdb import LmdbStore
from tiffin.online.redis import open_store
from tiffin.testing.strategies import Case, cases


class RedisGround(Ground):
    """As its base, with rows in Redis."""

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(folder)
        self.store.close()
        self.store = open_store(uri)  # type: ignore[assignment]
        # The times of these tests are long ago, and Redis would forget them at once.
        self.route = Route(PolarsEngine(), self.store, Limits(grace=100 * 366 * 86_400_000_000))


@pytest.fixture
def ground(tmp_path: Path, redis_uri: str) -> Iterator[Ground]:
    ground = RedisGround(tmp_path, redis_uri)
    yield ground
    ground.close()


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(asked=1))
def test_what_is_materialised_is_what_lmdb_would_hold(redis_server: RedisServer, case: Case) -> None:
    redis_server.cli("FLUSHALL")
    chance = random.Random(case.files[0].height)
    with TemporaryDirectory() as home:
        table = placed(case.schema, Path(home) / "lake")
        stores = [LmdbStore(f"{home}/online"), open_store(redis_server.uri)]
        routes = [Route(PolarsEngine(), store, Limits(grace=100 * 366 * 86_400_000_000)) for store in stores]
        for number, rows in enumerate(case.files):
            put(table, rows, Path(home), on_invalid="quarantine", idempotency_key=f"batch {number}")
            if chance.random() < 0.7:
                assert materialize_incremental(routes[0], table) == materialize_incremental(routes[1], table)
        results = [materialize_incremental(route, table) for route in routes]
        assert results[0] == results[1]
        identity = TableId(table.project, table.name)
        first, second = (dict(store.scan(identity)) for store in stores)
        assert second == first
        assert stores[0].layouts(identity) == stores[1].layouts(identity)
        for store in stores:
            store.close()


def test_a_large_table_goes_through_a_cluster(
    tmp_path: Path, redis_cluster_uri: str, redis_cluster_server: RedisCluster
) -> None:
    ground = RedisGround(tmp_path, redis_cluster_uri)
    count = 30_000
    at = pl.Series([1_600_000_000_000_000] * count, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    keys = pl.Series(range(count), dtype=pl.Int64)
    ground.ingest(pl.DataFrame({"k": keys, "at": at, "a": keys}))
    result = materialize_incremental(ground.route, ground.table)
    assert (result.written, result.skipped) == (count, 0)
    assert ground.read(0, 17, count - 1) == [0, 17, count - 1]
    # The rows, the layouts and the mark.
    assert sum(int(node.cli("DBSIZE")) for node in redis_cluster_server.nodes) == count + 2
    ground.close()
