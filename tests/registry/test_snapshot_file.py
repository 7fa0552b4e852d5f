"""The last state of a registry on disk: whole or not at all, private, and never taken for what it is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tiffin.errors import CorruptData, StorageError
from tiffin.registry import contents as documents
from tiffin.registry import snapshot_file
from tiffin.registry.base import Contents
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.registry import Registry
from tiffin.registry.snapshot import Snapshot
from tiffin.testing.registry import driver, trips


@pytest.fixture
def contents() -> Contents:
    registry = Registry(MemoryRegistry())
    registry.apply([driver(description="ä\u2028"), trips()])
    registry.delete(type(trips()), "trips")
    registry.create_project("rides")
    registry.archive_project("rides")
    return registry.store.load()


def test_a_state_is_read_back_exactly(contents: Contents, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    assert snapshot_file.load(path) is None
    snapshot_file.save(path, contents)
    assert snapshot_file.load(path) == contents
    assert Snapshot(contents).contents() == contents
    assert documents.decode(documents.encode(contents)) == contents


def test_it_is_private_whatever_stood_there(contents: Contents, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    path.chmod(0o644)
    snapshot_file.save(path, contents)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "other", "unsealed"])
def test_what_is_damaged_or_of_another_format_is_refused(contents: Contents, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state"
    snapshot_file.save(path, contents)
    data = path.read_bytes()
    changed = {
        "empty": b"",
        "short": data[:-1],
        "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "other": data.replace(b"snapshot 1", b"snapshot 9"),
        "unsealed": data.partition(b"\n")[2],
    }
    path.write_bytes(changed[damage])
    with pytest.raises(CorruptData, match="Delete it"):
        snapshot_file.load(path)


def test_a_failed_write_leaves_what_was_there(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    snapshot_file.save(path, contents)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        snapshot_file.save(path, Contents(9, (), ()))
    monkeypatch.undo()
    assert snapshot_file.load(path) == contents
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
