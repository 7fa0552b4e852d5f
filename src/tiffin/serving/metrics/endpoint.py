"""Endpoint: ``GET /metrics`` of a process that is no service, such as a stream or the runner of jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tiffin.errors import FailedPrecondition
from tiffin.serving.metrics.base import Metrics

PREFIX: Final = "tiffin_jobs"
#: Seconds that a scraper may take to ask and to listen.
PATIENCE: Final = 10.0
#: Scrapers that are answered at once.
_SCRAPERS: Final = 8


@contextmanager
def exposed(host: str, port: int) -> Iterator[tuple[Metrics, str]]:
    """Counts of this process and the URL that shows them, while the block lasts; port 0 takes a free one.

    Where the environment names a folder of metrics, those of all processes that it was named to are shown.
    FailedPrecondition where the address cannot be listened on.
    """
    metrics = Metrics(PREFIX, ())
    try:
        server = _Server((host, port), metrics)
    except (OSError, OverflowError) as error:
        metrics.close()
        raise FailedPrecondition(
            f"Metrics cannot be shown at {host}:{port}: {getattr(error, 'strerror', None) or error}.",
            field="metrics_port",
            hint="Choose a free port of this machine; each process needs its own.",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="tiffin-scrapes", daemon=True)
    thread.start()
    metrics.start()
    try:
        yield metrics, f"http://{host}:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        metrics.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], metrics: Metrics) -> None:
        self.metrics = metrics
        self._room = threading.BoundedSemaphore(_SCRAPERS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(timeout=PATIENCE):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is nobody's fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "tiffin"
    sys_version = ""

    def do_GET(self) -> None:  # what the library calls
        self._answer()

    def do_HEAD(self) -> None:  # as above
        self._answer()

    def _answer(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "There is /metrics only.")
            return
        body, kind = self.server.metrics.scrape(self.headers.get("accept"))
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the library names it
        """Scrapes are not worth a line."""
