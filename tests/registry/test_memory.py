"""The reference in memory passes the shipped suite."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tiffin.registry.base import Key
from tiffin.registry.memory import MemoryRegistry, open_registry
from tiffin.testing.registry import Peeked, RegistrySuite, StoreSuite


class TestMemoryRegistry(StoreSuite, RegistrySuite):
    @pytest.fixture
    def store(self) -> MemoryRegistry:
        return open_registry("memory://")

    def peek(self, store: Any, key: Key) -> Peeked | None:
        record = store._records.get(key)
        return record and Peeked(record.revision, record.deleted, msgspec.json.decode(record.spec))
