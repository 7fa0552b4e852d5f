"""The services of Tiffin, each a process of its own that the command line starts."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.process import Server, free_port

PROGRAM = [sys.executable, "-c", "from tiffin.cli.main import run; run()"]


class Service(Server):
    """``tiffin serve core|online`` on a fixed port, with options of Tiffin as the environment has them."""

    def __init__(self, what: str, folder: Path, *arguments: str, tls: bool = False, **options: Any) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._tls = tls
        command = [*PROGRAM, "serve", what, "--port", str(self.port), "--json", *arguments]
        environment = {f"TIFFIN_{name.upper()}": str(value) for name, value in options.items()}
        super().__init__(command, folder, self.answers, environment={"TIFFIN_HOME": str(folder), **environment})
        for name in set(self._environment) - environment.keys() - {"TIFFIN_HOME"}:
            if name.startswith("TIFFIN_"):
                del self._environment[name]

    def answers(self) -> bool:
        """Whether it has told that it listens, with all of its workers, and answers where that can be seen."""
        if not any(line.startswith('{"service"') for line in self._told()):
            return False
        if self._tls:
            return True
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def told(self) -> dict[str, Any]:
        """The line in which it said that it listens."""
        line = next(line for line in self._told() if line.startswith('{"service"'))
        found: dict[str, Any] = json.loads(line)
        return found

    def _told(self) -> list[str]:
        return self.log.splitlines() if (self._folder / "server.log").exists() else []

    def resident(self) -> int:
        """The memory that it holds, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(*services: Server) -> Iterator[None]:
    """Start services in order, and stop them in the other at the end."""
    started: list[Server] = []
    try:
        for service in services:
            service.start()
            started.append(service)
        yield
    finally:
        for service in reversed(started):
            service.kill()
