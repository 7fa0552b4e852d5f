"""Redis: one server, or a cluster of three masters."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers.install import redis_program
from tests.servers.process import Server, free_port

#: Every acknowledged write survives a SIGKILL.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer(Server):
    """A server without persistence, unless ``options`` (as on its command line) ask for it."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, program: str = "redis-server") -> None:
        self.port = port or free_port()
        self.options = options
        base = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__([redis_program(program), *base, *options], folder, self.answers)

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        return "PONG" in self.cli("PING") or "NOAUTH" in self.cli("PING")

    def cli(self, *command: str) -> str:
        """What redis-cli prints for a command: the side door of tests."""
        done = subprocess.run(
            [redis_program("redis-cli"), "-p", str(self.port), *command], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr


class RedisCluster:
    """Three masters that share the slots."""

    def __init__(self, folder: Path, *options: str) -> None:
        more = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
        self.nodes = [RedisServer(folder / str(number), *more, *options, port=_cluster_port()) for number in range(3)]

    @property
    def uri(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        self._join([f"127.0.0.1:{node.port}" for node in self.nodes])

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def _join(self, addresses: Sequence[str]) -> None:
        command = [redis_program("redis-cli"), "--cluster", "create", *addresses, "--cluster-replicas", "0"]
        done = subprocess.run([*command, "--cluster-yes"], capture_output=True, text=True, check=False)
        assert "All 16384 slots covered" in done.stdout, done.stdout + done.stderr
        deadline = time.monotonic() + 30
        # Each node learns of the others a moment later, and refuses all work until then.
        while not all("cluster_state:ok" in node.cli("CLUSTER", "INFO") for node in self.nodes):
            assert time.monotonic() < deadline, "the cluster did not become ready"
            time.sleep(0.05)


def _cluster_port() -> int:
    """A free port whose bus port, 10000 above, exists."""
    while (port := free_port()) > 55_000:
        continue
    return port
