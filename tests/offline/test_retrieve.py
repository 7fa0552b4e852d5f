"""Requests are checked before any work, and answers are whole, in memory and as files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from tiffin.control import Control
from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidData,
    InvalidReference,
    JobCancelled,
    StorageError,
    Unsupported,
)
from tiffin.offline import join, polars
from tiffin.offline.look import FileRows
from tiffin.offline.plan import make_plan
from tiffin.offline.retrieve import collect, latest_frame, prepare, retrieve, write_parts
from tiffin.testing.asking import Asking, asking, day, rows_of, selection_of
from tiffin.types import ValueType


class Place(Asking):
    def open(self) -> polars.PolarsEngine:
        return polars.open_engine()


PLACE = Place()


def a_table(name: str = "trips", *, key: ValueType = ValueType.INT64, created: str = "created") -> TableSchema:
    return TableSchema(
        "default",
        name,
        (Column("driver", key, "driver"),),
        (Column("amount", ValueType.INT64, "amount"),),
        FileSource("event", ParquetFormat(), "nowhere", created),
    )


# Plans


def test_a_repeated_column_is_answered_once() -> None:
    selection = selection_of(a_table())
    assert make_plan([selection], ["trips__amount", "trips__amount"]).columns == ("trips__amount",)


def test_two_features_of_one_name_are_refused() -> None:
    one, other = selection_of(a_table()), Selection(a_table("stops"), a_table().features, ("trips__amount",))
    with pytest.raises(InvalidReference, match="both yield the column 'trips__amount'"):
        make_plan([one, other], ["trips__amount"])


def test_a_column_of_no_table_is_refused() -> None:
    with pytest.raises(InvalidReference, match=r"'trips__amounts'.*Did you mean 'trips__amount'"):
        make_plan([selection_of(a_table())], ["trips__amounts"])


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="No features"):
        make_plan([], [])


def test_one_entity_of_two_types_is_refused() -> None:
    tables = [selection_of(a_table()), selection_of(a_table("stops", key=ValueType.STRING))]
    with pytest.raises(InvalidArgument, match=r"STRING|INT64"):
        make_plan(tables, ["trips__amount", "stops__amount"])


def test_known_at_must_be_answerable() -> None:
    selection = selection_of(a_table())
    bad: Any = "then"
    with pytest.raises(InvalidArgument, match="known_at"):
        make_plan([selection], ["trips__amount"], known_at=bad)
    with pytest.raises(Unsupported, match="created_timestamp_column"):
        make_plan([selection_of(a_table(created=""))], ["trips__amount"], known_at=5)


def test_a_column_of_the_entity_source_may_not_have_a_features_name() -> None:
    rows = asking([(1, day(1))], {"trips__amount": [1]})
    with pytest.raises(InvalidArgument, match="trips__amount"):
        prepare([selection_of(a_table())], ["trips__amount"], rows)


def test_a_source_that_does_not_fit_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    table = PLACE.history(tmp_path, [(1, day(1), None, 7)])
    wrong = msgspec.structs.replace(table, features=(Column("amount", ValueType.STRING, "amount"),))
    plan, rows = prepare([selection_of(wrong)], ["trips__amount"], asking([(1, day(2))]))
    with pytest.raises(InvalidData, match="declared STRING"):
        PLACE.open().join(plan, rows, memory_budget=None, control=Control())


@pytest.mark.parametrize(("limit", "looks"), [(40 * 24, 1), (40 * 24 - 1, 2)])
def test_a_table_that_is_small_with_its_features_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, looks: int
) -> None:
    """A row is a key, an event time and a feature: 24 bytes."""
    table = PLACE.history(tmp_path, [(number, day(1), None, number) for number in range(40)])
    table = msgspec.structs.replace(table, source=msgspec.structs.replace(table.source, created_timestamp_column=""))
    request = prepare([selection_of(table)], ["trips__amount"], asking([(7, day(2)), (41, day(2))]))
    monkeypatch.setattr(join, "ONE_LOOK_BYTES", limit)
    monkeypatch.setattr(join, "_size_on_disk", lambda _: 0)
    seen: list[str] = []
    for name in ("narrow", "held", "fetch"):
        whole = getattr(FileRows, name)
        monkeypatch.setattr(FileRows, name, lambda *given, w=whole, n=name: seen.append(n) or w(*given))
    assert collect(polars.open_engine(), *request)["trips__amount"].to_list() == [7, None]
    assert seen == (["held"] if looks == 1 else ["narrow", "fetch"])


# Files


def test_part_files_hold_the_rows_in_order(tmp_path: Path) -> None:
    table = PLACE.history(tmp_path, [(number, day(1), None, number) for number in range(50)])
    request = prepare([selection_of(table)], ["trips__amount"], asking([(49 - number, day(2)) for number in range(50)]))
    target = tmp_path / "out" / "answer"
    assert retrieve(polars.open_engine(), *request, str(target)) == 50
    assert [path.name for path in target.iterdir()] == ["part-00000.parquet"]
    written = pl.read_parquet(target / "part-*.parquet")
    assert written.equals(collect(polars.open_engine(), *request))
    assert written["trips__amount"].to_list() == list(range(49, -1, -1))


def test_several_batches_are_several_parts_in_order(tmp_path: Path) -> None:
    batches = [pl.DataFrame({"x": [number]}) for number in range(12)]
    assert write_parts(iter(batches), f"file://{tmp_path}/out") == 12
    assert pl.read_parquet(sorted((tmp_path / "out").iterdir()))["x"].to_list() == list(range(12))


def test_an_answer_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def batches() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"x": [1]})
        assert not (tmp_path / "out").exists()
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError, match="the disk is gone"):
        write_parts(batches(), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_answer_leaves_nothing(tmp_path: Path) -> None:
    class Cancelled(Control):
        def check(self) -> None:
            raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        write_parts(iter([pl.DataFrame({"x": [1]})]), str(tmp_path / "out"), control=Cancelled())
    assert list(tmp_path.iterdir()) == []


def test_an_answer_does_not_overwrite_another(tmp_path: Path) -> None:
    write_parts(iter([pl.DataFrame({"x": [1]})]), str(tmp_path / "out"))
    with pytest.raises(AlreadyExists, match="not empty"):
        write_parts(iter([pl.DataFrame({"x": [2]})]), str(tmp_path / "out"))
    assert pl.read_parquet(tmp_path / "out" / "part-00000.parquet")["x"].to_list() == [1]


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write_parts(iter([pl.DataFrame({"x": [1]})]), str(tmp_path / "file" / "out"))


def test_nothing_was_known_where_no_file_tells_when_rows_were_made(tmp_path: Path) -> None:
    table = PLACE.place(tmp_path / "trips", a_table(), [])
    rows = pl.DataFrame({"driver": [1], "event_timestamp": [datetime(2026, 9, 3, tzinfo=UTC)]})
    plan, entities = prepare([selection_of(table)], ["trips__amount"], rows, known_at="row")
    for budget in (None, 1):
        answer = collect(PLACE.open(), plan, entities, memory_budget=budget)
        assert answer["trips__amount"].to_list() == [None]


# Every known key


def latest(tables: list[TableSchema], at: int) -> pl.DataFrame:
    selections = [selection_of(table) for table in tables]
    columns = [column for selection in selections for column in selection.output]
    return pl.concat(latest_frame(polars.open_engine(), selections, columns, at)).sort("driver")


def test_every_known_key_has_the_values_of_the_instant(tmp_path: Path) -> None:
    table = PLACE.history(tmp_path, [(1, day(1), None, 7), (1, day(3), None, 8), (2, day(2), None, 9)])
    answer = latest([table], day(2))
    assert answer.columns == ["driver", "event_timestamp", "trips__amount"]
    assert answer.select("driver", "trips__amount").rows() == [(1, 7), (2, 9)]
    assert answer["event_timestamp"].to_physical().to_list() == [day(2)] * 2


def test_what_is_too_old_is_null_and_what_is_deleted_is_left_out(tmp_path: Path) -> None:
    table = PLACE.history(tmp_path, [(1, day(1), None, 7), (2, day(2), None, 9), (3, day(2), None, 5)])
    gone = rows_of([(3, day(3), None, None)], ValueType.INT64).with_columns(gone=pl.lit(value=True))
    table = PLACE.place(tmp_path / "trips", table, [gone])
    table = msgspec.structs.replace(table, deleted_column="gone", max_age=day(3) - day(2))
    assert latest([table], day(3)).select("driver", "trips__amount").rows() == [(1, None), (2, 9)]


def test_tables_of_the_same_entities_are_put_side_by_side(tmp_path: Path) -> None:
    first = PLACE.history(tmp_path, [(1, day(1), None, 7)])
    other = PLACE.history(tmp_path, [(2, day(1), None, 9)], name="stops")
    assert latest([first, other], day(3)).drop("event_timestamp").rows() == [(1, 7, None), (2, None, 9)]


def test_tables_of_different_entities_are_refused(tmp_path: Path) -> None:
    first = PLACE.history(tmp_path, [(1, day(1), None, 7)])
    other = msgspec.structs.replace(a_table("stops"), keys=(Column("customer", ValueType.INT64, "driver"),))
    with pytest.raises(InvalidArgument, match="no set of keys"):
        latest([first, other], day(3))
