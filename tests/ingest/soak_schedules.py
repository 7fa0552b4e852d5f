"""Schedules of batches, pushes, streams, materialisation and compaction, under kills of all processes and servers.

A case is one seed (:mod:`tests.ingest.schedules`). One seed by itself: ``python -m tests.ingest.soak_schedules 17``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.ingest.schedule_world import carry_out, servers
from tests.ingest.schedules import schedule


def run(size: int, seed: int) -> str:
    """Carry out the schedules of ``size`` seeds; the first that fails is shown."""
    rows = messages = kills = again = 0
    with tempfile.TemporaryDirectory(prefix="tiffin-schedules-") as scratch, servers(Path(scratch)) as shared:
        for number in range(seed, seed + size):
            seen = carry_out(schedule(number), shared, Path(scratch) / str(number))
            rows, messages = rows + seen.rows, messages + seen.messages
            kills, again = kills + seen.kills, again + seen.again
    return f"{size} schedules, {rows} rows, {messages} of them messages, {kills} kills, {again} acts told again"


if __name__ == "__main__":
    sys.stdout.write(run(1, int(sys.argv[1])) + "\n")
