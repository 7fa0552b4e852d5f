"""The embedded store under what befalls files: growth, forks, other processes, full and foreign disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import pytest

from tests.online import side_doors
from tests.online.workers import TABLE, value
from tiffin.errors import CorruptData, FailedPrecondition, InvalidConfig, StorageError
from tiffin.online import environment, keyspace, mounts
from tiffin.online.base import WriteResult
from tiffin.online.lmdb import LmdbStore, open_store

WORKER = [sys.executable, "-m", "tests.online.workers"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "online"


@pytest.fixture
def uri(place: Path) -> str:
    return f"lmdb://{place}?map_size=65536"


@pytest.fixture
def store(uri: str) -> Iterator[LmdbStore]:
    opened = open_store(uri)
    yield opened
    opened.close()


def work(*arguments: object) -> str:
    ran = subprocess.run([*WORKER, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# Growth


def test_the_map_grows_by_itself(store: LmdbStore) -> None:
    rows = [(b"%d" % number, value(number, bytes(1000))) for number in range(5_000)]
    assert store.write(TABLE, rows) == WriteResult(5_000, 0)
    assert store.read(TABLE, [b"0", b"4999"]) == [rows[0][1], rows[-1][1]]
    assert store.write(TABLE, [(b"big", value(1, bytes(20 << 20)))]) == WriteResult(1, 0)
    assert len(store.read(TABLE, [b"big"])[0] or b"") == 32 + (20 << 20)


def test_growth_by_another_process_is_taken_over(store: LmdbStore, uri: str) -> None:
    store.write(TABLE, [(b"mine", value(1))])
    assert store.read(TABLE, [b"mine"]) == [value(1)]
    work("fill", uri, 0, 2_000, 1000)
    assert store.read(TABLE, [b"mine", b"1999"]) == [value(1), value(1, bytes(1000))]
    work("fill", uri, 2_000, 4_000, 1000)
    assert store.write(TABLE, [(b"mine", value(2))]) == WriteResult(1, 0)
    assert sum(1 for _ in store.scan(TABLE)) == 6_001
    work("fill", uri, 6_000, 8_000, 1000)
    assert store.layouts(TABLE) == []
    assert sum(1 for _ in store.scan(TABLE)) == 14_001


@contextmanager
def readers(look: Callable[[], object], count: int = 4) -> Iterator[None]:
    """Threads that call ``look`` over and over; what one raises is raised in the end."""
    done = threading.Event()

    def loop() -> int:
        times = 0
        while not done.is_set():
            look()
            times += 1
        return times

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(loop) for _ in range(count)]
        try:
            yield
        finally:
            done.set()
        assert all(thread.result() for thread in running)


def test_threads_read_on_while_the_map_grows(store: LmdbStore) -> None:
    store.write(TABLE, [(b"k", value(0))])

    def look() -> None:
        assert store.read(TABLE, [b"k"])[0] is not None
        assert next(iter(store.scan(TABLE)))[1] is not None

    with readers(look):
        for number in range(12):
            store.write(TABLE, [(b"big %d" % number, value(number, bytes(64 << number)))])
            store.write(TABLE, [(b"k", value(number))])


def test_a_write_that_fails_lets_readers_and_writers_go_on(store: LmdbStore) -> None:
    store.write(TABLE, [(b"k", value(0))])

    def fail(transaction: object) -> None:
        raise ZeroDivisionError

    def look() -> None:
        assert store.read(TABLE, [b"k"])[0] is not None

    with readers(look):
        for number in range(20):
            with pytest.raises(ZeroDivisionError):
                store._environment.write(fail)
            assert store.write(TABLE, [(b"k", value(number))]).written == 1


# Processes


def fork(child: Callable[[], bool]) -> None:
    """Run ``child`` in a fork of this process, and expect it to return True."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if child() else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_fork_opens_the_file_anew(store: LmdbStore, place: Path) -> None:
    store.write(TABLE, [(b"k", value(1))])
    assert store.read(TABLE, [b"k"]) == [value(1)]

    def child() -> bool:
        before = store.read(TABLE, [b"k"]) == [value(1)]
        return before and store.write(TABLE, [(b"k", value(2))]) == WriteResult(1, 0)

    fork(child)
    assert store.read(TABLE, [b"k"]) == [value(2)]
    fork(lambda: store.read(TABLE, [b"k"]) == [value(2)])
    assert store.write(TABLE, [(b"k", value(3))]) == WriteResult(1, 0)


def test_forks_between_reading_threads_disturb_nobody(store: LmdbStore) -> None:
    store.write(TABLE, [(b"k", value(1))])

    def look() -> None:
        assert store.read(TABLE, [b"k"])[0] is not None

    with readers(look, 3):
        for number in range(10):
            fork(partial(_write_one, store, number + 2))
    assert store.read(TABLE, [b"k"]) == [value(11)]


def _write_one(store: LmdbStore, event: int) -> bool:
    return store.write(TABLE, [(b"k", value(event))]) == WriteResult(1, 0)


def test_stores_of_one_path_share_one_environment(store: LmdbStore, place: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(place)
    other = open_store(f"lmdb://{link}")
    other.write(TABLE, [(b"k", value(1))])
    assert store.read(TABLE, [b"k"]) == [value(1)]
    other.close()
    other.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        other.read(TABLE, [b"k"])
    assert store.write(TABLE, [(b"k", value(2))]).written == 1


@contextmanager
def killed_reader(place: Path) -> Iterator[str]:
    """The process id of one that was killed in a read transaction."""
    reader = subprocess.Popen([*WORKER, "hold_a_read", place], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    reader.kill()
    reader.wait()
    reader.stdout.close()
    yield str(reader.pid)


def test_a_reader_that_was_killed_is_cleared_by_who_opens_next(store: LmdbStore, uri: str, place: Path) -> None:
    store.write(TABLE, [(b"k", value(1))])
    with killed_reader(place) as pid:
        assert pid in store._environment._env.readers()
        assert work("read", uri, "k") == "1"
        assert pid not in store._environment._env.readers()


def test_a_reader_that_was_killed_does_not_make_the_file_grow(store: LmdbStore, place: Path) -> None:
    store.write(TABLE, [(b"k", value(0, bytes(10_000)))])
    with killed_reader(place) as pid:
        for number in range(200):
            store.write(TABLE, [(b"k", value(number, bytes(10_000)))])
        assert pid not in store._environment._env.readers()
    assert (place / "data.mdb").stat().st_size < 300_000


# What is not there, not writable, or not ours


def test_reading_makes_nothing(store: LmdbStore, place: Path) -> None:
    assert store.read(TABLE, [b"k"]) == [None]
    assert store.layouts(TABLE) == []
    assert store.read_mark(TABLE) is None
    assert list(store.scan(TABLE)) == []
    assert store.delete(TABLE, [b"k"]) == 0
    assert store.sweep(10**18) == 0
    assert store.drop(TABLE) == 0
    assert not place.exists()


def test_what_another_process_makes_is_found(store: LmdbStore, uri: str) -> None:
    assert store.read(TABLE, [b"7"]) == [None]
    work("fill", uri, 7, 1, 0)
    assert store.read(TABLE, [b"7"]) == [value(1)]


def test_a_file_replaced_under_an_open_store_takes_no_writes(store: LmdbStore, place: Path) -> None:
    store.write(TABLE, [(b"k", value(1))])
    shutil.rmtree(place)
    with pytest.raises(StorageError, match="deleted or replaced"):
        store.write(TABLE, [(b"k", value(2))])
    other = place.with_name("other")
    made = LmdbStore(str(other))
    made.write(TABLE, [(b"k", value(7))])
    made.close()
    other.rename(place)
    with pytest.raises(StorageError, match="Close it and open it again"):
        store.write(TABLE, [(b"k", value(2))])
    store.close()
    again = LmdbStore(str(place))
    assert again.read(TABLE, [b"k"]) == [value(7)]
    again.close()


def in_a_namespace(script: str) -> str:
    """Run a shell script whose mounts nobody else sees."""
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this system lets nobody mount in a namespace of their own")
    ran = subprocess.run(["unshare", "-rm", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_read_only_file_system_is_read(store: LmdbStore, uri: str, place: Path, tmp_path: Path) -> None:
    store.write(TABLE, [(b"k", value(5))])
    store.close()
    worker = " ".join(WORKER)
    seen = in_a_namespace(
        f"mount --bind {tmp_path} {tmp_path}; mount -o remount,ro,bind {tmp_path};"
        f"{worker} read {uri} k; {worker} read {uri} none; {worker} read lmdb://{place}/none k;"
        f"{worker} write {uri} k 6"
    )
    first, *rest, last = seen.splitlines()
    assert (first, rest) == ("5", ["None", "None"])
    assert last.startswith("StorageError: ")
    assert "cannot be written" in last


def test_a_full_disk_refuses_and_keeps_what_it_took(tmp_path: Path) -> None:
    seen = in_a_namespace(
        f"mount -t tmpfs -o size=3m none {tmp_path}; {' '.join(WORKER)} fill_until_refused lmdb://{tmp_path}/online"
    )
    refusal, intact = seen.splitlines()
    assert 10 < int(refusal.split()[0]) < 31
    assert "StorageError" in refusal
    assert "disk has room" in refusal
    assert intact == "True"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_of_somebody_else_is_refused() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = LmdbStore(f"{folder}/online")
        store.write(TABLE, [(b"k", value(5))])

        def child() -> bool:
            os.setuid(65534)
            for call in (lambda: store.write(TABLE, [(b"k", value(6))]), lambda: store.read(TABLE, [b"k"])):
                with pytest.raises(StorageError, match="may read and write the folder"):
                    call()
            elsewhere = LmdbStore(f"{folder}/elsewhere")
            with pytest.raises(StorageError, match="Permission denied"):
                elsewhere.write(TABLE, [(b"k", value(6))])
            return elsewhere.read(TABLE, [b"k"]) == [None]

        fork(child)
        assert store.read(TABLE, [b"k"]) == [value(5)]
        store.close()


def test_foreign_files_are_not_taken_for_ours(store: LmdbStore, place: Path) -> None:
    place.mkdir()
    bare = lmdb.open(str(place))
    with bare.begin(write=True) as transaction:
        transaction.put(b"something", b"else")
    bare.close()
    with pytest.raises(CorruptData, match="something else"):
        store.read(TABLE, [b"k"])
    with pytest.raises(CorruptData, match="something else"):
        store.write(TABLE, [(b"k", value(1))])
    store.close()
    with side_doors.lmdb_file(place) as transaction:
        assert transaction.stat()["entries"] == 1


def test_a_later_format_is_refused(store: LmdbStore, uri: str, place: Path) -> None:
    store.write(TABLE, [(b"k", value(1))])
    store.close()
    with side_doors.lmdb_file(place, write=True) as transaction:
        transaction.put(b"\0\0\0\0format\0", b"2")
    later = open_store(uri)
    with pytest.raises(CorruptData, match="newer Tiffin"):
        later.read(TABLE, [b"k"])
    later.close()


def test_garbage_is_corrupt_and_a_file_is_no_folder(store: LmdbStore, place: Path, tmp_path: Path) -> None:
    place.mkdir()
    (place / "data.mdb").write_bytes(b"not a database" * 1000)
    for call in (lambda: store.read(TABLE, [b"k"]), lambda: store.write(TABLE, [(b"k", value(1))])):
        with pytest.raises(CorruptData, match="cannot be opened"):
            call()
    (tmp_path / "file").write_text("")
    blocked = LmdbStore(str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be opened"):
        blocked.write(TABLE, [(b"k", value(1))])
    blocked.close()


@pytest.mark.parametrize(
    "uri", ["lmdb://", "lmdb:///", "lmdb://relative/path", "redis:///x", "lmdb:///x?size=1", "lmdb:///x?map_size=big"]
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="lmdb:///path"):
        open_store(uri)


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    opened = open_store(f"lmdb://{tmp_path}/a%20b%3Fc")
    opened.write(TABLE, [(b"k", value(1))])
    opened.close()
    assert (tmp_path / "a b?c" / "data.mdb").exists()


# Network file systems

MOUNT_LINES = r"""
/dev/vda / ext4 rw 0 0
server:/export /srv/nfs nfs4 rw 0 0
/dev/vdb /srv/nfs/local ext4 rw 0 0
user@host: /home/me/remote\040disk fuse.sshfs rw 0 0
//server/share /srv/share cifs rw 0 0
tmpfs /srv/share tmpfs rw 0 0
host /mnt/c 9p rw 0 0
bucket /buckets fuse.gcsfuse rw 0 0
overlay /overlay overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/deep/down", "nfs4"),
        ("/srv/nfs/local/x", None),
        ("/srv/nfsx", None),
        ("/home/me/remote disk/x", "fuse.sshfs"),
        ("/home/me/remote", None),
        ("/srv/share/x", None),  # the last mount on a point hides those before it
        ("/mnt/c/x", "9p"),
        ("/buckets/b", "fuse.gcsfuse"),
        ("/overlay/x", None),
        ("/", None),
    ],
)
def test_network_file_systems_are_refused(
    path: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "mounts"
    listed.write_text(MOUNT_LINES.lstrip())
    monkeypatch.setattr(mounts, "MOUNTS", listed)
    if kind is None:
        mounts.refuse_network(path)
        return
    with pytest.raises(StorageError, match=f"mounted by {kind}"):
        mounts.refuse_network(path)


def test_a_store_on_a_network_file_system_is_not_even_made(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "mounts"
    listed.write_text(f"server:/x {tmp_path} nfs rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", listed)
    refused = LmdbStore(str(place))
    with pytest.raises(StorageError, match="mounted by nfs"):
        refused.write(TABLE, [(b"k", value(1))])
    assert not place.exists()
    refused.close()
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    unknown = LmdbStore(str(place))
    assert unknown.write(TABLE, [(b"k", value(1))]).written == 1
    unknown.close()


# Bounded transactions


def test_sweeping_and_dropping_go_by_pages(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyspace, "PAGE_ROWS", 100)
    transactions: list[int] = []
    write = environment.Environment.write

    def counted(self: environment.Environment, work: object) -> object:
        result = write(self, work)  # type: ignore[arg-type]
        transactions.append(result if isinstance(result, int) else -1)
        return result

    store.write(TABLE, [(b"%d" % number, value(number)) for number in range(1_000)], expire_after=10)
    monkeypatch.setattr(environment.Environment, "write", counted)
    assert store.sweep(510) == 500
    assert sum(transactions) == 500
    assert max(transactions) <= 100
    assert sum(1 for _ in store.scan(TABLE)) == 500


def test_a_row_written_again_since_it_was_looked_at_is_not_swept(store: LmdbStore) -> None:
    store.write(TABLE, [(b"k", value(1))], expire_after=10)
    prefix = store._prefix(TABLE)
    assert prefix is not None
    store.write(TABLE, [(b"k", value(100))], expire_after=10)
    expired = [prefix + b"k", prefix + b"gone"]
    assert store._environment.write(lambda t: keyspace.delete_keys(t, keys=expired, before=50)) == 0
    assert store.read(TABLE, [b"k"]) == [value(100)]
