"""A stage for controllers: real processes whose jobs write down what they do, so that a test can look at that alone.

``python -m tests.jobs.stage control`` is a controller, whose goal is a file; ``... work`` is one of its jobs. What is
done is appended to a file, one line each: ``table pid hash-or-window``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiffin.control import Control
from tiffin.errors import Conflict
from tiffin.jobs.alone import Alone
from tiffin.jobs.children import Children
from tiffin.jobs.control import Controller, Pace
from tiffin.jobs.decide import Wanted
from tiffin.jobs.lease import Lease, new_owner
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobType, Outcome
from tiffin.jobs.spec import JobSpec, read_spec
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database

LEASE = 2.0
LOOK = 0.2


class FileGoal:
    """Streams by table and hash, from a JSON file that a test rewrites."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def streams(self) -> list[Wanted]:
        return [Wanted("default", table, spec_hash) for table, spec_hash in json.loads(self._path.read_text()).items()]

    def has_table(self, project: str, table: str) -> bool:
        del project, table
        return True


class Working:
    """Writes a line every so often until it is told to stop; a batch writes one."""

    def __init__(self, spec: JobSpec, witness: Path) -> None:
        self._spec = spec
        self._witness = witness

    def run(self, control: Control) -> Outcome:
        lines = 0
        while True:
            control.check()
            self._write()
            lines += 1
            control.rows(lines)
            control.lag(0.5)
            if self._spec.type is JobType.BATCH_INGESTION:
                return Outcome(lines)
            time.sleep(0.05)

    def _write(self) -> None:
        window = f"{self._spec.start}-{self._spec.end}"
        line = f"{self._spec.tables[0]} {os.getpid()} {window}\n"
        handle = os.open(self._witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode())
        os.close(handle)


def work(url: str, witness: Path) -> None:
    """One job, as ``tiffin job run -`` would run it."""
    spec = read_spec(sys.stdin.read())
    store = JobStore(open_database(url))
    launcher = LocalLauncher(store)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    todo: Any = Working(spec, witness)
    if spec.lease is not None:
        todo = Alone(todo, store.leases, spec.lease, seconds=LEASE)
    try:
        task = launcher.submit(store.get(spec.id), todo, adopt=True)
    except Conflict:
        sys.exit(3)
    while not task.finished.wait(0.05):
        if stopping.is_set():
            task.control.cancel()


def control(url: str, folder: Path) -> None:
    """A controller until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    store = JobStore(open_database(url))
    command = [sys.executable, "-m", "tests.jobs.stage", "work", url, str(folder / "witness")]
    lease = Lease(store.leases, "control", new_owner(), LEASE)
    goal = FileGoal(folder / "goal")
    Controller(store, goal, Children({}, command=command), lease, pace=Pace(LOOK, 20)).run(stopping)


class Stage:
    """A database, a goal, and the controllers that a test starts and kills."""

    def __init__(self, url: str, folder: Path, goal: dict[str, str]) -> None:
        self.url = url
        self.folder = folder
        self.store = JobStore(open_database(url))
        self._controllers: list[subprocess.Popen[bytes]] = []
        self.want(goal)

    def want(self, goal: dict[str, str]) -> None:
        draft = self.folder / "goal.new"
        draft.write_text(json.dumps(goal))
        draft.replace(self.folder / "goal")

    def controller(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.jobs.stage", "control", self.url, str(self.folder)]
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._controllers.append(started)
        return started

    @property
    def leader(self) -> int | None:
        """The process that holds the lease, by the word of the database."""
        held = [each.owner for each in self.store.leases.held() if each.name == "control"]
        return int(held[0].split(":")[1]) if held else None

    def lines(self) -> list[tuple[str, int, str]]:
        """What was done: table, process, window."""
        path = self.folder / "witness"
        text = path.read_text() if path.exists() else ""
        return [(table, int(pid), window) for table, pid, window in (line.split() for line in text.splitlines())]

    def worker(self, table: str, *, patience: float = 30.0) -> int:
        """The process that works for a table now: one that writes from here on."""
        seen = len(self.lines())

        def fresh() -> int:
            found = [pid for name, pid, _ in self.lines()[seen:] if name == table]
            return found[-1] if found else 0

        return until(fresh, patience)

    def is_quiet(self, table: str, seconds: float = 0.5) -> bool:
        """Whether nobody works for a table."""
        seen = len(self.lines())
        time.sleep(seconds)
        return all(name != table for name, _, _ in self.lines()[seen:])

    def close(self) -> None:
        """End what is left, whatever it is doing."""
        self.want({})
        for process in self._controllers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for record in self.store.find():
            self.store.request_cancel(record.id)
        until(lambda: not self.store.find(), 30)
        self.store._database.dispose()


def until(found: Callable[[], Any], patience: float = 30.0) -> Any:
    """What a function answers, as soon as that is true."""
    deadline = time.monotonic() + patience
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return answer


def turns(lines: list[tuple[str, int, str]], table: str) -> list[int]:
    """The processes that worked for a table, one after the other; one that comes back is there twice."""
    found: list[int] = []
    for name, pid, _ in lines:
        if name == table and (not found or found[-1] != pid):
            found.append(pid)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        control(sys.argv[2], Path(sys.argv[3]))
