"""Servers under measurement: processes on free ports of the loopback, their memory, and the time until they answer."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks import runner

PATIENCE_SEC = 90


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """A process and its children, from entering the ``with`` block to leaving it.

    `seconds` is the time from its start until `ready` was true.
    """

    def __init__(
        self, command: Sequence[str], cwd: Path, ready: Callable[[], bool], more: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        self._cwd = cwd
        self._ready = ready
        self._environment = {**runner.environment(), **(more or {})}
        self.seconds = float("nan")

    def __enter__(self) -> "Server":
        self._log = (self._cwd / "server.log").open("ab")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        while not self._ready():
            if self._process.poll() is not None or time.perf_counter() - started > PATIENCE_SEC:
                self.__exit__(None, None, None)
                raise RuntimeError(f"{self._command[0]} did not start: {(self._cwd / 'server.log').read_text()[-500:]}")
            time.sleep(0.01)
        self.seconds = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def resident_mb(self) -> float:
        """The resident memory of the process and all below it, in megabytes; pages they share count in each."""
        pages, found = os.sysconf("SC_PAGE_SIZE"), 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) == self._process.pid:
                    found += int((folder / "statm").read_text().split()[1])
            except (ProcessLookupError, FileNotFoundError):
                continue  # it ended while it was looked at
        return found * pages / 1e6


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            found: bool = response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return found


def redis(folder: Path) -> tuple[Server, str]:
    """A Redis without persistence, and its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Server(command, folder, lambda: listens(port)), f"127.0.0.1:{port}"


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
