"""A client of services answers as one of its own store does: same values, same types, same errors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings

from tests.client.histories import ENTITIES, FEATURES, KEYS, History, histories
from tests.client.team import Team, assert_same, eventually, team
from tests.client.test_parity import assert_agree, table_of
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tiffin import AsyncClient, Client, Entity, Feature, FeatureService, FeatureTable, ValueType, clock, errors

NUMBERS = itertools.count()
INSTANT = datetime(2024, 9, 1, tzinfo=UTC)
PAST = [INSTANT + timedelta(seconds=number) for number in range(3)]
KEY_TYPES = {
    "whole": ValueType.INT64,
    "small": ValueType.INT32,
    "text": ValueType.STRING,
    "raw": ValueType.BYTES,
    "flag": ValueType.BOOL,
    "moment": ValueType.UNIX_TIMESTAMP,
}
KEY_VALUES: dict[str, list[Any]] = {
    "whole": [2**53 + 1, -(2**63), 7],
    "small": [1, -(2**31), 2**31 - 1],
    "text": ["", "žluť\x00", "1001"],
    "raw": [b"", b"\x00\xff", b"MTAwMQ=="],
    "flag": [True, False, True],
    "moment": [PAST[0], PAST[1] + timedelta(microseconds=1), PAST[2]],
}


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, redis_server: RedisServer
) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team"), postgres.database(), redis_server.uri) as found:
        with found.client() as client:
            client.apply(ENTITIES)
            client.apply([Entity(name, value_type=dtype) for name, dtype in KEY_TYPES.items()])
            for name in KEY_TYPES:
                client.apply(FeatureTable(f"by_{name}", [name], [Feature("n", ValueType.INT64)]))
                rows = {name: KEY_VALUES[name], "n": [2**60 + 1, None, 3], "event_timestamp": PAST}
                dtype = {"small": pl.Int32}.get(name)
                frame = pl.DataFrame(rows, schema_overrides={name: dtype} if dtype else None)
                client.ingest(f"by_{name}", frame)
            client.materialize_incremental()
            client.apply(FeatureService("model", ["by_whole:n", "by_text:n"]))
            eventually(lambda: client.get_online_features("model", [{"whole": 1, "text": ""}]))
        yield found


@pytest.fixture
def served(store: Team) -> Iterator[Client]:
    """Online reads over HTTP."""
    with store.client() as client:
        yield client


@pytest.fixture
def direct(store: Team) -> Iterator[Client]:
    """Online reads from Redis itself."""
    with store.client(serving_url=None) as client:
        yield client


@given(history=histories())
@settings(max_examples=12)
def test_training_and_serving_agree_through_services(store: Team, history: History) -> None:
    with store.client() as served, store.client(serving_url=None) as direct:
        folder = store.folder / "histories" / f"t{next(NUMBERS)}"
        folder.parent.mkdir(exist_ok=True)
        table = table_of(history, folder)
        served.apply(table)
        for number, frame in enumerate(history.frames(clock.now())):
            served.ingest(table.name, frame)
            if history.seen[number]:
                served.materialize_incremental(table.name)
        served.materialize_incremental(table.name)
        refs = [f"{table.name}:{feature.name}" for feature in FEATURES]
        rows: list[dict[str, Any]] = [
            dict(zip(table.entities, key, strict=True)) for key in KEYS[tuple(table.entities)]
        ]
        eventually(lambda: served.get_online_features(refs, rows))
        assert_agree(served, table)
        timed = [row | {"event_timestamp": clock.now()} for row in rows]
        assert_same(served.get_online_features(refs, timed), direct.get_online_features(refs, timed))
        assert_same(served.get_online_features(refs, timed), asyncio.run(both_ways(store, refs, timed)))


async def both_ways(store: Team, refs: list[str], rows: list[dict[str, Any]]) -> Any:
    """The answer of the asynchronous clients, which is one."""
    direct_options = {name: value for name, value in store.options.items() if name != "serving_url"}
    async with AsyncClient(store.options) as served, AsyncClient(direct_options) as direct:
        answers = await asyncio.gather(served.get_online_features(refs, rows), direct.get_online_features(refs, rows))
    assert_same(*answers)
    return answers[0]


@pytest.mark.parametrize("name", KEY_TYPES)
def test_keys_of_every_type_find_the_same(served: Client, direct: Client, name: str) -> None:
    keys = [*KEY_VALUES[name], None]
    for asked in ([{name: key} for key in keys], {name: keys}, [{"other": object(), name: key} for key in keys]):
        here, there = (client.get_online_features([f"by_{name}:n"], asked) for client in (direct, served))
        assert_same(here, there)
        assert there.to_dict()[f"by_{name}:n"][2] == 3


REQUESTS: list[tuple[list[str] | str | FeatureService, Any]] = [
    ("model", [{"whole": 7, "text": "1001"}]),
    (FeatureService("unregistered", ["by_text:n"]), [{"text": ""}]),
    (["by_text:n", "by_whole:n", "by_text:n"], [{"text": "", "whole": 7}, {"whole": "7", "text": "no"}]),
    (["default/by_whole:n"], {"whole": np.array([7, 8])}),
    (["by_whole:n"], {"whole": pd.Series([7.0, None])}),
    (["by_whole:n"], {"whole": [np.int32(7), np.float64(7), "7", pd.NA, np.nan]}),
    (
        ["by_moment:n"],
        [{"moment": PAST[2]}, {"moment": PAST[2].isoformat()}, {"moment": np.datetime64("2024-09-01T00:00:02")}],
    ),
    (["by_moment:n"], [{"moment": int(PAST[2].timestamp())}]),
    (["by_whole:n"], []),
    (["by_whole:n"], {"whole": []}),
    (["by_whole:n"], [{"whole": 7, "event_timestamp": PAST[0]}, {"whole": 7}]),
    (["by_flag:n"], [{"flag": "true"}, {"flag": np.False_}]),
    (["by_raw:n"], [{"raw": bytearray(b"\x00\xff")}]),
    (["by_whole:n"], [{"whole": 7, "unneeded": 5, 3: 4}, {"whole": 7}]),
    (["by_whole:n"], {"whole": [7], "unneeded": "a scalar"}),
]


@pytest.mark.parametrize(("refs", "rows"), REQUESTS, ids=range(len(REQUESTS)))
def test_requests_of_every_form(served: Client, direct: Client, refs: Any, rows: Any) -> None:
    assert_same(direct.get_online_features(refs, rows), served.get_online_features(refs, rows))


WRONG: list[tuple[Any, Any]] = [
    (["by_whole:m"], [{"whole": 1}]),
    (["nothing:n"], [{"whole": 1}]),
    ("no_service", [{"whole": 1}]),
    ([], [{"whole": 1}]),
    (["by_whole"], [{"whole": 1}]),
    ([5], [{"whole": 1}]),
    (["a/b/c:n"], [{"whole": 1}]),
    (["nowhere/by_whole:n"], [{"whole": 1}]),
    (["by_whole:n"], [{"text": 1}]),
    (["by_whole:n"], [{"whole": 1}, {"text": 1}]),
    (["by_whole:n"], [{}]),
    (["by_whole:n"], {"whole": "7"}),
    (["by_whole:n"], {"whole": 7}),
    (["by_whole:n"], {"whole": [7], "event_timestamp": [PAST[0], PAST[1]]}),
    (["by_whole:n", "by_text:n"], {"whole": [7], "text": ["a", "b"]}),
    (["by_whole:n"], [{"whole": 1.5}]),
    (["by_whole:n"], [{"whole": True}]),
    (["by_whole:n"], [{"whole": 2**63}]),
    (["by_whole:n"], [{"whole": 2**70}]),
    (["by_whole:n"], [{"whole": float("inf")}]),
    (["by_whole:n"], [{"whole": b"7"}]),
    (["by_whole:n"], [{"whole": [7]}]),
    (["by_text:n"], [{"text": 7}]),
    (["by_text:n"], [{"text": b"1001"}]),
    (["by_text:n"], [{"text": PAST[0]}]),
    (["by_text:n"], [{"text": object}]),
    (["by_text:n"], [{"text": "\ud800"}]),
    (["by_raw:n"], [{"raw": "MTAwMQ=="}]),
    (["by_raw:n"], [{"raw": "no base64"}]),
    (["by_flag:n"], [{"flag": 1}]),
    (["by_moment:n"], [{"moment": "yesterday"}]),
    (["by_whole:n"], [{"whole": 7, "event_timestamp": "yesterday"}]),
    (["by_whole:n"], "driver"),
    (["by_whole:n"], [5]),
    (["by_whole:n"], None),
]


@pytest.mark.parametrize(("refs", "rows"), WRONG, ids=range(len(WRONG)))
def test_mistakes_are_told_alike(served: Client, direct: Client, refs: Any, rows: Any) -> None:
    here, there = (raised(lambda client=client: client.get_online_features(refs, rows)) for client in (direct, served))
    assert type(here) is type(there)
    assert here.field == there.field
    assert here.code == there.code


def raised(call: Callable[[], Any]) -> errors.TiffinError:
    with pytest.raises(errors.TiffinError) as caught:
        call()
    return caught.value


def test_more_rows_than_a_request_may_have(served: Client, direct: Client) -> None:
    keys = list(range(25_001))
    here, there = (client.get_online_features(["by_whole:n"], {"whole": keys}) for client in (direct, served))
    assert there.columns.rows == 25_001
    assert_same(here, there)
    assert there.to_dict()["by_whole:n"][7] == 3


def test_definitions_of_one_client_are_those_of_all(served: Client, store: Team) -> None:
    with store.client(home=str(store.folder / "desk")) as other:
        other.apply(FeatureTable("shared", ["whole"], [Feature("x", ValueType.DOUBLE)], labels={"team": "rides"}))
        assert eventually(lambda: served.get_feature_table("shared").labels, within=2) == {"team": "rides"}
        assert {revision.action for revision in served.history("shared")} == {"create"}


def test_what_a_client_speaks_to(served: Client, store: Team) -> None:
    told = served.version()
    assert told["core"] == {"url": f"http://{store.core.address}", "version": told["sdk"]["version"]}
    assert told["serving"] == {"url": f"http://{store.online.address}", "version": told["sdk"]["version"]}


class TestWithoutTheStoreItself:
    """A client that names services, but not the store that they read."""

    @pytest.fixture
    def remote(self, store: Team) -> Iterator[Client]:
        with store.client(redis_host=None, offline_location=None) as client:
            yield client

    def test_pushes_go_through_the_online_service(self, remote: Client, direct: Client, store: Team) -> None:
        frame = pl.DataFrame({"whole": [70, 71], "n": [2**61 + 1, None], "event_timestamp": [PAST[1]] * 2})
        commit = remote.push("by_whole", frame, idempotency_key="first žluť")
        assert (commit.rows, commit.idempotency_key, commit.already_applied) == (2, "first žluť", False)
        assert remote.push("by_whole", frame, idempotency_key="first žluť").already_applied
        for client in (remote, direct):
            assert client.get_online_features(["by_whole:n"], {"whole": [70, 71]}).to_dict()["by_whole:n"] == [
                2**61 + 1,
                None,
            ]
        with store.client() as whole:
            known = whole.latest(["by_whole:n"]).to_polars()
        assert known.filter(pl.col("whole") == 70)["by_whole__n"].to_list() == [2**61 + 1]
        assert not (store.folder / "laptop" / "online").exists()

    def test_texts_of_a_file_are_pushed_as_what_they_stand_for(self, remote: Client, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("whole,n,event_timestamp\n80,5,2024-09-01\n81,,2024-09-01T01:00:00Z\n")
        assert remote.push("by_whole", str(tmp_path / "rows.csv")).rows == 2
        assert remote.get_online_features(["by_whole:n"], {"whole": [80, 81]}).to_dict()["by_whole:n"] == [5, None]

    def test_invalid_rows_are_told_as_in_process(self, remote: Client) -> None:
        frame = pl.DataFrame({"whole": [90, None], "n": [1, 2], "event_timestamp": [PAST[1]] * 2})
        with pytest.raises(errors.InvalidData) as caught:
            remote.push("by_whole", frame)
        assert caught.value.rejected[0]["row"] == 1
        commit = remote.push("by_whole", frame, on_invalid="quarantine")
        assert (commit.rows, commit.rejected) == (1, 1)
        with pytest.raises(errors.InvalidArgument, match="on_invalid"):
            remote.push("by_whole", frame, on_invalid="ignore")  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidArgument, match="idempotency_key"):
            remote.push("by_whole", frame, idempotency_key="")

    def test_a_push_into_another_project_lands_there(self, remote: Client) -> None:
        remote.apply([Entity("rider"), FeatureTable("riders", ["rider"], [Feature("n", ValueType.INT64)])], "rides")
        frame = pl.DataFrame({"rider": ["a"], "n": [1], "event_timestamp": [PAST[0]]})
        commit = eventually(lambda: remote.push("riders", frame, "rides"))
        assert (commit.project, commit.rows) == ("rides", 1)
        answer = eventually(lambda: remote.get_online_features(["riders:n"], [{"rider": "a"}], "rides"))
        assert answer.to_dict() == {"rider": ["a"], "riders:n": [1]}
        foreign = remote.get_online_features(["rides/riders:n"], [{"rider": "a"}])
        assert foreign.to_dict() == {"rider": ["a"], "rides/riders:n": [1]}

    def test_work_on_the_store_says_which_option_is_missing(self, remote: Client) -> None:
        remote.apply(
            FeatureTable(
                "sourced", ["whole"], [Feature("x", ValueType.DOUBLE)], batch_source=_source(remote.config.home)
            )
        )
        with pytest.raises(errors.Unsupported, match="redis_host or online_store"):
            remote.materialize("sourced")

    def test_histories_of_its_own_are_refused(self, remote: Client) -> None:
        for call in (
            lambda: remote.ingest("by_whole", pl.DataFrame({"whole": [1]})),
            lambda: remote.get_historical_features(
                ["by_whole:n"], pl.DataFrame({"whole": [1], "event_timestamp": [PAST[0]]})
            ),
        ):
            with pytest.raises(errors.FailedPrecondition, match="offline_location"):
                call()


def _source(folder: Path) -> Any:
    from tiffin import FileSource
    from tiffin.data_format import ParquetFormat

    return FileSource("event_timestamp", ParquetFormat(), str(folder / "sourced"))
