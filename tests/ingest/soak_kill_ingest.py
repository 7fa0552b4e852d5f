"""Long run: ingestions killed at random moments, over many seeds."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.ingest.killing import run_seeds


def run(size: int, seed: int) -> str:
    """Kill the ingestions of ``size`` seeds twice each."""
    with tempfile.TemporaryDirectory() as home:
        found = Counter(run_seeds(Path(home), range(seed, seed + size)))
    spread = ", ".join(f"{count} with {batches}" for batches, count in sorted(found.items()))
    return f"{size} seeds killed twice; batches in place after the last kill: {spread}"
