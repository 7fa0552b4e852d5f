"""The rules of online values (semantics, section 4), on a plan over the reference store and over LMDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.online.tables import SECOND, put, select, table
from tiffin import clock
from tiffin.errors import CorruptData, InvalidArgument
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.lmdb import open_store
from tiffin.online.memory import MemoryStore
from tiffin.online.read import OnlineColumns, ReadPlan, Status
from tiffin.types import ValueType as V

PRESENT, NULL, MISSING, OLD = Status.PRESENT, Status.NULL_VALUE, Status.NOT_FOUND, Status.OUTSIDE_MAX_AGE


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    opened: OnlineStore = MemoryStore() if request.param == "memory" else open_store(f"lmdb://{tmp_path}/online")
    yield opened
    opened.close()


def ask(store: OnlineStore, schema: Any, rows: Any, *features: str, now: int | None = None) -> OnlineColumns:
    return ReadPlan(store, [select(schema, *features)]).read(rows, now=now)


def column(answer: OnlineColumns, name: str) -> list[tuple[Any, Status, int | None]]:
    at = answer.names.index(name)
    return list(zip(answer.values[at], answer.statuses[at], answer.event_times[at], strict=True))


def test_the_four_statuses(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64, "b": V.STRING}, max_age=10)
    put(store, drivers, {"driver_id": 1, "event": 100, "a": 5}, {"driver_id": 2, "event": 80, "a": 6, "b": "x"})
    answer = ask(store, drivers, [{"driver_id": key} for key in (1, 2, 3, None)], now=110)
    assert column(answer, "drivers:a") == [
        (5, PRESENT, 100),
        (None, OLD, 80),
        (None, MISSING, None),
        (None, MISSING, None),
    ]
    assert column(answer, "drivers:b") == [
        (None, NULL, 100),
        (None, OLD, 80),
        (None, MISSING, None),
        (None, MISSING, None),
    ]
    assert answer.entities == {"driver_id": [1, 2, 3, None]}
    assert answer.rows == 4


@pytest.mark.parametrize(
    ("max_age", "now", "expected"),
    [
        (7200, 7300, PRESENT),  # age exactly max age
        (7200, 7301, OLD),
        (7200, 50, PRESENT),  # an event of the future
        (0, 10**9, PRESENT),  # no limit
        (None, 10**9, PRESENT),
    ],
)
def test_max_age(store: OnlineStore, max_age: int | None, now: int, expected: Status) -> None:
    scale = None if max_age is None else max_age * SECOND
    drivers = table({"a": V.INT64}, max_age=scale)
    put(store, drivers, {"driver_id": 1, "event": 100 * SECOND, "a": 5})
    answer = ask(store, drivers, [{"driver_id": 1}], now=now * SECOND)
    assert column(answer, "drivers:a") == [(5 if expected is PRESENT else None, expected, 100 * SECOND)]


def test_a_microsecond_past_max_age_is_outside(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64}, max_age=10)
    put(store, drivers, {"driver_id": 1, "event": 0, "a": 5})
    assert column(ask(store, drivers, [{"driver_id": 1}], now=10), "drivers:a")[0][1] is PRESENT
    assert column(ask(store, drivers, [{"driver_id": 1}], now=11), "drivers:a")[0][1] is OLD


def test_null_of_an_expired_row_is_outside_max_age(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64}, max_age=10)
    put(store, drivers, {"driver_id": 1, "event": 0})
    assert column(ask(store, drivers, [{"driver_id": 1}], now=11), "drivers:a") == [(None, OLD, 0)]


def test_a_row_may_carry_its_own_now(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64}, max_age=10 * SECOND)
    put(store, drivers, {"driver_id": 1, "event": 0, "a": 5})
    moments = [
        datetime(1970, 1, 1, 0, 0, 10),  # noqa: DTZ001  # naive on purpose
        datetime(1970, 1, 1, 0, 0, 11, tzinfo=UTC),
        datetime(1970, 1, 1, 1, 0, 10, tzinfo=timezone(timedelta(hours=1))),
        "1970-01-01T00:00:11Z",
        None,
    ]
    rows = [{"driver_id": 1, "event_timestamp": moment} for moment in moments]
    expected = [PRESENT, OLD, PRESENT, OLD, OLD]
    assert [status for _, status, _ in column(ask(store, drivers, rows, now=10**9), "drivers:a")] == expected
    columns = {"driver_id": [1] * 5, "event_timestamp": moments}
    answer = ask(store, drivers, columns, now=10**9)
    assert [status for _, status, _ in column(answer, "drivers:a")] == expected
    assert list(answer.entities) == ["driver_id"]
    some = [{"driver_id": 1}, {"driver_id": 1, "event_timestamp": moments[0]}]
    assert [s for _, s, _ in column(ask(store, drivers, some, now=10**9), "drivers:a")] == [OLD, PRESENT]


def test_now_is_the_clock_unless_told(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64}, max_age=60 * SECOND)
    put(store, drivers, {"driver_id": 1, "event": clock.now(), "a": 5}, {"driver_id": 2, "event": 0, "a": 6})
    assert [s for _, s, _ in column(ask(store, drivers, {"driver_id": [1, 2]}), "drivers:a")] == [PRESENT, OLD]


def test_an_instant_that_is_none_is_refused(store: OnlineStore) -> None:
    with pytest.raises(InvalidArgument, match="event_timestamp"):
        ask(store, table({"a": V.INT64}), [{"driver_id": 1, "event_timestamp": "soon"}])


def test_a_tombstone_is_not_found_until_a_greater_rank(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64})
    put(store, drivers, {"driver_id": 1, "event": 1, "a": 5}, {"driver_id": 2, "event": 1, "a": 6})
    put(store, drivers, {"driver_id": 1, "event": 2, "deleted": True})
    put(store, drivers, {"driver_id": 1, "event": 1, "a": 7})
    answer = ask(store, drivers, {"driver_id": [1, 2]})
    assert column(answer, "drivers:a") == [(None, MISSING, None), (6, PRESENT, 1)]
    assert column(ask(store, drivers, {"driver_id": [1]}), "drivers:a") == [(None, MISSING, None)]
    put(store, drivers, {"driver_id": 1, "event": 3, "a": 8})
    assert column(ask(store, drivers, {"driver_id": [1, 2]}), "drivers:a") == [(8, PRESENT, 3), (6, PRESENT, 1)]


def test_an_added_feature_is_not_found_until_the_row_is_written_again(store: OnlineStore) -> None:
    before = table({"a": V.INT64})
    after = table({"new": V.STRING, "a": V.INT64}, max_age=5)
    put(store, before, {"driver_id": 1, "event": 1, "a": 5}, {"driver_id": 2, "event": 1, "a": 6})
    plan = ReadPlan(store, [select(after)])
    answer = plan.read({"driver_id": [1, 2]}, now=1)
    assert column(answer, "drivers:new") == [(None, MISSING, None)] * 2
    assert column(answer, "drivers:a") == [(5, PRESENT, 1), (6, PRESENT, 1)]
    put(store, after, {"driver_id": 2, "event": 2, "a": 7, "new": "x"})
    answer = plan.read({"driver_id": [1, 2, 3]}, now=7)
    assert column(answer, "drivers:new") == [(None, MISSING, None), ("x", PRESENT, 2), (None, MISSING, None)]
    # Not found comes before outside max age.
    assert column(answer, "drivers:a") == [(None, OLD, 1), (7, PRESENT, 2), (None, MISSING, None)]


def test_a_value_of_another_type_is_not_found(store: OnlineStore) -> None:
    before = table({"a": V.DOUBLE, "b": V.INT64})
    after = table({"a": V.STRING, "b": V.INT64})
    put(store, before, {"driver_id": 1, "event": 1, "a": 5.0, "b": 6})
    answer = ask(store, after, [{"driver_id": 1}])
    assert column(answer, "drivers:a") == [(None, MISSING, None)]
    assert column(answer, "drivers:b") == [(6, PRESENT, 1)]


def test_removed_and_reordered_features_do_not_disturb(store: OnlineStore) -> None:
    before = table({"s": V.STRING, "gone": V.STRING, "n": V.INT32, "l": V.STRING_LIST})
    after = table({"l": V.STRING_LIST, "n": V.INT32, "s": V.STRING})
    put(store, before, {"driver_id": 1, "event": 1, "s": "é", "gone": "long" * 9, "n": 3, "l": ["a", None]})
    answer = ask(store, after, [{"driver_id": 1}], "s", "l")
    assert column(answer, "drivers:s") == [("é", PRESENT, 1)]
    assert column(answer, "drivers:l") == [(["a", None], PRESENT, 1)]


# Entities


def test_tables_of_other_entities_and_projects_in_one_request(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64})
    trips = table({"b": V.INT64}, {"driver_id": V.INT64, "city": V.STRING}, name="trips")
    other = table({"a": V.INT64}, {"city": V.STRING}, project="elsewhere")
    put(store, drivers, {"driver_id": 1, "event": 1, "a": 10})
    put(store, trips, {"driver_id": 1, "city": "Pune", "event": 2, "b": 20})
    put(store, other, {"city": "Pune", "event": 3, "a": 30})
    selection = select(other)
    elsewhere = type(selection)(other, selection.features, ("elsewhere/drivers:a",))
    order = ("trips:b", "elsewhere/drivers:a", "drivers:a")
    plan = ReadPlan(store, [select(drivers), select(trips), elsewhere], order)
    answer = plan.read([{"city": "Pune", "extra": object(), "driver_id": "1"}, {"driver_id": 1, "city": "Goa"}])
    assert answer.names == order
    assert list(answer.entities.items()) == [("city", ["Pune", "Goa"]), ("driver_id", [1, 1])]
    assert column(answer, "trips:b") == [(20, PRESENT, 2), (None, MISSING, None)]
    assert column(answer, "elsewhere/drivers:a") == [(30, PRESENT, 3), (None, MISSING, None)]
    assert column(answer, "drivers:a") == [(10, PRESENT, 1)] * 2


def test_a_request_may_interleave_tables(store: OnlineStore) -> None:
    one, two = table({"a": V.INT64, "b": V.INT64}), table({"c": V.INT64}, name="two")
    put(store, one, {"driver_id": 1, "event": 1, "a": 1, "b": 2})
    put(store, two, {"driver_id": 1, "event": 1, "c": 3})
    order = ("drivers:b", "two:c", "drivers:a")
    answer = ReadPlan(store, [select(one), select(two)], order).read([{"driver_id": 1}])
    assert (answer.names, [list(values) for values in answer.values]) == (order, [[2], [3], [1]])
    with pytest.raises(InvalidArgument, match="Did you mean 'two:c'"):
        ReadPlan(store, [select(one), select(two)], ("two:d",))


@pytest.mark.parametrize(
    "rows",
    [
        [{"driver_id": 1}],
        [{"driver_id": 1, "city": "Pune"}, {"driver_id": 1}],
        [{"driver_id": 1, "city": "Pune"}, {}],
        {"driver_id": [1], "town": ["Pune"]},
    ],
)
def test_a_missing_entity_is_named(store: OnlineStore, rows: Any) -> None:
    trips = table({"b": V.INT64}, {"driver_id": V.INT64, "city": V.STRING}, name="trips")
    with pytest.raises(InvalidArgument) as caught:
        ask(store, trips, rows)
    assert caught.value.field in ("city", "driver_id")
    assert "default/trips is missing" in caught.value.message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("driver_id", "must be a list of mappings"),
        ({"driver_id": "1001"}, "must be a list of values"),
        ({"driver_id": 1001}, "must be a list of values"),
        ({"driver_id": [1, 2], "event_timestamp": [None]}, "equal length"),
        ([("driver_id", 1)], "must be a mapping"),
        ([{"driver_id": 1.5}], "'driver_id' is INT64, which 1.5 is not"),
        ([{"driver_id": True}], "'driver_id' is INT64, which True is not"),
        (None, "must be a list of mappings"),
    ],
)
def test_requests_that_cannot_be_read(store: OnlineStore, rows: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ask(store, table({"a": V.INT64}), rows)


def test_no_rows_are_answered_by_none(store: OnlineStore) -> None:
    for rows in ([], (), {"driver_id": []}):
        answer = ask(store, table({"a": V.INT64}), rows)
        assert (answer.rows, [list(values) for values in answer.values], answer.entities["driver_id"]) == (0, [[]], [])


def test_rows_keep_their_order_and_duplicates(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64})
    put(store, drivers, *({"driver_id": key, "event": key, "a": key * 10} for key in range(5)))
    keys = [3, 9, 0, 3, None, 4]
    answer = ask(store, drivers, {"driver_id": keys})
    assert list(answer.values[0]) == [30, None, 0, 30, None, 40]
    assert list(answer.event_times[0]) == [3, None, 0, 3, None, 4]


def test_a_table_that_was_never_written_is_not_found(store: OnlineStore) -> None:
    assert column(ask(store, table({"a": V.INT64}), [{"driver_id": 1}]), "drivers:a") == [(None, MISSING, None)]


# Layouts


def test_a_plan_meets_layouts_made_after_it(store: OnlineStore) -> None:
    drivers = table({"a": V.INT64})
    plan = ReadPlan(store, [select(drivers)])
    assert column(plan.read([{"driver_id": 1}]), "drivers:a") == [(None, MISSING, None)]
    put(store, drivers, {"driver_id": 1, "event": 1, "a": 5})
    assert column(plan.read([{"driver_id": 1}]), "drivers:a") == [(5, PRESENT, 1)]
    store.drop(TableId("default", "drivers"))
    wider = table({"z": V.INT64, "a": V.INT64})
    put(store, wider, {"driver_id": 1, "event": 0, "a": 6, "z": 0})
    assert column(plan.read([{"driver_id": 1}]), "drivers:a") == [(6, PRESENT, 0)]


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"\x01\x00\x00\x00\x00\x09", "layout 9"),
        (b"\x02\x00\x00\x00\x00\x00", "format 2"),
        (b"\x01", "format"),
        (b"", "format none"),
        (b"\x01\x00\x00\x00\x00\x00", "cannot be read"),
    ],
)
def test_values_of_no_known_form_are_corrupt(store: OnlineStore, tail: bytes, message: str) -> None:
    drivers = table({"a": V.INT64})
    put(store, drivers, {"driver_id": 1, "event": 1, "a": 5})
    plan = ReadPlan(store, [select(drivers)])
    identity = TableId("default", "drivers")
    [(key, _)] = list(store.scan(identity))  # type: ignore[attr-defined]
    store.write(identity, [(key, b"\xff" * 32 + tail)])
    with pytest.raises(CorruptData, match=message):
        plan.read([{"driver_id": 1}])
