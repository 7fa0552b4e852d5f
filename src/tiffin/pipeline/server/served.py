"""ServedLog: a sample of what was served, kept so that it can be compared with history later.

Lines of JSON in files by the day (UTC) and process. Serving never waits for the disk: lines pass through a queue of
bounded length, and those that find it full are counted, not kept.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tiffin import clock
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.server.predictor import Predictions

#: Lines that may wait for the disk.
_ROOM: Final = 10_000
_log = logging.getLogger(__name__)


class ServedLog:
    """The log of one process, in ``folder``. ``share`` of the predictions are kept, at random; 0 keeps none."""

    def __init__(self, folder: Path, card: ModelCard, share: float, *, count: Callable[[str, int], None]) -> None:
        self._folder = folder
        self._card = card
        self._share = share
        self._count = count
        self._queue: queue.Queue[bytes | None] = queue.Queue(_ROOM)
        self._random = random.Random()  # noqa: S311  # which rows are kept is no secret
        self._thread = threading.Thread(target=self._write, name="tiffin-served-log", daemon=True)
        if share > 0:
            self._thread.start()

    def add(self, found: Predictions, request_id: str) -> None:
        """Keep a sample of the predictions of a request."""
        if self._share <= 0:
            return
        now = clock.now()
        for place in range(len(found.classes)):
            if self._random.random() >= self._share:
                continue
            try:
                self._queue.put_nowait(msgspec.json.encode(self._line(found, place, now, request_id)) + b"\n")
            except queue.Full:
                self._count("dropped", 1)

    def close(self) -> None:
        """Write what waits, and stop."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _line(self, found: Predictions, place: int, now: int, request_id: str) -> dict[str, Any]:
        features = zip(self._card.features, found.values[place].tolist(), found.statuses[place], strict=True)
        return {
            "at": clock.to_iso(now),
            "request_id": request_id,
            "model": self._card.name,
            "dataset": self._card.dataset,
            "keys": found.keys[place],
            "features": {
                name: {"value": None if math.isnan(value) else value, "status": status}
                for name, value, status in features
            },
            "probability": float(found.scores[place]),
            "class": found.classes[place],
        }

    def _write(self) -> None:
        while True:
            lines = [self._queue.get()]
            while lines[-1] is not None and not self._queue.empty():
                lines.append(self._queue.get())
            written = [line for line in lines if line is not None]
            if written:
                self._append(written)
            if lines[-1] is None:
                return

    def _append(self, lines: list[bytes]) -> None:
        day = clock.to_iso(clock.now())[:10]
        path = self._folder / self._card.name / f"{day}-{os.getpid()}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            _log.warning("served features are not kept: %s", error)
            self._count("dropped", len(lines))
        else:
            self._count("written", len(lines))
