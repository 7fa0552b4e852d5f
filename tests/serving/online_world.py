"""A filled store with every type, and an online service over it in the test's own process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from litestar.testing import TestClient

from tiffin import Client, Entity, Feature, FeatureService, FeatureTable, ValueType
from tiffin.config import Config
from tiffin.serving.online.app import Online, create_app
from tiffin.types import polars_type

NOW = datetime.now(UTC).replace(microsecond=123_456)
TYPES = [each for each in ValueType if each is not ValueType.UNKNOWN]
_SCALARS: dict[ValueType, list[Any]] = {
    ValueType.BYTES: [b"", b"\x00\xff\x80", b"text"],
    ValueType.STRING: ["", 'naïve \u2028 "quoted" \\ \n', "𝄞"],
    ValueType.INT32: [-(2**31), 0, 2**31 - 1],
    ValueType.INT64: [-(2**63), 2**53 + 1, 2**63 - 1],
    ValueType.DOUBLE: [math.nan, math.inf, -math.inf],
    ValueType.FLOAT: [0.10000000149011612, -0.0, math.nan],
    ValueType.BOOL: [True, False, True],
    ValueType.UNIX_TIMESTAMP: [NOW, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1, tzinfo=UTC)],
}
#: Keys 1 to 3 have values, 4 has nulls, 5 is too old, 6 is not there.
KEYS = [1, 2, 3, 4, 5, 6]


def values(dtype: ValueType) -> list[Any]:
    """What rows 1 to 5 hold of a type."""
    scalars = _SCALARS[dtype.element]
    if dtype.is_list:
        return [scalars, [], [scalars[0], None, scalars[2]], None, scalars]
    return [*scalars, None, scalars[0]]


def tables() -> list[Any]:
    """Definitions: a table of all types, one of two keys, one in another project is applied apart."""
    day = timedelta(days=1)
    everything = [Feature(dtype.name.lower(), dtype) for dtype in TYPES]
    return [
        Entity("driver_id", value_type=ValueType.INT64),
        Entity("city", value_type=ValueType.STRING),
        Entity("token", value_type=ValueType.BYTES),
        Entity("since", value_type=ValueType.UNIX_TIMESTAMP),
        FeatureTable("everything", ["driver_id"], everything, max_age=day),
        FeatureTable(
            "trips", ["driver_id", "city"], [Feature("count", ValueType.INT64), Feature("int64", ValueType.INT64)]
        ),
        FeatureTable("odd", ["token", "since"], [Feature("f", ValueType.DOUBLE)]),
        FeatureService("model", ["trips:count", "everything:int64"]),
    ]


def fill(client: Client) -> None:
    """Definitions and rows."""
    client.apply(tables())
    client.apply(
        [
            Entity("driver_id", value_type=ValueType.INT64),
            FeatureTable("ratings", ["driver_id"], [Feature("stars", ValueType.FLOAT)]),
        ],
        project="other",
    )
    columns = [pl.Series(dtype.name.lower(), values(dtype), polars_type(dtype), strict=False) for dtype in TYPES]
    hour = timedelta(hours=1)
    times = [NOW - hour, NOW - 2 * hour, NOW - hour, NOW - hour, NOW - timedelta(days=3)]
    client.push(
        "everything", pl.DataFrame([pl.Series("driver_id", KEYS[:5]), pl.Series("event_timestamp", times), *columns])
    )
    trips = {
        "driver_id": [1, 2],
        "city": ["Pune", "Goa"],
        "count": [7, 8],
        "int64": [70, 80],
        "event_timestamp": [NOW - hour] * 2,
    }
    client.push("trips", pl.DataFrame(trips))
    odd = {
        "token": [b"\x00\xff"],
        "since": [datetime(2026, 1, 1, tzinfo=UTC)],
        "f": [1.5],
        "event_timestamp": [NOW - hour],
    }
    client.push("odd", pl.DataFrame(odd))
    stars = {"driver_id": [1], "stars": [4.5], "event_timestamp": [NOW - hour]}
    client.push("ratings", pl.DataFrame(stars), project="other")


@contextmanager
def serving(home: Path, **options: Any) -> Iterator[TestClient[Online]]:
    """A service over a home in this process; faults of it are answers here as elsewhere."""
    app = create_app(Config({"home": str(home)} | options))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
