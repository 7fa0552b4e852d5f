"""Those who are told of metrics: Etsy's StatsD, and Prometheus."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.install import prometheus_program, statsd_command
from tests.servers.process import Server, free_port, listens


class StatsDServer(Server):
    """A daemon that keeps its sums: it flushes once an hour. ``port`` is of UDP."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_udp_port()
        self._management = free_port()
        settings = {
            "port": self.port,
            "address": "127.0.0.1",
            "mgmt_port": self._management,
            "mgmt_address": "127.0.0.1",
            "flushInterval": 3_600_000,
            "backends": [],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.js").write_text(json.dumps(settings))
        super().__init__([*statsd_command(), str(folder / "settings.js")], folder, lambda: listens(self._management))

    def counters(self) -> dict[str, float]:
        return self._ask("counters")

    def gauges(self) -> dict[str, float]:
        return self._ask("gauges")

    def timers(self) -> dict[str, list[float]]:
        return self._ask("timers")

    def wait_for(self, name: str, value: float, seconds: float = 5.0) -> dict[str, float]:
        """The counters, as soon as one of them is what it should be, or at the end of patience."""
        deadline = time.monotonic() + seconds
        while (found := self.counters()).get(name) != value and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def _ask(self, what: str) -> Any:
        """What the management interface prints, which is JavaScript: names are quoted, and may be in single quotes."""
        with socket.create_connection(("127.0.0.1", self._management), timeout=5) as link:
            link.sendall(f"{what}\n".encode())
            answer = b""
            while not answer.endswith(b"END\n\n"):
                received = link.recv(65_536)
                assert received, f"StatsD hung up after {answer!r}"
                answer += received
        return json.loads(_quoted(answer.decode().removesuffix("END\n\n")))


class PrometheusServer(Server):
    """Scrapes ``targets`` (``host:port``) once a second."""

    def __init__(self, folder: Path, targets: Sequence[str]) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [{"job_name": "tiffin", "static_configs": [{"targets": list(targets)}]}]
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
        command = [
            prometheus_program(),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        super().__init__(command, folder, self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """What an expression is now, by labels."""
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{asked}", timeout=5) as answer:
            told = json.load(answer)
        own = {"__name__", "job", "instance"}
        return {
            tuple(sorted((name, value) for name, value in each["metric"].items() if name not in own)): float(
                each["value"][1]
            )
            for each in told["data"]["result"]
        }

    def wait_for(self, expression: str, seconds: float = 15.0) -> dict[tuple[tuple[str, str], ...], float]:
        """What an expression is, as soon as it is anything."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} is nothing:\n{self.log}"
            time.sleep(0.1)
        return found


def complaints(exposition: bytes) -> str:
    """What promtool says of metrics as text; nothing where all is well."""
    command = [prometheus_program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=exposition, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode()


def _quoted(script: str) -> str:
    """An object of JavaScript, as Node prints it, as JSON."""
    program = "let t='';process.stdin.on('data',d=>t+=d).on('end',()=>console.log(JSON.stringify(eval('('+t+')'))))"
    done = subprocess.run(
        [statsd_command()[0], "-e", program], input=script, capture_output=True, text=True, check=True
    )
    return done.stdout


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
