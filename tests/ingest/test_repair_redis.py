"""The tests of repair with Redis as the online store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.routes import Ground
from tests.ingest.test_repair import (  # noqa: F401  # collected here with the fixture of this module
    test_a_change_of_source_that_was_cut_off_while_the_store_was_emptied,
    test_a_materialisation_forgets_no_push_after_it,
    test_a_push_that_was_cut_off_is_finished_once,
    test_pushes_that_end_out_of_order,
    test_the_first_push_of_all,
    test_what_was_only_ingested_waits,
)
from tests.online.test_redis_materialize import RedisGround


@pytest.fixture
def ground(tmp_path: Path, redis_uri: str) -> Iterator[Ground]:
    ground = RedisGround(tmp_path, redis_uri)
    yield ground
    ground.close()
