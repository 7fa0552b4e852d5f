"""A database of jobs, its launcher, and work that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.registry.places import PostgresPlace
from tiffin.control import Control
from tiffin.jobs.base import IngestionJob
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database

Body = Callable[[Control], Outcome]


class Told:
    """Work that is a function."""

    def __init__(self, body: Body) -> None:
        self.run = body


class Held(Told):
    """Work that goes on until it is released, looking out for cancellation."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.begun = threading.Event()
        self.release = threading.Event()

    def _hold(self, control: Control) -> Outcome:
        self.begun.set()
        while not self.release.wait(0.005):
            control.check()
        return Outcome(written=1)


def record(job_id: str = "j", *tables: str) -> JobRecord:
    return JobRecord(
        id=job_id,
        type=JobType.BATCH_INGESTION,
        project="default",
        tables=tables or ("t",),
        status=JobStatus.STARTING,
        start=0,
    )


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path}/registry.db")
    else:
        engine = open_database(PostgresPlace(request.getfixturevalue("postgres")).url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: sa.Engine) -> JobStore:
    return JobStore(database)


@pytest.fixture
def launcher(store: JobStore) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(store)
    yield launcher
    launcher.close()


@pytest.fixture
def start(store: JobStore, launcher: LocalLauncher) -> Callable[..., IngestionJob]:
    """Start work given as a function or a Told; answers the handle."""

    def start(work: Body | Told, job_id: str = "j", *tables: str) -> IngestionJob:
        task = launcher.submit(record(job_id, *tables), work if isinstance(work, Told) else Told(work))
        return IngestionJob(task.record, store, task)

    return start
