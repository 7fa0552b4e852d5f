"""Tracing: nothing unless it is configured; then spans that continue the caller's trace and reach a collector."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tiffin.errors import InvalidConfig, MissingDependency
from tiffin.serving.tracing import ENDPOINT_VARIABLE, Tracing, open_tracing, provider

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    tracing = Tracing(provider("tiffin-online", exporter))
    yield tracing
    tracing.close()


def finished(tracing: Tracing, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    tracing.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_without_an_endpoint_nothing_is_imported_or_done() -> None:
    program = (
        "import sys; from tiffin.serving.tracing import open_tracing\n"
        "tracing = open_tracing('tiffin-online')\n"
        "with tracing.request('/x', 'GET', b'0') as span, tracing.storage_retrieval(1, 5), tracing.post_processing():\n"
        "    span.set_attribute('a', 1)\n"
        "tracing.close(); print(tracing.is_on, 'opentelemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_request_continues_the_trace_of_its_caller(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    parent = f"00-{TRACE}-{PARENT}-01".encode()
    with tracing.request("/v1/features/online", "POST", parent) as span:
        with tracing.storage_retrieval(entities=3, features=5):
            pass
        with tracing.post_processing():
            pass
        span.set_attribute("http.response.status_code", 200)
    spans = finished(tracing, exporter)
    request = spans["POST /v1/features/online"]
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.kind.name == "SERVER"
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/v1/features/online"
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource.attributes["service.name"] == "tiffin-online"
    for name in ("storageRetrieval", "postProcessing"):
        inner = spans[name].parent
        assert inner is not None
        assert inner.span_id == request.context.span_id
    assert dict(spans["storageRetrieval"].attributes or {}) == {"entities": 3, "features": 5}


@pytest.mark.parametrize("parent", [None, b"", b"no trace", f"00-{'0' * 32}-{PARENT}-01", b"\xff\x00"])
def test_a_header_that_says_nothing_begins_a_trace(
    parent: bytes | str | None, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with tracing.request("/x", "GET", parent):
        pass
    assert finished(tracing, exporter)["GET /x"].parent is None


def test_what_the_caller_left_out_is_left_out(exporter: InMemorySpanExporter) -> None:
    tracing = Tracing(provider("tiffin-online", exporter, share=0.0))
    with tracing.request("/new", "GET"), tracing.post_processing():
        pass
    with tracing.request("/kept", "GET", f"00-{TRACE}-{PARENT}-01"):
        pass
    with tracing.request("/left out", "GET", f"00-{TRACE}-{PARENT}-00"):
        pass
    assert set(finished(tracing, exporter)) == {"GET /kept"}


def test_requests_at_the_same_time_have_traces_of_their_own(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    async def answer(number: int) -> None:
        with tracing.request(f"/{number}", "GET"):
            await asyncio.sleep(0)
            with tracing.storage_retrieval(number, 1):
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(*(answer(number) for number in range(10)))

    asyncio.run(both())
    tracing.close()
    spans = exporter.get_finished_spans()
    outer = {span.context.span_id: span.name for span in spans if span.parent is None and span.context is not None}
    assert len({span.context.trace_id for span in spans if span.context is not None}) == 10
    for span in spans:
        if span.parent is not None:
            assert span.attributes is not None
            assert outer[span.parent.span_id] == f"GET /{span.attributes['entities']}"


def test_an_error_is_told_by_its_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(LookupError), tracing.request("/x", "GET"):
        raise LookupError("gone")
    assert finished(tracing, exporter)["GET /x"].status.is_ok is False


class _Collector(BaseHTTPRequestHandler):
    bodies: list[tuple[str, bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("by_variable", [False, True])
def test_spans_reach_a_collector(by_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _Collector.bodies.clear()
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}/"
        if by_variable:
            monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
        tracing = open_tracing("tiffin-core", "" if by_variable else endpoint)
        assert tracing.is_on
        with tracing.request("/x", "GET"):
            pass
        tracing.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ((path, body),) = _Collector.bodies
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["GET /x"]


def test_what_is_configured_but_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingDependency, match=r"tiffin\[tracing\]"):
        open_tracing("tiffin-core", "http://127.0.0.1:1")
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")  # meant for any program of this machine
    assert not open_tracing("tiffin-core").is_on


def test_a_share_is_a_part_of_one() -> None:
    with pytest.raises(InvalidConfig):
        open_tracing("tiffin-core", "http://127.0.0.1:1", share=2)
