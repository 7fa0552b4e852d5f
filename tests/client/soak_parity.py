"""Training and serving agree over any number of generated histories."""

from __future__ import annotations

import tempfile

import hypothesis
from hypothesis import HealthCheck, given, settings

from tests.client.histories import ENTITIES, History, histories
from tests.client.test_parity import check
from tiffin import Client


def run(size: int, seed: int) -> str:
    """Half of the histories go through ingest, half lie in plain files."""
    with tempfile.TemporaryDirectory(prefix="tiffin-parity-") as home, Client(home=home) as client:
        client.apply(ENTITIES)
        rows = sum(_try(client, max(1, size // 2), seed, as_files=as_files) for as_files in (False, True))
    return f"{size} histories, {rows} rows, offline and online equal to the bit"


def _try(client: Client, size: int, seed: int, *, as_files: bool) -> int:
    """Try so many histories; how many rows they had."""
    rows = 0

    @hypothesis.seed(seed)
    @settings(max_examples=size, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(history=histories())
    def attempt(history: History) -> None:
        nonlocal rows
        check(client, history, as_files=as_files)
        rows += sum(map(len, history.batches))

    attempt()
    return rows
