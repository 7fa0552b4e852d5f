"""What every online store must do, as tests: subclass :class:`OnlineSuite` in a test module and run pytest.

The suite takes nothing of a store on trust: what was written is looked at through a side door that the subclass
supplies, and histories made by hypothesis are compared with a dict.
"""

from __future__ import annotations

import abc
import multiprocessing
import random
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tiffin.online.base import RANK_BYTES, Comparable, Marks, OnlineStore, Scannable, Sweepable, TableId, WriteResult

TABLE: Final = TableId("default", "drivers")
OTHERS: Final = (TableId("default", "driver"), TableId("default", "driverss"), TableId("defaul", "tdrivers"))

Row = tuple[bytes, bytes]


def rank(event: int, created: int | None = None, ingested: int | None = None, row: int | None = None) -> bytes:
    """The bytes of a rank, made here and not by the codec."""
    parts = (event, created, ingested, row)
    return struct.pack(">4Q", *(0 if part is None else part + (1 << 63) for part in parts))


def value(event: int, payload: bytes = b"", **rest: int | None) -> bytes:
    """A stored value: a rank and then bytes that are the writer's own affair."""
    return rank(event, **rest) + payload


class OnlineSuite(abc.ABC):
    """The rules of the online store's contract (semantics, section 4). A ``place`` is an empty folder of the test's."""

    #: Whether other processes see the same rows; where not, the race between them is no test of the suite.
    crosses_processes: ClassVar[bool] = True
    #: How many histories are tried.
    histories: ClassVar[int] = 60

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.crosses_processes:
            cls.test_racing_processes_leave_the_greatest_rank = None  # type: ignore[assignment,method-assign]  # not collected

    @abc.abstractmethod
    def open(self, place: Path) -> OnlineStore:
        """The store that is kept in or named by a place; opened twice, both have the same rows."""

    @abc.abstractmethod
    def peek(self, place: Path, table: TableId) -> dict[bytes, bytes]:
        """A table's rows, read by other means than the store. No store of the place is open meanwhile."""

    @abc.abstractmethod
    def poke(self, place: Path, table: TableId, key: bytes, value: bytes) -> None:
        """Replace the value of a row that exists, by other means than the store, none of which is open meanwhile."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[OnlineStore]:
        """A store of the test's own, empty."""
        store = self.open(tmp_path)
        yield store
        store.close()

    # Rows

    def test_nothing_is_found_in_an_empty_store(self, store: OnlineStore) -> None:
        assert store.read(TABLE, [b"a", b"b"]) == [None, None]
        assert store.read(TABLE, []) == []
        assert store.layouts(TABLE) == []
        assert store.drop(TABLE) == 0

    def test_rows_are_read_in_the_order_of_the_keys(self, store: OnlineStore) -> None:
        assert store.write(TABLE, [(b"b", value(1, b"B")), (b"a", value(1, b"A"))]) == WriteResult(2, 0)
        assert store.read(TABLE, [b"a", b"x", b"b", b"a"]) == [value(1, b"A"), None, value(1, b"B"), value(1, b"A")]

    def test_writing_nothing_writes_nothing(self, store: OnlineStore) -> None:
        assert store.write(TABLE, []) == WriteResult(0, 0)
        assert store.read(TABLE, [b""]) == [None]

    def test_what_is_written_is_seen_through_the_side_door(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        rows = {b"k%d" % number: value(number, b"v%d" % number) for number in range(50)}
        store.write(TABLE, list(rows.items()))
        store.close()
        assert self.peek(tmp_path, TABLE) == rows

    def test_what_the_side_door_changed_is_read(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        store.write(TABLE, [(b"k", value(9, b"old"))])
        store.close()
        self.poke(tmp_path, TABLE, b"k", value(1, b"poked"))
        store = self.open(tmp_path)
        assert store.read(TABLE, [b"k"]) == [value(1, b"poked")]
        store.close()

    def test_rows_outlive_a_store_that_was_closed(self, tmp_path: Path) -> None:
        first = self.open(tmp_path)
        number = first.ensure(TABLE, b"layout")
        first.write(TABLE, [(b"k", value(1))])
        first.close()
        second = self.open(tmp_path)
        assert second.read(TABLE, [b"k"]) == [value(1)]
        assert second.ensure(TABLE, b"layout") == number
        second.close()

    def test_two_stores_of_one_place_see_each_other(self, tmp_path: Path) -> None:
        first, second = self.open(tmp_path), self.open(tmp_path)
        assert second.read(TABLE, [b"k"]) == [None]
        first.write(TABLE, [(b"k", value(1))])
        assert second.read(TABLE, [b"k"]) == [value(1)]
        first.close()
        assert second.read(TABLE, [b"k"]) == [value(1)]
        second.close()

    # The rule of rank

    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            (rank(1, 9, 9, 9), rank(2)),
            (rank(-5), rank(-4)),
            (rank(-1), rank(0)),
            (rank(1, None), rank(1, -(2**62))),
            (rank(1, 1, None), rank(1, 1, 0)),
            (rank(1, 1, 1, None), rank(1, 1, 1, 0)),
            (rank(1, 1, 1, 1), rank(1, 1, 1, 2)),
            (rank(1, None, 9, 9), rank(1, 0, None, None)),
            (rank(255), rank(256)),
        ],
    )
    def test_the_greater_rank_wins_in_either_order(self, store: OnlineStore, older: bytes, newer: bytes) -> None:
        assert store.write(TABLE, [(b"up", older + b"old")]) == WriteResult(1, 0)
        assert store.write(TABLE, [(b"up", newer + b"new")]) == WriteResult(1, 0)
        assert store.write(TABLE, [(b"down", newer + b"new")]) == WriteResult(1, 0)
        assert store.write(TABLE, [(b"down", older + b"old")]) == WriteResult(0, 1)
        assert store.read(TABLE, [b"up", b"down"]) == [newer + b"new"] * 2

    def test_an_equal_rank_writes_again_whatever_the_payload(self, store: OnlineStore) -> None:
        for payload in (b"m", b"z", b"a", b""):
            assert store.write(TABLE, [(b"k", value(1, payload))]) == WriteResult(1, 0)
            assert store.read(TABLE, [b"k"]) == [value(1, payload)]

    def test_one_batch_may_hold_a_key_many_times(self, store: OnlineStore) -> None:
        rows = [(b"k", value(2, b"a")), (b"j", value(1)), (b"k", value(1, b"b")), (b"k", value(2, b"c"))]
        assert store.write(TABLE, rows) == WriteResult(3, 1)
        assert store.read(TABLE, [b"k", b"j"]) == [value(2, b"c"), value(1)]

    def test_a_row_is_replaced_whole(self, store: OnlineStore) -> None:
        store.write(TABLE, [(b"k", value(1, b"a long payload of many bytes"))])
        store.write(TABLE, [(b"k", value(2))])
        assert store.read(TABLE, [b"k"]) == [value(2)]

    # Keys and values

    KEYS: ClassVar[tuple[bytes, ...]] = (
        b"",
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"\0a",
        b"\xff" * 8,
        "ключ 🍱".encode(),
        *(b"x" * length for length in (500, 506, 507, 508, 511, 512, 2048)),
        b"x" * 2047 + b"y",
    )

    def test_any_bytes_are_a_key_and_none_meets_another(self, tmp_path: Path) -> None:
        rows = {key: value(number, key[-9:]) for number, key in enumerate(self.KEYS)}
        store = self.open(tmp_path)
        assert store.write(TABLE, list(rows.items())) == WriteResult(len(rows), 0)
        assert store.read(TABLE, list(rows)) == list(rows.values())
        for key, held in rows.items():
            assert store.read(TABLE, [key]) == [held]
        assert store.write(TABLE, [(key, value(-1)) for key in rows]) == WriteResult(0, len(rows))
        store.close()
        assert self.peek(tmp_path, TABLE) == rows

    def test_a_value_of_a_megabyte(self, store: OnlineStore) -> None:
        payload = random.Random(1).randbytes(1 << 20)  # noqa: S311  # reproducible, not secret
        rows = [(b"k%d" % number, value(number, payload)) for number in range(5)]
        assert store.write(TABLE, rows) == WriteResult(5, 0)
        assert store.read(TABLE, [key for key, _ in rows]) == [held for _, held in rows]

    def test_many_keys(self, store: OnlineStore) -> None:
        rows = [(struct.pack(">q", number * 7919 % 50_021), value(number)) for number in range(50_000)]
        assert store.write(TABLE, rows) == WriteResult(50_000, 0)
        assert store.write(TABLE, rows[:100]) == WriteResult(100, 0)
        assert store.read(TABLE, [key for key, _ in rows]) == [held for _, held in rows]
        assert store.drop(TABLE) == 50_000

    # Tables

    def test_tables_are_apart(self, store: OnlineStore) -> None:
        for number, table in enumerate((TABLE, *OTHERS)):
            assert store.ensure(table, b"layout of %d" % number) == 0
            assert store.write(table, [(b"k", value(number))]) == WriteResult(1, 0)
        for number, table in enumerate((TABLE, *OTHERS)):
            assert store.read(table, [b"k"]) == [value(number)]
            assert store.layouts(table) == [b"layout of %d" % number]

    def test_drop_takes_one_table_only(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        for table in (TABLE, *OTHERS):
            store.write(table, [(b"k", value(1)), (b"x" * 2048, value(2))])
        assert store.drop(TABLE) == 2
        assert store.read(TABLE, [b"k", b"x" * 2048]) == [None, None]
        assert store.drop(TABLE) == 0
        assert store.write(TABLE, [(b"k", value(-9))]) == WriteResult(1, 0)
        store.close()
        for table in OTHERS:
            assert self.peek(tmp_path, table) == {b"k": value(1), b"x" * 2048: value(2)}

    # Layouts

    def test_equal_layouts_have_one_number_counted_from_0(self, store: OnlineStore) -> None:
        assert [store.ensure(TABLE, layout) for layout in (b"a", b"b", b"a", b"c", b"b")] == [0, 1, 0, 2, 1]
        assert store.layouts(TABLE) == [b"a", b"b", b"c"]

    def test_a_number_keeps_its_layout_through_a_drop(self, store: OnlineStore) -> None:
        store.ensure(TABLE, b"a")
        store.write(TABLE, [(b"k", value(1))])
        store.drop(TABLE)
        assert store.ensure(TABLE, b"b") == 1
        assert store.ensure(TABLE, b"a") == 0

    # Beside the rows

    def test_marks(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        if not isinstance(store, Marks):
            pytest.skip("the store keeps no marks")
        assert store.read_mark(TABLE) is None
        store.write_mark(TABLE, None)
        store.write_mark(TABLE, b"")
        assert store.read_mark(TABLE) == b""
        store.write_mark(TABLE, b"one" * 1000)
        store.write_mark(OTHERS[0], b"other")
        assert not store.replace_mark(TABLE, b"one", b"three")
        assert store.replace_mark(TABLE, b"one" * 1000, b"one and a half")
        assert store.read_mark(TABLE) == b"one and a half"
        store.write_mark(TABLE, b"two")
        store.close()
        store = self.open(tmp_path)
        assert isinstance(store, Marks)
        assert (store.read_mark(TABLE), store.read_mark(OTHERS[0])) == (b"two", b"other")
        store.drop(TABLE)
        assert (store.read_mark(TABLE), store.read_mark(OTHERS[0])) == (None, b"other")
        store.write_mark(OTHERS[0], None)
        assert store.read_mark(OTHERS[0]) is None
        store.close()

    def test_scan_gives_every_row_once(self, store: OnlineStore) -> None:
        if not isinstance(store, Scannable):
            pytest.skip("the store cannot list its rows")
        assert list(store.scan(TABLE)) == []
        rows = {struct.pack(">q", number): value(number) for number in range(12_000)}
        rows |= {key: value(1, key) for key in self.KEYS}
        store.write(TABLE, list(rows.items()))
        store.write(OTHERS[0], [(b"other", value(1))])
        seen = list(store.scan(TABLE))
        assert len(seen) == len(rows)
        assert dict(seen) == rows

    def test_delete_removes_whatever_the_rank(self, store: OnlineStore) -> None:
        if not isinstance(store, Scannable):
            pytest.skip("the store cannot delete rows")
        assert store.delete(TABLE, [b"k"]) == 0
        store.write(TABLE, [(key, value(9)) for key in (b"a", b"b", b"x" * 2048)])
        assert store.delete(TABLE, [b"a", b"x" * 2048, b"none"]) == 2
        assert store.read(TABLE, [b"a", b"b", b"x" * 2048]) == [None, value(9), None]
        assert store.write(TABLE, [(b"a", value(-9))]) == WriteResult(1, 0)

    def test_keys_gives_every_key(self, store: OnlineStore) -> None:
        if not isinstance(store, Comparable):
            pytest.skip("the store cannot be compared")
        assert [key for page in store.keys(TABLE) for key in page] == []
        rows = {struct.pack(">q", number): value(number) for number in range(12_000)}
        rows |= {key: value(1, key) for key in self.KEYS}
        store.write(TABLE, list(rows.items()))
        store.write(OTHERS[0], [(b"other", value(1))])
        assert {key for page in store.keys(TABLE) for key in page} == set(rows)

    def test_delete_if_takes_only_what_is_still_there(self, store: OnlineStore) -> None:
        if not isinstance(store, Comparable):
            pytest.skip("the store cannot be compared")
        long = b"x" * 2048
        rows = [(b"a", value(9)), (b"b", value(9, b"payload")), (long, value(9)), (b"short", b"less than a rank")]
        assert store.delete_if(TABLE, rows) == 0
        store.write(TABLE, rows)
        assert (
            store.delete_if(TABLE, [(b"a", value(8)), (b"b", value(9)), (long, value(9, b"z")), (b"c", value(9))]) == 0
        )
        assert store.read(TABLE, [key for key, _ in rows]) == [held for _, held in rows]
        assert store.delete_if(TABLE, [(key, held) for key, held in rows if key != b"b"]) == 3
        assert store.read(TABLE, [b"a", b"b", long, b"short"]) == [None, value(9, b"payload"), None, None]

    def test_a_row_that_a_writer_just_replaced_is_kept(self, store: OnlineStore) -> None:
        if not isinstance(store, Comparable):
            pytest.skip("the store cannot be compared")
        keys = [b"%d" % number for number in range(300)]
        old, new = [(key, value(1)) for key in keys], [(key, value(2)) for key in keys]
        store.write(TABLE, old)
        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(lambda: [store.write(TABLE, [row]) for row in new])
            deleting = pool.submit(lambda: [store.delete_if(TABLE, [row]) for row in old])
            assert sum(result.written for result in writing.result()) == len(keys)
            assert sum(deleting.result()) <= len(keys)
        assert store.read(TABLE, keys) == [value(2)] * len(keys)

    def test_sweep_takes_what_is_past_its_span_and_no_more(self, store: OnlineStore) -> None:
        if not isinstance(store, Sweepable):
            pytest.skip("the store forgets by itself")
        rows = [(b"%d" % event, value(event)) for event in (10, 20, 30)]
        store.write(TABLE, [*rows, (b"x" * 2048, value(10))], expire_after=100)
        store.write(OTHERS[0], rows)
        assert store.sweep(110) == 0
        assert store.sweep(121) == 3
        assert store.read(TABLE, [b"10", b"20", b"30", b"x" * 2048]) == [None, None, value(30), None]
        assert store.read(OTHERS[0], [b"10"]) == [value(10)]
        store.write(TABLE, [(b"40", value(40))], expire_after=1000)
        assert store.sweep(999) == 0
        store.write(TABLE, [(b"40", value(40))])
        assert store.sweep(10**9) == 0

    # Races

    def test_racing_threads_leave_the_greatest_rank(self, store: OnlineStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: _write_shuffled(store, seed, rows=200), range(8)))
        self._check_race(store, writers=8, rows=200)

    def test_racing_processes_leave_the_greatest_rank(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_race, args=(type(self), tmp_path, seed)) for seed in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 8
        store = self.open(tmp_path)
        self._check_race(store, writers=8, rows=200)
        assert sorted(store.layouts(TABLE)) == sorted(b"layout %d" % (seed % 3) for seed in range(3))
        store.close()

    def _check_race(self, store: OnlineStore, *, writers: int, rows: int) -> None:
        expected = [max(_race_value(seed, number) for seed in range(writers)) for number in range(rows)]
        assert store.read(TABLE, [b"%d" % number for number in range(rows)]) == expected

    # Histories

    def test_any_history_leaves_what_a_dict_would(self) -> None:
        run_state_machine_as_test(
            lambda: _History(self.open),  # type: ignore[arg-type]  # called like the class that it makes
            settings=settings(max_examples=self.histories, stateful_step_count=25, deadline=None),
        )


class _History(RuleBasedStateMachine):
    """Any order of calls on two tables, compared with dicts."""

    tables = st.sampled_from([TABLE, OTHERS[0]])
    keys = st.sampled_from([b"", b"a", b"b", b"\0", b"long" * 200])
    times = st.none() | st.integers(-2, 2)
    values = st.builds(
        lambda event, rest, payload: rank(event, *rest) + payload,
        st.integers(-2, 2),
        st.tuples(times, times, times),
        st.binary(max_size=3),
    )

    def __init__(self, opener: Callable[[Path], OnlineStore]) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._opener = opener
        self.store = self._open()
        self.rows: dict[TableId, dict[bytes, bytes]] = {TABLE: {}, OTHERS[0]: {}}
        self.known: dict[TableId, list[bytes]] = {TABLE: [], OTHERS[0]: []}

    def _open(self) -> OnlineStore:
        return self._opener(Path(self._folder.name))

    @rule(table=tables, rows=st.lists(st.tuples(keys, values), max_size=6))
    def write(self, table: TableId, rows: list[Row]) -> None:
        held = self.rows[table]
        written = 0
        for key, new in rows:
            if key not in held or held[key][:RANK_BYTES] <= new[:RANK_BYTES]:
                held[key] = new
                written += 1
        assert self.store.write(table, rows) == WriteResult(written, len(rows) - written)

    @rule(table=tables, layout=st.sampled_from([b"x", b"y", b"z"]))
    def ensure(self, table: TableId, layout: bytes) -> None:
        known = self.known[table]
        if layout not in known:
            known.append(layout)
        assert self.store.ensure(table, layout) == known.index(layout)

    @rule(table=tables, keys=st.lists(keys, max_size=3, unique=True))
    def delete(self, table: TableId, keys: list[bytes]) -> None:
        if isinstance(self.store, Scannable):
            removed = [self.rows[table].pop(key, None) for key in keys]
            assert self.store.delete(table, keys) == sum(row is not None for row in removed)

    @rule(table=tables)
    def drop(self, table: TableId) -> None:
        assert self.store.drop(table) == len(self.rows[table])
        self.rows[table] = {}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self._open()

    @invariant()
    def holds_the_same(self) -> None:
        for table, held in self.rows.items():
            keys = [b"", b"a", b"b", b"\0", b"long" * 200, b"never"]
            assert self.store.read(table, keys) == [held.get(key) for key in keys]
            assert self.store.layouts(table) == self.known[table]
            if isinstance(self.store, Scannable):
                assert dict(self.store.scan(table)) == held

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()


def _race_value(seed: int, number: int) -> bytes:
    """What the writer of a seed writes under a number; which writer is greatest differs from number to number."""
    return value((seed * 7 + number * 13) % 11, b"%d" % seed, created=seed)


def _write_shuffled(store: OnlineStore, seed: int, *, rows: int) -> None:
    made = [(b"%d" % number, _race_value(seed, number)) for number in range(rows)]
    random.Random(seed).shuffle(made)  # noqa: S311  # reproducible, not secret
    for start in range(0, rows, 20):
        store.write(TABLE, made[start : start + 20])


def _race(suite: type[OnlineSuite], place: Path, seed: int) -> None:
    """One process of the race: it begins while others may be making the store."""
    store = suite().open(place)
    store.ensure(TABLE, b"layout %d" % (seed % 3))
    _write_shuffled(store, seed, rows=200)
    store.close()
