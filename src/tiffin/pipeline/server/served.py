"""ServedLog: a sample of what was served, kept so that it can be compared with history later.

Lines of JSON in ``FOLDER/MODEL/DAY-HOST-PROCESS.jsonl``, the day in UTC. Serving never waits for the disk: what is to
be kept passes through a queue of bounded length, and what finds it full is counted, not kept. Rows of erased keys are
not kept either; so where nobody can tell which those are, nothing is.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import random
import re
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tiffin import clock
from tiffin.definitions.schema import Column
from tiffin.errors import StorageError, TiffinError
from tiffin.ingest.erase_served import SUFFIX, key_column, locked
from tiffin.ingest.erased import ErasedKeys, matching
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.server.predictor import Predictions
from tiffin.types import ValueType

#: Rows that may wait for the disk, and seconds between two writings.
_ROOM: Final = 10_000
_EVERY_S: Final = 1.0
#: Seconds that a stop waits for the disk.
_PATIENCE_S: Final = 10.0
_DAY: Final = 86_400_000_000
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\d-.*")
_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """One row that was served."""

    at: int
    request_id: str
    keys: dict[str, Any]
    values: list[float]
    statuses: list[str]
    score: float
    word: str


class ServedLog:
    """The log of one process, in ``folder``.

    ``share`` of the predictions are kept, at random, and 0 keeps none; for ``days``, None for ever. ``projects`` are
    those whose keys are served, and ``erased`` tells which of them were erased.
    """

    def __init__(
        self,
        folder: Path,
        card: ModelCard,
        share: float,
        *,
        days: float | None,
        projects: Sequence[str],
        erased: Callable[[], ErasedKeys],
        count: Callable[[str, int], None],
    ) -> None:
        self._folder = folder / card.name
        self._card = card
        self._share = share
        self._days = days
        self._projects = sorted(projects)
        self._erased = erased
        self._count = count
        self._keys = [Column(name, ValueType[kind], name) for name, kind in card.entities.items()]
        self._queue: queue.Queue[Kept] = queue.Queue(_ROOM)
        self._random = random.Random()  # noqa: S311  # which rows are kept is no secret
        self._stop = threading.Event()
        self._swept = ""
        self._thread = threading.Thread(target=self._write, name="tiffin-served-log", daemon=True)
        if share > 0:
            self._thread.start()

    def add(self, found: Predictions, request_id: str) -> None:
        """Keep a sample of the predictions of a request."""
        chance, share = self._random.random, self._share
        if share <= 0:
            return
        chosen = [place for place in range(len(found.classes)) if chance() < share]
        now = clock.now() if chosen else 0
        for number, place in enumerate(chosen):
            keys = {name: column[place] for name, column in found.keys.items()}
            kept = Kept(
                now,
                request_id,
                {} if all(key is None for key in keys.values()) else keys,
                found.values[place].tolist(),
                [column[place] for column in found.statuses],
                float(found.scores[place]),
                found.classes[place],
            )
            try:
                self._queue.put_nowait(kept)
            except queue.Full:
                self._count("dropped", len(chosen) - number)
                return

    def close(self) -> None:
        """Write what waits, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def _write(self) -> None:
        while True:
            stopping = self._stop.wait(_EVERY_S)
            rows = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
            self._sweep()
            if rows:
                self._keep(rows)
            if stopping:
                return

    def _keep(self, rows: list[Kept]) -> None:
        try:
            kept = self._unerased(rows)
            if kept:
                self._append(b"".join(msgspec.json.encode(self._line(row)) + b"\n" for row in kept))
        except (TiffinError, OSError) as error:
            _log.warning("served features are not kept: %s", error)
            self._count("dropped", len(rows))
        else:
            self._count("written", len(kept))
            if len(kept) < len(rows):
                self._count("erased", len(rows) - len(kept))

    def _unerased(self, rows: list[Kept]) -> list[Kept]:
        """The rows whose keys were not erased. The registry is asked each time: it may have been a moment ago."""
        known = self._erased().renewed()
        for column in self._keys:
            for project in self._projects:
                digests = known.of(project, column.name)
                if not digests or not rows:
                    continue
                keys = key_column([_plain(row.keys.get(column.name)) for row in rows], column.dtype)
                gone = matching(column, project, known.salt, digests, keys.alias(column.name).to_frame())
                if gone is not None:
                    rows = [row for row, is_gone in zip(rows, gone.to_list(), strict=True) if not is_gone]
        return rows

    def _line(self, row: Kept) -> dict[str, Any]:
        features = zip(self._card.features, row.values, row.statuses, strict=True)
        return {
            "at": clock.to_iso(row.at),
            "request_id": row.request_id,
            "model": self._card.name,
            "dataset": self._card.dataset,
            "projects": self._projects,
            "keys": row.keys,
            "features": {
                name: {"value": None if math.isnan(value) else value, "status": status}
                for name, value, status in features
            },
            "probability": row.score,
            "class": row.word,
        }

    def _append(self, lines: bytes) -> None:
        """Put whole lines behind the file's last: none is left half-written by a full disk."""
        day = clock.to_iso(clock.now())[:10]
        path = self._folder / f"{day}-{socket.gethostname()}-{os.getpid()}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                file.write(lines)
                file.flush()
            except OSError:
                os.ftruncate(file.fileno(), size)
                raise

    def _sweep(self) -> None:
        """Once a day remove the files that are too old."""
        today = clock.to_iso(clock.now())[:10]
        if self._days is None or today == self._swept:
            return
        self._swept = today
        oldest = clock.to_iso(clock.now() - round(self._days * _DAY))[:10]
        for path in self._folder.glob(f"*{SUFFIX}"):
            if not _NAME.fullmatch(path.name) or path.name[:10] >= oldest:
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("%s", StorageError(f"An old log of what was served stays: {error}."))


def _plain(value: Any) -> Any:
    """A key as the log shows it."""
    return msgspec.to_builtins(value)
