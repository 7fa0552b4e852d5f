"""An ingestion that is killed leaves no half batch; tried again, nothing is lost and nothing doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.killing import BATCHES, run_seeds


@pytest.mark.timeout(240)
def test_killed_ingestions_leave_whole_batches(tmp_path: Path) -> None:
    found = run_seeds(tmp_path, range(1, 16))
    # The kills fall before, between and after commits, or the test would show nothing.
    assert min(found) < BATCHES
    assert max(found) > 0
