"""Workspace: what one client or service stands on, each part opened when it is first needed.

Which parts are services is told by :mod:`tiffin.deployment`. Of the others the folder ``home`` holds::

    registry.db     definitions and jobs (SQLite)
    online/         the online store (LMDB)
    offline/        PROJECT/TABLE, the histories of tables without a batch source
    dead_letters/   rows that were set aside as invalid
    historical/     training sets whose URI was asked for
    staging/        files that only travel
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from tiffin import deployment, plugins
from tiffin.config import Config
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import TableSchema
from tiffin.definitions.source import FileSource
from tiffin.deployment import check_servers
from tiffin.registry.resolve import absolute

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tiffin.ingest.materialize import Route
    from tiffin.ingest.metrics import IngestionMetrics
    from tiffin.ingest.statsd import Reporter
    from tiffin.ingest.upkeep import Surroundings, Upkeep
    from tiffin.jobs.local import LocalLauncher
    from tiffin.jobs.remote import RemoteJobStore
    from tiffin.jobs.store import JobStore
    from tiffin.offline.base import OfflineEngine
    from tiffin.online.base import OnlineStore
    from tiffin.registry.erasures import Erased
    from tiffin.registry.registry import Registry
    from tiffin.registry.remote import RemoteRegistry
    from tiffin.registry.snapshot import Snapshot
    from tiffin.remote.http import Connection

_SECOND: Final = 1_000_000


class Workspace:
    """The parts of one client. Safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.home = config.home
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}
        self._retired: list[OnlineStore] = []
        self._counters: list[IngestionMetrics] = []

    @property
    def core(self) -> Connection | None:
        """The registry service, None where definitions are in a database that this process opens."""
        from tiffin.remote.services import core_connection

        return self._part("core", lambda: core_connection(self.config)) if deployment.has_core(self.config) else None

    @property
    def serving(self) -> Connection | None:
        """The online service, None where this process reads the online store."""
        from tiffin.remote.services import online_connection

        has_it = deployment.has_serving(self.config)
        return self._part("serving", lambda: online_connection(self.config)) if has_it else None

    @property
    def registry(self) -> Registry | RemoteRegistry:
        """The definitions."""
        part: Registry | RemoteRegistry = self._part("registry", self._open_registry)
        return part

    @property
    def jobs(self) -> JobStore | RemoteJobStore:
        """The record of jobs."""
        part: JobStore | RemoteJobStore = self._part("jobs", self._open_jobs)
        return part

    @property
    def launcher(self) -> LocalLauncher:
        """What runs jobs."""
        part: LocalLauncher = self._part("launcher", self._open_launcher)
        return part

    @property
    def engine(self) -> OfflineEngine:
        """The engine of histories."""
        name = self.config.get("offline_store")
        part: OfflineEngine = self._part("engine", lambda: plugins.resolve("offline", name)(self.config))
        return part

    @property
    def store(self) -> OnlineStore:
        """The online store; opened anew where it was deleted or replaced meanwhile.

        Unsupported where services are named and the store that they read is not.
        """
        from tiffin.online.base import Replaceable

        part: OnlineStore = self._part("store", self._open_store)
        if isinstance(part, Replaceable) and part.is_replaced():
            with self._lock:
                if self._parts.get("store") is part:
                    # Others may be reading from it this moment, so it is closed with the rest.
                    self._retired.append(part)
                    self._parts["store"] = self._open_store()
            return self.store
        return part

    @property
    def has_store(self) -> bool:
        """Whether this process may write to the online store itself."""
        return deployment.online_uri(self.config) is not None

    @property
    def route(self) -> Route:
        """The way from the offline engine to the online store."""
        from tiffin.ingest.materialize import Limits, Route

        grace = round(self.config.getfloat("online_expiry_grace") * _SECOND)
        limits = Limits(grace, self.memory_budget)
        return Route(self.engine, self.store, limits, self.metrics, self.erased, self.upkeep.after)

    @property
    def upkeep(self) -> Upkeep:
        """What keeps the files of histories few behind the commits of this process."""
        part: Upkeep = self._part("upkeep", self._open_upkeep)
        return part

    @property
    def around(self) -> Surroundings:
        """What else goes on around a table that is kept in order."""
        from tiffin.ingest.upkeep import Surroundings
        from tiffin.jobs.lease import holding

        return Surroundings(
            alone=lambda name: holding(self.jobs.leases, name), pinned=self._pinned, reading_since=self._reading_since
        )

    @property
    def erased(self) -> Erased:
        """The keys that were erased, which no writer stores."""
        part: Erased = self._part("erased", self._open_erased)
        return part

    @property
    def metrics(self) -> IngestionMetrics:
        """What counts ingestion: StatsD where options name it, and whatever :meth:`measure` added."""
        part: IngestionMetrics = self._part("metrics", self._open_metrics)
        return part

    def measure(self, counter: IngestionMetrics) -> None:
        """Let something else count ingestion, too; whoever calls this closes it."""
        with self._lock:
            self._counters.append(counter)
            self._parts.pop("metrics", None)

    @property
    def memory_budget(self) -> int | None:
        """Bytes that one join or materialisation may hold, None for no bound."""
        return self.config.getsize("memory_budget")

    @property
    def places(self) -> dict[str, Any]:
        """Where managed tables are, and from where relative paths of sources are meant."""
        root = self.config.root
        return {"managed_root": absolute(deployment.managed_root(self.config), str(root)), "root": root}

    def snapshot(self) -> Snapshot:
        """The definitions as they are, at most a second old."""
        return self.registry.snapshot()

    def schema(self, name: str, project: str) -> TableSchema:
        """One table as plain data, wherever its history lies; for reads, since it may be a second old."""
        return self.snapshot().schema(name, project, **self.places)

    def table(self, name: str, project: str) -> TableSchema:
        """One table as plain data and as it is this moment, whose history may be written and read.

        Rows are checked by the newest definition: by an older one, values of a new feature would be left out. See
        :meth:`check_histories`.
        """
        table = self.registry.snapshot(fresh=True).schema(name, project, **self.places)
        self.check_histories([table])
        return table

    def check_histories(self, tables: Iterable[TableSchema]) -> None:
        """Raise FailedPrecondition for a table whose history each machine would keep for itself."""
        snapshot = self.snapshot()
        for table in tables:
            if snapshot.peek(FeatureTable, table.name, table.project).batch_source is None:
                deployment.check_history(self.config, table.label())

    def folder(self, option: str, name: str) -> str:
        """The place that an option names, else a folder of that name in ``home``."""
        return self.config.get(option).rstrip("/") or str(self.home / name)

    def close(self) -> None:
        """Stop jobs and release everything; a later use opens it again."""
        with self._lock:
            parts, self._parts = self._parts, {}
            retired, self._retired = self._retired, []
        for name in ("launcher", "upkeep", "statsd", "store", "engine", "jobs_database", "registry", "serving", "core"):
            part = parts.get(name)
            if part is not None:
                part.dispose() if name == "jobs_database" else part.close()
        for store in retired:
            store.close()

    def _open_store(self) -> OnlineStore:
        uri = deployment.online_uri(self.config)
        if uri is None:
            raise deployment.no_store(self.config)
        store: OnlineStore = plugins.resolve("online", uri)(uri)
        return store

    def _open_metrics(self) -> IngestionMetrics:
        from tiffin.ingest.metrics import UNMEASURED, Several
        from tiffin.ingest.statsd import StatsD

        places = list(self._counters)
        if self.config.getboolean("statsd_enabled"):
            places.append(StatsD(self._part("statsd", self._open_statsd)))
        return Several(places) if len(places) > 1 else places[0] if places else UNMEASURED

    def _open_statsd(self) -> Reporter:
        from tiffin.ingest.statsd import Reporter

        host, port = self.config.get("statsd_host") or "127.0.0.1", self.config.getint("statsd_port")
        return Reporter(host, port, interval=max(0.1, self.config.getfloat("statsd_interval")))

    def _open_registry(self) -> Registry | RemoteRegistry:
        if self.core is not None:
            from tiffin.registry.remote import RemoteRegistry

            return RemoteRegistry(self.core)
        from tiffin.registry.registry import Registry

        url = deployment.registry_url(self.config)
        opened = plugins.resolve("registry", url)
        if self.config.getboolean("registry_auto_migrate"):
            return Registry(opened(url))
        return Registry(opened(url, migrate=False))

    def _open_jobs(self) -> JobStore | RemoteJobStore:
        """The record of jobs beside the definitions, or in the home's own database where that place takes none."""
        if self.core is not None:
            from tiffin.jobs.remote import RemoteJobStore

            return RemoteJobStore(self.core)
        from tiffin.jobs.store import JobStore

        return JobStore(self._database)

    @property
    def _database(self) -> Engine:
        """The registry's database, or the home's own where the registry is in none."""
        from tiffin.registry.database import open_database
        from tiffin.registry.sql import SqlRegistry

        store = getattr(self.registry, "store", None)
        if isinstance(store, SqlRegistry):
            return store.engine
        own = deployment.home_database(self.config)
        part: Engine = self._part("jobs_database", lambda: open_database(own))
        return part

    def _open_erased(self) -> Erased:
        from tiffin.registry.erasures import Erased, ErasureStore
        from tiffin.registry.remote_erasures import RemoteErasures

        registry, database = self.registry, None if self.core is not None else self._database

        def held() -> int | None:
            seen = registry.held
            # A registry in no database has versions of its own.
            return None if seen is None or "jobs_database" in self._parts else seen.version

        if database is not None:
            return Erased(ErasureStore(database), held)
        assert self.core is not None
        return Erased(RemoteErasures(self.core), held)

    def _open_upkeep(self) -> Upkeep:
        from tiffin.ingest.upkeep import Policy, Upkeep

        days = self.config.get("vacuum_retention_days")
        retention = self.config.getfloat("vacuum_retention_days") * 86_400 if days else None
        return Upkeep(Policy(self.config.getint("compact_after"), retention), self.around)

    def _pinned(self, uri: str) -> frozenset[int]:
        """The versions of a location that registered sources are pinned to."""
        from tiffin.offline.location import normalise

        snapshot = self.snapshot()
        found = set()
        for record in snapshot.records("FeatureTable"):
            if record.deleted:
                continue
            source = snapshot.schema(record.key.name, record.key.project, **self.places).source
            if isinstance(source, FileSource) and isinstance(source.file_format, DeltaFormat):
                found |= {source.file_format.version} if normalise(source.file_url) == uri else set()
        return frozenset(version for version in found if version is not None)

    def _reading_since(self) -> int | None:
        """When the oldest job began that reads histories and still runs. Streams look anew at every batch."""
        from tiffin.jobs.record import JobType

        return min((job.start for job in self.jobs.find() if job.type is not JobType.STREAM_INGESTION), default=None)

    def _open_launcher(self) -> LocalLauncher:
        from tiffin.jobs.local import LocalLauncher

        return LocalLauncher(self.jobs)

    def _part(self, name: str, opened: Callable[[], Any]) -> Any:
        part = self._parts.get(name)
        if part is None:
            with self._lock:
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = opened()
        return part


__all__ = ["Workspace", "check_servers"]
