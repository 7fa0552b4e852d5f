"""A service of Tiffin in a process of its own, forked from one that has imported the services already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.servers.process import free_port

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.registry.test_processes", "tiffin.serving.core.app", "tiffin.serving.process.runner"]
)


class Service:
    """``start`` may be called again after ``kill`` or ``stop``, on the same port."""

    def __init__(self, application: str, folder: Path, options: Mapping[str, Any], *, workers: int = 1) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = {"home": str(folder / "home")} | dict(options)
        self.workers = workers
        self._application = application
        self._process: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def log(self) -> str:
        """All that it has written."""
        return (self.folder / "service.log").read_text(errors="replace")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ready = _context.Event()
        arguments = (self._application, self.options, self.port, self.workers, str(self.folder / "service.log"), ready)
        self._process = _context.Process(target=_serve, args=arguments, daemon=self.workers == 1)
        self._process.start()
        deadline = time.monotonic() + 30
        while not ready.wait(0.05):
            if self._process.exitcode is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the service did not become ready:\n{self.log}")

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGTERM)
            self._process.join(40)
        assert self._process.exitcode is not None, f"the service did not stop:\n{self.log}"
        return int(self._process.exitcode)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request on a connection of its own."""
        # Without TLS there is nothing to verify, and to load what would verify takes longer than the request.
        return httpx.request(method, self.url + path, timeout=30, trust_env=False, verify=False, **arguments)


def core_service(folder: Path, database: str, **options: Any) -> Service:
    """The registry service on a database; not started yet."""
    return Service("tiffin.serving.core.app:create_app", folder, {"registry": database} | options)


def _serve(application: str, options: Mapping[str, Any], port: int, workers: int, log: str, ready: Any) -> None:
    from tiffin.serving import logs
    from tiffin.serving.process.runner import serve

    for name in [name for name in os.environ if name.startswith("TIFFIN_")]:
        del os.environ[name]
    os.environ["TIFFIN_CONFIG"] = str(Path(log).with_name("config.toml"))
    os.chdir(Path(log).parent)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    logs.configure(json=False)
    sys.exit(serve(application, options, port=port, workers=workers, announce=lambda _: ready.set()))
