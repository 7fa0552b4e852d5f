"""Plans: sets of features that requests ask for, resolved once and kept while the definitions are the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import msgspec

from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.schema import Selection
from tiffin.errors import InvalidReference, Unavailable
from tiffin.online.base import AsyncReadable, OnlineStore
from tiffin.online.read import ReadPlan
from tiffin.reader import resolve
from tiffin.registry.resolve import references
from tiffin.registry.snapshot import Snapshot
from tiffin.serving.definitions import Definitions
from tiffin.serving.limits import Limits
from tiffin.serving.metrics.online import ServingMetrics
from tiffin.serving.metrics.plan import PlanCounts
from tiffin.serving.wire import FeastWire, Wire
from tiffin.types import ValueType

#: Plans that are kept, and the bytes that a list of features may have to be one of their names.
KEPT: Final = 512
KEPT_BYTES: Final = 64 << 10

Permit = Callable[[str], None]
"""Raises unless the caller may read a project."""

_features = msgspec.json.Decoder(list[str])


class Asked(msgspec.Struct, frozen=True):
    """What a request names: a list of features as the JSON it came in, else a service."""

    project: str
    features: bytes
    service: str


class NameCollision(InvalidReference):
    """Two features would have the same short name in Feast's shape."""


class ServedPlan:
    """A read plan with what the service needs beside it: whom it concerns, how it is shown, what is counted."""

    def __init__(
        self,
        store: OnlineStore,
        selections: tuple[Selection, ...],
        names: tuple[str, ...],
        projects: tuple[str, ...],
        counts: PlanCounts,
    ) -> None:
        self.store = store
        #: The store, where it lies beyond a network. (Asked once: to look at a protocol takes longer than a read.)
        self.remote = store if isinstance(store, AsyncReadable) else None
        self.selections = selections
        self.names = names
        #: The projects whose tables are read.
        self.projects = projects
        self.counts = counts
        self.read = ReadPlan(store, selections, names)
        types = self.read.entity_types
        #: Entities whose keys JSON holds as base64.
        self.byte_keys = tuple(name for name, dtype in types.items() if dtype is ValueType.BYTES)
        self._wire: Wire | None = None
        self._feast: dict[bool, FeastWire] = {}

    @property
    def wire(self) -> Wire:
        """Answers in Tiffin's shape."""
        if self._wire is None:
            self._wire = Wire(self.names, self.read.dtypes, self.read.entity_types)
        return self._wire

    def feast(self, *, full_names: bool) -> FeastWire:
        """Answers in Feast's shape, with ``table__feature`` for ``full_names``, else the feature's name alone."""
        wire = self._feast.get(full_names)
        if wire is None:
            names = [_feast_name(name, full=full_names) for name in self.names]
            _check_distinct(names, self.names)
            wire = self._feast[full_names] = FeastWire(names, self.read.dtypes, self.read.entity_types)
        return wire


class Plans:
    """The plans of one worker, used from its event loop."""

    def __init__(
        self, definitions: Definitions, places: Mapping[str, Any], metrics: ServingMetrics, limits: Limits
    ) -> None:
        self._definitions = definitions
        self._places = places
        self._metrics = metrics
        self._limits = limits
        self._snapshot: Snapshot | None = None
        self._plans: dict[Hashable, ServedPlan] = {}
        self._before: dict[Hashable, ServedPlan] = {}

    def find(self, asked: Asked, permit: Permit) -> ServedPlan:
        """The plan of a request under the definitions as they are now.

        ``permit`` is asked for every project that is read, before anything of it is told. Unavailable while there are
        no definitions or no store.
        """
        snapshot, store = self._held()
        key = (asked.project, asked.features, asked.service)
        plan = self._plans.get(key)
        if plan is None or plan.store is not store:
            plan = self._made(key, snapshot, store, asked, permit)
        for project in plan.projects:
            permit(project)
        return plan

    def _held(self) -> tuple[Snapshot, OnlineStore]:
        snapshot, store = self._definitions.snapshot, self._definitions.store
        if snapshot is None:
            raise Unavailable(
                "The service has no definitions yet: the registry does not answer.", hint="Try again in a moment."
            )
        if store is None:
            raise Unavailable("The online store does not answer.", hint="Try again in a moment.")
        if snapshot is not self._snapshot:
            # A change elsewhere leaves a plan as it is, with the layouts that it has learnt.
            self._before, self._plans, self._snapshot = self._plans, {}, snapshot
        return snapshot, store

    def _made(self, key: Hashable, snapshot: Snapshot, store: OnlineStore, asked: Asked, permit: Permit) -> ServedPlan:
        permit(asked.project)
        refs = self._refs(snapshot, asked)
        found = references(snapshot, refs, asked.project)
        self._limits.check_features(len(found))
        projects = tuple(sorted({ref.project or asked.project for ref in found}))
        for project in projects:
            permit(project)
        selections, names = resolve(snapshot, refs, asked.project, self._places)
        plan = self._before.pop(key, None)
        if plan is None or plan.store is not store or plan.selections != selections or plan.names != names:
            plan = ServedPlan(store, selections, names, projects, self._metrics.plan(asked.project, names))
        if len(self._plans) >= KEPT:
            self._plans.clear()
        if len(asked.features) <= KEPT_BYTES:
            self._plans[key] = plan
        return plan

    def _refs(self, snapshot: Snapshot, asked: Asked) -> FeatureService | list[str]:
        if asked.service:
            return snapshot.peek(FeatureService, asked.service, asked.project)
        if not asked.features:
            raise InvalidReference(
                "The request names neither features nor a feature service.",
                field="features",
                hint='Write "features": ["table:feature"], or "feature_service": "name".',
            )
        return _features.decode(asked.features)


def _feast_name(name: str, *, full: bool) -> str:
    table, _, feature = name.rpartition("/")[2].partition(":")
    return f"{table}__{feature}" if full else feature


def _check_distinct(shown: list[str], names: tuple[str, ...]) -> None:
    first: dict[str, str] = {}
    for short, name in zip(shown, names, strict=True):
        if first.setdefault(short, name) != name:
            raise NameCollision(
                f"{first[short]!r} and {name!r} would both be named {short!r}.",
                field="full_feature_names",
                hint="Set full_feature_names to true.",
            )
