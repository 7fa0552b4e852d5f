"""What differs between the stores is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from tests.ingest.routes import ID, KEY, SECOND, THEN, A, B, Breaking, Crashed, Ground, now_is, rows
from tiffin import ValueType, clock
from tiffin.definitions.schema import Column
from tiffin.errors import Unsupported
from tiffin.ingest.consistency import Kind, State, TableReport
from tiffin.ingest.materialize import Route, materialize, materialize_incremental
from tiffin.ingest.online_only import push_online
from tiffin.ingest.push import push
from tiffin.ingest.repair import finish_pushes
from tiffin.ingest.verify import Asked, verify
from tiffin.online.codec import encode_keys
from tiffin.online.key_decode import KeyDecoder

DAY = 86_400 * SECOND


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def verified(ground: Ground, **asked: Any) -> TableReport:
    return verify(ground.route, ground.table, Asked(**{"patience": 0.3, **asked}))


def found(report: TableReport) -> dict[int, str]:
    """The kind of every difference by key."""
    return {example.key["k"]: example.kind.value for example in report.examples}


def pushed(ground: Ground, frame: pl.DataFrame) -> None:
    push(ground.route, ground.table, frame, max_skew=60 * SECOND, **ground.places)


def filled(ground: Ground, count: int = 10) -> None:
    ground.ingest(rows(*((key, THEN + key, key * 10) for key in range(count))))
    materialize_incremental(ground.route, ground.table)


def key_of(number: int) -> bytes:
    return encode_keys((KEY,), pl.DataFrame({"k": [number]}))[0]


def test_stores_that_agree(ground: Ground) -> None:
    filled(ground)
    report = verified(ground)
    assert (report.state, report.compared, report.found, report.examples) == (State.COMPARED, 10, 0, ())


def test_each_kind(ground: Ground) -> None:
    filled(ground)
    ground.ingest(rows((1, THEN + 100, 11), (20, THEN, 200)))
    [held] = ground.store.read(ID, [key_of(2)])
    assert held is not None
    ground.store.write(ID, [(key_of(2), held[:-1] + b"\x09"), (key_of(77), held)])
    ground.store.delete(ID, [key_of(3)])
    report = verified(ground)
    assert found(report) == {1: "stale", 20: "missing", 2: "different", 77: "orphaned", 3: "missing"}
    assert report.differences == {Kind.MISSING: 2, Kind.STALE: 1, Kind.DIFFERENT: 1, Kind.ORPHANED: 1}
    by_key = {example.key["k"]: example for example in report.examples}
    assert by_key[2].online == {"event_timestamp": clock.to_datetime(THEN + 2), "a": 9}
    assert by_key[2].offline == {"event_timestamp": clock.to_datetime(THEN + 2), "a": 20}
    assert by_key[2].reason == "'a' differ"
    assert by_key[3].online is None
    assert by_key[77].offline is None
    assert report.behind == 1


def test_nothing_is_written_unless_it_is_asked_for(ground: Ground) -> None:
    filled(ground)
    ground.store.delete(ID, [key_of(3)])
    before = (ground.folder / "online" / "data.mdb").read_bytes()
    assert verified(ground).found == 1
    assert (ground.folder / "online" / "data.mdb").read_bytes() == before


def test_a_store_that_is_not_there_is_not_made(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    report = verified(ground)
    assert (report.state, report.found, report.waiting) == (State.NEVER_MATERIALIZED, 0, 1)
    assert not (ground.folder / "online").exists()


def test_a_store_that_was_lost_is_not_one_that_was_never_filled(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    assert found(verified(ground, filled=True)) == {1: "missing"}


def test_fixing_mends_just_what_differs(ground: Ground) -> None:
    filled(ground)
    [low, high] = ground.store.read(ID, [key_of(2), key_of(5)])
    assert low is not None
    assert high is not None
    ground.store.delete(ID, [key_of(1), key_of(2)])
    ground.store.write(ID, [(key_of(2), low[:8] + b"\xff" + low[9:]), (key_of(77), low), (b"junk", high)])
    ground.store.write(ID, [(key_of(5), high[:-1] + b"\x01")])
    report = verified(ground, fix=True)
    assert report.differences == {Kind.MISSING: 1, Kind.DIFFERENT: 2, Kind.ORPHANED: 2}
    assert report.fixed == 5
    assert verified(ground).found == 0
    assert ground.read(*range(10)) == [key * 10 for key in range(10)]
    assert {example.key.get("") for example in report.examples} == {None, b"junk".hex()}


# What is no difference


def test_rows_past_max_age_may_be_gone(ground: Ground) -> None:
    ground.table = replace(ground.table, max_age=DAY)
    now = clock.now()
    ground.ingest(rows((1, now - 2 * DAY, 1), (2, now - DAY // 2, 2), (3, now - 2 * DAY, 3)))
    materialize_incremental(ground.route, ground.table)
    ground.store.delete(ID, [key_of(1), key_of(2)])
    report = verified(ground)
    assert (found(report), report.expired) == ({2: "missing"}, 1)


def test_rows_of_the_future_are_pending(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    ground.ingest(rows((1, now - SECOND, 1), (1, now + 3600 * SECOND, 2), (2, now + 3600 * SECOND, 3)))
    materialize_incremental(ground.route, ground.table)
    assert verified(ground).found == 0
    now_is(monkeypatch, now + 3601 * SECOND)
    assert found(verified(ground)) == {1: "stale", 2: "missing"}


def test_pushes_of_the_near_future_are_online_already(ground: Ground) -> None:
    now = clock.now()
    pushed(ground, rows((1, now - SECOND, 1)))
    pushed(ground, rows((1, now + 50 * SECOND, 2), (2, now + 50 * SECOND, 3)))
    ground.ingest(rows((1, now + 55 * SECOND, 9)))
    assert ground.read(1, 2) == [2, 3]
    report = verified(ground)
    assert (report.found, report.compared) == (0, 2)


def test_a_row_of_the_future_that_differs(ground: Ground) -> None:
    now = clock.now()
    pushed(ground, rows((1, now - SECOND, 1), (2, now + 50 * SECOND, 3)))
    [held] = ground.store.read(ID, [key_of(2)])
    assert held is not None
    ground.store.write(ID, [(key_of(2), held[:-1] + b"\x07")])
    assert found(verified(ground)) == {2: "different"}
    assert verified(ground, fix=True).fixed == 1
    assert verified(ground).found == 0


def test_tombstones(ground: Ground) -> None:
    ground.table = replace(ground.table, deleted_column="gone")
    ground.ingest(rows((1, THEN, 1), (1, THEN + 1, None), (2, THEN, 2), gone=[False, True, False]))
    materialize_incremental(ground.route, ground.table)
    assert verified(ground).found == 0
    [live] = ground.store.read(ID, [key_of(2)])
    assert live is not None
    ground.store.delete(ID, [key_of(1)])
    assert found(verified(ground)) == {1: "missing"}
    ground.store.write(ID, [(key_of(1), live)])
    assert found(verified(ground)) == {1: "stale"}
    assert verified(ground, fix=True).fixed == 1
    assert ground.stored()[1] is None


def test_rows_that_were_written_online_alone(ground: Ground) -> None:
    filled(ground, 3)
    frame = rows((1, THEN + 100, 5), (50, THEN, 5))
    push_online(ground.route, ground.table, frame, max_skew=SECOND, **ground.places)
    report = verified(ground)
    assert (report.found, report.online_only) == (0, 2)
    ground.ingest(rows((1, THEN + 200, 6)))
    assert found(verified(ground)) == {1: "stale"}


def test_a_feature_that_was_added_is_stale_until_it_is_written(ground: Ground) -> None:
    filled(ground, 3)
    ground.table = replace(ground.table, features=(A, B))
    ground.ingest(rows((9, THEN, 9), b=[0.5]))
    assert found(verified(ground)) == {0: "stale", 1: "stale", 2: "stale", 9: "missing"}
    materialize_incremental(ground.route, ground.table)
    assert verified(ground).found == 0


def test_a_feature_that_was_removed_is_no_difference(ground: Ground) -> None:
    ground.table = replace(ground.table, features=(A, B))
    ground.ingest(rows((1, THEN, 1), (2, THEN, 2), b=[0.5, None]))
    materialize_incremental(ground.route, ground.table)
    ground.table = replace(ground.table, features=(A,))
    assert verified(ground).found == 0
    ground.table = replace(ground.table, features=(B, A))
    assert verified(ground).found == 0


def test_a_feature_that_is_read_from_elsewhere_is_stale(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), other=[5]))
    materialize_incremental(ground.route, ground.table)
    ground.table = replace(ground.table, features=(replace(A, expression="a + 1"),))
    report = verified(ground)
    assert found(report) == {1: "stale"}
    assert "definition has changed" in report.examples[0].reason


def test_only_pushes_are_expected_of_a_table_that_was_never_materialised(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1), (2, THEN, 2)))
    ground.ingest(rows((3, THEN, 3)))
    ground.store.delete(ID, [key_of(2)])
    report = verified(ground)
    assert (found(report), report.waiting) == ({2: "missing"}, 1)


def test_a_window_is_expected_from_its_start_on(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN + 100, 2), (3, THEN + 200, 3)))
    materialize(ground.route, ground.table, start=THEN + 50)
    report = verified(ground)
    assert (report.found, report.waiting, report.compared) == (0, 1, 3)
    ground.store.delete(ID, [key_of(3)])
    assert found(verified(ground)) == {3: "missing"}
    materialize(ground.route, ground.table)
    assert verified(ground).found == 0


def test_a_push_that_was_cut_off_is_told_with_what_to_do(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    broken = replace(ground.route, store=Breaking(ground.store, 1, after=False))
    with pytest.raises(Crashed):
        push(broken, ground.table, rows((2, THEN, 2)), max_skew=SECOND, **ground.places)
    report = verified(ground)
    assert found(report) == {2: "missing"}
    assert "tiffin repair" in report.examples[0].reason
    finish_pushes(ground.route, ground.table)
    assert verified(ground).found == 0


# How it is done


def test_a_sample_is_a_slice_of_the_keys(ground: Ground) -> None:
    filled(ground, 3000)
    sizes = [verified(ground, sample=100).compared for _ in range(5)]
    assert all(50 < size < 200 for size in sizes)
    assert verified(ground, sample=100).sampled
    ground.store.delete(ID, [key_of(key) for key in range(0, 3000, 2)])
    report = verified(ground, sample=300, examples=1000)
    assert report.found > 50
    assert all(key % 2 == 0 for key in found(report))
    assert not verified(ground, sample=5000).sampled


def test_a_sample_finds_orphans_too(ground: Ground) -> None:
    filled(ground, 1000)
    [held] = ground.store.read(ID, [key_of(1)])
    assert held is not None
    ground.store.write(ID, [(key_of(key), held) for key in range(5000, 6000)])
    report = verified(ground, sample=200)
    assert 50 < report.differences[Kind.ORPHANED] < 200
    assert report.differences.keys() == {Kind.ORPHANED}


def test_examples_are_bounded_and_counts_are_not(ground: Ground) -> None:
    filled(ground, 100)
    ground.store.delete(ID, [key_of(key) for key in range(50)])
    report = verified(ground, examples=3)
    assert (report.found, len(report.examples)) == (50, 3)


def test_many_suspects_are_asked_in_parts(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.ingest import verify as module

    monkeypatch.setattr(module, "SUSPECTS", 7)
    monkeypatch.setattr(module, "_BUCKET_KEYS", 10)
    filled(ground, 50)
    [held] = ground.store.read(ID, [key_of(1)])
    assert held is not None
    ground.store.delete(ID, [key_of(key) for key in range(20)])
    ground.store.write(ID, [(key_of(key), held) for key in range(100, 120)])
    report = verified(ground)
    assert report.differences == {Kind.MISSING: 20, Kind.ORPHANED: 20}
    assert sorted(found(report)) == [*range(20), *range(100, 120)]


def test_a_store_that_cannot_list_its_keys(ground: Ground) -> None:
    class Bare:
        read = ground.store.read

    with pytest.raises(Unsupported, match="cannot list its keys"):
        verify(Route(ground.route.engine, Bare()), ground.table, Asked())  # type: ignore[arg-type]  # it is no store


KEYS = (
    Column("s", ValueType.STRING, "s"),
    Column("i", ValueType.INT32, "i"),
    Column("b", ValueType.BYTES, "b"),
    Column("t", ValueType.UNIX_TIMESTAMP, "t"),
    Column("f", ValueType.BOOL, "f"),
)


def test_keys_are_read_back() -> None:
    frame = pl.DataFrame(
        {
            "s": ["", "ключ", "a"],
            "i": pl.Series([-1, 0, 2**31 - 1], dtype=pl.Int32),
            "b": [b"", b"\0\xff", b"x" * 600],
            "t": pl.Series([-5, 0, THEN]).cast(pl.Datetime("us", "UTC")),
            "f": [True, False, True],
        }
    )
    keys = encode_keys(KEYS, frame)
    read, bad = KeyDecoder(KEYS).frame(keys)
    assert read.equals(frame)
    assert bad == []
    strange = [keys[0] + b"?", keys[1][:-1], b"", b"\0\0\0\0" + keys[2][4:]]
    read, bad = KeyDecoder(KEYS).frame([strange[0], keys[2], *strange[1:]])
    assert read.equals(frame[2:])
    assert sorted(bad) == sorted(strange)
