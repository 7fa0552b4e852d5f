"""Workspace: what one embedded client stands on, each part opened when it is first needed.

The folder ``home`` holds::

    registry.db     definitions and jobs (SQLite)
    online/         the online store (LMDB)
    offline/        PROJECT/TABLE, the histories of tables without a batch source
    dead_letters/   rows that were set aside as invalid
    historical/     training sets whose URI was asked for
    staging/        files that only travel
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tiffin import plugins
from tiffin.config import Config
from tiffin.definitions.schema import TableSchema
from tiffin.errors import Unsupported
from tiffin.options import names_server, option_named

if TYPE_CHECKING:
    from tiffin.ingest.materialize import Route
    from tiffin.jobs.local import LocalLauncher
    from tiffin.jobs.store import JobStore
    from tiffin.offline.base import OfflineEngine
    from tiffin.online.base import OnlineStore
    from tiffin.registry.registry import Registry
    from tiffin.registry.snapshot import Snapshot

#: Options that name servers which this version does not speak to.
_SERVERS: Final = ("core_url", "serving_url", "job_service_url", "redis_host", "spark_launcher")
_SECOND: Final = 1_000_000


class Workspace:
    """The parts of one client. Safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.home = config.home
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}
        self._retired: list[OnlineStore] = []

    @property
    def registry(self) -> Registry:
        """The definitions."""
        part: Registry = self._part("registry", self._open_registry)
        return part

    @property
    def jobs(self) -> JobStore:
        """The record of jobs."""
        part: JobStore = self._part("jobs", self._open_jobs)
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
        """The online store; opened anew where it was deleted or replaced meanwhile."""
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
    def route(self) -> Route:
        """The way from the offline engine to the online store."""
        from tiffin.ingest.materialize import Limits, Route

        grace = round(self.config.getfloat("online_expiry_grace") * _SECOND)
        return Route(self.engine, self.store, Limits(grace, self.memory_budget))

    @property
    def memory_budget(self) -> int | None:
        """Bytes that one join or materialisation may hold, None for no bound."""
        return self.config.getsize("memory_budget")

    @property
    def places(self) -> dict[str, Any]:
        """Where managed tables are, and from where relative paths of sources are meant."""
        return {"managed_root": self.home / "offline", "root": self.config.root}

    def snapshot(self) -> Snapshot:
        """The definitions as they are, at most a second old."""
        return self.registry.snapshot()

    def table(self, name: str, project: str) -> TableSchema:
        """One table as plain data."""
        return self.snapshot().schema(name, project, **self.places)

    def folder(self, option: str, name: str) -> str:
        """The place that an option names, else a folder of that name in ``home``."""
        return self.config.get(option).rstrip("/") or str(self.home / name)

    def close(self) -> None:
        """Stop jobs and release everything; a later use opens it again."""
        with self._lock:
            parts, self._parts = self._parts, {}
            retired, self._retired = self._retired, []
        for name in ("launcher", "store", "engine", "jobs_database", "registry"):
            part = parts.get(name)
            if part is not None:
                part.dispose() if name == "jobs_database" else part.close()
        for store in retired:
            store.close()

    def _open_store(self) -> OnlineStore:
        uri = self.config.get("online_store") or f"lmdb://{quote(str(self.home / 'online'))}"
        store: OnlineStore = plugins.resolve("online", uri)(uri)
        return store

    def _open_registry(self) -> Registry:
        from tiffin.registry.registry import Registry

        url = self.config.get("registry") or self._own_database
        return Registry(plugins.resolve("registry", url)(url))

    def _open_jobs(self) -> JobStore:
        """The record of jobs in the registry's database, or in the home's own where the registry has none."""
        from tiffin.jobs.store import JobStore
        from tiffin.registry.database import open_database
        from tiffin.registry.sql import SqlRegistry

        store = self.registry.store
        if isinstance(store, SqlRegistry):
            return JobStore(store.engine)
        return JobStore(self._part("jobs_database", lambda: open_database(self._own_database)))

    def _open_launcher(self) -> LocalLauncher:
        from tiffin.jobs.local import LocalLauncher

        return LocalLauncher(self.jobs)

    @property
    def _own_database(self) -> str:
        return f"sqlite:///{quote(str(self.home / 'registry.db'))}"

    def _part(self, name: str, opened: Callable[[], Any]) -> Any:
        part = self._parts.get(name)
        if part is None:
            with self._lock:
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = opened()
        return part


def check_servers(config: Config) -> None:
    """Raise Unsupported where an option names a server that this version does not speak to."""
    if config.getboolean("embedded"):
        return
    for name in _SERVERS:
        if names_server(option_named(name), config.get(name)):
            raise Unsupported(
                f"Option {name!r} ({config.origin(name)}) names a server; this version has the embedded store only, "
                f"which keeps registry, offline and online stores under one folder.",
                field=name,
                hint="Leave it out, or set embedded=true (TIFFIN_EMBEDDED=true) to run the program on this machine.",
            )
