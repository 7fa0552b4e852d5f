"""What killed ingestions left, looked at while other writers come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from tests.ingest.lakes import rows
from tiffin.offline.area import AREA, seconds_old, sweep


@pytest.fixture
def table(tmp_path: Path) -> DeltaTable:
    """A table beside which two batches stand, of which nothing but the folder was made."""
    write_deltalake(tmp_path, rows(1))
    for name in ("first", "second"):
        (tmp_path / AREA / name).mkdir(parents=True)
    return DeltaTable(tmp_path)


def test_a_batch_that_ends_while_it_is_looked_at_is_no_error(
    table: DeltaTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer removes the folder between the two looks at it; the other one is swept all the same."""
    is_dir = Path.is_dir

    def ended(self: Path) -> bool:
        found = is_dir(self)
        if self.name == "first":
            self.rmdir()
        return found

    monkeypatch.setattr(Path, "is_dir", ended)
    assert sweep(str(tmp_path), table, older_than=0.0) == 1
    assert list((tmp_path / AREA).iterdir()) == []


def test_young_batches_are_left_alone(table: DeltaTable, tmp_path: Path) -> None:
    assert sweep(str(tmp_path), table, older_than=60.0) == 0
    assert len(list((tmp_path / AREA).iterdir())) == 2


def test_the_age_of_what_is_gone_is_not_known(tmp_path: Path) -> None:
    assert seconds_old(tmp_path / "gone") is None
    assert seconds_old(tmp_path) is not None
