"""Online reads over HTTP: Tiffin's and Feast's servers, one worker each, under the same load in Feast's own contract.

The load is wrk's, on the same machine: client and server share its cores, as they do for every contender.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import runner, servers, shapes
from benchmarks.results import FEAST_REDIS, FEAST_SQLITE, TIFFIN_LMDB, TIFFIN_REDIS
from benchmarks.runner import WORK, Outcome
from benchmarks.sections import Bench
from benchmarks.shapes import ENTITY, Shape

#: Rows of a request, and the shape that it reads.
REQUESTS = tuple(zip((1, 100), shapes.ONLINE, strict=True))
CONNECTIONS = (1, 16)
BODIES = 500
SECONDS = 8
_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Contender:
    """One server over one store. `store` is "redis", or the name of the store in the process."""

    title: str
    store: str
    feast: bool


CONTENDERS = (
    Contender(TIFFIN_REDIS, "redis", feast=False),
    Contender(FEAST_REDIS, "redis", feast=True),
    Contender(TIFFIN_LMDB, "lmdb", feast=False),
    Contender(FEAST_SQLITE, "sqlite", feast=True),
)


def case(rows: int, features: int, connections: int) -> str:
    """The name of a measurement."""
    return f"{rows} x {features}, {connections} connection{'s' if connections > 1 else ''}"


IDLE = "idle: start to the first answer"


def serving(bench: Bench) -> None:
    """Every server is filled by its own `materialize`, asked once for the same keys, and then loaded in turn."""
    for rows, shape in REQUESTS:
        found = bench.prepared(shape)
        answers: dict[str, Any] = {}
        for contender in CONTENDERS:
            with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
                try:
                    answers[contender.title] = _contend(bench, contender, rows, shape, found, Path(scratch))
                except RuntimeError as error:
                    bench.record("serving", case(rows, shape.features, 1), contender.title, Outcome(error=str(error)))
        _compare(bench, f"{rows} x {shape.features} over HTTP", answers)


def _contend(
    bench: Bench, contender: Contender, rows: int, shape: Shape, found: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    bodies = scratch / "bodies.jsonl"
    bodies.write_text("\n".join(json.dumps(_body(shape, keys)) for keys in shape.random_keys(rows, BODIES)) + "\n")
    with _server(bench, contender, found, scratch) as (server, address):
        idle = Outcome(seconds=server.seconds, peak_mb=server.resident_mb())
        if rows == 1:
            bench.record("serving", IDLE, contender.title, idle)
        answer = _ask(address, bodies.read_text().splitlines()[0])
        for connections in CONNECTIONS:
            for _ in range(bench.runs):
                facts = _load(address, bodies, connections, 2 if bench.quick else SECONDS)
                bench.record(
                    "serving", case(rows, shape.features, connections), contender.title, _outcome(facts, server)
                )
    return answer


def _outcome(facts: dict[str, Any], server: servers.Server) -> Outcome:
    """What a load says, unless hardly anything was answered; a few requests without an answer are told beside it."""
    if facts["requests"] == 0 or facts["failed"] > facts["requests"] // 20:
        return Outcome(error=f"{facts['requests']} answers, {facts['failed']} requests without one")
    return Outcome(seconds=facts["p50"], peak_mb=server.resident_mb(), facts=facts)


@contextmanager
def _server(
    bench: Bench, contender: Contender, found: dict[str, Any], scratch: Path
) -> Iterator[tuple[servers.Server, str]]:
    """The server of a contender over a filled store, and its address."""
    home, place = scratch / "home", scratch / "store"
    home.mkdir()
    place.mkdir()
    with _store(contender, place) as store:
        python = bench.feast if contender.feast else sys.executable
        module = "on_feast" if contender.feast else "on_tiffin"
        asked = {**found, "home": str(home), "online": store}
        filled = runner.task(f"benchmarks.{module}:fill", asked, python=python)
        if filled.error:
            raise RuntimeError(f"not filled: {filled.error}")
        port = servers.free_port()
        program = str(Path(python).parent / ("feast" if contender.feast else "tiffin"))
        if contender.feast:
            command = [program, "serve", "-h", "127.0.0.1", "-p", str(port), "--no-access-log"]
        else:
            command = [program, "serve", "online", "--host", "127.0.0.1", "--port", str(port)]
        more = {} if contender.feast else {"TIFFIN_HOME": str(home), "TIFFIN_ONLINE_STORE": store}
        address = f"http://127.0.0.1:{port}"
        with servers.Server(command, home, lambda: servers.answers(f"{address}/health"), more) as server:
            yield server, address


@contextmanager
def _store(contender: Contender, folder: Path) -> Iterator[str]:
    """What the contender calls the store: an address for Redis, nothing for the one in its process."""
    if contender.store != "redis":
        yield ""
        return
    server, address = servers.redis(folder)
    with server:
        yield address if contender.feast else f"redis://{address}/0"


def _body(shape: Shape, keys: list[int]) -> dict[str, Any]:
    features = [f"{table}:{feature}" for table in shape.table_names for feature in shape.feature_names]
    return {"features": features, "entities": {ENTITY: keys}}


def _ask(address: str, body: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{address}/get-online-features", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _load(address: str, bodies: Path, connections: int, seconds: int) -> dict[str, Any]:
    """What wrk saw: a short warm-up is thrown away."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    for duration in (1, seconds):
        arguments = ["-t", "1", "-c", str(connections), "-d", f"{duration}s", "--timeout", "30s"]
        ended = subprocess.run(
            [program, *arguments, "-s", str(_SCRIPT), f"{address}/get-online-features"],
            env={**os.environ, "BODIES": str(bodies)},
            capture_output=True,
            text=True,
            timeout=duration + 60,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"wrk: {ended.stderr.strip()[-200:]}")
        time.sleep(0.2)
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    found["rate"] = found["requests"] / found["seconds"]
    return found


def _by_name(answer: dict[str, Any]) -> dict[str, Any]:
    """Feast does not always give features in the order of the request."""
    names = answer["metadata"]["feature_names"]
    return {name: (found["values"], found["statuses"]) for name, found in zip(names, answer["results"], strict=True)}


def _compare(bench: Bench, title: str, answers: dict[str, Any]) -> None:
    """Whether all servers gave the same values with the same statuses for the same request."""
    shown = {name: _by_name(found) for name, found in answers.items()}
    first = next(iter(shown), "")
    other = next((name for name, found in shown.items() if found != shown[first]), "")
    difference = f"{other} answers otherwise than {first}" if other else ""
    bench.record("agreement", title, "all servers", Outcome(seconds=0.0, peak_mb=0.0, facts={"difference": difference}))
