"""Streams on a real broker: consumers that are killed after any step, brokers that die, members that come and go."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.ingest.stream_world import POINTS, Consumer, World
from tests.servers.kafka import KafkaBroker
from tiffin.ingest.stream import Pace


def run(size: int, seed: int) -> str:
    """A tenth as many histories as cases: each starts several processes."""
    kept, kills = 0, 0
    with tempfile.TemporaryDirectory(prefix="tiffin-streams-") as scratch:
        broker = KafkaBroker(Path(scratch) / "broker")
        broker.start()
        try:
            for number in range(seed, seed + max(1, size // 10)):
                found, killed = _one(Path(scratch) / str(number), broker, number)
                kept, kills = kept + found, kills + killed
        finally:
            broker.kill()
    return f"{kept} messages stored once each, {kills} consumers killed"


def _one(folder: Path, broker: KafkaBroker, seed: int) -> tuple[int, int]:
    moment = random.Random(seed)
    folder.mkdir()
    world = World(folder, broker, f"soak-{seed}", partitions=moment.randint(1, 4))
    pace = Pace(moment.randint(3, 20), 0.05)
    kills = moment.randint(1, 4)
    for _ in range(kills):
        world.produce(40)
        dying = Consumer(world, crash=(moment.choice(POINTS), moment.randint(1, 3)), pace=pace)
        dying.process.join(10)  # it may not come to that point as often
        dying.kill()
    consumers = [Consumer(world, pace=pace) for _ in range(moment.randint(1, 3))]
    world.produce(60)
    world.drain(120)
    for consumer in consumers:
        consumer.stop()
    return world.check(), kills
