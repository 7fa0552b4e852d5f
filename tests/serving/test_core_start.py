"""The services are light: what they load, how soon the registry service answers, and what it holds when idle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers.process import free_port

#: What no service has use for.
HEAVY = {"polars", "pyarrow", "pandas", "numpy", "deltalake", "alembic", "pydantic", "opentelemetry.sdk", "fsspec"}
#: Seconds of a processor until it has answered.
SECONDS = 1.5
#: Bytes that an idle service may hold.
MEMORY = 120e6

SCRIPT = """
import sys
from tiffin.serving.process.runner import serve
serve("tiffin.serving.core.app:create_app", {"home": sys.argv[1]}, port=int(sys.argv[2]))
"""


def test_it_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from litestar.testing import TestClient
from tiffin.config import Config
from tiffin.serving.core.app import create_app
with TestClient(create_app(Config({"home": sys.argv[1]}))) as client:
    assert client.get("/ready").status_code == 200
    assert client.get("/api/v1/contents").status_code == 200
    assert client.get("/api/v1/jobs").status_code == 200
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert HEAVY.intersection(done.stdout.split()) == set()


def test_the_online_service_loads_nothing_for_a_read_that_it_does_not_use(tmp_path: Path) -> None:
    """Neither numpy, which takes a sixth of a second, nor what only the registry service stands on."""
    script = """
import asyncio, sys
import httpx
from tiffin import Entity, Feature, FeatureTable
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.serving.online.app import create_app

store = open_registry(f"sqlite:///{sys.argv[1]}/registry.db")
Registry(store).apply([Entity("driver_id"), FeatureTable("drivers", ["driver_id"], [Feature("trips", "INT32")])])
store.close()

async def main():
    app = create_app({"home": sys.argv[1]})
    await asyncio.to_thread(app._open)
    body = {"features": ["drivers:trips"], "entities": {"driver_id": ["a", 1.0, None]}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/v1/features/online", json=body)
        assert answer.status_code == 422, answer.text
        body["entities"]["driver_id"][1] = "1"
        answer = await client.post("/v1/features/online", json=body)
        assert answer.json()["features"][0]["statuses"] == ["NOT_FOUND"] * 3, answer.text
    await asyncio.to_thread(app._close)

asyncio.run(main())
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (HEAVY | {"litestar"}).intersection(done.stdout.split()) == set()


@pytest.mark.serial
def test_it_answers_within_a_second_of_its_own_time_and_is_small_when_idle(tmp_path: Path) -> None:
    """The time is that of the processor, so that whatever else the machine does has no say."""
    port = free_port()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    for attempt in range(2):  # the first compiles what was never loaded before
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "home"), str(port)]
        process = psutil.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=environment)
        try:
            assert re.search(rb"http://\S+", process.stdout.readline())
            assert httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False, verify=False).status_code == 200
            taken = process.cpu_times()
            time.sleep(1.5)  # until it has looked at its database again, and saved what it holds
            held = process.memory_info().rss
        finally:
            process.terminate()
            process.communicate(timeout=30)
        if attempt:
            assert taken.user + taken.system < SECONDS
            assert held < MEMORY
