"""Online reads: the two routes that answer with features, from a request's bytes to an answer's.

A store in this process is read at once, in the event loop: that takes microseconds. A store beyond a network is
awaited, together with other requests.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tiffin.errors import InvalidArgument, Unavailable
from tiffin.online.base import AsyncReadable, TableId
from tiffin.online.read import OnlineColumns, PendingRead
from tiffin.registry.access import Principal
from tiffin.serving.metrics.online import ServingMetrics
from tiffin.serving.online.coalesce import Coalescer, Values
from tiffin.serving.online.http import Answer, Request
from tiffin.serving.online.limits import Limits
from tiffin.serving.online.plans import Plans, ServedPlan
from tiffin.serving.online.wire import decoded
from tiffin.serving.tracing import Tracing

#: The media type of an answer as an Arrow IPC stream.
ARROW: Final = b"application/vnd.apache.arrow.stream"
_ARROW_HEADERS: Final = ((b"content-type", ARROW),)

Entities = dict[str, list[Any]]


class OnlineRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /v1/features/online`` takes."""

    project: str = ""
    features: msgspec.Raw = msgspec.Raw()
    feature_service: str = ""
    entities: Entities | None = None
    entity_rows: list[dict[str, Any]] | None = None


class FeastRequest(msgspec.Struct):
    """What ``POST /get-online-features`` takes; unknown fields are ignored."""

    entities: Entities
    features: msgspec.Raw = msgspec.Raw()
    feature_service: str | None = None
    full_feature_names: bool = False


_online = msgspec.json.Decoder(OnlineRequest)
_feast = msgspec.json.Decoder(FeastRequest)


class Reads:
    """Answers requests for features. Used from one event loop."""

    def __init__(
        self, plans: Plans, metrics: ServingMetrics, limits: Limits, project: str, tracing: Tracing | None = None
    ) -> None:
        self._plans = plans
        self._tracing = tracing or Tracing.off()
        self._traced = self._tracing.is_on
        self._metrics = metrics
        self._limits = limits
        self._project = project
        self._source: object = None
        self._coalescer: Coalescer | None = None
        self._learning: dict[ServedPlan, asyncio.Task[None]] = {}

    async def online(self, request: Request, principal: Principal) -> Answer:
        """Tiffin's own route."""
        asked = decoded(_online, await request.body(self._limits))
        entities = asked.entity_rows if asked.entities is None else asked.entities
        if entities is None or (asked.entities is not None and asked.entity_rows is not None):
            raise InvalidArgument(
                "A request gives its entities once.",
                field="entities",
                hint='Write either "entities": {"driver_id": [1]} or "entity_rows": [{"driver_id": 1}].',
            )
        project = asked.project or self._project
        plan = self._plans.find((project, _given(asked.features), asked.feature_service), principal)
        request.project = project
        columns = await self._read(plan, entities)
        if ARROW in request.headers.get(b"accept", b""):
            from tiffin.serving.online.arrow import stream

            return Answer(await asyncio.to_thread(stream, columns), 200, _ARROW_HEADERS)
        return Answer(plan.wire.answer(columns))

    async def feast(self, request: Request, principal: Principal) -> Answer:
        """The route of Feast's feature server."""
        asked = decoded(_feast, await request.body(self._limits))
        plan = self._plans.find((self._project, _given(asked.features), asked.feature_service or ""), principal)
        request.project = self._project
        shape = plan.feast(full_names=asked.full_feature_names)
        single, entities = shape.single, asked.entities
        keys = entities.get(single.entity) if single is not None and len(entities) == 1 else None
        if single is None or keys is None or len(keys) != 1 or (key := single.key(keys[0])) is None:
            return Answer(shape.wire.answer(await self._read(plan, entities)))
        if plan.remote is None and not self._traced:
            values = [plan.store.read(single.table, [key])]
        else:
            values = await self._values(plan, [(single.table, [key])], 1)
        body = None if (value := values[0][0]) is None else single.answer(keys[0], value)
        if body is None:
            return Answer(shape.wire.answer(await self._columns(plan, plan.read.begin(entities), values)))
        self._metrics.read(plan.counts, 1, ())
        return Answer(body)

    async def _read(self, plan: ServedPlan, entities: Entities | list[dict[str, Any]]) -> OnlineColumns:
        rows = _rows(entities)
        self._limits.check_rows(rows)
        if plan.byte_keys:
            entities = _with_bytes(entities, plan.byte_keys)
        pending = plan.read.begin(entities)  # type: ignore[arg-type]  # dicts are mappings
        return await self._columns(plan, pending, await self._values(plan, pending.wanted, rows))

    async def _values(self, plan: ServedPlan, wanted: list[tuple[TableId, list[bytes]]], rows: int) -> Values:
        try:
            with self._tracing.storage_retrieval(rows, len(plan.names)):
                if plan.remote is not None:
                    return await self._coalesced(plan.remote).read(wanted)
                read = plan.store.read
                return [read(table, keys) for table, keys in wanted]
        except Unavailable as error:
            self._metrics.store_error("online", error.code)
            raise

    async def _columns(self, plan: ServedPlan, pending: PendingRead, values: Values) -> OnlineColumns:
        with self._tracing.post_processing():
            columns = pending.attempt(values)
            if columns is None:
                await self._learn(plan)
                columns = await asyncio.to_thread(pending.finish, values)
        self._metrics.read(plan.counts, columns.rows, columns.statuses)
        return columns

    def _coalesced(self, store: AsyncReadable) -> Coalescer:
        coalescer = self._coalescer
        if coalescer is None or store is not self._source:
            coalescer = Coalescer(store, timeout=self._limits.time, seen=self._metrics.batch)
            self._coalescer, self._source = coalescer, store
        return coalescer

    async def _learn(self, plan: ServedPlan) -> None:
        """Have a plan ask for layouts in a thread, once for all requests that miss them now."""
        task = self._learning.get(plan)
        if task is None:
            task = asyncio.get_running_loop().create_task(asyncio.to_thread(plan.read.learn))
            self._learning[plan] = task
            task.add_done_callback(lambda _: self._learning.pop(plan, None))
        await asyncio.shield(task)


def _given(raw: msgspec.Raw) -> bytes:
    found = bytes(raw)
    return b"" if found == b"null" else found


def _rows(entities: Mapping[str, Sequence[Any]] | list[dict[str, Any]]) -> int:
    if isinstance(entities, list):
        return len(entities)
    return max(map(len, entities.values()), default=0)


def _with_bytes(entities: Entities | list[dict[str, Any]], names: Sequence[str]) -> Any:
    """The request with the keys of some entities read from base64."""
    if isinstance(entities, list):
        return [{key: _bytes(key, value) if key in names else value for key, value in row.items()} for row in entities]
    return {
        key: [_bytes(key, value) for value in values] if key in names else values for key, values in entities.items()
    }


def _bytes(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(
            f"Entity {name!r} is BYTES, which {value!r} is not.", field=name, hint="Write byte strings as base64."
        ) from None
