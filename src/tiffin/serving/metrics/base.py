"""Metrics: what a process counts, and how it is asked for it."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tiffin.errors import StorageError
from tiffin.serving.metrics.board import Board
from tiffin.serving.metrics.exposition import chosen_format, exposed
from tiffin.serving.metrics.ingestion import FAMILIES as INGESTION
from tiffin.serving.metrics.ingestion import IngestionCounts
from tiffin.serving.metrics.tally import Family, State, Tally, merged

#: The environment variable through which a runner names the folder that its workers share; it makes and removes it.
FOLDER_VARIABLE: Final = "TIFFIN_METRICS_FOLDER"
#: Seconds between two writings of a worker's state, and how much longer than a writing the pause is at least.
INTERVAL: Final = 1.0
_REST: Final = 20

LATENCY_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_PROCESS: Final = (
    Family("process_resident_memory_bytes", "gauge", "Resident memory of all workers."),
    Family("process_cpu_seconds_total", "counter", "User and system time of all workers."),
    Family("process_start_time_seconds", "gauge", "When the oldest worker started, in seconds of UNIX.", merge="min"),
    Family("python_gc_collections_total", "counter", "Collections of the garbage collector.", ("generation",)),
)

_log = logging.getLogger(__name__)


class Metrics:
    """The counts of one process, of a service or of jobs. Safe to use from several threads.

    ``folder`` is shared by the workers of one service, by default what the environment names; without one, the process
    answers for itself alone.
    """

    def __init__(self, prefix: str, families: Sequence[Family], folder: Path | None = None) -> None:
        workers = Family(f"{prefix}_workers", "gauge", "Workers that run.")
        self._families = [*families, workers, *INGESTION, *_PROCESS]
        self._prefix = prefix
        self._tallies = {family.name: Tally(family) for family in self._families}
        self._lock = threading.Lock()
        #: What counts ingestion in this process.
        self.ingestion = IngestionCounts(self._tallies, self._lock)
        self._started = time.time()
        self._stop = threading.Event()
        self._failing = False
        self._thread: threading.Thread | None = None
        named = folder or (Path(text) if (text := os.environ.get(FOLDER_VARIABLE)) else None)
        self._board = None if named is None else Board(named, self._families)

    def start(self) -> None:
        """Begin to tell other workers what this one counts; nothing to do where there are none."""
        if self._board is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tiffin-metrics", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Tell a last time, and leave."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._board is not None:
            self._tell(self._board)
            self._board.close()
            self._board = None

    def scrape(self, accept: str | None = None) -> tuple[bytes, str]:
        """The answer to a scraper, and its content type chosen by its ``Accept``.

        Milliseconds with thousands of features: a server calls it in a thread.
        """
        state = self.state()
        states = [state, *self._others(state)]
        content_type = chosen_format(accept)
        families = {family.name: family for family in self._families}
        return exposed(self._families, merged(states, families), content_type), content_type

    def _others(self, mine: State) -> list[State]:
        """What other workers counted; nothing, with a warning, where their folder cannot be used."""
        board = self._board
        if board is None:
            return []
        try:
            board.write(mine)
            return board.others()
        except StorageError as error:
            _log.warning("metrics are of this worker alone: %s", error)
            return []

    def state(self) -> State:
        """What this process has counted so far."""
        gauges = self._asked()  # before the lock, which those who are asked may wait for
        with self._lock:
            for name, value in gauges.items():
                self._tally(name).set((), value)
            self._collect()
            self._look_at_process()
            return {
                name: {labels: values.copy() for labels, values in tally.series.items()}
                for name, tally in self._tallies.items()
            }

    def _asked(self) -> dict[str, float]:
        """What others know, by the name of its metric; called without the lock."""
        return {}

    def _collect(self) -> None:
        """Bring what is kept elsewhere into the tallies; called with the lock held."""

    def _count(self, name: str, *labels: str) -> None:
        with self._lock:
            self._tally(name).add(labels)

    def _tally(self, name: str) -> Tally:
        return self._tallies[f"{self._prefix}_{name}"]

    def _look_at_process(self) -> None:
        self._tally("workers").set((), 1)
        self._tallies["process_resident_memory_bytes"].set((), _resident())
        self._tallies["process_cpu_seconds_total"].set((), time.process_time())
        self._tallies["process_start_time_seconds"].set((), self._started)
        for generation, counts in enumerate(gc.get_stats()):
            self._tallies["python_gc_collections_total"].set((str(generation),), counts["collections"])

    def _run(self) -> None:
        pause = INTERVAL
        while not self._stop.wait(pause):
            began = time.monotonic()
            if self._board is not None:
                self._tell(self._board)
            pause = max(INTERVAL, _REST * (time.monotonic() - began))

    def _tell(self, board: Board) -> None:
        try:
            board.write(self.state())
        except StorageError as error:
            if not self._failing:  # who made the folder may be gone, and what it started goes on
                _log.warning("metrics of this worker are not shared: %s", error)
            self._failing = True
        else:
            self._failing = False


def _resident() -> int:
    """Bytes of resident memory; 0 where the system has no such file."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
