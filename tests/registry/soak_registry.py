"""Long histories of a registry in SQLite against the model."""

from __future__ import annotations

from hypothesis import seed as seeded
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.registry.test_machine import InSqlite


def run(size: int, seed: int) -> str:
    steps = 60
    chosen = settings(max_examples=size, stateful_step_count=steps, deadline=None, database=None)
    run_state_machine_as_test(seeded(seed)(InSqlite), settings=chosen)
    return f"{size} histories of up to {steps} steps agree with the model, in the file too"
