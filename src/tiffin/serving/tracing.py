"""Tracing: where a request's time goes, as OpenTelemetry spans; nothing at all unless an endpoint is configured.

Spans of a request continue the trace of its ``traceparent`` header (W3C Trace Context). Inside, the names are those of
Feast's serving: ``storageRetrieval`` with the numbers of ``entities`` and ``features``, and ``postProcessing``.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

from tiffin.errors import InvalidConfig, MissingDependency

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

#: OpenTelemetry's own variable, which counts where the option ``trace_endpoint`` is not set.
ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Span(Protocol):
    """What may be said of a piece of work while it lasts."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Say one thing more."""
        ...


class _NoSpan:
    def set_attribute(self, key: str, value: Any) -> None:
        """Nobody listens."""


_NOTHING: Final[AbstractContextManager[Span]] = nullcontext(_NoSpan())


class Tracing:
    """The spans of one process; :meth:`off` of those that nobody collects."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("tiffin")

    @classmethod
    def off(cls) -> Tracing:
        """Tracing that does nothing and needs nothing; a span costs a tenth of a microsecond."""
        return cls(None)

    @property
    def is_on(self) -> bool:
        """Whether spans go anywhere."""
        return self._tracer is not None

    def request(
        self, name: str, method: str, traceparent: bytes | str | None = None, tracestate: bytes | str | None = None
    ) -> AbstractContextManager[Span]:
        """The span of a whole request. ``name`` is its route; say ``http.response.status_code`` before it ends."""
        if self._tracer is None:
            return _NOTHING
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": _text(traceparent), "tracestate": _text(tracestate)}
        return self._tracer.start_as_current_span(
            f"{method} {name}",
            context=TraceContextTextMapPropagator().extract({key: value for key, value in carrier.items() if value}),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": name},
        )

    def storage_retrieval(self, entities: int, features: int) -> AbstractContextManager[Span]:
        """The span of reading the online store, for so many rows of so many features."""
        if self._tracer is None:
            return _NOTHING
        return self._tracer.start_as_current_span(
            "storageRetrieval", attributes={"entities": entities, "features": features}
        )

    def post_processing(self) -> AbstractContextManager[Span]:
        """The span of making an answer from what was read."""
        return _NOTHING if self._tracer is None else self._tracer.start_as_current_span("postProcessing")

    def close(self) -> None:
        """Send what waits; gives up after a few seconds where nobody takes it."""
        if self._provider is not None:
            self._provider.shutdown()


def open_tracing(service: str, endpoint: str = "", share: float = 1.0) -> Tracing:
    """Spans of a service such as ``tiffin-online``, sent to an OTLP/HTTP collector at ``endpoint``.

    ``share`` of the traces that begin here are kept; one that a caller began follows the caller's choice. Without an
    endpoint, neither here nor in OpenTelemetry's variable, nothing is traced. MissingDependency where an endpoint was
    given and the extra ``tracing`` is not installed.
    """
    if not 0 <= share <= 1:
        raise InvalidConfig(
            f"trace_share is {share}.",
            field="trace_share",
            hint="Write a part of one, from 0 (none) to 1 (every trace).",
        )
    address = endpoint or os.environ.get(ENDPOINT_VARIABLE, "")
    if not address:
        return Tracing.off()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        if not endpoint:
            return Tracing.off()
        raise MissingDependency(
            "opentelemetry-exporter-otlp-proto-http", extra="tracing", purpose="Tracing (trace_endpoint)"
        ) from error
    return Tracing(provider(service, OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces", timeout=5), share))


def provider(service: str, exporter: SpanExporter, share: float = 1.0) -> TracerProvider:
    """Spans in batches to an exporter, in a thread of its own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from tiffin import __version__

    resource = Resource.create({"service.name": service, "service.version": __version__})
    made = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), resource=resource)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def _text(value: bytes | str | None) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value or ""
