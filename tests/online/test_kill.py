"""A writer killed at any instant leaves a store that opens, with every acknowledged batch and no torn row."""

from __future__ import annotations

from pathlib import Path

from tests.online.killing import kill_once


def test_killed_writers_leave_whole_batches(tmp_path: Path) -> None:
    start = 0
    for seed in range(15):
        start = kill_once(tmp_path, seed, start)
