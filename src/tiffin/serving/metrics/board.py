"""Board: a folder in which the workers of one service put down what they counted.

A worker has two files there: a lock that it holds while it lives, and its state, replaced as a whole. What a worker
counted that ended, however it ended, is added to the file of the retired, so that counters never fall and files do not
pile up; its gauges go with it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tiffin.errors import StorageError
from tiffin.serving.metrics.tally import Family, State, merged

_RETIRED: Final = "retired"
_TURNS: Final = "turns.lock"


class _Page(msgspec.Struct, array_like=True):
    """What a file holds. ``workers`` are those that the file of the retired counts already."""

    state: State
    workers: list[str] = []


_decoder: Final = msgspec.msgpack.Decoder(_Page)


class Board:
    """One worker's place in the folder, which must exist. StorageError where it cannot be written."""

    def __init__(self, folder: Path, families: Collection[Family]) -> None:
        self._folder = folder
        self._families = {family.name: family for family in families}
        self._writing = threading.Lock()  # a scrape and the timer may write at once
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        with self._turn():
            self._lock = os.open(folder / f"{self.worker}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, state: State) -> None:
        """Put down this worker's whole state."""
        with self._writing:
            self._replace(self.worker, _Page(state))

    def others(self) -> list[State]:
        """The states of all other workers, and of those that ended."""
        with self._turn():
            try:
                retired = self._retire()
                names = [path.stem for path in self._folder.glob("*.state")]
                pages = [self._read(name) for name in names if name not in {self.worker, _RETIRED}]
            except StorageError:
                raise
            except OSError as error:
                raise _unusable(self._folder, error) from error
        return [retired.state, *(page.state for page in pages)]

    def close(self) -> None:
        """Leave: from now on this worker counts as one that ended."""
        os.close(self._lock)

    def _retire(self) -> _Page:
        """Add the states of workers that ended to the retired, then remove them, in an order that a crash may cut."""
        retired = self._read(_RETIRED)
        ended = [path.stem for path in self._folder.glob("*.lock") if path.name != _TURNS and _is_free(path)]
        fresh = [worker for worker in ended if worker not in retired.workers]
        if fresh:
            states = [retired.state, *(self._counters(self._read(worker).state) for worker in fresh)]
            # Only those whose files may still be there need to be remembered.
            retired = _Page(merged(states, self._families), ended)
            self._replace(_RETIRED, retired)
        for worker in ended:
            for suffix in ("state", "lock"):
                (self._folder / f"{worker}.{suffix}").unlink(missing_ok=True)
        return retired

    def _counters(self, state: State) -> State:
        return {
            name: series
            for name, series in state.items()
            if name in self._families and self._families[name].kind != "gauge"
        }

    def _read(self, name: str) -> _Page:
        try:
            return _decoder.decode((self._folder / f"{name}.state").read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return _Page({})  # it has not written yet

    def _replace(self, name: str, page: _Page) -> None:
        draft = self._folder / f"{name}.{os.getpid()}.draft"
        try:
            draft.write_bytes(msgspec.msgpack.encode(page))
            draft.replace(self._folder / f"{name}.state")
        except OSError as error:
            raise _unusable(self._folder, error) from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One worker at a time comes, looks and retires others."""
        try:
            turns = os.open(self._folder / _TURNS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        try:
            fcntl.flock(turns, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turns)


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock any more."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _unusable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The folder of metrics {folder} cannot be used: {error.strerror}.",
        field="metrics",
        hint="It must exist and be writable while the service runs.",
    )
