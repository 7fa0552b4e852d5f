"""Plans: sets of features that requests ask for, resolved once and kept while the definitions are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.schema import Selection
from tiffin.errors import InvalidReference, NotFound, Unavailable
from tiffin.online.base import AsyncReadable, OnlineStore
from tiffin.online.read import ReadPlan
from tiffin.reader import resolve
from tiffin.registry.access import Principal, Role
from tiffin.registry.resolve import references
from tiffin.registry.snapshot import Snapshot
from tiffin.serving.access.gate import Gate, OpenGate
from tiffin.serving.access.rules import require_all
from tiffin.serving.metrics.online import ServingMetrics
from tiffin.serving.metrics.plan import PlanCounts
from tiffin.serving.online.definitions import Definitions
from tiffin.serving.online.limits import Limits
from tiffin.serving.online.single import Single, single
from tiffin.serving.online.wire import FeastWire, Wire, decoded
from tiffin.types import ValueType

#: Plans that are kept, and the bytes that a list of features may have to be one of their names.
KEPT: Final = 512
KEPT_BYTES: Final = 64 << 10

Asked = tuple[str, bytes, str]
"""What a request names: a project, and a list of features as the JSON it came in, else a service."""

_features = msgspec.json.Decoder(list[str])


class NameCollision(InvalidReference):
    """Two features would have the same short name in Feast's shape."""


class FeastShape(NamedTuple):
    """How answers are made in Feast's shape: in general, and for one row where there is a short way."""

    wire: FeastWire
    single: Single | None


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
        self._feast: dict[bool, FeastShape] = {}

    @property
    def wire(self) -> Wire:
        """Answers in Tiffin's shape."""
        if self._wire is None:
            self._wire = Wire(self.names, self.read.dtypes, self.read.entity_types)
        return self._wire

    def feast(self, *, full_names: bool) -> FeastShape:
        """Answers in Feast's shape, with ``table__feature`` for ``full_names``, else the feature's name alone."""
        shape = self._feast.get(full_names)
        if shape is None:
            names = [_feast_name(name, full=full_names) for name in self.names]
            _check_distinct(names, self.names)
            wire = FeastWire(names, self.read.dtypes, self.read.entity_types)
            shape = self._feast[full_names] = FeastShape(wire, single(self.read, names))
        return shape


class Plans:
    """The plans of one worker, used from its event loop."""

    def __init__(
        self,
        definitions: Definitions,
        places: Mapping[str, Any],
        gate: Gate,
        metrics: ServingMetrics,
        limits: Limits,
    ) -> None:
        self._definitions = definitions
        self._gate = gate
        self._asks = not isinstance(gate, OpenGate)
        self._places = places
        self._metrics = metrics
        self._limits = limits
        self._snapshot: Snapshot | None = None
        self._store: OnlineStore | None = None
        self._plans: dict[Asked, ServedPlan] = {}
        self._before: dict[Asked, ServedPlan] = {}

    def find(self, asked: Asked, principal: Principal) -> ServedPlan:
        """The plan of a request under the definitions as they are now.

        PermissionDenied unless the caller may read every project that is read, before anything of it is told.
        Unavailable while there are no definitions or no store.
        """
        held = self._definitions
        if held.snapshot is not self._snapshot or held.store is not self._store:
            self._renew()
        plan = self._plans.get(asked)
        if plan is None:
            return self._made(asked, principal)
        if self._asks:
            for project in plan.projects:
                self._gate.require(principal, project, Role.READER, action="read")
        return plan

    def _renew(self) -> None:
        """Go on with other definitions, or another store."""
        snapshot, store = self._definitions.snapshot, self._definitions.store
        # A change elsewhere leaves a plan as it is, with the layouts that it has learnt.
        self._before = self._plans if store is self._store else {}
        self._plans, self._snapshot, self._store = {}, snapshot, store

    def _made(self, asked: Asked, principal: Principal) -> ServedPlan:
        snapshot, store = self._snapshot, self._store
        project, features, _ = asked
        self._gate.require(principal, project, Role.READER, action="read")
        if snapshot is None:
            raise Unavailable("The service has no definitions yet.", hint="Try again in a moment.")
        if store is None:
            raise Unavailable("The online store cannot be opened.", hint="Try again in a moment.")
        refs = self._refs(snapshot, asked)
        found = references(snapshot, refs, project)
        self._limits.check_features(len(found))
        # The request's own project is one of them even where its service reads others alone.
        projects = {project} | {ref.project or project for ref in found}
        require_all(self._gate, principal, projects, Role.READER, action="read")
        selections, names = resolve(snapshot, refs, project, self._places)
        plan = self._before.pop(asked, None)
        if plan is None or plan.selections != selections or plan.names != names:
            plan = ServedPlan(store, selections, names, tuple(sorted(projects)), self._metrics.plan(project, names))
        if len(self._plans) >= KEPT:
            self._plans.clear()
        if len(features) <= KEPT_BYTES:
            self._plans[asked] = plan
        return plan

    def _refs(self, snapshot: Snapshot, asked: Asked) -> FeatureService | list[str]:
        project, features, service = asked
        if service:
            try:
                return snapshot.peek(FeatureService, service, project)
            except NotFound as error:
                field = "feature_service" if error.field == "name" else error.field
                raise NotFound(error.message, field=field, hint=error.hint) from None
        if not features:
            raise InvalidReference(
                "The request names neither features nor a feature service.",
                field="features",
                hint='Write "features": ["table:feature"], or "feature_service": "name".',
            )
        return decoded(_features, features)


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
