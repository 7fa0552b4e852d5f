"""An answer in the shapes that callers want."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.online.tables import SECOND, put, select, table
from tiffin.errors import InvalidArgument
from tiffin.online.memory import MemoryStore
from tiffin.online.read import ReadPlan, Status
from tiffin.online.response import OnlineResponse
from tiffin.types import ValueType as V
from tiffin.types import polars_type

FEATURES = {
    "i": V.INT64,
    "n": V.INT32,
    "f": V.FLOAT,
    "s": V.STRING,
    "y": V.BYTES,
    "b": V.BOOL,
    "t": V.UNIX_TIMESTAMP,
    "tl": V.UNIX_TIMESTAMP_LIST,
    "fl": V.FLOAT_LIST,
}
FULL: dict[str, Any] = {
    "i": 2**53 + 1,
    "n": -1,
    "f": 0.5,
    "s": "é",
    "y": b"\0",
    "b": True,
    "t": SECOND,
    "tl": [SECOND, None],
    "fl": [1.5, None],
}
ONE_SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.fixture
def answer() -> OnlineResponse:
    """A full row, a row of nulls, and a key that is not there."""
    store = MemoryStore()
    drivers = table(FEATURES, {"driver_id": V.INT64})
    put(store, drivers, {"driver_id": 1, "event": SECOND, **FULL}, {"driver_id": 2, "event": 0})
    rows = [{"driver_id": key} for key in ("1", 2, None)]
    return OnlineResponse(ReadPlan(store, [select(drivers)]).read(rows))


def test_to_dict_has_entities_first_then_features_in_order(answer: OnlineResponse) -> None:
    found = answer.to_dict()
    assert list(found) == ["driver_id", *(f"drivers:{name}" for name in FEATURES)]
    shown = FULL | {"t": ONE_SECOND, "tl": [ONE_SECOND, None]}
    assert found == {"driver_id": [1, 2, None]} | {
        f"drivers:{name}": [value, None, None] for name, value in shown.items()
    }
    assert found["drivers:t"][0].tzinfo is UTC


def test_what_is_given_out_may_be_changed(answer: OnlineResponse) -> None:
    for columns in (answer.to_dict(), answer.statuses(), answer.event_timestamps()):
        for column in columns.values():
            column.clear()
    assert answer.to_dict()["drivers:i"] == [2**53 + 1, None, None]
    assert answer.statuses()["drivers:n"][0] is Status.PRESENT
    assert answer.event_timestamps()["drivers:i"][1] == datetime(1970, 1, 1, tzinfo=UTC)


def test_statuses_have_the_same_shape(answer: OnlineResponse) -> None:
    found = answer.statuses()
    assert list(found) == list(answer.to_dict())
    assert found["driver_id"] == ["PRESENT", "PRESENT", "NULL_VALUE"]
    assert all(found[f"drivers:{name}"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"] for name in FEATURES)


def test_event_timestamps(answer: OnlineResponse) -> None:
    expected = [ONE_SECOND, datetime(1970, 1, 1, tzinfo=UTC), None]
    assert answer.event_timestamps() == {f"drivers:{name}": expected for name in FEATURES}


def test_field_values_are_rows(answer: OnlineResponse) -> None:
    rows = answer.field_values
    assert [row.fields["driver_id"] for row in rows] == [1, 2, None]
    assert [row.fields["drivers:s"] for row in rows] == ["é", None, None]
    assert rows[2].statuses == {"driver_id": "NULL_VALUE"} | {f"drivers:{name}": "NOT_FOUND" for name in FEATURES}
    assert len(rows[0].fields) == len(FEATURES) + 1


def test_to_polars_has_the_declared_types(answer: OnlineResponse) -> None:
    found = answer.to_polars()
    assert found.schema == {"driver_id": pl.Int64()} | {
        f"drivers:{name}": polars_type(dtype) for name, dtype in FEATURES.items()
    }
    assert found.to_dict(as_series=False) == answer.to_dict()


def test_to_arrow(answer: OnlineResponse) -> None:
    found = answer.to_arrow()
    assert found.column_names == list(answer.to_dict())
    assert found.schema.field("drivers:t").type == pa.timestamp("us", tz="UTC")
    assert found.schema.field("drivers:n").type == pa.int32()
    assert found.to_pydict()["drivers:i"] == [2**53 + 1, None, None]


def test_to_pandas_keeps_integers_integers(answer: OnlineResponse) -> None:
    found = answer.to_pandas()
    assert list(found.columns) == list(answer.to_dict())
    assert found.dtypes["drivers:i"] == pd.Int64Dtype()
    assert found.dtypes["drivers:n"] == pd.Int32Dtype()
    assert found.dtypes["drivers:b"] == pd.BooleanDtype()
    assert found.dtypes["drivers:f"] == np.float32
    assert found["drivers:i"][0] == 2**53 + 1
    assert found["drivers:i"][1] is pd.NA


def test_to_pandas_without_nulls_is_plain_numpy() -> None:
    store = MemoryStore()
    drivers = table({"i": V.INT64, "b": V.BOOL})
    put(store, drivers, {"driver_id": 1, "event": 0, "i": 3, "b": True})
    found = OnlineResponse(ReadPlan(store, [select(drivers)]).read([{"driver_id": 1}])).to_pandas()
    assert [str(dtype) for dtype in found.dtypes] == ["int64", "int64", "bool"]


def test_an_instant_beyond_datetime_is_read_as_a_frame() -> None:
    store = MemoryStore()
    drivers = table({"t": V.UNIX_TIMESTAMP})
    put(store, drivers, {"driver_id": 1, "event": 0, "t": 2**62})
    answer = OnlineResponse(ReadPlan(store, [select(drivers)]).read([{"driver_id": 1}]))
    with pytest.raises(InvalidArgument, match="years 1 to 9999"):
        answer.to_dict()
    assert answer.to_polars()["drivers:t"].to_physical().to_list() == [2**62]


def test_empty_answers_keep_their_columns() -> None:
    plan = ReadPlan(MemoryStore(), [select(table(FEATURES))])
    answer = OnlineResponse(plan.read([]))
    assert answer.to_dict() == {"driver_id": [], **{f"drivers:{name}": [] for name in FEATURES}}
    assert answer.to_polars().height == 0
    assert answer.field_values == []
    assert repr(answer).startswith("OnlineResponse(0 rows")


def test_reading_needs_no_heavy_import() -> None:
    """A server that only reads must stay small."""
    code = (
        "import sys, tiffin.online.read, tiffin.online.response, tiffin.online.lmdb;"
        "sys.exit(', '.join({'polars', 'pandas', 'pyarrow', 'sqlalchemy', 'deltalake'} & set(sys.modules)) or None)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
