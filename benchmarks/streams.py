"""A topic of Avro events into Redis and the history: Tiffin, beside a consumer that only puts messages into Redis."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import runner, servers, shapes
from benchmarks.results import CONSUMER, FEAST, TIFFIN, TIFFIN_ONLINE
from benchmarks.runner import WORK
from benchmarks.sections import Bench

EVENTS = 1_000_000
PROBES = 200
#: Rows of one push of Feast's.
PUSHES = (1, 100, 10_000)


def case(events: int) -> str:
    """The name of a measurement."""
    return f"{shapes.count(events)} events x 5 features"


def pushes(rows: int) -> str:
    """The name of Feast's pushes of so many rows."""
    return f"pushes of {shapes.count(rows)} rows"


FRESH = "produced until read online, one event at a time"


def stream(bench: Bench) -> None:
    """Every contender reads the topic from its beginning, into an empty Redis of its own."""
    events = EVENTS // 10 if bench.quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch, _broker(Path(scratch)) as address:
        found = {"address": address, "topic": "events"}
        runner.task("benchmarks.on_stream:produce", {**found, "rows": events, "keys": events // 10})
        for _ in range(bench.runs):
            for contender, work, more in (
                (TIFFIN, "on_stream:tiffin", {"to_offline": True}),
                (TIFFIN_ONLINE, "on_stream:tiffin", {"to_offline": False}),
                (CONSUMER, "on_stream:bare", {}),
            ):
                outcome = _on_redis(work, {**found, "rows": events, **more}, sys.executable)
                bench.record("stream", case(events), contender, outcome)
            outcome = _on_redis("on_stream:latency", {**found, "topic": "probes", "events": PROBES}, sys.executable)
            bench.record("stream", FRESH, TIFFIN, outcome)
        for rows in PUSHES:
            asked = {"rows": rows, "times": 20 if bench.quick else min(1_000, 100_000 // rows)}
            outcome = _on_redis("on_feast:push", asked, str(bench.feast))
            bench.record("stream", pushes(rows), FEAST, outcome)


def _on_redis(work: str, asked: dict[str, Any], python: str) -> runner.Outcome:
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
        server, address = servers.redis(Path(scratch))
        with server:
            online = address if work.startswith("on_feast") else f"redis://{address}/0"
            return runner.task(f"benchmarks.{work}", {**asked, "online": online}, python=python, needs_home=True)


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    """A broker with one topic for the load and one for the probes; its address."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    spec = find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise RuntimeError("the broker is not installed: pip install noida-db")
    port = servers.free_port()
    command = [str(Path(spec.origin).with_name("noida-db")), "start", "--only", "kafka", "--kafka-port", str(port)]
    server = servers.Server([*command, "--data-dir", str(folder / "data")], folder, lambda: servers.listens(port))
    with server:
        address = f"127.0.0.1:{port}"
        admin = AdminClient({"bootstrap.servers": address})
        for made in admin.create_topics([NewTopic("events", 1, 1), NewTopic("probes", 1, 1)]).values():
            made.result(20)
        yield address
