"""The whole way of the data, through the public names only."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from tiffin import Client, Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.config import Config
from tiffin.data_format import ParquetFormat
from tiffin.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    InvalidData,
    InvalidDefinition,
    JobFailed,
    NotFound,
    StaleStoreWarning,
    TiffinWarning,
    Unsupported,
)
from tiffin.jobs import IngestionJob, JobStatus, RetrievalJob
from tiffin.staging.entities import stage_entities_to_fs

DAY = datetime(2026, 9, 1, tzinfo=UTC)
DRIVER = Entity("driver_id", "Driver identifier", ValueType.INT64)
FEATURES = [Feature("acc_rate", ValueType.FLOAT), Feature("trips", ValueType.INT32), Feature("name", ValueType.STRING)]
REFS = ["drivers:trips", "drivers:acc_rate"]
ROWS = pl.DataFrame(
    {
        "driver_id": [1001, 1001, 1002],
        "datetime": [DAY, DAY + timedelta(days=1), DAY],
        "created": [DAY, DAY + timedelta(days=1), DAY],
        "acc_rate": [0.5, 0.25, None],
        "trips": [3, None, 7],
        "name": ["a", "b", "c"],
    }
)


def drivers(**changes: Any) -> FeatureTable:
    source = FileSource("datetime", ParquetFormat(), "data/drivers", created_timestamp_column="created")
    given = {"name": "drivers", "entities": ["driver_id"], "features": FEATURES, "batch_source": source}
    return FeatureTable(**(given | changes))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.chdir(tmp_path)
    client = Client()
    client.apply([drivers(), DRIVER, FeatureService("model", REFS)])
    return client


def asked(*instants: datetime, keys: tuple[int, ...] = (1001, 1002)) -> pl.DataFrame:
    rows = [{"driver_id": key, "event_timestamp": instant} for instant in instants for key in keys]
    return pl.DataFrame(rows, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})


def test_from_a_frame_to_a_training_set_and_to_an_online_answer(client: Client, tmp_path: Path) -> None:
    commit = client.ingest("drivers", ROWS)
    assert (commit.rows, commit.rejected) == (3, 0)
    assert sorted(pq.read_table(tmp_path / "data/drivers").to_pydict()["name"]) == ["a", "b", "c"]

    job = client.get_historical_features(REFS, asked(DAY, DAY + timedelta(days=1)))
    assert isinstance(job, RetrievalJob)
    found = job.to_polars()
    assert found.columns == ["driver_id", "event_timestamp", "drivers__trips", "drivers__acc_rate"]
    assert found["drivers__trips"].to_list() == [3, 7, None, 7]
    assert found["drivers__trips"].dtype == pl.Int32
    assert found["drivers__acc_rate"].to_list() == [0.5, None, 0.25, None]

    run = client.materialize_incremental("drivers")
    assert (run.get_status(), run.rows_written, run.rows_skipped) == (JobStatus.COMPLETED, 2, 0)
    answer = client.get_online_features(REFS, [{"driver_id": 1001}, {"driver_id": "1002"}, {"driver_id": 9}])
    assert answer.to_dict() == {
        "driver_id": [1001, 1002, 9],
        "drivers:trips": [None, 7, None],
        "drivers:acc_rate": [0.25, None, None],
    }
    assert answer.statuses()["drivers:trips"] == ["NULL_VALUE", "PRESENT", "NOT_FOUND"]


def test_the_answer_in_every_shape(client: Client) -> None:
    client.ingest(drivers(), ROWS.to_pandas())
    job = client.get_historical_features("model", asked(DAY + timedelta(days=1)).to_pandas())
    uri = job.get_output_file_uri()
    parts = sorted(Path(uri).glob("part-*.parquet"))
    assert parts
    side_door = pl.DataFrame(pa.concat_tables(map(pq.read_table, parts)))
    assert_frame_equal(side_door, job.to_polars())
    assert_frame_equal(pl.DataFrame(job.to_arrow()), job.to_polars())
    frame = job.to_pandas()
    assert str(frame["drivers__trips"].dtype) == "Int32"
    assert frame["drivers__trips"].tolist() == [pd.NA, 7]
    # Another process reads the files that this one wrote.
    again = Client(home=client.config.home).get_job(job.get_id())
    assert isinstance(again, RetrievalJob)
    assert_frame_equal(again.to_polars(), job.to_polars())
    assert again.get_output_file_uri() == uri


def test_an_answer_in_memory_is_another_processes_to_ask_for(client: Client) -> None:
    client.ingest("drivers", ROWS)
    job = client.get_historical_features(REFS, asked(DAY))
    job.wait()
    elsewhere = Client(home=client.config.home).get_job(job.get_id())
    assert isinstance(elsewhere, RetrievalJob)
    with pytest.raises(FailedPrecondition, match=r"in the memory of the process that ran it.*output_location"):
        elsewhere.to_polars()


@pytest.mark.parametrize("how", ["argument", "option", "budget"])
def test_part_files_where_a_place_or_a_budget_is_given(client: Client, tmp_path: Path, how: str) -> None:
    client.ingest("drivers", ROWS)
    place = str(tmp_path / "out")
    options = {"option": {"historical_feature_output_location": place}, "budget": {"memory_budget": "64MB"}}
    with Client(home=client.config.home, **options.get(how, {})) as other:
        job = other.get_historical_features(REFS, asked(DAY), "out/mine" if how == "argument" else None)
        uri = job.get_output_file_uri(timeout_sec=60)
        assert Path(uri).is_relative_to(tmp_path / (".tiffin/historical" if how == "budget" else "out"))
        assert list(Path(uri).glob("part-*.parquet"))
        assert job.to_polars()["drivers__trips"].to_list() == [3, 7]
        assert other.get_job(job.get_id()).record.output == uri


def test_an_occupied_place_is_refused_by_the_call(client: Client, tmp_path: Path) -> None:
    client.ingest("drivers", ROWS)
    place = tmp_path / "out"
    client.get_historical_features(REFS, asked(DAY), str(place)).wait()
    before = {path: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(AlreadyExists, match="not empty"):
        client.get_historical_features(REFS, asked(DAY), str(place))
    assert len(client.list_jobs(include_terminated=True)) == 1
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_the_uri_may_be_had_before_the_files(client: Client) -> None:
    client.ingest("drivers", ROWS)
    job = client.get_historical_features(REFS, asked(DAY))
    uri = job.get_output_file_uri(block=False)
    job.wait()
    assert list(Path(uri).glob("part-*.parquet"))


def test_staged_entities_and_files_as_entity_source(client: Client, tmp_path: Path) -> None:
    client.ingest("drivers", ROWS)
    staged = stage_entities_to_fs(asked(DAY).to_pandas(), str(tmp_path / "stage"), Config)
    assert client.get_historical_features(REFS, staged).to_polars()["drivers__trips"].to_list() == [3, 7]
    asked(DAY).write_parquet(tmp_path / "asked.parquet")
    assert client.get_historical_features(REFS, "asked.parquet").to_polars()["drivers__trips"].to_list() == [3, 7]
    relative = FileSource("event_timestamp", ParquetFormat(), "asked.parquet")
    assert client.get_historical_features(REFS, relative).to_polars().height == 2


def test_wrong_requests_are_refused_before_a_job_begins(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.materialize_incremental("drivers")
    (only,) = client.list_jobs(include_terminated=True)
    with pytest.raises(NotFound, match=r"no feature 'trip'.*Did you mean 'trips'"):
        client.get_historical_features(["drivers:trip"], asked(DAY))
    with pytest.raises(NotFound, match=r"feature table 'driver'.*Did you mean 'drivers'"):
        client.get_online_features(["driver:trips"], [{"driver_id": 1}])
    with pytest.raises(InvalidData, match="no column 'driver_id'"):
        client.get_historical_features(REFS, asked(DAY).rename({"driver_id": "driver"}))
    with pytest.raises(InvalidArgument, match="known_at"):
        client.get_historical_features(REFS, asked(DAY), known_at="yesterday")
    with pytest.raises(InvalidArgument, match=r"window .* is empty"):
        client.materialize("drivers", DAY, DAY)
    with pytest.raises(NotFound, match="feature table 'nobody'"):
        client.materialize(["drivers", "nobody"])
    with pytest.raises(InvalidArgument, match="'driver_id' of default/drivers is missing"):
        client.get_online_features(REFS, [{"driver": 1}])
    assert [job.get_id() for job in client.list_jobs(include_terminated=True)] == [only.get_id()]


def test_known_at_shows_what_was_known(client: Client) -> None:
    late = ROWS.with_columns(created=pl.lit(DAY + timedelta(days=9)), trips=pl.lit(99, pl.Int64))
    client.ingest("drivers", pl.concat([ROWS, late]))

    def trips(known_at: Any) -> list[int | None]:
        return (
            client.get_historical_features(REFS, asked(DAY), known_at=known_at).to_polars()["drivers__trips"].to_list()
        )

    assert trips(None) == [99, 99]
    assert trips("row") == [3, 7]
    assert trips(datetime.now(UTC)) == [99, 99]
    assert trips("2026-09-20T00:00:00Z") == [None, None]  # nothing had been committed then


def test_latest_is_batch_scoring_without_an_entity_frame(client: Client) -> None:
    client.ingest("drivers", ROWS)
    found = client.latest(REFS).to_polars().sort("driver_id")
    assert found["driver_id"].to_list() == [1001, 1002]
    assert found["drivers__acc_rate"].to_list() == [0.25, None]
    earlier = client.latest("model", at=DAY).to_polars().sort("driver_id")
    assert earlier["drivers__trips"].to_list() == [3, 7]


def test_materialising_a_window(client: Client) -> None:
    client.ingest("drivers", ROWS)
    job = client.start_offline_to_online_ingestion("drivers", DAY, DAY + timedelta(days=1))
    assert isinstance(job, IngestionJob)
    job.wait(60)
    assert job.rows_written == 2
    answer = client.get_online_features(REFS, [{"driver_id": 1001}]).to_dict()
    assert answer["drivers:trips"] == [3]
    # The mark did not move: an incremental run begins at the beginning.
    assert client.materialize_incremental().rows_written == 2


def test_a_read_of_a_stale_store_warns_once(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.ingest("drivers", ROWS)
    words = r"\d commits? of default/drivers.*materialize --incremental drivers"
    with pytest.warns(StaleStoreWarning, match=words) as seen:
        client.get_online_features(REFS, [{"driver_id": 1001}])
    client.get_online_features(REFS, [{"driver_id": 1002}])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    client.materialize_incremental("drivers")
    client.get_online_features([*REFS, "drivers:name"], [{"driver_id": 1001}])


def test_definitions_change_under_a_running_reader(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.materialize_incremental()
    client.apply(drivers(features=[*FEATURES, Feature("extra", ValueType.DOUBLE)]))
    with pytest.warns(StaleStoreWarning):
        answer = client.get_online_features(["drivers:trips", "drivers:extra"], [{"driver_id": 1002}])
    assert {name: values[0] for name, values in answer.statuses().items()} == {
        "driver_id": "PRESENT",
        "drivers:trips": "PRESENT",
        "drivers:extra": "NOT_FOUND",
    }
    with_extra = ROWS.with_columns(extra=pl.lit(1.5), datetime=pl.col("datetime") + timedelta(days=5))
    client.ingest("drivers", with_extra)
    client.materialize_incremental()
    assert client.get_online_features(["drivers:extra"], [{"driver_id": 1002}]).to_dict()["drivers:extra"] == [1.5]
    client.delete_feature_table("drivers", allow_breaking=True)
    with pytest.raises(NotFound, match="was deleted"):
        client.get_online_features(REFS, [{"driver_id": 1002}])


def test_what_another_client_applies_is_seen_within_a_second(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.materialize_incremental()
    refs, rows = ["drivers:trips"], [{"driver_id": 1002}]
    assert client.get_online_features(refs, rows).statuses()["drivers:trips"] == ["PRESENT"]
    with Client(home=client.config.home) as other:
        table = other.get_feature_table("drivers")
        table.max_age = timedelta(seconds=1)
        other.apply(table)
    deadline = time.monotonic() + 5
    while client.get_online_features(refs, rows).statuses()["drivers:trips"] == ["PRESENT"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.get_online_features(refs, rows).statuses()["drivers:trips"] == ["OUTSIDE_MAX_AGE"]


def test_one_table_that_cannot_be_brought_up_to_date_does_not_keep_the_others(client: Client, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/part.parquet").write_bytes(b"no parquet")
    client.apply(drivers(name="a_broken", batch_source=FileSource("datetime", ParquetFormat(), "broken")))
    client.ingest("drivers", ROWS)
    with pytest.raises(JobFailed, match=r"a_broken|broken"):
        client.materialize_incremental()
    (job,) = [job for job in client.list_jobs(include_terminated=True) if job.get_status() is JobStatus.FAILED]
    assert job.tables == ("a_broken", "drivers")
    assert any("drivers: 2 rows written" in line for line in job.log())
    assert client.get_online_features(REFS, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [7]


def test_projects_are_apart(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.apply([DRIVER, drivers(batch_source=None)], project="other")
    managed = ROWS.rename({"datetime": "event_timestamp"}).with_columns(trips=pl.lit(42))
    client.ingest("drivers", managed, project="other")
    client.materialize_incremental()
    client.materialize_incremental(project="other")
    rows = [{"driver_id": 1001}]
    answer = client.get_online_features(["drivers:name"], rows).to_dict()
    assert answer["drivers:name"] == ["b"]
    assert client.get_online_features(["other/drivers:trips"], rows).to_dict()["other/drivers:trips"] == [42]
    assert client.get_online_features(["drivers:trips"], rows, project="other").to_dict()["drivers:trips"] == [42]
    client.set_project("other")
    assert client.project == "other"
    assert client.get_online_features(["drivers:trips"], rows).to_dict()["drivers:trips"] == [42]
    client.archive_project("other")
    assert client.project == "default"
    assert client.list_projects() == ["default"]
    with pytest.raises(InvalidDefinition, match="project name"):
        client.set_project("no spaces")


def test_embedded_leaves_the_servers_of_a_program_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {
        "core_url": "core:6565",
        "serving_url": "online:6566",
        "spark_launcher": "k8s",
        "spark_staging_location": str(tmp_path / "stage"),
        "spark_k8s_namespace": "spark-operator",
        "redis_host": "redis:6379",
        "historical_feature_output_location": str(tmp_path / "historical"),
    }
    with caplog.at_level(logging.WARNING):
        client = Client(servers, home=str(tmp_path / "home"), embedded=True)
    assert "core:6565" in caplog.text
    monkeypatch.setenv("TIFFIN_EMBEDDED", "true")
    assert Client(servers, home=str(tmp_path / "home")).list_entities() == []
    client.apply(DRIVER)
    assert [entity.name for entity in client.list_entities()] == ["driver_id"]


def test_a_launcher_of_spark_is_accepted_and_said_to_have_no_effect(tmp_path: Path) -> None:
    with pytest.warns(TiffinWarning, match="'k8s'.*in this process"):
        client = Client(home=str(tmp_path / "home"), spark_launcher="k8s", spark_k8s_namespace="spark-operator")
    assert client.list_entities() == []


def test_a_service_that_is_not_spoken_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="job_service_url"):
        Client(home=str(tmp_path / "home"), job_service_url="jobs:6568")


def test_one_client_in_several_threads(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.materialize_incremental()
    wrong: list[object] = []

    def use() -> None:
        for _ in range(20):
            answer = client.get_online_features(REFS, [{"driver_id": 1002}]).to_dict()["drivers:trips"]
            if answer != [7]:
                wrong.append(answer)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_client_opens_again(client: Client) -> None:
    client.ingest("drivers", ROWS)
    client.materialize_incremental()
    client.close()
    assert client.get_online_features(REFS, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [7]
    with client as same:
        assert same is client


def test_an_online_store_that_was_deleted_and_filled_again_is_read_anew(client: Client, tmp_path: Path) -> None:
    client.push("drivers", ROWS)
    refs = ["drivers:trips"]
    assert client.get_online_features(refs, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [7]
    shutil.rmtree(client.config.home / "online")
    later = ROWS.with_columns(pl.col("datetime") + pl.duration(days=2), trips=pl.lit(9))
    client.push("drivers", later)
    time.sleep(1.1)
    with pytest.warns(StaleStoreWarning, match="2 commits"):
        assert client.get_online_features(refs, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [9]
    shutil.rmtree(client.config.home / "online")
    time.sleep(1.1)
    with pytest.warns(StaleStoreWarning):
        assert client.get_online_features(refs, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [None]
    client.materialize_incremental()
    assert client.get_online_features(refs, [{"driver_id": 1002}]).to_dict()["drivers:trips"] == [9]
