"""Longer histories with compactions, vacuums and rewrites at any time; each case is one of up to 30 steps."""

from __future__ import annotations

import random

from tests.offline.compacting import UPKEEP, WRITES, agree


def run(size: int, seed: int) -> str:
    saved = steps_taken = 0
    for case in range(seed, seed + size):
        chance = random.Random(case)
        steps = [chance.choice((*WRITES, "ingest", "push", *UPKEEP)) for _ in range(chance.randint(1, 30))]
        try:
            saved += agree(steps, case, partition=chance.choice(["", "day"]), plain=chance.randint(0, 2))
        except Exception as error:
            error.add_note(f"seed {case}: {steps}")
            raise
        steps_taken += len(steps)
    return f"{size} histories of {steps_taken} steps answer as without compaction, in {saved} files fewer"
