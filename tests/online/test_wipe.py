"""Wiping an LMDB file: no byte of a deleted row is left, and every other row stays what it was."""

from __future__ import annotations

import multiprocessing
import random
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import pytest

from tiffin.errors import CorruptData
from tiffin.online.base import RANK_BYTES, Purgeable, TableId
from tiffin.online.lmdb import LmdbStore
from tiffin.online.wipe import wipe

TABLE = TableId("default", "t")
RANK = bytes(RANK_BYTES)
SECRET = b"secret-7731"
CONTEXT = multiprocessing.get_context("forkserver")


def key(number: int) -> bytes:
    return b"%08d-" % number + b"k" * (number % 40)


@pytest.mark.parametrize("seed", range(8))
def test_no_deleted_row_is_found_and_all_others_stay(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = LmdbStore(str(tmp_path))
    assert isinstance(store, Purgeable)
    kept: dict[bytes, bytes] = {}
    for _ in range(6):
        batch = {}
        for _ in range(chance.randint(1, 3000)):
            name = key(chance.randint(0, 20_000))
            batch[name] = RANK + chance.randbytes(chance.choice([4, 50, 300, 300, 5000 if seed % 2 else 300]))
        secrets = [SECRET + key(n) for n in range(chance.randint(1, 400))]
        store.write(TABLE, [*batch.items(), *((each, RANK + b"hidden" + SECRET) for each in secrets)])
        kept |= batch
        gone = chance.sample(sorted(kept), len(kept) // 4)
        store.delete(TABLE, [*gone, *secrets])
        kept = {name: value for name, value in kept.items() if name not in set(gone)}
        if chance.random() < 0.5:
            assert store.purge() == ""
            assert SECRET not in (tmp_path / "data.mdb").read_bytes()
            assert dict(store.scan(TABLE)) == kept
    assert store.purge() == ""
    assert SECRET not in (tmp_path / "data.mdb").read_bytes()
    store.close()
    again = LmdbStore(str(tmp_path))
    assert dict(again.scan(TABLE)) == kept
    again.write(TABLE, [(key(n), RANK + b"later") for n in range(2000)])
    again.close()
    with lmdb.open(str(tmp_path), readonly=True) as environment, environment.begin() as transaction:
        assert transaction.stat()["entries"] >= len(kept)


def _reader(folder: Path, pipe: Connection) -> None:
    """Look at the file as it is now, until told; whether it looked the same all the time."""
    with lmdb.open(str(folder), readonly=True) as environment, environment.begin() as transaction:
        seen = dict(transaction.cursor())
        pipe.send("looking")
        pipe.recv()
        pipe.send(dict(transaction.cursor()) == seen)


def test_pages_that_a_reader_looks_at_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.online.lmdb.WIPE_PATIENCE_S", 0.2)
    store = LmdbStore(str(tmp_path))
    rows = [(SECRET + key(n), RANK + SECRET) for n in range(5000)]
    store.write(TABLE, rows)
    ours, theirs = CONTEXT.Pipe()
    reader = CONTEXT.Process(target=_reader, args=(tmp_path, theirs))
    reader.start()
    assert ours.poll(60)
    ours.recv()
    store.delete(TABLE, [name for name, _ in rows])
    assert "readers" in store.purge()
    ours.send("look again")
    assert ours.poll(60)
    assert ours.recv() is True
    reader.join(60)
    assert store.purge() == ""
    assert SECRET not in (tmp_path / "data.mdb").read_bytes()
    store.close()


def test_a_process_that_wrote_what_was_wiped_writes_none_of_it_again(tmp_path: Path) -> None:
    """LMDB writes into gaps of pages whatever its memory held."""
    store, rows = LmdbStore(str(tmp_path)), [(SECRET + key(n), RANK + SECRET * 20) for n in range(3000)]
    for _ in range(3):
        store.write(TABLE, rows)
        store.delete(TABLE, [name for name, _ in rows])
    assert store.purge() == ""
    for start in range(0, 3000, 7):
        store.write(TABLE, [(key(start), RANK + b"x")])
    assert SECRET not in (tmp_path / "data.mdb").read_bytes()
    store.close()


def test_a_store_that_was_never_written_stays_so(tmp_path: Path) -> None:
    store = LmdbStore(str(tmp_path / "online"))
    assert store.purge() == ""
    assert not (tmp_path / "online").exists()
    store.close()


def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "data.mdb"
    file.write_bytes(b"\x01" * 8192)
    with pytest.raises(CorruptData):
        wipe(file, None)
    assert file.read_bytes() == b"\x01" * 8192
