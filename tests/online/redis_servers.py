"""More of Redis for tests: over TLS with a password, behind sentinels, and behind a proxy that cuts connections."""

from __future__ import annotations

import random
import selectors
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import trustme

from tests.servers.install import redis_program
from tests.servers.process import Server, free_port
from tests.servers.redis import RedisServer

#: Characters that a URI must encode, and that a message must not show.
PASSWORD = "s3cret/@:? é"


class TlsRedis(RedisServer):
    """A server that speaks TLS alone, and asks for a password; ``authority`` is the file of who signed for it."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self.authority, chain, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        authority.cert_pem.write_to_path(str(self.authority))
        certificate.private_key_pem.write_to_path(str(key))
        certificate.cert_chain_pems[0].write_to_path(str(chain))
        self.tls_port = free_port()
        tls = ("--tls-port", str(self.tls_port), "--tls-cert-file", str(chain), "--tls-key-file", str(key))
        own = ("--tls-ca-cert-file", str(self.authority), "--tls-auth-clients", "no", "--requirepass", PASSWORD)
        super().__init__(folder, *tls, *own, *options)
        self._command[self._command.index("--port") + 1] = "0"

    @property
    def uri(self) -> str:
        from urllib.parse import quote

        return f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{self.tls_port}/0?ssl_ca_certs={self.authority}"

    def cli(self, *command: str) -> str:
        own = ["-p", str(self.tls_port), "--tls", "--cacert", str(self.authority), "-a", PASSWORD, "--no-auth-warning"]
        done = subprocess.run([redis_program("redis-cli"), *own, *command], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


class Sentinels:
    """A master, a replica and three sentinels that watch them."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.master = RedisServer(folder / "master", *options)
        self.replica = RedisServer(folder / "replica", "--replicaof", f"127.0.0.1 {self.master.port}", *options)
        self.sentinels = [_Sentinel(folder / f"sentinel{number}", self.master.port) for number in range(3)]

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/mymaster/0"

    def start(self) -> None:
        for server in (self.master, self.replica, *self.sentinels):
            server.start()

    def stop(self) -> None:
        for server in (*self.sentinels, self.replica, self.master):
            server.kill()


class _Sentinel(Server):
    def __init__(self, folder: Path, master: int) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master} 2\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 4000\n"
        )
        super().__init__([redis_program("redis-server"), str(config), "--sentinel"], folder, self.answers)

    def answers(self) -> bool:
        return "PONG" in self.cli("PING")

    def cli(self, *command: str) -> str:
        done = subprocess.run(
            [redis_program("redis-cli"), "-p", str(self.port), *command], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr


class Cutter:
    """A proxy of one server that cuts connections by chance: before a request, or ``anywhere``, within answers too.

    ``chance`` is that of each piece of bytes that passes.
    """

    def __init__(self, target: int, *, chance: float, anywhere: bool = False, seed: int = 1) -> None:
        self.chance = chance
        self.cuts = 0
        self._target = target
        self._anywhere = anywhere
        self._random = random.Random(seed)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Cutter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._selector.close()
        for end in (self._listener, *self._peers):
            end.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.05):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._listener:
                    self._accept()
                elif end in self._peers:
                    self._pass(end)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._clients.add(client)
        self._peers |= {client: server, server: client}
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ)

    def _pass(self, end: socket.socket) -> None:
        try:
            data = end.recv(1 << 18)
            cut = self._cuts(end) if data else True
            if cut and data and self._anywhere:
                data = data[: self._random.randrange(len(data) + 1)]
            if data and not (cut and not self._anywhere):
                self._peers[end].sendall(data)
        except OSError:
            cut = True
        if cut:
            self._drop(end)

    def _cuts(self, end: socket.socket) -> bool:
        cut = (self._anywhere or end in self._clients) and self._random.random() < self.chance
        self.cuts += cut
        return cut

    def _drop(self, end: socket.socket) -> None:
        for one in (end, self._peers.pop(end)):
            self._peers.pop(one, None)
            self._clients.discard(one)
            self._selector.unregister(one)
            one.close()


def shown(lines: Sequence[object]) -> str:
    """Everything that a user may see of errors, in one text."""
    return "\n".join(f"{line} {line!r}" for line in lines)
