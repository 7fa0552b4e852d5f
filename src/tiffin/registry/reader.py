"""RegistryReader: the reading half of a registry: a cached snapshot, and what it answers.

Where the definitions come from is a :class:`RegistrySource`: a store in this process, or a registry service.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

from tiffin.definitions.definition import Definition
from tiffin.errors import NotFound, Unavailable
from tiffin.refs import DEFAULT_PROJECT
from tiffin.registry import rules
from tiffin.registry import search as searching
from tiffin.registry.base import Contents, Key, Revision
from tiffin.registry.diff import Difference, differences
from tiffin.registry.search import FeatureInfo
from tiffin.registry.snapshot import Snapshot

D = TypeVar("D", bound=Definition)

#: How long a snapshot is used before its version is compared with the source's, in seconds.
RECHECK_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class RegistrySource(Protocol):
    """What a reader asks: the reading half of :class:`~tiffin.registry.base.RegistryStore`."""

    def version(self) -> int:
        """The number of commits so far."""
        ...

    def load(self, since: int = -1) -> Contents:
        """One consistent state: every project, and every record that changed after version ``since``."""
        ...

    def history(self, key: Key) -> list[Revision]:
        """All revisions of an object, oldest first; none for an unknown one."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class RegistryReader:
    """The definitions of all projects, to be read. Safe to use from several threads.

    ``project`` is always optional and means ``default``. ``fallback`` is what a file held of an earlier process: it
    is used while the source was never reached, and forgotten once it was.
    """

    def __init__(
        self, source: RegistrySource, *, recheck: float = RECHECK_SECONDS, fallback: Contents | None = None
    ) -> None:
        self._source = source
        self._recheck = recheck
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._fallback = None if fallback is None else Snapshot(fallback)
        self._checked = float("-inf")
        self._confirmed = float("-inf")
        # Seconds by which the source itself was behind when it last answered: a service may answer from what it holds.
        self._behind = 0.0
        # The last change that was made here, and the last that the snapshot is known to hold.
        self._changed = self._seen = object()

    def snapshot(self, *, fresh: bool = False) -> Snapshot:
        """The present state, at most a second old; ``fresh`` asks the source in any case.

        While the source is away the last snapshot is used, unless ``fresh``. While one thread asks, others go on with
        what is there: a source that answers slowly holds up one caller and not all.
        """
        held = self.held
        if held is not None and not fresh and self._seen is self._changed:
            if time.monotonic() - self._checked < self._recheck or not self._lock.acquire(blocking=False):
                return held
        else:
            self._lock.acquire()
        try:
            return self._look(fresh=fresh)
        finally:
            self._lock.release()

    @property
    def held(self) -> Snapshot | None:
        """The last snapshot, without asking whether there is a newer one; None before the first."""
        return self._snapshot or self._fallback

    @property
    def age(self) -> float:
        """Seconds since the database last confirmed that the snapshot is current; infinite where it never did."""
        return time.monotonic() - self._confirmed

    def get(self, kind: type[D], name: str, project: str | None = None, *, revision: int | None = None) -> D:
        """An object as it is, or as an earlier revision left it; NotFound names the closest."""
        if revision is None:
            return self.snapshot().get(kind, name, project or DEFAULT_PROJECT)
        definition = self._revision(name, revision, project, kind.__name__).definition()
        assert isinstance(definition, kind)  # it was stored under this kind
        return definition

    def objects(self, kind: type[D], project: str | None = None, *, labels: Mapping[str, str] | None = None) -> list[D]:
        """The objects of a kind, by name, that carry all of ``labels``."""
        return self.snapshot().objects(kind, project or DEFAULT_PROJECT, labels)

    def history(
        self, name: str, project: str | None = None, *, kind: type[Definition] | str | None = None
    ) -> list[Revision]:
        """Every revision of an object, oldest first, deleted or not."""
        place = project or DEFAULT_PROJECT
        return self._source.history(Key(place, rules.pick_kind(self.snapshot(fresh=True), name, place, kind), name))

    def diff(
        self, name: str, a: int, b: int, project: str | None = None, *, kind: type[Definition] | str | None = None
    ) -> tuple[Difference, ...]:
        """What changed from revision ``a`` to revision ``b``."""
        before = self._revision(name, a, project, kind).definition()
        return differences(before, self._revision(name, b, project, kind).definition())

    def search(self, text: str, project: str | None = None) -> list[FeatureInfo]:
        """The features that all words of a text describe, the best first, of one project or of all active ones."""
        return searching.search(self.snapshot(), text, project)

    def projects(self) -> list[str]:
        """The names of the active projects."""
        return self.snapshot(fresh=True).active_projects()

    def close(self) -> None:
        """Release the source."""
        self._source.close()

    def _look(self, *, fresh: bool) -> Snapshot:
        """Ask the source, under the lock."""
        held, changed = self.held, self._changed
        now = time.monotonic()
        if held is not None and not fresh and self._seen is changed and now - self._checked < self._recheck:
            return held  # another thread asked while this one waited
        try:
            found = self._snapshot = self._refreshed(self._snapshot)
            self._confirmed = now - self._behind
        except Unavailable:
            if fresh or held is None:
                raise
            _log.warning("the registry is away: going on with version %d", held.version)
            found = held
        self._checked, self._seen = now, changed
        return found

    def _refreshed(self, current: Snapshot | None) -> Snapshot:
        """The present state: ``current`` itself where nothing changed since."""
        if current is None:
            return Snapshot(self._source.load())
        if self._source.version() == current.version:
            return current
        return Snapshot(self._source.load(current.version), current)

    def _changed_here(self) -> None:
        """Look again at the next call, also while another thread looks: own changes are seen at once."""
        self._changed = object()

    def _revision(self, name: str, revision: int, project: str | None, kind: type[Definition] | str | None) -> Revision:
        history = self.history(name, project, kind=kind)
        for each in history:
            if each.revision == revision:
                return each
        raise NotFound(
            f"{name!r} has no revision {revision!r}.", field="revision", hint=f"Its revisions are 1 to {len(history)}."
        )
