"""Core: what all routes of the registry service share: definitions, jobs, the gate.

A thread asks the database once a second. What it answered lies in a file of the home, so that a service which starts
while the database is away can answer reads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Final

from tiffin import clock
from tiffin.config import Config
from tiffin.errors import CorruptData, StorageError, TiffinError, Unavailable
from tiffin.jobs.store import JobStore
from tiffin.registry import snapshot_file
from tiffin.registry.access import Principal
from tiffin.registry.registry import Registry
from tiffin.registry.snapshot import Snapshot
from tiffin.registry.sql import SqlRegistry
from tiffin.serving.access.gate import OpenGate, open_gate
from tiffin.serving.metrics import CoreFacts, CoreMetrics
from tiffin.workspace import Workspace

#: Seconds between two looks at the database.
WATCH_EVERY: Final = 1.0
#: Seconds after which a look that has not come back counts as failed.
LOOK_LIMIT: Final = 5.0
#: The file of the last state, in the home.
SNAPSHOT_NAME: Final = "core.snapshot"

_AWAY: Final = (Unavailable, StorageError)

_log = logging.getLogger(__name__)


class Core:
    """One process of the registry service. ``start`` it before its first use."""

    def __init__(self, config: Config) -> None:
        config.set("core_url", None)  # it is the service, and asks the database itself
        self.config = config
        self.workspace = Workspace(config)
        self.gate = open_gate(config, self.workspace)
        self.metrics = CoreMetrics()
        self.workspace.measure(self.metrics.ingestion)
        self.metrics.watch(self._facts)
        self.metrics.follow(self.gate.counts)
        self._file = self.workspace.home / SNAPSHOT_NAME
        self._fallback: Snapshot | None = None
        self._registry: Registry | None = None
        self._saved = -1
        self._failed = False
        self._looking: float | None = None
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._broken: TiffinError | None = None
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow the database, and to admit callers.

        A database that is away, or slow to answer, does not keep the service from starting; one that it can never use
        does: InvalidConfig, MissingDependency, FailedPrecondition.
        """
        try:
            contents = snapshot_file.load(self._file)
        except (CorruptData, StorageError) as error:
            _log.warning("the last state is not used: %s", error)
        else:
            self._fallback = None if contents is None else Snapshot(contents)
        self.gate.start()
        self.metrics.start()
        self._watcher = threading.Thread(target=self._watch, name="tiffin-core-watch", daemon=True)
        self._watcher.start()
        self._looked.wait(LOOK_LIMIT)
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """Stop, and release what is held."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(LOOK_LIMIT)
        self.gate.close()
        self.metrics.close()
        self.workspace.close()

    @property
    def registry(self) -> Registry:
        """The definitions, to be changed; Unavailable while the database is away and was never opened."""
        if self._registry is None:
            registry = self.workspace.registry
            assert isinstance(registry, Registry)  # core_url is not set
            self._registry = registry
        return self._registry

    @property
    def jobs(self) -> JobStore:
        """The jobs of the team, which run on other machines."""
        store = self.registry.store
        if isinstance(store, SqlRegistry):
            return JobStore(store.engine, look=False)
        jobs = self.workspace.jobs
        assert isinstance(jobs, JobStore)  # core_url is not set
        return jobs

    @property
    def is_away(self) -> bool:
        """Whether the database did not answer lately."""
        looking = self._looking
        return self._failed or (looking is not None and time.monotonic() - looking > LOOK_LIMIT)

    @property
    def held(self) -> Snapshot | None:
        """The last state that is known, without asking the database."""
        opened = None if self._registry is None else self._registry.held
        return opened or self._fallback

    @property
    def age(self) -> float:
        """Seconds since the database last confirmed that state; infinite where this process never reached it."""
        return float("inf") if self._registry is None else self._registry.age

    def snapshot(self) -> Snapshot:
        """The state as it is, or, while the database is away, as it was last; Unavailable where none is known."""
        held = self.held
        if held is not None and self.is_away:
            return held
        try:
            return self.registry.snapshot(fresh=True)
        except _AWAY:
            if held is None:
                raise
            return held

    def refresh(self) -> None:
        """Look at what was just changed: what was acknowledged is read from then on, though the database goes away."""
        with contextlib.suppress(*_AWAY):  # it is away already: nothing newer than what is held can be read
            self.registry.snapshot(fresh=True)

    def author(self, principal: Principal, claimed: str) -> str:
        """Who makes a change: the principal, and without access control whom the caller says it is."""
        if isinstance(self.gate, OpenGate):
            return claimed or principal.name
        return principal.name

    def _watch(self) -> None:
        while True:
            try:
                self._look()
            except TiffinError as error:
                self._broken, self._failed = error, True
                _log.error("the database cannot be used: %s", error)
            self._looked.set()
            if self._stop.wait(WATCH_EVERY):
                return

    def _look(self) -> None:
        """Ask the database, and save what is new."""
        self._looking = time.monotonic()
        try:
            snapshot = self.registry.snapshot(fresh=True)
        except _AWAY as error:
            if not self._failed:
                _log.warning("the database is away: %s", error)
            self._failed = True
            return
        finally:
            self._looking = None
        if self._failed:
            _log.info("the database is back at version %d", snapshot.version)
        self._failed = False
        if snapshot.version != self._saved:
            self._save(snapshot)

    def _save(self, snapshot: Snapshot) -> None:
        try:
            snapshot_file.save(self._file, snapshot.contents())
        except StorageError as error:
            _log.warning("the state was not saved: %s", error)
        else:
            self._saved = snapshot.version

    def _facts(self) -> CoreFacts:
        held = self.held
        if held is None:
            return CoreFacts(updated=0, version=0, tables=0, stores=0)
        age = self.age
        updated = 0 if age == float("inf") else clock.now() - round(age * 1_000_000)
        tables = sum(not record.deleted for record in held.records("FeatureTable"))
        return CoreFacts(updated=updated, version=held.version, tables=tables, stores=1)
