"""The reference store keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.errors import InvalidConfig
from tiffin.online.base import TableId
from tiffin.online.memory import MemoryStore, open_store
from tiffin.testing.online import OnlineSuite


class TestMemory(OnlineSuite):
    crosses_processes = False

    def open(self, place: Path) -> MemoryStore:
        return open_store(f"memory://{place.name}-{place.parent.name}")

    def peek(self, place: Path, table: TableId) -> dict[bytes, bytes]:
        return dict(self.open(place)._rows[table])

    def poke(self, place: Path, table: TableId, key: bytes, value: bytes) -> None:
        self.open(place)._rows[table][key] = value


@pytest.mark.parametrize("uri", ["memory://", "memory:name", "memory://name/path", "lmdb:///path"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="memory"):
        open_store(uri)
