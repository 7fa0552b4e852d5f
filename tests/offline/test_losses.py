"""What is lost elsewhere and must not be lost here, each loss by its name, and the bounds of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tiffin.offline import polars
from tiffin.offline.base import Window
from tiffin.offline.retrieve import collect, prepare
from tiffin.testing.asking import DAY, Asking, asking, day, rows_of, selection_of
from tiffin.testing.strategies import stamped
from tiffin.types import ValueType


class TestLosses(Asking):
    def open(self) -> polars.PolarsEngine:
        return polars.open_engine()

    def test_equal_key_and_time_in_two_entity_rows(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), day(1), 7)])
        answer = self.join(engine, [table], asking([(1, day(2)), (1, day(2))], {"label": [0, 1]}))
        assert answer.select("label", "trips__amount").rows() == [(0, 7), (1, 7)]

    def test_a_late_row_with_an_old_event(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), day(1), 7), (1, day(3), day(3), 9)])
        before = engine.position(table)
        self.history(tmp_path, [(1, day(2), day(8), 8), (2, day(1), day(8), 5)])
        assert self.ask(engine, table, [(1, day(2)), (1, day(3))]) == [8, 9]
        assert self.newest(engine, table, Window(since=before)) == {1: 9, 2: 5}

    def test_an_older_event_after_a_newer_one(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [])
        files = [rows_of([event], ValueType.INT64) for event in [(1, day(3), None, 9), (1, day(2), None, 8)]]
        self.place(tmp_path / "trips", table, [stamped(rows, day(4) + i) for i, rows in enumerate(files)])
        assert self.newest(engine, table) == {1: 9}
        assert self.ask(engine, table, [(1, day(5))]) == [9]

    def test_an_expired_value(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 7)], max_age=DAY)
        assert self.ask(engine, table, [(1, day(2)), (1, day(2) + 1)]) == [7, None]

    def test_an_integer_column_with_nulls(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, None), (2, day(1), None, 2**62 + 1)], dtype=ValueType.INT64)
        answer = self.join(engine, [table], asking([(1, day(2)), (2, day(2)), (3, day(2))]))["trips__amount"]
        assert answer.dtype == pl.Int64
        assert answer.to_list() == [None, 2**62 + 1, None]

    def test_an_event_before_the_epoch(self, engine: polars.PolarsEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, -5, -5, 7)])
        assert self.ask(engine, table, [(1, -6), (1, -5), (1, 0)]) == [None, 7, 7]


@pytest.mark.parametrize("budget", [150_000, 800_000, 10_000_000])
def test_any_number_of_buckets_gives_the_same_answer(tmp_path: Path, budget: int) -> None:
    place = TestLosses()
    events = [(number % 700, day(1) + number * 977, day(1) + number, number) for number in range(9_000)]
    trips, stops = (place.history(tmp_path, events[:6_000], events[6_000:], name=name) for name in ("trips", "stops"))
    rows = asking([((number * 31) % 800, day(1) + number * 1_009) for number in range(9_500)])
    columns = ["stops__amount", "trips__amount"]
    request = prepare([selection_of(trips), selection_of(stops)], columns, rows, known_at="row")
    expected = collect(polars.open_engine(), *request)
    assert expected["trips__amount"].null_count() < 2_000
    assert collect(polars.open_engine(), *request, memory_budget=budget).equals(expected)


JOIN_IN_A_BUDGET = """
import sys
from pathlib import Path

import polars as pl

from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.offline import polars
from tiffin.offline.retrieve import prepare
from tiffin.types import ValueType

folder, budget = Path(sys.argv[1]), int(sys.argv[2])


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


features = tuple(Column(f"f{i}", ValueType.INT64, f"f{i}") for i in range(12))
source = FileSource("event", ParquetFormat(), str(folder / "history"))
table = TableSchema("default", "trips", (Column("driver", ValueType.INT64, "driver"),), features, source)
selection = Selection(table, features, tuple(f"trips__{column.name}" for column in features))
plan, rows = prepare([selection], selection.output, str(folder / "rows.parquet"))
before = peak()
height = found = 0
from tiffin.control import UNWATCHED
for batch in polars.open_engine().join(plan, rows, memory_budget=budget, control=UNWATCHED):
    height += batch.height
    found += batch.height - batch["trips__f0"].null_count()
print(height, found, peak() - before)
"""


def test_a_join_ten_times_larger_than_its_budget_stays_inside_it(tmp_path: Path) -> None:
    budget = 100_000_000
    keys, step, count = 50_000, 500_000, 18
    (tmp_path / "history").mkdir()
    for number in range(count):
        numbers = pl.int_range(number * step, (number + 1) * step, eager=True)
        frame = pl.DataFrame({"driver": numbers * 7 % keys, "event": (numbers * 1_000_000).cast(pl.Datetime("us"))})
        frame = frame.with_columns((numbers * (i + 1)).alias(f"f{i}") for i in range(12))
        frame.write_parquet(tmp_path / "history" / f"{number:03}.parquet", row_group_size=50_000)
    numbers = pl.int_range(0, 400_000, eager=True)
    rows = pl.DataFrame({"driver": numbers % keys, "event_timestamp": (numbers * 22_000_000).cast(pl.Datetime("us"))})
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=50_000)
    assert step * count * 14 * 8 > 10 * budget
    run = subprocess.run(
        [sys.executable, "-c", JOIN_IN_A_BUDGET, str(tmp_path), str(budget)], capture_output=True, text=True, check=True
    )
    height, found, held = map(int, run.stdout.split())
    assert height == 400_000
    assert found > 390_000
    assert held < budget, f"{held} bytes were held"
