"""What the tests of erasure share: a store with rows of one key in all places, and looks at the bytes of its files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tiffin import Client, Entity, Feature, FeatureTable, ValueType
from tiffin.definitions.source import FileSource

#: A key that nothing else spells.
KEY = "zz-distinctive-7731-zz"
NOW = datetime.now(UTC) - timedelta(days=1)

RIDER = Entity("rider", value_type=ValueType.STRING)
MEAL = Entity("meal", value_type=ValueType.INT64)
RIDES = FeatureTable("rides", ["rider"], [Feature("x", ValueType.DOUBLE)])
ORDERS = FeatureTable("orders", ["rider", "meal"], [Feature("note", ValueType.STRING)])
MEALS = FeatureTable("meals", ["meal"], [Feature("y", ValueType.DOUBLE)])
OBJECTS = [RIDER, MEAL, RIDES, ORDERS, MEALS]


def rides(*riders: str, **columns: Any) -> pl.DataFrame:
    """A row for each rider."""
    plain = {"rider": riders, "event_timestamp": [NOW] * len(riders), "x": [float(n) for n in range(len(riders))]}
    return pl.DataFrame(plain | columns)


def orders(*keys: tuple[str, int]) -> pl.DataFrame:
    """A row for each rider and meal."""
    riders, meals = [rider for rider, _ in keys], [meal for _, meal in keys]
    return pl.DataFrame(
        {"rider": riders, "meal": meals, "event_timestamp": [NOW] * len(keys), "note": ["n"] * len(keys)}
    )


def filled(home: Path, **options: Any) -> Client:
    """A store in which the key is in every place, among others."""
    client = Client(home=str(home), **options)
    client.apply([each.from_spec(each.to_spec()) if hasattr(each, "to_spec") else each for each in OBJECTS])
    client.push("rides", rides("aa", KEY, "bb"), idempotency_key="first")
    client.push("rides", rides("cc", "dd"))
    client.push("orders", orders((KEY, 1), ("aa", 1), (KEY, 2)))
    client.push("meals", pl.DataFrame({"meal": [1], "event_timestamp": [NOW], "y": [1.0]}))
    wrong = rides(KEY, "ee", event_timestamp=[None, None])
    client.ingest(
        "rides",
        wrong.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("event_timestamp")),
        on_invalid="quarantine",
    )
    asked = pl.DataFrame({"rider": [KEY, "aa"], "event_timestamp": [datetime.now(UTC)] * 2})
    client.get_historical_features(["rides:x"], asked).get_output_file_uri(60)
    return client


def holding(folder: Path, key: str = KEY) -> list[str]:
    """The files below a folder in whose bytes a key is found."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (key.encode() in path.read_bytes() or _packed(path, key)):
            found.append(str(path.relative_to(folder)))
    return found


def _packed(path: Path, key: str) -> bool:
    """Whether a compressed file holds it."""
    if path.suffix != ".parquet":
        return False
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    return key in str(frame.rows())


def values(client: Client, *riders: str) -> list[Any]:
    """What is online of riders."""
    return list(client.get_online_features(["rides:x"], {"rider": list(riders)}).to_dict()["rides:x"])


def history(client: Client) -> list[str]:
    """The riders in the history of rides, as latest() tells."""
    return sorted(client.latest(["rides:x"]).to_polars()["rider"].to_list())


def plain_table(folder: Path, **source: Any) -> FeatureTable:
    """A table over a folder of plain files."""
    return FeatureTable(
        "rides",
        ["rider"],
        [Feature("x", ValueType.DOUBLE)],
        batch_source=FileSource("event_timestamp", source.pop("file_format"), str(folder), **source),
    )
