"""Services in processes of their own, as they are run, and what tests ask them with."""

from __future__ import annotations

import http.client
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers.process import Server

_PROGRAM = """
import json, sys
from tiffin.serving.process.runner import serve
sys.exit(serve(sys.argv[1], json.loads(sys.argv[2]), "127.0.0.1", 0, int(sys.argv[3]), *sys.argv[4:6]))
"""
ONLINE = "tiffin.serving.online.app:create_app"


class Answered(NamedTuple):
    """What a service said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service(Server):
    """An application on a free port. ``options`` are Tiffin's; ``address`` is known once it has started."""

    def __init__(
        self,
        folder: Path,
        application: str = ONLINE,
        *,
        workers: int = 1,
        tls: tuple[str, str] = ("", ""),
        **options: Any,
    ) -> None:
        command = [sys.executable, "-c", _PROGRAM, application, json.dumps(options), str(workers), *tls]
        root = str(Path(__file__).parents[2])
        super().__init__(command, folder, self._is_told, environment={"PYTHONPATH": root})

    def start(self) -> None:
        (self._folder / "server.log").unlink(missing_ok=True)
        super().start()

    def _is_told(self) -> bool:
        return "listens on" in self.log

    @property
    def port(self) -> int:
        found = re.search(r"listens on https?://127\.0\.0\.1:(\d+)", self.log)
        assert found, self.log
        return int(found[1])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answered:
        """One request on a connection of its own; ``body`` is bytes, or what JSON is made of."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return ask(connection, method, path, body, **headers)
        finally:
            connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> Answered:
    """One request on a connection that may be kept."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, body=data, headers=headers)
    response = connection.getresponse()
    return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
