"""With writers at work nothing is told that is not so, and what is so is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.verify_writers import watch


@pytest.mark.timeout(180)
@pytest.mark.parametrize("where", ["lmdb", "redis"])
def test_no_false_alarm(tmp_path: Path, where: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("redis_uri") if where == "redis" else ""
    looks, _ = watch(tmp_path, uri, seconds=4, seed=1)
    assert looks >= 2
