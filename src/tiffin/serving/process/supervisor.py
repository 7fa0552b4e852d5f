"""Supervisor: several processes of one service; one that dies is started again, a stop ends them all."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, NoReturn

import msgspec

from tiffin.errors import TiffinError
from tiffin.serving.metrics.base import FOLDER_VARIABLE

Work = Callable[[Sequence[socket.socket], Callable[[], None], int | None], int]
"""What a process does: its sockets, what to call when it answers, and the pipe whose end tells it to stop."""

#: Seconds a worker must have lived for its successor to start at once; below that the pauses double, up to the limit.
_LIVED: Final = 10.0
_LONGEST_PAUSE: Final = 5.0
#: Seconds after the time for a graceful stop at which workers are killed.
_MERCY: Final = 5.0

#: What a service is stopped with.
STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


class _Worker(msgspec.Struct):
    place: int
    started: float
    pause: float = 0.0


class Supervisor:
    """Runs ``work`` in a process for every socket.

    Sockets stay open here while their worker is started again, so that connections wait and are not refused. Workers
    end when this process does, however it ends. What they count they put together in a folder that is removed at last.
    """

    def __init__(
        self, work: Work, sockets: Sequence[socket.socket], *, ready: Callable[[], None], grace: float
    ) -> None:
        self._work = work
        self._sockets = list(sockets)
        self._ready = ready
        self._grace = grace
        self._workers: dict[int, _Worker] = {}
        self._stopping = False
        self._lifeline, self._held = os.pipe()

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code, which is 1 where a worker could not begin."""
        before: dict[signal.Signals, Any] = {each: signal.signal(each, self._stop) for each in STOPPING}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._kill)
        try:
            with tempfile.TemporaryDirectory(prefix="tiffin-metrics-") as folder:
                os.environ[FOLDER_VARIABLE] = folder
                return self._run()
        finally:
            os.environ.pop(FOLDER_VARIABLE, None)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for each, handler in before.items():
                signal.signal(each, handler)
            os.close(self._held)
            os.close(self._lifeline)

    def _run(self) -> int:
        pipes = []
        for place in range(len(self._sockets)):
            reading, writing = os.pipe()
            self._start(_Worker(place, time.monotonic()), writing)
            os.close(writing)
            pipes.append(reading)
        answering = [_first_byte(each) for each in pipes]
        told = self._stopping
        if not told:
            self._ready() if all(answering) else self._stop(signal.SIGTERM, None)
        self._watch()
        return 0 if told or all(answering) else 1

    def _start(self, worker: _Worker, ready: int | None = None) -> None:
        """Fork a worker. Signals wait meanwhile, so that none is lost between two processes' handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            if self._stopping:
                return
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                self._become(worker.place, ready)
            self._workers[pid] = worker
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def _become(self, place: int, ready: int | None) -> NoReturn:
        """What a new process does; it never returns into the code of its parent."""
        code = 1
        try:
            for each in (*STOPPING, signal.SIGALRM):
                signal.signal(each, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            os.close(self._held)
            for number, other in enumerate(self._sockets):
                if number != place:
                    other.close()
            code = self._work([self._sockets[place]], lambda: _tell(ready), self._lifeline)
        except TiffinError as error:
            sys.stderr.write(f"error: {error}\n")
        finally:
            if not isinstance(sys.exc_info()[1], SystemExit | None):
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _watch(self) -> None:
        """Until the last worker has ended after a stop."""
        while self._workers:
            pid, status = os.wait()
            worker = self._workers.pop(pid, None)
            if worker is None or self._stopping:
                continue
            lived = time.monotonic() - worker.started
            pause = 0.0 if lived >= _LIVED else min(max(2 * worker.pause, 0.1), _LONGEST_PAUSE)
            _log.error("worker %d ended with status %d; it is started again in %.1f s", pid, status, pause)
            due = time.monotonic() + pause
            while not self._stopping and time.monotonic() < due:  # type: ignore[redundant-expr]  # a signal sets it
                time.sleep(0.05)
            self._start(_Worker(worker.place, time.monotonic(), pause))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping and number == signal.SIGINT:
            self._kill(number, frame)
            return
        self._stopping = True
        for each in self._sockets:
            each.close()  # the workers have them open, and decide when they close
        self._signal(signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, self._grace + _MERCY)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for pid in list(self._workers):
            with suppress(ProcessLookupError):  # it was waited for this moment
                os.kill(pid, number)


def _first_byte(pipe: int) -> bytes:
    """What a worker tells when it answers; nothing where it ended before."""
    try:
        return os.read(pipe, 1)
    finally:
        os.close(pipe)


def _tell(pipe: int | None) -> None:
    if pipe is not None:
        os.write(pipe, b"1")
        os.close(pipe)
