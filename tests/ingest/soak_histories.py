"""Long run: generated histories through ingestion, against the reference."""

from __future__ import annotations

from tests.ingest.histories import agree
from tests.offline.soak_join import a_shape
from tiffin.testing.strategies import build


def run(size: int, seed: int) -> str:
    """Try ``size`` histories; their shapes follow from the seeds."""
    rejected = 0
    for number in range(seed, seed + size):
        shape = a_shape(number)
        try:
            rejected += agree(build(shape), number)
        except Exception as error:
            raise AssertionError(f"seed {number} fails: {shape}") from error
    return f"{size} histories read as they were ingested; {rejected} rows were set aside"
