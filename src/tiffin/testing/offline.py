"""What every offline engine must do, as tests: subclass :class:`OfflineSuite` in a test module and run pytest.

Vectors and bounds of the point-in-time join stand here with their answers; generated histories are compared with the
reference engine, which reads the same files. An engine that reads no files says where rows are put::

    class TestMyEngine(OfflineSuite):
        def open(self):
            return open_my_engine()

        def place(self, folder, table, files):
            ...  # put the rows where the engine finds them, and return the table with its source
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from tiffin.control import UNWATCHED
from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import Unsupported
from tiffin.offline import memory
from tiffin.offline.base import OfflineEngine, Window
from tiffin.offline.retrieve import collect, prepare
from tiffin.testing.asking import DAY, HOUR, Asking, Event, KnownAt, asking, day, rows_of, selection_of
from tiffin.testing.frames import assert_same
from tiffin.testing.strategies import MIDNIGHT, Case, cases, stamped
from tiffin.types import ValueType


class GeneratedSuite(Asking):
    """Generated histories, against the reference engine."""

    #: How many histories are tried, and how many rows ask of each.
    histories: ClassVar[int] = 14
    asked: ClassVar[int] = 500

    def test_the_join_agrees_with_the_reference(self, engine: OfflineEngine) -> None:
        found: list[int] = []

        def agree(case: Case) -> None:
            with TemporaryDirectory() as folder:
                table = self.place(Path(folder), case.schema, case.files)
                for known_at in self._ways(engine, table):
                    selection = selection_of(table)
                    request = prepare([selection], selection.output, case.entities, known_at=known_at)
                    expected = collect(memory.open_engine(), *request)
                    assert_same(collect(engine, *request, memory_budget=self.memory_budget), expected)
                    found.append(expected.height - expected[selection.output[0]].null_count())

        self._generate(agree)
        assert sum(found) > self.asked  # else the histories asked nothing of the engine

    def test_the_latest_rows_agree_with_the_reference(self, engine: OfflineEngine) -> None:
        windows = [Window(), Window(start=MIDNIGHT, end=MIDNIGHT + HOUR), Window(end=MIDNIGHT)]

        def agree(case: Case) -> None:
            with TemporaryDirectory() as folder:
                table = self.place(Path(folder), case.schema, case.files)
                for window in windows:
                    frames = [
                        pl.concat(each.latest(table, window, memory_budget=self.memory_budget, control=UNWATCHED))
                        for each in (engine, memory.open_engine())
                    ]
                    found, expected = (_by_key(frame, table) for frame in frames)
                    assert_same(found, expected)

        self._generate(agree)

    def test_rows_of_the_future_change_nothing(self, engine: OfflineEngine) -> None:
        def agree(case: Case) -> None:
            with TemporaryDirectory() as folder:
                table = self.place(Path(folder), case.schema, case.files)
                before = self.join(engine, [table], case.entities)
                span = case.entities["event_timestamp"].max()
                later = [
                    rows.with_columns(pl.lit(span).dt.offset_by("1ms").cast(rows.schema["event"]).alias("event"))
                    for rows in case.files
                ]
                table = self.place(Path(folder), table, later)
                assert_same(self.join(engine, [table], case.entities), before)

        self._generate(agree)

    def test_the_order_of_stamped_rows_in_files_does_not_matter(self, engine: OfflineEngine) -> None:
        def agree(case: Case) -> None:
            marked = [stamped(rows, MIDNIGHT + number) for number, rows in enumerate(case.files)]
            whole = pl.concat(marked)
            shuffled = whole.sample(fraction=1, shuffle=True, seed=1)
            middle = whole.height // 2
            answers = []
            for files in (marked, [shuffled[middle:], shuffled[:middle]]):
                with TemporaryDirectory() as folder:
                    table = self.place(Path(folder), case.schema, files)
                    answers.append(self.join(engine, [table], case.entities))
            assert_same(*answers)

        self._generate(agree)

    def _generate(self, test: Any) -> None:
        decorated = settings(
            max_examples=self.histories, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
        )(given(cases(asked=self.asked))(test))
        decorated()

    def _ways(self, engine: OfflineEngine, table: TableSchema) -> list[KnownAt]:
        dated = bool(table.source.created_timestamp_column) and engine.capabilities.known_at
        return [None, "row", MIDNIGHT] if dated else [None]


class OfflineSuite(GeneratedSuite):
    """The rules of the point-in-time join (semantics, section 3) and of the scan for materialisation (section 5)."""

    # Vectors

    HISTORY: ClassVar[tuple[Event, ...]] = (
        (1001, day(1), day(1), 50),
        (1001, day(1), day(2), 100),
        (2001, day(1), day(1), 400),
        (1001, day(2), day(1), 200),
        (1001, day(4), day(1), 300),
    )

    def test_vectors_without_a_max_age(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, self.HISTORY)
        rows = [(1001, day(0)), (1001, day(1)), (1001, day(2)), (1001, day(3)), (2001, day(2)), (3001, day(1))]
        assert self.ask(engine, table, rows) == [None, 100, 200, 200, 400, None]

    def test_vectors_with_a_max_age(self, engine: OfflineEngine, tmp_path: Path) -> None:
        history = [(1001, day(1), day(1), 100), (2001, day(1), day(1), 200)]
        table = self.history(tmp_path, history, max_age=DAY)
        assert self.ask(engine, table, [(1001, day(1)), (1001, day(3)), (2001, day(2))]) == [100, None, 200]

    def test_composite_keys(self, engine: OfflineEngine, tmp_path: Path) -> None:
        rows = {
            "customer": [1001, 1001, 2001],
            "driver": [8001, 8002, 8001],
            "event": [day(1)] * 3,
            "x": [3.0, 4.0, 4.5],
        }
        frame = pl.DataFrame(rows).with_columns(pl.col("event").cast(pl.Datetime("us", "UTC")))
        keys = tuple(Column(name, ValueType.INT64, name) for name in ("customer", "driver"))
        table = TableSchema(
            "default",
            "trips",
            keys,
            (Column("x", ValueType.DOUBLE, "x"),),
            FileSource("event", ParquetFormat(), "nowhere"),
            max_age=DAY,
        )
        table = self.place(tmp_path / "trips", table, [frame])
        entities = asking([(8001, day(1)), (8002, day(3)), (8003, day(1)), (8001, day(2))])
        entities = entities.with_columns(customer=pl.Series([1001, 1001, 1001, 2001]))
        assert self.join(engine, [table], entities)["trips__x"].to_list() == [3.0, None, None, 4.5]

    def test_equal_entity_rows_are_all_answered(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(2001, day(1), day(1), 600)])
        assert self.ask(engine, table, [(2001, day(4)), (2001, day(4))]) == [600, 600]

    # Bounds

    def test_an_event_counts_from_its_own_microsecond_on(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 7)])
        assert self.ask(engine, table, [(1, day(1) - 1), (1, day(1)), (1, day(1) + 1)]) == [None, 7, 7]

    def test_an_event_counts_until_it_is_exactly_max_age_old(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 7)], max_age=HOUR)
        assert self.ask(engine, table, [(1, day(1) + HOUR), (1, day(1) + HOUR + 1)]) == [7, None]

    @pytest.mark.parametrize("max_age", [None, 0, 2**70])
    def test_without_a_max_age_nothing_is_too_old(
        self, engine: OfflineEngine, tmp_path: Path, max_age: int | None
    ) -> None:
        table = self.history(tmp_path, [(1, 0, None, 7)], max_age=max_age)
        assert self.ask(engine, table, [(1, day(1))]) == [7]

    def test_nulls_match_nothing(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(None, day(1), None, 1), (1, None, None, 2), (2, day(1), None, 3)])
        assert self.ask(engine, table, [(None, day(2)), (1, day(2)), (2, None), (2, day(2))]) == [None, None, None, 3]

    # Rank

    def test_of_equal_events_the_later_created_wins_and_null_is_earliest(
        self, engine: OfflineEngine, tmp_path: Path
    ) -> None:
        table = self.history(
            tmp_path, [(1, day(1), day(3), 1), (1, day(1), None, 2), (2, day(1), None, 3), (2, day(1), day(0), 4)]
        )
        assert self.ask(engine, table, [(1, day(2)), (2, day(2))]) == [1, 4]

    def test_of_equal_ranks_the_last_file_and_row_wins(self, engine: OfflineEngine, tmp_path: Path) -> None:
        if not engine.capabilities.orders_plain_files:
            pytest.skip("the engine declares that it cannot tell the order of plain files")
        table = self.history(
            tmp_path, [(1, day(1), day(1), 1), (1, day(1), day(1), 2)], [(2, day(1), None, 3)], [(2, day(1), None, 4)]
        )
        assert self.ask(engine, table, [(1, day(2)), (2, day(2))]) == [2, 4]

    def test_a_later_commit_wins_whatever_its_file_is_called(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [])
        files = [rows_of([(1, day(1), day(1), amount)], ValueType.INT64) for amount in (8, 9)]
        self.place(tmp_path / "trips", table, [stamped(files[0], day(9)), stamped(files[1], day(8))])
        assert self.ask(engine, table, [(1, day(2))]) == [8]

    def test_an_older_event_that_arrives_later_loses(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(3), day(3), 1)], [(1, day(2), day(9), 2)])
        assert self.ask(engine, table, [(1, day(2)), (1, day(5))]) == [2, 1]

    # What the winner gives

    def test_the_winner_is_taken_whole(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 7), (1, day(2), None, None)])
        assert self.ask(engine, table, [(1, day(1)), (1, day(3))]) == [7, None]

    def test_integers_with_nulls_stay_integers(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 2**53 + 1)])
        answer = self.join(engine, [table], asking([(1, day(2)), (9, day(2))]))
        assert answer.schema["trips__amount"] == pl.Int64
        assert answer["trips__amount"].to_list() == [2**53 + 1, None]

    def test_nan_is_a_value(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, float("nan"))], dtype=ValueType.DOUBLE)
        assert str(self.ask(engine, table, [(1, day(1)), (2, day(1))])) == "[nan, None]"

    def test_a_deleted_winner_reads_null(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 7), (1, day(2), None, 7), (1, day(3), None, 8)])
        gone = rows_of([(1, day(2), day(2), 9)], ValueType.INT64).with_columns(gone=pl.lit(value=True))
        table = msgspec.structs.replace(self.place(tmp_path / "trips", table, [gone]), deleted_column="gone")
        assert self.ask(engine, table, [(1, day(1)), (1, day(2)), (1, day(3))]) == [7, None, 8]

    # Order and columns

    def test_rows_and_columns_come_back_as_they_were_given(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, self.HISTORY)
        label = pl.Series("label", [["x"], None, []], dtype=pl.List(pl.Categorical))
        entities = asking([(2001, day(9)), (1001, day(1)), (2001, day(9))], {"label": label}).select(
            "label", "event_timestamp", "driver"
        )
        answer = self.join(engine, [table], entities)
        assert answer.columns == ["label", "event_timestamp", "driver", "trips__amount"]
        assert answer.drop("trips__amount").equals(entities)
        assert answer["trips__amount"].to_list() == [400, 100, 400]

    def test_no_rows_give_the_full_schema(self, engine: OfflineEngine, tmp_path: Path) -> None:
        answer = self.join(engine, [self.history(tmp_path, self.HISTORY)], asking([]))
        assert answer.height == 0
        assert answer.schema == asking([]).schema | {"trips__amount": pl.Int64()}

    def test_a_table_without_rows_gives_nulls(self, engine: OfflineEngine, tmp_path: Path) -> None:
        for table in (self.history(tmp_path), self.history(tmp_path, [], name="other")):
            assert self.ask(engine, table, [(1, day(1))]) == [None]

    def test_tables_do_not_disturb_each_other(self, engine: OfflineEngine, tmp_path: Path) -> None:
        first = self.history(tmp_path, [(1, day(1), None, 7)])
        second = self.history(tmp_path, [(2, day(1), None, 8)], name="stops")
        answer = self.join(engine, [first, second], asking([(1, day(2)), (2, day(2))]))
        assert answer.select("trips__amount", "stops__amount").rows() == [(7, None), (None, 8)]

    def test_columns_follow_the_request(self, engine: OfflineEngine, tmp_path: Path) -> None:
        first = self.history(tmp_path, [(1, day(1), None, 7)])
        other = self.history(tmp_path, [(1, day(1), None, 8)], name="stops")
        twice = Selection(first, (*first.features, *first.features), ("a", "c"))
        plan, rows = prepare([twice, selection_of(other)], ["c", "stops__amount", "a", "c"], asking([(1, day(1))]))
        answer = collect(engine, plan, rows, memory_budget=self.memory_budget)
        assert answer.columns == ["driver", "event_timestamp", "c", "stops__amount", "a"]
        assert answer.row(0)[2:] == (7, 8, 7)

    # What was known

    def test_known_at_the_row_leaves_out_what_was_created_later(self, engine: OfflineEngine, tmp_path: Path) -> None:
        self._needs_known_at(engine)
        table = self.history(
            tmp_path, [(1, day(1), day(1), 1), (1, day(2), day(5), 2), (1, day(3), day(4), 3), (1, day(3), None, 4)]
        )
        rows = [(1, day(d)) for d in range(7)]
        assert self.ask(engine, table, rows, "row") == [None, 1, 1, 1, 3, 3, 3]
        assert self.ask(engine, table, rows) == [None, 1, 2, 3, 3, 3, 3]

    def test_known_at_an_instant_gives_what_was_known_then(self, engine: OfflineEngine, tmp_path: Path) -> None:
        self._needs_known_at(engine)
        table = self.history(tmp_path, [(1, day(1), day(1), 1), (1, day(2), day(5), 2), (1, day(3), None, 3)])
        assert self.ask(engine, table, [(1, day(9))], day(5) - 1) == [1]
        assert self.ask(engine, table, [(1, day(9))], day(5)) == [2]

    def test_known_at_needs_a_created_column(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 1)], created=False)
        assert self.ask(engine, table, [(1, day(1))]) == [1]
        with pytest.raises(Unsupported, match="created_timestamp_column"):
            self.ask(engine, table, [(1, day(1))], "row")

    # The scan

    def test_a_window_includes_its_start_and_excludes_its_end(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 1), (1, day(2), None, 2), (2, day(3), None, 3)])
        assert self.newest(engine, table) == {1: 2, 2: 3}
        assert self.newest(engine, table, Window(start=day(1), end=day(2))) == {1: 1}
        assert self.newest(engine, table, Window(start=day(2), end=day(3) + 1)) == {1: 2, 2: 3}
        assert self.newest(engine, table, Window(start=day(4))) == {}

    def test_only_keys_of_what_is_new_are_scanned_again(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(3), day(3), 1), (2, day(1), None, 2), (3, day(1), None, 3)])
        before = engine.position(table)
        assert engine.commits_since(table, before) == 0
        assert self.newest(engine, table, Window(since=before)) == {}
        self.history(tmp_path, [(1, day(2), day(2), 4), (2, day(2), None, 5)])
        assert engine.position(table) != before
        assert engine.commits_since(table, before) == 1
        assert self.newest(engine, table, Window(since=before)) == {1: 1, 2: 5}

    def test_what_was_pending_is_scanned_when_its_time_has_come(self, engine: OfflineEngine, tmp_path: Path) -> None:
        table = self.history(tmp_path, [(1, day(1), None, 1), (1, day(5), None, 2), (2, day(1), None, 3)])
        assert engine.earliest_event_after(table, day(1)) == day(5)
        assert engine.earliest_event_after(table, day(5)) is None
        now = engine.position(table)
        window = Window(end=day(6), since=now, revisit_from=day(5))
        assert self.newest(engine, table, window) == {1: 2}

    def _needs_known_at(self, engine: OfflineEngine) -> None:
        if not engine.capabilities.known_at:
            pytest.skip("the engine declares that it cannot tell what was known")


def _by_key(frame: pl.DataFrame, table: TableSchema) -> pl.DataFrame:
    """Rows in an order that does not depend on the engine."""
    keys = frame.select(table.key_names).rows()
    return frame[sorted(range(frame.height), key=lambda number: repr(keys[number]))]


__all__ = ["Asking", "GeneratedSuite", "OfflineSuite", "asking", "day", "rows_of", "selection_of"]
