"""Environment: an LMDB file of this process, opened when it is first needed, grown when it is full.

LMDB allows one environment a file and process, none across a fork, and no transaction while the map is resized.
So all users of a path share one Environment here; threads pass a gate that anyone who resizes, opens or closes shuts
first; and before a fork the files are closed, to be opened anew on both sides when next used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any, Final, TypeVar

import lmdb

from tiffin.errors import CorruptData, FailedPrecondition, StorageError
from tiffin.online.mounts import refuse_network
from tiffin.online.wipe import wipe

T = TypeVar("T")

#: Slots for concurrent read transactions over all processes.
MAX_READERS: Final = 2048
#: The map's first size. It is address space, not memory or disk: the file grows as it is filled.
MAP_SIZE: Final = 256 << 20

#: The record that is changed when the file is wiped. LMDB uses memory of pages again without clearing it, so that a
#: process which once wrote what was deleted since would write it into gaps of pages: it opens the file anew instead.
WIPED: Final = bytes(4) + b"wiped\0"

_CORRUPT: Final = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)


class _Stale(Exception):  # no error: the file is opened anew
    """The file was wiped since it was opened."""


class Environment:
    """The LMDB environment in one folder. Get it by :func:`acquire` and give it back by :meth:`release`."""

    def __init__(self, path: str, map_size: int) -> None:
        self.path = path
        self._data = Path(path, "data.mdb")
        self._lock_file = Path(path, "lock.mdb")
        self.users = 0
        self._map_size = map_size
        self._env: Any = None
        self._identity: tuple[int, int] | None = None
        self._inside: dict[int, None] = {}
        self._shut = False
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        # What WIPED held at the first write since the file was opened: a tuple of it, empty before.
        self._wiped: tuple[bytes | None, ...] = ()

    def get(self, prefix: bytes, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of ``prefix + key`` for all keys, of one instant: the hot path, with :meth:`read` behind it."""
        env = self._enter()
        try:
            if env is None:
                return [None] * len(keys)
            with env.begin() as transaction:
                find = transaction.get
                return [find(prefix + key) for key in keys]
        except lmdb.Error:
            env = None  # read() below knows what to do, once this thread is out of the gate
        finally:
            self._leave()

        def copy(transaction: Any) -> list[bytes | None]:
            found = (transaction.get(prefix + key) for key in keys)
            return [None if value is None else bytes(value) for value in found]

        return self.read(copy) or [None] * len(keys)

    def read(self, work: Callable[[Any], T]) -> T | None:
        """What ``work`` makes of a read transaction, None where the file does not exist.

        The transaction yields buffers, which are not valid after it.
        """
        while True:
            env = self._enter()
            try:
                if env is None:
                    return None
                with env.begin(buffers=True) as transaction:
                    return work(transaction)
            except lmdb.MapResizedError:
                grown = True
            except lmdb.Error as error:
                # Dead processes may have filled the table of readers.
                if not isinstance(error, lmdb.ReadersFullError) or env.reader_check() == 0:
                    raise _mapped(self.path, error, "read") from error
                grown = False
            finally:
                self._leave()
            if grown:
                self._resize(0)

    def write(self, work: Callable[[Any], T]) -> T:
        """What ``work`` makes of a write transaction, which is on disk on return.

        ``work`` is called again where the map was too small for what it wrote.
        """
        with self._writing:
            while True:
                env = self._enter(create=True)
                try:
                    self._check_identity()
                    return self._transact(env, work)
                except _Stale:
                    size = None
                except lmdb.MapFullError:
                    # The pages that a dead process was reading are free again once it is known to be dead.
                    size = 0 if env.reader_check() else 2 * env.info()["map_size"]
                except lmdb.MapResizedError:
                    size = 0
                except lmdb.Error as error:
                    failure = error
                    break
                finally:
                    self._leave()
                if size is None:
                    with self._alone():
                        self._close()
                else:
                    self._resize(size)
            # A failed write may leave the environment unusable: the next use opens it anew.
            with self._alone():
                self._close()
            raise _mapped(self.path, failure, "written") from failure

    def wipe(self, touch: Callable[[Any], object]) -> bool:
        """Overwrite what the file still holds of what was deleted; whether all of it could be, for readers' sake.

        ``touch`` changes something in a transaction, so that there is a commit.
        """

        def work(_: Any) -> bool:
            self._env.reader_check()
            lines = (line.split() for line in self._env.readers().splitlines()[1:])
            commits = [int(line[2]) for line in lines if len(line) == 3 and line[2].isdigit()]
            return wipe(self._data, min(commits, default=None))

        # Two commits more, so that what was freed by those before is needed by nobody, not even after a crash.
        for _ in range(2):
            self.write(touch)
        return self.write(work)

    def _transact(self, env: Any, work: Callable[[Any], T]) -> T:
        transaction = env.begin(write=True)
        try:
            self._check_wiped(transaction.get(WIPED))
            result = work(transaction)
        except BaseException:
            # An abort waits for an instant at which no other thread is in the library, so none may come in meanwhile.
            with self._changed:
                shut_before, self._shut = self._shut, True
            try:
                transaction.abort()
            finally:
                if not shut_before:
                    self._open_gate()
            raise
        transaction.commit()
        return result

    def _check_wiped(self, wiped: bytes | None) -> None:
        if self._wiped not in ((), (wiped,)):
            raise _Stale
        self._wiped = (wiped,)

    def release(self) -> None:
        """One user less; the last closes the file."""
        with _LOCK:
            self.users -= 1
            if self.users == 0:
                _ALL.discard(self)
                if _SHARED.get(self.path) is self:
                    del _SHARED[self.path]
                with self._alone():
                    self._close()

    def _enter(self, *, create: bool = False) -> Any:
        """Pass the gate: the open environment, or None where there is no file and none is to be made."""
        me = get_ident()
        while True:
            self._inside[me] = None
            # The gate first, then what is behind it: whoever shuts it after the first line waits for us.
            if not self._shut:
                env = self._env
                if env is not None:
                    return env
            self._leave()
            with self._changed:
                while self._shut:
                    self._changed.wait()
            if self._env is None and not self._open(create=create):
                self._inside[me] = None
                return None

    def _leave(self) -> None:
        self._inside.pop(get_ident(), None)
        if self._shut:
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Shut the gate and wait until all are out. The caller must not be inside."""
        self._shut_gate()
        try:
            yield
        finally:
            self._open_gate()

    def _shut_gate(self) -> None:
        with self._changed:
            while self._shut:
                self._changed.wait()
            self._shut = True
            try:
                while self._inside:
                    self._changed.wait()
            except BaseException:
                # An interrupt from the keyboard must not leave it shut for ever.
                self._shut = False
                self._changed.notify_all()
                raise

    def _open_gate(self) -> None:
        with self._changed:
            self._shut = False
            self._changed.notify_all()

    def _resize(self, size: int) -> None:
        """Give the map another size; 0 takes over what another process made of it."""
        with self._alone():
            if self._env is None:
                return
            try:
                self._env.set_mapsize(size)
            except lmdb.Error as error:
                self._close()
                raise _mapped(self.path, error, "grown") from error

    def _open(self, *, create: bool) -> bool:
        """Open the file; False where there is none and none is to be made."""
        if not create and not self._data.exists():
            return False
        with self._alone():
            if self._env is not None:
                return True
            if self._identity is not None:
                self._check_identity()
            refuse_network(self.path)
            try:
                if create:
                    Path(self.path).mkdir(parents=True, exist_ok=True)
                self._env = lmdb.open(
                    self.path,
                    map_size=self._map_size,
                    max_readers=MAX_READERS,
                    max_spare_txns=1,
                    readonly=not self._is_writable(),
                    create=create,
                )
                self._env.reader_check()
            except (lmdb.Error, OSError) as error:
                raise _mapped(self.path, error, "opened") from error
            found = self._data.stat()
            self._identity = found.st_dev, found.st_ino
        return True

    def _is_writable(self) -> bool:
        files = (Path(self.path), self._data, self._lock_file)
        return all(os.access(file, os.W_OK) for file in files if file.exists())

    def is_replaced(self) -> bool:
        """Whether the file that was opened is no longer the one at the path."""
        if self._identity is None:
            return False
        try:
            found = self._data.stat()
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def _check_identity(self) -> None:
        """A file deleted or replaced under us would take writes that nobody finds again."""
        if self._identity is None or self.is_replaced():
            raise StorageError(
                f"The online store {self.path} was deleted or replaced while it was open.",
                hint="Close it and open it again.",
            )

    def _close(self) -> None:
        env, self._env = self._env, None
        self._wiped = ()
        if env is not None:
            env.close()

    def before_fork(self) -> None:
        """Close the file, and keep the gate shut: a child must not share it, nor inherit a held lock."""
        self._shut_gate()
        self._close()

    def after_fork(self, *, child: bool) -> None:
        """Open the gate again; in a child the threads that waited at it do not exist."""
        if child:
            self._inside.clear()
            self._changed = threading.Condition()
            self._writing = threading.Lock()
        self._open_gate()


_SHARED: Final[dict[str, Environment]] = {}
#: With those that still have users though their file was replaced.
_ALL: Final[set[Environment]] = set()
_LOCK = threading.Lock()


def acquire(path: str, map_size: int = MAP_SIZE) -> Environment:
    """The environment of a folder, shared by all its users in this process. The folder need not exist.

    Users of a file that was deleted or replaced meanwhile keep it; the next get the one that is there now.
    """
    real = os.path.realpath(path)
    with _LOCK:
        environment = _SHARED.get(real)
        if environment is None or environment.is_replaced():
            environment = _SHARED[real] = Environment(real, map_size)
            _ALL.add(environment)
        environment.users += 1
        return environment


def _mapped(path: str, error: Exception, verb: str) -> StorageError | FailedPrecondition:
    if isinstance(error, _CORRUPT):
        return CorruptData(
            f"The online store {path} cannot be {verb}: {error}.",
            hint="Delete the folder and materialize again: what it held is in the offline store.",
        )
    return StorageError(
        f"The online store {path} cannot be {verb}: {error}.",
        hint="Check that the disk has room and that this user may read and write the folder and its files.",
    )


def _before_fork() -> None:
    _LOCK.acquire()
    for environment in _ALL:
        environment.before_fork()


def _after_fork_in_parent() -> None:
    for environment in _ALL:
        environment.after_fork(child=False)
    _LOCK.release()


def _after_fork_in_child() -> None:
    global _LOCK  # a lock held at a fork stays held in the child
    for environment in _ALL:
        environment.after_fork(child=True)
    _LOCK = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
