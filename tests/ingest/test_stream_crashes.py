"""Consumers of a real topic, killed and cut off: nothing is lost, nothing is stored twice, the latest is online."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.stream_world import POINTS, Consumer, World, until
from tests.servers.kafka import KafkaBroker
from tiffin.ingest.stream import Pace


@pytest.mark.parametrize("point", POINTS)
def test_a_consumer_that_is_killed_is_succeeded(tmp_path: Path, kafka_broker: KafkaBroker, point: str) -> None:
    world = World(tmp_path, kafka_broker, f"crash-{point}")
    world.produce(60)
    for batch in (1, 2):
        Consumer(world, crash=(point, batch)).await_death()
    after = Consumer(world)
    world.drain()
    after.stop()
    assert world.check() > 40


def test_a_broker_that_dies_and_comes_back(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    world = World(tmp_path, kafka_broker, "broker")
    world.produce(40)
    consumer = Consumer(world)
    world.drain()
    kafka_broker.crash()
    until(lambda: any("waiting, nothing is lost" in line for line in consumer.lines()))
    kafka_broker.start()
    world.produce(40)
    world.drain()
    assert "going on" in consumer.stop()
    assert world.check() > 60


def test_consumers_share_the_work_and_lose_nothing_as_they_come_and_go(
    tmp_path: Path, kafka_broker: KafkaBroker
) -> None:
    world = World(tmp_path, kafka_broker, "shared", partitions=4)
    world.produce(200)
    first = Consumer(world, pace=Pace(20, 0.2))
    second = Consumer(world, pace=Pace(20, 0.2))
    world.produce(200)
    world.drain()
    first.kill()
    world.produce(100)
    world.drain()
    second.stop()
    assert world.check() > 400


def test_a_disk_that_is_full(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    world = World(tmp_path, kafka_broker, "disk")
    world.produce(30)
    consumer = Consumer(world)
    world.drain()
    consumer.limit_files(1)
    world.produce(30)
    until(lambda: any("waiting, nothing is lost" in line for line in consumer.lines()))
    assert not world.is_drained()
    consumer.limit_files(-1)
    world.drain()
    assert "going on" in consumer.stop()
    assert world.check() > 40
