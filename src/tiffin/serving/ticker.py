"""Ticker: a thread that does one thing every so often, and at once where it is asked to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tiffin.errors import TiffinError

_log = logging.getLogger(__name__)


class Ticker:
    """Calls ``work`` every ``seconds``. An error of Tiffin's tree is logged once, until another or none follows it."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._told = ""
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._attempted = threading.Event()

    def start(self) -> None:
        """Begin, with the first call after ``seconds``; nothing to do where it has begun."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=f"tiffin-{self._name}", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Call ``work`` now, or once more where it is being called."""
        self._wake.set()

    def wait_first(self, seconds: float) -> None:
        """Wait until ``work`` was called once, but not for longer than this."""
        self._attempted.wait(seconds)

    def close(self) -> None:
        """Stop, after a call that is going on."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join()

    def attempt(self) -> bool:
        """Call ``work`` here; whether it went well."""
        try:
            self._work()
        except TiffinError as error:
            if str(error) != self._told:
                _log.warning("%s: %s", self._name, error)
            self._told = str(error)
            return False
        self._told = ""
        return True

    def _run(self) -> None:
        while True:
            self._wake.wait(self._seconds)
            self._wake.clear()
            if self._stopping:
                return
            self.attempt()
            self._attempted.set()
