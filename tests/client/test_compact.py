"""Compaction through the client and behind its writes: what is told, refused, and left alone."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType, clock, compaction
from tiffin.compaction import Compaction
from tiffin.data_format import DeltaFormat, ParquetFormat
from tiffin.errors import Conflict, FailedPrecondition, InvalidArgument
from tiffin.jobs.lease import holding
from tiffin.jobs.record import JobType, new_record

KEY = Entity("k", value_type=ValueType.INT64)
VALUE = Feature("v", ValueType.INT64)


def rows(number: int) -> pl.DataFrame:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    return pl.DataFrame({"k": [number % 5], "event_timestamp": [at], "v": [number]})


def table(name: str, source: FileSource | None = None) -> FeatureTable:
    return FeatureTable(name, entities=["k"], features=[VALUE], batch_source=source)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(home=str(tmp_path / "home")) as opened:
        opened.apply([KEY, table("t")])
        yield opened


def files(client: Client, name: str = "t") -> list[Path]:
    """The data files on the disk."""
    folder = Path(client.config.home) / "offline" / "default" / name
    return [path for path in folder.rglob("*.parquet") if "_" not in path.relative_to(folder).parts[0][:1]]


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def versions(client: Client) -> list[int]:
    return [int(path.stem) for path in Path(client.config.home).rglob("_delta_log/*.json")]


def test_writers_merge_files_behind_their_commits(tmp_path: Path) -> None:
    with Client(home=str(tmp_path), compact_after=4) as client:
        client.apply([KEY, table("t")])
        for number in range(8):
            client.push("t", rows(number))
            eventually(lambda: not client._workspace.upkeep._queued)
        assert max(versions(client)) > 8  # versions that no push made
        found = client.latest(["t:v"]).to_polars().sort("k")
        assert found["t__v"].to_list() == [5, 6, 7, 3, 4]
        assert client.get_online_features(["t:v"], [{"k": 1}]).to_dict()["t:v"] == [6]


def test_nothing_is_merged_where_it_is_switched_off(tmp_path: Path) -> None:
    with Client(home=str(tmp_path), compact_after=0) as client:
        client.apply([KEY, table("t")])
        for number in range(8):
            client.ingest("t", rows(number))
        assert client._workspace.upkeep._pool is None
        assert len(files(client)) == 8


def test_compact_tells_what_it_did(client: Client) -> None:
    for number in range(3):
        client.ingest("t", rows(number))
    (done,) = client.compact()
    assert (done.feature_table, done.files, done.merged, done.written, done.rows, done.left) == ("t", 3, 3, 1, 3, "")
    assert done.bytes_after < done.bytes_before
    assert done.vacuumed == 0
    (again,) = client.compact("t", vacuum=True, retention=0)
    assert (again.merged, again.vacuumed) == (0, 3)
    assert len(files(client)) == 1


def test_what_cannot_be_compacted_is_told_and_left(client: Client, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    rows(0).write_parquet(plain / "a.parquet")
    rows(0).write_parquet(plain / "b.parquet")
    client.ingest("t", rows(0))
    history = str(tmp_path / "home" / "offline" / "default" / "t")
    client.apply(
        [
            table("plain", FileSource("event_timestamp", ParquetFormat(), str(plain))),
            table("pinned", FileSource("event_timestamp", DeltaFormat(1), history)),
            table("one_file", FileSource("event_timestamp", ParquetFormat(), str(plain / "a.parquet"))),
            table("nothing"),
        ]
    )
    told = {done.feature_table: done.left for done in client.compact()}
    assert "plain folder" in told["plain"]
    assert "pinned" in told["pinned"]
    assert "a single file" in told["one_file"]
    assert "empty" in told["nothing"]
    assert told["t"] == ""
    assert sorted(path.name for path in plain.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_pinned_version_outlives_a_vacuum(client: Client, tmp_path: Path) -> None:
    for number in range(3):
        client.ingest("t", rows(number))
    history = str(tmp_path / "home" / "offline" / "default" / "t")
    client.apply([table("pinned", FileSource("event_timestamp", DeltaFormat(2), history))])
    client.compact("t", vacuum=True, retention=0)
    assert sorted(client.latest(["pinned:v"]).to_polars()["pinned__v"]) == [0, 1]


def test_running_readers_keep_files(client: Client) -> None:
    client.ingest("t", rows(0))
    client.ingest("t", rows(1))
    record = new_record(JobType.HISTORICAL_RETRIEVAL, "default", ["t"])
    ours = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": clock.now()}
    client._workspace.jobs.add(msgspec.structs.replace(record, **ours))
    with pytest.raises(FailedPrecondition, match="still runs"):
        client.compact("t", vacuum=True, retention=0)
    assert client.compact("t", vacuum=True)[0].merged == 2  # a retention of days is safe
    assert client.compact("t", vacuum=True, retention=0, force=True)[0].vacuumed == 2


def test_mistakes_and_company(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "WAIT_S", 0.3)
    client.ingest("t", rows(0))
    with pytest.raises(InvalidArgument, match="negative"):
        client.compact("t", vacuum=True, retention=-1)
    leases = client._workspace.jobs.leases
    with holding(leases, "compact/default/t"), pytest.raises(Conflict, match="is being done by"):
        client.compact("t")
    assert isinstance(client.compact("t")[0], Compaction)


def test_closing_ends_upkeep(tmp_path: Path) -> None:
    client = Client(home=str(tmp_path), compact_after=2)
    client.apply([KEY, table("t")])
    for number in range(6):
        client.ingest("t", rows(number))
    begin = time.monotonic()
    client.close()
    assert time.monotonic() - begin < 10
    assert sorted(client.latest(["t:v"]).to_polars()["t__v"]) == [1, 2, 3, 4, 5]
    client.close()
