"""What the online service holds of the registry, and when it may no longer write by that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.serving.gates import until
from tiffin.errors import Unavailable
from tiffin.registry.base import Contents
from tiffin.registry.snapshot import Snapshot
from tiffin.serving.online.definitions import STALE, Definitions


class Behind:
    """A registry service that answers, though its database last did ``age`` seconds ago."""

    def __init__(self, age: float) -> None:
        self.age = age

    def snapshot(self, *, fresh: bool) -> Snapshot:
        assert fresh
        return Snapshot(Contents(1, (), ()))


@pytest.mark.parametrize(("age", "writes"), [(0.0, True), (STALE - 5, True), (STALE + 1, False), (float("inf"), False)])
def test_nothing_is_written_by_what_a_service_merely_holds(tmp_path: Path, age: float, writes: bool) -> None:
    workspace: Any = SimpleNamespace(registry=Behind(age), store=object())
    definitions = Definitions(workspace, tmp_path / "held")
    definitions.start()
    try:
        until(lambda: definitions.snapshot is not None and definitions.store is not None)
        if writes:
            definitions.require_fresh()
            assert definitions.age is not None
            assert age <= definitions.age < age + 4
        else:
            with pytest.raises(Unavailable):
                definitions.require_fresh()
    finally:
        definitions.close()
