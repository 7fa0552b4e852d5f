"""AsyncClient: the client's reads, awaited; in process, where the store is this machine's."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tiffin
from tests.client.team import assert_same
from tiffin import AsyncClient, Client, Entity, Feature, FeatureService, FeatureTable, ValueType, errors

INSTANT = datetime(2024, 9, 1, tzinfo=UTC)
REFS = ["drivers:trips", "drivers:name"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def filled(home: Path) -> Path:
    with Client(home=str(home)) as client:
        trips, name = Feature("trips", ValueType.INT64, labels={"unit": "rides"}), Feature("name", ValueType.STRING)
        client.apply(
            [
                Entity("driver", value_type=ValueType.INT64),
                FeatureTable("drivers", ["driver"], [trips, name], labels={"team": "rides"}),
                FeatureService("model", REFS),
            ]
        )
        client.push(
            "drivers",
            pl.DataFrame(
                {"driver": [1, 2], "trips": [2**60 + 1, None], "name": ["a", "b"], "event_timestamp": [INSTANT] * 2}
            ),
        )
    return home


async def test_the_same_answers_as_the_client(filled: Path) -> None:
    rows = [{"driver": 1}, {"driver": "2"}, {"driver": 3}, {"driver": None}]
    with Client(home=str(filled)) as client:
        async with AsyncClient(home=str(filled)) as awaited:
            for refs in (REFS, "model", FeatureService("unregistered", REFS[:1])):
                assert_same(client.get_online_features(refs, rows), await awaited.get_online_features(refs, rows))
            assert await awaited.list_entities() == client.list_entities()
            assert await awaited.get_entity("driver") == client.get_entity("driver")
            assert await awaited.list_feature_tables(labels={"team": "rides"}) == client.list_feature_tables()
            assert await awaited.get_feature_table("drivers", revision=1) == client.get_feature_table("drivers")
            assert await awaited.list_feature_services() == client.list_feature_services()
            assert await awaited.get_feature_service("model") == client.get_feature_service("model")
            found = await awaited.list_features_by_ref(labels={"unit": "rides"})
            assert found == client.list_features_by_ref(labels={"unit": "rides"})
            assert len(found) == 1
            assert await awaited.search("trips") == client.search("trips")
            assert await awaited.list_projects() == ["default"]
            assert await awaited.version() == client.version()


async def test_the_same_errors(filled: Path) -> None:
    async with AsyncClient(home=str(filled)) as client:
        with pytest.raises(errors.NotFound, match="trips"):
            await client.get_online_features(["drivers:trip"], [{"driver": 1}])
        with pytest.raises(errors.InvalidArgument, match="INT64"):
            await client.get_online_features(REFS, [{"driver": 1.5}])
        with pytest.raises(errors.NotFound):
            await client.get_entity("rider")
    with pytest.raises(errors.InvalidConfig):
        AsyncClient(no_such_option="1")


async def test_many_coroutines_read_at_once_and_some_are_cancelled(filled: Path) -> None:
    async with AsyncClient(home=str(filled)) as client:

        async def read(number: int) -> Any:
            return (await client.get_online_features(REFS, [{"driver": number}])).to_dict()["drivers:name"]

        tasks = [asyncio.create_task(read(1 + number % 3)) for number in range(300)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for number, each in enumerate(found):
            if not isinstance(each, asyncio.CancelledError):
                assert each == [["a"], ["b"], [None]][number % 3]


async def test_definitions_and_rows_that_change_are_seen(filled: Path) -> None:
    async with AsyncClient(home=str(filled)) as client:
        assert (await client.get_online_features(REFS, [{"driver": 1}])).to_dict()["drivers:name"] == ["a"]
        await asyncio.to_thread(_change, filled)
        # Rows are seen at once, definitions within a second or so.
        assert (await client.get_online_features(REFS, [{"driver": 1}])).to_dict()["drivers:name"] == ["z"]
        deadline = time.monotonic() + 3
        while True:
            try:
                answer = await client.get_online_features(["drivers:more"], [{"driver": 1}])
            except errors.NotFound:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            else:
                assert answer.to_dict()["drivers:more"] == [5]
                return


def _change(home: Path) -> None:
    with Client(home=str(home)) as client:
        table = client.get_feature_table("drivers")
        table.features = [*table.features, Feature("more", ValueType.INT64)]
        client.apply(table)
        frame = pl.DataFrame(
            {"driver": [1], "trips": [1], "name": ["z"], "more": [5], "event_timestamp": [INSTANT.replace(day=2)]}
        )
        client.push("drivers", frame)


async def test_it_may_be_used_again_after_it_was_closed(filled: Path) -> None:
    client = AsyncClient(home=str(filled))
    for _ in range(2):
        assert (await client.get_online_features(REFS, [{"driver": 1}])).columns.rows == 1
        await client.aclose()


async def test_its_project(filled: Path) -> None:
    async with AsyncClient(home=str(filled), project="rides") as client:
        assert client.project == "rides"
        client.set_project()
        assert client.project == "default"
        assert repr(client) == f"AsyncClient(project='default', home='{filled}')"


def test_reads_of_the_client_that_have_a_twin_have_its_signature() -> None:
    twins = [name for name in vars(AsyncClient) if not name.startswith("_") and name in vars(Client)]
    assert len(twins) >= 12
    for name in twins:
        one, other = inspect.getattr_static(Client, name), inspect.getattr_static(AsyncClient, name)
        if not isinstance(one, property):
            assert inspect.signature(one).parameters.keys() == inspect.signature(other).parameters.keys(), name
            assert inspect.iscoroutinefunction(other) or name == "set_project"


def test_it_is_imported_when_it_is_needed() -> None:
    assert "AsyncClient" in tiffin.__all__
    program = "import sys, tiffin; print('tiffin.async_client' in sys.modules, 'asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
