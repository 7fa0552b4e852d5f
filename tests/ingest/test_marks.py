"""Marks: what clears one, and that none ever claims more than was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tiffin import FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.definitions.schema import Column, TableSchema
from tiffin.errors import Unsupported
from tiffin.ingest import marks
from tiffin.offline.base import Position
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.memory import MemoryStore

KEY = Column("k", ValueType.INT64, "k")
A = Column("a", ValueType.INT64, "a")
B = Column("b", ValueType.DOUBLE, "b")
SOURCE = FileSource("at", ParquetFormat(), "/data", created_timestamp_column="made")
TABLE = TableSchema("default", "t", (KEY,), (A,), SOURCE, max_age=10)
HERE = Position("/data", version=3)


@pytest.fixture
def store() -> OnlineStore:
    return MemoryStore()


def covers(after: TableSchema, before: TableSchema = TABLE) -> bool:
    return marks.reached(before, HERE, None).covers(after)


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, True),
        ({"features": (A, B)}, False),
        ({"features": (replace(A, dtype=ValueType.DOUBLE),)}, False),
        ({"features": (replace(A, expression="a + 1"),)}, False),
        ({"keys": (KEY, Column("l", ValueType.STRING, "l"))}, False),
        ({"deleted_column": "gone"}, False),
        ({"source": FileSource("at", ParquetFormat(), "/data")}, False),
        ({"max_age": 11}, False),
        ({"max_age": None}, False),
        ({"max_age": 9}, True),
    ],
    ids=["same", "added", "retyped", "remapped", "keys", "deletions", "created", "raised", "unlimited", "lowered"],
)
def test_what_a_change_of_the_definition_does_to_a_mark(change: dict[str, Any], covered: bool) -> None:
    assert covers(replace(TABLE, **change)) is covered


def test_removing_a_feature_keeps_the_mark_and_adding_it_again_clears_it() -> None:
    wide = replace(TABLE, features=(A, B))
    assert covers(TABLE, before=wide)
    assert not covers(wide, before=TABLE)


def test_an_unlimited_age_covers_every_limit() -> None:
    assert covers(TABLE, before=replace(TABLE, max_age=None))


def test_a_mark_moves_only_from_the_one_that_the_run_began_with(store: OnlineStore) -> None:
    first, second = marks.opening(TABLE), marks.opening(TABLE)
    marks.write(store, TABLE, first)
    assert marks.read(store, TABLE) == first
    marks.write(store, TABLE, second)
    assert not marks.advance(store, TABLE, first, marks.reached(TABLE, HERE, None))
    assert marks.read(store, TABLE) == second
    there = marks.reached(TABLE, HERE, 5)
    assert marks.advance(store, TABLE, second, there)
    assert marks.read(store, TABLE) == there


def test_a_store_that_was_emptied_during_a_run_gets_no_mark(store: OnlineStore) -> None:
    base = marks.opening(TABLE)
    marks.write(store, TABLE, base)
    store.drop(TableId("default", "t"))
    assert not marks.advance(store, TABLE, base, marks.reached(TABLE, HERE, None))
    assert marks.read(store, TABLE) is None


def test_a_note_does_not_move_the_mark(store: OnlineStore) -> None:
    marks.note(store, TABLE, HERE)
    noted = marks.read(store, TABLE)
    assert noted is not None
    assert (noted.position, noted.looked) == (None, HERE)
    base = marks.reached(TABLE, HERE, 5)
    marks.write(store, TABLE, base)
    later = Position("/data", version=9)
    marks.note(store, TABLE, later)
    assert marks.read(store, TABLE) == replace(base, looked=later)
    # A run that began before the note may still move it.
    assert marks.advance(store, TABLE, base, marks.reached(TABLE, later, None))


def test_rows_that_lack_a_feature_take_it_from_the_mark(store: OnlineStore) -> None:
    assert marks.narrow(store, TABLE, HERE.identity).position is None
    wide = replace(TABLE, features=(A, B))
    base = marks.reached(wide, HERE, 5)
    marks.write(store, wide, base)
    assert marks.narrow(store, wide, HERE.identity) == base
    narrowed = marks.narrow(store, TABLE, HERE.identity)
    assert (narrowed.position, narrowed.pending_from) == (HERE, 5)
    assert narrowed.covers(TABLE)
    assert not narrowed.covers(wide)
    assert not marks.advance(store, wide, base, marks.reached(wide, HERE, 5))
    assert marks.read(store, TABLE) == narrowed


def test_a_mark_that_cannot_be_read_counts_as_none(store: OnlineStore) -> None:
    marks.write(store, TABLE, marks.opening(TABLE))
    store.write_mark(TableId("default", "t"), b"?")  # type: ignore[attr-defined]  # the memory store keeps marks
    assert marks.read(store, TABLE) is None
    assert msgspec.json.encode(marks.opening(TABLE)) != msgspec.json.encode(marks.opening(TABLE))


def test_a_store_without_marks_is_told() -> None:
    class Bare:
        pass

    with pytest.raises(Unsupported, match="Bare keeps no marks"):
        marks.read(Bare(), TABLE)  # type: ignore[arg-type]  # the point
