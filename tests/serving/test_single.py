"""The short way of one row of numbers: its answers equal those of the general way, byte for byte."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.online.tables import put, select, table
from tiffin import clock
from tiffin.online.memory import MemoryStore
from tiffin.online.read import ReadPlan
from tiffin.serving.online.single import single
from tiffin.serving.online.wire import FeastWire
from tiffin.types import ValueType as V

TYPES = {"a": V.INT64, "b": V.INT32, "c": V.DOUBLE, "d": V.FLOAT, "e": V.BOOL}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a": st.integers(-(2**63), 2**63 - 1),
    "b": st.integers(-(2**31), 2**31 - 1),
    "c": st.floats(),
    "d": st.floats(width=32),
    "e": st.booleans(),
}
ROW = st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in VALUES.items()})


def both(row: dict[str, Any] | None, order: list[str], *, age: int, key: int, max_age: int | None) -> tuple[Any, bytes]:
    """The answer of the short way, or None, and that of the general way."""
    store = MemoryStore()
    drivers = table(TYPES, max_age=max_age)
    if row is not None:
        put(store, drivers, {"driver_id": key, "event": clock.now() - age, **row})
    plan = ReadPlan(store, [select(drivers, *order)])
    general = FeastWire(order, plan.dtypes, plan.entity_types).answer(plan.read({"driver_id": [key]}))
    short = single(plan, order)
    assert short is not None
    encoded = short.key(key)
    assert encoded is not None
    value = store.read(short.table, [encoded])[0]
    return None if value is None else short.answer(key, value), general


@given(ROW, st.permutations(list(TYPES)), st.integers(1, 5), st.integers(-(2**63), 2**63 - 1))
def test_it_equals_the_general_way_or_stands_aside(row: dict[str, Any], order: list[str], width: int, key: int) -> None:
    asked = order[:width]
    short, general = both(row, asked, age=1_000_000, key=key, max_age=None)
    wanted = [row.get(name) for name in asked]
    whole = all(row.get(name) is not None for name in TYPES)
    plain = whole and all(math.isfinite(value) for value in wanted)
    if plain and abs(sum(wanted)) < 1e300:
        assert short == general
    else:
        assert short in {None, general}


def test_what_it_is_not_for() -> None:
    row = {"a": 1, "b": 1, "c": 1.5, "d": 1.5, "e": True}
    assert both(row, ["a"], age=11_000_000, key=1, max_age=10_000_000)[0] is None
    assert both(row, ["a"], age=1_000_000, key=1, max_age=10_000_000)[0] is not None
    assert both(None, ["a"], age=0, key=1, max_age=None)[0] is None
    drivers = table({**TYPES, "f": V.STRING})
    assert single(ReadPlan(MemoryStore(), [select(drivers, "a", "f")]), ["a", "f"]) is None
    plan = ReadPlan(MemoryStore(), [select(drivers, "a")])
    short = single(plan, ["a"])
    assert short is not None
    assert [short.key(value) for value in ("1", 1.0, True, None, 2**63, -(2**63) - 1)] == [None] * 6
