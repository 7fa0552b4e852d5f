"""The embedded store keeps the contract."""

from __future__ import annotations

from pathlib import Path

from tests.online import side_doors
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.lmdb import open_store
from tiffin.testing.online import OnlineSuite


class TestLmdb(OnlineSuite):
    def open(self, place: Path) -> OnlineStore:
        # A small first map, so that the suite's larger tests make it grow.
        return open_store(f"lmdb://{place}/online?map_size=65536")

    def peek(self, place: Path, table: TableId) -> dict[bytes, bytes]:
        return side_doors.lmdb_rows(place / "online", table)

    def poke(self, place: Path, table: TableId, key: bytes, value: bytes) -> None:
        with side_doors.lmdb_file(place / "online", write=True) as transaction:
            prefix = side_doors.lmdb_number(transaction, table).to_bytes(4, "big")
            assert transaction.replace(prefix + key, value) is not None
