"""Streams as jobs of a client, on a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.stream_world import SESSION, until
from tests.servers.kafka import KafkaBroker
from tiffin import Client, Entity, Feature, FeatureTable, FileSource, KafkaSource, KinesisSource, ValueType, clock
from tiffin.data_format import JsonFormat, ParquetFormat
from tiffin.errors import InvalidArgument, InvalidConfig, JobCancelled, JobFailed, Unsupported
from tiffin.jobs import JobStatus

TRIP = Entity("driver_id", value_type=ValueType.INT64)


def trips(address: str, topic: str, **changes: Any) -> FeatureTable:
    source = KafkaSource("at", address, JsonFormat(), topic)
    return FeatureTable(
        "trips", ["driver_id"], [Feature("fare", ValueType.DOUBLE)], **({"stream_source": source} | changes)
    )


def sent(driver: int, fare: Any) -> bytes:
    return json.dumps({"driver_id": driver, "at": clock.to_iso(clock.now()), "fare": fare}).encode()


def fare(client: Client, driver: int) -> Any:
    return client.get_online_features(["trips:fare"], [{"driver_id": driver}]).to_dict()["trips:fare"][0]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    options = {"stream_batch_seconds": "0.05", "stream_group": tmp_path.name, **SESSION}
    with Client(options, home=str(tmp_path / "home")) as client:
        client.apply(TRIP)
        yield client


def test_a_stream_is_a_job_like_others(client: Client, kafka_broker: KafkaBroker) -> None:
    kafka_broker.create_topic("job", 2)
    client.apply(trips(kafka_broker.address, "job"))
    job = client.start_stream_to_online_ingestion("trips")
    kafka_broker.produce("job", [sent(1, 2.5), sent(2, 3.5), b"poison"])
    until(lambda: (fare(client, 1), fare(client, 2)) == (2.5, 3.5))
    until(lambda: (job.rows_written, job.rows_rejected) == (2, 1))
    assert job.get_status() is JobStatus.IN_PROGRESS
    with Client(home=str(client.config.home)) as other:
        [listed] = other.list_jobs(table_name="trips")
        until(lambda: listed.record.outcome.written == 2)
        assert listed.record.progress.unit == "messages"
        listed.cancel()
    with pytest.raises(JobCancelled):
        job.wait(20)
    assert (job.record.outcome.written, job.record.outcome.rejected) == (2, 1)
    history = client.latest(["trips:fare"]).to_polars().sort("driver_id")
    assert history["trips__fare"].to_list() == [2.5, 3.5]


def test_streams_take_no_slots_from_other_jobs(client: Client) -> None:
    client.apply(trips("127.0.0.1:1", "away"))
    jobs = [client.start_stream_to_online_ingestion("trips") for _ in range(5)]
    client.materialize(["trips"])
    until(lambda: all("waiting" in "".join(job.log()) for job in jobs))
    for job in jobs:
        job.cancel()


def test_a_topic_that_does_not_exist_fails_the_job(client: Client, kafka_broker: KafkaBroker) -> None:
    client.apply(trips(kafka_broker.address, "nowhere"))
    job = client.start_stream_to_online_ingestion("trips")
    with pytest.raises(JobFailed, match="nowhere"):
        job.wait(30)
    assert "nowhere" in job.error


def test_dead_letters_in_a_topic(client: Client, kafka_broker: KafkaBroker) -> None:
    for topic in ("letters", "refused"):
        kafka_broker.create_topic(topic)
    client.apply(trips(kafka_broker.address, "letters"))
    client.config.set("stream_dead_letters", "topic:refused")
    job = client.start_stream_to_online_ingestion("trips")
    kafka_broker.produce("letters", [b"poison", sent(1, 2.5), sent(2, "much")], key=b"k")
    until(lambda: len(kafka_broker.messages("refused")) == 2)
    job.cancel()
    first, second = kafka_broker.messages("refused")
    assert (first.key(), first.value()) == (b"letters/0/0", b"poison")
    told = dict(second.headers())
    assert (told["topic"], told["partition"], told["offset"], told["key"]) == (b"letters", b"0", b"2", b"k")
    assert b"fare" in told["reason"]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"stream_source": None}, InvalidArgument, "has no stream source"),
        (
            {"stream_source": KinesisSource("at", "made", JsonFormat(), "eu-west-1", "trips")},
            Unsupported,
            "Amazon Kinesis",
        ),
        (
            {"batch_source": FileSource("at", ParquetFormat(), "trips.parquet", field_mapping={"fare": "a + b"})},
            InvalidArgument,
            "cannot be stored",
        ),
    ],
    ids=["no stream", "kinesis", "computed in the history"],
)
def test_streams_that_cannot_be_read(
    client: Client, changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    client.apply(trips("127.0.0.1:1", "t", **changes))
    with pytest.raises(kind, match=words):
        client.start_stream_to_online_ingestion("trips")
    assert client.list_jobs(include_terminated=True) == []


def test_options_of_batches(client: Client) -> None:
    client.apply(trips("127.0.0.1:1", "t"))
    client.config.set("stream_batch_rows", "0")
    with pytest.raises(InvalidConfig, match="holds nothing"):
        client.start_stream_to_online_ingestion("trips")


def test_the_command_runs_until_it_is_told_to_end(client: Client, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    kafka_broker.create_topic("command")
    client.apply(trips(kafka_broker.address, "command"))
    program = str(Path(sys.executable).with_name("tiffin"))
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [program, "stream", "run", "trips", "--home", str(client.config.home), "--json"],
            stdout=out,
            stderr=err,
            env=os.environ | {"TIFFIN_STREAM_BATCH_SECONDS": "0.05"},
        )
    kafka_broker.produce("command", [sent(7, 1.5)])
    try:
        until(lambda: fare(client, 7) == 1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "err").read_text()
    finally:
        process.kill()
        process.wait()
    told = json.loads((tmp_path / "out").read_text())
    assert (told["type"], told["status"], told["rows_written"]) == ("STREAM_INGESTION", "CANCELLED", 1)
