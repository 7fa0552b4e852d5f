"""Many writers killed at random instants, one after the other on the same files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.online.killing import kill_once


def run(size: int, seed: int) -> str:
    """Kill ``size`` writers."""
    with tempfile.TemporaryDirectory() as folder:
        start = 0
        for number in range(seed, seed + size):
            try:
                start = kill_once(Path(folder), number, start)
            except AssertionError as error:
                raise AssertionError(f"seed {number} (of a run from {seed}): {error}") from error
    return f"{size} writers killed, {start} batches begun, nothing torn"
