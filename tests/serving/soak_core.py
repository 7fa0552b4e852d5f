"""A registry service that is killed all the time, under writers; and requests of all kinds, right and wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

from schemathesis import GenerationMode

from tests.registry.places import SqlitePlace
from tests.servers.service import core_service
from tests.serving.test_core_fuzz import ask_all
from tests.serving.test_core_processes import run as write_through_kills


def run(size: int, seed: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = SqlitePlace(folder / "registry.db")
        kills = max(3, size // 5)
        done = write_through_kills(core_service(folder / "core", place.url), place, kills=kills, seed=seed)
        service = core_service(folder / "asked", f"sqlite:///{folder / 'asked.db'}")
        service.start()
        try:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                ask_all(service, mode, size, seed=seed)
            assert "Traceback" not in service.log
        finally:
            service.kill()
    return f"{done} applies acknowledged through {kills} kills are in history, once each; no request found a fault"
