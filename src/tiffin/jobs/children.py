"""Children: jobs in processes of their own, which outlive the process that started them.

Each is ``tiffin job run -`` with its spec on standard input. It has a session of its own, so what a terminal tells its
parent (Ctrl-C) does not reach it; its errors go where its parent's go, its log into the record of jobs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tiffin.errors import StorageError
from tiffin.jobs.spec import JobSpec, write_spec

#: What runs one job.
COMMAND: Final = (sys.executable, "-c", "from tiffin.cli.main import run; run()", "job", "run", "-")


class Children:
    """The processes that this one has started. Used from one thread."""

    def __init__(self, environment: Mapping[str, str], *, command: Sequence[str] = COMMAND) -> None:
        self._environment = dict(environment)
        self._command = list(command)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._running

    def __len__(self) -> int:
        return len(self._running)

    def start(self, spec: JobSpec) -> None:
        """Start a job; StorageError where the machine has no room for it."""
        try:
            child = subprocess.Popen(  # noqa: S603  # the command is ours
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise StorageError(f"No process could be started for job {spec.id}: {error.strerror}.") from error
        self._running[spec.id] = child
        assert child.stdin is not None
        try:
            child.stdin.write(write_spec(spec).encode())
            child.stdin.close()
        except BrokenPipeError:
            return  # it has ended already, which is noticed by and by

    def ended(self) -> list[tuple[str, int]]:
        """The jobs whose processes have ended since the last call, with exit codes; negative ones are signals."""
        codes = [(job_id, child.poll()) for job_id, child in self._running.items()]
        gone = [(job_id, code) for job_id, code in codes if code is not None]
        for job_id, _ in gone:
            del self._running[job_id]
        return gone

    def stop(self) -> None:
        """Tell all to finish their batches and end."""
        for child in self._running.values():
            child.send_signal(signal.SIGTERM)

    def kill(self, job_id: str | None = None) -> None:
        """End one, or all, at once. Whatever was half done is finished or undone by whoever goes on."""
        for name, child in self._running.items():
            if job_id in {None, name}:
                child.kill()
