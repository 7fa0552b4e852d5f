"""A minute of mixed load while Redis and the registry service are killed; ten minutes of it are a long run."""

from __future__ import annotations

import pytest

from tests.serving.soak_load import run_for


@pytest.mark.timeout(240)
def test_a_minute_of_mixed_load_loses_nothing_and_tells_nothing_wrong() -> None:
    run_for(60, seed=1, growth_mb=25)
