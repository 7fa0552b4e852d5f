"""Both engines pass the shipped suite; the one for files also by two looks, and by buckets inside a budget."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tiffin.offline import join, memory, polars
from tiffin.offline.base import OfflineEngine
from tiffin.testing.offline import OfflineSuite


class TestReference(OfflineSuite):
    histories = 5

    def open(self) -> OfflineEngine:
        return memory.open_engine()


class TestPolars(OfflineSuite):
    def open(self) -> OfflineEngine:
        return polars.open_engine()


class TestPolarsInTwoLooks(OfflineSuite):
    """Tables of any size are treated as large ones are."""

    histories = 7

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(join, "ONE_LOOK_BYTES", 0)

    def open(self) -> OfflineEngine:
        return polars.open_engine()


class TestPolarsOnDisk(OfflineSuite):
    memory_budget: ClassVar[int | None] = 20_000
    histories = 7

    def open(self) -> OfflineEngine:
        return polars.open_engine()
