"""All writers of a table at once, and kills of everything: both stores agree, nothing is lost, nothing is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.schedule_world import Servers, carry_out, servers
from tests.ingest.schedules import schedule

SEEDS = 30
#: Each group has servers of its own, so that workers share the seeds.
GROUPS = 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=pytest.mark.xdist_group(f"schedules-{seed % GROUPS}")) for seed in range(SEEDS)],
)
def test_a_schedule(shared: Servers, tmp_path: Path, seed: int) -> None:
    seen = carry_out(schedule(seed), shared, tmp_path)
    assert seen.rows > 0


def test_a_schedule_is_a_function_of_its_seed() -> None:
    assert schedule(7) == schedule(7) != schedule(8)
    assert "kill redis" in str(schedule(7))
