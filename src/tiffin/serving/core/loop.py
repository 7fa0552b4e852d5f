"""ControlLoop: a controller inside the registry service, in a thread. Of several workers and services one leads."""

from __future__ import annotations

import logging
import threading

from tiffin.errors import StorageError, Unavailable
from tiffin.jobs.control import Controller
from tiffin.runs import open_controller
from tiffin.workspace import Workspace

#: Seconds between two attempts to reach a database that was away when the service started.
_RETRY_EVERY = 2.0

_log = logging.getLogger(__name__)


class ControlLoop:
    """The controller of one process, which runs where option ``control_loop`` is set."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where the options say so."""
        if self._workspace.config.getboolean("control_loop"):
            self._thread = threading.Thread(target=self._run, name="tiffin-control", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Tell the jobs to stop, where this controller leads, and wait for them."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        controller = self._open()
        if controller is not None:
            controller.run(self._stopping)

    def _open(self) -> Controller | None:
        while not self._stopping.is_set():
            try:
                return open_controller(self._workspace)
            except (StorageError, Unavailable) as error:
                _log.warning("the controller waits: %s", error)
            self._stopping.wait(_RETRY_EVERY)
        return None
