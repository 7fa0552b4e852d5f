"""Generated histories of writes, compactions and vacuums answer as they do without the latter."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.offline.compacting import UPKEEP, WRITES, agree


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from((*WRITES, "ingest", *UPKEEP, "compact")), max_size=10),
    st.integers(0, 1_000),
    st.sampled_from(["", "day"]),
    st.integers(0, 2),
)
def test_compaction_changes_no_answer(steps: list[str], seed: int, partition: str, plain: int) -> None:
    agree(steps, seed, partition=partition, plain=plain)
