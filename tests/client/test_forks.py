"""A fork of a program that has used a store: online reads go on, histories say that they cannot."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.errors import JobFailed, Unsupported

ROWS = pl.DataFrame({"id": [1], "x": [7], "event_timestamp": [datetime(2026, 9, 1, tzinfo=UTC)]})
ASKED = pl.DataFrame({"id": [1], "event_timestamp": [datetime(2026, 9, 2, tzinfo=UTC)]})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    glob = FileSource("event_timestamp", ParquetFormat(), str(tmp_path / "plain" / "*.pq"))
    with Client(home=tmp_path / "home") as client:
        tables = [FeatureTable(name, ["id"], [Feature("x", ValueType.INT64)]) for name in ("t", "g")]
        tables[1].batch_source = glob
        client.apply([Entity("id", value_type=ValueType.INT64), *tables])
        client.ingest("t", ROWS)
        client.materialize_incremental("t")
        yield client


def fork(child: Callable[[], None]) -> None:
    """Run ``child`` in a fork of this process, and expect it to raise nothing."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:  # noqa: BLE001  # told to the parent by the code
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_online_reads_go_on_in_a_fork(client: Client) -> None:
    def child() -> None:
        assert client.get_online_features(["t:x"], [{"id": 1}]).to_dict()["t:x"] == [7]

    fork(child)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.ingest("t", ROWS),
        lambda client: client.push("t", ROWS),
        lambda client: client.get_historical_features(["t:x"], ASKED),
        lambda client: client.get_historical_features(["g:x"], ASKED),
        lambda client: client.latest(["t:x"]),
    ],
    ids=["ingest", "push", "history", "plain files", "latest"],
)
def test_histories_are_refused_in_a_fork(client: Client, call: Callable[[Client], object]) -> None:
    def child() -> None:
        with pytest.raises(Unsupported, match="was forked from one") as refused:
            call(client)
        assert "spawn" in str(refused.value.hint)

    fork(child)


def test_a_job_of_a_fork_fails_with_the_reason(client: Client) -> None:
    def child() -> None:
        with pytest.raises(JobFailed, match="was forked from one") as failed:
            client.materialize_incremental("t")
        assert isinstance(failed.value.__cause__, Unsupported)

    fork(child)
