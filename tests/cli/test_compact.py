"""tiffin compact."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Tiffin

CSV = "data/driver_statistics.csv"


@pytest.fixture
def filled(starter: Path, tiffin: Tiffin) -> Path:
    tiffin("apply")
    for _ in range(3):
        tiffin("ingest", "driver_statistics", CSV)
    return starter


def data() -> list[str]:
    return [str(path) for path in Path("history/driver_statistics").rglob("part-*.parquet")]


def test_files_become_few_and_old_ones_go(filled: Path, tiffin: Tiffin) -> None:
    before = len(data())
    shown = tiffin("compact").out
    assert f"driver_statistics: {before} files became {before // 3}." in shown
    (done,) = tiffin("compact", "driver_statistics", "--vacuum", "--retention", "0", "--json").json
    assert (done["merged"], done["vacuumed"]) == (0, before)
    assert len(data()) == before // 3
    assert "nothing to merge" in tiffin("compact").out


def test_options_that_say_nothing_are_refused(filled: Path, tiffin: Tiffin) -> None:
    assert "--vacuum" in tiffin("compact", "--force", code=1).err
    assert tiffin("compact", "--retention", "5", "--json", code=1).error["field"] == "vacuum"
