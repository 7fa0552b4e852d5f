"""``tiffin verify`` and ``tiffin repair``: what they say, and with which code they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Tiffin
from tests.ingest.corruptions import key_of
from tests.ingest.repair_workers import opened, rows
from tiffin.online.base import TableId
from tiffin.online.lmdb import LmdbStore

pytestmark = pytest.mark.filterwarnings("ignore::tiffin.errors.StaleStoreWarning")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with opened(tmp_path / "home") as client:
        client.push("t", rows(1, 2, 3))
    return tmp_path / "home"


def test_stores_that_agree(tiffin: Tiffin, home: Path) -> None:
    assert tiffin("verify", "--home", home).out == "✓ t: 3 keys compared\n"
    answer = tiffin("verify", "t", "--all", "--home", home, "--json").json
    assert (answer["is_consistent"], answer["found"]) == (True, 0)
    assert answer["tables"][0]["state"] == "compared"


def test_a_difference_is_shown_and_ends_with_1(tiffin: Tiffin, home: Path) -> None:
    store = LmdbStore(str(home / "online"))
    store.delete(TableId("default", "t"), [key_of(2)])
    store.close()
    said = tiffin("verify", "--home", home, code=1).out
    assert "✗ t: 1 missing: 3 keys compared" in said
    assert "  k=2: missing: nothing is online under its key" in said
    answer = tiffin("verify", "--home", home, "--json", code=1).json
    [example] = answer["tables"][0]["examples"]
    assert (example["kind"], example["key"], example["online"]) == ("missing", {"k": 2}, None)
    assert example["offline"] == {"event_timestamp": "2026-09-01T00:00:00Z", "a": 1}
    assert answer["tables"][0]["differences"] == {"missing": 1, "stale": 0, "different": 0, "orphaned": 0}
    assert "1 mended" in tiffin("verify", "--fix", "--home", home, code=1).out
    assert tiffin("verify", "--home", home).out == "✓ t: 3 keys compared\n"


def test_a_table_that_was_never_materialized(tiffin: Tiffin, tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        client.ingest("t", rows(1))
    assert "- t: never materialized: nothing of it was brought online yet" in tiffin("verify", "--home", tmp_path).out


def test_options_that_exclude_each_other(tiffin: Tiffin, home: Path) -> None:
    assert "--all compares every key" in tiffin("verify", "--all", "--sample", 5, "--home", home, code=1).err


def test_repair_has_nothing_to_do(tiffin: Tiffin, home: Path) -> None:
    assert tiffin("repair", "--home", home).out == "Nothing was left undone.\n"
    assert tiffin("repair", "--home", home, "--json").json == []
