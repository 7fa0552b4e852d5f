"""Definitions: what the online service knows: the registry's last snapshot and the store, kept fresh by threads.

Requests only look at what is held, so that none waits for the registry. A snapshot that is new is also written to a
file, from which a service that starts while the registry is away takes it (semantics, section 9).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tiffin import clock
from tiffin.errors import CorruptData, StorageError, TiffinError, Unavailable
from tiffin.online.base import OnlineStore
from tiffin.registry import snapshot_file
from tiffin.registry.base import Contents
from tiffin.registry.snapshot import Snapshot
from tiffin.workspace import Workspace

#: Seconds between two looks at the registry, and at the store.
REGISTRY_EVERY: Final = 0.5
STORE_EVERY: Final = 1.0
#: Seconds without a word of the registry after which writes are refused.
STALE: Final = 10.0
#: Seconds that a start waits for the registry, where a file has a snapshot already.
PATIENCE: Final = 2.0

_log = logging.getLogger(__name__)


class Definitions:
    """The definitions and the store of one worker; :meth:`start` blocks, everything else does not."""

    def __init__(self, workspace: Workspace, path: Path) -> None:
        self._workspace = workspace
        self._path = path
        self._registry = _Follower("registry", self._look_at_registry, REGISTRY_EVERY)
        self._opener = _Follower("store", self._look_at_store, STORE_EVERY)
        #: The last snapshot, None before the first.
        self.snapshot: Snapshot | None = None
        #: The online store as it is now, None while it cannot be opened.
        self.store: OnlineStore | None = None
        #: When the registry's database last confirmed the snapshot, in UTC microseconds; 0 for never.
        self.confirmed = 0

    def start(self) -> None:
        """Look at both for the first time, and follow them from then on.

        What is wrong with the options is raised; a registry or store that is away is waited for in the background.
        """
        held = self._saved()
        if held is not None:
            self.snapshot = held
        self._registry.start()
        self._opener.start()
        for follower in (self._registry, self._opener):
            follower.wait(PATIENCE if held is not None else None)

    def close(self) -> None:
        """Stop following."""
        self._registry.close()
        self._opener.close()

    @property
    def age(self) -> float | None:
        """Seconds since the registry last said that the snapshot is current; None where it never did."""
        return (clock.now() - self.confirmed) / 1_000_000 if self.confirmed else None

    def require_fresh(self) -> None:
        """Raise Unavailable where the registry has been away for a while: then reads go on, and writes do not."""
        age = self.age
        if age is None or age > STALE:
            raise Unavailable("The registry is away, without which nothing is written.", hint="Try again in a moment.")

    def _look_at_registry(self) -> None:
        found = self._workspace.registry.snapshot(fresh=True)
        age = self._workspace.registry.age
        # A registry service that holds a state, but has not reached its database, confirms nothing.
        self.confirmed = self.confirmed if math.isinf(age) else clock.now() - round(age * 1_000_000)
        if self.snapshot is not None and found.version == self.snapshot.version and found is self.snapshot:
            return
        self.snapshot = found
        self._save(found)

    def _look_at_store(self) -> None:
        found = self._workspace.store  # the same as long as it was not replaced
        if found is not self.store:
            self.store = found

    def _saved(self) -> Snapshot | None:
        try:
            contents = snapshot_file.load(self._path)
        except (CorruptData, StorageError) as error:
            _log.warning("the snapshot on disk is not used: %s", error)
            return None
        return None if contents is None else Snapshot(contents)

    def _save(self, snapshot: Snapshot) -> None:
        contents = Contents(snapshot.version, tuple(snapshot.projects.values()), tuple(snapshot.records()))
        try:
            snapshot_file.save(self._path, contents)
        except StorageError as error:
            _log.warning("a restart while the registry is away would find no definitions: %s", error)


class _Follower:
    """Calls ``look`` again and again in a thread of its own; what it raises is logged, not more than once a while."""

    def __init__(self, what: str, look: Callable[[], None], every: float) -> None:
        self._what = what
        self._look = look
        self._every = every
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._failure: TiffinError | None = None
        self._thread = threading.Thread(target=self._run, name=f"tiffin-{what}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, patience: float | None) -> None:
        """Until the first look has ended; what it raised is raised here, unless it may pass by itself."""
        self._looked.wait(patience)
        if self._failure is not None and not isinstance(self._failure, Unavailable | StorageError):
            raise self._failure

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._every)

    def _run(self) -> None:
        away = False
        while True:
            try:
                self._look()
            except TiffinError as error:
                self._failure = error
                if not away:
                    _log.warning("the %s is away, going on with what is held: %s", self._what, error)
                away = True
            else:
                self._failure = None
                if away:
                    _log.warning("the %s is back", self._what)
                away = False
            self._looked.set()
            if self._stop.wait(self._every):
                return
