"""Both engines, and the one for files inside a budget that forces buckets, pass the shipped suite."""

from __future__ import annotations

from typing import ClassVar

from tiffin.offline import memory, polars
from tiffin.offline.base import OfflineEngine
from tiffin.testing.offline import OfflineSuite


class TestReference(OfflineSuite):
    histories = 5

    def open(self) -> OfflineEngine:
        return memory.open_engine()


class TestPolars(OfflineSuite):
    def open(self) -> OfflineEngine:
        return polars.open_engine()


class TestPolarsOnDisk(OfflineSuite):
    memory_budget: ClassVar[int | None] = 20_000
    histories = 7

    def open(self) -> OfflineEngine:
        return polars.open_engine()
