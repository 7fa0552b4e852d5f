"""PostgreSQL: a cluster of its own in a temporary folder, with as many databases as tests want."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tests.servers.install import postgres_program
from tests.servers.process import Server, free_port

_SUPERUSER = "postgres"


class PostgresServer(Server):
    """Trusts whoever connects. It refuses to run as root, so then it runs as the user that its package made."""

    def __init__(self, *, durable: bool = False) -> None:
        program = postgres_program("postgres")  # installs the package, and with it the user
        # Below the system's temporary folder, not the test's: another user must be able to reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="tiffin-postgres-"))
        self.port = free_port()
        self._numbers = count()
        self._data = self.folder / "data"
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]
        options += ["-c", f"unix_socket_directories={self.folder}", "-c", f"fsync={'on' if durable else 'off'}"]
        super().__init__(_as_user([program, "-D", str(self._data), *options]), self.folder, self.answers)

    def start(self) -> None:
        if not self._data.exists():
            if os.geteuid() == 0:
                shutil.chown(self.folder, _SUPERUSER)
            done = subprocess.run(
                _as_user([postgres_program("initdb"), "-D", str(self._data), "-A", "trust", "-U", _SUPERUSER, "-N"]),
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
            assert done.returncode == 0, done.stdout + done.stderr
        super().start()

    def crash(self) -> None:
        """SIGQUIT: it ends at once, without a checkpoint, and recovers from its log at the next start."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        assert self._process is not None
        self._process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def answers(self) -> bool:
        return self.sql("SELECT 1").strip() == "1"

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self.sql(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://{_SUPERUSER}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for a statement, columns separated by bars: the side door of tests."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", _SUPERUSER, "-d", database, "-AtXq"]
        done = subprocess.run([*command, "-c", statement], capture_output=True, text=True, check=False)
        return done.stdout


def _as_user(command: Sequence[str]) -> list[str]:
    if os.geteuid() != 0:
        return list(command)
    pwd.getpwnam(_SUPERUSER)
    return ["setpriv", "--reuid", _SUPERUSER, "--regid", _SUPERUSER, "--clear-groups", *command]
